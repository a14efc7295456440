//! One file per wire format: where its values stand, how it counts, how it ends a stream.

pub mod anthropic;
pub mod any;
pub mod bedrock;
pub mod chat;
pub mod gemini;
pub mod ollama;
pub mod responses;

use super::{
    Usage,
    counts::{Count, Counts},
    format::Format,
    reader::Kind,
    scan::Node,
};

/// What a value in an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    // Marks.
    /// A whole document.
    Root,
    /// An object of counters.
    Usage,
    /// One of several answers.
    Choice,
    /// A part of an answer.
    Part,
    /// An entry of a list that says by itself what it counts.
    Item(List),
    /// What a service sends in place of an answer.
    Failure,
    // Words.
    Model,
    Tier,
    Id,
    Object,
    Created,
    Type,
    // Numbers and states.
    /// Of a choice or of a content block.
    Index,
    Sequence,
    /// Why a choice ended; `null` as long as it goes on.
    Finish,
    /// Ollama's `done`.
    Done,
    /// Gemini's mark of a part that is reasoning.
    Thought,
    Count(Count),
    // Money.
    Cost,
    /// What the provider behind a router charges the caller's own key.
    OwnKeyCost,
    IsOwnKey,
    // What an entry of a list says.
    ItemWord,
    ItemAction,
    ItemTokens,
    ItemOutput,
    ItemRead,
    ItemWrite,
    // Text.
    Text(Kind),
    /// Text of which `Type` or `Thought` says what it is.
    Typed,
}

/// The lists whose entries are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// Gemini: tokens of the prompt by modality.
    Prompt,
    /// Gemini: tokens from the cache by modality.
    Cache,
    /// Gemini: tokens of the answer by modality.
    Candidates,
    /// Bedrock: cache writes by their time to live.
    CacheWrites,
    /// Anthropic: runs that one request was made of.
    Iterations,
    /// OpenAI Responses: what was put out, calls of its own tools among it.
    Outputs,
}

/// The tree of names for answers in `format`.
pub fn tree(format: Format) -> &'static Node<Field> {
    match format {
        Format::OpenAiChat | Format::OpenAiEmbeddings => &chat::TREE,
        Format::OpenAiResponses => &responses::TREE,
        Format::Anthropic => &anthropic::TREE,
        Format::Gemini => &gemini::TREE,
        Format::Bedrock => &bedrock::TREE,
        Format::Ollama => &ollama::TREE,
        Format::Any => &any::TREE,
    }
}

/// Brings what was reported to the one form.
pub fn usage(format: Format, counts: &Counts) -> Usage {
    match format {
        Format::OpenAiChat | Format::OpenAiEmbeddings => chat::usage(counts),
        Format::OpenAiResponses => responses::usage(counts),
        Format::Anthropic | Format::Bedrock => anthropic::usage(counts),
        Format::Gemini => gemini::usage(counts),
        Format::Ollama => ollama::usage(counts),
        Format::Any => any::usage(counts),
    }
}

/// A counter under its name.
const fn count(count: Count) -> Node<Field> {
    Node::Leaf(Field::Count(count))
}
