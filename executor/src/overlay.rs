//! The cluster as it will be when everything in flight has arrived: what the planner gets to see.

use crate::request::PlanInput;
use crate::statics;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef, Taint, TaintEffect};
use stowage_models::quantity::MEMORY;
use stowage_models::snapshot::Snapshot;

/// What the planner gets.
#[derive(Clone, Debug)]
pub struct PlanningView {
    /// The snapshot with machines in flight as nodes, and their pods on them.
    pub snapshot: Snapshot,
    /// The catalogue without what is missing.
    pub catalog: Catalog,
    /// Pods that were taken out, with the reason.
    pub left_out: Vec<(PodRef, String)>,
}

const MIB: i64 = 1 << 20;
/// Capacity type of a price on demand.
const ON_DEMAND: &str = "on-demand";

/// The cluster as it will be. Machines in flight are nodes that are ready and kept for their pods: their room is spoken
/// for, their capacity counts against limits.
#[must_use]
pub fn planning_view(snapshot: &Snapshot, catalog: &Catalog, input: &PlanInput) -> PlanningView {
    let mut snapshot = snapshot.clone();
    for flight in &input.in_flight {
        let name = match &flight.node {
            Some(node) => node.clone(),
            None => {
                let name = flight.claim.clone();
                let mut labels = flight.labels.clone();
                labels.insert(labels::NODEPOOL.to_owned(), flight.pool.clone());
                snapshot.nodes.push(Node {
                    name: name.clone(),
                    labels,
                    taints: flight.taints.clone(),
                    capacity: flight.capacity.clone(),
                    allocatable: flight.allocatable.clone(),
                    ready: true,
                    ..Node::default()
                });
                snapshot.node_claims.retain(|claim| claim.name != name);
                name
            }
        };
        for planned in &flight.pods {
            let found = snapshot.pods.iter_mut().find(|pod| pod.id() == planned.id);
            if let Some(pod) = found.filter(|pod| pod.uid.as_deref() == Some(&planned.uid)) {
                pod.node = Some(name.clone());
            }
        }
    }
    leave(&mut snapshot, input);
    let mut left_out = Vec::new();
    if !input.returns.is_empty() {
        // A plan waits for approval as a whole: pods that wait are planned for by themselves.
        snapshot.pods.retain(|pod| !pod.is_pending());
    }
    snapshot.pods.retain(|pod| {
        let reason = if pod.is_pending() { input.hopeless.get(&pod.id()) } else { None };
        left_out.extend(reason.map(|reason| (pod.id(), reason.clone())));
        reason.is_none()
    });
    statics::expand(&mut snapshot, &input.statics);
    snapshot.normalise();
    let mut catalog = without(catalog, input);
    correct(&mut catalog, &snapshot, input);
    PlanningView { snapshot, catalog, left_out }
}

/// Nodes that are to go take no pods, and their pods are where they are to go.
fn leave(snapshot: &mut Snapshot, input: &PlanInput) {
    for node in snapshot.nodes.iter_mut().filter(|node| input.leaving.contains(&node.name)) {
        if node.taints.iter().all(|taint| taint.key != labels::TAINT_DISRUPTED) {
            let key = labels::TAINT_DISRUPTED.to_owned();
            node.taints.push(Taint { key, value: String::new(), effect: TaintEffect::NoSchedule });
        }
    }
    let there: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    let moving = input.moving.iter().filter(|one| there.contains(one.to.as_str()));
    let moving: BTreeMap<(&PodRef, &str), &String> =
        moving.map(|one| ((&one.id, one.uid.as_str()), &one.to)).collect();
    if moving.is_empty() {
        return;
    }
    for pod in &mut snapshot.pods {
        let uid = pod.uid.as_deref().unwrap_or_default();
        if let Some(to) = moving.get(&(&pod.id(), uid)) {
            pod.node = Some((*to).clone());
        }
    }
}

/// The catalogue without offerings that have no capacity, and with what nodes have turned out to be.
fn without(catalog: &Catalog, input: &PlanInput) -> Catalog {
    let mut catalog = catalog.clone();
    let missing = |name: &str, zone: &str, capacity: &str| {
        input.missing.contains(&(name.to_owned(), zone.to_owned(), capacity.to_owned()))
    };
    for one in &mut catalog.types {
        let name = one.name.clone();
        for offer in &mut one.zones {
            if missing(&name, &offer.zone, "spot") {
                offer.spot = None;
            }
        }
        // The catalogue has one price on demand for all zones, so a zone that lacks it is left out as a whole, its spot
        // offering included: cautious for the minutes until it is tried again.
        one.zones.retain(|offer| !missing(&name, &offer.zone, ON_DEMAND));
    }
    catalog
}

/// Steps of one MiB after the first correction; rounding takes one or two.
const STEPS_MAX: u32 = 64;

/// Lowers the memory of types whose nodes turned out smaller, until the catalogue promises no more than they have.
fn correct(catalog: &mut Catalog, snapshot: &Snapshot, input: &PlanInput) {
    for ((class, name), real) in &input.smaller {
        let Some(class) = snapshot.node_classes.iter().find(|one| one.name == *class) else { continue };
        let Some(one) = catalog.types.iter_mut().find(|one| one.name == *name) else { continue };
        let Some(real) = real.0.get(MEMORY) else { continue };
        let short = |one: &InstanceType| {
            one.allocatable(&snapshot.settings, class).get(MEMORY).saturating_sub(*real).max(0)
        };
        let mut steps = 0;
        while short(one) > 0 && one.memory_mib > 0 && steps < STEPS_MAX {
            let mib = u32::try_from(short(one) / MIB).unwrap_or(u32::MAX).max(1);
            one.memory_mib = one.memory_mib.saturating_sub(mib);
            steps += 1;
        }
    }
}
