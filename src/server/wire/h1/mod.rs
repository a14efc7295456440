//! Follows HTTP/1 requests over the bytes of a connection.
//!
//! [`Inspector::judge`] is given what is not judged yet and says how much of it
//! the HTTP library may see. A head passes whole or not at all, so the library
//! never sees half of one; a body passes as it comes. At the end of a message it
//! stops: what follows waits with the caller until the answer is over, so that
//! one request is in the library's hands at a time.
//!
//! # Failure
//! The first [`Fault`] ends the connection; nothing after it is judged.
//!
//! # Limits
//! A head has at most as many octets as the caller says and [`MAX_FIELDS`] lines.

mod body;
mod chunked;
mod head;

use body::Body;
use head::Head;
pub(in crate::server) use head::{MADE_UP, MADE_UP_METHOD, MAX_FIELDS};

use super::Fault;

/// Where in a message the bytes are.
#[derive(Debug)]
pub(in crate::server) struct Inspector {
    state: State,
    max_head: usize,
}

#[derive(Debug)]
enum State {
    Head(Head),
    Body(Body),
    /// The message is over; the next is not looked at before [`Inspector::next`].
    Whole,
}

/// How much of what was judged may be passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Passed {
    /// Octets from the front.
    pub(in crate::server) octets: usize,
    /// Whether a head is among them.
    pub(in crate::server) head: bool,
}

impl Inspector {
    /// Expects a head of at most `max_head` octets.
    pub(in crate::server) fn new(max_head: usize) -> Self {
        Self { state: State::Head(Head::default()), max_head }
    }

    /// Judges `bytes`, which begin with the first octet that did not pass yet.
    ///
    /// # Errors
    /// What is wrong; nothing passes then.
    pub(in crate::server) fn judge(&mut self, bytes: &[u8]) -> Result<Passed, Fault> {
        let head = match &mut self.state {
            State::Head(head) => {
                // What lies beyond the limit is not looked at, so that it makes no difference.
                let Some(end) = head.read(bytes.get(..self.max_head).unwrap_or(bytes))? else {
                    return match bytes.len() > self.max_head {
                        true => Err(Fault::HeadTooLarge),
                        false => Ok(Passed::default()),
                    };
                };
                self.state = State::Body(head.body()?);
                end
            }
            State::Body(_) | State::Whole => 0,
        };
        let rest = bytes.get(head..).unwrap_or_default();
        Ok(Passed { octets: head + self.read_body(rest)?, head: head > 0 })
    }

    fn read_body(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let State::Body(body) = &mut self.state else { return Ok(0) };
        let read = body.read(bytes)?;
        if body.is_over() {
            self.state = State::Whole;
        }
        Ok(read)
    }

    /// Whether a head has passed and its body has not, in whole.
    pub(in crate::server) fn is_inside(&self) -> bool {
        matches!(self.state, State::Body(_))
    }

    /// Whether a message has passed in whole.
    pub(in crate::server) fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    /// The answer is over: expects the next head.
    pub(in crate::server) fn next(&mut self) {
        self.state = State::Head(Head::default());
    }
}

#[cfg(test)]
mod tests;
