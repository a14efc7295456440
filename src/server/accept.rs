//! Takes connections from listening sockets and gives them to workers.
//!
//! Past the bound on connections, up to [`TOLD`] more are served far enough to be
//! told 503; what comes beyond is closed at once, because a handshake costs more
//! than all that a refusal saves. An address past its own bound is closed at once.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use super::{
    ConnectionLimits, Drain, Handler, Overload, Peer, Senders, Socket, Tls, Workers,
    crowd::{Crowd, Guest},
    http,
    opening::Opening,
    redirect,
    transport::{Arrival, Stream, Transport},
    workers::Place,
};
use crate::telemetry::{Handshake, Metrics};

/// How long accepting pauses when the system has no descriptor left.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections past the bound that are told so at once.
const TOLD: usize = 64;
/// How long such a connection lives on after its handshake.
const TOLD_FOR: Duration = Duration::from_secs(2);
/// Whoever can open a unix socket of ours is on this machine.
const THIS_MACHINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// What connections of a listening socket get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The service.
    Main,
    /// The way to https, on this port.
    Redirect(u16),
}

/// All that the connections of the listening sockets need.
pub struct Listener<H> {
    /// The TLS side; `None` for plaintext.
    pub tls: Option<Arc<Tls>>,
    /// Who must say on whose behalf it connects.
    pub senders: Senders,
    /// One handler per worker.
    pub handlers: Vec<Arc<H>>,
    /// The threads.
    pub workers: Arc<Workers>,
    /// Bounds of each connection.
    pub limits: ConnectionLimits,
    /// Gives way when memory runs out.
    pub overload: Arc<Overload>,
    /// Ends it all.
    pub drain: Drain,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// A connection that is ready for HTTP.
struct Opened {
    stream: Stream,
    peer: Peer,
    guest: Option<Guest>,
}

impl<H: Handler> Listener<H> {
    /// Accepts from `sockets` until draining begins, and closes them then: connections that are
    /// still open must not keep new ones waiting in a queue.
    pub async fn serve(self, sockets: Vec<(Socket, Door)>) {
        let limits = self.limits;
        let is_bounded = limits.max_connections_per_address < limits.max_connections;
        let crowd = is_bounded.then(|| Crowd::new(limits.max_connections_per_address));
        let drain = self.drain.clone();
        let open = Arc::new(Open { listener: self, crowd });
        let mut accepting = JoinSet::new();
        for (socket, door) in sockets {
            let open = Arc::clone(&open);
            accepting.spawn(async move { open.accept(&socket, door).await });
        }
        drain.begun().await;
        accepting.shutdown().await;
    }

    /// Returns when a connection should end after what it carries: at a drain; when memory runs
    /// out, unless nothing was asked on it yet; soon, when it is one too many.
    pub(super) async fn ending(&self, peer: Arc<Peer>) {
        if peer.is_surplus {
            // It is over either way.
            return drop(tokio::time::timeout(TOLD_FOR, self.drain.asks(&peer)).await);
        }
        self.drain.asks(&peer).await;
    }
}

/// A listener at work.
struct Open<H> {
    listener: Listener<H>,
    crowd: Option<Arc<Crowd>>,
}

impl<H: Handler> Open<H> {
    async fn accept(self: &Arc<Self>, socket: &Socket, door: Door) {
        let mut complained = None;
        loop {
            self.listener.overload.admits().await;
            match socket.accept().await {
                Ok(arrival) => self.dispatch(arrival, door),
                Err(error) => {
                    complain(&mut complained, &error);
                    if is_ours(&error) {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    fn dispatch(self: &Arc<Self>, arrival: Arrival, door: Door) {
        let Listener { workers, limits, metrics, drain, .. } = &self.listener;
        let open = workers.open();
        let is_surplus = open >= limits.max_connections;
        if is_surplus {
            metrics.connections_shed.add(1);
        }
        if open >= limits.max_connections + TOLD || (is_surplus && door != Door::Main) {
            return;
        }
        // Who is spoken for is known only after the PROXY header.
        let spoken_for = self.listener.senders.include(arrival.address());
        let Ok(guest) = self.enter(arrival.address().filter(|_| !spoken_for)) else { return };
        let Some((index, place)) = workers.place() else { return };
        let open = Arc::clone(self);
        let task = async move {
            let cut = open.listener.drain.clone();
            let turn = Turn { index, place, guest, spoken_for, is_surplus };
            tokio::select! {
                () = open.connection(arrival, door, turn) => {}
                () = cut.cut() => {}
            }
        };
        workers.spawn(index, drain.track(task));
    }

    /// Counts a connection for its address.
    fn enter(&self, address: Option<SocketAddr>) -> Result<Option<Guest>, Shed> {
        let (Some(crowd), Some(address)) = (&self.crowd, address) else { return Ok(None) };
        let guest = crowd.enter(address.ip());
        if guest.is_none() {
            self.listener.metrics.addresses_shed.add(1);
        }
        guest.map(Some).ok_or(Shed)
    }

    async fn connection(&self, arrival: Arrival, door: Door, turn: Turn) {
        let index = turn.index;
        let limits = &self.listener.limits;
        let address = arrival.address().unwrap_or(THIS_MACHINE);
        let Ok(transport) = arrival.take() else { return };
        if let Door::Redirect(port) = door {
            return redirect::serve(transport, port, limits.header_timeout).await;
        }
        let opening = self.open(transport, address, turn);
        let Ok(opened) = tokio::time::timeout(limits.handshake_timeout, opening).await else {
            return self.listener.metrics.handshake(Handshake::TimedOut);
        };
        let Some((Opened { stream, peer, guest }, _place)) = opened else { return };
        let _guest = guest;
        if let Some(handler) = self.listener.handlers.get(index) {
            http::serve(&self.listener, Arc::clone(handler), stream, Arc::new(peer)).await;
        }
    }

    /// All that comes before HTTP. `None` when the connection is not to be served.
    async fn open(
        &self,
        mut transport: Transport,
        mut address: SocketAddr,
        turn: Turn,
    ) -> Option<(Opened, Place)> {
        let listener = &self.listener;
        let rate = listener.handlers.get(turn.index)?.bounds().min_rate;
        let Listener { tls, metrics, .. } = listener;
        let opening = Opening { tls: tls.as_deref(), metrics, rate };
        let Turn { place, mut guest, spoken_for, is_surplus, .. } = turn;
        if spoken_for {
            address = opening.introduced(&mut transport, address).await?;
            guest = self.enter(Some(address)).ok()?;
        }
        let (stream, mut peer) = opening.stream(transport, address).await?;
        peer.is_surplus = is_surplus;
        peer.is_local = address == THIS_MACHINE;
        Some((Opened { stream, peer, guest }, place))
    }
}

/// A connection on its way to HTTP.
struct Turn {
    index: usize,
    place: Place,
    guest: Option<Guest>,
    spoken_for: bool,
    is_surplus: bool,
}

/// An address has as many connections as it may.
struct Shed;

/// Errors of this process or machine, as against those of the one connection.
fn is_ours(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Says at most once a second that accepting fails.
fn complain(last: &mut Option<Instant>, error: &io::Error) {
    if is_ours(error) && last.is_none_or(|last| last.elapsed() > Duration::from_secs(1)) {
        *last = Some(Instant::now());
        tracing::error!(%error, "cannot accept connections");
    }
}
