//! OpenAI Chat Completions and Completions, embeddings, and what is compatible.
//!
//! `prompt_tokens` and `completion_tokens` hold their details as parts. A stream reports
//! usage in a last chunk with empty `choices` (when `stream_options.include_usage` was
//! set), or, with vLLM's `continuous_usage_stats`, in each chunk. Where the total is more than
//! both together (Gemini's compatible endpoint, xAI), the rest is reasoning that
//! `completion_tokens` left out. Predictions that were rejected are inside
//! `completion_tokens`, and billed. `obfuscation` is padding, not text.

use super::{Field, count};
use crate::meter::{
    Usage,
    counts::{Count, Counts, Whole},
    reader::Kind,
    scan::Node,
};

/// Where values stand in an answer or a chunk.
pub static TREE: Node<Field> = Node::Marked(Field::Root, &Node::Members(MEMBERS));

pub(super) const MEMBERS: &[(&str, Node<Field>)] = &[
    ("id", Node::Leaf(Field::Id)),
    ("object", Node::Leaf(Field::Object)),
    ("created", Node::Leaf(Field::Created)),
    ("model", Node::Leaf(Field::Model)),
    ("service_tier", Node::Leaf(Field::Tier)),
    ("usage", Node::Marked(Field::Usage, &Node::Members(USAGE))),
    // Groq puts the usage of a stream here.
    ("x_groq", Node::Members(&[("usage", Node::Marked(Field::Usage, &Node::Members(USAGE)))])),
    ("choices", Node::Items(&Node::Marked(Field::Choice, &Node::Members(CHOICE)))),
    ("error", Node::Marked(Field::Failure, &Node::Members(&[]))),
];

const CHOICE: &[(&str, Node<Field>)] = &[
    ("index", Node::Leaf(Field::Index)),
    ("finish_reason", Node::Leaf(Field::Finish)),
    ("text", Node::Text(Field::Text(Kind::Text))),
    ("delta", Node::Members(MESSAGE)),
    ("message", Node::Members(MESSAGE)),
];

const CALL: Node<Field> = Node::Members(&[
    ("name", Node::Text(Field::Text(Kind::Tool))),
    ("arguments", Node::Raw(Field::Text(Kind::Tool))),
    ("input", Node::Raw(Field::Text(Kind::Tool))),
]);

pub(super) const MESSAGE: &[(&str, Node<Field>)] = &[
    (
        "content",
        Node::Either(&[
            Node::Text(Field::Text(Kind::Text)),
            // Mistral's reasoning models answer in parts.
            Node::Items(&Node::Members(&[
                ("text", Node::Text(Field::Text(Kind::Text))),
                (
                    "thinking",
                    Node::Items(&Node::Members(&[(
                        "text",
                        Node::Text(Field::Text(Kind::Reasoning)),
                    )])),
                ),
            ])),
        ]),
    ),
    ("refusal", Node::Text(Field::Text(Kind::Text))),
    // DeepSeek, vLLM and xAI say `reasoning_content`, OpenRouter, Groq and newer vLLM `reasoning`.
    ("reasoning_content", Node::Text(Field::Text(Kind::Reasoning))),
    ("reasoning", Node::Text(Field::Text(Kind::Reasoning))),
    ("audio", Node::Members(&[("transcript", Node::Text(Field::Text(Kind::Text)))])),
    ("function_call", CALL),
    ("tool_calls", Node::Items(&Node::Members(&[("function", CALL), ("custom", CALL)]))),
];

pub(super) const USAGE: &[(&str, Node<Field>)] = &[
    ("prompt_tokens", count(Count::Prompt)),
    ("completion_tokens", count(Count::Completion)),
    ("total_tokens", count(Count::Total)),
    ("prompt_tokens_details", INPUT_DETAILS),
    ("completion_tokens_details", OUTPUT_DETAILS),
    // DeepSeek's name for what came from the cache.
    ("prompt_cache_hit_tokens", count(Count::Cached)),
    // Money: OpenRouter and LiteLLM, TensorZero; Perplexity's is an object.
    (
        "cost",
        Node::Either(&[
            Node::Leaf(Field::Cost),
            Node::Members(&[("total_cost", Node::Leaf(Field::Cost))]),
        ]),
    ),
    ("tensorzero_cost", Node::Leaf(Field::Cost)),
    ("is_byok", Node::Leaf(Field::IsOwnKey)),
    ("cost_details", Node::Members(&[("upstream_inference_cost", Node::Leaf(Field::OwnKeyCost))])),
    // OpenRouter's and Perplexity's searches.
    ("server_tool_use", SERVER_TOOLS),
    ("num_search_queries", count(Count::WebSearches)),
];

/// Calls that the provider made itself.
pub(super) const SERVER_TOOLS: Node<Field> = Node::Members(&[
    ("web_search_requests", count(Count::WebSearches)),
    ("web_fetch_requests", count(Count::WebFetches)),
]);

/// Parts of the input.
pub(super) const INPUT_DETAILS: Node<Field> = Node::Members(&[
    ("cached_tokens", count(Count::Cached)),
    ("cache_write_tokens", count(Count::CacheWritten)),
    ("audio_tokens", count(Count::InputAudio)),
    ("image_tokens", count(Count::InputImage)),
]);

/// Parts of the output.
pub(super) const OUTPUT_DETAILS: Node<Field> = Node::Members(&[
    ("reasoning_tokens", count(Count::Reasoning)),
    ("thinking_tokens", count(Count::Reasoning)),
    ("audio_tokens", count(Count::OutputAudio)),
    ("image_tokens", count(Count::OutputImage)),
]);

/// Brings the counters to the one form.
pub fn usage(counts: &Counts) -> Usage {
    let (prompt, completion) = (counts.get(Count::Prompt), counts.get(Count::Completion));
    let both = prompt.saturating_add(completion);
    // Without either part, an embedding's total is its input.
    let prompt = if counts.has_any(&[Count::Prompt, Count::Completion]) {
        prompt
    } else {
        counts.get(Count::Total)
    };
    let left_out = if counts.has(Count::Prompt) && counts.has(Count::Completion) {
        counts.get(Count::Total).saturating_sub(both)
    } else {
        0
    };
    parts(counts, prompt, completion.saturating_add(left_out), left_out)
}

/// Takes input and output apart; at least `reasoning` of the output is reasoning.
pub(super) fn parts(counts: &Counts, input: u64, output: u64, reasoning: u64) -> Usage {
    let (mut input, mut output) = (Whole(input), Whole(output));
    Usage {
        cache_read: input.take(counts.get(Count::Cached)),
        cache_write: input.take(counts.get(Count::CacheWritten)),
        cache_write_1h: 0,
        input_audio: input.take(counts.get(Count::InputAudio)),
        input_image: input.take(counts.get(Count::InputImage)),
        input: input.0,
        reasoning: output.take(counts.get(Count::Reasoning).max(reasoning)),
        output_audio: output.take(counts.get(Count::OutputAudio)),
        output_image: output.take(counts.get(Count::OutputImage)),
        output: output.0,
        web_searches: counts.get(Count::WebSearches),
        web_fetches: counts.get(Count::WebFetches),
    }
}
