//! How many tokens a text is, before a provider says so.
//!
//! Needed for two things only: the estimate of a prompt, and the charge for an answer that
//! was cut off or reports no usage. [`Counter`] takes text in pieces as they pass and may
//! be asked at any moment. OpenAI's models have a public tokenizer, which is used where the
//! feature `tokenizer` is built in; all others are counted by calibrated weights for each
//! kind of character (`tokens/weights.rs`), which is also what stands in while a
//! tokenizer's table is being read.
//!
//! # Cost
//! Time is linear in the text whatever it says, memory at most 4 KiB a counter. A
//! tokenizer's table takes 8 MiB (`cl100k_base`) or 22 MiB (`o200k_base`) from its first
//! use on. It is read by a thread of its own, for 0.1 to 0.3 s; nobody waits for it.
//!
//! # Limits
//! Only text is counted: no pictures, no sound, and of the frame that a provider puts
//! around messages what the caller of this adds.

mod counter;
#[cfg(feature = "tokenizer")]
mod exact;
mod weights;

pub use counter::{Counted, Counter, EXACT};

/// Models that cut text into tokens in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// OpenAI since GPT-4o: `o200k_base`.
    O200k,
    /// OpenAI's GPT-3.5, GPT-4 and embeddings: `cl100k_base`.
    Cl100k,
    /// Anthropic. Its tokenizer is not public.
    Claude,
    /// Google's Gemini and Gemma.
    Gemini,
    /// All others.
    Other,
}

/// Beginnings of words in the names of models, and whose they are; the first that is found decides.
const NAMES: [(&str, Family); 20] = [
    ("claude", Family::Claude),
    ("gemini", Family::Gemini),
    ("gemma", Family::Gemini),
    ("gpt-4o", Family::O200k),
    ("gpt-4.1", Family::O200k),
    ("gpt-4.5", Family::O200k),
    ("gpt-4", Family::Cl100k),
    ("gpt-3", Family::Cl100k),
    ("text-embedding-", Family::Cl100k),
    ("chatgpt-", Family::O200k),
    ("gpt-", Family::O200k),
    ("codex", Family::O200k),
    ("computer-use", Family::O200k),
    ("o1", Family::O200k),
    ("o2", Family::O200k),
    ("o3", Family::O200k),
    ("o4", Family::O200k),
    ("o5", Family::O200k),
    ("o6", Family::O200k),
    ("gpt35", Family::Cl100k),
];

impl Family {
    /// The family of a model, by the name that requests and answers give it.
    ///
    /// A word in the name decides, wherever it stands (`azure/gpt-4o`, `eu.anthropic.claude-…`), so that the
    /// models of a family that are not known yet are counted like those that are.
    pub fn of(model: &str) -> Self {
        let name = model.as_bytes().get(..model.len().min(256)).unwrap_or_default();
        let found = NAMES.iter().find(|(start, _)| has_word(name, start.as_bytes()));
        found.map_or(Self::Other, |(_, family)| *family)
    }

    /// Whether its tokenizer is built in.
    pub fn has_tokenizer(self) -> bool {
        cfg!(feature = "tokenizer") && matches!(self, Self::O200k | Self::Cl100k)
    }

    /// Makes sure that the family's tokenizer is being read, if it has one; does not wait.
    pub fn prepare(self) {
        #[cfg(feature = "tokenizer")]
        let _ = exact::table(self);
    }
}

/// The tokens of one text, and whether that is exact.
pub fn count(family: Family, text: &str) -> Counted {
    let mut counter = Counter::new(family);
    counter.push(text);
    counter.finish()
}

/// Whether a word of `name` begins with `start`, in either case.
fn has_word(name: &[u8], start: &[u8]) -> bool {
    let begins = |(at, window): (usize, &[u8])| {
        let is_border = at == 0 || !name[at - 1].is_ascii_alphanumeric();
        is_border && window.eq_ignore_ascii_case(start)
    };
    name.windows(start.len()).enumerate().any(begins)
}

#[cfg(test)]
mod tests;
