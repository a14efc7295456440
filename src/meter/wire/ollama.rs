//! Ollama's own `/api/chat` and `/api/generate`.
//!
//! A stream is a line of JSON for each piece; the last one has `done: true` and the
//! counts. What came from the cache is taken as a part of `prompt_eval_count`.

use super::{Field, count};
use crate::meter::{
    Usage,
    counts::{Count, Counts, Whole},
    reader::Kind,
    scan::Node,
};

/// Where values stand in an answer or a line. The counts stand beside everything else.
pub static TREE: Node<Field> = Node::Marked(Field::Root, &Node::Members(MEMBERS));

pub(super) const MEMBERS: &[(&str, Node<Field>)] = &[
    ("model", Node::Leaf(Field::Model)),
    ("created_at", Node::Leaf(Field::Created)),
    ("done", Node::Leaf(Field::Done)),
    ("prompt_eval_count", count(Count::PromptEval)),
    ("prompt_eval_cached_count", count(Count::PromptEvalCached)),
    ("eval_count", count(Count::Eval)),
    ("response", Node::Text(Field::Text(Kind::Text))),
    ("thinking", Node::Text(Field::Text(Kind::Reasoning))),
    ("message", Node::Members(MESSAGE)),
    (
        "error",
        Node::Either(&[
            Node::Leaf(Field::Failure),
            Node::Marked(Field::Failure, &Node::Members(&[])),
        ]),
    ),
];

pub(super) const MESSAGE: &[(&str, Node<Field>)] = &[
    ("content", Node::Text(Field::Text(Kind::Text))),
    ("thinking", Node::Text(Field::Text(Kind::Reasoning))),
    (
        "tool_calls",
        Node::Items(&Node::Members(&[(
            "function",
            Node::Members(&[
                ("name", Node::Text(Field::Text(Kind::Tool))),
                ("arguments", Node::Raw(Field::Text(Kind::Tool))),
            ]),
        )])),
    ),
];

/// Brings the counters to the one form.
pub fn usage(counts: &Counts) -> Usage {
    let mut input = Whole(counts.get(Count::PromptEval));
    Usage {
        cache_read: input.take(counts.get(Count::PromptEvalCached)),
        input: input.0,
        output: counts.get(Count::Eval),
        ..Usage::default()
    }
}
