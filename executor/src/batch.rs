//! Batching: pods that come together are planned together.

use crate::time::Time;
use std::collections::BTreeSet;

/// The pods that wait for the next plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Window {
    opened: Option<Time>,
    last: Time,
    seen: BTreeSet<String>,
}

impl Window {
    /// Looks at the uids of pods that wait, and says whether it is time to plan them.
    pub(crate) fn look(&mut self, waiting: &BTreeSet<String>, now: Time, idle: i64, max: i64) -> bool {
        if waiting.is_empty() {
            *self = Window::default();
            return false;
        }
        if !waiting.is_subset(&self.seen) {
            self.last = now;
            self.seen.extend(waiting.iter().cloned());
        }
        let opened = *self.opened.get_or_insert(now);
        now.since(self.last) >= idle || now.since(opened) >= max
    }

    /// A plan was asked for.
    pub(crate) fn close(&mut self) {
        *self = Window::default();
    }
}
