//! What has been read of an answer so far.
//!
//! [`Notes`] takes what the scanner finds, document by document. Counters count when their
//! object has ended, so that half an object is as if it had not come; where a stream
//! reports several times, the last report stands, and with Anthropic it stands over what
//! it leaves out.
//!
//! # Failure
//! None: a number that is none, negative or above [`MOST`] is as if it were not there.

use super::{
    Usage, cost,
    counts::{Count, Counts},
    decimal,
    format::Format,
    item::Item,
    reader::Kind,
    standing::{self, Standing},
    wire::{self, Field, List},
};
use crate::units::NanoUsd;

/// The largest count that is believed: no request has a million million tokens.
pub const MOST: u64 = 1_000_000_000_000;

/// What the document under way has said so far.
#[derive(Default)]
struct Draft {
    /// Its `type`, or the name of its event.
    kind: String,
    counts: Counts,
    index: Option<u32>,
    is_finished: bool,
    has_choice: bool,
    is_thought: bool,
    is_done: bool,
    sequence: Option<u64>,
    cost: Option<NanoUsd>,
    own_key_cost: Option<NanoUsd>,
    is_own_key: bool,
    item: Item,
    searches: u64,
}

/// What has been read of an answer.
pub struct Notes {
    format: Format,
    pub model: String,
    pub service_tier: String,
    pub id: String,
    /// What kind of document it calls itself.
    pub object: String,
    pub created: String,
    pub cost: Option<NanoUsd>,
    pub pointed: Option<NanoUsd>,
    counts: Counts,
    /// Of the documents before the one under way.
    before: Counts,
    searches: u64,
    draft: Draft,
    live: Standing,
    /// At the last border.
    pub standing: Standing,
    has_failed: bool,
}

impl Notes {
    /// An answer of which nothing is known.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            model: String::new(),
            service_tier: String::new(),
            id: String::new(),
            object: String::new(),
            created: String::new(),
            cost: None,
            pointed: None,
            counts: Counts::default(),
            before: Counts::default(),
            searches: 0,
            draft: Draft::default(),
            live: Standing::default(),
            standing: Standing::default(),
            has_failed: false,
        }
    }

    /// A message begins whose envelope names its event.
    pub fn event(&mut self, name: &str) {
        remember(&mut self.draft.kind, name);
    }

    /// The message is over, whether or not its document was whole.
    pub fn border(&mut self) {
        self.draft = Draft { kind: std::mem::take(&mut self.draft.kind), ..Draft::default() };
        self.draft.kind.clear();
        self.standing = self.live;
    }

    /// The stream's own mark of its end, beside any document.
    pub fn end_mark(&mut self) {
        self.live.has_ended = true;
    }

    /// Whether the stream has come to its own end.
    pub fn has_ended(&self) -> bool {
        let all_ended = self.live.has_choices && self.live.begun == self.live.ended;
        self.live.has_ended || all_ended
    }

    /// Whether the answer is the service's own error.
    pub fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// The format that the answer turned out to have.
    pub fn dialect(&self) -> Format {
        if self.format != Format::Any {
            return self.format;
        }
        let is_chat =
            ["chat.completion", "text_completion"].iter().any(|o| self.object.starts_with(o));
        match () {
            () if is_chat => Format::OpenAiChat,
            () if self.live.has_started => Format::Anthropic,
            () if self.live.sequence > 0 || self.object == "response" => Format::OpenAiResponses,
            () => Format::Any,
        }
    }

    /// What has been reported, in the one form.
    pub fn usage(&self) -> Option<Usage> {
        if self.counts.is_empty() {
            return None;
        }
        let mut usage = wire::usage(self.format, &self.counts);
        if !self.counts.has(Count::WebSearches) {
            usage.web_searches = self.searches;
        }
        Some(usage)
    }

    /// Whether there is a report that counts no input at all.
    pub fn lacks_input(&self) -> bool {
        !self.counts.is_empty() && !self.counts.has_any(&Count::INPUTS)
    }

    /// Whether there is a report that counts no output at all, where there can be some.
    pub fn lacks_output(&self) -> bool {
        self.format != Format::OpenAiEmbeddings
            && !self.counts.is_empty()
            && !self.counts.has_any(&Count::OUTPUTS)
    }

    /// Which kind of output a text is; `None` for what is none.
    pub fn kind(&self, leaf: Field) -> Option<Kind> {
        let draft = &self.draft;
        match leaf {
            Field::Text(kind) => Some(kind),
            Field::Untyped => draft.kind.is_empty().then_some(Kind::Text),
            _ if draft.is_thought => Some(Kind::Reasoning),
            _ if draft.kind.is_empty() => Some(Kind::Text),
            _ => wire::responses::kind(&draft.kind),
        }
    }

    /// Takes a scalar that is no string, or a string that stands for one.
    pub fn set(&mut self, field: Field, text: &str) {
        let number = || decimal::scaled(text, 0, MOST).ok();
        let draft = &mut self.draft;
        match field {
            Field::Count(count) => {
                number().inspect(|number| draft.counts.set(count, *number));
            }
            Field::Index => draft.index = number().and_then(|index| u32::try_from(index).ok()),
            Field::Sequence => draft.sequence = number(),
            Field::Cost => draft.cost = cost::dollars(text).ok().or(draft.cost),
            Field::OwnKeyCost => draft.own_key_cost = cost::dollars(text).ok(),
            Field::IsOwnKey => draft.is_own_key = text == "true",
            Field::Thought => draft.is_thought = text == "true",
            Field::Done => draft.is_done = text == "true",
            Field::ItemTokens => draft.item.tokens = number(),
            Field::ItemOutput => draft.item.output = number(),
            Field::ItemRead => draft.item.read = number(),
            Field::ItemWrite => draft.item.write = number(),
            Field::Created => remember(&mut self.created, text),
            _ => {}
        }
    }

    /// Takes a string.
    pub fn word(&mut self, field: Field, text: &str) {
        match field {
            Field::Model => remember(&mut self.model, text),
            Field::Tier => remember(&mut self.service_tier, text),
            Field::Id => remember(&mut self.id, text),
            Field::Object => remember(&mut self.object, text),
            Field::Type => remember(&mut self.draft.kind, text),
            Field::Finish => self.draft.is_finished = true,
            Field::Failure => self.has_failed = true,
            Field::ItemWord => remember(&mut self.draft.item.word, text),
            Field::ItemAction => remember(&mut self.draft.item.action, text),
            _ => self.set(field, text),
        }
    }

    /// A marked object or array has begun.
    pub fn opened(&mut self, mark: Field) {
        match mark {
            Field::Root => {
                self.before = self.counts;
                self.draft.counts = Counts::default();
            }
            // Of two objects under one key the last counts, and nothing is left of the first.
            Field::Usage => self.draft.counts.keep_only(Count::WebSearches),
            Field::Choice => (self.draft.index, self.draft.is_finished) = (None, false),
            Field::Part => self.draft.is_thought = false,
            Field::Item(_) => self.draft.item.clear(),
            Field::Failure => self.has_failed = true,
            _ => {}
        }
    }

    /// A marked object or array has ended.
    pub fn closed(&mut self, mark: Field) {
        match mark {
            Field::Usage => self.report(),
            Field::Choice => self.choice_ended(),
            Field::Item(List::Outputs) => {
                self.draft.searches += u64::from(self.draft.item.is_search())
            }
            Field::Item(list) => self.draft.item.count(list, &mut self.draft.counts),
            Field::Root => self.document_ended(),
            _ => {}
        }
    }

    /// Makes what the document says about usage count.
    fn report(&mut self) {
        let draft = &self.draft;
        if !draft.counts.is_empty() {
            self.counts = draft.counts;
            if self.merges() {
                self.counts.fill_from(&self.before);
            }
        }
        if let Some(cost) = self.draft.cost {
            let own = self.draft.own_key_cost.filter(|_| self.draft.is_own_key).unwrap_or_default();
            self.cost = cost.checked_add(own);
        }
    }

    /// Whether a later report leaves out what an earlier one said.
    fn merges(&self) -> bool {
        match self.format {
            Format::Anthropic | Format::Bedrock | Format::OpenAiResponses => true,
            Format::Any => !self.draft.kind.is_empty(),
            _ => false,
        }
    }

    fn choice_ended(&mut self) {
        let bit = standing::bit(self.draft.index);
        self.draft.has_choice = true;
        self.live.has_choices = true;
        self.live.begun |= bit;
        if self.draft.is_finished {
            self.live.ended |= bit;
        } else {
            // Early Gemini models gave a reason in each chunk.
            self.live.ended &= !bit;
        }
        self.draft.is_finished = false;
    }

    fn document_ended(&mut self) {
        self.report();
        self.live.has_begun = true;
        self.live.sequence = self.draft.sequence.unwrap_or(self.live.sequence);
        self.live.has_stopped |= self.draft.is_finished;
        self.live.has_ended |= self.draft.is_done || self.is_last_chunk();
        let bit = standing::bit(self.draft.index);
        match self.draft.kind.as_str() {
            "message_start" => self.live.has_started = true,
            "content_block_start" | "contentBlockStart" | "contentBlockDelta" => {
                self.live.begun |= bit;
                self.live.ended &= !bit;
            }
            "content_block_stop" | "contentBlockStop" => self.live.ended |= bit,
            "message_stop" | "metadata" => self.live.has_ended = true,
            kind => self.live.has_ended |= wire::responses::is_terminal(kind),
        }
        self.count_searches();
        self.draft.kind.clear();
    }

    /// Whether this is the chunk with usage alone that ends a stream of OpenAI's: not every server
    /// says `[DONE]` behind it, or why it stopped before.
    fn is_last_chunk(&self) -> bool {
        let is_alone = self.live.has_choices && !self.draft.has_choice;
        is_alone && !self.draft.counts.is_empty() && self.dialect() == Format::OpenAiChat
    }

    fn count_searches(&mut self) {
        match self.draft.kind.as_str() {
            "response.output_item.done" => self.searches += self.draft.searches,
            "response.output_item.added" => {}
            // The answer as a whole: what it lists stands for all that was told before.
            _ if self.draft.searches > 0 => self.searches = self.draft.searches,
            _ => {}
        }
        self.draft.searches = 0;
    }
}

/// Keeps a word, in the space of the one before.
fn remember(kept: &mut String, text: &str) {
    if kept != text {
        kept.clear();
        kept.push_str(text);
    }
}
