//! A cursor on one value of the document.

use std::borrow::Cow;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::super::{
    diagnostic::{Diagnostic, Span},
    interpolate::Expanded,
};
use super::conceal::{is_secret_name, looks_random};
use super::{At, Parsed, Reader, Table, Wrong};
use crate::secret::Secret;

/// A value, where it is, and the path of keys that leads to it.
pub(in crate::policy) struct Value<'r, 't> {
    pub(super) reader: &'r Reader<'t>,
    pub(super) node: &'t DeValue<'t>,
    pub(super) span: Span,
    pub(super) path: String,
}

/// What a value of the document can be read as.
pub(in crate::policy) trait Read: Sized {
    /// Reads `value`, or reports why not.
    fn read(value: &Value<'_, '_>) -> Option<Self>;
}

impl<'r, 't> Value<'r, 't> {
    pub(super) fn new(
        reader: &'r Reader<'t>,
        node: &'t Spanned<DeValue<'t>>,
        path: String,
    ) -> Self {
        Self { reader, node: node.get_ref(), span: node.span().into(), path }
    }

    /// Where the value is written.
    pub(in crate::policy) fn span(&self) -> Span {
        self.span
    }

    /// Reports an error of this value: a message that follows its path, and what would be right.
    pub(in crate::policy) fn refuse(&self, message: &str, help: impl Into<String>) {
        let message = format!("`{}`: {message}", self.path);
        self.reader.push(Diagnostic::error(message).at(self.span, "").help(help));
    }

    /// Reports that the value has another type.
    pub(super) fn mismatch(&self, wanted: &str, mended: Option<String>) {
        let found = format!("this is {}", with_article(self.node.type_str()));
        let diagnostic =
            Diagnostic::error(format!("`{}` wants {wanted}", self.path)).at(self.span, found);
        self.reader.push(match mended {
            Some(mended) => diagnostic.help(format!("write {mended}")),
            None => diagnostic,
        });
    }

    /// Reads the value with its place.
    pub(in crate::policy) fn at<T: Read>(&self) -> Option<At<T>> {
        let value = T::read(self)?;
        Some(self.placed(value))
    }

    /// Puts the place to something read from this value.
    pub(in crate::policy) fn placed<T>(&self, value: T) -> At<T> {
        At { value, span: self.span, from_reference: has_reference(self.node) }
    }

    /// The value as it is written.
    pub(super) fn raw(&self) -> &'t str {
        self.reader.slice(self.span)
    }

    /// Reads a string and resolves its references.
    pub(super) fn text(
        &self,
        wanted: &str,
        mend: impl Fn(&str) -> Option<String>,
    ) -> Option<Expanded<'t>> {
        match self.node {
            DeValue::String(text) => self.reader.expand(text, self.span, &self.path),
            DeValue::Integer(_) | DeValue::Float(_) => {
                self.mismatch(wanted, mend(self.raw()).map(|text| format!("\"{text}\"")));
                None
            }
            _ => {
                self.mismatch(wanted, None);
                None
            }
        }
    }

    /// Reads a string as something else, or reports why it is not.
    pub(in crate::policy) fn parse<T>(
        &self,
        wanted: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
        mend: impl Fn(&str) -> Option<String>,
    ) -> Option<T> {
        let expanded = self.text(wanted, mend)?;
        match parse(&expanded.text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                // What is mended contains the value, which may come from the environment.
                let mended = wrong.mended.filter(|_| !expanded.from_reference);
                let help = mended.map_or(wrong.hint, |mended| format!("write \"{mended}\""));
                self.refuse(&wrong.message, help);
                None
            }
        }
    }

    /// Reads a whole number, of whatever size.
    pub(super) fn number(&self) -> Option<i128> {
        let Some(number) = self.node.as_integer() else {
            self.mismatch("a whole number", number_in(self));
            return None;
        };
        // Digits beyond 128 bits are out of every range all the same.
        Some(i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX))
    }

    /// Reads a time: a string, or a time in TOML's own form.
    pub(in crate::policy) fn time<T>(
        &self,
        wanted: &str,
        parse: impl Fn(&str) -> Result<T, Wrong>,
    ) -> Option<At<T>> {
        let value = match self.node {
            DeValue::Datetime(time) => match parse(&time.to_string()) {
                Ok(value) => Some(value),
                Err(wrong) => {
                    self.refuse(&wrong.message, wrong.hint);
                    None
                }
            },
            _ => self.parse(wanted, parse, |_| None),
        };
        Some(self.placed(value?))
    }

    /// Covers the value wherever the report shows it.
    pub(in crate::policy) fn conceal(&self) {
        self.reader.conceal(self.span);
    }

    /// Whether the value is true or false.
    pub(in crate::policy) fn is_bool(&self) -> bool {
        self.node.is_bool()
    }

    /// Reads a string that is a secret: it is covered wherever the report shows it, and warned of when it is inline.
    pub(in crate::policy) fn secret(&self, wanted: &str) -> Option<At<Secret>> {
        self.covered(wanted, |_| true, |_| true)
    }

    /// Reads the value of a header that may be a credential: by its name or its looks.
    pub(in crate::policy) fn header_secret(&self, name: &str) -> Option<At<Secret>> {
        self.covered("a header value", |_| true, |text| is_secret_name(name) || looks_random(text))
    }

    /// Reads a URL that may contain a password.
    pub(in crate::policy) fn secret_url(&self, wanted: &str) -> Option<At<Secret>> {
        // Without a user in it the URL helps whoever reads the report.
        self.covered(wanted, |text| text.contains('@'), has_password)
    }

    fn covered(
        &self,
        wanted: &str,
        is_hidden: impl Fn(&str) -> bool,
        is_secret: impl Fn(&str) -> bool,
    ) -> Option<At<Secret>> {
        if !matches!(self.node, DeValue::String(_)) {
            self.reader.conceal(self.span);
        }
        let expanded = self.text(wanted, |_| None)?;
        let inline = !expanded.from_outside && !expanded.text.is_empty();
        if inline && is_hidden(&expanded.text) {
            self.reader.conceal(self.span);
        }
        if inline && is_secret(&expanded.text) {
            self.warn_inline();
        }
        Some(self.placed(Secret::new(expanded.text)))
    }

    fn warn_inline(&self) {
        let message = format!("`{}` is a secret that is written inline", self.path);
        let help = "write `${NAME}` or `${file:PATH}`, and keep the secret out of this file";
        self.reader.push(Diagnostic::warning(message).at(self.span, "").help(help));
    }

    /// Whether it is one string, and no list of one.
    pub(in crate::policy) fn is_text(&self) -> bool {
        matches!(self.node, DeValue::String(_))
    }

    /// Reads an array, or reports what else the value is.
    pub(in crate::policy) fn array(&self, wanted: &str) -> Option<Vec<Value<'r, 't>>> {
        let DeValue::Array(array) = self.node else {
            let mended =
                matches!(self.node, DeValue::String(_)).then(|| format!("[{}]", self.raw()));
            self.mismatch(wanted, mended.filter(|_| !self.span_is_long()));
            return None;
        };
        let value = |node| Value::new(self.reader, node, self.path.clone());
        Some(array.iter().map(value).collect())
    }

    /// Reads an array, or one value where an array of one is meant.
    pub(in crate::policy) fn one_or_many(&self) -> Vec<Value<'r, 't>> {
        let value = |node| Value::new(self.reader, node, self.path.clone());
        match self.node {
            DeValue::Array(array) => array.iter().map(value).collect(),
            _ => vec![Value { path: self.path.clone(), ..*self }],
        }
    }

    /// Walks a table; what `read` does not ask for is reported.
    pub(in crate::policy) fn table<T>(
        &self,
        read: impl FnOnce(&mut Table<'r, 't>) -> T,
    ) -> Option<T> {
        let DeValue::Table(entries) = self.node else {
            self.not_a_table();
            return None;
        };
        Some(self.walk(entries, read))
    }

    fn walk<T>(&self, entries: &'t DeTable<'t>, read: impl FnOnce(&mut Table<'r, 't>) -> T) -> T {
        let mut table = Table::new(self.reader, Some(entries), self.span, self.path.clone());
        let value = read(&mut table);
        table.finish();
        value
    }

    fn not_a_table(&self) {
        let of_tables = matches!(self.node, DeValue::Array(array) if array.iter().any(|v| v.get_ref().is_table()));
        let mended = of_tables.then(|| format!("[{}], once", self.path));
        self.mismatch("a table", mended);
    }

    fn span_is_long(&self) -> bool {
        self.raw().len() > 60
    }

    /// Whether the value is a table that is not part of a list.
    pub(in crate::policy) fn is_table(&self) -> bool {
        self.node.is_table()
    }
}

impl Read for bool {
    fn read(value: &Value<'_, '_>) -> Option<Self> {
        let read = value.node.as_bool();
        if read.is_none() {
            let mended = value.node.as_str().filter(|text| ["true", "false"].contains(text));
            value.mismatch("true or false", mended.map(|text| format!("{text} without quotes")));
        }
        read
    }
}

/// What a string with a number in it should have been.
fn number_in(value: &Value<'_, '_>) -> Option<String> {
    let text = value.node.as_str()?;
    text.parse::<u32>().ok().map(|number| format!("{number} without quotes"))
}

impl<T: Parsed> Read for T {
    fn read(value: &Value<'_, '_>) -> Option<Self> {
        value.parse(T::WANTED, T::parse, T::mend)
    }
}

impl<T: Read> Read for Vec<At<T>> {
    fn read(value: &Value<'_, '_>) -> Option<Self> {
        let values = value.array("a list")?;
        // Read all before giving up, so that every bad element is reported.
        let read: Vec<_> = values.iter().map(Value::at).collect();
        read.into_iter().collect()
    }
}

/// Tells whether a reference may stand in a value. Asks the decoded text: in the source, escapes may hide it.
fn has_reference(node: &DeValue<'_>) -> bool {
    match node {
        DeValue::String(text) => text.contains("${"),
        DeValue::Array(array) => array.iter().any(|value| has_reference(value.get_ref())),
        DeValue::Table(table) => table.values().any(|value| has_reference(value.get_ref())),
        _ => false,
    }
}

/// Tells whether a URL has a password in it.
fn has_password(url: &str) -> bool {
    let authority =
        url.split_once("://").map(|(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(rest));
    let user = authority.and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
    user.and_then(|user| user.split_once(':')).is_some_and(|(_, password)| !password.is_empty())
}

fn with_article(kind: &str) -> Cow<'_, str> {
    match kind {
        "array" | "integer" => Cow::Owned(format!("an {kind}")),
        _ => Cow::Owned(format!("a {kind}")),
    }
}
