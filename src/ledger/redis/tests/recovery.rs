//! How soon a server that was away is found again, by a clock that is told.

use std::io;
use std::time::Duration;

use tokio::time::Instant;

use super::super::dial::{Connection, DialError};
use super::super::node::{Dialing, Node};

/// The longest that a dial takes and the pause behind it: see `node.rs`.
const SOON: Duration = Duration::from_millis(2_000);

#[derive(Clone, Copy, Debug)]
enum Way {
    /// Connections are refused.
    Refuses,
    /// Nobody answers at all.
    Swallows,
}

async fn dial(way: Way, back: Instant) -> Result<Connection, DialError> {
    if Instant::now() < back {
        return match way {
            Way::Refuses => Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()),
            Way::Swallows => std::future::pending().await,
        };
    }
    let (ours, theirs) = tokio::io::duplex(1 << 10);
    // Open for as long as the test.
    std::mem::forget(theirs);
    Ok(Connection { stream: Box::new(ours), read: Vec::new() })
}

#[tokio::test(start_paused = true)]
async fn a_server_is_found_again_within_two_seconds_however_long_it_was_away() {
    for way in [Way::Refuses, Way::Swallows] {
        for seconds in [0, 1, 7, 60, 3_600] {
            let back = Instant::now() + Duration::from_millis(seconds * 1_000 + 321);
            let dialer = Box::new(move || -> Dialing { Box::pin(dial(way, back)) });
            let node = Node::start(dialer, Duration::from_millis(50));
            tokio::time::sleep_until(back).await;
            assert!(!node.is_connected(), "{way:?} for {seconds} s");
            node.first().await.unwrap();
            let took = back.elapsed();
            assert!(took <= SOON, "{way:?} for {seconds} s: {took:?}");
        }
    }
}
