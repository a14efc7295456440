//! The public tokenizers, read on first use by a thread of their own.
//!
//! A request that comes before the table is there is counted by weight; so is
//! everything when a thread cannot be started. The thread touches nothing but the table and
//! ends by itself within a second, so nobody needs to wait for it at shutdown.

use std::{
    sync::{Once, OnceLock},
    thread,
};

use tiktoken::CoreBpe;

use super::Family;

/// One tokenizer: its table, once it is there.
struct Slot {
    name: &'static str,
    begun: Once,
    table: OnceLock<&'static CoreBpe>,
}

static O200K: Slot = Slot::new("o200k_base");
static CL100K: Slot = Slot::new("cl100k_base");

impl Slot {
    const fn new(name: &'static str) -> Self {
        Self { name, begun: Once::new(), table: OnceLock::new() }
    }

    /// The table; the first call has it read, and finds none yet.
    fn table(&'static self) -> Option<&'static CoreBpe> {
        self.table.get().copied().or_else(|| {
            self.begun.call_once(|| self.begin());
            None
        })
    }

    fn begin(&'static self) {
        let read = move || {
            if let Some(table) = tiktoken::get_encoding(self.name) {
                self.table.get_or_init(|| table);
            }
        };
        // Without a thread texts are weighed for ever, which is no worse than without the feature.
        let _ = thread::Builder::new().name("tokenizer".to_owned()).spawn(read);
    }
}

/// The tokenizer of a family, if it has one and its table has been read; else it is being read from now on.
pub(super) fn table(family: Family) -> Option<&'static CoreBpe> {
    match family {
        Family::O200k => O200K.table(),
        Family::Cl100k => CL100K.table(),
        _ => None,
    }
}
