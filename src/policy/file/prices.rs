//! `[prices.<model>]` and `unknown_model`: what models cost.

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Named, Table, words},
};
use crate::units::NanoUsd;

/// No model gives a longer output than this, in tokens, by far.
const MAX_OUTPUT: u32 = 100_000_000;

/// What one model costs. A price that is not written is that of the built-in table, if the model is in it.
#[derive(Debug, Clone)]
pub struct PriceFile {
    /// The model's name in requests and answers, as written: 1 to 200 bytes.
    pub model: At<String>,
    /// Per million tokens of input that was not cached.
    pub input: Option<At<NanoUsd>>,
    /// Per million tokens of input that was read from a cache.
    pub cached_input: Option<At<NanoUsd>>,
    /// Per million tokens of output.
    pub output: Option<At<NanoUsd>>,
    /// Per million tokens of reasoning, where they are priced apart from output.
    pub reasoning: Option<At<NanoUsd>>,
    /// Per million tokens of input that was written to a cache.
    pub cache_write: Option<At<NanoUsd>>,
    /// Per million tokens of input that was written to a cache for an hour.
    pub cache_write_1h: Option<At<NanoUsd>>,
    /// The longest output of the model, in tokens, 1 to 100 000 000.
    pub max_output: Option<At<u32>>,
}

words! {
    /// What a model costs that has no price.
    "a word such as \"ceiling\""
    pub enum UnknownModel {
        /// As much as the dearest model known.
        Ceiling = "ceiling",
        /// The request is refused.
        Refuse = "refuse",
        /// The operation's cost.
        Flat = "flat",
    }
}

pub(super) fn unknown_model(root: &mut Table<'_, '_>) -> At<UnknownModel> {
    root.or("unknown_model", UnknownModel::Ceiling)
}

pub(super) fn read(root: &mut Table<'_, '_>) -> Vec<PriceFile> {
    let read = |entry: Named<'_, '_>| {
        if entry.name.value == "unknown_model" && !entry.value.is_table() {
            entry.refuse(
                "this is no model",
                "write `unknown_model` at the top of the file, above the first table",
            );
            return None;
        }
        entry.value.table(|table| price(table, entry.name)).flatten()
    };
    root.table("prices", |table| table.named().into_iter().filter_map(read).collect())
        .unwrap_or_default()
}

fn price(table: &mut Table<'_, '_>, model: At<String>) -> Option<PriceFile> {
    if model.value.is_empty() || model.value.len() > 200 {
        let error = Diagnostic::error("this is not the name of a model").at(model.span, "");
        table.reader().push(error.help("write 1 to 200 bytes, such as [prices.\"gpt-4o-mini\"]"));
        return None;
    }
    if table.is_empty() {
        let error = Diagnostic::error("this model has no price").at(table.span(), "");
        table.reader().push_shape(
            error.help("write input = \"$0.15\" and output = \"$0.60\", per million tokens"),
        );
    }
    Some(PriceFile {
        model,
        input: table.optional("input"),
        cached_input: table.optional("cached_input"),
        output: table.optional("output"),
        reasoning: table.optional("reasoning"),
        cache_write: table.optional("cache_write"),
        cache_write_1h: table.optional("cache_write_1h"),
        max_output: table.optional_within("max_output", 1..=MAX_OUTPUT),
    })
}
