//! Consolidation (formulation, section 5): what is removed may be removed, everything on the way is allowed, and the bound is
//! proven.
//!
//! Where pods go and what is launched is judged as in any other plan, for the cluster without the removed nodes in which the
//! pods that move wait ([`states`]).

mod allow;
mod bound;
mod due;
mod leaving;
mod order;
mod reviewed;
mod rules;
mod spot;
mod states;
mod waves;

pub use leaving::{Leaving, LeavingPod, Obstacle, check_removals};
pub use reviewed::check_waves;

use crate::finding::{Findings, code};
use crate::overlays::Overlaid;
use allow::Guard;
use bound::Movable;
use rules::{Subject, pod_weight};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Consolidation, ConsolidationPolicy, NodeReason, WEIGHT_ONE};
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::schedule::instant;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// Checks a plan that consolidates.
pub(crate) fn check(
    snapshot: &Snapshot,
    catalog: &Catalog,
    (plan, policy, stated): (&Plan, &ConsolidationPolicy, &Consolidation),
    findings: &mut Findings,
) {
    if !policy.is_sound() {
        let message =
            "consolidation: the horizon is at least 1 minute, costs are at least 0, weights between 0 and 10";
        findings.add(code::POLICY, message.to_owned());
        return;
    }
    let guard = Guard::new(snapshot, policy);
    let (mut subjects, budgets) = rules::subjects(snapshot, catalog, policy, &guard);
    defer(&mut subjects, stated);
    let removed: BTreeSet<&str> =
        stated.nodes.iter().filter(|one| one.reason.is_removal()).map(|one| one.node.as_str()).collect();
    let after = states::without(snapshot, &removed, &subjects);
    crate::judge(&after, catalog, &for_after(snapshot, &after, catalog, plan, findings), findings);
    let problem = || {
        let asked = crate::Asked { preferences: false, ..crate::Asked::of(plan) };
        crate::Problem::new(&after, catalog, plan.policy.slack.0.clamp(0, Ppm::ONE), &[], asked)
    };
    spot::check((plan, stated, policy.spot_types_min), &subjects, problem, findings);
    let now = snapshot.taken_at.as_deref().and_then(instant);
    let judge = Judge { plan, policy, stated, subjects: &subjects, removed: &removed, now };
    let movable = bound::movable(&subjects, snapshot, catalog, plan);
    judge.decisions(&movable, findings);
    judge.moves(findings);
    judge.figures(findings);
    let left_out = judge.left_out();
    let (subjects, budgets, guard) = (&subjects[..], &budgets, &guard);
    let overlaid = &Overlaid::new(snapshot, catalog);
    waves::Stage { snapshot, catalog, overlaid, plan, stated, subjects, budgets, guard, left_out: &left_out }
        .check(findings);
    // Waves that are wrong by themselves are not walked: there may be any number of them.
    if findings.0.iter().all(|finding| ![code::WAVE, code::MOVE].contains(&finding.code)) {
        order::check(snapshot, (plan, stated), subjects, problem, findings);
    }
    bound::check(snapshot, catalog, (plan, policy, stated), (subjects, &movable), findings);
}

/// Nodes that have to go, but not at once, may be left to a later plan; the plan says which. Whether there really was no order for them
/// is not judged.
fn defer(subjects: &mut [Subject<'_>], stated: &Consolidation) {
    let deferred = stated.nodes.iter().filter(|one| one.reason == NodeReason::Deferred);
    let deferred: BTreeSet<&str> = deferred.map(|one| one.node.as_str()).collect();
    for subject in subjects.iter_mut().filter(|subject| subject.departs() && !subject.is_forced()) {
        if deferred.contains(subject.node.name.as_str()) {
            subject.stays = Some((NodeReason::Deferred, None, None));
        }
    }
}

/// The plan as one for the cluster without the removed nodes. What its summary says of the cluster before is checked here.
fn for_after(
    snapshot: &Snapshot,
    after: &Snapshot,
    catalog: &Catalog,
    plan: &Plan,
    findings: &mut Findings,
) -> Plan {
    let figures = |snapshot: &Snapshot| {
        let overlaid = Overlaid::new(snapshot, catalog);
        let prices: Vec<Option<UsdMicros>> =
            snapshot.nodes.iter().map(|node| crate::existing::price(&overlaid, catalog, node)).collect();
        let unpriced = prices.iter().filter(|price| price.is_none()).count() as u64;
        (snapshot.nodes.len() as u64, prices.into_iter().flatten().sum::<UsdMicros>(), unpriced)
    };
    let before = figures(snapshot);
    let summary = &plan.summary;
    findings.expect_eq(
        code::FIGURE,
        "summary (nodesBefore, costBefore, nodesUnpriced)",
        (&(summary.nodes_before, summary.cost_before, summary.nodes_unpriced), &before),
    );
    let mut plan = plan.clone();
    (plan.summary.nodes_before, plan.summary.cost_before, plan.summary.nodes_unpriced) = figures(after);
    plan
}

struct Judge<'a> {
    plan: &'a Plan,
    policy: &'a ConsolidationPolicy,
    stated: &'a Consolidation,
    subjects: &'a [Subject<'a>],
    removed: &'a BTreeSet<&'a str>,
    now: Option<i64>,
}

impl Judge<'_> {
    /// Every node is decided once, and only those go that may. `movable`: the pod that has no other place, by node.
    fn decisions(&self, movable: &Movable<'_>, findings: &mut Findings) {
        let stated: Vec<&str> = self.stated.nodes.iter().map(|one| one.node.as_str()).collect();
        let actual: Vec<&str> = self.subjects.iter().map(|subject| subject.node.name.as_str()).collect();
        if stated != actual {
            let message =
                format!("{} nodes are decided, the snapshot has {}, sorted", stated.len(), actual.len());
            findings.add(code::DECISION, message);
            return;
        }
        for (one, subject) in self.stated.nodes.iter().zip(self.subjects) {
            let stuck = movable.stuck.get(one.node.as_str()).cloned().flatten();
            let stays = subject.stays.clone().or_else(|| stuck.map(|pod| (NodeReason::Pod, Some(pod), None)));
            let name = &one.node;
            if stays.is_some() && one.reason.is_removal() {
                findings.add(code::PROTECTED, format!("node {name} is removed, it stays for {stays:?}"));
                continue;
            }
            // One that has to go has no choice.
            let goes = one.reason.is_removal() || subject.due.departure().is_some();
            let free = if goes { subject.removal() } else { NodeReason::Worth };
            let wanted = stays.unwrap_or((free, None, None));
            let departure = (&one.departure, &subject.due.departure().cloned());
            findings.expect_eq(code::DECISION, &format!("departure of node {name}"), departure);
            let says = (one.reason, one.pod.clone(), one.budget.clone());
            findings.expect_eq(code::DECISION, &format!("decision on node {name}"), (&says, &wanted));
            findings.expect_eq(
                code::NODE_FACTS,
                &format!("price of node {name}"),
                (&one.price, &subject.price),
            );
        }
    }

    /// The pods of removed nodes that have to go, but are left out: only nodes that go by force leave without asking.
    fn left_out(&self) -> BTreeSet<PodRef> {
        let unplaced: BTreeSet<&PodRef> = self.plan.unplaced.iter().flat_map(|entry| &entry.pods).collect();
        let gone = |subject: &&Subject<'_>| self.removed.contains(subject.node.name.as_str());
        let forced = self.subjects.iter().filter(|subject| subject.is_forced()).filter(gone);
        forced.flat_map(|s| &s.pods).map(|pod| pod.id()).filter(|pod| unplaced.contains(pod)).collect()
    }

    /// Moves are those of all pods of the removed nodes that have to go, to where the plan places them.
    fn moves(&self, findings: &mut Findings) {
        let mut places: BTreeMap<&PodRef, &str> = BTreeMap::new();
        for launch in &self.plan.launches {
            places.extend(launch.pods.iter().map(|pod| (pod, launch.slot.as_str())));
        }
        for node in &self.plan.existing {
            places.extend(node.pods.iter().map(|pod| (pod, node.name.as_str())));
        }
        let left_out = self.left_out();
        let mut wanted: Vec<(PodRef, &str)> = self
            .subjects
            .iter()
            .filter(|subject| self.removed.contains(subject.node.name.as_str()))
            .flat_map(|subject| subject.pods.iter().map(|pod| (pod.id(), subject.node.name.as_str())))
            .filter(|(pod, _)| !left_out.contains(pod))
            .collect();
        wanted.sort();
        let stated: Vec<(PodRef, &str)> =
            self.stated.moves.iter().map(|one| (one.pod.clone(), one.from.as_str())).collect();
        if stated != wanted {
            let message =
                format!("{} moves are stated, {} pods have to move, sorted", stated.len(), wanted.len());
            findings.add(code::MOVE, message);
        }
        for one in &self.stated.moves {
            let place = places.get(&one.pod).copied();
            if place != Some(one.to.as_str()) {
                let message = format!("pod {} moves to {}, the plan places it on {place:?}", one.pod, one.to);
                findings.add(code::MOVE, message);
            }
        }
    }

    /// The saving is what the policy wants at least.
    fn threshold(&self, before: i128, after: i128, rate: i128, once: i128, findings: &mut Findings) {
        let saved = before - after - rate;
        let least = before * i128::from(self.policy.savings_threshold.0);
        // Spread costs are rounded down, so what pays them back is judged by them.
        let minutes = i128::from(self.policy.horizon_minutes);
        let late = self
            .policy
            .payback_minutes
            .is_some_and(|payback| rate * minutes > (saved + rate) * i128::from(payback));
        if saved <= 0 || saved * i128::from(Ppm::ONE) < least || late {
            let message =
                format!("removals save {saved} micro-dollars per hour of {before} and cost {once} once");
            findings.add(code::THRESHOLD, message);
        }
    }

    /// Recomputes the figures.
    fn figures(&self, findings: &mut Findings) {
        let says = &self.stated.summary;
        let sum = |prices: &mut dyn Iterator<Item = Option<UsdMicros>>| {
            prices.flatten().map(|price| i128::from(price.0)).sum::<i128>()
        };
        let is_gone = |subject: &&Subject<'_>| self.removed.contains(subject.node.name.as_str());
        let before = sum(&mut self.subjects.iter().map(|subject| subject.price));
        let gone = sum(&mut self.subjects.iter().filter(is_gone).map(|subject| subject.price));
        let launched: i128 = self.plan.launches.iter().map(|launch| i128::from(launch.price.0)).sum();
        let fixed = sum(&mut self
            .subjects
            .iter()
            .zip(&self.stated.nodes)
            .filter(|(_, one)| !one.reason.is_removal() && one.reason != NodeReason::Worth)
            .map(|(subject, _)| subject.price));
        let nodes = self.removed.len() as i128;
        let mut once = i128::from(self.policy.removal_cost.0) * nodes;
        let mut rate = i128::from(self.policy.removal_rate().0) * nodes;
        let mut moved = 0_u64;
        for pod in self.subjects.iter().filter(is_gone).flat_map(|subject| &subject.pods) {
            let weight = pod_weight(self.policy, self.now, pod);
            once += i128::from(self.policy.eviction_cost.0) * i128::from(weight) / i128::from(WEIGHT_ONE);
            rate += i128::from(self.policy.eviction_rate(weight).0);
            moved += 1;
        }
        moved = moved.saturating_sub(self.left_out().len() as u64);
        let after = before - gone + launched;
        let left = after + rate - i128::from(says.bound.0);
        let figures = [
            ("costBefore", says.cost_before.0, before),
            ("costAfter", says.cost_after.0, after),
            ("costFixed", says.cost_fixed.0, fixed),
            ("disruptionCost", says.disruption_cost.0, once),
            ("disruptionRate", says.disruption_rate.0, rate),
            ("left", says.left.0, left),
        ];
        for (name, stated, actual) in figures {
            let what = format!("consolidation.summary.{name}");
            findings.expect_eq(code::FIGURE, &what, (&i128::from(stated), &actual));
        }
        let counts = (says.nodes_removed, says.pods_moved);
        let what = "consolidation.summary (nodesRemoved, podsMoved)";
        findings.expect_eq(code::FIGURE, what, (&counts, &(self.removed.len() as u64, moved)));
        let moved_only = self.plan.summary.pods_pending == moved && self.plan.summary.pods_unplaced == 0;
        let by_cost = !self.removed.is_empty() && self.subjects.iter().all(|subject| !subject.departs());
        if by_cost && moved_only {
            // Where pods wait, too, or nodes have to go, nobody can tell what these alone would have cost.
            self.threshold(before, after, rate, once, findings);
        }
        let whole = says.cost_before;
        let share = Ppm::gap(UsdMicros(whole.0.saturating_add(says.left.0)), whole);
        findings.expect_eq(code::FIGURE, "consolidation.summary.leftShare", (&says.left_share, &share));
    }
}
