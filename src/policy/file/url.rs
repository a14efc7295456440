//! Absolute URLs, as far as the policy needs them.

use http::Uri;

use super::super::read::Wrong;

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
