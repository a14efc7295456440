//! The pages of the documentation, and what they show.

use std::{collections::BTreeSet, fs, path::Path};

/// A fenced block of a page.
pub struct Block {
    /// File and line.
    pub place: String,
    words: Vec<String>,
    /// Its lines.
    pub text: String,
    /// The `text` block right behind it.
    pub output: Option<String>,
}

impl Block {
    /// Whether this is its language.
    pub fn is(&self, language: &str) -> bool {
        self.words.first().is_some_and(|word| word == language)
    }

    /// Whether this stands behind the language.
    pub fn has(&self, word: &str) -> bool {
        self.words.iter().skip(1).any(|found| found == word)
    }
}

/// The package.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the documentation, relative to the package.
pub fn pages() -> Vec<String> {
    let docs = fs::read_dir(root().join("docs")).expect("docs/");
    let name = |entry: std::io::Result<fs::DirEntry>| {
        format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy())
    };
    let fixed = ["README.md", "CHANGELOG.md", "deploy/README.md", "certs/README.md"];
    docs.map(name).chain(fixed.map(String::from)).collect()
}

/// The text of a page.
pub fn page(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The fenced blocks of a page.
pub fn blocks(name: &str) -> Vec<Block> {
    parse(name, &page(name))
}

fn parse(name: &str, text: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    // Whether a block has just ended, with nothing but empty lines since.
    let mut behind = false;
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(words) = line.strip_prefix("```") else {
            behind &= line.is_empty();
            continue;
        };
        let body: Vec<&str> =
            lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        let text: String = body.iter().flat_map(|line| [line, "\n"]).collect();
        match found.last_mut().filter(|_| behind && words == "text") {
            Some(block) => block.output = Some(text),
            None => found.push(Block {
                place: format!("{name}:{}", at + 1),
                words: words.split_whitespace().map(str::to_owned).collect(),
                text,
                output: None,
            }),
        }
        behind = true;
    }
    found
}

/// What stands between backticks in tables and prose.
pub fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Every key that the policy's reader asks for.
pub fn policy_keys() -> BTreeSet<String> {
    let directory = root().join("src/policy/file");
    let files = fs::read_dir(&directory).expect("the reader").map(|entry| entry.expect("").path());
    let files = files.chain([root().join("src/policy/file.rs")]);
    let text: String = files
        .map(|path| fs::read_to_string(path).expect("a source file"))
        .map(|text| text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        .collect();
    let asks =
        ["or", "within", "required", "optional", "optional_within", "value", "table", "tables"];
    let asks = asks.iter().map(|name| format!(".{name}(\"")).chain([".table_or_empty(\"".into()]);
    asks.flat_map(|ask| {
        let rest = text.split(ask.as_str()).skip(1);
        rest.filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect::<Vec<_>>()
    })
    .collect()
}

/// Whether `real` is what `shown` says, where `…` stands for any text.
pub fn is_shown(shown: &str, real: &str) -> bool {
    let (shown, mut rest) = (shown.trim_end(), real.trim_end());
    let Some((first, others)) = shown.split_once('…') else { return shown == rest };
    let Some(behind) = rest.strip_prefix(first) else { return false };
    rest = behind;
    let mut pieces: Vec<&str> = others.split('…').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some((_, behind)) = rest.split_once(piece) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dots_stand_for_anything_and_nothing_else_does() {
        assert!(is_shown("a\n…\nz\n", "a\nb\nc\nz\n"));
        assert!(is_shown("took … ms", "took 12 ms\n"));
        assert!(is_shown("", ""));
        for (shown, real) in [("a", "b"), ("a", "a\nb"), ("a…c", "ab"), ("…c", "cd"), ("", "a")]
        {
            assert!(!is_shown(shown, real), "{shown:?} is not what {real:?} shows");
        }
    }

    #[test]
    fn blocks_are_read_with_their_words_and_their_output() {
        let text = "# A\n```sh proxy fails\none\ntwo\n```\n\n```text\nout\n```\n```sh\nthree\n```\nb\n```text\nno\n```\n";
        let found = parse("a.md", text);
        let sh: Vec<_> = found.iter().filter(|block| block.is("sh")).collect();
        assert_eq!((sh.len(), sh[0].place.as_str()), (2, "a.md:2"));
        assert!(sh[0].has("proxy") && sh[0].has("fails") && !sh[1].has("proxy"));
        assert_eq!((sh[0].text.as_str(), sh[0].output.as_deref()), ("one\ntwo\n", Some("out\n")));
        assert_eq!(sh[1].output, None);
    }
}
