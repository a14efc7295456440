//! The scanner at every split, and against input that wants to hurt.

use super::{Node, Scanner, Sink, Value};

static TREE: Node<&'static str> = Node::Either(&[Node::Items(&OBJECT), OBJECT]);
const OBJECT: Node<&'static str> = Node::Marked(
    "root",
    &Node::Members(&[
        ("model", Node::Leaf("model")),
        ("content", Node::Either(&[Node::Text("text"), Node::Items(&Node::Text("item"))])),
        ("arguments", Node::Raw("raw")),
        ("usage", Node::Marked("usage", &Node::Members(&[("tokens", Node::Leaf("tokens"))]))),
    ]),
);

/// Everything that was told; pieces of one text put together.
#[derive(Default, Debug, PartialEq, Eq)]
struct Told {
    said: Vec<String>,
    in_text: bool,
}

impl Sink<&'static str> for Told {
    fn text(&mut self, leaf: &'static str, piece: &str) {
        assert!(!piece.is_empty());
        match self.said.last_mut().filter(|last| self.in_text && last.starts_with(leaf)) {
            Some(last) => last.push_str(piece),
            None => self.said.push(format!("{leaf} {piece}")),
        }
        self.in_text = true;
    }

    fn value(&mut self, leaf: &'static str, value: Value<'_>) {
        self.note(format!("{leaf} {value:?}"));
    }

    fn open(&mut self, mark: &'static str) {
        self.note(format!("{{ {mark}"));
    }

    fn close(&mut self, mark: &'static str) {
        self.note(format!("}} {mark}"));
    }

    fn pointed(&mut self, value: Value<'_>) {
        self.note(format!("-> {value:?}"));
    }
}

impl Told {
    fn note(&mut self, line: String) {
        self.said.push(line);
        self.in_text = false;
    }
}

fn scan(pointer: Option<&str>, pieces: &[&[u8]]) -> (Vec<String>, bool) {
    let (mut scanner, mut told) = (Scanner::new(&TREE), Told::default());
    if let Some(text) = pointer {
        scanner.point_at(std::sync::Arc::new(text.parse().expect("a pointer")));
    }
    for piece in pieces {
        scanner.push(piece, &mut told);
    }
    (told.said, scanner.is_whole())
}

fn at_every_split(pointer: Option<&str>, text: &str, expected: &[&str]) {
    let bytes = text.as_bytes();
    for at in 0..=bytes.len() {
        let (left, right) = bytes.split_at(at);
        let (said, is_whole) = scan(pointer, &[left, right]);
        assert_eq!(said, expected, "cut at {at}");
        assert!(is_whole, "cut at {at}");
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(scan(pointer, &single), (expected.iter().map(|&e| e.to_owned()).collect(), true));
}

#[test]
fn named_values_are_told_and_nothing_else() {
    let text = r#" {"id" : {"model":"no","usage":[{"tokens":1}]}, "m\u006fdel" : "gp\u0074",
        "content":"a\n\"é\ud83d\ude00", "arguments":{"x":[1,"}"]}, "usage":{"tokens": -1.5e3 ,"other":[[[]]]}} "#;
    at_every_split(
        None,
        text,
        &[
            "{ root",
            "model String(\"gpt\")",
            "text a\n\"é😀",
            "raw {\"x\":[1,\"}\"]}",
            "{ usage",
            "tokens Bare(\"-1.5e3\")",
            "} usage",
            "} root",
        ],
    );
}

#[test]
fn a_value_may_be_of_another_type_than_expected() {
    let cases: [(&str, &[&str]); 6] = [
        (r#"{"model":null,"usage":null}"#, &["{ root", "model Bare(\"null\")", "} root"]),
        (r#"{"model":{"model":"x"},"usage":[1]}"#, &["{ root", "} root"]),
        (r#"{"content":["a"],"model":1}"#, &["{ root", "item a", "model Bare(\"1\")", "} root"]),
        (r#"{"content":5,"arguments":"s"}"#, &["{ root", "raw s", "} root"]),
        (
            r#"[{"content":"a"},{"model":2}]"#,
            &["{ root", "text a", "} root", "{ root", "model Bare(\"2\")", "} root"],
        ),
        (r#""only a string""#, &[]),
    ];
    for (text, expected) in cases {
        at_every_split(None, text, expected);
    }
}

#[test]
fn a_pointer_leads_where_the_tree_does_not() {
    let text = r#"{"a":{"b":[0,{"c":"0.5"},2]},"usage":{"tokens":7}}"#;
    at_every_split(
        Some("/a/b/1/c"),
        text,
        &["{ root", "-> String(\"0.5\")", "{ usage", "tokens Bare(\"7\")", "} usage", "} root"],
    );
    at_every_split(
        Some("/usage/tokens"),
        text,
        &["{ root", "{ usage", "tokens Bare(\"7\")", "-> Bare(\"7\")", "} usage", "} root"],
    );
    at_every_split(
        Some("/a/b/01/c"),
        text,
        &["{ root", "{ usage", "tokens Bare(\"7\")", "} usage", "} root"],
    );
}

#[test]
fn what_is_no_json_is_left_alone() {
    for text in ["{]", "}", "{\"usage\":{\"tokens\":1]", "{1:2}", "{\"a\" \"b\"", "<html>"] {
        let (said, is_whole) = scan(Some("/a/b"), &[text.as_bytes()]);
        assert!(!said.iter().any(|line| line.starts_with('}')), "{text}: {said:?}");
        assert!(!is_whole, "{text}");
    }
}

#[test]
fn hostile_documents_cost_no_memory() {
    let mut scanner = Scanner::new(&TREE);
    let mut told = Told::default();
    let mut feed =
        |piece: &[u8], times: usize| (0..times).for_each(|_| scanner.push(piece, &mut told));
    feed(br#"{"x":"#, 1);
    feed(&[b'['; 4096], 500);
    feed(&[b']'; 4096], 500);
    feed(br#","model":"#, 1);
    feed(&[b'9'; 4096], 1000);
    feed(br#","usage":{"tokens":""#, 1);
    feed(&[b'a'; 4096], 1000);
    feed(br#"","#, 1);
    feed(br#"""#, 1);
    feed(&[b'k'; 4096], 1000);
    feed(br#"":1,"tokens":3}}"#, 1);
    assert_eq!(told.said, ["{ root", "{ usage", "tokens Bare(\"3\")", "} usage", "} root"]);
    assert!(scanner.is_whole());
    assert!(scanner.frames.capacity() < 32);
    let (said, _) = scan(None, &[&b"[[".repeat(1_000_000), &b"{\"usage\":".repeat(1_000_000)]);
    assert!(said.len() < 4, "{said:?}");
}
