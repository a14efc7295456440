//! What operators ask: use, subjects, resets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::node::Who;
use super::resp::{self, Reply};
use super::script::{self, Invocation};
use super::server::Server;
use crate::clock::Timestamp;
use crate::ledger::StoreError;
use crate::ledger::decision::CounterUsage;
use crate::policy::calendar::Period;
use crate::policy::limit::{CounterId, POOLS, SpanKey, Unit};

/// Operators wait longer than requests do.
const PATIENCE: Duration = Duration::from_secs(2);
/// Keys that one step of a listing looks at.
const PAGE: &[u8] = b"1000";
/// Subjects that are looked at for one listing.
const MOST: usize = 1_000_000;

impl Server {
    pub(super) async fn usage(
        &self,
        subject: &str,
        now: Timestamp,
    ) -> Result<Vec<CounterUsage>, StoreError> {
        let account = script::account(subject);
        let call = Invocation::new("usage", &[&account], self.clock.told(Some(now)));
        let reply = self.patiently(&call).await?;
        reply.array().chunks_exact(5).map(|five| counter(five).ok_or(StoreError::Away)).collect()
    }

    pub(super) async fn reset(&self, subject: &str) -> Result<bool, StoreError> {
        let account = script::account(subject);
        let call = Invocation::new("reset", &[&account], self.clock.told(None));
        let reply = self.patiently(&call).await?;
        Ok(reply.array().first().and_then(Reply::number) == Some(1))
    }

    pub(super) async fn subjects(
        &self,
        prefix: &str,
        limit: usize,
    ) -> Result<Vec<Arc<str>>, StoreError> {
        let (mut first, mut seen) = (BTreeSet::new(), 0);
        let account = script::account(prefix);
        let pattern = format!("{}*}}", escaped(account.trim_end_matches('}')));
        for node in self.router.nodes() {
            let mut cursor = "0".to_owned();
            loop {
                let scan: [&[u8]; 6] =
                    [b"SCAN", cursor.as_bytes(), b"MATCH", pattern.as_bytes(), b"COUNT", PAGE];
                let until = Instant::now() + PATIENCE;
                let reply = node.ask(Who::Task, (resp::command(&scan), 0), until).await;
                let reply = reply.map_err(|_| StoreError::Away)?;
                let [next, keys] = reply.array() else { return Err(StoreError::Away) };
                let subjects = keys.array().iter().filter_map(|key| script::subject(key.text()?));
                for subject in subjects.filter(|subject| subject != POOLS) {
                    seen += 1;
                    first.insert(Arc::from(subject));
                    if first.len() > limit {
                        first.pop_last();
                    }
                }
                cursor = next.text().unwrap_or("0").to_owned();
                if cursor == "0" || seen > MOST {
                    break;
                }
            }
        }
        Ok(first.into_iter().collect())
    }

    pub(super) async fn patiently(&self, call: &Invocation) -> Result<Reply, StoreError> {
        let reply = self.router.tell(call, Instant::now() + PATIENCE).await;
        reply.map_err(|_| StoreError::Away)
    }
}

/// What `MATCH` takes literally.
fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn counter(five: &[Reply]) -> Option<CounterUsage> {
    let [id, name, used, held, resets_in] = five else { return None };
    let mut words = name.text()?.splitn(3, ' ');
    Some(CounterUsage {
        id: CounterId::from_u64(u64::from_str_radix(id.text()?, 16).ok()?),
        unit: unit(words.next()?)?,
        span: span(words.next()?)?,
        scope: words.next()?.into(),
        used: used.amount()?,
        held: held.amount()?,
        resets_in: Duration::from_millis(resets_in.amount()?),
    })
}

fn unit(name: &str) -> Option<Unit> {
    let units = [Unit::Requests, Unit::Tokens, Unit::Bytes, Unit::NanoUsd];
    units.into_iter().find(|unit| unit.to_string() == name)
}

fn span(name: &str) -> Option<SpanKey> {
    let periods = [Period::Day, Period::Week, Period::Month].map(SpanKey::Period);
    let mut named = periods.into_iter().chain([SpanKey::InFlight]);
    let window = || Some(SpanKey::Window { ms: name.strip_suffix("ms")?.parse().ok()? });
    named.find(|span| span.to_string() == name).or_else(window)
}
