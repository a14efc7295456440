//! What ends an answer before its upstream does: silence, a lifetime, a caller that may not go on.
//!
//! Events end in order, so that their reader comes back or knows why not; a call
//! of gRPC ends with a status; everything else is cut.

use std::{
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;

use super::{
    super::{farewell, panic, presence::LOOK, refusal::Refusal},
    Download, DownloadError, Source, Stream,
};
use crate::upstream;

impl Download {
    /// Gives up an answer that panicked on its way: what it had booked is settled as it stands.
    #[cold]
    pub(super) fn panicked(&mut self) -> DownloadError {
        if let Source::Stream(mut stream) = std::mem::replace(&mut self.0, Source::Nothing) {
            let facts = &mut stream.exchange.facts;
            (facts.complete, facts.detail) = (true, Some("passing the answer on panicked".into()));
            panic::count(&stream.exchange.shared);
        }
        DownloadError::Panicked
    }
}

impl Stream {
    /// Whether it has lasted as long as it may, or its caller may not go on.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if now >= self.look_at && self.refusal.is_none() {
            self.look_at = now + LOOK;
            self.refusal = self.looks.look(&mut self.exchange).err();
        }
        self.refusal.is_some() || self.until.is_some_and(|until| now >= until)
    }

    /// Ends what has lasted as long as it may: events in order, everything else by a cut.
    pub(super) fn expire(&mut self, ready_now: &mut Option<Bytes>) -> Result<(), DownloadError> {
        if let Some(refusal) = self.refusal.take() {
            return self.dismiss(&refusal, ready_now);
        }
        self.exchange.facts.detail = Some("max_lifetime is over".into());
        if !self.events {
            return Err(DownloadError::Expired);
        }
        // The upstream is not done: its connection cannot be used again.
        self.lease = None;
        self.end(ready_now);
        Ok(())
    }

    /// Ends the answer of a caller that may not go on, with a word where there is room for one.
    fn dismiss(
        &mut self,
        refusal: &Refusal,
        ready_now: &mut Option<Bytes>,
    ) -> Result<(), DownloadError> {
        let facts = &mut self.exchange.facts;
        (facts.refused, facts.detail) = (Some(refusal.code), refusal.detail.clone());
        self.lease = None;
        let meter = self.permit.as_mut().and_then(|permit| permit.meter());
        let words = meter.and_then(|meter| meter.farewell(refusal));
        self.end(ready_now);
        self.gather(ready_now);
        self.border.pass(&self.gathered);
        if self.exchange.grpc {
            self.trailers = Some(farewell::trailers(refusal));
        } else if self.events && self.border.is_here() {
            let words = words.unwrap_or_else(|| farewell::event(&self.exchange, refusal));
            self.gathered.extend_from_slice(&words);
        } else {
            return Err(DownloadError::Refused);
        }
        Ok(())
    }

    pub(super) fn broken(&mut self, error: &hyper::Error) -> DownloadError {
        self.exchange.facts.detail = Some(match upstream::fault(error) {
            Some(fault) => fault.to_string().into(),
            None => "the upstream's answer broke off".into(),
        });
        DownloadError::Broken
    }

    /// Ready once nothing was heard for the policy's `idle_timeout`, or the answer has lasted long enough.
    pub(super) fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.silence.as_mut().poll(cx));
            let silent = self.heard + self.idle_timeout;
            let deadline = self.until.map_or(silent, |until| until.min(silent));
            let now = Instant::now();
            if self.is_over(now) || now >= deadline {
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(deadline.min(self.look_at).into());
        }
    }
}
