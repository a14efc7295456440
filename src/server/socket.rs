//! Listening sockets: TCP and unix.
//!
//! `[::]` takes IPv4 as well, whatever the system's default is, unless IPv4 has
//! a socket of its own on the same port. The file of a unix socket is made
//! beside its place, gets its permissions and is then renamed, so nobody ever
//! connects under other ones; it is removed when the socket is closed.
//!
//! # Failure
//! A taken address is an error that names it. A socket file that nobody listens
//! behind is replaced; one of a living process, or another kind of file, is not.

use std::{
    fs, io,
    net::{Ipv6Addr, SocketAddr},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use socket2::{Domain, SockAddr, Type};
use tokio::net::{TcpListener, UnixListener};

use super::transport::Arrival;
use crate::policy::file::ListenAddress;

/// The longest queue of connections that the kernel keeps for us.
const BACKLOG: i32 = 4096;

/// A socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address that was asked for.
    pub address: ListenAddress,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A socket that connections are taken from.
#[derive(Debug)]
pub enum Socket {
    /// TCP.
    Ip(TcpListener),
    /// A unix socket, and its file.
    Unix(UnixListener, SocketFile),
}

impl Socket {
    /// Claims every address; a second process that wants one of them fails.
    ///
    /// # Errors
    /// When an address is taken or not ours.
    pub fn claim(addresses: &[ListenAddress], mode: u32) -> Result<Vec<Self>, BindError> {
        let claim = |address: &ListenAddress| match address {
            ListenAddress::Ip(ip) => tcp(*ip, has_own_ipv4(addresses, *ip)).map(Self::Ip),
            ListenAddress::Unix(path) => {
                unix(path, mode).map(|(listener, file)| Self::Unix(listener, file))
            }
        };
        let named =
            |address: &ListenAddress, source| BindError { address: address.clone(), source };
        addresses.iter().map(|at| claim(at).map_err(|source| named(at, source))).collect()
    }

    /// Where it is; port 0 has become a real one.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<ListenAddress> {
        match self {
            Self::Ip(listener) => listener.local_addr().map(ListenAddress::Ip),
            Self::Unix(_, file) => Ok(ListenAddress::Unix(file.path.clone())),
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Arrival> {
        match self {
            Self::Ip(listener) => {
                let (stream, address) = listener.accept().await?;
                // The socket moves to a worker's own event queue.
                Ok(Arrival::Tcp(stream.into_std()?, address))
            }
            Self::Unix(listener, _) => Ok(Arrival::Unix(listener.accept().await?.0.into_std()?)),
        }
    }
}

/// Claims one TCP address; `[::]` takes IPv4 as well.
///
/// # Errors
/// When the address is taken or not ours.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let named = |source| BindError { address: ListenAddress::Ip(address), source };
    tcp(address, false).map_err(named)
}

/// Claims one unix socket whose file has the permission bits `mode`.
///
/// # Errors
/// When somebody listens behind it, when another kind of file is there, or when the system says no.
pub fn bind_unix(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), BindError> {
    let named = |source| BindError { address: ListenAddress::Unix(path.to_owned()), source };
    unix(path, mode).map_err(named)
}

fn tcp(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Only lets us take over connections in TIME_WAIT; two listeners still collide.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn has_own_ipv4(addresses: &[ListenAddress], ip: SocketAddr) -> bool {
    let collides = |other: &ListenAddress| matches!(other, ListenAddress::Ip(SocketAddr::V4(v4)) if v4.port() == ip.port());
    ip.ip() == Ipv6Addr::UNSPECIFIED && addresses.iter().any(collides)
}

fn unix(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    refuse_what_lives(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    refuse_what_lives(&beside)?;
    remove(&beside)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&beside)?)?;
    let made = fs::set_permissions(&beside, fs::Permissions::from_mode(mode))
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|()| fs::rename(&beside, path));
    if let Err(error) = made {
        // The first error is the one worth telling.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    let file = SocketFile { path: path.to_owned(), inode: inode(path)? };
    Ok((UnixListener::from_std(socket.into())?, file))
}

/// A place may be taken over when nothing is there, or a socket that nobody listens behind.
fn refuse_what_lives(path: &Path) -> io::Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    if !there.file_type().is_socket() {
        let why = "there is a file at this place that is no socket";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        // Also when its queue is full: somebody is there.
        _ => Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there")),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    Ok((there.dev(), there.ino()))
}

/// The file of a unix socket; removed when dropped, unless somebody else has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            // It is gone, or not ours to remove: either way there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(path: &Path) -> Result<Vec<Socket>, BindError> {
        Socket::claim(&[ListenAddress::Unix(path.to_owned())], 0o600)
    }

    #[tokio::test]
    async fn a_stale_socket_is_replaced_a_living_one_and_a_file_are_not() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists(), "its file stays behind");

        let first = listen(&path).expect("the stale one is replaced");
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = listen(&path).expect_err("the first one lives");
        assert_eq!(second.source.kind(), io::ErrorKind::AddrInUse);
        assert!(second.to_string().contains("s.sock"), "{second}");
        drop(first);
        assert!(!path.exists(), "removed at the end");

        fs::write(&path, "precious").expect("written");
        let third = listen(&path).expect_err("no socket");
        assert_eq!(third.source.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).expect("still there"), b"precious");
    }

    #[tokio::test]
    async fn a_socket_that_another_process_has_taken_over_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s.sock");
        let ours = listen(&path).expect("bound");
        fs::remove_file(&path).expect("removed");
        let theirs = listen(&path).expect("bound");
        drop(ours);
        assert!(path.exists());
        drop(theirs);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn both_families_may_have_one_port() {
        let any = |text: &str| ListenAddress::Ip(text.parse().expect("an address"));
        let first = Socket::claim(&[any("127.0.0.1:0")], 0).expect("bound");
        let ListenAddress::Ip(taken) = first[0].address().expect("an address") else { return };
        drop(first);
        let both =
            [any(&format!("0.0.0.0:{}", taken.port())), any(&format!("[::]:{}", taken.port()))];
        assert_eq!(Socket::claim(&both, 0).expect("both").len(), 2);
        let alone = Socket::claim(&both[1..], 0).expect("one");
        let v4 = std::net::TcpStream::connect(taken);
        assert!(v4.is_ok(), "[::] alone takes IPv4 as well: {v4:?}");
        drop(alone);
    }
}
