//! Decides while a shared store is away, and gives account of it on return.
//!
//! A [`Fallback`] asks its [`Authority`] first. Where that answers
//! [`StoreError::Away`], the policy says per limit what happens ([`Away`]): the
//! request is refused, passes uncounted, or is counted here, in an embedded store
//! of this process with each limit cut down to its allowance. Such a decision is
//! written to a [`Backlog`] before it is answered, and delivered on return, each
//! entry exactly once.
//!
//! ```text
//! reserve ─ authority ─┬─ decided
//!                      └─ away ─ local accounts ─ backlog ··· import ─ authority
//! ```
//!
//! What was used here stays in the local accounts until its window has passed, so
//! an allowance is given once per window and process, not once per outage.
//!
//! # Failure
//! What cannot be written down is not admitted. A settlement that cannot be is
//! counted as lost, and the estimate stands.

mod backlog;
mod directory;
mod known;
mod provisional;
mod record;
mod returning;
mod standing;

#[cfg(test)]
mod edited;
#[cfg(test)]
mod gate;
#[cfg(test)]
mod healthy;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

#[cfg(test)]
pub(in crate::ledger) use healthy::{Reachable, bridged};

use backlog::{Backlog, Room};
use directory::Directory;
use known::{Known, narrowed};
pub(in crate::ledger) use provisional::Provisional;
use provisional::{Base, Moves};

use crate::clock::Timestamp;
use crate::ledger::authority::{Authority, Outbox};
use crate::ledger::decision::{
    Charges, CounterUsage, Decision, Demand, Hold, HoldId, Outcome, Refused, ReplicaId, Standing,
};
use crate::ledger::{DEFAULT_MAX_SUBJECTS, Embedded, Options, Store, StoreError};
use crate::policy::limit::{Away, Limits, POOLS, Unit};
use crate::telemetry::{Metrics, StandIn};

/// How what is decided in an authority's place is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// The directory; several processes may share it, each has a place of its own in it.
    pub directory: PathBuf,
    /// Subjects that are counted here at once. Default 1,000,000.
    pub max_subjects: usize,
    /// Bytes that may wait to be delivered. Default 256 MiB: some two million decisions.
    pub max_bytes: u64,
}

impl Keeping {
    /// The usual bounds, in this directory.
    pub fn within(directory: PathBuf) -> Self {
        Self { directory, max_subjects: DEFAULT_MAX_SUBJECTS, max_bytes: 256 << 20 }
    }
}

/// A shared store whose absence is bridged.
#[derive(Debug)]
pub struct Fallback<S> {
    authority: S,
    local: Embedded,
    backlog: Arc<Backlog>,
    known: Known,
    metrics: Arc<Metrics>,
    /// Since the authority was missed, until it is back and has heard everything.
    away: AtomicBool,
    /// Settlements cannot be written down.
    deaf: AtomicBool,
    /// The books that the authority kept when it was asked last, and whether it was.
    epoch: (AtomicBool, AtomicU64),
    /// Last: the place in the directory is given up when everything is closed.
    directory: Directory,
}

impl<S: Authority> Fallback<S> {
    /// Bridges the absences of `authority`; what an earlier process left is delivered first.
    ///
    /// # Errors
    /// The directory cannot be used, or a file in it is damaged.
    pub fn open(
        authority: S,
        keeping: &Keeping,
        metrics: Arc<Metrics>,
    ) -> Result<Self, StoreError> {
        let directory = Directory::claim(&keeping.directory)?;
        let options = Options { max_subjects: keeping.max_subjects, ..Options::default() };
        let local = Embedded::open(&directory.accounts(), options)?;
        let backlog = Arc::new(Backlog::open(directory.path(), keeping.max_bytes)?);
        let directory = directory.syncing(&backlog)?;
        authority.post(Arc::clone(&backlog) as Arc<dyn Outbox>);
        Ok(Self {
            authority,
            local,
            backlog,
            known: Known::new(keeping.max_subjects),
            metrics,
            away: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            epoch: Default::default(),
            directory,
        })
    }

    /// The store whose absence is bridged.
    pub fn authority(&self) -> &S {
        &self.authority
    }

    /// Entries that the authority has yet to hear.
    pub fn depth(&self) -> u64 {
        self.backlog.depth()
    }

    /// Keeps what the authority showed, for the time when it cannot be asked.
    fn heed(&self, demand: &Demand<'_>, standing: &Standing) {
        if let Away::Local(allowances) = &demand.limits.away {
            self.known
                .note(demand, standing, allowances, || self.local.used(demand.subject, demand.now));
        }
    }

    /// Decides in the authority's place.
    async fn stand_in(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        self.gone();
        match &demand.limits.away {
            _ if demand.limits.is_empty() => Ok(uncounted(&demand)),
            Away::Refuse => {
                self.metrics.stood_in(StandIn::Refuse);
                Err(StoreError::Away)
            }
            Away::Allow => {
                self.metrics.stood_in(StandIn::Allow);
                Ok(uncounted(&demand))
            }
            Away::Local(allowances) => {
                self.metrics.stood_in(StandIn::Local);
                self.count(demand, allowances).await
            }
        }
    }

    async fn count(
        &self,
        demand: Demand<'_>,
        allowances: &Arc<Limits>,
    ) -> Result<Decision, StoreError> {
        let used = self.known.used(&demand);
        let limits = narrowed(demand.limits, allowances, &used);
        let asked = Demand { limits: &limits, ..demand };
        match self.local.reserve(asked).await? {
            Decision::Admitted(hold, shown) => {
                let provisional = Provisional::admitted(None, hold, &asked);
                let hold = self.write_down(provisional, &asked)?;
                Ok(Decision::Admitted(hold, standing::whole(shown, demand.limits, &used)))
            }
            Decision::Refused(refused) => {
                Ok(Decision::Refused(standing::refused(refused, demand.limits, &used)))
            }
        }
    }

    /// Makes a hold of what was booked here, once it cannot be forgotten any more.
    fn write_down(
        &self,
        provisional: Provisional,
        demand: &Demand<'_>,
    ) -> Result<Box<Hold>, StoreError> {
        let moves = Moves::charged(&provisional.told);
        match self.tell(Room::Admission, demand.subject, demand.now, &moves) {
            Ok(()) => Ok(bare(demand.subject, provisional)),
            Err(error) => {
                if let Some(hold) = provisional.local {
                    self.local.settle(hold, Outcome::Refund, demand.now);
                }
                Err(error)
            }
        }
    }

    /// Raises a hold of the authority, which went away since, by what it lacks.
    async fn supplement(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        self.gone();
        let allowances = match &demand.limits.away {
            Away::Refuse => return Err(StoreError::Away),
            // What it comes to is settled with the hold.
            Away::Allow => return Ok(Ok(Standing::default())),
            Away::Local(allowances) => allowances,
        };
        let base = Base::of(hold);
        let limits = Arc::new(allowances.without(Unit::Requests));
        let used = self.known.used(&demand);
        let asked = base.beyond(demand, &limits);
        match self.local.reserve(asked).await? {
            Decision::Admitted(local, shown) => {
                let provisional = Provisional::admitted(Some(base), local, &asked);
                hold.away = self.write_down(provisional, &asked)?.away;
                Ok(Ok(standing::part(shown, demand.limits, &limits, &used)))
            }
            Decision::Refused(refused) => {
                Ok(Err(standing::refused_part(refused, demand.limits, &limits, &used)))
            }
        }
    }

    /// Raises what is booked here.
    async fn raise_here(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        let Hold { subject, away, .. } = hold;
        let (Some(provisional), Away::Local(allowances)) = (away, &demand.limits.away) else {
            return Ok(Ok(Standing::default()));
        };
        let used = self.known.used(&demand);
        let (limits, asked);
        if let Some(base) = provisional.base {
            limits = Arc::new(allowances.without(Unit::Requests));
            asked = base.beyond(demand, &limits);
        } else {
            limits = narrowed(demand.limits, allowances, &used);
            asked = Demand { limits: &limits, ..demand };
        }
        let Some(local) = &mut provisional.local else { return Ok(Ok(Standing::default())) };
        let shown = match self.local.raise(local, asked).await? {
            Ok(shown) => shown,
            Err(refused) => {
                return Ok(Err(standing::refused_part(refused, demand.limits, &limits, &used)));
            }
        };
        let added = provisional.raised(&asked);
        self.tell(Room::Admission, subject, demand.now, &Moves::charged(&added))?;
        provisional.told.extend(added);
        Ok(Ok(standing::part(shown, demand.limits, &limits, &used)))
    }

    /// Ends what was booked here; what the authority holds of it ends there.
    fn settle_here(
        &self,
        provisional: Provisional,
        hold: Box<Hold>,
        outcome: Outcome,
        now: Timestamp,
    ) {
        let subject = Arc::clone(&hold.subject);
        let mut here = outcome;
        if let Some(base) = provisional.base {
            let there;
            (there, here) = base.divide(outcome);
            self.authority.settle(hold, there, now);
        }
        let told = self.tell(Room::Settlement, &subject, now, &provisional.settled(here));
        self.note_written(told);
        if let Some(local) = provisional.local {
            self.local.settle(local, here, now);
        }
    }

    /// Writes down what the authority must hear: an entry per account that changed.
    fn tell(
        &self,
        room: Room,
        subject: &str,
        at: Timestamp,
        moves: &Moves,
    ) -> Result<(), StoreError> {
        for (account, moves) in [(subject, &moves.own), (POOLS, &moves.pool)] {
            if !moves.is_empty() {
                self.backlog.change(room, account, at, moves)?;
            }
        }
        Ok(())
    }

    fn note_written(&self, written: Result<(), StoreError>) {
        match written {
            Ok(()) => self.deaf.store(false, Relaxed),
            Err(error) => {
                self.metrics.settlements_lost.add(1);
                if !self.deaf.swap(true, Relaxed) {
                    tracing::error!(%error, "a settlement could not be written down; its estimate stands");
                }
            }
        }
    }
}

/// A request that is counted nowhere.
fn uncounted(demand: &Demand<'_>) -> Decision {
    Decision::Admitted(bare(demand.subject, Provisional::uncounted()), Standing::default())
}

/// A hold of which the authority knows nothing.
fn bare(subject: &str, provisional: Provisional) -> Box<Hold> {
    let local = provisional.local.as_ref().map(|hold| hold.id());
    Box::new(Hold {
        id: local.unwrap_or_else(|| HoldId { replica: ReplicaId::mint(), serial: 0 }),
        subject: subject.into(),
        hash: 0,
        lease: None,
        charges: Charges::new(),
        pooled: Charges::new(),
        away: Some(Box::new(provisional)),
        remote: None,
    })
}

impl<S: Authority> Store for Fallback<S> {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        let decided = self.authority.reserve(demand).await;
        match &decided {
            Ok(Decision::Admitted(_, standing)) => self.heed(&demand, standing),
            Ok(Decision::Refused(refused)) => self.heed(&demand, &refused.standing),
            Err(StoreError::Away) => return self.stand_in(demand).await,
            Err(_) => {}
        }
        decided
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        if hold.away.is_some() {
            return self.raise_here(hold, demand).await;
        }
        match self.authority.raise(hold, demand).await {
            Err(StoreError::Away) => self.supplement(hold, demand).await,
            raised => raised,
        }
    }

    fn settle(&self, mut hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        match hold.away.take() {
            None => self.authority.settle(hold, outcome, now),
            Some(provisional) => self.settle_here(*provisional, hold, outcome, now),
        }
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        self.authority.usage(subject, now).await
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.authority.subjects(prefix, limit).await
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        let known = self.authority.reset(subject).await?;
        Ok(self.local.reset(subject).await? || known)
    }

    fn sweep(&self, now: Timestamp) -> usize {
        self.known.sweep(now);
        self.local.sweep(now);
        self.authority.sweep(now)
    }

    fn is_up(&self) -> bool {
        !self.away.load(Relaxed) && self.authority.is_up()
    }
}
