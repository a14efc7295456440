//! The pack `connection_strings`: addresses of databases and brokers.
//!
//! URLs with a database's scheme, any URL with a password in it, and keyword
//! strings (ADO, ODBC, libpq). Masked as a whole: the host is as telling as
//! the password.
//!
//! # Limits
//! A password with a bare quote or space in a URL ends the match there.

use super::Secret;
use super::judge::{Site, Verdict, pass, trim, trimmed};

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret { pattern: KNOWN, judge: trimmed },
    Secret { pattern: r"<left>jdbc:[a-z0-9]+:[^\s\x22'<>`\\]+", judge: trimmed },
    Secret { pattern: WITH_PASSWORD, judge: trimmed },
    Secret { pattern: r"<left>[\w.-]+:[^\s\x22'<>`\\@/]+@(?:tcp|unix)\([^\s\x22'<>`\\)]*\)/?[\w?=&%.-]*", judge: trimmed },
    Secret { pattern: ADO, judge: ado },
    Secret { pattern: LIBPQ, judge: libpq },
];

const KNOWN: &str = concat!(
    r"<left>(?i:postgres(?:ql)?|mysqlx?|mariadb|mongodb|rediss?|amqps?|mssql|sqlserver|oracle|cockroach(?:db)?",
    r"|clickhouse|kafka|nats|ldaps?|memcached?|cassandra|neo4j|bolt|couchbases?|couchdb|snowflake|redshift|db2|timescaledb",
    r"|pulsar|mqtts?|elasticsearch|influxdb|etcd)(?i:\+[a-z0-9_]+)*",
    r"://[^\s\x22'<>`\\]+",
);

const WITH_PASSWORD: &str =
    r"<left>[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@\x22'<>`\\?#]*:[^\s/@\x22'<>`\\]+@[^\s\x22'<>`\\]+";

const ADO: &str = concat!(
    r"<left>(?i:server|data source|addr(?:ess)?|network address|host(?:name)?|endpoint|defaultendpointsprotocol",
    r"|accountendpoint|accountname|driver|provider|database|initial catalog|user id|uid|password|pwd|dsn)",
    r"[ \t]*=[^;\x22'\\\r\n<>=]*;",
    r"(?:[ \t]*[A-Za-z][A-Za-z ]*=[^;\x22'\\\r\n<>]*;)*",
    r"(?:[ \t]*[A-Za-z][A-Za-z ]*=[^;\s\x22'\\<>]+)?",
);

const LIBPQ: &str = concat!(
    r"<left>(?:host(?:addr)?|port|user|dbname|database|password|sslmode|connect_timeout)=(?:'[^'\x22\\\r\n]*'|[^\s\x22'\\,;&<>]+)",
    r"(?:[ \t]+(?:host(?:addr)?|port|user|dbname|database|password|sslmode|connect_timeout|application_name)",
    r"=(?:'[^'\x22\\\r\n]*'|[^\s\x22'\\,;&<>]+))+",
);

/// Keyword lists also occur in cookies and code: a database's needs its own words.
fn ado(site: Site<'_>) -> Verdict {
    let text = site.bytes.to_ascii_lowercase();
    let has = |word: &str| memmem(&text, word.as_bytes());
    let secret = ["password", "pwd", "accountkey", "sharedaccesskey"].into_iter().any(has);
    let place = [
        "server", "source", "host", "addr", "endpoint", "account", "driver", "database", "catalog",
    ]
    .into_iter()
    .any(has);
    let trusted = (has("database=") || has("catalog=")) && (has("server=") || has("source="));
    if trusted || (secret && place) {
        return trimmed_keeping_base64(site);
    }
    let key =
        site.bytes.iter().position(|byte| *byte == b'=').map_or(site.bytes.len(), |at| at + 1);
    Verdict::Pass(key)
}

fn libpq(site: Site<'_>) -> Verdict {
    let has = |word: &str| memmem(site.bytes, word.as_bytes());
    let words = ["host", "user=", "dbname=", "database=", "password=", "port="];
    match words.into_iter().filter(|word| has(word)).count() {
        0..=1 => {
            Verdict::Pass(site.bytes.iter().position(|byte| *byte == b'=').map_or(1, |at| at + 1))
        }
        _ => trimmed(site),
    }
}

fn trimmed_keeping_base64(site: Site<'_>) -> Verdict {
    let end = trim(site.bytes);
    let start = super::judge::border(site.bytes);
    if end <= start { pass(site) } else { Verdict::Mask(start..end) }
}

fn memmem(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}
