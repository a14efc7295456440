//! `[cors]`: cross-origin requests of browsers.

use std::time::Duration;

use http::{HeaderName, Method, Uri};

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Parsed, Table, Wrong},
};

/// The longest that a browser may remember an answer.
const DAY: Duration = Duration::from_secs(86_400);
/// What a browser remembers unless something else is written.
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// Which pages of other origins may use the service from a browser.
#[derive(Debug, Clone)]
pub struct CorsFile {
    /// Origins that may. Default: none.
    pub origins: Vec<At<Origin>>,
    /// Methods that they may use. Default: GET, HEAD and POST, which browsers send without asking anyway.
    pub methods: Vec<At<Method>>,
    /// Request headers that they may set. Default: none beyond those that need no permission.
    pub headers: Vec<At<HeaderName>>,
    /// Whether they may send cookies and credentials. Default: no.
    pub credentials: At<bool>,
    /// How long browsers remember the answer to a preflight, 0 s to 1 d. Default 10 min.
    pub max_age: At<Duration>,
}

/// An origin as browsers write it in `Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `*`: every origin, without credentials. Always alone.
    Any,
    /// `scheme://host[:port]` in lower case, without the scheme's own port.
    Exact(String),
}

impl Parsed for Origin {
    const WANTED: &'static str = "an origin such as \"https://example.com\"";

    fn parse(text: &str) -> Result<Self, Wrong> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let hint = "write scheme, host and port as browsers do, such as \"https://example.com\"";
        let wrong = |message: &str| Wrong::new(message, hint);
        let bad = "this is not an exact origin";
        let uri: Uri = text.parse().map_err(|_| wrong(bad))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong(bad));
        };
        if authority.host().is_empty() || authority.as_str().contains(['@', '*']) {
            return Err(wrong(bad));
        }
        let exact = as_browsers_write(scheme, authority);
        if exact == text {
            return Ok(Self::Exact(exact));
        }
        Err(Wrong { mended: Some(exact), ..wrong("browsers write this origin differently") })
    }
}

/// Lower case, without the scheme's own port, without a path.
fn as_browsers_write(scheme: &str, authority: &http::uri::Authority) -> String {
    let port = authority
        .port_u16()
        .filter(|port| !matches!((scheme, port), ("http", 80) | ("https", 443)));
    let host = authority.host().to_ascii_lowercase();
    match port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> CorsFile {
    let span = table.span();
    let usual = || {
        [Method::GET, Method::HEAD, Method::POST].map(|method| At::default_in(span, method)).into()
    };
    let cors = CorsFile {
        origins: table
            .optional("origins")
            .map(|origins: At<Vec<_>>| origins.value)
            .unwrap_or_default(),
        methods: table.optional("methods").map_or_else(usual, |methods: At<Vec<_>>| methods.value),
        headers: table
            .optional("headers")
            .map(|headers: At<Vec<_>>| headers.value)
            .unwrap_or_default(),
        credentials: table.or("credentials", false),
        max_age: table.within("max_age", TEN_MINUTES, Duration::ZERO..=DAY),
    };
    if let Some(any) = cors.origins.iter().find(|origin| origin.value == Origin::Any) {
        check_any(table, &cors, any);
    }
    cors
}

/// `*` stands alone, and never with credentials.
fn check_any(table: &Table<'_, '_>, cors: &CorsFile, any: &At<Origin>) {
    if let Some(other) = cors.origins.iter().find(|origin| origin.span != any.span) {
        let error = Diagnostic::error("`cors.origins` has `*` beside other origins");
        let error = error.at(any.span, "means every origin").at(other.span, "adds nothing");
        table.reader().push(error.help("write [\"*\"] alone, or the exact origins"));
    }
    if cors.credentials.value {
        let error = Diagnostic::error(
            "`cors.credentials` would let every page of the web act for its visitors",
        );
        let error = error.at(cors.credentials.span, "credentials for").at(any.span, "every origin");
        table.reader().push(error.help("write the exact origins, or credentials = false"));
    }
}
