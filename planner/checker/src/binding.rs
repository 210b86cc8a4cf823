//! Whether kube-scheduler can bind every pod where the plan puts it (formulation, section 2.3).

use crate::filters::{Place, World, realise_in_any_order};
use crate::finding::{Findings, code};
use crate::ledger::{Ledger, by_domain};
use crate::problem::Problem;
use std::collections::BTreeMap;
use stowage_models::labels::HOSTNAME;
use stowage_models::objects::{Owner, Pod, PodRef};
use stowage_models::plan::{Launch, Plan};
use stowage_models::snapshot::Snapshot;

/// Findings on pods that cannot be bound at most; the first say it all.
const FINDINGS_MAX: usize = 20;

/// Findings on places that no constraint between pods is to blame for.
const PLACED_WRONG: [&str; 7] = [
    code::CAPACITY,
    code::DUPLICATE_POD,
    code::MATCH,
    code::NODE_CLOSED,
    code::OFFERING,
    code::UNKNOWN_POD,
    code::UNSUPPORTED_PLACED,
];

/// A group that is split has a feasible split.
fn check_splits(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    for (group, pods) in by_domain(problem, plan, ledger).into_iter().enumerate() {
        let Some(split) = &problem.reach[group].split else { continue };
        if ledger.placed[group] > 0 && !split.is_feasible(&pods) {
            let (first, key) = (&problem.pods.groups[group].first, problem.topology[split.key]);
            let domains: Vec<(&String, u64, u64)> = split
                .domains
                .iter()
                .zip(&split.existing)
                .zip(&pods)
                .map(|((name, old), new)| (name, *old, *new))
                .collect();
            findings.add(
                code::CONSTRAINT,
                format!("pods like {first} are spread by {key} beyond a skew of {}: (domain, running, planned) {domains:?}", split.max_skew),
            );
        }
    }
}

/// Pods of DaemonSets as their controller makes them, in the snapshot's order.
pub(crate) fn daemon_pods(snapshot: &Snapshot) -> Vec<Pod> {
    let pod = |set: &stowage_models::objects::DaemonSet| Pod {
        namespace: set.namespace.clone(),
        name: set.name.clone(),
        labels: set.labels.clone().into(),
        owner: Some(Owner { kind: "DaemonSet".to_owned(), name: set.name.clone() }.into()),
        spec: set.spec.clone().into(),
        ..Pod::default()
    };
    snapshot.daemon_sets.iter().map(pod).collect()
}

/// The node that a launch becomes, with the pods of DaemonSets on it; `None` if nothing of the kind is offered.
pub(crate) fn launched<'a>(problem: &Problem<'_>, launch: &Launch, daemons: &'a [Pod]) -> Option<Place<'a>> {
    let key = (
        launch.node_pool.as_str(),
        launch.instance_type.as_str(),
        launch.zone.as_str(),
        launch.capacity_type.as_str(),
        &launch.labels,
    );
    let offering = &problem.offerings.list[problem.offerings.find(&problem.pools, key)?];
    let kind = &problem.offerings.kinds[offering.kind];
    let mut labels = problem.offerings.labels(problem.region, &problem.pools, offering);
    // No node that exists is called so: a slash is in no node's name.
    let name = format!("planned/{}", launch.slot);
    labels.insert(HOSTNAME.to_owned(), name.clone());
    let taints = problem.pools[kind.pool].pool.taints.clone();
    let allocatable = problem.offerings.facts[kind.facts].allocatable.clone();
    let mut place = Place::new(&name, labels, taints, allocatable);
    problem.offerings.classes[kind.class].carries.iter().for_each(|set| place.bind(&daemons[*set]));
    Some(place)
}

/// Splits are feasible, and every pod of the plan can be bound where it is meant to go, in some order.
pub(crate) fn check(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    check_nodes(problem, plan, ledger, false, findings);
}

/// The same of the pods of launches alone: those on nodes that exist are bound first, as far as they can be, and nothing is said of them.
pub(crate) fn check_launches(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    check_nodes(problem, plan, ledger, true, findings);
}

fn check_nodes(
    problem: &Problem<'_>,
    plan: &Plan,
    ledger: &Ledger,
    launches_only: bool,
    findings: &mut Findings,
) {
    if !(0..problem.pods.groups.len()).any(|group| problem.is_constrained(group)) {
        return;
    }
    // What is said of such a plan already would be said again in other words.
    if findings.0.iter().any(|finding| PLACED_WRONG.contains(&finding.code)) {
        return;
    }
    check_splits(problem, plan, ledger, findings);
    let snapshot = problem.snapshot;
    let pods: BTreeMap<PodRef, &Pod> =
        snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| (pod.id(), pod)).collect();
    let daemons = daemon_pods(snapshot);
    let claims: Vec<_> = pods.values().flat_map(|pod| problem.storage.claims_to_come(pod)).collect();
    let mut world = World::of(snapshot);
    world.add_claims(&claims);
    let place_of: BTreeMap<String, usize> =
        world.places.iter().enumerate().map(|(index, place)| (place.name.clone(), index)).collect();
    for bin in &problem.nodes {
        // Pods wait for what goes when the node has started.
        world.places[place_of[&bin.node.name]].taints = crate::nodes::taints(snapshot, bin.node);
        for set in &bin.missing {
            world.places[place_of[&bin.node.name]].bind(&daemons[*set]);
        }
    }
    let mut assignments: Vec<(&Pod, usize)> = Vec::new();
    for stated in &plan.existing {
        let Some(place) = place_of.get(&stated.name) else { continue };
        assignments.extend(stated.pods.iter().filter_map(|pod| Some((*pods.get(pod)?, *place))));
    }
    let existing = world.places.len();
    for launch in &plan.launches {
        let Some(place) = launched(problem, launch, &daemons) else { continue };
        world.places.push(place);
        let place = world.places.len() - 1;
        assignments.extend(launch.pods.iter().filter_map(|pod| Some((*pods.get(pod)?, place))));
    }
    let mut stuck = realise_in_any_order(&mut world, &assignments);
    stuck.retain(|one| !launches_only || assignments[one.assignment].1 >= existing);
    for one in stuck.iter().take(FINDINGS_MAX) {
        let (pod, place) = assignments[one.assignment];
        let node = world.places[place].name.trim_start_matches("planned/");
        findings
            .add(code::CONSTRAINT, format!("{node}: pod {} cannot be bound: {}", pod.id(), one.rejection));
    }
    if stuck.len() > FINDINGS_MAX {
        let more = stuck.len() - FINDINGS_MAX;
        findings.add(code::CONSTRAINT, format!("{more} more pods cannot be bound where the plan puts them"));
    }
}
