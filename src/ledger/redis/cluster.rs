//! Which server of a cluster has which key.
//!
//! A table of slots is read from any member at the start, after every hint that
//! it is out of date (`MOVED`, a lost connection) and now and then. A call that
//! was sent to the wrong member is told where to go, and goes there once more.
//!
//! # Failure
//! While no member tells the table, the last one stands; a slot without a server
//! is away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::dial::{self, Login};
use super::node::Node;
use super::resp::{self, Reply};
use crate::policy::redis_url::Place;

const SLOTS: usize = 16_384;
/// How often the table is read without a reason.
const READ_EVERY: Duration = Duration::from_secs(30);
/// Members without a slot that are dialled at once.
const WANTED: usize = 64;
/// How long one member may take to tell it.
const PATIENCE: Duration = Duration::from_secs(1);

/// A cluster's servers.
pub(super) struct Cluster {
    table: ArcSwap<Table>,
    seeds: Vec<Place>,
    login: Login,
    deadline: Duration,
    stale: Notify,
    /// Members without a slot of their own, to which calls were sent since the last reading.
    wanted: Mutex<Vec<Place>>,
}

#[derive(Default)]
struct Table {
    /// Index into `nodes` for each slot; `u16::MAX` for none.
    slots: Vec<u16>,
    nodes: Vec<(Place, Arc<Node>)>,
}

impl Cluster {
    /// A cluster without a table yet; it is read by [`Cluster::watch`].
    pub(super) fn new(seeds: Vec<Place>, login: Login, deadline: Duration) -> Arc<Self> {
        let (table, stale, wanted) = (ArcSwap::default(), Notify::new(), Mutex::default());
        Arc::new(Self { table, seeds, login, deadline, stale, wanted })
    }

    /// The server that has a key.
    pub(super) fn node(&self, key: &str) -> Option<Arc<Node>> {
        let table = self.table.load();
        let index = *table.slots.get(usize::from(slot(key.as_bytes())))?;
        let node = table.nodes.get(usize::from(index)).map(|(_, node)| Arc::clone(node));
        if node.as_ref().is_none_or(|node| !node.answers()) {
            self.stale.notify_one();
        }
        node
    }

    /// Every server that has keys.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.table.load().nodes.iter().map(|(_, node)| Arc::clone(node)).collect()
    }

    /// Whether all slots have a server that answers.
    pub(super) fn is_up(&self) -> bool {
        let table = self.table.load();
        let whole = table.slots.len() == SLOTS && !table.slots.contains(&u16::MAX);
        whole && table.nodes.iter().all(|(_, node)| node.answers())
    }

    /// Where `MOVED` or `ASK` sends a call.
    pub(super) fn redirect(&self, said: &str) -> Option<Arc<Node>> {
        let moved = said.starts_with("MOVED ");
        let address = said.split(' ').nth(2).filter(|_| moved || said.starts_with("ASK "))?;
        if moved {
            self.stale.notify_one();
        }
        let place = place(address)?;
        let table = self.table.load();
        let node = table.nodes.iter().find(|(at, _)| *at == place);
        if node.is_none() {
            self.want(place);
        }
        node.map(|(_, node)| Arc::clone(node))
    }

    /// Asks for a connection to a member that the table does not have: the first slot of a new
    /// one is on its way.
    fn want(&self, place: Place) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.len() < WANTED && !wanted.contains(&place) {
            wanted.push(place);
        }
        drop(wanted);
        self.stale.notify_one();
    }

    /// Keeps the table for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        loop {
            self.read().await;
            let whole = self.is_up();
            let pause = if whole { READ_EVERY } else { Duration::from_millis(250) };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stale.notified() => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    async fn read(&self) {
        let known = self.table.load_full();
        let members = known.nodes.iter().map(|(place, _)| place).chain(&self.seeds);
        for member in members {
            let told = tokio::time::timeout(PATIENCE, self.ask(member)).await;
            if let Ok(Some(ranges)) = told {
                self.table.store(Arc::new(self.table_of(&known, &ranges)));
                return;
            }
        }
    }

    async fn ask(&self, member: &Place) -> Option<Vec<(usize, usize, Place)>> {
        let mut connection = dial::open(member, self.login.tls.as_ref()).await.ok()?;
        connection.introduce(&self.login).await.ok()?;
        let reply = connection.ask(&resp::command(&[b"CLUSTER", b"SLOTS"])).await.ok()?;
        let ranges: Vec<_> =
            reply.array().iter().filter_map(|range| range_of(range, member)).collect();
        (!ranges.is_empty()).then_some(ranges)
    }

    fn table_of(&self, known: &Table, ranges: &[(usize, usize, Place)]) -> Table {
        let mut table = Table { slots: vec![u16::MAX; SLOTS], nodes: Vec::new() };
        for (from, to, place) in ranges {
            let at = table.nodes.iter().position(|(at, _)| at == place).unwrap_or_else(|| {
                let old = known.nodes.iter().find(|(at, _)| at == place);
                let node = old.map_or_else(|| self.start(place), |(_, node)| Arc::clone(node));
                table.nodes.push((place.clone(), node));
                table.nodes.len() - 1
            });
            if let Some(slots) = table.slots.get_mut(*from..=*to) {
                slots.fill(at as u16);
            }
        }
        let wanted =
            std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        for place in wanted {
            if table.nodes.iter().all(|(at, _)| *at != place) {
                let old = known.nodes.iter().find(|(at, _)| *at == place);
                let node = old.map_or_else(|| self.start(&place), |(_, node)| Arc::clone(node));
                table.nodes.push((place, node));
            }
        }
        table
    }

    fn start(&self, place: &Place) -> Arc<Node> {
        let (place, login) = (place.clone(), self.login.clone());
        let dialer = move || -> super::node::Dialing {
            let (place, login) = (place.clone(), login.clone());
            Box::pin(async move { dial::ready(&place, &login, false).await })
        };
        Node::start(Box::new(dialer), self.deadline)
    }
}

/// One line of `CLUSTER SLOTS`: first slot, last slot, and the master.
fn range_of(range: &Reply, told_by: &Place) -> Option<(usize, usize, Place)> {
    let [from, to, master, ..] = range.array() else { return None };
    let [host, port, ..] = master.array() else { return None };
    let port = u16::try_from(port.number()?).ok()?;
    // A member that does not know its own address means the one that was dialled.
    let host = match (host.text(), told_by) {
        (Some(host), _) if !host.is_empty() && host != "?" => host.to_owned(),
        (_, Place::Tcp { host, .. }) => host.clone(),
        _ => return None,
    };
    let slot =
        |reply: &Reply| reply.amount().map(|slot| slot as usize).filter(|slot| *slot < SLOTS);
    Some((slot(from)?, slot(to)?, Place::Tcp { host, port }))
}

fn place(address: &str) -> Option<Place> {
    let (host, port) = address.rsplit_once(':')?;
    Some(Place::Tcp { host: host.to_owned(), port: port.parse().ok()? })
}

/// The slot of a key: CRC-16 (XMODEM) of the part between the first braces, if there is one.
fn slot(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).filter(|end| *end > 0).map(|end| &rest[..end])
    });
    let crc = tag.unwrap_or(key).iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
        })
    });
    crc % SLOTS as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_redis() {
        // `redis-cli cluster keyslot KEY`
        assert_eq!(slot(b"123456789"), 12_739);
        assert_eq!(slot(b"weir:{ada}"), slot(b"ada"));
        assert_ne!(slot(b"a{}b"), slot(b""));
    }
}
