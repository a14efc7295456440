//! Bedrock's Converse and ConverseStream.
//!
//! Reading from and writing to the cache is beside `inputTokens`, as with Anthropic. The
//! stream is binary; each message names its event in a header, and usage comes in the
//! last one, `metadata`. The model stands in the request's path only.

use super::{Field, List, count};
use crate::meter::{counts::Count, reader::Kind, scan::Node};

/// Where values stand in an answer or an event's payload.
pub static TREE: Node<Field> = Node::Marked(Field::Root, &Node::Members(MEMBERS));

pub(super) const MEMBERS: &[(&str, Node<Field>)] = &[
    ("output", Node::Members(OUTPUT)),
    ("contentBlockIndex", Node::Leaf(Field::Index)),
    ("start", Node::Members(&[("toolUse", TOOL)])),
    ("delta", Node::Members(DELTA)),
    ("stopReason", Node::Leaf(Field::Finish)),
    ("usage", Node::Marked(Field::Usage, &Node::Members(USAGE))),
    ("serviceTier", Node::Members(&[("type", Node::Leaf(Field::Tier))])),
];

pub(super) const OUTPUT: &[(&str, Node<Field>)] =
    &[("message", Node::Members(&[("content", Node::Items(&Node::Members(BLOCK)))]))];

const BLOCK: &[(&str, Node<Field>)] = &[
    ("text", Node::Text(Field::Text(Kind::Text))),
    (
        "reasoningContent",
        Node::Members(&[(
            "reasoningText",
            Node::Members(&[("text", Node::Text(Field::Text(Kind::Reasoning)))]),
        )]),
    ),
    ("toolUse", TOOL),
];

pub(super) const DELTA: &[(&str, Node<Field>)] = &[
    ("text", Node::Text(Field::Text(Kind::Text))),
    ("reasoningContent", Node::Members(&[("text", Node::Text(Field::Text(Kind::Reasoning)))])),
    ("toolUse", TOOL),
];

const TOOL: Node<Field> = Node::Members(&[
    ("name", Node::Text(Field::Text(Kind::Tool))),
    ("input", Node::Raw(Field::Text(Kind::Tool))),
]);

pub(super) const USAGE: &[(&str, Node<Field>)] = &[
    ("inputTokens", count(Count::Input)),
    ("outputTokens", count(Count::Output)),
    ("totalTokens", count(Count::Total)),
    ("cacheReadInputTokens", count(Count::CacheRead)),
    ("cacheWriteInputTokens", count(Count::CacheWrite)),
    (
        "cacheDetails",
        Node::Items(&Node::Marked(
            Field::Item(List::CacheWrites),
            &Node::Members(&[
                ("ttl", Node::Leaf(Field::ItemWord)),
                ("inputTokens", Node::Leaf(Field::ItemTokens)),
            ]),
        )),
    ),
];
