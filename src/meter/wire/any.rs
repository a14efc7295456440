//! An answer whose format nobody named: an agent's own routes.
//!
//! Every provider has its own names for what it counts, so the names tell the rule. The
//! one pair that two of them share, `input_tokens` and `output_tokens`, is read as
//! Anthropic's where one of its cache counters stands beside it, and as OpenAI's otherwise;
//! without details both mean the same.

use super::{Field, anthropic, bedrock, chat, gemini, ollama, responses};
use crate::meter::{
    Usage,
    counts::{Count, Counts},
    scan::Node,
};

/// Where values stand, in whichever format.
pub static TREE: Node<Field> = Node::Either(&[DOCUMENT, Node::Items(&DOCUMENT)]);

const DOCUMENT: Node<Field> = Node::Marked(
    Field::Root,
    &Node::Either(&[
        // The names that several formats give to different things.
        Node::Members(&[
            ("usage", USAGE),
            ("message", Node::Either(&[anthropic::MESSAGE, Node::Members(ollama::MESSAGE)])),
            (
                "delta",
                Node::Either(&[
                    Node::Text(Field::Typed),
                    Node::Members(anthropic::DELTA),
                    Node::Members(bedrock::DELTA),
                ]),
            ),
            (
                "response",
                Node::Either(&[
                    responses::STATE,
                    Node::Members(gemini::MEMBERS),
                    Node::Text(Field::Text(crate::meter::reader::Kind::Text)),
                ]),
            ),
            ("output", Node::Either(&[responses::OUTPUT, Node::Members(bedrock::OUTPUT)])),
        ]),
        Node::Members(chat::MEMBERS),
        Node::Members(anthropic::MEMBERS),
        Node::Members(gemini::MEMBERS),
        Node::Members(bedrock::MEMBERS),
        Node::Members(ollama::MEMBERS),
        responses::EVENT,
        Node::Members(&[("tool_usage", responses::TOOL_USAGE)]),
    ]),
);

const USAGE: Node<Field> = Node::Marked(
    Field::Usage,
    &Node::Either(&[
        Node::Members(responses::USAGE),
        Node::Members(anthropic::USAGE),
        Node::Members(chat::USAGE),
        Node::Members(bedrock::USAGE),
        Node::Members(gemini::USAGE),
    ]),
);

/// Brings the counters to the one form.
pub fn usage(counts: &Counts) -> Usage {
    if counts.has_any(&[Count::Prompt, Count::Completion]) {
        return chat::usage(counts);
    }
    if counts.has_any(&[Count::GeminiPrompt, Count::Candidates]) {
        return gemini::usage(counts);
    }
    if counts.has_any(&[Count::PromptEval, Count::Eval]) {
        return ollama::usage(counts);
    }
    if counts.has_any(&[Count::CacheRead, Count::CacheWrite]) {
        return anthropic::usage(counts);
    }
    if counts.has_any(&[Count::Input, Count::Output]) {
        return responses::usage(counts);
    }
    chat::usage(counts)
}
