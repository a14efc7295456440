//! A body that nobody wants: read and thrown away, within bounds.
//!
//! An answer may come before its request has arrived whole. What is there
//! already is thrown away, so that the connection can go on. On HTTP/2 the rest
//! is thrown away beside the answer: without a reader the stream would be reset,
//! and some clients then drop the answer. On HTTP/1 the connection is closed
//! behind the answer; see `server::Peer::linger`.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// The most that is thrown away at once.
const AT_ONCE: usize = 64 << 10;
/// The most that is thrown away beside an answer, and for how long.
const BESIDE: usize = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Throws away what has arrived; `true` if that was all.
pub fn now(body: &mut Incoming) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    let mut left = AT_ONCE;
    while left > 0 {
        match Pin::new(&mut *body).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                left = left.saturating_sub(frame.data_ref().map_or(1, |data| data.len().max(1)));
            }
            Poll::Ready(None) => return true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => return body.is_end_stream(),
        }
    }
    body.is_end_stream()
}

/// Throws away what still comes, within bounds.
pub async fn rest(mut body: Incoming) {
    let read = async {
        let mut left = BESIDE;
        while let (true, Some(Ok(frame))) = (left > 0, body.frame().await) {
            left = left.saturating_sub(frame.data_ref().map_or(1, |data| data.len().max(1)));
        }
    };
    // Who takes longer is cut off.
    drop(tokio::time::timeout(PATIENCE, read).await);
}
