//! Whom the process listens to beside callers: operators, and the agents of this machine.
//!
//! # Failure
//! A listener that fails ends alone; requests go on.

use std::sync::Arc;

use tokio::{
    net::{TcpListener, UnixListener},
    sync::Notify,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::App;
use crate::admin::{self, Admin};

impl App {
    /// Serves operators, and the agents of this machine.
    pub(super) fn operators(
        &self,
        drain_asked: &Arc<Notify>,
        (operators, agents): (TcpListener, Option<UnixListener>),
        ended: &CancellationToken,
    ) -> JoinHandle<()> {
        let (admin, ended) = (self.admin(drain_asked), ended.clone());
        let agents = agents.map(|at| admin::serve_agents(Arc::clone(&admin), at, ended.clone()));
        let operators = admin::serve(admin, operators, ended);
        tokio::spawn(async move {
            let agents = async {
                match agents {
                    Some(agents) => agents.await,
                    None => Ok(()),
                }
            };
            drop(tokio::join!(operators, agents));
        })
    }

    fn admin(&self, drain_asked: &Arc<Notify>) -> Arc<Admin> {
        Arc::new(Admin {
            health: Arc::clone(&self.shared.health),
            telemetry: self.telemetry.clone(),
            policy: Arc::clone(&self.handle),
            ledger: Arc::clone(&self.shared.ledger),
            clock: self.shared.clock.clone(),
            settlements: Arc::clone(&self.shared.settlements),
            token: self.settings.admin.token.clone(),
            drain_asked: Arc::clone(drain_asked),
            drain: self.drain.clone(),
        })
    }
}
