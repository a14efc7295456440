//! Tokens in disjoint classes: each token is in exactly one of them.
//!
//! Providers report subsets beside their parents, and each in its own way: cached
//! tokens are inside OpenAI's prompt tokens and outside Anthropic's. Here nothing
//! overlaps, so that a cost is a sum of products and nothing is paid for twice.

/// What one answer used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Input that no cache had, in tokens.
    pub input: u64,
    /// Input that was read from a cache.
    pub cache_read: u64,
    /// Input that was written to a cache for the provider's usual time (Anthropic: 5 minutes).
    pub cache_write: u64,
    /// Input that was written to a cache for an hour.
    pub cache_write_1h: u64,
    /// Input of sound, where it is counted apart.
    pub input_audio: u64,
    /// Input of pictures, where it is counted apart.
    pub input_image: u64,
    /// Output that is neither reasoning, nor sound, nor pictures.
    pub output: u64,
    /// Reasoning, also called thinking.
    pub reasoning: u64,
    /// Output of sound.
    pub output_audio: u64,
    /// Output of pictures: some models ask ten times the price of text for it.
    pub output_image: u64,
    /// Searches of the web that the provider ran, each priced by itself.
    pub web_searches: u64,
    /// Pages that the provider fetched.
    pub web_fetches: u64,
}

impl Usage {
    /// All input classes together.
    pub fn all_input(&self) -> u64 {
        [self.cache_read, self.cache_write, self.cache_write_1h, self.input_audio, self.input_image]
            .into_iter()
            .fold(self.input, u64::saturating_add)
    }

    /// The input classes alone.
    #[must_use]
    pub fn input_only(&self) -> Self {
        let (output, reasoning, output_audio, output_image) = (0, 0, 0, 0);
        let (web_searches, web_fetches) = (0, 0);
        Self { output, reasoning, output_audio, output_image, web_searches, web_fetches, ..*self }
    }

    /// All output classes together.
    pub fn all_output(&self) -> u64 {
        [self.reasoning, self.output_audio, self.output_image]
            .into_iter()
            .fold(self.output, u64::saturating_add)
    }

    /// Input and output together: what a quota in tokens counts.
    pub fn total(&self) -> u64 {
        self.all_input().saturating_add(self.all_output())
    }
}

/// Who said what a request cost, in the default order of trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A header or trailer of the upstream that names dollars.
    Header,
    /// A place in the body that the policy names.
    Pointer,
    /// The usage that the body or the stream reported, times the price.
    Usage,
    /// The agent, by a callback.
    Callback,
    /// Counted here while it passed.
    Counted,
    /// The operation's flat cost.
    Flat,
}

impl Source {
    /// The word for logs and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Pointer => "pointer",
            Self::Usage => "usage",
            Self::Callback => "callback",
            Self::Counted => "counted",
            Self::Flat => "flat",
        }
    }
}

/// How sure a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confidence {
    /// As reported by who knows.
    Exact,
    /// Worked out here.
    Estimated,
}

impl Confidence {
    /// The word for logs and the admin API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Estimated => "estimated",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_is_the_sum_of_all_token_classes_and_of_no_calls() {
        let usage = Usage {
            input: 1,
            cache_read: 2,
            cache_write: 4,
            cache_write_1h: 8,
            input_audio: 16,
            input_image: 32,
            output: 64,
            reasoning: 128,
            output_audio: 256,
            output_image: 512,
            web_searches: 1024,
            web_fetches: 2048,
        };
        assert_eq!((usage.all_input(), usage.all_output(), usage.total()), (63, 960, 1023));
    }
}
