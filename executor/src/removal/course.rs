//! A plan with removals while it is carried out.

use super::{PlannedWave, Removal};
use crate::accept;
use crate::time::Time;
use crate::view::PlannedPod;
use std::collections::BTreeSet;

/// A plan with removals, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Course {
    pub(super) plan: String,
    pub(super) waves: Vec<PlannedWave>,
    /// The wave that is under way.
    pub(super) at: usize,
    /// Since when.
    pub(super) since: Time,
    /// Its removals are written, and its launches were asked for.
    pub(super) launched: bool,
}

impl Course {
    /// Waves that nothing was done about yet.
    pub(crate) fn new(plan: String, waves: Vec<PlannedWave>, now: Time) -> Course {
        Course { plan, waves, at: 0, since: now, launched: false }
    }

    pub(super) fn wave(&self) -> Option<&PlannedWave> {
        self.waves.get(self.at)
    }

    /// Pods that the wave under way launches for and that nobody else must launch for.
    pub(crate) fn pods(&self) -> impl Iterator<Item = (&str, &PlannedPod)> {
        let launches = self.wave().into_iter().filter(|_| !self.launched).flat_map(|wave| &wave.launches);
        launches.flat_map(|launch| &launch.pods).map(|pod| (self.plan.as_str(), pod))
    }

    /// Its first wave is being written: nothing of it is begun for sure.
    pub(crate) fn is_beginning(&self, plan: &str) -> bool {
        self.plan == plan && self.at == 0 && !self.launched
    }

    /// What of it goes by force, with what takes the place of that; nothing if none does.
    pub(super) fn forced(mut self) -> Option<Course> {
        let plan = &self.plan;
        for wave in &mut self.waves {
            wave.removals.retain(|removal| removal.forced);
            let needs: BTreeSet<&String> = wave.removals.iter().flat_map(|removal| &removal.needs).collect();
            wave.launches
                .retain(|launch| needs.contains(&accept::name_of(plan, &launch.action, &launch.pool)));
        }
        self.waves.iter().any(|wave| !wave.removals.is_empty()).then_some(self)
    }

    pub(super) fn is_approved(&self) -> bool {
        self.waves.iter().flat_map(|wave| &wave.removals).any(|removal| removal.approved)
    }

    pub(crate) fn has_intended(&self, removal: &Removal) -> bool {
        self.plan == removal.plan && !self.launched
    }
}
