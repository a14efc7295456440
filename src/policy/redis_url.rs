//! Where a Redis is, as a URL says it.
//!
//! | URL | means |
//! |---|---|
//! | `redis://[USER:PASSWORD@]HOST[:6379][/DATABASE]` | one server |
//! | `redis+unix:///PATH[?database=N]` | one server, by its socket |
//! | `redis-sentinel://[…@]HOST[:26379],HOST…/MASTER[/DATABASE]` | the master that sentinels name |
//! | `redis+cluster://[…@]HOST[:6379],HOST…` | a cluster; the hosts are where to begin |
//!
//! An `s` after `redis` means TLS (`rediss://`, `rediss-sentinel://`,
//! `rediss+cluster://`). User and password are percent-decoded. Passwords are
//! [`Secret`]: nothing here prints them.

use std::path::PathBuf;

use crate::secret::Secret;

/// A Redis, or several that are one store.
#[derive(Clone, Debug)]
pub struct RedisUrl {
    /// What is there.
    pub topology: Topology,
    /// Whether connections are encrypted.
    pub tls: bool,
    /// The ACL user; unset means `default`.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The database's number, 0 unless written.
    pub database: u32,
    written: Secret,
}

/// One server or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Single(Place),
    /// A master that these sentinels know by name.
    Sentinel {
        /// At least one.
        sentinels: Vec<Place>,
        /// What the master is called there.
        master: String,
    },
    /// A cluster, of which these are members.
    Cluster {
        /// At least one.
        seeds: Vec<Place>,
    },
}

/// Where one server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A host name or address, and a port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Why a text is no URL of a Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRedis {
    /// Another scheme.
    #[error("this store is not known")]
    Scheme,
    /// No host, or one without a name.
    #[error("this Redis URL has no host")]
    Host,
    /// A port that is none.
    #[error("a port of this Redis URL is not a number from 1 to 65535")]
    Port,
    /// A database that is no number.
    #[error("the database of this Redis URL is not a number")]
    Database,
    /// Sentinels without the name of what they watch.
    #[error("this URL does not name the master that the sentinels watch")]
    Master,
    /// Bad percent-encoding in the user or password.
    #[error("the credentials of this Redis URL are not percent-encoded text")]
    Credentials,
    /// A database in a cluster, a path or a query where none belongs.
    #[error("this Redis URL has a path or query that means nothing here")]
    Tail,
}

impl PartialEq for RedisUrl {
    fn eq(&self, other: &Self) -> bool {
        self.written.expose() == other.written.expose()
    }
}

impl Eq for RedisUrl {}

/// The schemes, whether each is encrypted, and what it leads to.
const SCHEMES: [(&str, bool, Kind); 7] = [
    ("redis://", false, Kind::Single),
    ("rediss://", true, Kind::Single),
    ("redis+unix://", false, Kind::Unix),
    ("redis-sentinel://", false, Kind::Sentinel),
    ("rediss-sentinel://", true, Kind::Sentinel),
    ("redis+cluster://", false, Kind::Cluster),
    ("rediss+cluster://", true, Kind::Cluster),
];

#[derive(Clone, Copy)]
enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

impl RedisUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// The part of it that is wrong, without its text.
    pub fn parse(text: &str) -> Result<Self, NoRedis> {
        let scheme = SCHEMES
            .iter()
            .find_map(|(name, tls, kind)| text.strip_prefix(name).map(|rest| (rest, *tls, *kind)));
        let (rest, tls, kind) = scheme.ok_or(NoRedis::Scheme)?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (credentials, rest) = match rest.rsplit_once('@') {
            Some((credentials, rest)) => (credentials, rest),
            None => ("", rest),
        };
        let (user, password) = login(credentials)?;
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !query.is_empty() && !matches!(kind, Kind::Unix) {
            return Err(NoRedis::Tail);
        }
        let (topology, database) = match kind {
            Kind::Single => {
                let mut places = places(hosts, 6379)?;
                // Several servers are a cluster or have sentinels.
                if places.len() != 1 {
                    return Err(NoRedis::Host);
                }
                (Topology::Single(places.remove(0)), number(path)?)
            }
            Kind::Unix => unix(hosts, path, query)?,
            Kind::Sentinel => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                if master.is_empty() {
                    return Err(NoRedis::Master);
                }
                let sentinels = places(hosts, 26379)?;
                (Topology::Sentinel { sentinels, master: master.to_owned() }, number(database)?)
            }
            Kind::Cluster if path.is_empty() || path == "0" => {
                (Topology::Cluster { seeds: places(hosts, 6379)? }, 0)
            }
            Kind::Cluster => return Err(NoRedis::Tail),
        };
        Ok(Self { topology, tls, user, password, database, written: Secret::new(text) })
    }
}

fn unix(hosts: &str, path: &str, query: &str) -> Result<(Topology, u32), NoRedis> {
    if !hosts.is_empty() || path.is_empty() || path.contains('\0') {
        return Err(NoRedis::Host);
    }
    let database = match query.split_once('=') {
        None if query.is_empty() => 0,
        Some(("database", number)) => number.parse().map_err(|_| NoRedis::Database)?,
        _ => return Err(NoRedis::Tail),
    };
    Ok((Topology::Single(Place::Unix(PathBuf::from(format!("/{path}")))), database))
}

fn login(text: &str) -> Result<(Option<String>, Option<Secret>), NoRedis> {
    if text.is_empty() {
        return Ok((None, None));
    }
    // `redis://secret@host` has been a password alone since the first clients.
    let (user, password) = text.split_once(':').unwrap_or(("", text));
    let decode = |text| decoded(text).ok_or(NoRedis::Credentials);
    let user = Some(decode(user)?).filter(|user| !user.is_empty());
    Ok((user, Some(Secret::new(decode(password)?))))
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let digit = |at: usize| char::from(*tail.get(at)?).to_digit(16);
        bytes.push(u8::try_from(digit(0)? * 16 + digit(1)?).ok()?);
        rest = tail.get(2..)?;
    }
    String::from_utf8(bytes).ok()
}

fn places(hosts: &str, port: u16) -> Result<Vec<Place>, NoRedis> {
    hosts.split(',').map(|host| place(host, port)).collect()
}

fn place(text: &str, default: u16) -> Result<Place, NoRedis> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, tail) = rest.split_once(']').ok_or(NoRedis::Host)?;
            (host, tail.strip_prefix(':').or(if tail.is_empty() { Some("") } else { None }))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("")),
        },
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(NoRedis::Host);
    }
    let port = match port.ok_or(NoRedis::Port)? {
        "" if !text.ends_with(':') => default,
        written => written.parse().ok().filter(|port| *port != 0).ok_or(NoRedis::Port)?,
    };
    Ok(Place::Tcp { host: host.to_owned(), port })
}

fn number(text: &str) -> Result<u32, NoRedis> {
    if text.is_empty() { Ok(0) } else { text.parse().map_err(|_| NoRedis::Database) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Place {
        Place::Tcp { host: host.into(), port }
    }

    #[test]
    fn a_plain_url_has_defaults() {
        let url = RedisUrl::parse("redis://cache").unwrap();
        assert_eq!(url.topology, Topology::Single(tcp("cache", 6379)));
        assert_eq!(
            (url.tls, url.database, url.user, url.password.is_none()),
            (false, 0, None, true)
        );
    }

    #[test]
    fn everything_that_can_be_written_is_read() {
        let url = RedisUrl::parse("rediss://weir:p%40ss%3A@[::1]:7000/3").unwrap();
        assert_eq!(url.topology, Topology::Single(tcp("::1", 7000)));
        assert_eq!((url.tls, url.database, url.user.as_deref()), (true, 3, Some("weir")));
        assert_eq!(url.password.as_ref().unwrap().expose(), "p@ss:");
        let url = RedisUrl::parse("redis-sentinel://:pw@a,b:27000/main/2").unwrap();
        let sentinels = vec![tcp("a", 26379), tcp("b", 27000)];
        assert_eq!(url.topology, Topology::Sentinel { sentinels, master: "main".into() });
        assert_eq!((url.user, url.database), (None, 2));
        let url = RedisUrl::parse("rediss+cluster://a:1,b").unwrap();
        assert_eq!(url.topology, Topology::Cluster { seeds: vec![tcp("a", 1), tcp("b", 6379)] });
        let url = RedisUrl::parse("redis+unix:///run/redis.sock?database=4").unwrap();
        assert_eq!(url.topology, Topology::Single(Place::Unix("/run/redis.sock".into())));
        assert_eq!(url.database, 4);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        for (text, wrong) in [
            ("memcached://a", NoRedis::Scheme),
            ("redis://", NoRedis::Host),
            ("redis://a,b", NoRedis::Host),
            ("redis://:6379", NoRedis::Host),
            ("redis://a:0", NoRedis::Port),
            ("redis://a:", NoRedis::Port),
            ("redis://[::1]x", NoRedis::Port),
            ("redis://a/main", NoRedis::Database),
            ("redis://u:%zz@a", NoRedis::Credentials),
            ("redis://a?db=1", NoRedis::Tail),
            ("redis-sentinel://a", NoRedis::Master),
            ("redis+cluster://a/1", NoRedis::Tail),
            ("redis+cluster://a,,b", NoRedis::Host),
        ] {
            assert_eq!(RedisUrl::parse(text).unwrap_err(), wrong, "{text}");
        }
    }

    #[test]
    fn no_password_is_printed() {
        let url = RedisUrl::parse("redis://u:hunter2@a").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
