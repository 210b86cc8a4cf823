//! Between waves (formulation, section 5.4): what a wave evicts can be bound where it is to go once its nodes are gone, whatever pods ask of
//! each other.

use super::rules::Subject;
use crate::binding::{daemon_pods, launched};
use crate::filters::{World, realise_in_any_order};
use crate::finding::{Findings, code};
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::Consolidation;
use stowage_models::objects::{Pod, PodRef};
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;

/// Findings of one wave at most.
const FINDINGS_MAX: usize = 5;

/// Whether anything is asked about where a pod is beside others, by itself or by required anti-affinity of any pod.
fn is_choosy(pod: &Pod) -> bool {
    let (spec, mut ports) = (&pod.spec, 0);
    for container in spec.containers.iter().chain(&spec.init_containers) {
        ports += container.host_ports.len();
    }
    let terms = spec.affinity.pod_required.len() + spec.affinity.anti_required.len();
    ports + terms > 0 || spec.topology_spread.iter().any(|spread| spread.hard)
}

/// Judges every wave but the last, after which the cluster is as the whole plan says. `problem` is that of this last state.
pub(crate) fn check<'p>(
    snapshot: &Snapshot,
    (plan, stated): (&Plan, &Consolidation),
    subjects: &[Subject<'_>],
    problem: impl FnOnce() -> Problem<'p>,
    findings: &mut Findings,
) {
    let mut alive = snapshot.pods.iter().filter(|pod| !pod.is_terminal());
    if stated.waves.len() < 2 || !alive.any(is_choosy) {
        return;
    }
    let problem = &problem();
    let pods: BTreeMap<PodRef, &Pod> = snapshot.pods.iter().map(|pod| (pod.id(), pod)).collect();
    let by_force: BTreeSet<&str> =
        subjects.iter().filter(|one| one.is_forced()).map(|one| one.node.name.as_str()).collect();
    let goes_to: BTreeMap<&PodRef, (&str, &str)> =
        stated.moves.iter().map(|one| (&one.pod, (one.from.as_str(), one.to.as_str()))).collect();
    // What waits and has a place, and what was evicted: by pod the place it is to start in.
    let mut waits: BTreeMap<&PodRef, &str> = BTreeMap::new();
    for launch in &plan.launches {
        waits.extend(launch.pods.iter().map(|pod| (pod, launch.slot.as_str())));
    }
    for node in &plan.existing {
        waits.extend(node.pods.iter().map(|pod| (pod, node.name.as_str())));
    }
    waits.retain(|pod, _| !goes_to.contains_key(pod));
    let daemons = daemon_pods(snapshot);
    let movers = waits.keys().chain(goes_to.keys()).filter_map(|pod| pods.get(*pod));
    let claims: Vec<_> = movers.flat_map(|pod| problem.storage.claims_to_come(pod)).collect();
    let mut world = start(snapshot, subjects);
    world.add_claims(&claims);
    world.know(pods.values().copied().chain(&daemons));
    let mut place_of = places_by_name(&world);
    for (index, wave) in stated.waves[..stated.waves.len() - 1].iter().enumerate() {
        for pod in &wave.evictions {
            waits.extend(goes_to.get(pod).map(|(_, to)| (pod, *to)));
            // What the plan says of where it is was judged before; this is where it is.
            let Some(found) = pods.get(pod) else { continue };
            let on_it = found.node.as_ref().and_then(|node| place_of.get(node));
            on_it.into_iter().for_each(|place| world.places[*place].release(found));
        }
        world.places.retain(|place| !wave.removals.contains(&place.name));
        let new = plan.launches.iter().filter(|launch| wave.launches.contains(&launch.slot));
        world.places.extend(new.filter_map(|launch| launched(problem, launch, &daemons)));
        place_of = places_by_name(&world);
        let wanted: Vec<(&PodRef, &str, usize)> = waits
            .iter()
            .filter_map(|(pod, place)| Some((*pod, *place, *place_of.get(*place)?)))
            .filter(|(pod, ..)| pods.contains_key(*pod))
            .collect();
        if wanted.is_empty() {
            continue;
        }
        let assignments: Vec<(&Pod, usize)> =
            wanted.iter().map(|(pod, _, place)| (pods[*pod], *place)).collect();
        let stuck = realise_in_any_order(&mut world, &assignments);
        let must = |pod: &PodRef| {
            wave.evictions.contains(pod) && goes_to.get(pod).is_some_and(|(from, _)| !by_force.contains(from))
        };
        let wrong = stuck.iter().filter(|one| must(wanted[one.assignment].0));
        for one in wrong.take(FINDINGS_MAX) {
            let (pod, place, _) = wanted[one.assignment];
            let message =
                format!("wave {}: {place}: pod {pod} cannot be bound after it: {}", index + 1, one.rejection);
            findings.add(code::WAVE, message);
        }
        let stuck: BTreeSet<usize> = stuck.iter().map(|one| one.assignment).collect();
        for (at, (pod, _, place)) in wanted.iter().enumerate() {
            if stuck.contains(&at) {
                // It may be bound, but only as long as others are not there: it waits all the same.
                world.places[*place].release(pods[*pod]);
            } else {
                waits.remove(pod);
            }
        }
    }
}

/// Positions of places. A slot is called by its own name in moves.
fn places_by_name(world: &World<'_>) -> BTreeMap<String, usize> {
    let places = world.places.iter().enumerate();
    places
        .map(|(at, place)| (place.name.strip_prefix("planned/").unwrap_or(&place.name).to_owned(), at))
        .collect()
}

/// The cluster before the first wave. Nodes that have to go take no more pods.
fn start<'a>(snapshot: &'a Snapshot, subjects: &[Subject<'_>]) -> World<'a> {
    let due = subjects.iter().filter(|one| one.due.departure().is_some());
    let due: BTreeSet<&str> = due.map(|one| one.node.name.as_str()).collect();
    let mut world = World::of(snapshot);
    for (place, node) in world.places.iter_mut().zip(&snapshot.nodes) {
        place.unschedulable |= due.contains(node.name.as_str());
        place.taints = crate::nodes::taints(snapshot, node);
    }
    world
}
