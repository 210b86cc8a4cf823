//! Waves (formulation, section 5.4): every state on the way is within budgets, PodDisruptionBudgets and limits.

use super::allow::{Budgets, Guard};
use super::rules::Subject;
use crate::finding::{Findings, code};
use crate::overlays::{Overlaid, with};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Consolidation, Move, Wave};
use stowage_models::objects::{NodeClaim, Pod, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;

/// What the waves are judged against.
pub(crate) struct Stage<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) catalog: &'a Catalog,
    pub(crate) overlaid: &'a Overlaid<'a>,
    pub(crate) plan: &'a Plan,
    pub(crate) stated: &'a Consolidation,
    pub(crate) subjects: &'a [Subject<'a>],
    pub(crate) budgets: &'a Budgets,
    pub(crate) guard: &'a Guard<'a>,
    /// Pods that are evicted and have no place.
    pub(crate) left_out: &'a BTreeSet<PodRef>,
}

/// How far things are after some waves.
#[derive(Default)]
struct Reached<'a> {
    launched: BTreeSet<&'a str>,
    evicted: BTreeSet<&'a PodRef>,
    removed: BTreeSet<&'a str>,
    /// Nodes that lost pods and are still there.
    open: BTreeSet<&'a str>,
    /// By NodePool: nodes launched in earlier waves, less those removed.
    more: BTreeMap<&'a str, i64>,
    /// NodeClaims without a node, which count against limits.
    loose: Vec<&'a NodeClaim>,
}

impl Stage<'_> {
    /// Checks all waves, and that they do everything once.
    pub(crate) fn check(&self, findings: &mut Findings) {
        let gone: BTreeSet<&str> = self
            .stated
            .nodes
            .iter()
            .filter(|one| one.reason.is_removal())
            .map(|one| one.node.as_str())
            .collect();
        let names = |wanted: fn(&Subject<'_>) -> bool| -> BTreeSet<&str> {
            self.subjects.iter().filter(|s| wanted(s)).map(|s| s.node.name.as_str()).collect()
        };
        let (forced, overruled) = (names(|s| s.is_forced()), names(|s| s.due.overrules_pods()));
        let nodes: BTreeSet<&str> = self.snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
        let is_loose = |claim: &&NodeClaim| claim.node.as_deref().is_none_or(|name| !nodes.contains(name));
        let loose = self.snapshot.node_claims.iter().filter(is_loose).collect();
        let by_name: BTreeMap<&str, &Subject<'_>> =
            self.subjects.iter().map(|subject| (subject.node.name.as_str(), subject)).collect();
        let pool_of: BTreeMap<&str, &str> = self
            .plan
            .launches
            .iter()
            .map(|launch| (launch.slot.as_str(), launch.node_pool.as_str()))
            .collect();
        let mut reached = Reached { loose, ..Reached::default() };
        let moves: BTreeMap<&PodRef, &Move> = self.stated.moves.iter().map(|one| (&one.pod, one)).collect();
        let mut leaving: BTreeMap<&str, Vec<&Move>> = BTreeMap::new();
        self.stated.moves.iter().for_each(|one| leaving.entry(one.from.as_str()).or_default().push(one));
        let draws: BTreeMap<PodRef, (usize, bool)> = self
            .movers()
            .filter_map(|(node, pod)| Some((pod.id(), (self.guard.draws_on(pod)?, overruled.contains(node)))))
            .collect();
        let slots: BTreeSet<&str> = self.plan.launches.iter().map(|launch| launch.slot.as_str()).collect();
        for (index, wave) in self.stated.waves.iter().enumerate() {
            let mut add =
                |message: String| findings.add(code::WAVE, format!("wave {}: {message}", index + 1));
            for name in sorted_twice(wave) {
                add(format!("{name} is out of order or there twice"));
            }
            for slot in &wave.launches {
                if !slots.contains(slot.as_str()) || !reached.launched.insert(slot) {
                    add(format!("slot {slot} is no launch of the plan, or launched before"));
                }
            }
            if let Some(why) = self.over_limits(&reached) {
                add(why);
            }
            for pod in &wave.evictions {
                if !reached.evicted.insert(pod) {
                    add(format!("pod {pod} is evicted before"));
                }
                match moves.get(pod) {
                    None if self.left_out.contains(pod) => {}
                    None => add(format!("pod {pod} is evicted and moves nowhere")),
                    Some(one) => {
                        let waits =
                            slots.contains(one.to.as_str()) && !reached.launched.contains(one.to.as_str());
                        if waits && !(forced.contains(one.from.as_str()) && self.is_full(one, &reached)) {
                            add(format!("pod {pod} is evicted before slot {} is launched", one.to));
                        }
                    }
                }
            }
            self.check_pdbs(wave, &draws, &mut add);
            let lost = wave.evictions.iter().filter_map(|pod| moves.get(pod)).map(|one| one.from.as_str());
            reached.open.extend(lost.filter(|node| !reached.removed.contains(node)));
            self.check_budgets(wave, &reached, &by_name, &mut add);
            for slot in &wave.launches {
                let pool = pool_of.get(slot.as_str());
                pool.into_iter().for_each(|pool| *reached.more.entry(pool).or_default() += 1);
            }
            for name in &wave.removals {
                reached.open.remove(name.as_str());
                let pool = by_name.get(name.as_str()).and_then(|subject| subject.pool);
                if let Some(pool) = pool.filter(|_| !reached.removed.contains(name.as_str())) {
                    *reached.more.entry(&pool.name).or_default() -= 1;
                }
            }
            for name in &wave.removals {
                if !gone.contains(name.as_str()) || !reached.removed.insert(name) {
                    add(format!("node {name} is not to be removed, or removed before"));
                }
                let left = leaving.get(name.as_str()).into_iter().flatten();
                if let Some(one) = left.into_iter().find(|one| !reached.evicted.contains(&one.pod)) {
                    add(format!("node {name} is removed with pod {} on it", one.pod));
                }
            }
            let is_last = index + 1 == self.stated.waves.len();
            let launches_last = is_last && !wave.launches.is_empty() && !forced.is_empty();
            if wave.evictions.is_empty() && wave.removals.is_empty() && !launches_last {
                add("it evicts 0 pods and removes 0 nodes".to_owned());
            }
        }
        self.check_end(&gone, &reached, findings);
    }

    fn check_end(&self, gone: &BTreeSet<&str>, reached: &Reached<'_>, findings: &mut Findings) {
        let moved = self.stated.moves.iter().map(|one| &one.pod);
        let expected: BTreeSet<&PodRef> = moved.chain(self.left_out).collect();
        let slots: BTreeSet<&str> = self.plan.launches.iter().map(|launch| launch.slot.as_str()).collect();
        let complete = reached.removed == *gone && reached.evicted == expected;
        if !complete || (!gone.is_empty() && reached.launched != slots) {
            findings.add(
                code::WAVE,
                format!(
                    "after all waves {} of {} nodes are removed, {} of {} pods evicted, {} of {} slots launched",
                    reached.removed.len(),
                    gone.len(),
                    reached.evicted.len(),
                    expected.len(),
                    reached.launched.len(),
                    slots.len()
                ),
            );
        }
        if gone.is_empty() && !self.stated.waves.is_empty() {
            findings.add(code::WAVE, "there are waves, and 0 nodes to remove".to_owned());
        }
    }

    /// Evictions of one wave are within what each PodDisruptionBudget allows at once, but for those from nodes that do not ask; of what
    /// these leave.
    fn check_pdbs(&self, wave: &Wave, draws: &BTreeMap<PodRef, (usize, bool)>, add: &mut dyn FnMut(String)) {
        let mut drawn: BTreeMap<usize, (i64, bool)> = BTreeMap::new();
        for (budget, overruled) in wave.evictions.iter().filter_map(|pod| draws.get(pod)) {
            let (count, asks) = drawn.entry(*budget).or_default();
            *count += 1;
            *asks |= !overruled;
        }
        for (budget, (count, asks)) in drawn {
            let (allowed, name) = self.guard.allows(budget);
            if asks && count > allowed {
                add(format!("PodDisruptionBudget {name} allows {allowed} evictions, there are {count}"));
            }
        }
    }

    fn movers(&self) -> impl Iterator<Item = (&str, &Pod)> {
        let subjects = self.subjects.iter();
        subjects.flat_map(|subject| subject.pods.iter().map(|pod| (subject.node.name.as_str(), *pod)))
    }

    /// Whether limits forbid to launch the slot that a pod moves to as things are.
    fn is_full(&self, one: &Move, reached: &Reached<'_>) -> bool {
        let mut launched = reached.launched.clone();
        launched.insert(&one.to);
        let (removed, loose) = (reached.removed.clone(), reached.loose.clone());
        let then = Reached { launched, removed, loose, ..Reached::default() };
        self.over_limits(&then).is_some()
    }

    /// Nodes on their way out are within the budgets of their NodePools: those that lost pods, and those that go in this wave.
    fn check_budgets(
        &self,
        wave: &Wave,
        reached: &Reached<'_>,
        by_name: &BTreeMap<&str, &Subject<'_>>,
        add: &mut dyn FnMut(String),
    ) {
        let gone = wave.removals.iter().map(String::as_str).filter(|node| !reached.removed.contains(node));
        let lost: BTreeSet<&str> = reached.open.iter().copied().chain(gone).collect();
        let leaving_all: Vec<&Subject<'_>> =
            lost.iter().filter_map(|node| by_name.get(node)).copied().collect();
        for pool in &self.snapshot.node_pools {
            let in_pool = |subject: &&&Subject<'_>| subject.pool.is_some_and(|own| own.name == pool.name);
            let leaving: Vec<&&Subject<'_>> = leaving_all.iter().filter(in_pool).collect();
            let more = reached.more.get(pool.name.as_str()).copied().unwrap_or(0);
            for subject in leaving.iter().filter(|subject| !subject.is_forced()) {
                let room = self.budgets.room(&pool.name, subject.removal(), more);
                if signed(leaving.len()) > room {
                    let (reason, count) = (subject.removal(), leaving.len());
                    add(format!(
                        "NodePool {} has budgets for {room} nodes ({reason:?}), {count} leave",
                        pool.name
                    ));
                    break;
                }
            }
        }
    }

    /// Nodes and launches at once are within each limit, if there are launches in the pool.
    fn over_limits(&self, reached: &Reached<'_>) -> Option<String> {
        for pool in &self.snapshot.node_pools {
            let launched: Vec<&Launch> = self
                .plan
                .launches
                .iter()
                .filter(|launch| {
                    launch.node_pool == pool.name && reached.launched.contains(launch.slot.as_str())
                })
                .collect();
            if launched.is_empty() {
                continue;
            }
            let class = self.snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
            let class = class.cloned().unwrap_or_default();
            for (resource, limit) in &pool.limits.0 {
                let nodes = self.snapshot.nodes.iter().filter(|node| {
                    node.nodepool() == Some(&pool.name) && !reached.removed.contains(node.name.as_str())
                });
                let claims = reached
                    .loose
                    .iter()
                    .filter(|claim| claim.labels.get(stowage_models::labels::NODEPOOL) == Some(&pool.name));
                let amount = |capacity: &stowage_models::quantity::Resources| {
                    i128::from(if resource == "nodes" { 1 } else { capacity.get(resource) })
                };
                let mut sum: i128 = nodes.map(|node| amount(&node.capacity)).sum();
                sum += claims.map(|claim| amount(&claim.capacity)).sum::<i128>();
                for launch in &launched {
                    let kind = self.catalog.get(&launch.instance_type);
                    let capacity = kind.map(|kind| {
                        let stated = self.overlaid.stated(self.snapshot, &self.catalog.region, pool, kind);
                        with(kind.capacity(&self.snapshot.settings, &class), &stated)
                    });
                    sum += capacity.as_ref().map_or(0, amount);
                }
                if sum > i128::from(*limit) {
                    return Some(format!("NodePool {} uses {sum} {resource} of {limit}", pool.name));
                }
            }
        }
        None
    }
}

/// Names of a wave that are not in strictly rising order.
fn sorted_twice(wave: &Wave) -> Vec<String> {
    let mut wrong = Vec::new();
    let texts = |list: &[String]| -> Vec<String> { list.to_vec() };
    let pods: Vec<String> = wave.evictions.iter().map(|pod| pod.0.clone()).collect();
    for list in [texts(&wave.launches), pods, texts(&wave.removals)] {
        wrong.extend(list.windows(2).filter(|pair| pair[0] >= pair[1]).map(|pair| pair[1].clone()));
    }
    wrong
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
