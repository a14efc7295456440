//! One downstream connection and its verified facts.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ::http::HeaderValue;
use tokio::sync::Notify;

use super::{
    PeerCertificate,
    tls::Tenancy,
    wire::{Fault, Handover},
};
use crate::telemetry::Protocol;

/// Names are spelled out again after so many answers, and not before [`LESSON_PAUSE_MS`] is over. What is put into
/// the table pushes out as much; and where it pushes out nothing, every spelling is one more to compare with.
const LESSON: u32 = 64;
/// In so long the dates of busy answers, one a second, fill a quarter of the table
/// (RFC 7541, 4.1: 65 of 4,096 bytes each).
const LESSON_PAUSE_MS: u64 = 16_000;

/// Who is connected, as the socket and the handshake say.
#[derive(Debug)]
pub struct Peer {
    /// Address of the other end.
    pub address: SocketAddr,
    /// The address without its port, ready to be forwarded and logged.
    pub ip: HeaderValue,
    /// What ALPN agreed on.
    pub protocol: Protocol,
    /// What the client proved in the handshake, verified; `None` when it showed nothing.
    pub certificate: Option<Arc<PeerCertificate>>,
    /// Whether the connection is encrypted.
    pub is_secure: bool,
    /// Whether it is one more than there may be: it is told so, and ends.
    pub is_surplus: bool,
    pub(super) is_local: bool,
    pub(super) tenancy: Option<Tenancy>,
    opened: Instant,
    requests: AtomicU32,
    answers: AtomicU32,
    next_lesson_ms: AtomicU64,
    in_flight: AtomicU32,
    idle_since_ms: AtomicU64,
    linger: AtomicBool,
    pub(super) handover: Handover,
    tunnels: AtomicU32,
    left: Notify,
}

impl Peer {
    /// A connection that was opened now.
    pub fn new(address: SocketAddr, protocol: Protocol) -> Self {
        let ip = address.ip().to_canonical();
        let text = HeaderValue::try_from(ip.to_string());
        Self {
            address: SocketAddr::new(ip, address.port()),
            ip: text.unwrap_or(HeaderValue::from_static("unknown")),
            protocol,
            certificate: None,
            is_secure: false,
            is_surplus: false,
            is_local: false,
            tenancy: None,
            opened: Instant::now(),
            requests: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            next_lesson_ms: AtomicU64::new(0),
            in_flight: AtomicU32::new(0),
            idle_since_ms: AtomicU64::new(0),
            linger: AtomicBool::new(false),
            handover: Handover::default(),
            tunnels: AtomicU32::new(0),
            left: Notify::new(),
        }
    }

    /// Whether there is more than one tenant, so that [`Peer::owns`] has something to say.
    pub fn has_tenants(&self) -> bool {
        self.tenancy.is_some()
    }

    /// Whether requests for `host`, with or without a port, may come over this connection: not
    /// when the handshake was for another tenant.
    pub fn owns(&self, host: &str) -> bool {
        self.tenancy.as_ref().is_none_or(|tenancy| tenancy.owns(host))
    }

    /// The address without its port.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Whether it came over a unix socket, and nobody was named behind it.
    pub fn is_unix(&self) -> bool {
        self.is_local
    }

    /// The address as text.
    pub fn ip_text(&self) -> &str {
        self.ip.to_str().unwrap_or("unknown")
    }

    /// Whether the next answer should teach the client the names of fields whose values it never sees
    /// again: the first one, and now and then one after it, because HPACK's table forgets.
    pub fn teaches_names(&self, now: Instant) -> bool {
        let answers = self.answers.fetch_add(1, Relaxed);
        let (due, now) = (self.next_lesson_ms.load(Relaxed), self.since_opened_ms(now));
        let teaches = answers == 0 || answers >= LESSON && now >= due;
        if teaches {
            // A lesson more or less of two at once does no harm.
            self.answers.store(1, Relaxed);
            self.next_lesson_ms.store(now + LESSON_PAUSE_MS, Relaxed);
        }
        teaches
    }

    /// Says that a request is answered before its body was read: the connection
    /// is closed after the answer, and what still arrives is discarded for a while,
    /// so that the answer reaches a client that is still sending.
    pub fn linger(&self) {
        self.linger.store(true, Relaxed);
    }

    /// Why the last message of this connection was not read, or not read on.
    pub fn fault(&self) -> Option<Fault> {
        self.handover.fault()
    }

    pub(super) fn lingers(&self) -> bool {
        self.linger.load(Relaxed)
    }

    pub(super) fn begin(&self) {
        self.requests.fetch_add(1, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(super) fn finish(&self) {
        self.idle_since_ms.store(self.since_opened_ms(Instant::now()), Relaxed);
        self.in_flight.fetch_sub(1, Relaxed);
        self.handover.wake();
    }

    /// Says that bytes flow beside HTTP: the connection is busy until they end.
    pub(super) fn enter_tunnel(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.tunnels.fetch_add(1, Relaxed);
    }

    pub(super) fn leave_tunnel(&self) {
        self.finish();
        self.tunnels.fetch_sub(1, Relaxed);
        self.left.notify_waiters();
    }

    /// Returns once no tunnel is open on this connection.
    pub(super) async fn tunnels_ended(&self) {
        loop {
            let left = self.left.notified();
            if self.tunnels.load(Relaxed) == 0 {
                return;
            }
            left.await;
        }
    }

    /// Requests that began on this connection.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    pub(super) fn opened(&self) -> Instant {
        self.opened
    }

    fn since_opened_ms(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.opened);
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.opened + Duration::from_millis(self.idle_since_ms.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taught_by_the_first_answer_and_now_and_then_again() {
        let peer = Peer::new(([192, 0, 2, 1], 1).into(), Protocol::Http2);
        let (began, pause) = (Instant::now(), Duration::from_millis(LESSON_PAUSE_MS));
        let taught_at = |now: Instant, answers: u32| {
            let taught = (0..answers).filter(|_| peer.teaches_names(now));
            taught.collect::<Vec<u32>>()
        };
        assert_eq!(taught_at(began, LESSON * 3), [0]);
        let later = began + pause + Duration::from_secs(1);
        assert_eq!(taught_at(later, LESSON * 3), [0]);
        let quiet = later + pause;
        let few: u32 = (0..LESSON - 1).map(|_| u32::from(peer.teaches_names(quiet))).sum();
        assert_eq!(few, 1, "many answers had passed before");
        assert_eq!(taught_at(quiet + pause, LESSON), [1], "a pause is not enough");
    }
}
