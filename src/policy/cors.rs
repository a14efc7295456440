//! Cross-origin rules, answered from values made at load.
//!
//! Follows the Fetch standard's CORS protocol: exact origins, no wildcard beside
//! credentials, `Vary` on whatever depends on the origin. A preflight is decided
//! here alone; it never reaches the upstream and is never counted.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// Headers that scripts of another origin may read.
pub const EXPOSED: [&str; 14] = [
    "x-request-id",
    "ratelimit",
    "ratelimit-policy",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "retry-after",
    "x-user-tier",
    "x-cost-used-today",
    "x-cost-limit-daily",
    "x-cost-remaining-today",
    "mcp-session-id",
    "grpc-status",
    "grpc-message",
];

/// Who may read our answers from another origin.
#[derive(Clone, Debug, Default)]
pub struct Cors {
    origins: Vec<HeaderValue>,
    any_origin: bool,
    credentials: bool,
    methods: Vec<Method>,
    headers: Vec<HeaderName>,
    any_header: bool,
    allow_methods: Option<HeaderValue>,
    allow_headers: Option<HeaderValue>,
    expose_headers: Option<HeaderValue>,
    max_age: Option<HeaderValue>,
}

/// What the request's `Origin` means for the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No `Origin`: not a cross-origin request.
    #[default]
    SameOrigin,
    /// The origin at this place of the policy's list.
    Allowed(usize),
    /// Any origin may read.
    Anyone,
    /// An origin that the policy does not name.
    Foreign,
}

/// What [`Cors`] is made of.
#[derive(Clone, Debug, Default)]
pub struct CorsRules {
    /// Exact origins; empty when none is allowed.
    pub origins: Vec<HeaderValue>,
    /// `*`: any origin, without credentials.
    pub any_origin: bool,
    /// Methods that a preflight may ask for.
    pub methods: Vec<Method>,
    /// Headers that a preflight may ask for; `*` is `any_header`.
    pub headers: Vec<HeaderName>,
    /// Any header may be asked for.
    pub any_header: bool,
    /// Response headers that scripts may read.
    pub expose: Vec<HeaderName>,
    /// Whether cookies and credentials may be sent.
    pub credentials: bool,
    /// How long a browser may keep a preflight's answer, in seconds.
    pub max_age_seconds: u64,
}

fn list<T: AsRef<str>>(items: &[T]) -> Option<HeaderValue> {
    let joined = items.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    HeaderValue::try_from(joined).ok().filter(|value| !value.is_empty())
}

impl Cors {
    /// Makes every value that an answer can need.
    pub fn compile(rules: CorsRules) -> Self {
        let methods: Vec<&str> = rules.methods.iter().map(Method::as_str).collect();
        Self {
            allow_methods: list(&methods),
            allow_headers: if rules.any_header {
                Some(HeaderValue::from_static("*"))
            } else {
                list(&rules.headers)
            },
            expose_headers: list(&rules.expose),
            max_age: Some(HeaderValue::from(rules.max_age_seconds)),
            origins: rules.origins,
            any_origin: rules.any_origin,
            credentials: rules.credentials && !rules.any_origin,
            methods: rules.methods,
            headers: rules.headers,
            any_header: rules.any_header,
        }
    }

    /// Judges the `Origin` of a request. Two `Origin` headers are foreign.
    pub fn judge(&self, headers: &HeaderMap) -> Verdict {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else { return Verdict::SameOrigin };
        if origins.next().is_some() {
            return Verdict::Foreign;
        }
        if self.any_origin {
            return Verdict::Anyone;
        }
        let known = self.origins.iter().position(|known| known == origin);
        known.map_or(Verdict::Foreign, Verdict::Allowed)
    }

    /// Whether this is a preflight (Fetch, "CORS-preflight request").
    pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
        method == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Puts what every answer carries on `answer`, whose own CORS headers must be gone.
    pub fn apply(&self, verdict: Verdict, answer: &mut HeaderMap) {
        if !self.any_origin && !self.origins.is_empty() {
            vary(answer);
        }
        let Some(origin) = self.allow_origin(verdict) else { return };
        answer.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            answer.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if let Some(expose) = &self.expose_headers {
            answer.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    /// Puts a preflight's permissions on `answer`, beside what [`Cors::apply`] puts there.
    pub fn permit(&self, request: &HeaderMap, answer: &mut HeaderMap) {
        if self.asks_for_known_method(request)
            && let Some(methods) = &self.allow_methods
        {
            answer.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        }
        if self.asks_for_known_headers(request)
            && let Some(headers) = &self.allow_headers
        {
            answer.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
        }
        if let Some(max_age) = &self.max_age {
            answer.insert(header::ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        answer.remove(header::ACCESS_CONTROL_EXPOSE_HEADERS);
        answer.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Method"));
        answer.append(header::VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }

    fn allow_origin(&self, verdict: Verdict) -> Option<HeaderValue> {
        match verdict {
            Verdict::Allowed(at) => self.origins.get(at).cloned(),
            Verdict::Anyone => Some(HeaderValue::from_static("*")),
            Verdict::SameOrigin | Verdict::Foreign => None,
        }
    }

    fn asks_for_known_method(&self, request: &HeaderMap) -> bool {
        let asked = request.get(header::ACCESS_CONTROL_REQUEST_METHOD);
        asked.is_some_and(|asked| self.methods.iter().any(|method| method.as_str() == asked))
    }

    fn asks_for_known_headers(&self, request: &HeaderMap) -> bool {
        let mut asked = request
            .get_all(header::ACCESS_CONTROL_REQUEST_HEADERS)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("\0").split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty());
        self.any_header
            || asked.all(|name| self.headers.iter().any(|h| h.as_str().eq_ignore_ascii_case(name)))
    }
}

/// Adds `Origin` to `Vary` unless it is there, or `*` is.
fn vary(answer: &mut HeaderMap) {
    let listed = answer.get_all(header::VARY).iter().any(|value| {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.into_iter().any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    });
    if !listed {
        answer.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors() -> Cors {
        Cors::compile(CorsRules {
            origins: vec![HeaderValue::from_static("https://a.example")],
            methods: vec![Method::GET, Method::POST],
            headers: vec![header::CONTENT_TYPE],
            expose: vec![HeaderName::from_static("x-request-id")],
            credentials: true,
            max_age_seconds: 600,
            ..CorsRules::default()
        })
    }

    fn asking(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_the_exact_origin_is_allowed() {
        for (origin, verdict) in [
            ("https://a.example", Verdict::Allowed(0)),
            ("https://a.example.evil.example", Verdict::Foreign),
            ("http://a.example", Verdict::Foreign),
            ("https://a.example:8443", Verdict::Foreign),
            ("null", Verdict::Foreign),
        ] {
            assert_eq!(cors().judge(&asking(&[("origin", origin)])), verdict, "{origin}");
        }
        assert_eq!(cors().judge(&HeaderMap::new()), Verdict::SameOrigin);
    }

    #[test]
    fn an_answer_names_the_origin_and_varies_by_it() {
        let mut answer = asking(&[("vary", "Accept-Encoding")]);
        cors().apply(Verdict::Allowed(0), &mut answer);
        assert_eq!(answer["access-control-allow-origin"], "https://a.example");
        assert_eq!(answer["access-control-allow-credentials"], "true");
        let vary: Vec<_> = answer.get_all("vary").iter().collect();
        assert_eq!(vary, ["Accept-Encoding", "Origin"]);
    }

    #[test]
    fn a_foreign_origin_gets_no_permission_but_the_answer_still_varies() {
        let mut answer = HeaderMap::new();
        cors().apply(Verdict::Foreign, &mut answer);
        assert!(!answer.contains_key("access-control-allow-origin"));
        assert_eq!(answer["vary"], "Origin");
    }

    #[test]
    fn a_preflight_is_permitted_what_the_policy_names() {
        let ask = asking(&[
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "content-type"),
        ]);
        let mut answer = HeaderMap::new();
        cors().permit(&ask, &mut answer);
        assert_eq!(answer["access-control-allow-methods"], "GET, POST");
        assert_eq!(answer["access-control-allow-headers"], "content-type");
        assert_eq!(answer["access-control-max-age"], "600");
    }

    #[test]
    fn a_preflight_for_more_is_answered_without_the_permission() {
        let ask = asking(&[
            ("access-control-request-method", "DELETE"),
            ("access-control-request-headers", "content-type, x-evil"),
        ]);
        let mut answer = HeaderMap::new();
        cors().permit(&ask, &mut answer);
        assert!(!answer.contains_key("access-control-allow-methods"));
        assert!(!answer.contains_key("access-control-allow-headers"));
    }

    #[test]
    fn a_wildcard_never_goes_with_credentials() {
        let cors = Cors::compile(CorsRules {
            any_origin: true,
            credentials: true,
            ..CorsRules::default()
        });
        let mut answer = HeaderMap::new();
        cors.apply(cors.judge(&asking(&[("origin", "https://x.example")])), &mut answer);
        assert_eq!(answer["access-control-allow-origin"], "*");
        assert!(!answer.contains_key("access-control-allow-credentials"));
    }
}
