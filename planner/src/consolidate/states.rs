//! The cluster as it might be: with every pod that may move also waiting, and with nodes removed.

use super::rules::{Verdict, moves};
use std::collections::BTreeSet;
use stowage_models::objects::{Pod, PodPhase, PodSpec};
use stowage_models::snapshot::Snapshot;

/// The pod as it waits for another place.
pub(super) fn waiting(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.node = None;
    pod.nominated_node = None;
    pod.phase = PodPhase::Pending;
    pod.scheduling_gates.clear();
    pod
}

/// Whether a pod states a constraint towards other pods, on volumes or on ports of the host.
pub(super) fn is_tied(pod: &Pod) -> bool {
    let spec = &pod.spec;
    let mut containers = spec.containers.iter().chain(&spec.init_containers);
    spec.topology_spread.iter().any(|one| one.hard)
        || !spec.affinity.pod_required.is_empty()
        || !spec.affinity.anti_required.is_empty()
        || !spec.volumes.is_empty()
        || containers.any(|container| !container.host_ports.is_empty())
}

/// Takes away what pods ask for about each other, and their ports on the host.
fn loosen(spec: &mut PodSpec) {
    spec.topology_spread.clear();
    spec.affinity.pod_required.clear();
    spec.affinity.anti_required.clear();
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        container.host_ports.clear();
    }
}

/// The snapshot without the nodes that have to go and do, and with a waiting twin of every pod of a node that may be removed. Those
/// pods themselves stay where they are, so what nodes have left is what they have now. Waiting pods with constraints towards others, on
/// volumes or ports are left out: the joint problem is about fewer pods then, which costs no more; they are planned for once it is known
/// which nodes go. Nobody asks anything about others here: where the others will be is what is decided.
pub(super) fn with_twins(snapshot: &Snapshot, verdicts: &[Verdict]) -> Snapshot {
    let mut twins = without(snapshot, verdicts, &BTreeSet::new());
    twins.pods.retain(|pod| !(pod.is_pending() && is_tied(pod)));
    for verdict in verdicts.iter().filter(|verdict| verdict.is_free()) {
        twins.pods.extend(verdict.moving.iter().map(|pod| waiting(&snapshot.pods[*pod as usize])));
    }
    twins.pods.iter_mut().for_each(|pod| loosen(&mut pod.spec));
    twins.daemon_sets.iter_mut().for_each(|set| loosen(&mut set.spec));
    twins.normalise();
    twins
}

/// The snapshot without the given nodes (indices) and those that have to go and do, their NodeClaims and what ends with them; the
/// pods that move wait. Nodes that have to go and do not yet take no more pods.
pub(super) fn without(snapshot: &Snapshot, verdicts: &[Verdict], removed: &BTreeSet<usize>) -> Snapshot {
    let mut names: BTreeSet<&str> = removed.iter().map(|node| snapshot.nodes[*node].name.as_str()).collect();
    let mut held: BTreeSet<&str> = BTreeSet::new();
    for (node, verdict) in snapshot.nodes.iter().zip(verdicts) {
        if verdict.departs() {
            names.insert(&node.name);
        } else if verdict.departure().is_some() {
            held.insert(&node.name);
        }
    }
    let mut after = snapshot.clone();
    after.nodes.retain(|node| !names.contains(node.name.as_str()));
    for node in after.nodes.iter_mut().filter(|node| held.contains(node.name.as_str())) {
        node.unschedulable = true;
    }
    after.node_claims.retain(|claim| claim.node.as_deref().is_none_or(|node| !names.contains(node)));
    let is_gone = |pod: &Pod| pod.node.as_deref().is_some_and(|node| names.contains(node));
    after.pods.retain(|pod| !is_gone(pod) || (!pod.is_terminal() && moves(pod)));
    for pod in after.pods.iter_mut().filter(|pod| is_gone(pod)) {
        *pod = waiting(pod);
    }
    // Pods that were to start on a node that goes wait for another.
    let is_lost = |pod: &Pod| pod.node.is_none() && pod.seat().is_some_and(|node| names.contains(node));
    for pod in after.pods.iter_mut().filter(|pod| is_lost(pod)) {
        pod.nominated_node = None;
    }
    after
}
