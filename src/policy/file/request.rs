//! `[request]` and `[operations.<name>.request]`: what requests must look like.

use std::{fmt, path::PathBuf};

use super::super::read::{At, Parsed, Table, Wrong, words};
use crate::units::Bytes;

/// The largest body that may be allowed.
const MAX_BODY: Bytes = Bytes::mib(1_024);

/// Bounds that hold for every request.
#[derive(Debug, Clone)]
pub struct RequestFile {
    /// Largest body, 1 B to 1 GiB. Default 2 MiB: a long prompt, not an upload.
    pub max_body: At<Bytes>,
    /// Largest head (request line and header fields, decoded), 1 KiB to 1 MiB. Default 32 KiB.
    pub max_headers: At<Bytes>,
    /// Most header fields, 10 to 1000. Default 100.
    pub max_header_count: At<u32>,
}

/// What a request of one operation must look like.
#[derive(Debug, Clone)]
pub struct RequestRulesFile {
    /// Media types that a body may have; parameters of the header are not compared. Default: any.
    pub content_types: Option<Vec<At<MediaType>>>,
    /// Largest body, 1 B to 1 GiB, in place of `request.max_body`. Default: that one.
    pub max_body: Option<At<Bytes>>,
    /// Deepest nesting of a JSON body, 1 to 128. Default: bodies are not read, so they pass as they come.
    pub max_depth: Option<At<u32>>,
    /// What happens on SQL and script injection. Default `off`: the search is by looks, and prompts may speak of SQL.
    pub injection: At<Injection>,
    /// Patterns that parameters of the route must match as a whole, in file order. Default: none.
    pub parameters: Vec<ParameterFile>,
    /// JSON Schema for the body, a file relative to the policy's directory. Default: none.
    pub schema: Option<At<PathBuf>>,
}

/// A pattern for a parameter of a route.
#[derive(Debug, Clone)]
pub struct ParameterFile {
    /// The parameter's name in the route.
    pub name: At<String>,
    /// A regular expression, as written.
    pub pattern: At<String>,
}

words! {
    /// What happens when SQL or script injection is found in a request.
    "a word such as \"refuse\""
    pub enum Injection {
        /// Nothing is searched.
        Off = "off",
        /// The finding is logged, the request goes on.
        Log = "log",
        /// The request is refused.
        Refuse = "refuse",
    }
}

/// A media type without parameters, in lower case, such as `application/json`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MediaType(String);

impl MediaType {
    /// The media type as it is compared.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Parsed for MediaType {
    const WANTED: &'static str = "a media type such as \"application/json\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        let token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if token(kind) && token(subtype) => {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(Wrong::new(
                "this is not a media type",
                "write type and subtype without parameters, such as \"application/json\"",
            )),
        }
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> RequestFile {
    RequestFile {
        max_body: table.within("max_body", Bytes::mib(2), Bytes(1)..=MAX_BODY),
        max_headers: table.within("max_headers", Bytes::kib(32), Bytes::kib(1)..=Bytes::kib(128)),
        max_header_count: table.within("max_header_count", 100, 10..=250),
    }
}

pub(super) fn rules(table: &mut Table<'_, '_>) -> RequestRulesFile {
    let content_types = table.optional("content_types").map(|types: At<Vec<_>>| types.value);
    let injection = table.or("injection", Injection::Off);
    table.not_yet("schema");
    if injection.value != Injection::Off {
        table.not_yet("injection");
    }
    RequestRulesFile {
        content_types,
        max_body: table.optional_within("max_body", Bytes(1)..=MAX_BODY),
        max_depth: table.optional_within("max_depth", 1..=128),
        injection,
        parameters: table.table("parameters", parameters).unwrap_or_default(),
        schema: table.optional("schema"),
    }
}

fn parameters(table: &mut Table<'_, '_>) -> Vec<ParameterFile> {
    let read = |entry: super::super::read::Named<'_, '_>| Some((entry.value.at()?, entry.name));
    table
        .named()
        .into_iter()
        .filter_map(read)
        .map(|(pattern, name)| ParameterFile { name, pattern })
        .collect()
}
