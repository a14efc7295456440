//! Listening sockets: TCP and unix.
//!
//! `[::]` takes IPv4 as well, whatever the system's default is, unless IPv4 has
//! a socket of its own on the same port. The file of a unix socket is made
//! beside its place, gets its permissions and is then renamed, so nobody ever
//! connects under other ones; it is removed when the socket is closed.
//!
//! An address is claimed first and listened on later: who connects before there is
//! anybody to answer is refused at once, rather than left to wait in a queue.
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

impl BindError {
    fn at(address: ListenAddress) -> impl FnOnce(io::Error) -> Self {
        |source| Self { address, source }
    }
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

/// An address that is ours, and that nobody can connect to yet.
#[derive(Debug)]
pub enum Claim {
    /// TCP.
    Ip(TcpClaim),
    /// A unix socket.
    Unix(UnixClaim),
}

impl Claim {
    /// Claims every address; fails where somebody listens on one of them.
    ///
    /// # Errors
    /// When an address is taken or not ours.
    pub fn all(addresses: &[ListenAddress], mode: u32) -> Result<Vec<Self>, BindError> {
        let claim = |address: &ListenAddress| match address {
            ListenAddress::Ip(ip) => {
                TcpClaim::with(*ip, has_own_ipv4(addresses, *ip)).map(Self::Ip)
            }
            ListenAddress::Unix(path) => UnixClaim::new(path, mode).map(Self::Unix),
        };
        addresses.iter().map(claim).collect()
    }

    /// Lets callers in.
    ///
    /// # Errors
    /// When another process that had claimed the address too was first.
    pub fn listen(self) -> Result<Socket, BindError> {
        match self {
            Self::Ip(claim) => claim.listen().map(Socket::Ip),
            Self::Unix(claim) => {
                claim.listen().map(|(listener, file)| Socket::Unix(listener, file))
            }
        }
    }
}

/// One TCP address.
#[derive(Debug)]
pub struct TcpClaim {
    address: SocketAddr,
    socket: socket2::Socket,
}

impl TcpClaim {
    /// Claims it; `[::]` takes IPv4 as well.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn new(address: SocketAddr) -> Result<Self, BindError> {
        Self::with(address, false)
    }

    fn with(address: SocketAddr, only_v6: bool) -> Result<Self, BindError> {
        let claimed = bind(address, only_v6).map_err(BindError::at(ListenAddress::Ip(address)))?;
        Ok(Self { address, socket: claimed })
    }

    /// Lets callers in.
    ///
    /// # Errors
    /// When another process that had claimed the address too was first.
    pub fn listen(self) -> Result<TcpListener, BindError> {
        let listening = self.socket.listen(BACKLOG);
        listening
            .and_then(|()| TcpListener::from_std(self.socket.into()))
            .map_err(BindError::at(ListenAddress::Ip(self.address)))
    }
}

/// One unix socket. It listens beside its place already: so it is seen to be alive.
#[derive(Debug)]
pub struct UnixClaim {
    path: PathBuf,
    listener: UnixListener,
    beside: SocketFile,
}

impl UnixClaim {
    /// Claims it; its file will have the permission bits `mode`.
    ///
    /// # Errors
    /// When somebody listens behind it, when another kind of file is there, or when the system says no.
    pub fn new(path: &Path, mode: u32) -> Result<Self, BindError> {
        let claimed = bind_beside(path, mode);
        let (listener, beside) =
            claimed.map_err(BindError::at(ListenAddress::Unix(path.to_owned())))?;
        Ok(Self { path: path.to_owned(), listener, beside })
    }

    /// Lets callers in.
    ///
    /// # Errors
    /// When the system does not let the file take its place.
    pub fn listen(self) -> Result<(UnixListener, SocketFile), BindError> {
        let Self { path, listener, beside } = self;
        match fs::rename(&beside.path, &path) {
            Ok(()) => {
                let inode = beside.inode;
                Ok((listener, SocketFile { path, inode }))
            }
            Err(source) => Err(BindError { address: ListenAddress::Unix(path), source }),
        }
    }
}

fn bind(address: SocketAddr, only_v6: bool) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    // Only lets us take over connections in TIME_WAIT; two listeners still collide.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn has_own_ipv4(addresses: &[ListenAddress], ip: SocketAddr) -> bool {
    let collides = |other: &ListenAddress| matches!(other, ListenAddress::Ip(SocketAddr::V4(v4)) if v4.port() == ip.port());
    ip.ip() == Ipv6Addr::UNSPECIFIED && addresses.iter().any(collides)
}

fn bind_beside(path: &Path, mode: u32) -> io::Result<(UnixListener, SocketFile)> {
    refuse_what_lives(path)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    refuse_what_lives(&beside)?;
    remove(&beside)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&beside)?)?;
    // From here on its file goes with it, whatever fails.
    let file = SocketFile { inode: inode(&beside)?, path: beside };
    fs::set_permissions(&file.path, fs::Permissions::from_mode(mode))?;
    socket.listen(BACKLOG)?;
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
        open(&[ListenAddress::Unix(path.to_owned())])
    }

    fn claim(addresses: &[ListenAddress]) -> Result<Vec<Claim>, BindError> {
        Claim::all(addresses, 0o600)
    }

    fn open(addresses: &[ListenAddress]) -> Result<Vec<Socket>, BindError> {
        claim(addresses)?.into_iter().map(Claim::listen).collect()
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
        let first = open(&[any("127.0.0.1:0")]).expect("bound");
        let ListenAddress::Ip(taken) = first[0].address().expect("an address") else { return };
        drop(first);
        let both =
            [any(&format!("0.0.0.0:{}", taken.port())), any(&format!("[::]:{}", taken.port()))];
        assert_eq!(open(&both).expect("both").len(), 2);
        let alone = open(&both[1..]).expect("one");
        let v4 = std::net::TcpStream::connect(taken);
        assert!(v4.is_ok(), "[::] alone takes IPv4 as well: {v4:?}");
        drop(alone);
    }
    #[tokio::test]
    async fn nobody_connects_to_what_is_only_claimed() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("s.sock");
        let loopback = ListenAddress::Ip("127.0.0.1:0".parse().expect("an address"));
        let addresses = [loopback, ListenAddress::Unix(path.clone())];
        let mut claims = claim(&addresses).expect("claimed");
        let [Claim::Ip(TcpClaim { socket, .. }), Claim::Unix(_)] = &*claims else {
            panic!("one of each: {claims:?}")
        };
        let address = socket.local_addr().expect("bound").as_socket().expect("an address");
        let refused = std::net::TcpStream::connect(address).expect_err("nobody listens");
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(!path.exists());
        let second = UnixClaim::new(&path, 0o600).expect_err("claimed already");
        assert_eq!(second.source.kind(), io::ErrorKind::AddrInUse);

        let unix = claims.pop().expect("two");
        let tcp = claims.pop().expect("one").listen().expect("nobody else did");
        std::net::TcpStream::connect(address).expect("listened on");
        let late = TcpClaim::new(address).expect_err("listened on");
        assert_eq!(late.source.kind(), io::ErrorKind::AddrInUse);
        drop(tcp);
        drop(unix);
        let left = fs::read_dir(home.path()).expect("there").count();
        assert_eq!(left, 0, "what was only claimed leaves no file");
    }

    #[tokio::test]
    async fn of_two_that_claimed_one_port_the_second_to_listen_fails() {
        let first = TcpClaim::new("127.0.0.1:0".parse().expect("an address")).expect("claimed");
        let address = first.socket.local_addr().expect("bound").as_socket().expect("an address");
        let second = TcpClaim::new(address).expect("nobody listens yet");
        let first = first.listen().expect("the first");
        let late = second.listen().expect_err("the second");
        assert_eq!(late.source.kind(), io::ErrorKind::AddrInUse);
        assert!(late.to_string().contains(&address.to_string()), "{late}");
        drop(first);
    }
}
