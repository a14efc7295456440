//! The pack `connection_strings`: addresses of databases and brokers.
//!
//! URLs with a database's scheme, any URL with a password in it, and keyword
//! strings (ADO, ODBC, libpq). Masked as a whole: the host is as telling as
//! the password.
//!
//! # Limits
//! A password with a bare quote or space in a URL ends the match there.

use super::judge::{Site, Verdict, trimmed};
use super::{Secret, bytes};

#[rustfmt::skip]
pub(super) const SECRETS: &[Secret] = &[
    Secret::new(SCHEMES, KNOWN, trimmed).any_case(),
    Secret::new(&["jdbc:"], r"[a-z0-9]+:(?:[^\s\x22'<>`\\]|\\/)+", trimmed),
    Secret::inside(&["://", ":\\/\\/"], USERINFO, trimmed).reaching(&SCHEME),
    Secret::new(KEYWORDS, PAIRS, keywords).any_case(),
];

/// Schemes that no public address has.
#[rustfmt::skip]
const SCHEMES: &[&str] = &[
    "postgres", "mysql", "mariadb", "mongodb", "redis", "amqp", "mssql", "sqlserver", "oracle", "cockroach", "clickhouse", "kafka",
    "nats", "ldap", "memcache", "cassandra", "neo4j", "bolt", "couchbase", "couchdb", "snowflake", "redshift", "db2", "timescaledb",
    "pulsar", "mqtt", "elasticsearch", "influxdb", "etcd",
];

/// The rest of the scheme, with a driver, and of the URL; `\/` is how some JSON encoders write a slash.
const KNOWN: &str = r"(?i:ql|db|x|d|s)?(?:\+[A-Za-z0-9_]+)*:\\?/\\?/(?:[^\s\x22'<>`\\]|\\/)+";

static SCHEME: [bool; 256] = bytes(b"+.-");

const USERINFO: &str = r"[^\s/:@\x22'<>`\\?#]*:[^\s/@\x22'<>`\\]+@(?:[^\s\x22'<>`\\]|\\/)+";

/// The first keyword of an ADO, ODBC or libpq string.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "server", "data source", "addr", "address", "network address", "host", "hostname", "hostaddr", "endpoint", "defaultendpointsprotocol",
    "accountendpoint", "accountname", "driver", "provider", "database", "initial catalog", "user", "user id", "uid", "password", "pwd",
    "dsn", "port", "dbname", "sslmode",
];

/// ADO: `value;Key=value;…`, or libpq: `value key=value …`.
const PAIRS: &str = concat!(
    r"[ \t]*=(?:[^;\x22'\\\r\n<>=]*;(?:[ \t]*[A-Za-z][A-Za-z ]*=[^;\x22'\\\r\n<>]*;){0,20}(?:[ \t]*[A-Za-z][A-Za-z ]*=[^;\s\x22'\\<>]+)?",
    r"|(?:'[^'\x22\\\r\n]*'|[^\s\x22'\\,;&<>]+)",
    r"(?:[ \t]+(?:host(?:addr)?|port|user|dbname|database|password|sslmode|connect_timeout|application_name)",
    r"=(?:'[^'\x22\\\r\n]*'|[^\s\x22'\\,;&<>]+)){1,20})",
);

/// Keyword lists also occur in cookies and code: a database's needs its own words.
fn keywords(site: Site<'_>) -> Verdict {
    let text = site.bytes.to_ascii_lowercase();
    let has = |word: &&str| text.windows(word.len()).any(|window| window == word.as_bytes());
    let count = |words: &[&str]| words.iter().filter(|word| has(word)).count();
    let secret = count(&["password", "pwd", "accountkey", "sharedaccesskey"]);
    let place = count(&["server", "source", "host", "addr", "endpoint", "account", "driver"]);
    let content = count(&["database=", "catalog=", "dbname="]);
    let other = count(&["user", "uid=", "port="]);
    if place.min(1) + content.min(1) + secret.min(1) + other.min(1) >= 2
        && !(secret + content == 0 && text.contains(&b';'))
    {
        return trimmed(site);
    }
    let key = site.bytes.iter().position(|byte| *byte == b'=');
    Verdict::Pass(key.map_or(1, |at| at + 1))
}
