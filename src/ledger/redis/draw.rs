//! Requests that spend from a share, and those that draw one.

use std::sync::Arc;

use super::ask::Verdict;
use super::guards::Drawing;
use super::held::{Amounts, Held, Part, Source};
use super::server::Server;
use super::share::{Share, Stamp};
use super::shares::Found;
use crate::ledger::StoreError;
use crate::ledger::decision::{Decision, Demand, Standing};

impl Server {
    /// Spends from a share, where one may be spent from.
    pub(super) fn find(&self, demand: &Demand<'_>, amounts: &Amounts) -> Found {
        if !self.shares_are_for(demand) {
            return Found::Ask(1);
        }
        self.shares.spend(demand, amounts, self.clock.ticks(demand.now))
    }

    /// Admits what a share had room for.
    pub(super) fn spent(&self, demand: &Demand<'_>, part: Part, standing: Standing) -> Decision {
        let mut held = Held::default();
        held.side(false).push(part);
        let now = self.clock.present(demand.now).0;
        Decision::Admitted(self.hold(demand, held, now), standing)
    }

    /// A drawing of so many requests' worth, if they are several.
    pub(super) fn drawing<'d>(&'d self, demand: &'d Demand<'d>, most: u64) -> Option<Drawing<'d>> {
        (most > 1).then(|| Drawing { server: self, demand, most, share: None })
    }

    /// Whether the limits can be drawn on ahead: with one command, and not only to be watched.
    fn shares_are_for(&self, demand: &Demand<'_>) -> bool {
        let split = self.router.is_cluster() && !demand.limits.pools.is_empty();
        self.terms.percent > 0 && demand.enforce && !split
    }

    /// Makes a share of what was drawn under the number of the request's hold, and spends the request from it.
    pub(super) fn open_share(
        &self,
        held: &mut Held,
        demand: &Demand<'_>,
        amounts: &Amounts,
        verdict: &Verdict,
        asked: u64,
    ) -> Result<(Arc<Share>, Stamp, Standing), StoreError> {
        let part = held.lone().ok_or(StoreError::Away)?;
        let Source::Direct { serial, keys } = &part.source else { return Err(StoreError::Away) };
        // Its reports renew it.
        self.live.remove(*serial);
        let limits = (Arc::clone(keys), demand.limits);
        let share = Arc::new(Share::new(*serial, limits, amounts, verdict, asked));
        let (stamp, standing) = share.spend(amounts, asked).ok_or(StoreError::Away)?;
        Ok((share, stamp, standing))
    }
}
