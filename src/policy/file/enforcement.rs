//! `[enforcement]`: whether decisions are enforced.

use super::super::{
    diagnostic::Diagnostic,
    read::{At, Table, words},
};

/// Whether decisions are enforced.
#[derive(Debug, Clone)]
pub struct EnforcementFile {
    /// The mode. Default `enforce`.
    pub mode: At<Mode>,
}

words! {
    /// Whether decisions are enforced.
    "a mode such as \"enforce\""
    pub enum Mode {
        /// What is refused is refused.
        Enforce = "enforce",
        /// Decisions are counted and logged, but nothing is refused.
        Shadow = "shadow",
        /// The emergency bypass: nothing is decided.
        Off = "off",
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> EnforcementFile {
    let mode = table.or("mode", Mode::Enforce);
    if mode.value == Mode::Off {
        let warning =
            Diagnostic::warning("nothing is enforced: quotas, budgets and rules are bypassed");
        table
            .reader()
            .push(warning.at(mode.span, "").help("write \"enforce\" when the emergency is over"));
    }
    EnforcementFile { mode }
}
