//! `[sanitize]`: what answers lose on their way out.

use http::HeaderName;

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Table, words},
};
use super::header::{self, HeaderFile};

/// The longest name of a rule, in bytes: it becomes a metric label.
const MAX_NAME: usize = 64;

/// What answers lose on their way out.
#[derive(Debug, Clone)]
pub struct SanitizeFile {
    /// What becomes of the body of a 5xx. Default `generic`: it is replaced.
    pub errors: At<ErrorBodies>,
    /// Response headers that are dropped. Default `Server` and `X-Powered-By`, which tell an attacker what to try.
    pub remove_headers: Vec<At<HeaderName>>,
    /// Response headers that are set, in file order, no name twice. Default `X-Content-Type-Options: nosniff` and
    /// `X-Frame-Options: DENY`.
    pub add_headers: Vec<HeaderFile<String>>,
    /// What is replaced in bodies. Default: all kinds.
    pub redact: Vec<At<Redaction>>,
    /// Further replacements, in file order; no name twice. Default: none.
    pub rules: Vec<ReplaceFile>,
}

/// A replacement of one's own.
#[derive(Debug, Clone)]
pub struct ReplaceFile {
    /// The rule's name in metrics, 1 to 64 bytes. Required.
    pub name: At<String>,
    /// A regular expression, as written. Required.
    pub pattern: At<String>,
    /// What a match becomes. Default `[redacted]`.
    pub replace: At<String>,
}

words! {
    /// What becomes of the body of a 5xx from upstream.
    "a word such as \"generic\""
    pub enum ErrorBodies {
        /// It is replaced by a fixed one.
        Generic = "generic",
        /// It passes, redacted like any other.
        Pass = "pass",
    }
}

words! {
    /// A kind of content that is redacted.
    "a kind such as \"credentials\""
    pub enum Redaction {
        /// API keys, tokens and passwords.
        Credentials = "credentials",
        /// URLs of databases and brokers.
        ConnectionStrings = "connection_strings",
        /// Stack traces of the usual languages.
        StackTraces = "stack_traces",
        /// Addresses of private networks.
        PrivateAddresses = "private_addresses",
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> SanitizeFile {
    let span = table.span();
    let kinds = || Redaction::ALL.iter().map(|kind| At::default_in(span, *kind)).collect();
    let errors = table.or("errors", ErrorBodies::Generic);
    let remove_headers = removed(table);
    let add_headers = table.table("add_headers", header::plain);
    let rules = table.tables("rule", rule);
    check_names(table, &rules);
    SanitizeFile {
        errors,
        remove_headers,
        add_headers: add_headers.unwrap_or_else(|| usual_headers(table)),
        redact: table.optional("redact").map_or_else(kinds, |kinds: At<Vec<_>>| kinds.value),
        rules,
    }
}

fn removed(table: &mut Table<'_, '_>) -> Vec<At<HeaderName>> {
    let span = table.span();
    let names = ["server", "x-powered-by"].map(HeaderName::from_static);
    let usual = || names.map(|name| At::default_in(span, name)).into();
    let removed =
        table.optional("remove_headers").map_or_else(usual, |names: At<Vec<_>>| names.value);
    for name in removed.iter().filter(|name| header::is_framing(&name.value)) {
        let error =
            Diagnostic::error("`sanitize.remove_headers`: this header belongs to the connection");
        table.reader().push(
            error.at(name.span, "").help("leave it out; it never passes from upstream unchanged"),
        );
    }
    removed
}

fn usual_headers(table: &Table<'_, '_>) -> Vec<HeaderFile<String>> {
    let header = |(name, value): (&'static str, &str)| HeaderFile {
        name: At::default_in(table.span(), HeaderName::from_static(name)),
        value: At::default_in(table.span(), value.to_owned()),
    };
    [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY")].map(header).into()
}

fn rule(table: &mut Table<'_, '_>) -> Option<ReplaceFile> {
    let name = table.required("name", "name = \"employee number\"");
    let pattern = table.required("pattern", "pattern = 'EMP-\\d{6}'");
    let replace = table.or("replace", "[redacted]".to_owned());
    Some(ReplaceFile { name: name?, pattern: pattern?, replace })
}

fn check_names(table: &Table<'_, '_>, rules: &[ReplaceFile]) {
    let is_label = |name: &str| name.len() <= MAX_NAME && !name.contains(char::is_control);
    for rule in rules.iter().filter(|rule| !is_label(&rule.name.value)) {
        let error =
            Diagnostic::error("`sanitize.rule.name`: this is not a name").at(rule.name.span, "");
        table.reader().push(error.help("write 1 to 64 bytes of visible text"));
    }
    let names = rules.iter().map(|rule| (&rule.name.value, rule.name.span));
    let help = "rename one: metrics tell rules apart by their names";
    table.reader().refuse_repeated(names, "two rules have the same name", help);
}
