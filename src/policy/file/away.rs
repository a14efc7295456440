//! `on_failure` and `allowance`: what happens while the store that replicas share is away.

use super::super::read::{At, Table};
use super::OnFailure;
use crate::units::Percent;

/// What is written of it in one place; what is not written holds as in the place above:
/// a limit, its tier, the store.
#[derive(Debug, Clone, Copy, Default)]
pub struct AwayFile {
    /// What happens.
    pub on_failure: Option<At<OnFailure>>,
    /// With `local`: the share that one replica may use.
    pub allowance: Option<At<Percent>>,
}

impl AwayFile {
    /// What holds here, below what holds `above`.
    #[must_use]
    pub fn below(self, above: Self) -> Self {
        Self {
            on_failure: self.on_failure.or(above.on_failure),
            allowance: self.allowance.or(above.allowance),
        }
    }
}

pub(super) fn read(table: &mut Table<'_, '_>) -> AwayFile {
    AwayFile { on_failure: table.optional("on_failure"), allowance: table.optional("allowance") }
}
