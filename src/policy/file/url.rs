//! Absolute URLs, as far as the policy needs them.

use std::{ops::Deref, path::PathBuf};

use http::Uri;

use super::super::read::Wrong;

/// Where the service behind us is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamUrl {
    /// Scheme, host, port and base path; `http://localhost` and the base path for a socket.
    uri: Uri,
    /// The path of a unix socket, absolute or relative to the policy's directory.
    pub socket: Option<PathBuf>,
}

impl Deref for UpstreamUrl {
    type Target = Uri;

    fn deref(&self) -> &Uri {
        &self.uri
    }
}

impl UpstreamUrl {
    /// Parses `http://…`, `https://…`, `unix:PATH` or `unix:PATH:/BASE`.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        let Some(place) = text.strip_prefix("unix:") else {
            let uri = parse(text, &["http", "https"], Shape::Base)?;
            return Ok(Self { uri, socket: None });
        };
        let (path, base) = place.split_once(":/").unwrap_or((place, ""));
        if path.is_empty() || path.starts_with("//") || path.contains('\0') {
            let hint = "write unix: and a path, such as \"unix:/run/app.sock\"";
            return Err(Wrong::new("this is no path of a socket", hint));
        }
        let uri = parse(&format!("http://localhost/{base}"), &["http"], Shape::Base)?;
        Ok(Self { uri, socket: Some(path.into()) })
    }
}

/// What a URL may consist of besides scheme and host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A path at most: where requests are sent.
    Base,
    /// Anything but a password: where a document is fetched, or a message is sent.
    Whole,
}

/// Parses a URL of one of `schemes`.
pub(super) fn parse(text: &str, schemes: &[&str], shape: Shape) -> Result<Uri, Wrong> {
    let example = format!(
        "write {} and a host, such as \"{}://127.0.0.1:8000\"",
        listed(schemes),
        schemes[0]
    );
    let wrong = |message: &str| Wrong::new(message, example.clone());
    let uri: Uri = text.parse().map_err(|_| wrong("this is not a URL"))?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if !schemes.contains(&scheme) {
        return Err(wrong("this URL has none of the known schemes"));
    }
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or_else(|| wrong("this URL has no host"))?;
    if authority.as_str().contains('@') {
        return Err(Wrong::new(
            "this URL has a user name in it",
            "send credentials in a header of their own",
        ));
    }
    let after_host = &authority.as_str()[authority.host().len()..];
    if !after_host.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err(wrong("this URL has no valid port"));
    }
    // `Uri` drops a fragment without a word.
    if text.contains('#') || (shape == Shape::Base && uri.query().is_some()) {
        return Err(Wrong::new(
            "this URL has more than a path",
            "leave out what begins with `?` or `#`",
        ));
    }
    Ok(uri)
}

fn listed(schemes: &[&str]) -> String {
    let schemes: Vec<String> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    schemes.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> Option<String> {
        parse(text, &["http", "https"], Shape::Base).err().map(|wrong| wrong.message)
    }

    #[test]
    fn urls_of_a_base_are_read() {
        for text in ["http://127.0.0.1:8000", "https://agent.example/base/", "http://[::1]:80"] {
            assert_eq!(refused(text), None, "{text}");
        }
        assert!(parse("https://h/x?y=z", &["https"], Shape::Whole).is_ok());
    }

    #[test]
    fn a_unix_socket_may_have_a_base_path() {
        let read = |text| {
            let url = UpstreamUrl::parse(text).expect("a place");
            (url.socket.clone().expect("a socket"), url.path().to_owned())
        };
        assert_eq!(read("unix:/run/app.sock"), ("/run/app.sock".into(), "/".to_owned()));
        assert_eq!(read("unix:app.sock:/base/x"), ("app.sock".into(), "/base/x".to_owned()));
        for text in ["unix:", "unix:///run/app.sock", "unix:/a:/b?c", "unix:/a:/b#c", "unix:/a\0b"]
        {
            assert!(UpstreamUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn other_urls_are_refused() {
        for text in [
            "",
            "/",
            "127.0.0.1:8000",
            "ftp://h",
            "http://",
            "http://:80",
            "http://h:x",
            "http://h:99999",
            "http://h:",
            "http://h:0",
            "http://u:p@h",
            "http://h/?q",
            "http://h/#f",
            "http://h h",
            "http:h",
        ] {
            assert!(refused(text).is_some(), "{text}");
        }
    }
}
