//! Redacts what a server says on a WebSocket.
//!
//! A text message is held until it is whole, cleaned and sent on as one frame; so
//! is the reason of a close. Binary messages, pings and pongs pass as they are, at
//! once, also between the fragments of a text.
//!
//! # Limits
//! Holds one message, whose size the [`Reader`](super::frame::Reader) bounds. A
//! secret that is spread over two messages is not found.

use std::sync::Arc;

use bytes::BytesMut;

use super::{
    Tally,
    close::{put_close, put_text},
    frame::{Head, Opcode, Step},
};
use crate::{
    policy::snapshot::Policy,
    sanitize::{Hits, Redactor},
};

/// Cleans one direction.
pub struct Cleaner {
    redactor: Arc<Redactor>,
    policy: Arc<Policy>,
    tally: Arc<Tally>,
    frame: Option<Head>,
    /// Whether the message under way is text.
    in_text: bool,
    text: BytesMut,
    close: Vec<u8>,
}

impl Cleaner {
    /// A cleaner for the rules of `policy`; `None` when it has none.
    pub fn of(policy: &Arc<Policy>, tally: &Arc<Tally>) -> Option<Self> {
        let redactor = Arc::clone(policy.cleaning.redactor.as_ref()?);
        Some(Self {
            redactor,
            policy: Arc::clone(policy),
            tally: Arc::clone(tally),
            frame: None,
            in_text: false,
            text: BytesMut::new(),
            close: Vec::new(),
        })
    }

    /// Takes the next part of a frame and appends to `out` what may be sent on.
    pub fn take(&mut self, step: &Step, bytes: &[u8], out: &mut BytesMut) {
        match step {
            Step::More => {}
            Step::Head(head) => {
                match head.opcode {
                    Opcode::Text => self.in_text = true,
                    Opcode::Binary => self.in_text = false,
                    _ => {}
                }
                self.frame = Some(*head);
                if !self.holds() {
                    out.extend_from_slice(bytes);
                }
                if head.payload == 0 {
                    self.end_frame(out);
                }
            }
            Step::Payload { ends, .. } => {
                match self.frame.map(|head| head.opcode) {
                    Some(Opcode::Close) => self.close.extend_from_slice(bytes),
                    _ if self.holds() => self.text.extend_from_slice(bytes),
                    _ => out.extend_from_slice(bytes),
                }
                if *ends {
                    self.end_frame(out);
                }
            }
        }
    }

    /// Whether the frame under way is held back, so that others may be sent before it.
    pub fn holds(&self) -> bool {
        self.frame.is_none_or(|head| match head.opcode {
            Opcode::Close | Opcode::Text => true,
            Opcode::Continuation => self.in_text,
            Opcode::Binary | Opcode::Ping | Opcode::Pong => false,
        })
    }

    fn end_frame(&mut self, out: &mut BytesMut) {
        let held = self.holds();
        let Some(head) = self.frame.take().filter(|_| held) else { return };
        if head.opcode == Opcode::Close {
            let payload = std::mem::take(&mut self.close);
            let (code, reason) = payload.split_at(payload.len().min(2));
            let clean = [code, &self.redact(reason)].concat();
            put_close(out, &clean);
        } else if head.last {
            let text = self.text.split().freeze();
            put_text(out, &self.redact(&text));
        }
    }

    fn redact<'a>(&self, text: &'a [u8]) -> std::borrow::Cow<'a, [u8]> {
        let mut hits = Hits::new();
        let clean = self.redactor.redact(text, &mut hits);
        if !hits.is_empty() {
            self.tally.redacted(super::super::clean::count(&self.policy, &hits));
        }
        clean
    }
}
