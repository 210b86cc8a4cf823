//! What launches have taught.

use crate::request::Failure;
use crate::time::{BREAKER, TROUBLE, Time};
use std::collections::{BTreeMap, VecDeque};
use stowage_models::objects::PodRef;
use stowage_models::quantity::Resources;

/// A pod is launched for this often; then it waits, with the reason shown.
pub(crate) const TRIES_MAX: u32 = 2;
/// Failures in a row after which launching is held for impossible.
const IMPOSSIBLE: u32 = 3;
/// Registrations, or launches, a breaker looks back at.
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
    /// Last launches of pools: whether they were refused for good.
    launches: BTreeMap<String, VecDeque<bool>>,
    /// Failures to reach or move the cloud since the last launch, when the last was, and what it said.
    trouble: Option<(u32, Time, String)>,
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
        if is_too_much(self.registrations.entry(pool.to_owned()).or_default(), success) {
            self.open_until.insert(pool.to_owned(), now.plus(BREAKER));
        }
    }

    /// A machine was launched.
    pub(crate) fn launched(&mut self, pool: Option<&str>, now: Time) {
        self.trouble = None;
        if let Some(pool) = pool {
            self.launch(pool, true, now);
        }
    }

    /// A launch failed. Missing capacity is no fault of the pool, and has its own pauses.
    pub(crate) fn not_launched(&mut self, pool: &str, why: &Failure, now: Time) {
        match why {
            Failure::Capacity(_) => self.trouble = None,
            Failure::Never(_) => self.launch(pool, false, now),
            Failure::Later(text) => {
                let before = self.trouble.as_ref().map_or(0, |(times, ..)| *times);
                self.trouble = Some((before.saturating_add(1), now, text.clone()));
            }
        }
    }

    fn launch(&mut self, pool: &str, success: bool, now: Time) {
        if is_too_much(self.launches.entry(pool.to_owned()).or_default(), success) {
            self.open_until.insert(pool.to_owned(), now.plus(BREAKER));
        }
    }

    /// Why nothing can be launched: credentials, throttling, or an API that is away, again and again until a moment ago.
    pub(crate) fn no_launching(&self, now: Time) -> Option<&str> {
        let (times, last, text) = self.trouble.as_ref()?;
        (*times >= IMPOSSIBLE && now.since(*last) < TROUBLE).then_some(text)
    }

    /// Pools that launch nothing for now.
    pub(crate) fn open(&self, now: Time) -> Vec<&str> {
        self.open_until.iter().filter(|(_, until)| now < **until).map(|(pool, _)| pool.as_str()).collect()
    }

    /// Whether the pool launches nothing for now.
    pub(crate) fn is_open(&self, pool: &str, now: Time) -> bool {
        self.open_until.get(pool).is_some_and(|until| now < *until)
    }
}

/// Takes in how one more went; whether too many of the last have failed. They count once.
fn is_too_much(last: &mut VecDeque<bool>, success: bool) -> bool {
    last.push_back(success);
    if last.len() > LOOK_BACK {
        last.pop_front();
    }
    let open = last.iter().filter(|success| !**success).count() >= FAILURES;
    if open {
        last.clear();
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_refusals_of_the_last_three_open_the_breaker_of_the_pool() {
        let mut lessons = Lessons::default();
        let never = Failure::Never("no such image".to_owned());
        lessons.not_launched("a", &never, Time(0));
        lessons.launched(Some("a"), Time(0));
        lessons.launched(Some("a"), Time(0));
        lessons.not_launched("a", &never, Time(0));
        assert!(!lessons.is_open("a", Time(0)), "one of the last three");
        lessons.not_launched("b", &Failure::Capacity(Vec::new()), Time(0));
        lessons.not_launched("b", &Failure::Capacity(Vec::new()), Time(0));
        assert!(!lessons.is_open("b", Time(0)), "capacity is no fault of the pool");
        lessons.not_launched("a", &never, Time(5));
        assert_eq!((lessons.open(Time(5)), lessons.is_open("b", Time(5))), (vec!["a"], false));
        assert_eq!(lessons.open(Time(5 + BREAKER)), Vec::<&str>::new());
    }

    #[test]
    fn launching_is_impossible_while_the_cloud_says_nothing_else() {
        let mut lessons = Lessons::default();
        let later = Failure::Later("UnauthorizedOperation".to_owned());
        for at in 0..3 {
            assert_eq!(lessons.no_launching(Time(at)), None);
            lessons.not_launched("a", &later, Time(at));
        }
        assert_eq!(lessons.no_launching(Time(3)), Some("UnauthorizedOperation"));
        assert_eq!(lessons.no_launching(Time(2 + TROUBLE)), None, "nobody knows any more");
        lessons.not_launched("a", &later, Time(2 + TROUBLE));
        lessons.launched(None, Time(2 + TROUBLE));
        assert_eq!(lessons.no_launching(Time(2 + TROUBLE)), None);
    }
}
