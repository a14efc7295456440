//! Asks sentinels who the master is.
//!
//! They are asked at each attempt to connect, all at once, so a failover is followed
//! by losing the old master and dialling the new one, and sentinels that are away cost
//! no time. What a sentinel names is believed only once it says itself that it is a
//! master (`ROLE`).

use std::time::Duration;

use tokio::task::JoinSet;

use super::dial::{self, Connection, DialError, Login};
use super::resp;
use crate::policy::redis_url::Place;

/// How long one sentinel may take.
const PATIENCE: Duration = Duration::from_millis(500);

/// Connects to the master that the first sentinel to answer names.
pub(super) async fn master(
    sentinels: &[Place],
    name: &str,
    login: &Login,
) -> Result<Connection, DialError> {
    let mut asked = JoinSet::new();
    for sentinel in sentinels {
        let (sentinel, name, login) = (sentinel.clone(), name.to_owned(), login.clone());
        asked.spawn(async move {
            tokio::time::timeout(PATIENCE, named(&sentinel, &name, &login)).await.ok()
        });
    }
    let (mut tried, mut last) = (Vec::new(), DialError::NoMaster);
    while let Some(told) = asked.join_next().await {
        let Ok(Some(Ok(place))) = told else { continue };
        if tried.contains(&place) {
            continue;
        }
        match dial::ready(&place, login, true).await {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
        tried.push(place);
    }
    Err(last)
}

async fn named(sentinel: &Place, name: &str, login: &Login) -> Result<Place, DialError> {
    let mut connection = dial::open(sentinel, login.tls.as_ref()).await?;
    let command = resp::command(&[b"SENTINEL", b"get-master-addr-by-name", name.as_bytes()]);
    let reply = connection.ask(&command).await?;
    let [host, port] = reply.array() else { return Err(DialError::NoMaster) };
    let port = port.number().and_then(|port| u16::try_from(port).ok());
    let (host, port) = host.text().zip(port).ok_or(DialError::NoMaster)?;
    Ok(Place::Tcp { host: host.to_owned(), port })
}
