//! Which operation a method and path belong to.
//!
//! A tree of path segments. At each segment a literal beats a `{parameter}`,
//! and both beat `**`; the search falls back when a more specific branch leads
//! nowhere. On one pattern a named method beats `*`, and HEAD is served by GET.
//! So the most specific route wins, and two routes can only tie when they are
//! the same pattern, which is an error at load.
//!
//! # Limits
//! Patterns are at most [`MAX_SEGMENTS`] segments deep, so the search is bounded.

use std::fmt;

use http::Method;
use smallvec::SmallVec;

use super::path::decode;

/// The deepest pattern that is accepted.
pub const MAX_SEGMENTS: usize = 32;

/// A path pattern as written: `/api/user/{user_id}/**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    /// Matches exactly one segment that is not empty.
    Parameter(String),
    /// Matches all that is left, also nothing; last only.
    Rest,
}

/// Why a pattern or route cannot be used; the phrase says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No slash in front.
    #[error("a path pattern begins with `/`")]
    Relative,
    /// `**` before the end.
    #[error("`**` matches all that is left, so it can only stand last")]
    RestNotLast,
    /// `{` without `}` or a bad name, or a brace inside a segment.
    #[error("a parameter is a whole segment, `{{name}}`, with a name of letters, digits and `_`")]
    BadParameter,
    /// One name twice.
    #[error("the parameter `{0}` stands twice in one pattern")]
    DoubledParameter(String),
    /// Not in canonical form.
    #[error("the pattern can never match: a path is canonicalised to `{0}` first")]
    NotCanonical(String),
    /// Not even a path.
    #[error("{0}")]
    BadPath(#[from] super::path::PathError),
    /// Too deep.
    #[error("a pattern has at most {MAX_SEGMENTS} segments")]
    TooDeep,
    /// No method in front of the path.
    #[error("a route is a method (or `*`) and a path, as in `POST /api/analyze`")]
    NoMethod,
    /// Not an HTTP token in capitals.
    #[error("`{0}` is no HTTP method; write it in capitals, or `*` for all")]
    BadMethod(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it can match nothing or is ambiguous; see [`RouteError`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let path = text.strip_prefix('/').ok_or(RouteError::Relative)?;
        let segments: Vec<_> = path.split('/').map(Segment::parse).collect::<Result<_, _>>()?;
        if segments.len() > MAX_SEGMENTS {
            return Err(RouteError::TooDeep);
        }
        if segments.iter().rev().skip(1).any(|segment| *segment == Segment::Rest) {
            return Err(RouteError::RestNotLast);
        }
        let pattern = Self { segments, text: text.to_owned() };
        pattern.check_names()?;
        pattern.check_literals()?;
        Ok(pattern)
    }

    fn check_names(&self) -> Result<(), RouteError> {
        let names: Vec<&str> = self.parameters().collect();
        match names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            Some((_, name)) => Err(RouteError::DoubledParameter((*name).to_owned())),
            None => Ok(()),
        }
    }

    fn check_literals(&self) -> Result<(), RouteError> {
        let stand_in: Vec<&str> = self
            .segments
            .iter()
            .map(|segment| if let Segment::Literal(text) = segment { text } else { "x" })
            .collect();
        let written = format!("/{}", stand_in.join("/"));
        let canonical = super::path::canonical(&written)?;
        if canonical != written {
            return Err(RouteError::NotCanonical(canonical.into_owned()));
        }
        Ok(())
    }

    /// Names of the parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Parameter(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// The decoded value of the parameter called `name`, if `path` (canonical) matches.
    pub fn capture<'p>(&self, path: &'p str, name: &str) -> Option<std::borrow::Cow<'p, str>> {
        let mut found = None;
        let mut parts = path.strip_prefix('/')?.split('/');
        for segment in &self.segments {
            match segment {
                Segment::Rest => return decode(found?),
                Segment::Literal(text) => (parts.next()? == text).then_some(())?,
                Segment::Parameter(parameter) => {
                    let part = parts.next().filter(|part| !part.is_empty())?;
                    if parameter == name {
                        found = Some(part);
                    }
                }
            }
        }
        if parts.next().is_some() { None } else { decode(found?) }
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, RouteError> {
        if text == "**" {
            return Ok(Self::Rest);
        }
        let name = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        match name {
            Some(name) if is_name(name) => Ok(Self::Parameter(name.to_owned())),
            Some(_) => Err(RouteError::BadParameter),
            None if text.contains(['{', '}', '*']) => Err(RouteError::BadParameter),
            None => Ok(Self::Literal(text.to_owned())),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A method and path pattern as written: `POST /api/analyze`, `* /**`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// `None` is any method.
    pub method: Option<Method>,
    /// The path.
    pub pattern: Pattern,
}

impl Route {
    /// Reads a route.
    ///
    /// # Errors
    /// See [`RouteError`].
    pub fn parse(text: &str) -> Result<Self, RouteError> {
        let (method, path) = text.split_once(' ').ok_or(RouteError::NoMethod)?;
        let bad = || RouteError::BadMethod(method.to_owned());
        let method = match method {
            "*" => None,
            _ if !method.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') => return Err(bad()),
            _ => Some(Method::from_bytes(method.as_bytes()).map_err(|_| bad())?),
        };
        Ok(Self { method, pattern: Pattern::parse(path.trim_start())? })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = self.method.as_ref().map_or("*", Method::as_str);
        write!(f, "{method} {}", self.pattern)
    }
}

/// All routes of a policy.
#[derive(Clone, Debug, Default)]
pub struct Router {
    routes: Vec<(Route, usize)>,
    root: Node,
}

#[derive(Clone, Debug, Default)]
struct Node {
    literals: Vec<(String, Node)>,
    parameter: Option<Box<Node>>,
    /// Routes that end with `**` here.
    rest: Vec<usize>,
    /// Routes that end here.
    end: Vec<usize>,
}

/// A route that matched.
#[derive(Clone, Debug)]
pub struct Matched<'r> {
    /// The route.
    pub route: &'r Route,
    /// The number given at [`Router::insert`].
    pub operation: usize,
}

impl Router {
    /// Adds a route of `operation`.
    ///
    /// # Errors
    /// The route that has the same method and pattern already, and its operation.
    pub fn insert(&mut self, route: Route, operation: usize) -> Result<(), (Route, usize)> {
        let mut node = &mut self.root;
        let mut rest = false;
        for segment in &route.pattern.segments {
            match segment {
                Segment::Literal(text) => node = node.literal(text),
                Segment::Parameter(_) => node = node.parameter.get_or_insert_default(),
                Segment::Rest => rest = true,
            }
        }
        let ends = if rest { &mut node.rest } else { &mut node.end };
        let same = ends.iter().find(|at| self.routes[**at].0.method == route.method);
        if let Some(at) = same {
            return Err(self.routes[*at].clone());
        }
        ends.push(self.routes.len());
        self.routes.push((route, operation));
        Ok(())
    }

    /// The most specific route for `method` and the canonical `path`.
    pub fn find(&self, method: &Method, path: &str) -> Option<Matched<'_>> {
        let mut parts: SmallVec<[&str; 16]> = SmallVec::new();
        // Deeper than any pattern without `**` is still one thing: the rest.
        parts.extend(path.strip_prefix('/')?.splitn(MAX_SEGMENTS + 1, '/'));
        let (route, operation) = &self.routes[self.search(&self.root, &parts, method)?];
        Some(Matched { route, operation: *operation })
    }

    fn search(&self, node: &Node, parts: &[&str], method: &Method) -> Option<usize> {
        let Some((part, tail)) = parts.split_first() else {
            let end = self.choose(&node.end, method);
            return end.or_else(|| self.choose(&node.rest, method));
        };
        let literal = node.literals.iter().find(|(text, _)| text == part);
        literal
            .and_then(|(_, child)| self.search(child, tail, method))
            .or_else(|| {
                let child = node.parameter.as_deref().filter(|_| !part.is_empty())?;
                self.search(child, tail, method)
            })
            .or_else(|| self.choose(&node.rest, method))
    }

    /// A named method, then GET for HEAD, then any.
    fn choose(&self, at: &[usize], method: &Method) -> Option<usize> {
        let with = |wanted: Option<&Method>| {
            at.iter().copied().find(|at| self.routes[*at].0.method.as_ref() == wanted)
        };
        let head = || (method == Method::HEAD).then(|| with(Some(&Method::GET))).flatten();
        with(Some(method)).or_else(head).or_else(|| with(None))
    }
}

impl Node {
    fn literal(&mut self, text: &str) -> &mut Self {
        let at = self.literals.iter().position(|(known, _)| known == text);
        let at = at.unwrap_or_else(|| {
            self.literals.push((text.to_owned(), Self::default()));
            self.literals.len() - 1
        });
        &mut self.literals[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[&str]) -> Router {
        let mut router = Router::default();
        for (operation, route) in routes.iter().enumerate() {
            let route = Route::parse(route).expect("a good route");
            router.insert(route, operation).expect("no tie");
        }
        router
    }

    fn found(router: &Router, method: &Method, path: &str) -> Option<String> {
        router.find(method, path).map(|matched| matched.route.to_string())
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            "* /**",
            "POST /api/user/{id}/plan",
            "POST /api/user/me/plan",
            "* /api/user/**",
            "GET /api/user/{id}/**",
        ]);
        for (method, path, wanted) in [
            (Method::POST, "/api/user/u1/plan", Some("POST /api/user/{id}/plan")),
            (Method::POST, "/api/user/me/plan", Some("POST /api/user/me/plan")),
            (Method::GET, "/api/user/me/plan", Some("GET /api/user/{id}/**")),
            (Method::DELETE, "/api/user/me/plan", Some("* /api/user/**")),
            (Method::GET, "/api/user", Some("* /api/user/**")),
            (Method::GET, "/other", Some("* /**")),
            (Method::GET, "/", Some("* /**")),
            (Method::HEAD, "/api/user/u1/x", Some("GET /api/user/{id}/**")),
        ] {
            assert_eq!(found(&router, &method, path).as_deref(), wanted, "{method} {path}");
        }
    }

    #[test]
    fn a_branch_that_leads_nowhere_falls_back() {
        let router = router(&["GET /a/b/c", "GET /a/{x}/d", "GET /{y}/b/e"]);
        assert_eq!(found(&router, &Method::GET, "/a/b/d").as_deref(), Some("GET /a/{x}/d"));
        assert_eq!(found(&router, &Method::GET, "/a/b/e").as_deref(), Some("GET /{y}/b/e"));
        assert_eq!(found(&router, &Method::GET, "/a/b/f"), None);
        assert_eq!(found(&router, &Method::GET, "/a//d"), None);
    }

    #[test]
    fn a_very_deep_path_still_meets_the_catch_all() {
        let router = router(&["* /**"]);
        assert!(router.find(&Method::GET, &"/x".repeat(10_000)).is_some());
    }

    #[test]
    fn one_pattern_twice_is_a_tie() {
        let mut router = router(&["POST /a/{x}"]);
        let again = Route::parse("POST /a/{y}").expect("a good route");
        assert!(router.insert(again, 1).is_err());
        let other = Route::parse("GET /a/{y}").expect("a good route");
        assert!(router.insert(other, 1).is_ok());
    }

    #[test]
    fn patterns_that_cannot_match_are_refused() {
        for (text, error) in [
            ("POST", RouteError::NoMethod),
            ("post /a", RouteError::BadMethod("post".into())),
            ("POST a", RouteError::Relative),
            ("POST /**/a", RouteError::RestNotLast),
            ("POST /a{b}", RouteError::BadParameter),
            ("POST /{}", RouteError::BadParameter),
            ("POST /{a}/{a}", RouteError::DoubledParameter("a".into())),
            ("POST /a/../b", RouteError::NotCanonical("/b".into())),
        ] {
            assert_eq!(Route::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_captured_decoded() {
        let pattern = Pattern::parse("/api/user/{user_id}/**").expect("a good pattern");
        let capture = |path| pattern.capture(path, "user_id").map(|text| text.into_owned());
        assert_eq!(capture("/api/user/u1/x/y").as_deref(), Some("u1"));
        assert_eq!(capture("/api/user/u%20/x").as_deref(), Some("u "));
        assert_eq!(capture("/api/user/u1").as_deref(), Some("u1"));
        assert_eq!(capture("/api/user//x"), None);
        assert_eq!(capture("/api/users/u1"), None);
    }
}
