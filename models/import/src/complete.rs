//! Assumptions that make a partial export plannable. Each leaves a note in the snapshot.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Affinity, DaemonSet, NodePool, Pod, PodSpec, PodVolume};
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// Name of the NodePool that stands in when the input has none.
const DEFAULT_POOL: &str = "stowage-default";
/// Zones assumed when nothing in the input says where the cluster is.
pub(crate) const DEFAULT_ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
/// Instance categories of the stand-in pool: compute, general purpose, memory.
const DEFAULT_CATEGORIES: [&str; 3] = ["c", "m", "r"];
/// Names spelt out in a note at most; the rest is counted.
const LISTED_MAX: usize = 3;
/// Labels that the DaemonSet controller adds to each pod; they are not part of the template.
const DAEMON_LABELS: [&str; 2] = ["controller-revision-hash", "pod-template-generation"];

/// Adds what is missing and says so.
pub(crate) fn complete(snapshot: &mut Snapshot) {
    forget_nominations(snapshot);
    daemon_sets(snapshot);
    default_pool(snapshot);
    let notes = [nodes_note(snapshot), classes_note(snapshot), claims_note(snapshot)];
    snapshot.notes.extend(notes.into_iter().flatten());
}

/// A pod nominated to a node that is gone waits like any other: kube-scheduler looks for another place, too.
fn forget_nominations(snapshot: &mut Snapshot) {
    let nodes: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
    for nominated in snapshot.pods.iter_mut().map(|pod| &mut pod.nominated_node) {
        if nominated.as_deref().is_some_and(|node| !nodes.contains(node)) {
            *nominated = None;
        }
    }
}

/// `a, b, c and 4 more`.
pub(crate) fn listed(names: &[String]) -> String {
    let shown = names.iter().take(LISTED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(LISTED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A dynamic pool without class, limits or taints: linux, amd64, spot and on-demand, current generations.
pub(crate) fn open_pool(name: &str, zones: &[&str], categories: &[&str]) -> NodePool {
    NodePool {
        name: name.to_owned(),
        requirements: vec![
            Requirement::new(labels::OS, Operator::In, &["linux"]),
            Requirement::new(labels::ARCH, Operator::In, &["amd64"]),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand", "spot"]),
            Requirement::new(labels::ZONE, Operator::In, zones),
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, categories),
            Requirement::new("karpenter.k8s.aws/instance-generation", Operator::Gt, &["2"]),
        ],
        ..NodePool::default()
    }
}

fn default_pool(snapshot: &mut Snapshot) {
    if !snapshot.node_pools.is_empty() {
        return;
    }
    let zones: BTreeSet<&str> =
        snapshot.nodes.iter().filter_map(|node| node.labels.get(labels::ZONE)).map(String::as_str).collect();
    let zones: Vec<&str> =
        if zones.is_empty() { DEFAULT_ZONES.to_vec() } else { zones.into_iter().collect() };
    let pool = open_pool(DEFAULT_POOL, &zones, &DEFAULT_CATEGORIES);
    snapshot.notes.push(format!(
        "No NodePool in the input: `{DEFAULT_POOL}` is assumed (linux, amd64, on-demand and spot, categories {}, \
         generation above 2, zones {}). Pass your own: kubectl get nodepools,ec2nodeclasses -o json.",
        DEFAULT_CATEGORIES.join(", "),
        zones.join(", "),
    ));
    snapshot.node_pools.push(pool);
}

/// Derives DaemonSets from their pods when the input has none at all.
fn daemon_sets(snapshot: &mut Snapshot) {
    if !snapshot.daemon_sets.is_empty() {
        return;
    }
    // Pods are sorted, so the choice does not depend on the order of the input. One that runs is the better witness.
    let mut witnesses: BTreeMap<(&str, &str), &Pod> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| pod.is_owned_by("DaemonSet")) {
        let Some(owner) = &pod.owner else { continue };
        let witness = witnesses.entry((&pod.namespace, &owner.name)).or_insert(pod);
        if witness.is_terminal() && !pod.is_terminal() {
            *witness = pod;
        }
    }
    let derived: Vec<DaemonSet> =
        witnesses.into_iter().map(|((_, name), pod)| daemon_set_of(name, pod)).collect();
    if derived.is_empty() {
        snapshot.notes.push(
            "No DaemonSets in the input: new nodes are planned without any (kubectl get daemonsets -A)."
                .to_owned(),
        );
        return;
    }
    let ids: Vec<String> = derived.iter().map(|set| format!("{}/{}", set.namespace, set.name)).collect();
    snapshot.notes.push(format!(
        "No DaemonSets in the input: {} derived from one pod each ({}); pass the real ones with kubectl get daemonsets -A.",
        ids.len(),
        listed(&ids),
    ));
    snapshot.daemon_sets = derived;
}

fn daemon_set_of(name: &str, pod: &Pod) -> DaemonSet {
    let mut spec = PodSpec::clone(&pod.spec);
    forget_node(&mut spec.affinity);
    let mut pod_labels = Labels::clone(&pod.labels);
    pod_labels.retain(|key, _| !DAEMON_LABELS.contains(&key.as_str()));
    DaemonSet { namespace: pod.namespace.clone(), name: name.to_owned(), labels: pod_labels, spec }
}

/// Removes the field requirement with which the DaemonSet controller ties a pod to its node. A term it leaves empty
/// stood for "any node", and so do alternatives of which one is that.
fn forget_node(affinity: &mut Affinity) {
    let Some(terms) = &mut affinity.node_required else {
        return;
    };
    for term in terms.iter_mut() {
        term.match_fields.retain(|requirement| requirement.key != "metadata.name");
    }
    if terms.iter().any(|term| term.match_expressions.is_empty() && term.match_fields.is_empty()) {
        affinity.node_required = None;
    }
}

fn nodes_note(snapshot: &Snapshot) -> Option<String> {
    if !snapshot.nodes.is_empty() {
        return None;
    }
    let bound = snapshot.pods.iter().filter(|pod| pod.node.is_some() && !pod.is_terminal()).count();
    let bound = if bound == 0 { String::new() } else { format!(", though {bound} pods are bound to some") };
    Some(format!("No nodes in the input{bound}: no free capacity is assumed (kubectl get nodes)."))
}

fn classes_note(snapshot: &Snapshot) -> Option<String> {
    let known: BTreeSet<&str> = snapshot.node_classes.iter().map(|class| class.name.as_str()).collect();
    let named =
        snapshot.node_pools.iter().map(|pool| pool.node_class.as_str()).filter(|name| !name.is_empty());
    let missing: BTreeSet<&str> = named.filter(|name| !known.contains(name)).collect();
    if missing.is_empty() {
        return None;
    }
    let missing: Vec<String> = missing.into_iter().map(str::to_owned).collect();
    Some(format!(
        "EC2NodeClass {} is not in the input: default kubelet settings and every zone are assumed \
         (kubectl get ec2nodeclasses).",
        listed(&missing)
    ))
}

fn claims_note(snapshot: &Snapshot) -> Option<String> {
    let known: BTreeSet<(&str, &str)> =
        snapshot.volume_claims.iter().map(|claim| (claim.namespace.as_str(), claim.name.as_str())).collect();
    let mut missing = BTreeSet::new();
    for pod in &snapshot.pods {
        for volume in &pod.spec.volumes {
            match volume {
                PodVolume::Claim(name) if !known.contains(&(pod.namespace.as_str(), name.as_str())) => {
                    missing.insert(format!("{}/{name}", pod.namespace));
                }
                _ => {}
            }
        }
    }
    let missing: Vec<String> = missing.into_iter().collect();
    (!missing.is_empty()).then(|| {
        format!(
            "PersistentVolumeClaim {} not in the input: where the volume is stays unknown (kubectl get pvc,pv,sc -A).",
            listed(&missing)
        )
    })
}
