//! `[store]`: where the counts live.

use std::{path::PathBuf, time::Duration};

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Table, Value, Wrong, words},
    redis_url::RedisUrl,
};
use crate::units::Percent;

/// What would be right.
const HINT: &str =
    "write \"embedded:data\", or a redis://, rediss://, redis-sentinel:// or redis+cluster:// URL";

/// Where the counts live.
#[derive(Debug, Clone)]
pub struct StoreFile {
    /// The store. Default `embedded:data`, a directory beside the policy: nothing to install.
    pub url: At<StoreUrl>,
    /// What happens while a Redis is away. Default `local`: bounded by `allowance`, and given back later.
    pub on_failure: At<OnFailure>,
    /// With `local`: the share of each limit that one replica may use while Redis is away. Default 25 %.
    pub allowance: At<Percent>,
    /// With a Redis: a directory for what it must be told when it comes back, relative to the policy's. Default `journal`.
    pub journal: PathBuf,
    /// Subjects that are counted at once, 100 to 10 000 000. Default 100 000, some tens of MiB; bounds the memory.
    pub max_subjects: At<u32>,
    /// How long Redis may take for an answer, 1 ms to 10 s. Default 50 ms: a few round trips, and
    /// little beside what an agent takes.
    pub deadline: At<Duration>,
    /// How long a request waits because of Redis at most, whatever the reason: `deadline` to 10 s. Default
    /// 1 s, or `deadline` where that is longer: a queue of some thousands of decisions.
    pub max_wait: At<Duration>,
    /// How long what a replica holds outlives its crash, 1 s to 60 s. Default 10 s.
    pub lease: At<Duration>,
    /// The part of a limit that a replica may draw ahead while the limit is far, 0 to 10 %. Default 10 %;
    /// below 1 % every request asks Redis.
    pub share: At<Percent>,
    /// What becomes of what a crashed replica held. Default `charge`: nothing that was spent is forgotten.
    pub on_expired: At<OnExpired>,
    /// PEM file of the only authorities that are believed behind `rediss://`. Default: the system's.
    pub ca: Option<At<PathBuf>>,
    /// What is shown when Redis asks for a certificate: chain and key, PEM. Default: nothing.
    pub own: Option<(At<PathBuf>, At<PathBuf>)>,
}

/// A store.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// `embedded:PATH`: a directory, relative to the policy's.
    Embedded(PathBuf),
    /// A Redis URL; it may contain a password.
    Redis(RedisUrl),
}

words! {
    /// What happens to decisions while Redis is away.
    "a word such as \"local\""
    pub enum OnFailure {
        /// Counting goes on in this process, within the allowance.
        Local = "local",
        /// Requests are refused.
        Refuse = "refuse",
        /// Requests pass uncounted.
        Allow = "allow",
    }
}

words! {
    /// What becomes of a hold whose lease ended.
    "a word such as \"charge\""
    pub enum OnExpired {
        /// It counts as spent.
        Charge = "charge",
        /// It is given back.
        Release = "release",
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> StoreFile {
    let default = At::default_in(table.span(), StoreUrl::Embedded(PathBuf::from("data")));
    let url = table.value("url").and_then(|value| url(&value)).unwrap_or(default);
    let own = pair(table);
    let (deadline, max_wait) = waits(table);
    StoreFile {
        url,
        on_failure: table.or("on_failure", OnFailure::Local),
        allowance: table.or("allowance", Percent::whole(25)),
        journal: journal(table),
        max_subjects: table.within("max_subjects", 100_000, 100..=10_000_000),
        deadline,
        max_wait,
        lease: table.within(
            "lease",
            Duration::from_secs(10),
            Duration::from_secs(1)..=Duration::from_secs(60),
        ),
        share: share(table),
        on_expired: table.or("on_expired", OnExpired::Charge),
        ca: table.optional("ca"),
        own,
    }
}

/// The longest that anything may wait for Redis.
const LONGEST: Duration = Duration::from_secs(10);

/// How long an answer may take, and how long a request may wait in all.
fn waits(table: &mut Table<'_, '_>) -> (At<Duration>, At<Duration>) {
    let (usual, shortest) = (Duration::from_millis(50), Duration::from_millis(1));
    let deadline = table.within("deadline", usual, shortest..=LONGEST);
    let default = deadline.value.max(Duration::from_secs(1));
    let max_wait = table.within("max_wait", default, deadline.value..=LONGEST);
    (deadline, max_wait)
}

/// A larger share could be wasted by a crash, or be in one replica's hands while another refuses.
const LARGEST_SHARE: Percent = Percent::whole(10);

fn share(table: &mut Table<'_, '_>) -> At<Percent> {
    let place = table.value("share");
    let share = table.or("share", LARGEST_SHARE);
    if let Some(value) = place.filter(|_| share.value > LARGEST_SHARE) {
        value.refuse("this is out of range", "write 0% to 10%");
    }
    share
}

fn pair(table: &mut Table<'_, '_>) -> Option<(At<PathBuf>, At<PathBuf>)> {
    let wrote = (table.value("certificate").is_some(), table.value("key").is_some());
    let (certificate, key) = (table.optional("certificate"), table.optional("key"));
    match wrote {
        (true, false) => table.missing("key", "key = \"certs/redis.key\", its private key"),
        (false, true) => table.missing("certificate", "certificate = \"certs/redis.crt\""),
        _ => {}
    }
    certificate.zip(key)
}

fn journal(table: &mut Table<'_, '_>) -> PathBuf {
    let written = table.or("journal", "journal".to_owned());
    if written.value.contains('\0') {
        let error = Diagnostic::error("`store.journal`: this is no directory").at(written.span, "");
        table.reader().push(error.help("write a directory such as \"journal\""));
    }
    PathBuf::from(written.value)
}

fn url(value: &Value<'_, '_>) -> Option<At<StoreUrl>> {
    let written = value.secret_url("a store such as \"embedded:data\"")?;
    match parse(written.value.expose()) {
        Ok(url) => Some(written.map(|_| url)),
        Err(wrong) => {
            value.refuse(&wrong.message, wrong.hint);
            None
        }
    }
}

fn parse(text: &str) -> Result<StoreUrl, Wrong> {
    if let Some(path) = text.strip_prefix("embedded:") {
        return match path.is_empty() || path.contains('\0') {
            true => Err(Wrong::new("this store has no directory", HINT)),
            false => Ok(StoreUrl::Embedded(PathBuf::from(path))),
        };
    }
    RedisUrl::parse(text).map(StoreUrl::Redis).map_err(|wrong| Wrong::new(wrong.to_string(), HINT))
}
