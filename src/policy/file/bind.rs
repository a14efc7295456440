//! Where a listener is, and under which names.

use std::{fmt, net::SocketAddr, path::PathBuf};

use super::super::read::{Parsed, Wrong};

/// Longest path of a unix socket: Linux keeps 108 bytes, one of them for the end, one for our `~`.
const MAX_SOCKET_PATH: usize = 106;

/// Where a listener is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP, IPv4 or IPv6.
    Ip(SocketAddr),
    /// A unix socket: absolute, or relative to the policy's directory.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The path of a unix socket: absolute, or relative to the policy's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketPath(pub PathBuf);

impl Parsed for SocketPath {
    const WANTED: &'static str = "the path of a unix socket, such as \"/run/weir/admin.sock\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let is_path = !text.starts_with("unix:") && !text.contains('\0');
        if !is_path || text.is_empty() || text.len() > MAX_SOCKET_PATH {
            let hint = format!("write \"/run/weir/admin.sock\", at most {MAX_SOCKET_PATH} bytes");
            return Err(Wrong::new("this is not the path of a unix socket", hint));
        }
        Ok(Self(PathBuf::from(text)))
    }
}

impl Parsed for ListenAddress {
    const WANTED: &'static str = "an address such as \"0.0.0.0:8443\" or \"unix:/run/weir.sock\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let Some(path) = text.strip_prefix("unix:") else {
            return SocketAddr::parse(text).map(Self::Ip);
        };
        if path.is_empty() || path.contains('\0') || path.len() > MAX_SOCKET_PATH {
            let hint = format!("write \"unix:/run/weir.sock\", at most {MAX_SOCKET_PATH} bytes");
            return Err(Wrong::new("this is not the path of a unix socket", hint));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }

    fn mend(number: &str) -> Option<String> {
        SocketAddr::mend(number)
    }
}

/// A host name of a certificate: lower case, perhaps with `*.` in front.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostName(pub String);

impl Parsed for HostName {
    const WANTED: &'static str = "a host name such as \"api.example.com\" or \"*.example.com\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let name = text.to_ascii_lowercase();
        let labels = name.strip_prefix("*.").unwrap_or(&name).split('.');
        let sound = |label: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        };
        if name.len() > 253 || !labels.into_iter().all(sound) {
            let hint = "write \"api.example.com\" or \"*.example.com\"; names beyond ASCII in their xn-- form";
            return Err(Wrong::new("this is not a host name", hint));
        }
        Ok(Self(name))
    }
}

/// Permission bits of a file, as `chmod` takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Parsed for FileMode {
    const WANTED: &'static str = "permission bits such as \"0660\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let bits = u32::from_str_radix(text, 8).ok().filter(|bits| *bits <= 0o777);
        let wrong = || Wrong::new("these are not permission bits", "write \"0660\" or \"0600\"");
        bits.map(Self).ok_or_else(wrong)
    }

    fn mend(number: &str) -> Option<String> {
        Self::parse(number).is_ok().then(|| format!("{number:0>4}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_ip_and_port_or_a_path() {
        for (text, is) in [
            ("127.0.0.1:8443", true),
            ("[::]:8443", true),
            ("unix:/run/weir.sock", true),
            ("unix:weir.sock", true),
            ("unix:", false),
            ("/run/weir.sock", false),
            ("localhost:8443", false),
        ] {
            assert_eq!(ListenAddress::parse(text).is_ok(), is, "{text}");
        }
        assert!(ListenAddress::parse(&format!("unix:/{}", "x".repeat(200))).is_err());
    }

    #[test]
    fn names_are_ascii_and_lower_case() {
        let name = |text: &str| HostName::parse(text).map(|name| name.0).ok();
        assert_eq!(name("API.Example.com").as_deref(), Some("api.example.com"));
        assert_eq!(name("*.example.com").as_deref(), Some("*.example.com"));
        for wrong in ["", "*", "a..b", "a.*.b", "bücher.example", "a b", "a:8443"] {
            assert_eq!(name(wrong), None, "{wrong}");
        }
    }
}
