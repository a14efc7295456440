//! `[operations.<name>.messages]`: what may be said on a WebSocket.

use super::super::read::{At, Table, words};
use crate::units::Bytes;

/// The largest message that may be allowed: one of each direction is held while it is cleaned.
const MAX_SIZE: Bytes = Bytes::mib(64);

words! {
    /// A protocol that a connection may switch to.
    "a protocol such as \"websocket\""
    pub enum Upgrade {
        /// RFC 6455, and RFC 8441 over HTTP/2.
        WebSocket = "websocket",
    }
}

words! {
    /// What becomes of a request whose `Origin` the policy does not name.
    "a word such as \"refuse\""
    pub enum ForeignOrigins {
        /// It is forwarded; its answer carries no permission for the browser.
        Forward = "forward",
        /// It is refused with 403: needed where a request does harm although nobody reads its answer.
        Refuse = "refuse",
    }
}

/// What may be said on one WebSocket. All but `max_size` bound what the caller says.
#[derive(Debug, Clone)]
pub struct MessagesFile {
    /// Largest message in either direction, 1 B to 64 MiB, fragments together. Default 1 MiB.
    pub max_size: At<Bytes>,
    /// Most messages of the caller in any 60 s, 1 to 10 000. Default: any number.
    pub per_minute: Option<At<u32>>,
    /// Most messages of the caller on one connection. Default: any number.
    pub max_count: Option<At<u32>>,
    /// Whether each message of the caller is charged like a request. Default: only the handshake is.
    pub charged: At<bool>,
}

pub(super) fn read(table: &mut Table<'_, '_>) -> MessagesFile {
    MessagesFile {
        max_size: table.within("max_size", Bytes::mib(1), Bytes(1)..=MAX_SIZE),
        per_minute: table.optional_within("per_minute", 1..=10_000),
        max_count: table.optional_within("max_count", 1..=u32::MAX),
        charged: table.or("charged", false),
    }
}
