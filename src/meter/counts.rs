//! The counters of all providers by name, before they are brought to one form.

/// A number that some provider reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    // OpenAI chat: `prompt_tokens`, `completion_tokens`.
    Prompt,
    Completion,
    // OpenAI responses, Anthropic, Bedrock.
    Input,
    Output,
    // `total_tokens`, `totalTokens`, `totalTokenCount`.
    Total,
    // Parts of the input.
    Cached,
    CacheWritten,
    InputAudio,
    InputImage,
    // Beside the input.
    CacheRead,
    CacheWrite,
    CacheWrite5m,
    CacheWrite1h,
    // Parts of the output.
    Reasoning,
    OutputAudio,
    OutputImage,
    // Gemini.
    GeminiPrompt,
    Candidates,
    Thoughts,
    ToolPrompt,
    CachedAudio,
    CachedImage,
    // Ollama.
    PromptEval,
    Eval,
    PromptEvalCached,
    // Runs beside the answer that are billed with it (Anthropic's compaction and advice).
    BesideInput,
    BesideOutput,
    BesideRead,
    BesideWrite,
    // Calls.
    WebSearches,
    WebFetches,
}

impl Count {
    /// What holds input.
    pub const INPUTS: [Self; 6] = [
        Self::Prompt,
        Self::Input,
        Self::CacheRead,
        Self::CacheWrite,
        Self::GeminiPrompt,
        Self::PromptEval,
    ];
    /// What holds output.
    pub const OUTPUTS: [Self; 5] =
        [Self::Completion, Self::Output, Self::Candidates, Self::Thoughts, Self::Eval];
}

const KINDS: usize = Count::WebFetches as usize + 1;

/// What was reported, and which of it was reported at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    values: [u64; KINDS],
    /// A bit for each that was reported.
    reported: u64,
}

impl Counts {
    /// Notes a number; the last one counts.
    pub fn set(&mut self, count: Count, number: u64) {
        self.values[count as usize] = number;
        self.reported |= 1 << count as u64;
    }

    /// Adds to a number.
    pub fn add(&mut self, count: Count, number: u64) {
        self.set(count, self.get(count).saturating_add(number));
    }

    /// Forgets all numbers but one.
    pub fn keep_only(&mut self, count: Count) {
        let kept = self.has(count).then(|| self.get(count));
        *self = Self::default();
        kept.inspect(|number| self.set(count, *number));
    }

    /// Takes over from `before` what is not reported here.
    pub fn fill_from(&mut self, before: &Self) {
        for (at, number) in before.values.iter().enumerate() {
            let bit = 1 << at;
            if before.reported & bit != 0 && self.reported & bit == 0 {
                self.values[at] = *number;
                self.reported |= bit;
            }
        }
    }

    /// The number, 0 if it was not reported.
    pub fn get(&self, count: Count) -> u64 {
        self.values[count as usize]
    }

    /// Whether it was reported.
    pub fn has(&self, count: Count) -> bool {
        self.reported & (1 << count as u64) != 0
    }

    /// Whether any of these was reported.
    pub fn has_any(&self, counts: &[Count]) -> bool {
        counts.iter().any(|count| self.has(*count))
    }

    /// Whether nothing was reported.
    pub fn is_empty(&self) -> bool {
        self.reported == 0
    }
}

/// A whole of which parts are taken; no part is larger than what is left.
///
/// So the classes add up to the provider's total even where its parts contradict it.
pub struct Whole(pub u64);

impl Whole {
    /// Takes a part away.
    pub fn take(&mut self, part: u64) -> u64 {
        let taken = part.min(self.0);
        self.0 -= taken;
        taken
    }
}
