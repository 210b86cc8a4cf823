//! Spot nodes are not replaced by the next cheaper spot type alone: there have to be enough types to choose from
//! (`docs/formulation.md` section 5.6).

use super::Candidate;
use super::rules::Verdict;
use crate::PlanError;
use crate::extract::{Substitutes, capacity_type};
use crate::offerings::CAPACITY_TYPES;
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;

/// No limit is in the way of a type that might be chosen.
const NO_LIMIT: i64 = i64::MAX / 4;

fn is_spot(node: &Node) -> bool {
    capacity_type(node).is_some_and(|own| own == "spot")
}

/// Nodes (indices) that the candidate replaces one to one, spot by spot, with too few cheaper types to choose from.
pub(super) fn rigid<'s>(
    snapshot: &Snapshot,
    after: &'s Snapshot,
    (_, planned, moves, _): &Candidate,
    verdicts: &[Verdict],
    problem: impl FnOnce(&'s Snapshot) -> Result<Problem<'s>, PlanError>,
) -> Result<BTreeSet<usize>, PlanError> {
    let plan = &planned.plan;
    let wanted = plan.policy.consolidation.as_ref();
    let least = wanted.map_or(0, |wanted| wanted.spot_types_min) as usize;
    let swaps = if least == 0 { Vec::new() } else { swaps(snapshot, plan, moves, verdicts) };
    if swaps.is_empty() {
        return Ok(BTreeSet::new());
    }
    let problem = problem(after)?;
    let group_of: BTreeMap<PodRef, u32> = (0..problem.groups.len() as u32)
        .flat_map(|g| problem.groups[g as usize].whole.iter().map(move |pod| (*pod, g)))
        .map(|(pod, g)| (problem.pod_ref(pod), g))
        .collect();
    let is_rigid = |(node, launch): &(usize, &Launch)| {
        types(&problem, &group_of, launch, verdicts[*node].price.unwrap_or(0)) < least
    };
    Ok(swaps.iter().filter(|swap| is_rigid(swap)).map(|(node, _)| *node).collect())
}

/// Spot nodes that go for their cost and whose pods go to one launch, a spot node, which takes pods of no other node and none that wait.
fn swaps<'p>(
    snapshot: &Snapshot,
    plan: &'p Plan,
    moves: &[stowage_models::consolidation::Move],
    verdicts: &[Verdict],
) -> Vec<(usize, &'p Launch)> {
    let from_of: BTreeMap<&PodRef, &str> = moves.iter().map(|one| (&one.pod, one.from.as_str())).collect();
    // The one node that all pods of each launch come from.
    let mut of: BTreeMap<&str, Vec<(&Launch, bool)>> = BTreeMap::new();
    for launch in &plan.launches {
        let froms: BTreeSet<Option<&str>> = launch.pods.iter().map(|pod| from_of.get(pod).copied()).collect();
        let is_alone = froms.len() == 1 && launch.capacity_type == "spot";
        froms.into_iter().flatten().for_each(|from| of.entry(from).or_default().push((launch, is_alone)));
    }
    let nodes = snapshot.nodes.iter().enumerate();
    nodes
        .filter(|(index, node)| verdicts[*index].is_free() && is_spot(node))
        .filter_map(|(index, node)| match of.get(node.name.as_str())?.as_slice() {
            [(launch, true)] => Some((index, *launch)),
            _ => None,
        })
        .collect()
}

/// Instance types that could do for a launch, each as spot for less than `price`.
fn types(problem: &Problem<'_>, group_of: &BTreeMap<PodRef, u32>, launch: &Launch, price: i64) -> usize {
    let is_launch = |o: &usize| {
        let offering = &problem.offerings[*o];
        let kind = &problem.catalog.types[offering.instance_type as usize];
        problem.pool(offering).name == launch.node_pool
            && kind.name == launch.instance_type
            && kind.zones[offering.zone as usize].zone == launch.zone
            && CAPACITY_TYPES[offering.capacity_type as usize] == launch.capacity_type
            && *offering.variant == launch.labels
    };
    let Some(index) = (0..problem.offerings.len()).find(is_launch) else { return 0 };
    let mut pattern: BTreeMap<u32, i64> = BTreeMap::new();
    for pod in &launch.pods {
        let Some(group) = group_of.get(pod) else { return 0 };
        *pattern.entry(*group).or_default() += 1;
    }
    let pattern: Vec<(u32, i64)> = pattern.into_iter().collect();
    let limits = vec![NO_LIMIT; problem.limits.len()];
    let stands_in = Substitutes::new(problem, &limits, (index, &pattern));
    let does = |o: &usize| {
        let offering = &problem.offerings[*o];
        offering.price < price
            && CAPACITY_TYPES[offering.capacity_type as usize] == "spot"
            && (*o == index || stands_in.may(*o))
    };
    let types: BTreeSet<u32> =
        (0..problem.offerings.len()).filter(does).map(|o| problem.offerings[o].instance_type).collect();
    types.len()
}
