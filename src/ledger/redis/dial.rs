//! Opens a connection to one server and makes it ready: TLS, user, database, script.
//!
//! # Failure
//! [`DialError`]: a server that is away may come back; one that refuses us, or
//! cannot run the script, needs an operator.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::resp::{self, Malformed, Reply};
use super::script::Invocation;
use crate::policy::redis_url::Place;
use crate::secret::Secret;

/// Bytes in both directions, encrypted or not.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// Who we are, to each server.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("the server cannot be reached")]
    Away(#[from] io::Error),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The server's own words, without ours.
    #[error("the server refuses {what}: {said}")]
    Refused { what: &'static str, said: String },
    #[error("the server is not the master")]
    NotMaster,
    #[error("no sentinel knows the master")]
    NoMaster,
}

impl DialError {
    /// Whether waiting does not help.
    pub(super) fn is_final(&self) -> bool {
        // A server that is loading or failing over says so, and will be well.
        let passing =
            ["LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "MOVED", "TRYAGAIN"];
        match self {
            Self::Refused { said, .. } => !passing.iter().any(|word| said.starts_with(word)),
            _ => false,
        }
    }
}

/// An open connection and what was read too much.
pub(super) struct Connection {
    pub(super) stream: Box<dyn Bytes>,
    pub(super) read: Vec<u8>,
}

/// Connects, without a word yet.
pub(super) async fn open(
    place: &Place,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Connection, DialError> {
    let stream: Box<dyn Bytes> = match place {
        Place::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Place::Tcp { host, port } => {
            let tcp = TcpStream::connect((host.as_str(), *port)).await?;
            tcp.set_nodelay(true)?;
            match tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let name = ServerName::try_from(host.clone())
                        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                    Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?)
                }
            }
        }
    };
    Ok(Connection { stream, read: Vec::new() })
}

/// Connects to a server that keeps counts, and checks that it can.
///
/// `sure` wants its own word that it is a master; otherwise one that may not be asked is believed.
pub(super) async fn ready(
    place: &Place,
    login: &Login,
    sure: bool,
) -> Result<Connection, DialError> {
    let mut connection = open(place, login.tls.as_ref()).await?;
    connection.introduce(login).await?;
    if login.database != 0 {
        let database = login.database.to_string();
        connection.expect("the database", &[b"SELECT", database.as_bytes()]).await?;
    }
    let role = connection.ask(&resp::command(&[b"ROLE"])).await?;
    match role.array().first().and_then(Reply::text) {
        Some("master") => {}
        None if !sure => {}
        _ => return Err(DialError::NotMaster),
    }
    // Loads the script, too.
    let hello = Invocation::new("hello", &[], None);
    match connection.ask(&hello.whole()).await? {
        Reply::Error(said) => Err(DialError::Refused { what: "to run a script", said }),
        _ => Ok(connection),
    }
}

impl Connection {
    /// Says who we are, where there is a password.
    pub(super) async fn introduce(&mut self, login: &Login) -> Result<(), DialError> {
        let Some(password) = &login.password else { return Ok(()) };
        let password = password.expose().as_bytes();
        let command: &[&[u8]] = match &login.user {
            Some(user) => &[b"AUTH", user.as_bytes(), password],
            None => &[b"AUTH", password],
        };
        self.expect("the user or password", command).await
    }

    async fn expect(&mut self, what: &'static str, command: &[&[u8]]) -> Result<(), DialError> {
        match self.ask(&resp::command(command)).await? {
            Reply::Error(said) => Err(DialError::Refused { what, said }),
            _ => Ok(()),
        }
    }

    /// One question and its answer.
    pub(super) async fn ask(&mut self, bytes: &[u8]) -> Result<Reply, DialError> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await?;
        loop {
            if let Some((reply, length)) = resp::parse(&self.read)? {
                self.read.drain(..length);
                return Ok(reply);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}
