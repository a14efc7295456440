//! Callers that ask several replicas at once, without a pause.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::task::JoinSet;

use crate::{harness::until, sidecar::Sidecar};

/// Callers that ask again and again, and what they were answered.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Vec<Arc<AtomicUsize>>,
    callers: JoinSet<BTreeMap<u16, usize>>,
}

impl Load {
    /// One caller per replica and path.
    pub fn on(replicas: &[Sidecar], paths: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { stop, done: Vec::new(), callers: JoinSet::new() };
        for replica in replicas {
            for path in paths {
                let (client, path) = (replica.client.clone(), (*path).to_owned());
                let (stop, done) = (Arc::clone(&load.stop), Arc::new(AtomicUsize::new(0)));
                load.done.push(Arc::clone(&done));
                load.callers.spawn(async move {
                    let (mut told, mut connection) = (BTreeMap::new(), client.h1().await);
                    while !stop.load(Relaxed) {
                        let answer = client.get(&path).on(&mut connection).await;
                        *told.entry(answer.status.as_u16()).or_default() += 1;
                        done.fetch_add(1, Relaxed);
                    }
                    told
                });
            }
        }
        load
    }

    /// Waits until each caller has had this many more answers.
    pub async fn goes_on(&self, more: usize) {
        let goals: Vec<_> = self.done.iter().map(|done| done.load(Relaxed) + more).collect();
        until("every caller goes on", || {
            let all = self.done.iter().zip(&goals).all(|(done, goal)| done.load(Relaxed) >= *goal);
            all.then_some(())
        })
        .await;
    }

    /// All answers by status.
    pub async fn ends(self) -> BTreeMap<u16, usize> {
        self.stop.store(true, Relaxed);
        let mut all = BTreeMap::new();
        for told in self.callers.join_all().await {
            for (status, count) in told {
                *all.entry(status).or_default() += count;
            }
        }
        all
    }
}
