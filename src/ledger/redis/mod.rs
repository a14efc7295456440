//! Counts on a Redis that replicas share.
//!
//! One script call decides over all limits of a request, by the server's clock,
//! all or nothing; see [`script`] and the Lua files beside it. Holds have a lease
//! that their replica renews, and settlements are idempotent by the hold's id, so
//! neither a crash nor a repeated command changes what was spent. How things lie
//! on the server is written down in `docs/store.md`.
//!
//! All connections live on one thread of the store's own; those who ask wait on
//! theirs, at most for the deadline.
//!
//! # Failure
//! [`StoreError::Away`], at once while the server is known to be away. A server
//! that refuses us or cannot run the script keeps the store from opening.
//!
//! # Limits
//! Amounts and limits above 2^53 - 1 count as 2^53 - 1 (nine million dollars): the
//! script's numbers are exact up to there. On a cluster the pools are asked after
//! the subject, and a refusal there gives back what was booked here.

mod admin;
mod ask;
mod authority;
mod backlog;
mod clock;
mod cluster;
mod crowd;
mod dial;
mod draw;
mod guards;
mod held;
mod import;
mod live;
mod node;
mod patience;
mod resp;
mod router;
mod script;
mod sentinel;
mod server;
mod share;
mod shares;
mod tasks;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

pub(in crate::ledger) use held::Held;
use server::Server;

use crate::clock::Timestamp;
use crate::ledger::decision::{
    CounterUsage, Decision, Demand, Hold, MAX_SUBJECT, Outcome, Refused, Standing,
};
use crate::ledger::{Store, StoreError};
use crate::policy::compile::RedisSettings;
use crate::policy::limit::POOLS;

/// How long opening waits for a server that does not answer before it goes on without.
const FIRST: Duration = Duration::from_secs(2);

/// A store on a Redis.
pub struct Redis {
    server: Arc<Server>,
    stop: Arc<Notify>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("is_up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Redis {
    /// Connects, and waits a little for the first answer. A server that is away is no error.
    ///
    /// # Errors
    /// [`StoreError::Incapable`] when the server answers and waiting would not help: it refuses
    /// the user or password, or does not run scripts.
    pub fn open(settings: &RedisSettings) -> Result<Self, StoreError> {
        Self::start(settings, false)
    }

    fn start(settings: &RedisSettings, told: bool) -> Result<Self, StoreError> {
        let login = server::login(settings)?;
        let stop = Arc::new(Notify::new());
        let (opened, opening) = mpsc::sync_channel(1);
        let (settings, stopped) = (settings.clone(), Arc::clone(&stop));
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(async {
                    let server = Arc::new(Server::start(&settings, login, told));
                    let first = tokio::time::timeout(FIRST, server.router.first()).await;
                    let problem = first.ok().and_then(Result::err);
                    let useless = problem.is_some();
                    if opened.send((Arc::clone(&server), problem)).is_ok() && !useless {
                        tasks::run(server, stopped).await;
                    }
                }),
                Err(error) => tracing::error!(%error, "the store's thread cannot start"),
            }
        };
        let unstartable = |problem: String| StoreError::Incapable { problem };
        let thread = std::thread::Builder::new()
            .name("ledger-redis".into())
            .spawn(work)
            .map_err(|error| unstartable(error.to_string()))?;
        let (server, problem) =
            opening.recv().map_err(|_| unstartable("its thread cannot start".into()))?;
        match problem {
            Some(problem) => Err(StoreError::Incapable { problem }),
            None => Ok(Self { server, stop, thread: Mutex::new(Some(thread)) }),
        }
    }

    /// Connections that were made since the start.
    pub fn connections(&self) -> u64 {
        self.server.router.connections()
    }

    /// Commands that were sent since the start: round trips, and what is sent behind requests.
    pub fn calls(&self) -> u64 {
        self.server.router.calls()
    }

    /// Gives back what is not spent, delivers what waits, and ends the connections; takes 2 s at most.
    pub fn close(&self) {
        self.stop.notify_one();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has ended too.
            let _ = thread.join();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for Redis {
    async fn reserve(&self, demand: Demand<'_>) -> Result<Decision, StoreError> {
        if demand.subject.len() > MAX_SUBJECT {
            return Err(StoreError::SubjectTooLong { bytes: demand.subject.len() });
        }
        if demand.subject == POOLS {
            return Err(StoreError::ReservedSubject);
        }
        self.server.reserve(&demand).await
    }

    async fn raise(
        &self,
        hold: &mut Hold,
        demand: Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        self.server.raise(hold, &demand).await
    }

    fn settle(&self, hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        self.server.settle(hold, outcome, now);
    }

    async fn usage(&self, subject: &str, now: Timestamp) -> Result<Vec<CounterUsage>, StoreError> {
        self.server.usage(subject, now).await
    }

    async fn subjects(&self, prefix: &str, limit: usize) -> Result<Vec<Arc<str>>, StoreError> {
        self.server.subjects(prefix, limit).await
    }

    async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        self.server.reset(subject).await
    }

    /// Always 0: keys on the server end by themselves.
    fn sweep(&self, _: Timestamp) -> usize {
        0
    }

    fn is_up(&self) -> bool {
        self.server.router.is_up()
    }
}
