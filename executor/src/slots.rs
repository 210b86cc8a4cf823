//! Slots: a node is kept for the pods it was planned for, until they are there or time is up.

use crate::accept::SLOT_TAINT;
use crate::claims::node_of;
use crate::request::{InFlight, Request};
use crate::state::State;
use crate::view::{Claim, Node, Observation, PlannedPod};
use std::collections::{BTreeMap, BTreeSet};

/// Lets the claim's pods onto its node, and opens the node to others when they are there.
pub(crate) fn tend(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    if claim.deleting {
        return;
    }
    let over = state.slots_over.contains(&claim.name);
    if !claim.slot.is_empty() && !over {
        for planned in &claim.pods {
            let Some(pod) = real(seen, planned) else { continue };
            let planned = planned.clone();
            match place(seen, claim) {
                Place::Kept(node) if planned.direct => {
                    let node = node.to_owned();
                    state.ask(Request::Bind { pod: planned, node }, seen.now, requests);
                }
                Place::None if planned.direct => {}
                _ if pod.slots.contains(&claim.slot) => {}
                _ => {
                    let slot = claim.slot.clone();
                    state.ask(Request::Tolerate { pod: planned, slot }, seen.now, requests);
                }
            }
        }
    }
    let (Some(initialized), Some(instance)) = (claim.initialized, claim.instance.as_deref()) else { return };
    let Some(node) = node_of(seen, instance) else { return };
    let left: Vec<&PlannedPod> = claim.pods.iter().filter(|pod| real(seen, pod).is_some()).collect();
    let late = seen.now.since(initialized) >= state.settings.slot_timeout;
    if !over && ((left.is_empty() && !is_wanted(state, seen, claim)) || late) {
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

/// Opens the node of a claim to all pods, now.
pub(crate) fn open(state: &mut State, seen: &Observation, claim: &Claim, requests: &mut Vec<Request>) {
    let Some(node) = node_of(seen, claim.instance.as_deref().unwrap_or_default()) else { return };
    if is_kept(claim, node) {
        state.slots_over.insert(claim.name.clone());
        let (node, slot) = (node.name.clone(), claim.slot.clone());
        state.ask(Request::OpenNode { node, slot }, seen.now, requests);
    }
}

/// Where pods of a claim can be bound to.
enum Place<'a> {
    /// Its node is not there yet, or not ready for pods.
    None,
    /// Its node, as it was promised, and kept for them.
    Kept(&'a str),
    /// Its node is smaller than promised, or open to others: whether a pod has room there is for the scheduler to say.
    Other,
}

fn place<'a>(seen: &'a Observation, claim: &Claim) -> Place<'a> {
    let (Some(_), Some(instance)) = (claim.initialized, claim.instance.as_deref()) else {
        return Place::None;
    };
    match node_of(seen, instance) {
        Some(node) if !node.ready || node.deleting => Place::None,
        Some(node) if is_kept(claim, node) && claim.allocatable.fits(&node.allocatable) => {
            Place::Kept(&node.name)
        }
        Some(_) => Place::Other,
        None => Place::None,
    }
}

/// Whether a pod of the same plan still waits for its own slot: on a node that is open it would find room meanwhile, and the
/// node planned for it would stay half empty.
fn is_wanted(state: &State, seen: &Observation, claim: &Claim) -> bool {
    seen.claims.values().any(|other| {
        other.ours
            && other.plan == claim.plan
            && other.name != claim.name
            && is_live(state, seen, other)
            && other.pods.iter().any(|pod| real(seen, pod).is_some())
    })
}

fn is_kept(claim: &Claim, node: &Node) -> bool {
    !claim.slot.is_empty()
        && node.taints.iter().any(|taint| taint.key == SLOT_TAINT && taint.value == claim.slot)
}

/// The pod, if it is the one that was planned and still waits.
fn waiting<'a>(seen: &'a Observation, planned: &PlannedPod) -> Option<&'a crate::view::Pod> {
    seen.pods.get(&planned.id).filter(|pod| pod.uid == planned.uid && pod.pending)
}

/// The same, if somebody will bind it.
fn real<'a>(seen: &'a Observation, planned: &PlannedPod) -> Option<&'a crate::view::Pod> {
    waiting(seen, planned).filter(|pod| !pod.is_virtual)
}

/// Whether the claim still speaks for its pods.
fn is_live(state: &State, seen: &Observation, claim: &Claim) -> bool {
    if claim.deleting {
        return false;
    }
    if state.slots_over.contains(&claim.name) {
        // Room that nobody takes is not there for plans until the node is seen open: it would be launched once more.
        let node = node_of(seen, claim.instance.as_deref().unwrap_or_default());
        let stands_for_room =
            || claim.pods.iter().any(|pod| waiting(seen, pod).is_some_and(|pod| pod.is_virtual));
        return node.is_some_and(|node| is_kept(claim, node)) && stands_for_room();
    }
    let Some(initialized) = claim.initialized else { return true };
    seen.now.since(initialized) < state.settings.slot_timeout
}

/// Uids of pods that a machine is being launched for.
pub(crate) fn covered(state: &State, seen: &Observation) -> BTreeSet<String> {
    cared_for(state, seen).into_keys().map(str::to_owned).collect()
}

/// The same, with the plan of that machine.
pub(crate) fn cared_for<'a>(state: &'a State, seen: &'a Observation) -> BTreeMap<&'a str, &'a str> {
    let claims = seen.claims.values().filter(|claim| claim.ours && is_live(state, seen, claim));
    let claims = claims.map(|claim| (&claim.plan, &claim.pods));
    let drafts = state.drafts.values().map(|(draft, _)| (&draft.plan, &draft.intent.pods));
    let pods = claims.chain(drafts).flat_map(|(plan, pods)| pods.iter().map(move |pod| (plan.as_str(), pod)));
    let coming = state.course.iter().flat_map(|course| course.pods());
    coming.chain(pods).map(|(plan, pod)| (pod.uid.as_str(), plan)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Time;
    use crate::view::Pod;
    use stowage_models::objects::{PodRef, Taint, TaintEffect};

    /// Two nodes of a plan, a pod each; the pod of the second is there or not.
    fn seen(second: Option<&str>) -> Observation {
        let mut seen = Observation { now: Time(1_000), ..Observation::default() };
        for (number, on) in [("1", Some("node-1")), ("2", second)] {
            let id = PodRef(format!("default/pod-{number}"));
            let uid = format!("uid-{number}");
            let slot = format!("new-{number}");
            let claim = Claim {
                name: format!("claim-{number}"),
                ours: true,
                plan: "plan".to_owned(),
                slot: slot.clone(),
                pods: vec![PlannedPod { id: id.clone(), uid: uid.clone(), direct: false }],
                instance: Some(format!("i-{number}")),
                initialized: Some(Time(0)),
                ..Claim::default()
            };
            seen.claims.insert(claim.name.clone(), claim);
            let taint =
                Taint { key: SLOT_TAINT.to_owned(), value: slot.clone(), effect: TaintEffect::NoSchedule };
            let node = Node {
                name: format!("node-{number}"),
                instance: Some(format!("i-{number}")),
                ready: true,
                taints: vec![taint],
                ..Node::default()
            };
            seen.nodes.insert(node.name.clone(), node);
            let node = on.map(str::to_owned);
            seen.pods
                .insert(id, Pod { uid, pending: on.is_none(), node, slots: [slot].into(), ..Pod::default() });
        }
        seen
    }

    fn opened(seen: &Observation) -> Vec<String> {
        let (mut state, mut requests) = (State::default(), Vec::new());
        seen.claims.values().for_each(|claim| tend(&mut state, seen, claim, &mut requests));
        let node = |request| match request {
            Request::OpenNode { node, .. } => Some(node),
            _ => None,
        };
        requests.into_iter().filter_map(node).collect()
    }

    #[test]
    fn a_node_stays_closed_while_a_pod_of_the_plan_could_still_stray_there() {
        assert_eq!(opened(&seen(None)), Vec::<String>::new());
        assert_eq!(opened(&seen(Some("node-2"))), ["node-1", "node-2"]);
        // But not for ever.
        let mut late = seen(None);
        late.now = Time(crate::time::SLOT_TIMEOUT);
        assert_eq!(opened(&late), ["node-1", "node-2"]);
    }

    /// A node that was launched for room alone, kept for it or open.
    fn room(kept: bool) -> Observation {
        let mut seen = seen(None);
        seen.claims.remove("claim-1");
        seen.nodes.remove("node-1");
        seen.pods.remove(&PodRef("default/pod-1".to_owned()));
        seen.pods.values_mut().for_each(|pod| {
            pod.is_virtual = true;
            pod.slots.clear();
        });
        if !kept {
            seen.nodes.values_mut().for_each(|node| node.taints.clear());
        }
        seen
    }

    #[test]
    fn nobody_waits_for_pods_that_stand_for_room() {
        let seen = room(true);
        let (mut state, mut requests) = (State::default(), Vec::new());
        seen.claims.values().for_each(|claim| tend(&mut state, &seen, claim, &mut requests));
        // They are let in nowhere and bound nowhere; the node is for whoever comes.
        assert!(
            matches!(&requests[..], [Request::OpenNode { node, .. }] if node == "node-2"),
            "{requests:?}"
        );
        // Until it is seen open, the room is spoken for: nothing is launched for it again.
        assert_eq!(covered(&state, &seen), ["uid-2".to_owned()].into());
        assert_eq!(in_flight(&state, &seen).len(), 1);
        let open = room(false);
        assert_eq!(covered(&state, &open), BTreeSet::new());
        assert_eq!(in_flight(&state, &open), Vec::new());
    }

    #[test]
    fn a_node_for_a_pod_and_for_room_is_kept_for_the_pod() {
        let mut seen = seen(None);
        let claim = seen.claims.get_mut("claim-2").expect("a claim");
        let id = PodRef("default/room".to_owned());
        claim.pods.push(PlannedPod { id: id.clone(), uid: "uid-room".to_owned(), direct: false });
        let virtual_pod =
            Pod { uid: "uid-room".to_owned(), pending: true, is_virtual: true, ..Pod::default() };
        seen.pods.insert(id, virtual_pod);
        assert_eq!(opened(&seen), Vec::<String>::new());
        let pod = seen.pods.get_mut(&PodRef("default/pod-2".to_owned())).expect("a pod");
        (pod.pending, pod.node) = (false, Some("node-2".to_owned()));
        assert_eq!(opened(&seen), ["node-1", "node-2"]);
    }
}
