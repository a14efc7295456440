//! May the caller be here, and may it still be: one place for requests and for whatever lasts.
//!
//! A request is asked once, by [`allowed`]. A streamed answer and a WebSocket
//! outlive that: they look again now and then, without a timer of their own. A
//! subject that the policy in force blocks is found at the next look; the
//! credential is judged again when the policy has changed, and every so many
//! looks, because it may have expired.
//!
//! # Failure
//! A [`Refusal`] ends what lasts, as far as the policy's mode enforces it. An
//! issuer that cannot be asked is no reason to end what was admitted.

use std::{sync::Arc, time::Duration};

use super::{
    exchange::Exchange,
    identify::{self, Seen},
    refusal::{Code, Refusal},
};
use crate::policy::{
    identity::Caller,
    snapshot::{Mode, Policy},
};

/// How often a streamed answer looks, when something else has not woken it anyway.
pub const LOOK: Duration = Duration::from_secs(2);

/// Every so many looks the credential is judged although the policy is the same.
const RECHECK: u32 = 10;

/// Says that nobody bars `subject`.
///
/// # Errors
/// 403 when the subject is blocked.
pub fn allowed(policy: &Policy, subject: &str) -> Result<(), Box<Refusal>> {
    if policy.blocked.has(subject) { Err(Refusal::new(Code::Blocked)) } else { Ok(()) }
}

/// The looks of one exchange that lasts.
#[derive(Debug)]
pub struct Looks {
    made: u32,
    /// The policy by which the credential was judged last.
    generation: u64,
}

/// What a look has to judge.
pub enum Due {
    /// Nothing more.
    Nothing,
    /// Whether the credential still names the same subject, by this policy.
    Identity(Arc<Policy>),
}

impl Looks {
    /// None so far, by an exchange that its own policy admitted.
    pub fn new(exchange: &Exchange) -> Self {
        Self { made: 0, generation: exchange.policy.generation }
    }

    /// Looks whether the caller is blocked by now, and says what else is to be judged.
    ///
    /// # Errors
    /// The subject is blocked, and the mode enforces it.
    pub fn begin(&mut self, exchange: &mut Exchange) -> Result<Due, Box<Refusal>> {
        let policy = exchange.shared.policy.load();
        self.made = self.made.wrapping_add(1);
        if policy.mode == Mode::Off {
            return Ok(Due::Nothing);
        }
        let subject = exchange.subject.as_deref();
        let barred = subject.map_or(Ok(()), |subject| allowed(&policy, subject));
        carried_out(barred, exchange, &policy)?;
        let changed = policy.generation != self.generation;
        self.generation = policy.generation;
        let due = changed || self.made.is_multiple_of(RECHECK);
        Ok(if due { Due::Identity(policy) } else { Due::Nothing })
    }

    /// A whole look of what cannot wait: a streamed answer.
    ///
    /// # Errors
    /// The caller may not be here any more, and the mode enforces it.
    pub fn look(&mut self, exchange: &mut Exchange) -> Result<(), Box<Refusal>> {
        let Due::Identity(policy) = self.begin(exchange)? else { return Ok(()) };
        let found = identify::at_once(&policy.identity, seen(exchange), &exchange.presented);
        let same = same_caller(exchange, found);
        carried_out(same.map(drop), exchange, &policy)
    }
}

/// What the caller of an exchange is known by now, beside its headers.
pub fn seen(exchange: &Exchange) -> Seen<'_> {
    let now = exchange.shared.clock.now();
    let seen = Seen::new(&exchange.path, &exchange.address, now);
    seen.with(exchange.peer.certificate.as_deref())
}

/// The caller as found now, if it is whom the exchange was admitted for; `None` if nobody can say.
///
/// # Errors
/// It is another subject by now, or none.
pub fn same_caller(
    exchange: &Exchange,
    found: Result<Caller, Box<Refusal>>,
) -> Result<Option<Caller>, Box<Refusal>> {
    let caller = match found {
        Err(refusal) if refusal.code == Code::IdentityUnavailable => return Ok(None),
        found => found?,
    };
    if exchange.subject.as_ref().is_some_and(|subject| *subject != caller.subject) {
        return Err(Refusal::new(Code::Unauthenticated).detail("another subject by now"));
    }
    Ok(Some(caller))
}

/// What a judgement by `policy` comes to: in shadow it is only noted.
///
/// # Errors
/// The refusal, when the policy is enforced.
pub fn carried_out(
    judged: Result<(), Box<Refusal>>,
    exchange: &mut Exchange,
    policy: &Policy,
) -> Result<(), Box<Refusal>> {
    let Err(refusal) = judged else { return Ok(()) };
    if policy.mode == Mode::Enforce {
        return Err(refusal);
    }
    exchange.facts.shadowed = Some(refusal.code);
    Ok(())
}
