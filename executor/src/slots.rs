//! Slots: a node is kept for the pods it was planned for, until they are there or time is up.

use crate::accept::SLOT_TAINT;
use crate::claims::node_of;
use crate::request::{InFlight, Request};
use crate::state::State;
use crate::time::SLOT_TIMEOUT;
use crate::view::{Claim, Node, Observation, PlannedPod};
use std::collections::BTreeSet;

/// Lets the claim's pods onto its node, and opens the node to others when they are there.
pub(crate) fn tend(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if claim.deleting {
        return;
    }
    let over = state.slots_over.contains(&claim.name);
    if !claim.slot.is_empty() && !over {
        for planned in &claim.pods {
            let Some(pod) = waiting(seen, planned) else { continue };
            if !pod.slots.contains(&claim.slot) {
                let (pod, slot) = (planned.clone(), claim.slot.clone());
                state.ask(Request::Tolerate { pod, slot }, seen.now, requests);
            }
        }
    }
    let (Some(initialized), Some(instance)) = (claim.initialized, claim.instance.as_deref()) else { return };
    let Some(node) = node_of(seen, instance) else { return };
    let left: Vec<&PlannedPod> = claim.pods.iter().filter(|pod| waiting(seen, pod).is_some()).collect();
    let late = seen.now.since(initialized) >= SLOT_TIMEOUT;
    if !over && (left.is_empty() || late) {
        state.slots_over.insert(claim.name.clone());
        for planned in left {
            let let_in = waiting(seen, planned).is_some_and(|pod| pod.slots.contains(&claim.slot));
            if is_kept(claim, node) && let_in {
                // The node was its own for all that time.
                state.lessons.did_not_fit(&planned.uid, &planned.id);
            } else {
                // Somebody else took the place, or a restart lies between.
                state.settle(&planned.uid, seen.now);
            }
        }
    }
    if state.slots_over.contains(&claim.name) && is_kept(claim, node) {
        let (node, slot) = (node.name.clone(), claim.slot.clone());
        state.ask(Request::OpenNode { node, slot }, seen.now, requests);
    }
}

fn is_kept(claim: &Claim, node: &Node) -> bool {
    !claim.slot.is_empty()
        && node.taints.iter().any(|taint| taint.key == SLOT_TAINT && taint.value == claim.slot)
}

/// The pod, if it is the one that was planned and still waits.
fn waiting<'a>(seen: &'a Observation, planned: &PlannedPod) -> Option<&'a crate::view::Pod> {
    seen.pods.get(&planned.id).filter(|pod| pod.uid == planned.uid && pod.pending)
}

/// Whether the claim still speaks for its pods.
fn is_live(state: &State, seen: &Observation, claim: &Claim) -> bool {
    if claim.deleting || state.slots_over.contains(&claim.name) {
        return false;
    }
    let Some(initialized) = claim.initialized else { return true };
    seen.now.since(initialized) < SLOT_TIMEOUT
}

/// Uids of pods that a machine is being launched for.
pub(crate) fn covered(state: &State, seen: &Observation) -> BTreeSet<String> {
    let claims = seen.claims.values().filter(|claim| claim.ours && is_live(state, seen, claim));
    let drafts = state.drafts.values().map(|(draft, _)| &draft.intent.pods);
    claims.map(|claim| &claim.pods).chain(drafts).flatten().map(|pod| pod.uid.clone()).collect()
}

/// Machines that are being launched, for the planner.
pub(crate) fn in_flight(state: &State, seen: &Observation) -> Vec<InFlight> {
    let claims =
        seen.claims.values().filter(|claim| claim.ours && is_live(state, seen, claim)).map(|claim| {
            let node = claim.instance.as_deref().and_then(|instance| node_of(seen, instance));
            InFlight {
                claim: claim.name.clone(),
                pool: claim.pool.clone(),
                labels: claim.labels.clone(),
                taints: claim.taints.clone(),
                capacity: claim.capacity.clone(),
                allocatable: claim.allocatable.clone(),
                pods: claim.pods.iter().filter(|pod| waiting(seen, pod).is_some()).cloned().collect(),
                node: node.map(|node| node.name.clone()),
            }
        });
    let drafts = state.drafts.values().map(|(draft, _)| InFlight {
        claim: draft.name.clone(),
        pool: draft.intent.pool.clone(),
        labels: draft.intent.labels.clone(),
        taints: draft.intent.taints.clone(),
        capacity: draft.intent.capacity.clone(),
        allocatable: draft.intent.allocatable.clone(),
        pods: draft.intent.pods.clone(),
        node: None,
    });
    claims.chain(drafts).collect()
}
