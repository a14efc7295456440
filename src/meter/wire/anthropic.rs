//! Anthropic Messages.
//!
//! `input_tokens` does not hold what was read from or written to the cache. In a stream,
//! `message_start` has the input and a placeholder for the output; each `message_delta`
//! has the output so far, cumulative: the last one counts, and what it leaves out stays
//! as it was. Thinking is a part of the output.
//!
//! `iterations` (beta) lists the runs behind one answer. Compaction and advice are not in the
//! totals above them, and are billed, so they are added; all is priced as the answering model.

use super::{Field, List, chat::SERVER_TOOLS, count};
use crate::meter::{
    Usage,
    counts::{Count, Counts, Whole},
    reader::Kind,
    scan::Node,
};

/// Where values stand in an answer or an event.
pub static TREE: Node<Field> = Node::Marked(Field::Root, &Node::Members(MEMBERS));

pub(super) const MEMBERS: &[(&str, Node<Field>)] = &[
    ("type", Node::Leaf(Field::Type)),
    ("id", Node::Leaf(Field::Id)),
    ("model", Node::Leaf(Field::Model)),
    ("index", Node::Leaf(Field::Index)),
    ("message", MESSAGE),
    ("delta", Node::Members(DELTA)),
    ("content", Node::Items(&Node::Members(BLOCK))),
    ("content_block", Node::Members(BLOCK)),
    ("usage", COUNTERS),
    ("error", Node::Marked(Field::Failure, &Node::Members(&[]))),
];

pub(super) const MESSAGE: Node<Field> = Node::Members(&[
    ("id", Node::Leaf(Field::Id)),
    ("model", Node::Leaf(Field::Model)),
    ("usage", COUNTERS),
]);

pub(super) const DELTA: &[(&str, Node<Field>)] = &[
    ("text", Node::Text(Field::Text(Kind::Text))),
    ("thinking", Node::Text(Field::Text(Kind::Reasoning))),
    ("partial_json", Node::Text(Field::Text(Kind::Tool))),
    ("stop_reason", Node::Leaf(Field::Finish)),
];

pub(super) const BLOCK: &[(&str, Node<Field>)] = &[
    ("text", Node::Text(Field::Text(Kind::Text))),
    ("thinking", Node::Text(Field::Text(Kind::Reasoning))),
    ("name", Node::Text(Field::Text(Kind::Tool))),
    ("input", Node::Raw(Field::Text(Kind::Tool))),
];

const COUNTERS: Node<Field> = Node::Marked(Field::Usage, &Node::Members(USAGE));

pub(super) const USAGE: &[(&str, Node<Field>)] = &[
    ("input_tokens", count(Count::Input)),
    ("output_tokens", count(Count::Output)),
    ("cache_read_input_tokens", count(Count::CacheRead)),
    ("cache_creation_input_tokens", count(Count::CacheWrite)),
    (
        "cache_creation",
        Node::Members(&[
            ("ephemeral_5m_input_tokens", count(Count::CacheWrite5m)),
            ("ephemeral_1h_input_tokens", count(Count::CacheWrite1h)),
        ]),
    ),
    ("output_tokens_details", Node::Members(&[("thinking_tokens", count(Count::Reasoning))])),
    ("server_tool_use", SERVER_TOOLS),
    ("service_tier", Node::Leaf(Field::Tier)),
    (
        "iterations",
        Node::Items(&Node::Marked(Field::Item(List::Iterations), &Node::Members(ITERATION))),
    ),
];

const ITERATION: &[(&str, Node<Field>)] = &[
    ("type", Node::Leaf(Field::ItemWord)),
    ("input_tokens", Node::Leaf(Field::ItemTokens)),
    ("output_tokens", Node::Leaf(Field::ItemOutput)),
    ("cache_read_input_tokens", Node::Leaf(Field::ItemRead)),
    ("cache_creation_input_tokens", Node::Leaf(Field::ItemWrite)),
];

/// Brings the counters to the one form; Bedrock counts in the same way.
pub fn usage(counts: &Counts) -> Usage {
    let hour = counts.get(Count::CacheWrite1h);
    let told = counts.get(Count::CacheWrite);
    let mut written = Whole(told.max(counts.get(Count::CacheWrite5m).saturating_add(hour)));
    let cache_write_1h = written.take(hour);
    let output = counts.get(Count::Output).saturating_add(counts.get(Count::BesideOutput));
    let mut output = Whole(output);
    Usage {
        input: counts.get(Count::Input).saturating_add(counts.get(Count::BesideInput)),
        cache_read: counts.get(Count::CacheRead).saturating_add(counts.get(Count::BesideRead)),
        cache_write: written.0.saturating_add(counts.get(Count::BesideWrite)),
        cache_write_1h,
        reasoning: output.take(counts.get(Count::Reasoning)),
        output: output.0,
        web_searches: counts.get(Count::WebSearches),
        web_fetches: counts.get(Count::WebFetches),
        ..Usage::default()
    }
}
