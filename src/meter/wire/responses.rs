//! OpenAI Responses, and the images and transcriptions that count alike.
//!
//! `input_tokens` and `output_tokens` hold their details as parts. A stream reports usage
//! in `response.usage` of its terminal event: `response.completed`, `response.incomplete`
//! or `response.failed`. Searches of the web are counted by `tool_usage`, or else by the
//! calls in the output.

use super::{
    Field, List,
    chat::{INPUT_DETAILS, OUTPUT_DETAILS, SERVER_TOOLS, parts},
    count,
};
use crate::meter::{
    Usage,
    counts::{Count, Counts},
    reader::Kind,
    scan::Node,
};

/// Where values stand in an answer or an event.
pub static TREE: Node<Field> = Node::Marked(Field::Root, &Node::Either(&[EVENT, RESPONSE]));

/// The members that only an event has. `output_text.done` and the like repeat what the deltas said.
pub(super) const EVENT: Node<Field> = Node::Members(&[
    ("type", Node::Leaf(Field::Type)),
    ("sequence_number", Node::Leaf(Field::Sequence)),
    ("delta", Node::Text(Field::Typed)),
    ("response", STATE),
    ("item", ITEM),
    ("error", Node::Marked(Field::Failure, &Node::Members(&[]))),
]);

/// The answer inside an event: its text has passed as deltas already.
pub(super) const STATE: Node<Field> = Node::Members(&[
    ("id", Node::Leaf(Field::Id)),
    ("created_at", Node::Leaf(Field::Created)),
    ("model", Node::Leaf(Field::Model)),
    ("service_tier", Node::Leaf(Field::Tier)),
    ("usage", COUNTERS),
    ("tool_usage", TOOL_USAGE),
    ("output", Node::Items(&ITEM)),
]);

/// A plain answer.
const RESPONSE: Node<Field> = Node::Members(&[
    ("id", Node::Leaf(Field::Id)),
    ("object", Node::Leaf(Field::Object)),
    ("created_at", Node::Leaf(Field::Created)),
    ("model", Node::Leaf(Field::Model)),
    ("service_tier", Node::Leaf(Field::Tier)),
    ("usage", COUNTERS),
    ("tool_usage", TOOL_USAGE),
    ("output", OUTPUT),
    // A transcription.
    ("text", Node::Text(Field::Text(Kind::Text))),
]);

const COUNTERS: Node<Field> = Node::Marked(Field::Usage, &Node::Members(USAGE));

pub(super) const USAGE: &[(&str, Node<Field>)] = &[
    ("input_tokens", count(Count::Input)),
    ("output_tokens", count(Count::Output)),
    ("total_tokens", count(Count::Total)),
    ("input_tokens_details", INPUT_DETAILS),
    ("output_tokens_details", OUTPUT_DETAILS),
    // Realtime and transcriptions drop the s.
    ("input_token_details", INPUT_DETAILS),
    ("output_token_details", OUTPUT_DETAILS),
    ("cost", Node::Leaf(Field::Cost)),
    ("tensorzero_cost", Node::Leaf(Field::Cost)),
    ("is_byok", Node::Leaf(Field::IsOwnKey)),
    ("cost_details", Node::Members(&[("upstream_inference_cost", Node::Leaf(Field::OwnKeyCost))])),
    ("server_tool_use", SERVER_TOOLS),
];

pub(super) const TOOL_USAGE: Node<Field> =
    Node::Members(&[("web_search", Node::Members(&[("num_requests", count(Count::WebSearches))]))]);

const ITEM: Node<Field> = Node::Marked(
    Field::Item(List::Outputs),
    &Node::Members(&[
        ("type", Node::Leaf(Field::ItemWord)),
        ("action", Node::Members(&[("type", Node::Leaf(Field::ItemAction))])),
    ]),
);

/// What a plain answer puts out: calls, messages, reasoning.
pub(super) const OUTPUT: Node<Field> = Node::Items(&Node::Marked(
    Field::Item(List::Outputs),
    &Node::Members(&[
        ("type", Node::Leaf(Field::ItemWord)),
        ("action", Node::Members(&[("type", Node::Leaf(Field::ItemAction))])),
        ("name", Node::Text(Field::Text(Kind::Tool))),
        ("arguments", Node::Text(Field::Text(Kind::Tool))),
        ("input", Node::Text(Field::Text(Kind::Tool))),
        ("code", Node::Text(Field::Text(Kind::Tool))),
        (
            "content",
            Node::Items(&Node::Members(&[
                ("text", Node::Text(Field::Text(Kind::Text))),
                ("refusal", Node::Text(Field::Text(Kind::Text))),
            ])),
        ),
        (
            "summary",
            Node::Items(&Node::Members(&[("text", Node::Text(Field::Text(Kind::Reasoning)))])),
        ),
    ]),
));

/// Which kind of text a delta is; `None` for sound and pictures.
pub fn kind(event: &str) -> Option<Kind> {
    let named = event.strip_prefix("response.").unwrap_or(event);
    if named.starts_with("reasoning") {
        return Some(Kind::Reasoning);
    }
    if named.contains("audio") && !named.contains("transcript") {
        return None;
    }
    let is_tool = ["arguments", "input", "code"].iter().any(|word| named.contains(word));
    Some(if is_tool { Kind::Tool } else { Kind::Text })
}

/// Whether an event is the last of its stream.
pub fn is_terminal(event: &str) -> bool {
    let ends = [
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
        "response.done",
    ];
    ends.contains(&event)
}

/// Brings the counters to the one form.
pub fn usage(counts: &Counts) -> Usage {
    parts(counts, counts.get(Count::Input), counts.get(Count::Output), 0)
}
