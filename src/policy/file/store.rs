//! `[store]`: where the counts live.

use std::path::PathBuf;

use super::super::read::{At, Table, Value, Wrong, words};
use crate::{secret::Secret, units::Percent};

/// Schemes of a Redis.
const REDIS: [&str; 4] = ["redis://", "rediss://", "redis-sentinel://", "redis+cluster://"];
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
    /// Subjects that are counted at once, 100 to 10 000 000. Default 100 000, some tens of MiB; bounds the memory.
    pub max_subjects: At<u32>,
}

/// A store.
#[derive(Debug, Clone)]
pub enum StoreUrl {
    /// `embedded:PATH`: a directory, relative to the policy's.
    Embedded(PathBuf),
    /// A Redis URL; it may contain a password.
    Redis(Secret),
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

pub(super) fn read(table: &mut Table<'_, '_>) -> StoreFile {
    let default = At::default_in(table.span(), StoreUrl::Embedded(PathBuf::from("data")));
    let url = table.value("url").and_then(|value| url(&value)).unwrap_or(default);
    if matches!(url.value, StoreUrl::Redis(_)) {
        table.not_yet("url");
        table.not_yet("on_failure");
        table.not_yet("allowance");
    }
    StoreFile {
        url,
        on_failure: table.or("on_failure", OnFailure::Local),
        allowance: table.or("allowance", Percent::whole(25)),
        max_subjects: table.within("max_subjects", 100_000, 100..=10_000_000),
    }
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
    let rest = REDIS.iter().find_map(|scheme| text.strip_prefix(scheme));
    let rest = rest.ok_or_else(|| Wrong::new("this store is not known", HINT))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let hosts = authority.rsplit('@').next().unwrap_or_default();
    // A cluster or a set of sentinels is a list of hosts.
    if hosts.split(',').any(|host| host.is_empty() || host.starts_with(':')) {
        return Err(Wrong::new("this Redis URL has no host", HINT));
    }
    Ok(StoreUrl::Redis(Secret::new(text)))
}
