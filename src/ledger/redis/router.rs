//! Leads calls to the server that has their keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::dial::{self, Login};
use super::node::{Dialing, Fault, Node, Waiter, Who};
use super::resp::{self, Reply};
use super::script::Invocation;
use super::sentinel;
use crate::policy::redis_url::{RedisUrl, Topology};

/// How often one call may be sent elsewhere.
const DETOURS: usize = 4;

/// One server or a cluster of them.
pub(super) enum Router {
    One(Arc<Node>),
    Cluster(Arc<Cluster>),
}

impl Router {
    /// Begins to connect, in tasks of the present runtime.
    pub(super) fn start(url: &RedisUrl, login: Login, deadline: Duration) -> Self {
        let dialer: super::node::Dialer = match url.topology.clone() {
            Topology::Cluster { seeds } => {
                let cluster = Cluster::new(seeds, login, deadline);
                tokio::spawn(Arc::clone(&cluster).watch());
                return Self::Cluster(cluster);
            }
            Topology::Single(place) => Box::new(move || -> Dialing {
                let (place, login) = (place.clone(), login.clone());
                Box::pin(async move { dial::ready(&place, &login, false).await })
            }),
            Topology::Sentinel { sentinels, master } => Box::new(move || -> Dialing {
                let (sentinels, master, login) = (sentinels.clone(), master.clone(), login.clone());
                Box::pin(async move { sentinel::master(&sentinels, &master, &login).await })
            }),
        };
        Self::One(Node::start(dialer, deadline))
    }

    /// Whether each server answers.
    pub(super) fn is_up(&self) -> bool {
        match self {
            Self::One(node) => node.answers(),
            Self::Cluster(cluster) => cluster.is_up(),
        }
    }

    /// Whether any server can be told something.
    pub(super) fn is_connected(&self) -> bool {
        self.nodes().iter().any(|node| node.is_connected())
    }

    /// Whether keys of several subjects may lie on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Connections that were made so far.
    pub(super) fn connections(&self) -> u64 {
        self.nodes().iter().map(|node| node.connections()).sum()
    }

    /// Commands that were sent so far.
    pub(super) fn calls(&self) -> u64 {
        self.nodes().iter().map(|node| node.calls()).sum()
    }

    /// Every server that has keys.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        match self {
            Self::One(node) => vec![Arc::clone(node)],
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    /// Waits for the first connections, or for the reason why there will be none.
    pub(super) async fn first(&self) -> Result<(), String> {
        loop {
            let nodes = self.nodes();
            if nodes.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            for node in nodes {
                node.first().await?;
            }
            return Ok(());
        }
    }

    fn node(&self, key: &str) -> Option<Arc<Node>> {
        match self {
            Self::One(node) => Some(Arc::clone(node)),
            Self::Cluster(cluster) => cluster.node(key),
        }
    }

    /// Hands a call over without waiting; `waiter` hears the first answer, which may be to go elsewhere.
    pub(super) fn send(&self, call: &Invocation, waiter: Waiter) {
        match self.node(&call.key) {
            Some(node) => node.send(call.short(), 0, waiter),
            None => waiter(Err(Fault::Away)),
        }
    }

    /// Makes a call for a request and waits until `until` at most, wherever it has to go.
    ///
    /// # Errors
    /// No answer, or one that says that the server cannot do it now.
    pub(super) async fn call(&self, call: &Invocation, until: Instant) -> Result<Reply, Fault> {
        self.lead(Who::Request, call, until).await
    }

    /// The same behind the requests: a slow server is told, too.
    ///
    /// # Errors
    /// As [`Router::call`].
    pub(super) async fn tell(&self, call: &Invocation, until: Instant) -> Result<Reply, Fault> {
        self.lead(Who::Task, call, until).await
    }

    async fn lead(&self, who: Who, call: &Invocation, until: Instant) -> Result<Reply, Fault> {
        let mut node = self.node(&call.key).ok_or(Fault::Away)?;
        let (mut bytes, mut skip) = (call.short(), 0);
        for _ in 0..DETOURS {
            let said = match node.ask(who, (bytes, skip), until).await? {
                Reply::Error(said) => said,
                reply => return Ok(reply),
            };
            (bytes, skip) = (call.short(), 0);
            match said.split(' ').next().unwrap_or_default() {
                "NOSCRIPT" => bytes = call.whole(),
                "MOVED" | "ASK" => {
                    node = self.elsewhere(&said).ok_or(Fault::Away)?;
                    if said.starts_with("ASK") {
                        bytes = [resp::command(&[b"ASKING"]), call.whole()].concat();
                        skip = 1;
                    }
                }
                // Another server is the master now.
                "READONLY" | "MASTERDOWN" => {
                    node.leave();
                    return Err(Fault::Away);
                }
                _ => {
                    node.complain(&said);
                    return Err(Fault::Away);
                }
            }
        }
        Err(Fault::Away)
    }

    fn elsewhere(&self, said: &str) -> Option<Arc<Node>> {
        match self {
            Self::One(_) => None,
            Self::Cluster(cluster) => cluster.redirect(said),
        }
    }
}
