//! Gemini's `generateContent` and `streamGenerateContent`.
//!
//! `promptTokenCount` holds what came from the cache; thoughts and the prompts of tools
//! are beside prompt and candidates. Each chunk of a stream repeats `usageMetadata`, and
//! the last one counts. A stream without `alt=sse` is one array of chunks. Some services
//! wrap a chunk in `response`.

use super::{Field, List, count};
use crate::meter::{
    Usage,
    counts::{Count, Counts, Whole},
    reader::Kind,
    scan::Node,
};

/// Where values stand in an answer or a chunk.
pub static TREE: Node<Field> = Node::Either(&[CHUNK, Node::Items(&CHUNK)]);

const CHUNK: Node<Field> =
    Node::Marked(Field::Root, &Node::Either(&[INNER, Node::Members(&[("response", INNER)])]));

const INNER: Node<Field> = Node::Members(MEMBERS);

pub(super) const MEMBERS: &[(&str, Node<Field>)] = &[
    ("candidates", Node::Items(&Node::Marked(Field::Choice, &Node::Members(CANDIDATE)))),
    ("usageMetadata", Node::Marked(Field::Usage, &Node::Members(USAGE))),
    ("modelVersion", Node::Leaf(Field::Model)),
    ("responseId", Node::Leaf(Field::Id)),
    ("error", Node::Marked(Field::Failure, &Node::Members(&[]))),
];

const CANDIDATE: &[(&str, Node<Field>)] = &[
    ("index", Node::Leaf(Field::Index)),
    ("finishReason", Node::Leaf(Field::Finish)),
    (
        "content",
        Node::Members(&[("parts", Node::Items(&Node::Marked(Field::Part, &Node::Members(PART))))]),
    ),
];

const PART: &[(&str, Node<Field>)] = &[
    ("thought", Node::Leaf(Field::Thought)),
    ("text", Node::Text(Field::Typed)),
    ("functionCall", Node::Raw(Field::Text(Kind::Tool))),
    ("executableCode", Node::Members(&[("code", Node::Text(Field::Text(Kind::Tool)))])),
];

pub(super) const USAGE: &[(&str, Node<Field>)] = &[
    ("promptTokenCount", count(Count::GeminiPrompt)),
    ("cachedContentTokenCount", count(Count::Cached)),
    ("candidatesTokenCount", count(Count::Candidates)),
    // The Live API's name for it.
    ("responseTokenCount", count(Count::Candidates)),
    ("thoughtsTokenCount", count(Count::Thoughts)),
    ("toolUsePromptTokenCount", count(Count::ToolPrompt)),
    ("totalTokenCount", count(Count::Total)),
    ("promptTokensDetails", details(&PROMPT_ENTRY)),
    ("cacheTokensDetails", details(&CACHE_ENTRY)),
    ("candidatesTokensDetails", details(&CANDIDATES_ENTRY)),
    ("responseTokensDetails", details(&CANDIDATES_ENTRY)),
    ("trafficType", Node::Leaf(Field::Tier)),
    ("serviceTier", Node::Leaf(Field::Tier)),
];

static PROMPT_ENTRY: Node<Field> = Node::Marked(Field::Item(List::Prompt), &MODALITY);
static CACHE_ENTRY: Node<Field> = Node::Marked(Field::Item(List::Cache), &MODALITY);
static CANDIDATES_ENTRY: Node<Field> = Node::Marked(Field::Item(List::Candidates), &MODALITY);
static MODALITY: Node<Field> = Node::Members(&[
    ("modality", Node::Leaf(Field::ItemWord)),
    ("tokenCount", Node::Leaf(Field::ItemTokens)),
]);

const fn details(entry: &'static Node<Field>) -> Node<Field> {
    Node::Items(entry)
}

/// The counter that an entry of a list by modality belongs to; text has none of its own.
pub fn modality(list: List, word: &str) -> Option<Count> {
    // A film is priced as a picture where pictures have a price of their own.
    let is_image = matches!(word, "IMAGE" | "VIDEO");
    match (list, word) {
        (List::Prompt, "AUDIO") => Some(Count::InputAudio),
        (List::Cache, "AUDIO") => Some(Count::CachedAudio),
        (List::Candidates, "AUDIO") => Some(Count::OutputAudio),
        (List::Prompt, _) if is_image => Some(Count::InputImage),
        (List::Cache, _) if is_image => Some(Count::CachedImage),
        (List::Candidates, _) if is_image => Some(Count::OutputImage),
        _ => None,
    }
}

/// Brings the counters to the one form.
pub fn usage(counts: &Counts) -> Usage {
    let mut input = Whole(counts.get(Count::GeminiPrompt));
    let mut output = Whole(counts.get(Count::Candidates));
    // The details are of the whole prompt, the cached part of it included.
    let fresh = |all, cached| counts.get(all).saturating_sub(counts.get(cached));
    Usage {
        cache_read: input.take(counts.get(Count::Cached)),
        input_audio: input.take(fresh(Count::InputAudio, Count::CachedAudio)),
        input_image: input.take(fresh(Count::InputImage, Count::CachedImage)),
        input: input.0.saturating_add(counts.get(Count::ToolPrompt)),
        reasoning: counts.get(Count::Thoughts),
        output_audio: output.take(counts.get(Count::OutputAudio)),
        output_image: output.take(counts.get(Count::OutputImage)),
        output: output.0,
        ..Usage::default()
    }
}
