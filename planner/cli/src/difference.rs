//! What two plans decide differently. Names of slots do not count: a plan that launches the same kinds of nodes for the
//! same pods decides the same.

use crate::render::groups::{self, Group, Kind};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::{NodeDecision, NodeReason};
use stowage_models::departure::Departure;
use stowage_models::plan::{ExistingNode, Plan, Policy};
use stowage_models::units::{Ppm, UsdMicros};

/// Format of the JSON form; readers ignore unknown fields of a higher minor.
const FORMAT_VERSION: &str = "1.0";

/// A figure before and after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Change<T> {
    /// In the first plan.
    pub before: T,
    /// In the second.
    pub after: T,
}

impl<T: PartialEq> Change<T> {
    /// Whether they differ.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.before != self.after
    }
}

/// Launches of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchChange {
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// How many.
    pub nodes: Change<u64>,
    /// Price of all of them.
    pub cost: Change<UsdMicros>,
    /// Pods on them.
    pub pods: Change<u64>,
}

/// Placements on an existing node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeChange {
    /// Node name.
    pub node: String,
    /// Pending pods placed there.
    pub pods: Change<u64>,
    /// Of the pods of the second plan, those the first did not put there.
    pub pods_new: u64,
}

/// Another decision about a node that exists: it goes in one of the plans only, or for another reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionChange {
    /// Node name.
    pub node: String,
    /// Why it goes or stays; `None`: the plan decides nothing about it.
    pub reason: Change<Option<NodeReason>>,
    /// That it has to go, as the second plan says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub departure: Option<Departure>,
}

/// Inputs that differ; plans of different input are still comparable, but the difference may be the input's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inputs {
    /// Digests differ.
    pub snapshot_differs: bool,
    /// Digests differ.
    pub catalog_differs: bool,
    /// Versions of the planner.
    pub planner: Change<String>,
    /// Gap, slack and seed.
    pub policy: Change<Policy>,
}

/// The difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Always `StowageDiff`.
    pub kind: &'static str,
    /// Format of this document.
    pub format_version: &'static str,
    /// Plan ids.
    pub id: Change<String>,
    /// Price of the launches.
    pub launch_cost: Change<UsdMicros>,
    /// Price of existing nodes and launches.
    pub cost_after: Change<UsdMicros>,
    /// Proven bound.
    pub launch_bound: Change<UsdMicros>,
    /// Proven gap.
    pub gap: Change<Ppm>,
    /// Nodes to launch.
    pub nodes_launched: Change<u64>,
    /// Pods that wait.
    pub pods_pending: Change<u64>,
    /// Pods left out.
    pub pods_unplaced: Change<u64>,
    /// Inputs.
    pub inputs: Inputs,
    /// Kinds of launches of which number or price differ, largest difference in cost first.
    pub launches: Vec<LaunchChange>,
    /// Existing nodes that get other pods, sorted by name.
    pub existing: Vec<NodeChange>,
    /// Nodes that go in one of the plans only, or for another reason, sorted by name.
    pub decisions: Vec<DecisionChange>,
    /// Pods left out by the second plan only, sorted.
    pub newly_left_out: Vec<String>,
    /// Pods left out by the first plan only and placed by the second, sorted.
    pub newly_placed: Vec<String>,
    /// Pods both plans place, in different places (an existing node, or a kind of launch).
    pub pods_elsewhere: u64,
    /// Launches whose kind did not change in number or price.
    pub launches_unchanged: u64,
    /// Existing nodes that get the same pods in both plans.
    pub existing_unchanged: u64,
}

impl Difference {
    /// Compares two plans.
    #[must_use]
    pub fn new(before: &Plan, after: &Plan) -> Difference {
        let change = |figure: fn(&Plan) -> u64| Change { before: figure(before), after: figure(after) };
        let money = |figure: fn(&Plan) -> UsdMicros| Change { before: figure(before), after: figure(after) };
        let (launches, launches_unchanged) = compare_launches(before, after);
        let (existing, existing_unchanged) = compare_existing(before, after);
        let places_before = places(before);
        let places_after = places(after);
        let is_out = |places: &BTreeMap<&str, Place>, pod: &str| places.get(pod) == Some(&Place::LeftOut);
        let newly_left_out = places_after
            .iter()
            .filter(|(pod, place)| **place == Place::LeftOut && !is_out(&places_before, pod))
            .map(|(pod, _)| (*pod).to_owned())
            .collect();
        let newly_placed = places_after
            .iter()
            .filter(|(pod, place)| **place != Place::LeftOut && is_out(&places_before, pod))
            .map(|(pod, _)| (*pod).to_owned())
            .collect();
        let is_elsewhere = |pod: &str, place: &Place| {
            places_before
                .get(pod)
                .is_some_and(|old| old != place && *old != Place::LeftOut && *place != Place::LeftOut)
        };
        Difference {
            kind: "StowageDiff",
            format_version: FORMAT_VERSION,
            id: Change { before: before.id.clone(), after: after.id.clone() },
            launch_cost: money(|plan| plan.summary.launch_cost),
            cost_after: money(crate::render::figures::cost_after),
            launch_bound: money(|plan| plan.summary.launch_bound),
            gap: Change { before: before.summary.gap, after: after.summary.gap },
            nodes_launched: change(|plan| plan.summary.nodes_launched),
            pods_pending: change(|plan| plan.summary.pods_pending),
            pods_unplaced: change(|plan| plan.summary.pods_unplaced),
            inputs: compare_inputs(before, after),
            launches,
            existing,
            decisions: compare_decisions(before, after),
            newly_left_out,
            newly_placed,
            pods_elsewhere: places_after.iter().filter(|(pod, place)| is_elsewhere(pod, place)).count()
                as u64,
            launches_unchanged,
            existing_unchanged,
        }
    }

    /// Whether the plans decide differently. A plan with the same decisions and another bound is no change.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !self.launches.is_empty()
            || !self.existing.is_empty()
            || !self.decisions.is_empty()
            || !self.newly_left_out.is_empty()
            || !self.newly_placed.is_empty()
            || self.pods_elsewhere > 0
            || self.pods_pending.is_change()
    }
}

/// Where a pod goes, as far as it is a decision.
#[derive(PartialEq, Eq)]
enum Place {
    Existing(String),
    New(Kind),
    LeftOut,
}

fn places(plan: &Plan) -> BTreeMap<&str, Place> {
    let new = plan
        .launches
        .iter()
        .flat_map(|launch| launch.pods.iter().map(|pod| (pod.0.as_str(), Place::New(Kind::of(launch)))));
    let existing = plan
        .existing
        .iter()
        .flat_map(|node| node.pods.iter().map(|pod| (pod.0.as_str(), Place::Existing(node.name.clone()))));
    let left_out =
        plan.unplaced.iter().flat_map(|entry| entry.pods.iter().map(|pod| (pod.0.as_str(), Place::LeftOut)));
    new.chain(existing).chain(left_out).collect()
}

fn compare_inputs(before: &Plan, after: &Plan) -> Inputs {
    Inputs {
        snapshot_differs: before.snapshot.digest != after.snapshot.digest,
        catalog_differs: before.catalog.digest != after.catalog.digest,
        planner: Change { before: before.planner.clone(), after: after.planner.clone() },
        policy: Change { before: before.policy.clone(), after: after.policy.clone() },
    }
}

/// The kinds that changed, and how many launches did not.
fn compare_launches(before: &Plan, after: &Plan) -> (Vec<LaunchChange>, u64) {
    let (old, new) = (groups::by_kind(&before.launches), groups::by_kind(&after.launches));
    let kinds: BTreeSet<&Kind> = old.keys().chain(new.keys()).collect();
    let none = Group::default();
    let mut changes = Vec::new();
    let mut unchanged = 0;
    for kind in kinds {
        let (was, is) = (old.get(kind).unwrap_or(&none), new.get(kind).unwrap_or(&none));
        if was.nodes == is.nodes && was.cost == is.cost {
            unchanged += is.nodes;
            continue;
        }
        let Kind { node_pool, instance_type, zone, capacity_type } = kind.clone();
        changes.push(LaunchChange {
            node_pool,
            instance_type,
            zone,
            capacity_type,
            nodes: Change { before: was.nodes, after: is.nodes },
            cost: Change { before: was.cost, after: is.cost },
            pods: Change { before: was.pods, after: is.pods },
        });
    }
    // Stable: equal differences stay in the order of the kinds.
    changes.sort_by_key(|change| std::cmp::Reverse((change.cost.after.0 - change.cost.before.0).abs()));
    (changes, unchanged)
}

/// Nodes that go in one plan and not in the other, or for another reason.
fn compare_decisions(before: &Plan, after: &Plan) -> Vec<DecisionChange> {
    let of = |plan: &'_ Plan| -> BTreeMap<String, NodeDecision> {
        let nodes = plan.consolidation.iter().flat_map(|stated| &stated.nodes);
        nodes.map(|one| (one.node.clone(), one.clone())).collect()
    };
    let (old, new) = (of(before), of(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let change = |name: &String| {
        let (was, is) = (old.get(name), new.get(name));
        let reason = Change { before: was.map(|one| one.reason), after: is.map(|one| one.reason) };
        let goes = |reason: Option<NodeReason>| reason.is_some_and(NodeReason::is_removal);
        (reason.is_change() && (goes(reason.before) || goes(reason.after))).then(|| DecisionChange {
            node: name.clone(),
            reason,
            departure: is.and_then(|one| one.departure.clone()),
        })
    };
    names.into_iter().filter_map(change).collect()
}

/// The nodes that changed, and how many did not.
fn compare_existing(before: &Plan, after: &Plan) -> (Vec<NodeChange>, u64) {
    let by_name = |plan: &'_ Plan| -> BTreeMap<String, ExistingNode> {
        plan.existing.iter().map(|node| (node.name.clone(), node.clone())).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let mut changes = Vec::new();
    let mut unchanged = 0;
    for name in names {
        let pods = |nodes: &BTreeMap<String, ExistingNode>| -> BTreeSet<String> {
            let pods = nodes.get(name).map(|node| node.pods.iter());
            pods.into_iter().flatten().map(|pod| pod.0.clone()).collect()
        };
        let (was, is) = (pods(&old), pods(&new));
        if was == is {
            unchanged += 1;
            continue;
        }
        changes.push(NodeChange {
            node: name.clone(),
            pods: Change { before: was.len() as u64, after: is.len() as u64 },
            pods_new: is.difference(&was).count() as u64,
        });
    }
    (changes, unchanged)
}
