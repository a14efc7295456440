//! An entry of a list that says by itself what it counts.

use super::{
    counts::{Count, Counts},
    wire::{List, gemini},
};

/// The entry under way.
#[derive(Default)]
pub struct Item {
    /// What it is: a modality, a time to live, a type.
    pub word: String,
    /// What a call did.
    pub action: String,
    /// Tokens, of the input where there are both.
    pub tokens: Option<u64>,
    pub output: Option<u64>,
    pub read: Option<u64>,
    pub write: Option<u64>,
}

impl Item {
    /// Makes it empty.
    pub fn clear(&mut self) {
        self.word.clear();
        self.action.clear();
        (self.tokens, self.output, self.read, self.write) = (None, None, None, None);
    }

    /// Whether it is a search of the web; opening a page that was found is not billed.
    pub fn is_search(&self) -> bool {
        self.word == "web_search_call" && matches!(self.action.as_str(), "" | "search")
    }

    /// Counts it where it belongs.
    pub fn count(&self, list: List, counts: &mut Counts) {
        let tokens = self.tokens.unwrap_or_default();
        match list {
            List::Iterations => self.count_beside(counts),
            List::CacheWrites if self.word == "1h" => counts.add(Count::CacheWrite1h, tokens),
            List::CacheWrites => counts.add(Count::CacheWrite5m, tokens),
            _ => {
                let counter = gemini::modality(list, &self.word);
                counter.into_iter().for_each(|counter| counts.add(counter, tokens));
            }
        }
    }

    /// Counts a run that is not in the totals above it.
    fn count_beside(&self, counts: &mut Counts) {
        if !matches!(self.word.as_str(), "compaction" | "advisor_message") {
            return;
        }
        let runs = [
            (Count::BesideInput, self.tokens),
            (Count::BesideOutput, self.output),
            (Count::BesideRead, self.read),
            (Count::BesideWrite, self.write),
        ];
        for (count, tokens) in runs {
            counts.add(count, tokens.unwrap_or_default());
        }
    }
}
