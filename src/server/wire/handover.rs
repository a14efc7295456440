//! What the reader of bytes and the server of requests tell each other.
//!
//! They meet on one connection but not in one call: the reader must know when
//! the answer it waits for is over, and whether the connection became a tunnel;
//! the server must know why a message was not read any further.

use std::{
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Waker,
};

use super::Fault;

/// One per connection.
#[derive(Debug, Default)]
pub(in crate::server) struct Handover {
    fault: OnceLock<Fault>,
    tunnel: AtomicBool,
    waits: AtomicBool,
    reader: Mutex<Option<Waker>>,
}

impl Handover {
    /// Says what is wrong with the last message; the first word counts.
    pub(in crate::server) fn set_fault(&self, fault: Fault) {
        self.fault.get_or_init(|| fault);
    }

    /// What is wrong with the last message.
    pub(in crate::server) fn fault(&self) -> Option<Fault> {
        self.fault.get().copied()
    }

    /// From now on the bytes are not HTTP any more.
    pub(in crate::server) fn become_tunnel(&self) {
        self.tunnel.store(true, SeqCst);
        self.wake();
    }

    /// Whether the bytes are not HTTP any more.
    pub(in crate::server) fn is_tunnel(&self) -> bool {
        self.tunnel.load(SeqCst)
    }

    /// The reader wants to know when an answer is over; it must look once more after this.
    pub(in crate::server) fn await_answer(&self, reader: &Waker) {
        *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = Some(reader.clone());
        self.waits.store(true, SeqCst);
    }

    /// An answer is over.
    pub(in crate::server) fn wake(&self) {
        if !self.waits.load(SeqCst) || !self.waits.swap(false, SeqCst) {
            return;
        }
        // The lock is held for a move; nobody waits inside it.
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
