//! Reads a Dockerfile: its stages, and the instructions of each.
//!
//! # Limits
//! What hadolint refuses is not looked for; no here-documents, no other escape than the backslash.

/// What stands between one `FROM` and the next.
pub struct Stage {
    pub base: String,
    pub name: Option<String>,
    pub instructions: Vec<Instruction>,
}

/// One instruction, its continued lines joined.
pub struct Instruction {
    pub word: String,
    pub rest: String,
}

impl Stage {
    /// What stands behind each of these instructions.
    pub fn all(&self, word: &str) -> impl Iterator<Item = &str> {
        let of_kind = self.instructions.iter().filter(move |found| found.word == word);
        of_kind.map(|found| found.rest.as_str())
    }

    /// What stands behind the only one of these instructions.
    pub fn one(&self, word: &str) -> &str {
        let mut all = self.all(word);
        let first = all.next().unwrap_or_else(|| panic!("no {word}"));
        assert!(all.next().is_none(), "more than one {word}");
        first
    }

    /// The program and arguments of an instruction that starts something, without a shell.
    pub fn exec(&self, word: &str) -> Vec<String> {
        let rest = self.one(word);
        let form = rest.find('[').map_or(rest, |at| &rest[at..]);
        serde_json::from_str(form)
            .unwrap_or_else(|_| panic!("{word} {rest}: a shell would have to run this"))
    }
}

/// The stages, in their order.
pub fn stages(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in logical_lines(text) {
        let (word, rest) = line.split_once(char::is_whitespace).expect("an instruction");
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim().to_owned());
        if word == "FROM" {
            let mut words = rest.split_whitespace();
            stages.push(Stage {
                base: words.next().expect("a base").to_owned(),
                name: words.nth(1).map(str::to_owned),
                instructions: Vec::new(),
            });
        } else {
            let stage = stages.last_mut().unwrap_or_else(|| panic!("{word} before FROM"));
            stage.instructions.push(Instruction { word, rest });
        }
    }
    stages
}

/// Lines without comments, joined where a backslash says so.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.push_str(part);
        } else {
            lines.push(std::mem::take(&mut open) + line);
        }
    }
    lines
}

#[test]
fn stages_and_instructions_are_read_as_docker_reads_them() {
    let text = "# top\nFROM a:1 AS build\nRUN one \\\n # between\n && two\n\nFROM scratch\nHEALTHCHECK --retries=3 \\\n CMD [\"/x\", \"y\"]\nCMD /x y\n";
    let stages = stages(text);
    assert_eq!((stages.len(), stages[0].base.as_str()), (2, "a:1"));
    assert_eq!((stages[0].name.as_deref(), &stages[1].name), (Some("build"), &None));
    assert_eq!(stages[0].one("RUN"), "one && two");
    assert_eq!(stages[1].exec("HEALTHCHECK"), ["/x", "y"]);
    let shell = std::panic::catch_unwind(|| stages[1].exec("CMD"));
    assert!(shell.is_err(), "{shell:?}");
}
