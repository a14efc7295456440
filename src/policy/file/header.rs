//! Headers that are added to a message.

use http::{HeaderName, HeaderValue};

use super::super::read::{At, Named, Parsed, Table};
use crate::secret::Secret;

/// Headers that frame a message or belong to one connection: setting one would break or smuggle.
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// A header to add.
#[derive(Debug, Clone)]
pub struct HeaderFile<V> {
    /// The name, in lower case.
    pub name: At<HeaderName>,
    /// The value: valid as a header value.
    pub value: At<V>,
}

/// Reads headers whose values may be secret.
pub(super) fn secrets(table: &mut Table<'_, '_>) -> Vec<HeaderFile<Secret>> {
    let read = |entry: &Named<'_, '_>, name: Option<At<HeaderName>>| {
        // Also when the name is wrong: the value may be a credential all the same.
        let value = entry.value.header_secret(&entry.name.value)?;
        valid(entry, value.value.expose()).then_some(HeaderFile { name: name?, value })
    };
    headers(table, read)
}

/// Reads headers whose values anybody may see.
pub(super) fn plain(table: &mut Table<'_, '_>) -> Vec<HeaderFile<String>> {
    let read = |entry: &Named<'_, '_>, name: Option<At<HeaderName>>| {
        let value: At<String> = entry.value.at()?;
        valid(entry, &value.value).then_some(HeaderFile { name: name?, value })
    };
    headers(table, read)
}

fn headers<V>(
    table: &mut Table<'_, '_>,
    read: impl Fn(&Named<'_, '_>, Option<At<HeaderName>>) -> Option<HeaderFile<V>>,
) -> Vec<HeaderFile<V>> {
    let entries = table.named();
    let headers: Vec<_> = entries.iter().filter_map(|entry| read(entry, name_of(entry))).collect();
    let names = headers.iter().map(|header| (&header.name.value, header.name.span));
    let help = "capitals and small letters are the same in a header's name; keep one of them";
    table.reader().refuse_repeated(names, "two headers have the same name", help);
    headers
}

fn name_of(entry: &Named<'_, '_>) -> Option<At<HeaderName>> {
    match HeaderName::parse(&entry.name.value) {
        Ok(name) if is_framing(&name) => {
            entry.refuse(
                "this header belongs to the connection",
                "leave it out; it is set where it is needed",
            );
            None
        }
        Ok(name) => Some(At::default_in(entry.name.span, name)),
        Err(wrong) => {
            entry.refuse_name(&wrong);
            None
        }
    }
}

fn valid(entry: &Named<'_, '_>, value: &str) -> bool {
    let valid = HeaderValue::from_str(value).is_ok();
    if !valid {
        entry.value.refuse("this is not a header value", "write one line of visible characters");
    }
    valid
}

/// Tells whether a header frames the message.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    FRAMING.contains(&name.as_str())
}
