//! Reservations, raises and settlements as calls of the script.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use smallvec::smallvec;

use super::ask::{self, Answer, Side, Terms, Verdict};
use super::backlog::Backlog;
use super::clock::ServerClock;
use super::crowd::{Crowds, Turn};
use super::dial::Login;
use super::guards::Pending;
use super::held::{Amounts, Held, Part, Source};
use super::live::{Keys, Live};
use super::node::Fault;
use super::router::Router;
use super::script::{self, Invocation};
use super::shares::{Found, Shares};
use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::decision::{
    Charge, Charges, Decision, Demand, Hold, HoldId, Outcome, Refused, ReplicaId, Standing,
};
use crate::policy::compile::{OnExpired, RedisSettings};
use crate::policy::limit::{Limit, POOLS};
use crate::trust;

/// How far the server's clock may be from what we think when we say how long a command is of use.
const CLOCK_ERROR_MS: u64 = 50;

/// How often one question is put: a period may end between our clock and the server's.
const ATTEMPTS: usize = 3;

/// What all who ask share.
pub(super) struct Server {
    pub(super) router: Router,
    pub(super) clock: ServerClock,
    pub(super) backlog: Arc<Backlog>,
    pub(super) live: Live,
    pub(super) shares: Shares,
    crowds: Crowds,
    max_wait: Duration,
    pub(super) lease: Duration,
    pub(super) terms: Terms,
    pub(super) replica: ReplicaId,
    serial: AtomicU64,
}

/// Who we are, and whom we believe.
///
/// # Errors
/// A file that cannot be read or used.
pub(super) fn login(settings: &RedisSettings) -> Result<Login, StoreError> {
    let url = &settings.url;
    let unusable = |error: trust::TrustError| StoreError::Incapable { problem: error.to_string() };
    let tls = if url.tls {
        let roots = trust::roots(settings.ca.as_deref()).map_err(unusable)?;
        let own = settings.own.as_ref();
        let own = own.map(|(chain, key)| trust::ClientCertificate::load(chain, key));
        let own = own.transpose().map_err(unusable)?;
        Some(trust::client_config(roots, own, Vec::new(), &[]).map_err(unusable)?)
    } else {
        None
    };
    let (user, password, database) = (url.user.clone(), url.password.clone(), url.database);
    Ok(Login { user, password, database, tls })
}

impl Server {
    /// Begins to connect, in tasks of the present runtime.
    pub(super) fn start(settings: &RedisSettings, login: Login, told: bool) -> Self {
        let lease = settings.lease.as_millis() as u64;
        let charges = settings.on_expired == OnExpired::Charge;
        let percent = u64::from(settings.share.hundredths() / 100);
        Self {
            router: Router::start(&settings.url, login, settings.deadline),
            clock: ServerClock::new(told),
            backlog: Arc::default(),
            live: Live::default(),
            shares: Shares::default(),
            crowds: Crowds::default(),
            max_wait: settings.max_wait,
            lease: settings.lease,
            terms: Terms { lease, charges, most: 1, percent, slots: 1 },
            replica: ReplicaId::mint(),
            serial: AtomicU64::new(1),
        }
    }

    pub(super) fn id(&self, serial: u64) -> String {
        HoldId { replica: self.replica, serial }.to_string()
    }

    fn next(&self) -> u64 {
        self.serial.fetch_add(1, Relaxed)
    }

    pub(super) async fn reserve(&self, demand: &Demand<'_>) -> Result<Decision, StoreError> {
        let (amounts, give_up) = (Amounts::of(demand), Instant::now() + self.max_wait);
        let most = match self.find(demand, &amounts) {
            Found::Ask(most) => most,
            Found::Spent(share, stamp, standing) => {
                return Ok(self.spent(demand, Held::spent(share, stamp, amounts), standing));
            }
        };
        let (mut drawing, mut member) = (self.drawing(demand, most), None);
        // One draws at a time; and of those who are only watched none is refused.
        if drawing.is_none() && demand.enforce {
            let asking = match self.crowds.turn(demand, &amounts, give_up).await {
                Turn::Ask(asking) => asking,
                Turn::Refused(refused) => return Ok(Decision::Refused(refused)),
            };
            if asking.has_waited() {
                // Somebody may have drawn meanwhile.
                match self.find(demand, &amounts) {
                    Found::Ask(most) => drawing = self.drawing(demand, most),
                    Found::Spent(share, stamp, standing) => {
                        return Ok(self.spent(
                            demand,
                            Held::spent(share, stamp, amounts),
                            standing,
                        ));
                    }
                }
            }
            member = Some(asking);
        }
        let most = drawing.as_ref().map_or(1, |drawing| drawing.most);
        let asked = self.clock.ticks(demand.now);
        let booked = self.book(demand, &amounts, Terms { most, ..self.terms }, give_up).await;
        match (member, &booked) {
            (Some(member), Ok(Err(refused))) => member.was_refused(refused),
            (Some(member), Err(_)) => member.failed(),
            (_, _) => {}
        }
        let (verdict, mut held) = match booked? {
            Ok(booked) => booked,
            Err(refused) => return Ok(Decision::Refused(refused)),
        };
        if let (Some(drawing), true) = (&mut drawing, verdict.times > 1) {
            let (share, stamp, standing) =
                self.open_share(&mut held, demand, &amounts, &verdict, asked)?;
            held.side(false).clear();
            held.side(false).push(Held::spent(Arc::clone(&share), stamp, amounts));
            drawing.share = Some(share);
            return Ok(Decision::Admitted(self.hold(demand, held, verdict.now), standing));
        }
        Ok(Decision::Admitted(self.hold(demand, held, verdict.now), verdict.standing()))
    }

    /// Books on all accounts, or on none.
    async fn book(
        &self,
        demand: &Demand<'_>,
        amounts: &Amounts,
        terms: Terms,
        give_up: Instant,
    ) -> Result<Result<(Verdict, Held), Refused>, StoreError> {
        let sides = self.sides(demand);
        let (mut whole, mut pending) = (None::<Verdict>, Pendings::new());
        for (side, keys) in sides {
            let serial = self.next();
            let mut hold = Pending::new(self, serial, keys, amounts);
            let slots = if side == Side::Pools { 0 } else { terms.slots };
            let terms = Terms { slots, ..terms };
            let verdict = self.ask(&mut hold, side, demand, amounts, terms, give_up).await?;
            if !verdict.admitted {
                hold.booked = false;
                let mut refused = verdict.refused();
                if let Some(mut before) = whole {
                    before.states.append(&mut refused.standing.states);
                    refused.standing.states = before.states;
                }
                return Ok(Err(refused));
            }
            match &mut whole {
                Some(before) => {
                    before.states.extend(verdict.states);
                    before.excess = before.excess.or(verdict.excess);
                }
                None => whole = Some(verdict),
            }
            pending.push((side, hold));
        }
        let mut held = Held::default();
        for (side, hold) in pending {
            held.side(side == Side::Pools).push(hold.keep());
        }
        // There is a side at least.
        let verdict = whole.ok_or(StoreError::Away)?;
        Ok(Ok((verdict, held)))
    }

    /// The commands that a decision takes, and the accounts of each.
    fn sides(&self, demand: &Demand<'_>) -> smallvec::SmallVec<[(Side, Keys); 2]> {
        let own = script::account(demand.subject);
        if demand.limits.pools.is_empty() {
            return smallvec![(Side::Own, Arc::from([own]))];
        }
        let pools = script::account(POOLS);
        if self.router.is_cluster() {
            smallvec![(Side::Own, Arc::from([own])), (Side::Pools, Arc::from([pools]))]
        } else {
            smallvec![(Side::Both, Arc::from([own, pools]))]
        }
    }

    /// Asks for a reservation, again where a period ended between our clock and the server's.
    async fn ask(
        &self,
        hold: &mut Pending<'_>,
        side: Side,
        demand: &Demand<'_>,
        amounts: &Amounts,
        terms: Terms,
        give_up: Instant,
    ) -> Result<Verdict, StoreError> {
        let mut time = self.clock.present(demand.now);
        let accounts = names(&hold.keys);
        for _ in 0..ATTEMPTS {
            let told = self.clock.told(Some(demand.now));
            let mut call = Invocation::new("reserve", &accounts, told);
            // As long as somebody may wait for it.
            let patience = give_up.saturating_duration_since(Instant::now()).as_millis() as u64;
            let until = self.clock.until(patience + CLOCK_ERROR_MS);
            let id = self.id(hold.serial);
            ask::put_reserve(&mut call, &id, demand, amounts, (side, terms, until, time));
            hold.booked = true;
            let reply = self.router.call(&call, give_up).await.map_err(|fault| {
                hold.booked = fault == Fault::Lost;
                StoreError::Away
            })?;
            match Answer::read(&reply, side, demand.limits) {
                Some(Answer::Decided(verdict)) => {
                    self.clock.note(verdict.now);
                    return Ok(verdict);
                }
                Some(Answer::Instant(present)) => time = present,
                // Our idea of its clock is off: the next command says nothing of it.
                Some(Answer::TooLate) => self.clock.forget(),
                Some(Answer::Gone) | None => return Err(StoreError::Away),
            }
            hold.booked = false;
        }
        Err(StoreError::Away)
    }

    pub(super) async fn raise(
        &self,
        hold: &mut Hold,
        demand: &Demand<'_>,
    ) -> Result<Result<Standing, Refused>, StoreError> {
        // Not taken out of the hold: who gives up the call in the middle settles the hold all the same.
        let held = hold.remote.as_deref_mut().ok_or(StoreError::UnknownHold)?;
        let raised = match held.lone() {
            Some(part) => self.raise_lone(part, demand).await?,
            None => self.raise_beside(held, demand).await?,
        };
        if let Ok(verdict) = &raised {
            let now = verdict.now;
            charge(&mut hold.charges, demand.limits.limits.iter(), demand, now);
            charge(&mut hold.pooled, demand.limits.pools.iter(), demand, now);
        }
        Ok(raised.map(Verdict::standing))
    }

    /// Raises the only part of a hold where it is.
    async fn raise_lone(
        &self,
        part: &mut Part,
        demand: &Demand<'_>,
    ) -> Result<Result<Verdict, Refused>, StoreError> {
        let Source::Direct { serial, keys } = &part.source else {
            return Err(StoreError::UnknownHold);
        };
        let (give_up, amounts) = (Instant::now() + self.max_wait, Amounts::of(demand));
        let side = if keys.len() > 1 { Side::Both } else { Side::Own };
        let mut time = self.clock.present(demand.now);
        for _ in 0..ATTEMPTS {
            let mut call =
                Invocation::new("raise", &names(keys), self.clock.told(Some(demand.now)));
            call.text(&self.id(*serial)).text("").flag(demand.enforce);
            ask::put_limits(&mut call, (side, demand.limits), &amounts, time);
            let reply = self.router.call(&call, give_up).await.map_err(|_| StoreError::Away)?;
            match Answer::read(&reply, side, demand.limits) {
                Some(Answer::Decided(verdict)) if verdict.admitted => {
                    part.amounts = part.amounts.max(&amounts);
                    return Ok(Ok(verdict));
                }
                Some(Answer::Decided(verdict)) => return Ok(Err(verdict.refused())),
                Some(Answer::Instant(present)) => time = present,
                Some(Answer::Gone) => return Err(StoreError::UnknownHold),
                Some(Answer::TooLate) | None => return Err(StoreError::Away),
            }
        }
        Err(StoreError::Away)
    }

    /// Books what is missing as holds of their own.
    async fn raise_beside(
        &self,
        held: &mut Held,
        demand: &Demand<'_>,
    ) -> Result<Result<Verdict, Refused>, StoreError> {
        let more = Amounts::of(demand).beyond(&held.total());
        if let Some(share) = held.share().filter(|share| share.is_for(demand.limits))
            && let Some((stamp, standing)) = share.spend(&more, self.clock.ticks(demand.now))
        {
            held.side(false).push(Held::spent(share, stamp, more));
            return Ok(Ok(Verdict::local(standing, self.clock.present(demand.now).0)));
        }
        let terms = Terms { slots: 0, most: 1, ..self.terms };
        let give_up = Instant::now() + self.max_wait;
        Ok(self.book(demand, &more, terms, give_up).await?.map(|(verdict, more)| {
            held.extend(more);
            verdict
        }))
    }

    pub(super) fn settle(&self, mut hold: Box<Hold>, outcome: Outcome, now: Timestamp) {
        let Some(held) = hold.remote.take() else { return };
        for (part, actual) in held.settled(outcome) {
            match part.source {
                Source::Direct { serial, keys } => {
                    self.settle_direct(serial, &keys, actual, Some(now));
                }
                Source::Share(share, stamp) => share.settle(&part.amounts, &actual, &stamp),
            }
        }
    }

    pub(super) fn settle_direct(
        &self,
        serial: u64,
        keys: &Keys,
        actual: Amounts,
        now: Option<Timestamp>,
    ) {
        self.live.remove(serial);
        let mut call = Invocation::new("settle", &names(keys), self.clock.told(now));
        call.text(&self.id(serial));
        let Amounts([requests, tokens, bytes, cost]) = actual;
        call.number(requests).number(tokens).number(bytes).number(cost);
        self.deliver(call);
    }

    /// Sends a command that must arrive, in the order of all others.
    pub(super) fn deliver(&self, call: Invocation) {
        let backlog = Arc::clone(&self.backlog);
        let kept = call.clone();
        self.router.send(&call, Box::new(move |answer| backlog.judge(kept, &answer)));
    }

    pub(super) fn hold(&self, demand: &Demand<'_>, held: Held, now: u64) -> Box<Hold> {
        let (charges, pooled) = (Charges::new(), Charges::new());
        let mut hold = Box::new(Hold {
            id: HoldId { replica: self.replica, serial: self.next() },
            subject: demand.subject.into(),
            hash: 0,
            lease: Some(Timestamp(now).after(self.lease)),
            charges,
            pooled,
            remote: Some(Box::new(held)),
            away: None,
        });
        charge(&mut hold.charges, demand.limits.limits.iter(), demand, now);
        charge(&mut hold.pooled, demand.limits.pools.iter(), demand, now);
        hold
    }
}

type Pendings<'s> = smallvec::SmallVec<[(Side, Pending<'s>); 1]>;

pub(super) fn names(keys: &Keys) -> smallvec::SmallVec<[&str; 2]> {
    keys.iter().map(String::as_str).collect()
}

/// Notes what is booked on each counter in all: whoever stands in for the server asks.
fn charge<'a>(
    charges: &mut Charges,
    limits: impl Iterator<Item = &'a Limit>,
    demand: &Demand<'_>,
    time: u64,
) {
    for limit in limits {
        let (counter, unit) = (limit.counter.id(), limit.counter.unit());
        let amount = demand.amount(unit);
        match charges.iter_mut().find(|charge| charge.counter == counter) {
            Some(charge) => charge.amount = charge.amount.max(amount),
            None => charges.push(Charge { counter, slot: 0, generation: 0, unit, time, amount }),
        }
    }
}
