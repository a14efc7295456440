//! What lets others stand in for the server while it is away.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::Redis;
use super::held::MAX_AMOUNT;
use super::resp::{self, Reply};
use super::script::{self, Invocation};
use super::server::Server;
use crate::ledger::StoreError;
use crate::ledger::authority::{Amount, Authority, Deed, Entry, Epoch, Move, Outbox};
use crate::policy::limit::SpanKey;

/// Where the mark of the books lies.
const MARK: &str = "weir:books";
/// Moves in one command.
const MOVES: usize = 100;
/// How long one command may take.
const PATIENCE: Duration = Duration::from_secs(1);

impl Authority for Redis {
    async fn probe(&self) -> Result<Epoch, StoreError> {
        self.server.epoch().await
    }

    async fn import(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.server.import(entries).await
    }

    fn post(&self, outbox: Arc<dyn Outbox>) {
        self.server.backlog.post(outbox);
    }
}

impl Server {
    /// The mark of the books and who keeps them: another master may have lost writes.
    async fn epoch(&self) -> Result<Epoch, StoreError> {
        let mut call = Invocation::new("hello", &[MARK], None);
        call.text(&format!("{:016x}", rand::rng().next_u64()));
        let until = Instant::now() + self.deadline;
        let reply = self.router.call(&call, until).await.map_err(|_| StoreError::Away)?;
        let mut hasher = DefaultHasher::new();
        reply.array().get(2).and_then(Reply::text).ok_or(StoreError::Away)?.hash(&mut hasher);
        let mut servers = Vec::new();
        for node in self.router.nodes() {
            let info = resp::command(&[b"INFO", b"server"]);
            let until = Instant::now() + self.deadline;
            let told = node.ask(info, 0, until).await.map_err(|_| StoreError::Away)?;
            // A user that may not ask has one server for the same one all the time.
            let line =
                told.text().and_then(|text| text.lines().find(|line| line.starts_with("run_id:")));
            servers.push(line.unwrap_or_default().to_owned());
        }
        servers.sort_unstable();
        servers.hash(&mut hasher);
        Ok(Epoch(hasher.finish()))
    }

    /// Tells all entries, those of one subject and journal in one command where they fit.
    async fn import(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let mut changes: BTreeMap<(&str, u128), Vec<Change<'_>>> = BTreeMap::new();
        for entry in entries {
            match &entry.deed {
                Deed::Change { subject, at, moves } => changes
                    .entry((subject, entry.id.journal))
                    .or_default()
                    .push((entry.id.sequence, at.0, moves)),
                Deed::Settlement(bytes) => {
                    // Whatever is no settlement of ours was damaged on the way; nobody could tell it.
                    let Some(call) = Invocation::from_bytes(bytes) else { continue };
                    self.tell(&call).await?;
                }
            }
        }
        for ((subject, journal), changes) in changes {
            let account = script::account(subject);
            for some in chunks(&changes) {
                let mut call = Invocation::new("import", &[&account], self.clock.told(None));
                call.text(&format!("{journal:032x}")).number(some.len() as u64);
                for (sequence, at, moves) in some {
                    call.number(*sequence).number(*at).number(moves.len() as u64);
                    moves.iter().for_each(|step| put_move(&mut call, step));
                }
                self.tell(&call).await?;
            }
        }
        Ok(())
    }

    async fn tell(&self, call: &Invocation) -> Result<(), StoreError> {
        let told = self.router.call(call, Instant::now() + PATIENCE).await;
        told.map(drop).map_err(|_| StoreError::Away)
    }
}

/// Sequence, instant, and what changed.
type Change<'m> = (u64, u64, &'m [Move]);

/// Parts of about [`MOVES`] moves, at least one change each.
fn chunks<'c, 'm>(changes: &'c [Change<'m>]) -> impl Iterator<Item = &'c [Change<'m>]> {
    let most = changes.iter().map(|change| change.2.len()).max().unwrap_or(1).max(1);
    changes.chunks((MOVES / most).max(1))
}

fn put_move(call: &mut Invocation, step: &Move) {
    let (kind, start, end) = match step.name.span {
        SpanKey::Window { ms } => ("W", ms, 0),
        SpanKey::Period(_) => ("P", step.period.0, step.period.1),
        SpanKey::InFlight => ("F", 0, 0),
    };
    let (deed, at, amount) = match step.amount {
        Amount::Add(amount) => ("a", 0, amount),
        Amount::Take { at, amount } => ("t", at, amount),
    };
    call.text(kind).text(&format!("{:016x}", step.name.id.to_u64()));
    call.number(start).number(end).text(deed).number(at).number(amount.min(MAX_AMOUNT));
    call.text(&format!("{} {} {}", step.name.unit, step.name.span, step.name.scope));
}
