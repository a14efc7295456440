//! Requests that ask for the same at the same time.
//!
//! Where a limit is reached, hundreds may be refused for one reason. Of those of one
//! subject, under the same limits and for the same amounts, at most [`ABREAST`] are put to the
//! server at a time. The others wait for their turn, or for a refusal that was asked
//! for after they came: at the instant of that decision the server had no room for what each of
//! them asks, so each is refused as it would have been then. No refusal serves whoever comes later.
//!
//! # Failure
//! When a question gets no answer, all who came before it was put ask for themselves at once:
//! a server that is away refuses them without a wait.
//!
//! # Cancellation
//! Whoever leaves, waiting or asking, makes room for the next.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hashbrown::HashMap;
use tokio::sync::Notify;
use tokio::time::timeout_at;

use super::held::Amounts;
use crate::ledger::decision::{Demand, Refused};
use crate::policy::limit::Limits;

/// Enough that a round trip is not waited for by one request after the other.
const ABREAST: u32 = 4;

/// All who ask at the moment.
#[derive(Default)]
pub(super) struct Crowds(Mutex<HashMap<Key, Crowd>>);

/// Who asks for what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    subject: Arc<str>,
    /// The address of the limits, which the crowd keeps alive.
    limits: usize,
    amounts: Amounts,
}

/// Those who ask for the same.
struct Crowd {
    _limits: Arc<Limits>,
    members: usize,
    asking: u32,
    /// Numbers those who come, and the questions, in their order.
    clock: u64,
    /// The latest question that was refused, and how.
    refused: Option<(u64, Refused)>,
    /// The latest question without an answer.
    failed: Option<u64>,
    changed: Arc<Notify>,
}

/// Somebody in a crowd, until it is dropped.
pub(super) struct Member<'c> {
    crowds: &'c Crowds,
    key: Key,
    came: u64,
    /// The number of its question.
    asked: Option<u64>,
}

/// What comes of having waited.
pub(super) enum Turn<'c> {
    /// The server is to be asked.
    Ask(Member<'c>),
    /// It has been, for somebody else.
    Refused(Refused),
}

impl Crowds {
    /// Waits until the server is to be asked, or what it said serves this request too; until
    /// `give_up` at most, when it is no longer of use to wait.
    pub(super) async fn turn(
        &self,
        demand: &Demand<'_>,
        amounts: &Amounts,
        give_up: Instant,
    ) -> Turn<'_> {
        let limits = Arc::as_ptr(demand.limits) as usize;
        let key = Key { subject: demand.subject.into(), limits, amounts: *amounts };
        let (came, changed) = self.join(&key, demand.limits);
        let mut member = Member { crowds: self, key, came, asked: None };
        let mut is_late = false;
        loop {
            let mut change = pin!(changed.notified());
            // From here on no change is missed.
            change.as_mut().enable();
            if let Some(turn) = member.look(is_late) {
                return match turn {
                    Some(refused) => Turn::Refused(refused),
                    None => Turn::Ask(member),
                };
            }
            is_late = timeout_at(give_up.into(), change).await.is_err();
        }
    }

    fn join(&self, key: &Key, limits: &Arc<Limits>) -> (u64, Arc<Notify>) {
        let mut crowds = self.lock();
        let crowd = crowds.entry(key.clone()).or_insert_with(|| Crowd::new(limits));
        crowd.members += 1;
        (crowd.next(), Arc::clone(&crowd.changed))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Crowd>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    fn new(limits: &Arc<Limits>) -> Self {
        Self {
            _limits: Arc::clone(limits),
            members: 0,
            asking: 0,
            clock: 0,
            refused: None,
            failed: None,
            changed: Arc::default(),
        }
    }

    fn next(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Member<'_> {
    /// Whether to ask now (`None`), or how this was refused already.
    fn look(&mut self, is_late: bool) -> Option<Option<Refused>> {
        let mut crowds = self.crowds.lock();
        let crowd = crowds.get_mut(&self.key)?;
        if let Some((_, refused)) = crowd.refused.as_ref().filter(|(asked, _)| *asked > self.came) {
            return Some(Some(refused.clone()));
        }
        let alone = crowd.failed.is_some_and(|asked| asked > self.came) || is_late;
        (crowd.asking < ABREAST || alone).then(|| {
            crowd.asking += 1;
            self.asked = Some(crowd.next());
            None
        })
    }

    /// Whether others came or asked before it could.
    pub(super) fn has_waited(&self) -> bool {
        self.asked.is_some_and(|asked| asked > self.came + 1)
    }

    /// The question was refused, which serves all who came before it.
    pub(super) fn was_refused(self, refused: &Refused) {
        if let (Some(crowd), Some(asked)) = (self.crowds.lock().get_mut(&self.key), self.asked)
            && crowd.refused.as_ref().is_none_or(|(latest, _)| *latest < asked)
        {
            crowd.refused = Some((asked, refused.clone()));
            crowd.changed.notify_waiters();
        }
    }

    /// The question got no answer.
    pub(super) fn failed(self) {
        if let (Some(crowd), Some(asked)) = (self.crowds.lock().get_mut(&self.key), self.asked) {
            crowd.failed = crowd.failed.max(Some(asked));
            crowd.changed.notify_waiters();
        }
    }
}

impl Drop for Member<'_> {
    fn drop(&mut self) {
        let mut crowds = self.crowds.lock();
        let Some(crowd) = crowds.get_mut(&self.key) else { return };
        crowd.members -= 1;
        crowd.asking -= u32::from(self.asked.is_some());
        if crowd.members == 0 {
            crowds.remove(&self.key);
        } else if crowd.asking < ABREAST {
            // Also when it was woken for a turn that it did not need.
            crowd.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::*;
    use crate::ledger::contract::{NOON, demand, limits, quota};
    use crate::ledger::decision::{Exceeded, Standing};
    use crate::policy::limit::Unit;

    type Waiting<'c> = std::pin::Pin<Box<dyn Future<Output = Turn<'c>> + 'c>>;

    fn refused(retry_after: u64) -> Refused {
        let retry_after = Duration::from_secs(retry_after);
        Refused { standing: Standing::default(), limit: Exceeded::Limit(0), retry_after }
    }

    fn come<'c>(crowds: &'c Crowds, limits: &'c Arc<Limits>) -> Waiting<'c> {
        let give_up = Instant::now() + Duration::from_secs(3600);
        Box::pin(async move {
            let demand = demand(limits, NOON);
            crowds.turn(&demand, &Amounts::of(&demand), give_up).await
        })
    }

    fn poll<'c>(waiting: &mut Waiting<'c>) -> Poll<Turn<'c>> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    fn asks<'c>(waiting: &mut Waiting<'c>) -> Member<'c> {
        match poll(waiting) {
            Poll::Ready(Turn::Ask(member)) => member,
            Poll::Ready(Turn::Refused(refused)) => panic!("{refused:?}"),
            Poll::Pending => panic!("it waits"),
        }
    }

    fn is_refused(waiting: &mut Waiting<'_>) -> bool {
        matches!(poll(waiting), Poll::Ready(Turn::Refused(_)))
    }

    fn few() -> Arc<Limits> {
        limits([quota("chat", Unit::Requests, 3600, 8)])
    }

    #[tokio::test]
    async fn a_refusal_serves_those_who_came_before_it_was_asked_for() {
        let (crowds, few) = (Crowds::default(), few());
        let mut all: Vec<_> = (0..10).map(|_| come(&crowds, &few)).collect();
        let mut asking: Vec<_> = all[..4].iter_mut().map(asks).collect();
        assert!(all[4..].iter_mut().all(|waiting| poll(waiting).is_pending()));
        // Asked for before the others came: it says nothing of the time since.
        asking.remove(0).was_refused(&refused(7));
        let fifth = asks(&mut all[4]);
        assert!(all[5..].iter_mut().all(|waiting| poll(waiting).is_pending()));
        let mut late = come(&crowds, &few);
        assert!(poll(&mut late).is_pending());
        fifth.was_refused(&refused(5));
        assert!(all[5..].iter_mut().all(is_refused));
        // The turn that nobody needed is not lost.
        drop(asks(&mut late));
        drop(asking);
        drop(all);
        assert!(crowds.lock().is_empty());
    }

    #[tokio::test]
    async fn whoever_is_done_or_gives_up_makes_room_for_one() {
        let (crowds, few) = (Crowds::default(), few());
        let mut all: Vec<_> = (0..7).map(|_| come(&crowds, &few)).collect();
        let mut asking: Vec<_> = all[..4].iter_mut().map(asks).collect();
        assert!(all[4..].iter_mut().all(|waiting| poll(waiting).is_pending()));
        drop(asking.pop());
        // Woken, and gone before it looks.
        drop(all.remove(4));
        asking.push(asks(&mut all[4]));
        assert!(poll(&mut all[5]).is_pending());
        drop(asking);
        drop(asks(&mut all[5]));
        drop(all);
        assert!(crowds.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_behind_a_question_without_an_answer() {
        let (crowds, few) = (Crowds::default(), few());
        let mut all: Vec<_> = (0..9).map(|_| come(&crowds, &few)).collect();
        let mut asking: Vec<_> = all[..4].iter_mut().map(asks).collect();
        assert!(all[4..].iter_mut().all(|waiting| poll(waiting).is_pending()));
        drop(asking.pop());
        asks(&mut all[4]).failed();
        let at_once: Vec<_> = all[5..].iter_mut().map(asks).collect();
        assert_eq!(at_once.len(), 4);
    }

    #[tokio::test]
    async fn other_limits_and_amounts_are_another_crowd() {
        let (crowds, few, same) = (Crowds::default(), few(), few());
        let mut all: Vec<_> = (0..5).map(|_| come(&crowds, &few)).collect();
        let _asking: Vec<_> = all[..4].iter_mut().map(asks).collect();
        assert!(poll(&mut all[4]).is_pending());
        asks(&mut come(&crowds, &same));
        let dear = crate::ledger::Demand { tokens: 999, ..demand(&few, NOON) };
        let give_up = Instant::now();
        let turn = crowds.turn(&dear, &Amounts::of(&dear), give_up).await;
        assert!(matches!(turn, Turn::Ask(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_turn_for_ever() {
        let (crowds, few) = (Crowds::default(), few());
        let mut all: Vec<_> = (0..5).map(|_| come(&crowds, &few)).collect();
        let _asking: Vec<_> = all[..4].iter_mut().map(asks).collect();
        assert!(matches!(all.remove(4).await, Turn::Ask(_)));
    }
}
