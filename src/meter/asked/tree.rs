//! Where a request's body says what, in all formats.

use crate::meter::{format::Format, scan::Node};

/// What a value in a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    Model,
    Tier,
    Stream,
    IncludeUsage,
    MaxOutput(Bound),
    Thinking,
    Answers,
    /// One number of a prompt that is given as tokens, and a list of such.
    Token,
    Tokens,
    /// Text that the model reads.
    Text,
    /// The same, and a prompt of its own.
    Prompt,
    /// A picture as base64.
    Image,
    /// Something else as base64.
    Attached,
    /// A part of a message, and what it is if its name tells.
    Part(Option<Attached>),
    /// Its type, or its media type.
    PartType,
    /// A name of something that the service keeps.
    Unseen,
}

/// The name under which the most output stands: a service passes over those of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// `max_tokens`, `max_completion_tokens`.
    Tokens,
    /// `max_output_tokens`.
    OutputTokens,
    /// In a table of its own.
    Config,
}

impl Bound {
    /// Whether a service that speaks `format` reads it.
    pub fn holds_for(self, format: Format) -> bool {
        match format {
            Format::OpenAiChat | Format::Anthropic => self == Self::Tokens,
            Format::OpenAiResponses => self == Self::OutputTokens,
            Format::Gemini | Format::Bedrock | Format::Ollama => self == Self::Config,
            Format::OpenAiEmbeddings | Format::Any => true,
        }
    }
}

/// A part of a prompt that is no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attached {
    Image,
    /// A document of text.
    Text,
    Other,
}

impl Attached {
    /// What a type or media type stands for; `None` for text.
    pub fn of(word: &str) -> Option<Self> {
        match word {
            "image" | "image_url" | "input_image" => Some(Self::Image),
            "document" | "file" | "input_file" | "input_audio" | "video" | "video_url" => {
                Some(Self::Other)
            }
            _ if word.starts_with("image/") => Some(Self::Image),
            _ if word.starts_with("text/") => Some(Self::Text),
            _ if word.contains('/') => Some(Self::Other),
            _ => None,
        }
    }
}

const TEXT: Node<Want> = Node::Text(Want::Text);
const RAW: Node<Want> = Node::Raw(Want::Text);
const MAX: Node<Want> = Node::Leaf(Want::MaxOutput(Bound::Tokens));
const MAX_OUTPUT: Node<Want> = Node::Leaf(Want::MaxOutput(Bound::OutputTokens));
const MAX_CONFIG: Node<Want> = Node::Leaf(Want::MaxOutput(Bound::Config));
const THINKING: Node<Want> = Node::Leaf(Want::Thinking);
const ANSWERS: Node<Want> = Node::Leaf(Want::Answers);
const UNSEEN: Node<Want> =
    Node::Either(&[Node::Leaf(Want::Unseen), Node::Marked(Want::Unseen, &Node::Members(&[]))]);

/// Where values stand in a request.
pub static TREE: Node<Want> = Node::Members(&[
    ("model", Node::Leaf(Want::Model)),
    ("service_tier", Node::Leaf(Want::Tier)),
    (
        "serviceTier",
        Node::Either(&[Node::Leaf(Want::Tier), Node::Members(&[("type", Node::Leaf(Want::Tier))])]),
    ),
    ("stream", Node::Leaf(Want::Stream)),
    ("stream_options", Node::Members(&[("include_usage", Node::Leaf(Want::IncludeUsage))])),
    ("max_tokens", MAX),
    ("max_completion_tokens", MAX),
    ("max_output_tokens", MAX_OUTPUT),
    // Anthropic, and OpenRouter for all.
    ("thinking", Node::Members(&[("budget_tokens", THINKING)])),
    ("reasoning", Node::Members(&[("max_tokens", THINKING)])),
    ("n", ANSWERS),
    ("best_of", ANSWERS),
    ("inferenceConfig", CONFIG),
    ("generationConfig", CONFIG),
    ("generation_config", CONFIG),
    ("options", CONFIG),
    // The prompt.
    ("messages", Node::Items(&MESSAGE)),
    ("contents", SAID),
    ("systemInstruction", SAID),
    ("system_instruction", SAID),
    ("system", Node::Same(&CONTENT)),
    ("instructions", Node::Same(&CONTENT)),
    ("input", Node::Either(&[TEXT, Node::Same(&BATCH)])),
    ("prompt", Node::Either(&[Node::Text(Want::Prompt), Node::Same(&BATCH), STORED])),
    ("suffix", TEXT),
    ("images", Node::Items(&Node::Text(Want::Image))),
    ("context", Node::Items(&Node::Leaf(Want::Token))),
    ("prediction", Node::Members(&[("content", Node::Same(&CONTENT))])),
    // What the model reads of tools and of the shape of its answer.
    ("tools", RAW),
    ("functions", RAW),
    ("toolConfig", RAW),
    ("response_format", RAW),
    ("format", RAW),
    ("text", Node::Members(&[("format", RAW)])),
    ("output_config", RAW),
    // What cannot be seen here.
    ("previous_response_id", UNSEEN),
    ("conversation", UNSEEN),
    ("cachedContent", UNSEEN),
    ("cached_content", UNSEEN),
]);

/// How the answer is to be generated: Bedrock, Gemini and Ollama.
const CONFIG: Node<Want> = Node::Members(&[
    ("maxTokens", MAX_CONFIG),
    ("maxOutputTokens", MAX_CONFIG),
    ("max_output_tokens", MAX_CONFIG),
    ("num_predict", MAX_CONFIG),
    ("candidateCount", ANSWERS),
    ("candidate_count", ANSWERS),
    ("thinkingConfig", Node::Members(&[("thinkingBudget", THINKING)])),
    ("thinking_config", Node::Members(&[("thinking_budget", THINKING)])),
    ("responseSchema", RAW),
    ("response_schema", RAW),
    ("responseJsonSchema", RAW),
]);

/// A message of OpenAI, Anthropic, Bedrock or Ollama, or an item of OpenAI's `input`.
static MESSAGE: Node<Want> = Node::Marked(Want::Part(None), &Node::Members(MESSAGE_MEMBERS));

static MESSAGE_MEMBERS: &[(&str, Node<Want>)] = &[
    ("name", TEXT),
    ("content", Node::Same(&CONTENT)),
    ("refusal", TEXT),
    ("reasoning_content", TEXT),
    ("reasoning", TEXT),
    ("thinking", TEXT),
    ("tool_calls", RAW),
    ("function_call", RAW),
    ("images", Node::Items(&Node::Text(Want::Image))),
    // Items of OpenAI's `input`.
    ("arguments", TEXT),
    ("output", Node::Same(&CONTENT)),
    ("summary", Node::Same(&CONTENT)),
    // `input: [{"type": "input_text", "text": …}]`, and embeddings of parts.
    ("type", Node::Leaf(Want::PartType)),
    ("text", TEXT),
    ("file_data", Node::Text(Want::Attached)),
];

static CONTENT: Node<Want> = Node::Either(&[TEXT, Node::Items(&PART)]);

/// A part of a message: what it is stands in `type`, or is the name under which its content stands.
static PART: Node<Want> =
    Node::Either(&[TEXT, Node::Marked(Want::Part(None), &Node::Members(PART_MEMBERS))]);

static PART_MEMBERS: &[(&str, Node<Want>)] = &[
    ("type", Node::Leaf(Want::PartType)),
    ("text", TEXT),
    ("refusal", TEXT),
    ("thinking", TEXT),
    ("title", TEXT),
    ("context", TEXT),
    ("name", TEXT),
    // Calls of tools and their results.
    ("input", RAW),
    ("content", Node::Same(&CONTENT)),
    ("json", RAW),
    ("toolUse", RAW),
    ("toolResult", Node::Members(&[("content", Node::Items(&PART))])),
    ("reasoningContent", Node::Members(&[("reasoningText", Node::Members(&[("text", TEXT)]))])),
    // Attachments: OpenAI, Anthropic, Bedrock.
    ("input_audio", Node::Members(&[("data", Node::Text(Want::Attached))])),
    ("file", Node::Members(&[("file_data", Node::Text(Want::Attached))])),
    ("file_data", Node::Text(Want::Attached)),
    (
        "source",
        Node::Members(&[
            ("media_type", Node::Leaf(Want::PartType)),
            ("data", Node::Text(Want::Attached)),
            ("content", Node::Same(&CONTENT)),
        ]),
    ),
    ("image", Node::Marked(Want::Part(Some(Attached::Image)), &Node::Members(&[]))),
    ("document", Node::Marked(Want::Part(Some(Attached::Other)), &BYTES)),
    ("video", Node::Marked(Want::Part(Some(Attached::Other)), &BYTES)),
    ("audio", Node::Marked(Want::Part(Some(Attached::Other)), &BYTES)),
];

const BYTES: Node<Want> = Node::Members(&[(
    "source",
    Node::Members(&[("bytes", Node::Text(Want::Attached)), ("text", TEXT)]),
)]);

/// What Gemini calls content; one or a list of them, with one part or a list.
const SAID: Node<Want> = Node::Either(&[SAID_ONCE, Node::Items(&SAID_ONCE), TEXT]);
const SAID_ONCE: Node<Want> =
    Node::Members(&[("parts", Node::Either(&[GEMINI_PART, Node::Items(&GEMINI_PART)]))]);
const GEMINI_PART: Node<Want> = Node::Marked(
    Want::Part(None),
    &Node::Members(&[
        ("text", TEXT),
        ("functionCall", RAW),
        ("functionResponse", RAW),
        ("inlineData", BLOB),
        ("inline_data", BLOB),
        ("fileData", BLOB),
        ("file_data", BLOB),
    ]),
);
const BLOB: Node<Want> = Node::Members(&[
    ("mimeType", Node::Leaf(Want::PartType)),
    ("mime_type", Node::Leaf(Want::PartType)),
    ("data", Node::Text(Want::Attached)),
]);

/// Many prompts, as text or as tokens; or the items of OpenAI's `input`.
static BATCH: Node<Want> = Node::Items(&Node::Either(&[
    Node::Text(Want::Prompt),
    Node::Leaf(Want::Token),
    Node::Marked(Want::Tokens, &Node::Items(&Node::Leaf(Want::Token))),
    Node::Marked(Want::Part(None), &Node::Members(MESSAGE_MEMBERS)),
]));

/// OpenAI's stored prompt.
const STORED: Node<Want> = Node::Marked(Want::Unseen, &Node::Members(&[("variables", RAW)]));
