//! What an operator may set.

use crate::removal::PlannedWave;
use crate::request::Intent;
use crate::time::{CAPACITY_PAUSE, MINUTE, REGISTRATION_TIMEOUT, SECOND, SLOT_TIMEOUT};
use crate::view::PlannedBatch;
use stowage_models::units::UsdMicros;

/// What the controller may do by itself; each may do more than the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Plans, and changes nothing.
    #[default]
    Shadow,
    /// Plans, and acts on what was approved or needs no approval ([`Review`]).
    Review,
    /// Plans and acts.
    Auto,
}

/// What needs approval in [`Mode::Review`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Review {
    /// Launches do.
    pub launches: bool,
    /// And only where those of a plan cost more than this together, per hour.
    pub above: Option<UsdMicros>,
    /// Removals of nodes do.
    pub removals: bool,
    /// Nodes that go by force wait for it, too; otherwise they go, with what takes their place, whatever else needs approval.
    pub forced: bool,
    /// A plan that was not begun this long after it was made is not begun any more, in milliseconds.
    pub expire_after: i64,
}

impl Default for Review {
    fn default() -> Review {
        Review { launches: true, above: None, removals: true, forced: false, expire_after: 15 * MINUTE }
    }
}

impl Settings {
    /// Whether launches that cost so much per hour wait for approval.
    #[must_use]
    pub fn launches_need_approval(&self, cost: UsdMicros) -> bool {
        let Review { launches, above, .. } = self.review;
        self.mode == Mode::Review && launches && above.is_none_or(|above| cost > above)
    }

    /// Whether a plan waits for approval: as a whole, if anything of it does. One by which nodes go by force, and no others, waits only
    /// if the rules say so of these.
    #[must_use]
    pub fn needs_approval(&self, batch: &PlannedBatch) -> bool {
        (self.mode == Mode::Review && !batch.returns.is_empty())
            || self.need_approval(&batch.launches, &batch.waves)
    }

    /// The same of launches and waves.
    pub(crate) fn need_approval(&self, launches: &[Intent], waves: &[PlannedWave]) -> bool {
        let mut removals = waves.iter().flat_map(|wave| &wave.removals).peekable();
        let removes = removals.peek().is_some();
        if self.mode != Mode::Review || (removes && !self.review.forced && removals.all(|one| one.forced)) {
            return false;
        }
        let mut launches = waves.iter().flat_map(|wave| &wave.launches).chain(launches).peekable();
        let launches_any = launches.peek().is_some();
        let cost = launches.filter_map(|launch| launch.offerings.first()).map(|one| one.price).sum();
        (removes && self.review.removals) || (launches_any && self.launches_need_approval(cost))
    }
}

/// Settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Mode.
    pub mode: Mode,
    /// What needs approval.
    pub review: Review,
    /// A batch ends when no pod has come for this long, in milliseconds.
    pub batch_idle: i64,
    /// A batch ends after this long in any case, in milliseconds.
    pub batch_max: i64,
    /// Nodes carry a taint, and planned pods the toleration, so that the plan is what happens.
    pub steer: bool,
    /// A machine that has not registered after this long is given back, in milliseconds.
    pub registration_timeout: i64,
    /// A ready node is kept for its pods this long, in milliseconds.
    pub slot_timeout: i64,
    /// An offering without capacity is left out this long the first time, in milliseconds; it doubles each further time.
    pub capacity_pause: i64,
    /// How often nodes that could go are looked for, in milliseconds; `None`: none goes. In [`Mode::Review`] they are proposed.
    pub remove_every: Option<i64>,
    /// Nodes go for their cost, too; otherwise only those that have to.
    pub consolidate: bool,
    /// Pods that come for those evicted are led to their planned places ([`crate::SUCCESSOR_GATE`]).
    pub successors: bool,
    /// Nothing is begun and nothing ends; machines that were launched before become nodes that any pod may use
    /// ([`crate::Request::finishes`]).
    pub stop: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Shadow,
            review: Review::default(),
            batch_idle: SECOND,
            batch_max: 10 * SECOND,
            steer: true,
            registration_timeout: REGISTRATION_TIMEOUT,
            slot_timeout: SLOT_TIMEOUT,
            capacity_pause: CAPACITY_PAUSE,
            remove_every: Some(MINUTE),
            consolidate: true,
            successors: true,
            stop: false,
        }
    }
}
