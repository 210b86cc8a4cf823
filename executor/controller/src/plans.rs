//! How far published plans are, and which of them are forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use stowage_executor::{Claim, Observation};

/// A plan none of whose claims has been seen by then has none: its pods went, or others cared for them. Claims are asked for within seconds,
/// and an unseen one is dropped after two minutes.
const EMPTY_AFTER: Duration = Duration::from_secs(150);
/// Plans that are over and are kept, newest first.
pub(crate) const KEPT: usize = 20;

/// Phases that are ends.
pub(crate) const OVER: [&str; 4] = ["Completed", "Failed", "Superseded", "Refused"];

/// What became of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pending,
    Ready,
    Failed,
}

/// A plan that is under way.
#[derive(Clone, Debug)]
struct Entry {
    /// Launches and removals.
    all: usize,
    since: Instant,
    /// Claims that were launched, by name; claims of nodes that go, as `-name`.
    claims: BTreeMap<String, Fate>,
    /// What was written last.
    told: Option<(&'static str, usize)>,
}

/// What to write of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) plan: String,
    pub(crate) phase: &'static str,
    pub(crate) done: usize,
    pub(crate) all: usize,
}

/// Plans that are under way. It may be lost: what has live claims is found again by them.
#[derive(Debug, Default)]
pub(crate) struct Plans {
    under_way: BTreeMap<String, Entry>,
    /// Told to be over, and not seen so yet.
    over: BTreeSet<String>,
}

impl Plans {
    /// A plan was published, with so many launches and removals.
    pub(crate) fn published(&mut self, plan: &str, all: usize, now: Instant) {
        let entry = Entry { all, since: now, claims: BTreeMap::new(), told: Some(("Executing", 0)) };
        self.under_way.entry(plan.to_owned()).or_insert(entry);
    }

    /// Those that are under way as far as is known here.
    pub(crate) fn under_way(&self) -> BTreeSet<String> {
        self.under_way.keys().cloned().collect()
    }

    /// Takes in what is seen; what has changed. A plan that is over is told once, and forgotten.
    /// `goes_on`: whether further waves of a plan are to come.
    pub(crate) fn look(
        &mut self,
        seen: &Observation,
        goes_on: impl Fn(&str) -> bool,
        now: Instant,
    ) -> Vec<Progress> {
        self.over.retain(|plan| seen.executing.contains_key(plan));
        // One that another process has begun: of its nodes those are gone that are not there.
        for (plan, proposal) in seen.executing.iter().filter(|(plan, _)| !self.over.contains(*plan)) {
            let gone = || {
                let removals = proposal.waves.iter().flat_map(|wave| &wave.removals);
                let removals = removals.chain(&proposal.returns);
                let gone = removals.filter(|one| !seen.claims.contains_key(&one.claim));
                gone.map(|one| (format!("-{}", one.claim), Fate::Pending)).collect()
            };
            let fresh = || Entry { all: proposal.count(), since: now, claims: gone(), told: None };
            let entry = self.under_way.entry(plan.clone()).or_insert_with(fresh);
            // What static pools give back by it is written nowhere else.
            for one in &proposal.returns {
                entry.claims.entry(format!("-{}", one.claim)).or_insert(Fate::Pending);
            }
        }
        let ours = || seen.claims.values().filter(|claim| claim.ours && !claim.plan.is_empty());
        // One without a claim under way was over before this process began.
        let under_way: BTreeSet<&String> =
            ours().filter(|claim| fate_of(claim) == Fate::Pending).map(|claim| &claim.plan).collect();
        for claim in ours() {
            if !self.under_way.contains_key(&claim.plan) && !under_way.contains(&claim.plan) {
                continue;
            }
            let entry = self.under_way.entry(claim.plan.clone()).or_insert(Entry {
                all: 0,
                since: now,
                claims: BTreeMap::new(),
                told: None,
            });
            let fate = entry.claims.entry(claim.name.clone()).or_insert(Fate::Pending);
            if *fate == Fate::Pending {
                *fate = fate_of(claim);
            }
        }
        for claim in seen.claims.values().filter(|claim| claim.ours) {
            // Nodes on their way out keep their plan under way, also for a process that has just begun.
            let Some(removal) = &claim.removal else { continue };
            let fresh = || Entry { all: 0, since: now, claims: BTreeMap::new(), told: None };
            let entry = self.under_way.entry(removal.plan.clone()).or_insert_with(fresh);
            entry.claims.entry(format!("-{}", claim.name)).or_insert(Fate::Pending);
        }
        let mut told = Vec::new();
        for (plan, entry) in &mut self.under_way {
            // A node of a static pool that is to be given back, or goes.
            let is_returned = |claim: &Claim| {
                let of = seen.executing.get(plan).or_else(|| seen.proposals.get(plan));
                of.filter(|one| claim.deleting || !one.has_lapsed(seen.now))
                    .is_some_and(|one| one.returns.iter().any(|one| one.claim == claim.name))
            };
            for (name, fate) in entry.claims.iter_mut().filter(|(_, fate)| **fate == Fate::Pending) {
                *fate = match name.strip_prefix('-') {
                    None if !seen.claims.contains_key(name) => Fate::Failed,
                    None => Fate::Pending,
                    Some(name) => match seen.claims.get(name) {
                        None => Fate::Ready,
                        Some(claim) if claim.removal.as_ref().is_some_and(|one| one.plan == *plan) => {
                            Fate::Pending
                        }
                        Some(claim) if is_returned(claim) => Fate::Pending,
                        Some(_) => Fate::Failed,
                    },
                };
            }
            let proposed = seen.proposals.get(plan).map(stowage_executor::Proposal::count);
            entry.all = entry.all.max(entry.claims.len()).max(proposed.unwrap_or(0));
            if proposed.is_some() {
                // It is begun but not told so yet: once it is, nobody goes on with what is left of it.
                entry.since = now;
                continue;
            }
            let count = |wanted: Fate| entry.claims.values().filter(|fate| **fate == wanted).count();
            let (ready, failed) = (count(Fate::Ready), count(Fate::Failed));
            let more = goes_on(plan);
            let late = !more && now.saturating_duration_since(entry.since) >= EMPTY_AFTER;
            let over = count(Fate::Pending) == 0 && (ready + failed == entry.all || late);
            // What is left of a plan that removes nodes does not come any more: it was cut short. Launches alone may have become needless.
            let cut = ready < entry.all && entry.claims.keys().any(|name| name.starts_with('-'));
            let phase = match over {
                false => "Executing",
                true if entry.claims.is_empty() && entry.all > 0 => "Superseded",
                true if failed > 0 || cut => "Failed",
                true => "Completed",
            };
            if entry.told != Some((phase, ready)) {
                entry.told = Some((phase, ready));
                told.push(Progress { plan: plan.clone(), phase, done: ready, all: entry.all });
            }
        }
        let over: BTreeSet<&String> =
            told.iter().filter(|one| OVER.contains(&one.phase)).map(|one| &one.plan).collect();
        self.under_way.retain(|plan, _| !over.contains(plan));
        self.over.extend(over.into_iter().cloned());
        told
    }
}

fn fate_of(claim: &Claim) -> Fate {
    match claim {
        claim if claim.initialized.is_some() => Fate::Ready,
        claim if claim.deleting => Fate::Failed,
        _ => Fate::Pending,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_executor::{Proposal, ProposedAction, Time};

    fn seen(claims: &[(&str, bool, bool)]) -> Observation {
        let mut seen = Observation::default();
        for (name, ready, deleting) in claims {
            let claim = Claim {
                name: (*name).to_owned(),
                ours: true,
                plan: "plan".to_owned(),
                initialized: ready.then_some(Time(1)),
                deleting: *deleting,
                ..Claim::default()
            };
            seen.claims.insert(claim.name.clone(), claim);
        }
        seen
    }

    fn phases(
        plans: &mut Plans,
        claims: &[(&str, bool, bool)],
        now: Instant,
    ) -> Vec<(&'static str, usize, usize)> {
        plans
            .look(&seen(claims), |_| false, now)
            .into_iter()
            .map(|one| (one.phase, one.done, one.all))
            .collect()
    }

    #[test]
    fn a_plan_is_executed_and_ends() {
        let now = Instant::now();
        let mut plans = Plans::default();
        plans.published("plan", 2, now);
        assert_eq!(phases(&mut plans, &[], now), []);
        assert_eq!(phases(&mut plans, &[("a", false, false)], now), []);
        assert_eq!(
            phases(&mut plans, &[("a", true, false), ("b", false, false)], now),
            [("Executing", 1, 2)]
        );
        assert_eq!(phases(&mut plans, &[("a", true, false), ("b", true, false)], now), [("Completed", 2, 2)]);
        assert_eq!(
            phases(&mut plans, &[("a", true, false), ("b", true, true)], now),
            [],
            "what is over is over"
        );
    }

    #[test]
    fn a_launch_that_is_given_up_fails_the_plan_and_one_that_never_begins_is_superseded() {
        let now = Instant::now();
        let mut plans = Plans::default();
        plans.published("plan", 2, now);
        phases(&mut plans, &[("a", true, false), ("b", false, false)], now);
        assert_eq!(phases(&mut plans, &[("a", true, false), ("b", false, true)], now), [("Failed", 1, 2)]);
        plans.published("plan", 2, now);
        assert_eq!(phases(&mut plans, &[], now + EMPTY_AFTER), [("Superseded", 0, 2)]);
        // Only one of two launches was still wanted.
        plans.published("plan", 2, now);
        assert_eq!(phases(&mut plans, &[("c", true, false)], now), [("Executing", 1, 2)]);
        assert_eq!(phases(&mut plans, &[("c", true, false)], now + EMPTY_AFTER), [("Completed", 1, 2)]);
    }

    #[test]
    fn after_a_restart_live_claims_tell_the_plan() {
        let now = Instant::now();
        let mut plans = Plans::default();
        assert_eq!(phases(&mut plans, &[("a", true, false)], now), [], "it was over before");
        assert_eq!(
            phases(&mut plans, &[("a", true, false), ("b", false, false)], now),
            [("Executing", 1, 2)]
        );
        assert_eq!(phases(&mut plans, &[("a", true, false), ("b", true, false)], now), [("Completed", 2, 2)]);
    }
    #[test]
    fn a_plan_in_review_that_was_begun_before_a_crash_is_not_told_before_all_of_it_is_begun() {
        let now = Instant::now();
        let mut plans = Plans::default();
        let actions = vec![ProposedAction::default(), ProposedAction::default()];
        let mut begun = seen(&[("a", true, false)]);
        begun.proposals.insert("plan".to_owned(), Proposal { actions, ..Proposal::default() });
        let mut half = seen(&[("a", false, false)]);
        half.proposals = begun.proposals.clone();
        assert_eq!(plans.look(&half, |_| false, now), []);
        assert_eq!(
            plans.look(&begun, |_| false, now + EMPTY_AFTER),
            [],
            "its second launch is still to come"
        );
        let rest = phases(&mut plans, &[("a", true, false), ("b", false, false)], now + EMPTY_AFTER);
        assert_eq!(rest, [("Executing", 1, 2)]);
    }

    #[test]
    fn a_plan_that_removes_nodes_and_was_cut_short_has_failed() {
        let now = Instant::now();
        let mut plans = Plans::default();
        plans.published("plan", 2, now);
        let mut going = seen(&[("a", true, false)]);
        let removal = serde_json::json!({
            "plan": "plan", "action": "remove/n", "wave": 1, "claim": "a", "node": "n", "uid": "u",
            "reason": "Underutilized", "pods": [], "needs": [], "since": 0,
        });
        let claim = going.claims.get_mut("a").expect("it");
        claim.plan = String::new();
        claim.removal = Some(serde_json::from_value(removal).expect("a removal"));
        assert_eq!(plans.look(&going, |plan| plan == "plan", now), []);
        let rest = phases(&mut plans, &[], now);
        assert_eq!(rest, [("Executing", 1, 2)], "its second wave may come");
        assert_eq!(phases(&mut plans, &[], now + EMPTY_AFTER), [("Failed", 1, 2)]);
    }
}
