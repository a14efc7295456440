//! References inside strings: `${NAME}`, `${NAME:-default}` and `${file:PATH}`.
//!
//! A variable that is unset or empty takes its default; one without a default
//! must be set. A file is read relative to the policy's directory and loses one
//! trailing line break. `$${` stands for a literal `${`; any other dollar sign
//! is itself, so that `"$0.03"` is just money. What a reference expands to is not
//! searched for references again.
//!
//! # Failure
//! Each bad reference is a [`Fault`] with its range in the text. A fault names
//! what is written in the policy, never what the environment holds.
//!
//! # Limits
//! One value expands to at most [`MAX_EXPANSION`] bytes.

use std::{
    borrow::Cow,
    ffi::OsString,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::PathBuf,
};

use thiserror::Error;

/// The most that one reference may expand to, in bytes. A certificate chain fits; a mistaken path to a log does not.
pub const MAX_EXPANSION: usize = 64 * 1024;

/// Where references are looked up. Tests pass their own and leave the process environment alone.
pub trait Environment {
    /// The value of a variable, or `None` when it is not set.
    fn variable(&self, name: &str) -> Option<OsString>;

    /// The content of a file named in the policy, at most [`MAX_EXPANSION`] bytes.
    ///
    /// # Errors
    /// Whatever the operating system says; `FileTooLarge` beyond the limit.
    fn file(&self, path: &str) -> io::Result<Vec<u8>>;
}

/// The environment of this process, and the files beside a policy.
#[derive(Debug, Clone)]
pub struct ProcessEnvironment {
    directory: PathBuf,
}

impl ProcessEnvironment {
    /// Resolves relative paths against `directory`, the one that the policy file is in.
    pub fn beside(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }
}

impl Environment for ProcessEnvironment {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn file(&self, path: &str) -> io::Result<Vec<u8>> {
        let path = self.directory.join(path);
        // Opening a named pipe would wait for a writer, possibly for ever.
        if !std::fs::metadata(&path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut content = Vec::new();
        let limit = MAX_EXPANSION as u64 + 1;
        File::open(path)?.take(limit).read_to_end(&mut content)?;
        if content.len() > MAX_EXPANSION {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(content)
    }
}

/// Why a reference cannot be resolved.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Fault {
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    #[error("the value of environment variable `{0}` is not UTF-8")]
    VariableNotUtf8(String),
    #[error("this reference does not end")]
    Unterminated,
    #[error("this is not a reference")]
    BadName,
    #[error("file `{path}` cannot be read: {cause}")]
    File { path: String, cause: io::ErrorKind },
    #[error("file `{0}` is not UTF-8")]
    FileNotUtf8(String),
    #[error("references expand to more than {MAX_EXPANSION} bytes")]
    TooLarge,
}

impl Fault {
    /// Says what would be right.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Unset(name) => format!("set it, or write a default: `${{{name}:-default}}`"),
            Self::Unterminated => "close it with `}`, or write `$${` for a literal `${`".to_owned(),
            Self::BadName => {
                "write `${NAME}`, `${NAME:-default}` or `${file:PATH}`; `$${` stands for a literal `${`".to_owned()
            }
            Self::File { .. } => "paths are relative to the directory of the policy file".to_owned(),
            Self::VariableNotUtf8(_) | Self::FileNotUtf8(_) => "values in the policy are UTF-8 text".to_owned(),
            Self::TooLarge => "keep large content in a file of its own".to_owned(),
        }
    }
}

/// A string after its references were resolved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded<'a> {
    /// The text as it is used.
    pub(super) text: Cow<'a, str>,
    /// Whether the text contains a reference at all, so that it must not be quoted in a message.
    pub(super) from_reference: bool,
    /// Whether all that matters came from outside the policy: some text did, and no default is written.
    pub(super) from_outside: bool,
    /// Files that were read, as written.
    pub(super) files: Vec<String>,
}

/// A part of a string as it is written.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Literal(&'a str),
    Variable { name: &'a str, default: Option<&'a str> },
    File(&'a str),
    Broken(Fault),
}

/// Resolves all references in `text`.
///
/// # Errors
/// One entry per bad reference: its range in `text` and the fault.
pub(super) fn expand<'a>(
    text: &'a str,
    environment: &dyn Environment,
) -> Result<Expanded<'a>, Vec<(Range<usize>, Fault)>> {
    let mut expanded = Expanded {
        text: Cow::Borrowed(text),
        from_reference: false,
        from_outside: false,
        files: Vec::new(),
    };
    if !text.contains("${") {
        return Ok(expanded);
    }
    let mut faults = Vec::new();
    let mut value = String::new();
    let mut defaults = false;
    for (range, piece) in pieces(text) {
        defaults |=
            matches!(piece, Piece::Variable { default: Some(default), .. } if !default.is_empty());
        if let Err(fault) = resolve(piece, environment, &mut value, &mut expanded) {
            faults.push((range.clone(), fault));
        }
        if value.len() > MAX_EXPANSION.max(text.len()) {
            faults.push((range, Fault::TooLarge));
            break;
        }
    }
    expanded.text = Cow::Owned(value);
    expanded.from_outside &= !defaults;
    if faults.is_empty() { Ok(expanded) } else { Err(faults) }
}

/// Appends what one piece stands for.
fn resolve(
    piece: Piece<'_>,
    environment: &dyn Environment,
    value: &mut String,
    expanded: &mut Expanded<'_>,
) -> Result<(), Fault> {
    expanded.from_reference |= !matches!(piece, Piece::Literal(_));
    match piece {
        Piece::Literal(text) => value.push_str(text),
        Piece::Variable { name, default } => match (variable(name, environment)?, default) {
            (Some(found), default) if default.is_none() || !found.is_empty() => {
                value.push_str(&found);
                expanded.from_outside = true;
            }
            (_, Some(default)) => value.push_str(default),
            (_, None) => return Err(Fault::Unset(name.to_owned())),
        },
        Piece::File(path) => {
            expanded.files.push(path.to_owned());
            expanded.from_outside = true;
            value.push_str(&file(path, environment)?);
        }
        Piece::Broken(fault) => return Err(fault),
    }
    Ok(())
}

fn variable(name: &str, environment: &dyn Environment) -> Result<Option<String>, Fault> {
    let Some(value) = environment.variable(name) else {
        return Ok(None);
    };
    let not_utf8 = |_| Fault::VariableNotUtf8(name.to_owned());
    value.into_string().map(Some).map_err(not_utf8)
}

fn file(path: &str, environment: &dyn Environment) -> Result<String, Fault> {
    // Only the kind of the error: its text may contain the resolved path.
    let content = environment
        .file(path)
        .map_err(|error| Fault::File { path: path.to_owned(), cause: error.kind() })?;
    let mut content =
        String::from_utf8(content).map_err(|_| Fault::FileNotUtf8(path.to_owned()))?;
    if content.ends_with('\n') {
        content.pop();
        if content.ends_with('\r') {
            content.pop();
        }
    }
    Ok(content)
}

/// Cuts a string into its pieces, each with its range.
fn pieces(text: &str) -> Vec<(Range<usize>, Piece<'_>)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(found) = text[at..].find("${") {
        let open = at + found;
        if text[at..open].ends_with('$') {
            pieces.push((at..open - 1, Piece::Literal(&text[at..open - 1])));
            pieces.push((open - 1..open + 2, Piece::Literal("${")));
            at = open + 2;
            continue;
        }
        pieces.push((at..open, Piece::Literal(&text[at..open])));
        let Some(length) = text[open..].find('}') else {
            pieces.push((open..text.len(), Piece::Broken(Fault::Unterminated)));
            return pieces;
        };
        at = open + length + 1;
        pieces.push((open..at, reference(&text[open + 2..at - 1])));
    }
    pieces.push((at..text.len(), Piece::Literal(&text[at..])));
    pieces
}

/// Reads what stands between the braces.
fn reference(inner: &str) -> Piece<'_> {
    if let Some(path) = inner.strip_prefix("file:").filter(|path| !path.is_empty()) {
        return Piece::File(path);
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Piece::Variable { name, default };
    }
    Piece::Broken(Fault::BadName)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Option<OsString> {
            match name {
                "NAME" => Some("value".into()),
                "EMPTY" => Some("".into()),
                "NESTED" => Some("${NAME}".into()),
                "LARGE" => Some("x".repeat(MAX_EXPANSION).into()),
                _ => None,
            }
        }

        fn file(&self, path: &str) -> io::Result<Vec<u8>> {
            match path {
                "token" => Ok(b"from file\r\n".to_vec()),
                "binary" => Ok(vec![0xff]),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn text(written: &str) -> String {
        expand(written, &Fixed).map_or_else(|faults| format!("{faults:?}"), |e| e.text.into_owned())
    }

    fn faults(written: &str) -> Vec<(Range<usize>, Fault)> {
        expand(written, &Fixed).err().unwrap_or_default()
    }

    #[test]
    fn references_are_resolved() {
        assert_eq!(text("Bearer ${NAME}!"), "Bearer value!");
        assert_eq!(text("${NONE:-fallback}${EMPTY:-x}${EMPTY}${NONE:-}"), "fallbackx");
        assert_eq!(text("${file:token}"), "from file");
        assert_eq!(text("${NESTED}"), "${NAME}");
    }

    #[test]
    fn other_dollar_signs_are_themselves() {
        for plain in ["$0.03", "$", "$$", "$$5", "a$b{c}", "{NAME}", "^a$"] {
            assert_eq!(text(plain), plain);
        }
        assert_eq!(text("$${NAME} $$${NAME}"), "${NAME} $${NAME}");
    }

    #[test]
    fn a_default_does_not_count_as_from_outside() {
        let expanded = expand("${NONE:-hunter2}", &Fixed);

        let flags = expanded.map(|e| (e.from_reference, e.from_outside));

        assert_eq!(flags, Ok((true, false)));
        assert_eq!(expand("${NAME:-hunter2}", &Fixed).map(|e| e.from_outside), Ok(false));
        assert_eq!(expand("${NAME:-}", &Fixed).map(|e| e.from_outside), Ok(true));
        assert_eq!(expand("plain", &Fixed).map(|e| e.from_reference), Ok(false));
        assert_eq!(expand("${file:token}", &Fixed).map(|e| e.files), Ok(vec!["token".to_owned()]));
    }

    #[test]
    fn every_bad_reference_is_found_with_its_range() {
        let found = faults("a ${NONE} ${1} ${file:gone} ${file:} ${open");

        let expected = [
            (2..9, Fault::Unset("NONE".to_owned())),
            (10..14, Fault::BadName),
            (15..27, Fault::File { path: "gone".to_owned(), cause: io::ErrorKind::NotFound }),
            (28..36, Fault::BadName),
            (37..43, Fault::Unterminated),
        ];
        assert_eq!(found, expected);
        assert_eq!(faults("${file:binary}"), [(0..14, Fault::FileNotUtf8("binary".to_owned()))]);
    }

    #[test]
    fn an_expansion_has_a_bound() {
        let found = faults("${LARGE}${LARGE}${LARGE}");

        assert_eq!(found, [(8..16, Fault::TooLarge)]);
    }

    #[test]
    fn a_process_reads_files_beside_the_policy_up_to_the_limit() {
        let directory =
            std::env::temp_dir().join(format!("weir-interpolate-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the test");
        std::fs::write(directory.join("small"), "content\n").expect("a file for the test");
        std::fs::write(directory.join("large"), vec![b'x'; MAX_EXPANSION + 1])
            .expect("a file for the test");
        let environment = ProcessEnvironment::beside(&directory);

        let kind = |path: &str| environment.file(path).map_err(|error| error.kind());

        assert_eq!(kind("small"), Ok(b"content\n".to_vec()));
        assert_eq!(kind("large"), Err(io::ErrorKind::FileTooLarge));
        assert_eq!(kind("."), Err(io::ErrorKind::InvalidInput));
        std::fs::remove_dir_all(directory).expect("the directory goes");
    }
}
