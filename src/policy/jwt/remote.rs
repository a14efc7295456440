//! Keys that live at a URL: the last good set, and who waits for the next.
//!
//! The request path reads the set and may ask for another look when it meets a
//! key that it does not know; a task of `crate::jwks` fetches. The state outlives
//! a reload, so that an edit of the policy never costs the keys.
//!
//! # Limits
//! [`SPACING`] between two looks that were asked for: unknown key ids cost
//! nothing, and neither Weir nor the issuer shall be driven by whoever sends them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::Uri;
use tokio::sync::{Notify, watch};

use super::keys::KeySet;

/// Shortest time between two looks that unknown keys gave rise to.
pub const SPACING: Duration = Duration::from_secs(10);

/// Where an issuer's keys are, and how often to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysUrl {
    /// `https`, or `http` on this machine.
    pub url: Uri,
    /// The certificates to trust there, PEM; the system's if unset.
    pub ca: Option<PathBuf>,
    /// Time between two looks.
    pub refresh: Duration,
}

/// The keys at a URL.
#[derive(Debug)]
pub struct RemoteKeys {
    place: KeysUrl,
    keys: ArcSwapOption<KeySet>,
    /// Wakes the task that fetches.
    asked: Notify,
    fetches: watch::Sender<Fetches>,
    /// When a look was asked for last.
    last_asked: Mutex<Option<Instant>>,
}

/// How many looks have ended, and whether one is on its way.
#[derive(Clone, Copy, Debug, Default)]
struct Fetches {
    ended: u64,
    underway: bool,
}

impl RemoteKeys {
    /// Keys at `place`, beginning with `last_good`.
    pub fn new(place: KeysUrl, last_good: Option<Arc<KeySet>>) -> Arc<Self> {
        Arc::new(Self {
            place,
            keys: ArcSwapOption::new(last_good),
            asked: Notify::new(),
            fetches: watch::Sender::default(),
            last_asked: Mutex::default(),
        })
    }

    /// Where they are.
    pub fn place(&self) -> &KeysUrl {
        &self.place
    }

    /// The last good set; `None` before the first.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    /// Asks for a look and waits until it has ended, at most `patience`; `false` if there was
    /// none, because the last one is too near or it takes too long.
    pub async fn look_again(&self, patience: Duration) -> bool {
        let mut fetches = self.fetches.subscribe();
        let seen = fetches.borrow_and_update().ended;
        if !self.ask() {
            return false;
        }
        let ended = fetches.wait_for(|fetches| fetches.ended != seen);
        tokio::time::timeout(patience, ended).await.is_ok_and(|ended| ended.is_ok())
    }

    /// Whether a look is on its way now.
    fn ask(&self) -> bool {
        let mut last = self.last_asked.lock().unwrap_or_else(PoisonError::into_inner);
        if self.fetches.borrow().underway {
            return true;
        }
        if last.is_some_and(|last| last.elapsed() < SPACING) {
            return false;
        }
        *last = Some(Instant::now());
        self.fetches.send_modify(|fetches| fetches.underway = true);
        self.asked.notify_one();
        true
    }

    /// Ready when somebody asks for a look.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }

    /// A look begins.
    pub fn begin(&self) {
        self.fetches.send_modify(|fetches| fetches.underway = true);
    }

    /// A look has ended: with a new set, or with nothing better than the old one.
    pub fn end(&self, keys: Option<KeySet>) {
        // An equal set stays the one that verified what is remembered.
        let fresh = |new: &KeySet| self.keys().is_none_or(|old| old.digest() != new.digest());
        if let Some(keys) = keys.filter(fresh) {
            self.keys.store(Some(Arc::new(keys)));
        }
        self.fetches.send_modify(|fetches| {
            fetches.underway = false;
            fetches.ended += 1;
        });
    }
}

/// The keys at URLs that are or were lately in use, so that a reload finds them again.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Remotes(Arc<Mutex<Vec<Arc<RemoteKeys>>>>);

impl Remotes {
    /// The keys at `place`: the same as before, or new ones that begin with the last good set.
    pub(in crate::policy) fn at(&self, place: KeysUrl) -> Arc<RemoteKeys> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.iter().find(|remote| remote.place == place) {
            return Arc::clone(same);
        }
        let near = |remote: &&Arc<RemoteKeys>| {
            (&remote.place.url, &remote.place.ca) == (&place.url, &place.ca)
        };
        let last_good = known.iter().find(near).and_then(|remote| remote.keys());
        let new = RemoteKeys::new(place, last_good);
        // What only this list still holds is in no policy any more.
        known.retain(|remote| Arc::strong_count(remote) > 1);
        known.push(Arc::clone(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(url: &'static str, refresh: u64) -> KeysUrl {
        KeysUrl { url: Uri::from_static(url), ca: None, refresh: Duration::from_secs(refresh) }
    }

    fn set(id: &str) -> KeySet {
        let text = format!(
            r#"{{"keys":[{{"kid":"{id}","kty":"OKP","crv":"Ed25519",
            "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}}"#
        );
        KeySet::parse(text.as_bytes()).expect("a set").0
    }

    #[tokio::test]
    async fn everybody_waits_for_one_look_and_the_next_is_not_soon() {
        let remote = RemoteKeys::new(place("https://a.example/jwks", 300), None);
        let looks = async {
            remote.asked().await;
            remote.begin();
            remote.end(Some(set("a")));
        };
        let patience = Duration::from_secs(60);
        let asks = futures_of(&remote, patience);
        let ((), asked) = tokio::join!(looks, asks);

        assert_eq!(asked, (true, true));
        assert_eq!(remote.keys().map(|keys| keys.len()), Some(1));
        assert!(!remote.look_again(patience).await, "too soon after the last");
    }

    async fn futures_of(remote: &RemoteKeys, patience: Duration) -> (bool, bool) {
        tokio::join!(remote.look_again(patience), remote.look_again(patience))
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_their_patience() {
        let remote = RemoteKeys::new(place("https://a.example/jwks", 300), None);
        assert!(!remote.look_again(Duration::from_secs(2)).await);
    }

    #[test]
    fn a_look_that_fails_keeps_the_last_good_set_and_an_equal_one_is_the_same() {
        let remote = RemoteKeys::new(place("https://a.example/jwks", 300), None);
        remote.end(Some(set("a")));
        let first = remote.keys().expect("keys");
        remote.end(None);
        remote.end(Some(set("a")));
        assert!(Arc::ptr_eq(&first, &remote.keys().expect("keys")));
        remote.end(Some(set("b")));
        assert!(!Arc::ptr_eq(&first, &remote.keys().expect("keys")));
    }

    #[test]
    fn a_reload_finds_the_keys_again_also_at_another_pace() {
        let remotes = Remotes::default();
        let first = remotes.at(place("https://a.example/jwks", 300));
        first.end(Some(set("a")));
        assert!(Arc::ptr_eq(&first, &remotes.at(place("https://a.example/jwks", 300))));
        let slower = remotes.at(place("https://a.example/jwks", 600));
        assert_eq!(slower.keys().map(|keys| keys.len()), Some(1));
        let other = remotes.at(place("https://b.example/jwks", 300));
        assert!(other.keys().is_none());
        drop((first, slower, other));
        remotes.at(place("https://c.example/jwks", 300));
        assert_eq!(remotes.0.lock().expect("no panic").len(), 1);
    }
}
