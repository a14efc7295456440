//! What a request asks for.

use super::format::Format;

/// Tokens that one picture is taken for: what the dearest common model counts for a large one.
pub const IMAGE_TOKENS: u64 = 1_600;
/// Bytes of base64 that are taken for one token of an attached sound, film or document.
pub const ATTACHED_BYTES_PER_TOKEN: u64 = 50;

/// What a request's body and path ask for, as far as its price depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The model, from the body, or from the path (Gemini, Bedrock, Azure's deployments); at most 256 bytes.
    pub model: Option<Box<str>>,
    /// The service tier that was asked for.
    pub service_tier: Option<Box<str>>,
    /// Whether the answer shall be streamed.
    pub stream: bool,
    /// Whether an OpenAI stream shall end with its usage.
    pub include_usage: bool,
    /// The most output for each answer, in tokens; `None` if not said.
    pub max_output: Option<u64>,
    /// How many answers are generated, at least 1: `n`, `best_of`, `candidateCount`, times the prompts of a batch.
    pub answers: u64,
    /// Pictures in the prompt.
    pub images: u64,
    /// Sounds, films and documents in the prompt.
    pub attachments: u64,
    /// Their size as base64, in bytes.
    pub attached_bytes: u64,
}

impl Asked {
    /// Reads a request; `prompt` is told every piece of text that the model will read (messages, system, tools,
    /// schemas), so that it can be counted without a copy.
    ///
    /// Never fails: a body that is not JSON asks for nothing.
    pub fn read(
        _format: Format,
        _path: &str,
        _body: &[u8],
        _prompt: &mut impl FnMut(&str),
    ) -> Self {
        Self { answers: 1, ..Self::default() }
    }

    /// What pictures and attachments are taken for, in tokens.
    pub fn attached_tokens(&self) -> u64 {
        let attached = self.attached_bytes / ATTACHED_BYTES_PER_TOKEN;
        let least = self.images.saturating_add(self.attachments).saturating_mul(IMAGE_TOKENS);
        least.saturating_add(attached)
    }
}
