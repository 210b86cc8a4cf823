//! What launches have taught.

use crate::time::{BREAKER, Time};
use std::collections::{BTreeMap, VecDeque};
use stowage_models::objects::PodRef;
use stowage_models::quantity::Resources;

/// A pod is launched for this often; then it waits, with the reason shown.
pub(crate) const TRIES_MAX: u32 = 2;
/// Registrations a breaker looks back at.
const LOOK_BACK: usize = 3;
/// Failures among them that open it.
const FAILURES: usize = 2;

/// Lessons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lessons {
    /// Allocatable of nodes that were smaller than promised, by node class and type.
    pub(crate) smaller: BTreeMap<(String, String), Resources>,
    /// By uid: how often a pod's node came, and the pod did not fit.
    tries: BTreeMap<String, (PodRef, u32)>,
    /// Last registrations of pools: whether they succeeded.
    registrations: BTreeMap<String, VecDeque<bool>>,
    /// Pools that launch nothing until then.
    open_until: BTreeMap<String, Time>,
}

impl Lessons {
    /// A node of this class and type has this allocatable, less than promised.
    pub(crate) fn is_smaller(
        &mut self,
        class: &str,
        instance_type: &str,
        real: &Resources,
        promised: &Resources,
    ) {
        let known = self.smaller.entry((class.to_owned(), instance_type.to_owned())).or_default();
        for (name, amount) in &promised.0 {
            let real = real.get(name);
            if real < *amount && known.0.get(name).is_none_or(|known| real < *known) {
                // Zero is worth knowing, too, and `set` would drop it.
                known.0.insert(name.clone(), real);
            }
        }
    }

    /// A pod's node came, and the pod is not on it.
    pub(crate) fn did_not_fit(&mut self, uid: &str, pod: &PodRef) {
        self.tries.entry(uid.to_owned()).or_insert_with(|| (pod.clone(), 0)).1 += 1;
    }

    pub(crate) fn is_hopeless(&self, uid: &str) -> bool {
        self.tries.get(uid).is_some_and(|(_, times)| *times >= TRIES_MAX)
    }

    pub(crate) fn hopeless(&self) -> BTreeMap<PodRef, String> {
        let text = format!("{TRIES_MAX} nodes were launched for this pod and it did not fit on them");
        let hopeless = self.tries.values().filter(|(_, times)| *times >= TRIES_MAX);
        hopeless.map(|(pod, _)| (pod.clone(), text.clone())).collect()
    }

    /// Forgets pods that are gone.
    pub(crate) fn retain(&mut self, exists: impl Fn(&str, &PodRef) -> bool) {
        self.tries.retain(|uid, (pod, _)| exists(uid, pod));
    }

    /// A node of the pool registered, or did not.
    pub(crate) fn registered(&mut self, pool: &str, success: bool, now: Time) {
        let last = self.registrations.entry(pool.to_owned()).or_default();
        last.push_back(success);
        if last.len() > LOOK_BACK {
            last.pop_front();
        }
        if last.iter().filter(|success| !**success).count() >= FAILURES {
            self.open_until.insert(pool.to_owned(), now.plus(BREAKER));
            last.clear();
        }
    }

    /// Whether the pool launches nothing for now.
    pub(crate) fn is_open(&self, pool: &str, now: Time) -> bool {
        self.open_until.get(pool).is_some_and(|until| now < *until)
    }
}
