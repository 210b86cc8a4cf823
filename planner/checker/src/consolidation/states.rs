//! The cluster without the removed nodes, and with waiting twins of all pods that may move.

use super::rules::{Subject, relocates};
use std::collections::BTreeSet;
use stowage_models::objects::{Pod, PodPhase, PodSpec};
use stowage_models::snapshot::Snapshot;

fn set_free(pod: &mut Pod) {
    pod.phase = PodPhase::Pending;
    pod.node = None;
    pod.nominated_node = None;
    pod.scheduling_gates = Vec::new();
}

/// Nodes, their NodeClaims and the pods that end with them are gone; the other pods of theirs wait, and so do those that were to start
/// there. Nodes that have to go and are still there take no more pods.
pub(crate) fn without(snapshot: &Snapshot, removed: &BTreeSet<&str>, subjects: &[Subject<'_>]) -> Snapshot {
    let mut after = snapshot.clone();
    let gone = |name: &Option<String>| name.as_ref().is_some_and(|name| removed.contains(name.as_str()));
    after.nodes.retain(|node| !removed.contains(node.name.as_str()));
    let due = subjects.iter().filter(|subject| subject.due.departure().is_some());
    let due: BTreeSet<&str> = due.map(|subject| subject.node.name.as_str()).collect();
    for node in &mut after.nodes {
        node.unschedulable |= due.contains(node.name.as_str());
    }
    after.node_claims.retain(|claim| !gone(&claim.node));
    after.pods.retain(|pod| !gone(&pod.node) || relocates(pod));
    for pod in &mut after.pods {
        if gone(&pod.node) {
            set_free(pod);
        } else if pod.node.is_none() && pod.seat().is_some_and(|seat| removed.contains(seat)) {
            pod.nominated_node = None;
        }
    }
    after
}

fn forget_others(spec: &mut PodSpec) {
    let affinity = &mut spec.affinity;
    (affinity.pod_required, affinity.anti_required, spec.topology_spread) = Default::default();
    spec.containers.iter_mut().for_each(|container| container.host_ports = Default::default());
    spec.init_containers.iter_mut().for_each(|container| container.host_ports = Default::default());
}

/// Waits, and asks for something of other pods, of volumes or of the host's ports. The joint bound is about the others.
fn is_entangled(pod: &Pod) -> bool {
    let all = pod.spec.containers.iter().chain(&pod.spec.init_containers);
    let ports: usize = all.map(|container| container.host_ports.len()).sum();
    let terms = pod.spec.affinity.pod_required.len() + pod.spec.affinity.anti_required.len();
    let spreads = pod.spec.topology_spread.iter().filter(|one| one.hard).count();
    pod.is_pending() && ports + terms + spreads + pod.spec.volumes.len() > 0
}

/// Nodes that have to go and do are gone; every pod of a node that may be removed (`free`) waits a second time, without a place.
pub(crate) fn with_twins<'a>(
    snapshot: &Snapshot,
    subjects: &[Subject<'_>],
    departing: &BTreeSet<&str>,
    free: impl Iterator<Item = &'a Subject<'a>>,
) -> Snapshot {
    let mut twins = without(snapshot, departing, subjects);
    twins.pods.retain(|pod| !is_entangled(pod));
    for subject in free {
        for pod in &subject.pods {
            let mut twin = (*pod).clone();
            set_free(&mut twin);
            twins.pods.push(twin);
        }
    }
    // The joint problem asks nothing about pods beside each other, and nothing about ports.
    for pod in &mut twins.pods {
        forget_others(&mut pod.spec);
    }
    for set in &mut twins.daemon_sets {
        forget_others(&mut set.spec);
    }
    twins.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    twins
}
