//! A WebSocket between caller and upstream, from the handshake to the end of both sides.
//!
//! One task holds both directions and everything that may end them: the limits on
//! messages, `max_lifetime`, silence, a policy that no longer allows the caller, a
//! budget that is spent, a stop of the process. Whoever ends it, both sides are
//! told in a close frame between two frames, are heard out, and leave one record.
//!
//! # Failure
//! A side that ends without a close leaves the other with one (1011 for the
//! caller), or with none when it is the caller that left. After a panic both are
//! cut; what was booked is settled and recorded all the same.
//!
//! # Limits
//! Two read buffers of 16 KiB, and one text message while it is cleaned. A side
//! that takes nothing is waited for at most [`PATIENCE`] at the end.

mod clean;
mod close;
mod end;
mod frame;
#[cfg(fuzzing)]
pub mod fuzz;
mod pump;
mod session;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hyper::upgrade::OnUpgrade;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep_until, timeout},
};

use clean::Cleaner;
use end::End;
use frame::Sender;
use pump::{Pump, Turn};
pub use session::Session;

use super::panic::CatchPanic;
use crate::server::{Drain, TunnelBytes};

/// How long a side may take to finish a frame, to hear a close, to answer it, and to end.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long the upstream's connection may take to stop speaking HTTP: it has said so already.
const HANDOVER: Duration = Duration::from_secs(5);
/// How often it is asked whether the caller may still be here.
const LOOK: Duration = Duration::from_secs(1);
/// How long the other side may take after one has said goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// What moved so far; shared with whoever writes the record.
#[derive(Debug, Default)]
pub struct Tally {
    up: AtomicU64,
    down: AtomicU64,
    redactions: AtomicU64,
}

impl Tally {
    fn moved(&self, sender: Sender, bytes: usize) {
        let direction = match sender {
            Sender::Client => &self.up,
            Sender::Server => &self.down,
        };
        direction.fetch_add(bytes as u64, Relaxed);
    }

    fn redacted(&self, matches: u64) {
        self.redactions.fetch_add(matches, Relaxed);
    }
}

/// Carries a WebSocket until it ends.
pub async fn carry(mut session: Session, caller: TunnelBytes, upstream: OnUpgrade, drain: Drain) {
    session.begin();
    let Ok(Ok(upstream)) = timeout(HANDOVER, upstream).await else {
        return session.note(&End::UpstreamGone);
    };
    let upstream = TunnelBytes::new(upstream);
    let (caller_read, caller_write) = tokio::io::split(caller);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let (max, tally) = (session.rules().max_size, session.tally());
    let up = Pump::new(caller_read, upstream_write, Sender::Client, max, Arc::clone(&tally));
    let mut up = up.asking(session.asks());
    let down = Pump::new(upstream_read, caller_write, Sender::Server, max, Arc::clone(&tally));
    let mut down = down.cleaned_by(Cleaner::of(session.policy(), &tally));
    let ended = CatchPanic::new(|| run(&mut session, &mut up, &mut down, &drain)).await;
    let Some(end) = ended else {
        return session.note(&End::Panicked);
    };
    session.note(&end);
    part(&end, up, down).await;
}

/// Moves both directions until something ends them.
async fn run<A, B, C, D>(
    session: &mut Session,
    up: &mut Pump<A, B>,
    down: &mut Pump<C, D>,
    drain: &Drain,
) -> End
where
    A: AsyncRead + Unpin,
    B: AsyncWrite + Unpin,
    C: AsyncRead + Unpin,
    D: AsyncWrite + Unpin,
{
    let silence = session.policy().upstream.idle_timeout;
    let far = Instant::now() + Duration::from_secs(86_400 * 365);
    let mut lifetime = pin!(sleep_until(session.ends_at().unwrap_or(far).into()));
    let mut goodbye = pin!(sleep_until(far.into()));
    let mut parting = pin!(drain.parting());
    let mut look = tokio::time::interval_at((Instant::now() + LOOK).into(), LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut up_closed, mut down_closed) = (false, false);
    loop {
        let (turn, caller_spoke) = tokio::select! {
            turn = up.turn(), if !up_closed => (turn, true),
            turn = down.turn(), if !down_closed => (turn, false),
            () = lifetime.as_mut() => return End::Lifetime,
            () = goodbye.as_mut() => return End::Closed,
            () = parting.as_mut() => return End::Leaving,
            _ = look.tick() => {
                if up.heard().max(down.heard()).elapsed() >= silence {
                    return End::Silent;
                }
                match session.look().await {
                    Ok(()) => continue,
                    Err(refusal) => return End::Refused(refusal),
                }
            }
        };
        match (turn, caller_spoke) {
            (Turn::Asks, _) => match session.message().await {
                Ok(()) => up.allow(),
                Err(refusal) => return End::Refused(refusal),
            },
            (Turn::Closed, spoke) => {
                *(if spoke { &mut up_closed } else { &mut down_closed }) = true;
                goodbye.as_mut().reset((Instant::now() + GOODBYE).into());
            }
            (turn, spoke) => return ended(&turn, spoke, up_closed || down_closed),
        }
        if up_closed && down_closed {
            return End::Closed;
        }
    }
}

/// What it means that one direction cannot go on.
fn ended(turn: &Turn, caller_spoke: bool, closing: bool) -> End {
    match (turn, caller_spoke) {
        (Turn::Faulty(fault), true) => End::CallerFault(*fault),
        (Turn::Faulty(fault), false) => End::UpstreamFault(*fault),
        // After a close, an end is the end that was meant.
        _ if closing => End::Closed,
        (Turn::Unwritable, true) => End::UpstreamGone,
        (Turn::Unwritable, false) => End::CallerGone,
        (_, true) => End::CallerGone,
        (_, false) => End::UpstreamGone,
    }
}

/// Tells both sides, hears them out, and closes both connections.
async fn part<A, B, C, D>(end: &End, mut up: Pump<A, B>, mut down: Pump<C, D>)
where
    A: AsyncRead + Unpin,
    B: AsyncWrite + Unpin,
    C: AsyncRead + Unpin,
    D: AsyncWrite + Unpin,
{
    // What a side does not take or say in time is done without.
    if let Some(close) = end.close() {
        let (to_caller, to_upstream) = (down.say(&close), up.say(&close));
        let _ = tokio::join!(timeout(PATIENCE, to_caller), timeout(PATIENCE, to_upstream));
        let (caller, upstream) = (up.hear_out(), down.hear_out());
        let _ = tokio::join!(timeout(PATIENCE, caller), timeout(PATIENCE, upstream));
    }
    let _ = tokio::join!(timeout(PATIENCE, down.shut()), timeout(PATIENCE, up.shut()));
}
