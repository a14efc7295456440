//! Something that the service needs, and how to find out whether it is there.
//!
//! Written as a URL. A password in it is read over and never kept: a server that
//! asks for one is there, and that is all a probe wants to know.

use std::sync::Arc;

/// Something that the service needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its name in the health document and in metrics.
    pub name: Arc<str>,
    /// Where and how it is asked.
    pub probe: Probe,
}

/// Where and how a dependency is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// A name or an address, IPv6 without brackets.
    pub host: String,
    /// The port; the protocol's own when the URL names none.
    pub port: u16,
    /// Whether TLS comes first.
    pub tls: bool,
    /// What is said.
    pub speech: Speech,
}

/// What a probe says once it is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Nothing.
    Tcp,
    /// A GET.
    Http {
        /// The `Host` field.
        authority: String,
        /// Path and query.
        target: String,
    },
    /// `PING`.
    Redis,
    /// A start-up message, as `pg_isready` sends it.
    Postgres {
        /// Who asks. Default `weir`; it need not exist.
        user: String,
        /// For which database. Default: the user's name.
        database: String,
    },
    /// A login without a password, so that the server does not count an interrupted handshake.
    Mysql {
        /// Who asks. Default `weir`; it need not exist.
        user: String,
    },
}

/// Schemes that a probe speaks.
pub const SCHEMES: [&str; 8] =
    ["http", "https", "tcp", "postgres", "postgresql", "mysql", "redis", "rediss"];

impl Probe {
    /// Reads a URL; `None` when it is not one of [`SCHEMES`] with a host.
    pub fn parse(url: &str) -> Option<Self> {
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = url.split_once("://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let (user, authority) = match authority.rsplit_once('@') {
            Some((user, authority)) => (user.split(':').next(), authority),
            None => (None, authority),
        };
        let (host, port) = place(authority)?;
        let user = || user.filter(|user| !user.is_empty()).unwrap_or("weir").to_owned();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let database = || Some(path.trim_start_matches('/')).filter(|name| !name.is_empty());
        let (speech, usual) = match scheme {
            "http" | "https" => {
                let target = target.split('#').next().unwrap_or_default();
                let slash = if target.starts_with('/') { "" } else { "/" };
                let target = format!("{slash}{target}");
                let usual = if scheme == "http" { 80 } else { 443 };
                (Speech::Http { authority: authority.to_owned(), target }, Some(usual))
            }
            "tcp" => (Speech::Tcp, None),
            "postgres" | "postgresql" => {
                let database = database().map_or_else(user, str::to_owned);
                (Speech::Postgres { user: user(), database }, Some(5432))
            }
            "mysql" => (Speech::Mysql { user: user() }, Some(3306)),
            "redis" | "rediss" => (Speech::Redis, Some(6379)),
            _ => return None,
        };
        let tls = matches!(scheme, "https" | "rediss");
        Some(Self { host, port: port.or(usual)?, tls, speech })
    }
}

/// Host and port of an authority without a user.
fn place(authority: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = match port {
        "" if authority.ends_with(':') => return None,
        "" => None,
        digits => Some(digits.parse().ok().filter(|port| *port != 0)?),
    };
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Probe {
        Probe::parse(url).unwrap_or_else(|| unreachable!("{url} is a URL"))
    }

    #[test]
    fn every_scheme_has_its_port_and_its_speech() {
        for (url, host, port, tls, speech) in [
            ("tcp://127.0.0.1:1", "127.0.0.1", 1, false, Speech::Tcp),
            ("redis://cache", "cache", 6379, false, Speech::Redis),
            ("rediss://:pw@[::1]:7000/0", "::1", 7000, true, Speech::Redis),
            (
                "postgres://app:p@ss@db/orders?sslmode=require",
                "db",
                5432,
                false,
                Speech::Postgres { user: "app".into(), database: "orders".into() },
            ),
            (
                "postgresql://db:5433",
                "db",
                5433,
                false,
                Speech::Postgres { user: "weir".into(), database: "weir".into() },
            ),
            ("mysql://probe@db", "db", 3306, false, Speech::Mysql { user: "probe".into() }),
            (
                "https://agent.example?deep=1#top",
                "agent.example",
                443,
                true,
                Speech::Http { authority: "agent.example".into(), target: "/?deep=1".into() },
            ),
        ] {
            assert_eq!(parsed(url), Probe { host: host.into(), port, tls, speech }, "{url}");
        }
    }

    #[test]
    fn no_password_is_kept() {
        for url in ["postgres://u:hunter2@h/d", "redis://u:hunter2@h", "https://u:hunter2@h/"] {
            assert!(!format!("{:?}", parsed(url)).contains("hunter2"), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_probed_is_refused() {
        for url in [
            "",
            "tcp://",
            "tcp://h",
            "tcp://h:",
            "tcp://h:0",
            "tcp://h:70000",
            "http://:80",
            "ftp://h",
            "redis:h",
            "http://h h",
            "http://[::1",
            "http://[x]:1",
            "http://u@",
        ] {
            assert_eq!(Probe::parse(url), None, "{url}");
        }
    }
}
