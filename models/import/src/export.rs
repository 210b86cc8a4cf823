//! The way back: a snapshot as the Kubernetes objects it came from.
//!
//! For programs that read Kubernetes objects and know nothing of snapshots: a real API server in tests, or another
//! autoscaler beside which a plan is measured. What the snapshot does not keep (images, commands, environment) is
//! filled with the least that an API server accepts. [`crate::import`] reads the result back to an equal snapshot.

use crate::export_karpenter::{node_claim, node_class, node_pool};
use crate::export_pod::{pod_spec, selector, term};
use crate::overlay::node_overlay;
use serde_json::{Map, Value, json};
use stowage_models::labels;
use stowage_models::objects::{
    DaemonSet, Namespace, Node, Owner, Pod, PodDisruptionBudget, PodPhase, StorageClass, Taint, TaintEffect,
    Volume, VolumeClaim,
};
use stowage_models::quantity::{CPU, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// When an object was created or is being deleted, if the snapshot only knows that it was: any time serves.
const SOME_TIME: &str = "2026-01-01T00:00:00Z";

/// The snapshot's objects, kind by kind: Pods, Nodes (with their CSINodes), NodePools, NodeClaims, EC2NodeClasses, NodeOverlays, DaemonSets,
/// PodDisruptionBudgets, PersistentVolumeClaims, PersistentVolumes, StorageClasses, Namespaces.
#[must_use]
pub fn objects(snapshot: &Snapshot) -> Vec<Value> {
    let mut all = Vec::new();
    all.extend(snapshot.namespaces.iter().map(namespace));
    all.extend(snapshot.node_classes.iter().map(node_class));
    all.extend(snapshot.node_pools.iter().map(node_pool));
    all.extend(snapshot.node_overlays.iter().map(node_overlay));
    all.extend(snapshot.storage_classes.iter().map(storage_class));
    all.extend(snapshot.volumes.iter().map(volume));
    all.extend(snapshot.volume_claims.iter().map(volume_claim));
    all.extend(snapshot.nodes.iter().map(node));
    all.extend(snapshot.nodes.iter().filter_map(csi_node));
    all.extend(snapshot.node_claims.iter().map(|claim| node_claim(claim, &snapshot.notices)));
    all.extend(snapshot.daemon_sets.iter().map(daemon_set));
    all.extend(snapshot.pod_disruption_budgets.iter().map(disruption_budget));
    all.extend(snapshot.pods.iter().map(pod));
    all
}

/// The snapshot's objects as one `v1` List, the way `kubectl get -o json` prints them.
#[must_use]
pub fn list(snapshot: &Snapshot) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": objects(snapshot)})
}

/// Metadata of an object; empty parts are left out.
pub(crate) fn meta(
    namespace: Option<&str>,
    name: &str,
    labels: &Labels,
    annotations: &Labels,
    deleting: bool,
) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert("name".to_owned(), json!(name));
    if let Some(namespace) = namespace {
        meta.insert("namespace".to_owned(), json!(namespace));
    }
    put(&mut meta, "labels", json!(labels));
    put(&mut meta, "annotations", json!(annotations));
    if deleting {
        meta.insert("deletionTimestamp".to_owned(), json!(SOME_TIME));
    }
    meta
}

/// Inserts a value unless it says nothing: null, false, empty text, list or object.
pub(crate) fn put(object: &mut Map<String, Value>, key: &str, value: Value) {
    let is_empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if !is_empty {
        object.insert(key.to_owned(), value);
    }
}

/// Resources as quantities: cpu in millicores, everything else in base units.
pub(crate) fn quantities(resources: &Resources) -> Value {
    let entries = resources.0.iter().map(|(name, amount)| {
        let text = if name == CPU { format!("{amount}m") } else { amount.to_string() };
        (name.clone(), Value::String(text))
    });
    Value::Object(entries.collect())
}

pub(crate) fn effect(effect: TaintEffect) -> &'static str {
    match effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    }
}

pub(crate) fn taints(taints: &[Taint]) -> Value {
    let one = |taint: &Taint| {
        let mut object = Map::new();
        object.insert("key".to_owned(), json!(taint.key));
        put(&mut object, "value", json!(taint.value));
        object.insert("effect".to_owned(), json!(effect(taint.effect)));
        Value::Object(object)
    };
    taints.iter().map(one).collect()
}

/// Conditions that are True.
pub(crate) fn conditions<'c>(kinds: impl Iterator<Item = &'c str>) -> Value {
    kinds
        .map(|kind| json!({"type": kind, "status": "True", "reason": kind, "lastTransitionTime": SOME_TIME}))
        .collect()
}

fn pod(pod: &Pod) -> Value {
    let mut metadata = meta(Some(&pod.namespace), &pod.name, &pod.labels, &pod.annotations, pod.deleting);
    put(&mut metadata, "uid", json!(pod.uid));
    put(&mut metadata, "creationTimestamp", json!(pod.created));
    put(&mut metadata, "ownerReferences", pod.owner.iter().map(|one| owner(one)).collect());
    let mut spec = pod_spec(&pod.spec);
    put(&mut spec, "nodeName", json!(pod.node));
    put(
        &mut spec,
        "schedulingGates",
        pod.scheduling_gates.iter().map(|name| json!({"name": name})).collect(),
    );
    let phase = match pod.phase {
        PodPhase::Pending => "Pending",
        PodPhase::Running => "Running",
        PodPhase::Succeeded => "Succeeded",
        PodPhase::Failed => "Failed",
        PodPhase::Unknown => "Unknown",
    };
    let mut status = Map::new();
    status.insert("phase".to_owned(), json!(phase));
    put(&mut status, "nominatedNodeName", json!(pod.nominated_node));
    if pod.is_pending() {
        let waits = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable"});
        status.insert("conditions".to_owned(), json!([waits]));
    } else if pod.phase == PodPhase::Running {
        status.insert("conditions".to_owned(), conditions(["PodScheduled", "Ready"].into_iter()));
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status})
}

fn owner(owner: &Owner) -> Value {
    let api_version = match owner.kind.as_str() {
        "Job" => "batch/v1",
        "Node" | "ReplicationController" => "v1",
        _ => "apps/v1",
    };
    json!({
        "apiVersion": api_version, "kind": owner.kind, "name": owner.name, "controller": true,
        "uid": format!("{}-{}", owner.kind.to_lowercase(), owner.name),
    })
}

fn node(node: &Node) -> Value {
    let mut metadata = meta(None, &node.name, &node.labels, &node.annotations, node.deleting);
    put(&mut metadata, "creationTimestamp", json!(node.created));
    let mut spec = Map::new();
    put(&mut spec, "taints", taints(&node.taints));
    put(&mut spec, "unschedulable", json!(node.unschedulable));
    put(&mut spec, "providerID", json!(node.provider_id));
    let good = conditions(node.ready.then_some("Ready").into_iter());
    let bad = node.symptoms.iter().map(|one| {
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(one.condition));
        object.insert("status".to_owned(), json!(one.status));
        put(&mut object, "lastTransitionTime", json!(one.since));
        Value::Object(object)
    });
    let conditions: Vec<Value> =
        good.as_array().cloned().unwrap_or_default().into_iter().chain(bad).collect();
    let status = json!({
        "capacity": quantities(&node.capacity), "allocatable": quantities(&node.allocatable),
        "conditions": conditions,
    });
    json!({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status})
}

/// The CSINode that states a node's attach limits, if it has any.
fn csi_node(node: &Node) -> Option<Value> {
    let driver = |(name, count): (&String, &i64)| json!({"name": name, "nodeID": node.name, "topologyKeys": null, "allocatable": {"count": count}});
    let drivers: Vec<Value> = node.volume_limits.iter().map(driver).collect();
    let metadata = meta(None, &node.name, &Labels::new(), &Labels::new(), false);
    let object = |drivers| {
        json!({
            "apiVersion": "storage.k8s.io/v1", "kind": "CSINode", "metadata": metadata, "spec": {"drivers": drivers}
        })
    };
    (!drivers.is_empty()).then(|| object(drivers))
}

fn daemon_set(set: &DaemonSet) -> Value {
    let metadata = meta(Some(&set.namespace), &set.name, &Labels::new(), &Labels::new(), false);
    let template = json!({"metadata": {"labels": set.labels}, "spec": pod_spec(&set.spec)});
    let spec = json!({"selector": {"matchLabels": set.labels}, "template": template});
    json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": metadata, "spec": spec})
}

/// A count or a percentage in the type the API wants.
fn int_or_string(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

fn disruption_budget(budget: &PodDisruptionBudget) -> Value {
    let mut spec = Map::new();
    if let Some(covered) = &budget.selector {
        spec.insert("selector".to_owned(), selector(covered));
    }
    put(&mut spec, "minAvailable", json!(budget.min_available.as_deref().map(int_or_string)));
    put(&mut spec, "maxUnavailable", json!(budget.max_unavailable.as_deref().map(int_or_string)));
    if budget.always_allow_unhealthy {
        spec.insert("unhealthyPodEvictionPolicy".to_owned(), json!("AlwaysAllow"));
    }
    let mut status = Map::new();
    put(&mut status, "disruptionsAllowed", json!(budget.disruptions_allowed));
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": spec, "status": status,
        "metadata": meta(Some(&budget.namespace), &budget.name, &Labels::new(), &Labels::new(), false),
    })
}

fn volume_claim(claim: &VolumeClaim) -> Value {
    let mut spec = Map::new();
    put(&mut spec, "volumeName", json!(claim.volume));
    // An empty class is not an absent one: it asks for a volume without a class.
    if let Some(class) = &claim.storage_class {
        spec.insert("storageClassName".to_owned(), json!(class));
    }
    let mode = if claim.read_write_once_pod { "ReadWriteOncePod" } else { "ReadWriteOnce" };
    spec.insert("accessModes".to_owned(), json!([mode]));
    spec.insert("resources".to_owned(), json!({"requests": {"storage": "1Gi"}}));
    let phase = if claim.volume.is_some() { "Bound" } else { "Pending" };
    json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec, "status": {"phase": phase},
        "metadata": meta(Some(&claim.namespace), &claim.name, &Labels::new(), &Labels::new(), false),
    })
}

fn volume(volume: &Volume) -> Value {
    let mut spec = Map::new();
    spec.insert("capacity".to_owned(), json!({"storage": "1Gi"}));
    spec.insert("accessModes".to_owned(), json!(["ReadWriteOnce"]));
    match &volume.driver {
        Some(driver) => {
            spec.insert("csi".to_owned(), json!({"driver": driver, "volumeHandle": volume.name}));
        }
        None => {
            spec.insert("hostPath".to_owned(), json!({"path": "/mnt"}));
        }
    }
    if let Some(terms) = &volume.node_affinity {
        let terms: Value = terms.iter().map(term).collect();
        spec.insert("nodeAffinity".to_owned(), json!({"required": {"nodeSelectorTerms": terms}}));
    }
    json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "spec": spec,
        "metadata": meta(None, &volume.name, &Labels::new(), &Labels::new(), false),
    })
}

fn storage_class(class: &StorageClass) -> Value {
    let marks = class.is_default.then(|| (crate::meta::DEFAULT_CLASS[0].to_owned(), "true".to_owned()));
    let annotations: Labels = marks.into_iter().collect();
    let mode = if class.wait_for_first_consumer { "WaitForFirstConsumer" } else { "Immediate" };
    let topologies: Vec<Value> = class
        .allowed_topologies
        .iter()
        .map(|term| {
            let expressions: Vec<Value> = term
                .match_expressions
                .iter()
                .map(|requirement| json!({"key": requirement.key, "values": requirement.values}))
                .collect();
            json!({"matchLabelExpressions": expressions})
        })
        .collect();
    let mut object = Map::new();
    put(&mut object, "allowedTopologies", json!(topologies));
    object.extend([
        ("apiVersion".to_owned(), json!("storage.k8s.io/v1")),
        ("kind".to_owned(), json!("StorageClass")),
        ("metadata".to_owned(), json!(meta(None, &class.name, &Labels::new(), &annotations, false))),
        ("provisioner".to_owned(), json!(class.provisioner)),
        ("volumeBindingMode".to_owned(), json!(mode)),
    ]);
    Value::Object(object)
}

fn namespace(namespace: &Namespace) -> Value {
    let metadata = meta(None, &namespace.name, &namespace.labels, &Labels::new(), false);
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
}

/// The NodePool's own label belongs on everything it launches.
pub(crate) fn pool_of(labels: &Labels) -> Option<&String> {
    labels.get(labels::NODEPOOL)
}
