//! What lets others stand in for the server while it is away.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng as _;

use super::node::Who;
use super::resp::{self, Reply};
use super::script::Invocation;
use super::server::Server;
use super::{Redis, import};
use crate::ledger::StoreError;
use crate::ledger::authority::{Authority, Entry, Epoch, Outbox};

/// Where the mark of the books lies.
const MARK: &str = "weir:books";
/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(1);

impl Authority for Redis {
    async fn probe(&self) -> Result<Epoch, StoreError> {
        self.server.epoch().await
    }

    async fn import(&self, entries: &[Entry]) -> Result<(), StoreError> {
        import::import(&self.server, entries).await
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
        let until = Instant::now() + PATIENCE;
        let reply = self.router.tell(&call, until).await.map_err(|_| StoreError::Away)?;
        let mut hasher = DefaultHasher::new();
        reply.array().get(2).and_then(Reply::text).ok_or(StoreError::Away)?.hash(&mut hasher);
        let mut servers = Vec::new();
        for node in self.router.nodes() {
            let info = resp::command(&[b"INFO", b"server"]);
            let until = Instant::now() + PATIENCE;
            let told = node.ask(Who::Task, (info, 0), until).await.map_err(|_| StoreError::Away)?;
            // A user that may not ask has one server for the same one all the time.
            let line =
                told.text().and_then(|text| text.lines().find(|line| line.starts_with("run_id:")));
            servers.push(line.unwrap_or_default().to_owned());
        }
        servers.sort_unstable();
        servers.hash(&mut hasher);
        Ok(Epoch(hasher.finish()))
    }
}
