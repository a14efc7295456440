//! What gives back what nobody came to own: a call may be given up at any of its waits.

use std::sync::Arc;

use super::held::{Amounts, Part, Source};
use super::live::Keys;
use super::server::Server;
use super::share::Share;
use crate::ledger::decision::Demand;

/// A drawing that is under way; however it ends, the subject may draw again.
pub(super) struct Drawing<'d> {
    pub(super) server: &'d Server,
    pub(super) demand: &'d Demand<'d>,
    pub(super) most: u64,
    pub(super) share: Option<Arc<Share>>,
}

impl Drop for Drawing<'_> {
    fn drop(&mut self) {
        let Demand { subject, limits, .. } = self.demand;
        self.server.shares.drawn(subject, limits, self.share.take());
    }
}

/// A hold that may be on the server while nobody owns it: dropped, it is given back.
pub(super) struct Pending<'s> {
    pub(super) server: &'s Server,
    pub(super) serial: u64,
    pub(super) keys: Keys,
    pub(super) amounts: Amounts,
    pub(super) booked: bool,
}

impl<'s> Pending<'s> {
    pub(super) fn new(server: &'s Server, serial: u64, keys: Keys, amounts: &Amounts) -> Self {
        Self { server, serial, keys, amounts: *amounts, booked: false }
    }

    pub(super) fn keep(mut self) -> Part {
        self.booked = false;
        self.server.live.add(self.serial, Arc::clone(&self.keys));
        let source = Source::Direct { serial: self.serial, keys: Arc::clone(&self.keys) };
        Part { amounts: self.amounts, source }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if self.booked {
            self.server.settle_direct(self.serial, &self.keys, Amounts::default(), None);
        }
    }
}
