//! How many connections each endpoint has, over all workers.
//!
//! A [`Place`] is taken before a connection is opened and given back when its
//! descriptor is closed, so the policy's `max_connections` holds exactly. Only
//! opening and closing touch the shared count; a request on a pooled connection
//! touches it when somebody waits.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::sync::Notify;

/// The gates of all endpoints, by name. They outlive policies.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<HashMap<Arc<str>, Arc<Gate>>>);

impl Places {
    /// The gate of the endpoint called `name`.
    pub(super) fn gate(&self, name: &Arc<str>) -> Arc<Gate> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(gates.entry(Arc::clone(name)).or_default())
    }

    /// Forgets gates that no connection and no worker uses any more.
    pub(super) fn tidy(&self) {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|_, gate| Arc::strong_count(gate) > 1);
    }
}

/// The places of one endpoint.
// Whoever waits counts itself and then looks; whoever frees frees and then looks: in one order for all.
#[derive(Debug, Default)]
pub(super) struct Gate {
    open: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

impl Gate {
    /// Takes a place, if fewer than `max` are taken.
    pub(super) fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let more = |open: usize| (open < max).then_some(open + 1);
        self.open.fetch_update(SeqCst, SeqCst, more).ok()?;
        Some(Place(Arc::clone(self)))
    }

    /// Says that a connection may be had: closed, or without a request.
    pub(super) fn wake(&self) {
        if self.waiting.load(SeqCst) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Waits until [`Gate::wake`]; armed as soon as it is made.
    pub(super) fn waiter(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, SeqCst);
        Waiter(self)
    }
}

/// Somebody who waits at a gate.
pub(super) struct Waiter<'a>(&'a Gate);

impl Waiter<'_> {
    /// The next time that something may be had.
    pub(super) fn freed(&self) -> tokio::sync::futures::Notified<'_> {
        self.0.freed.notified()
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, SeqCst);
    }
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Gate>);

impl Place {
    /// Where it is.
    pub(super) fn gate(&self) -> Arc<Gate> {
        Arc::clone(&self.0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, SeqCst);
        self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_up_to_the_bound_and_given_back() {
        let gate = Places::default().gate(&"http://a".into());
        let one = gate.enter(2).expect("a place");
        let _two = gate.enter(2).expect("a place");
        assert!(gate.enter(2).is_none());
        drop(one);
        assert!(gate.enter(2).is_some());
    }

    #[tokio::test]
    async fn who_waits_is_woken_when_a_place_is_given_back() {
        let gate = Arc::<Gate>::default();
        let place = gate.enter(1).expect("a place");
        let waiter = gate.waiter();
        let freed = waiter.freed();
        tokio::pin!(freed);
        freed.as_mut().enable();
        drop(place);
        freed.await;
        assert!(gate.enter(1).is_some());
    }

    #[test]
    fn gates_that_nobody_uses_are_forgotten() {
        let (places, name) = (Places::default(), Arc::from("http://a"));
        let place = places.gate(&name).enter(1);
        places.tidy();
        assert!(places.gate(&name).enter(1).is_none());
        drop(place);
        places.tidy();
        assert!(places.gate(&name).enter(1).is_some());
    }
}
