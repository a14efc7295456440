//! A port that is this test's alone, also while nothing listens on it.
//!
//! A number that is found free and bound later may be another's by then: tests run beside each
//! other, and each makes thousands of connections, all of which take ports. A socket that is bound
//! and never listens keeps the number: the system gives it to nobody, whoever connects is refused,
//! and a server that wants it by its number gets it, because servers set `SO_REUSEADDR` as we do.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// The port is kept until this is dropped.
pub struct Port {
    pub address: SocketAddr,
    _held: Socket,
}

impl Port {
    /// A free port of 127.0.0.1.
    pub fn free() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        held.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = held.local_addr().unwrap().as_socket().unwrap();
        Self { address, _held: held }
    }
}
