//! Karpenter's objects on the way back (see [`crate::export`]).

use crate::export::{conditions, meta, pool_of, put, quantities, taints};
use serde_json::{Map, Value, json};
use stowage_models::departure::{NOTICES, Notice, Notices};
use stowage_models::objects::{Ec2NodeClass, NodeClaim, NodePool};
use stowage_models::schedule::instant;
use stowage_models::selector::{Labels, Requirement};

const GIB: i64 = 1 << 30;

pub(crate) fn requirement(requirement: &Requirement) -> Value {
    let mut object = Map::new();
    object.insert("key".to_owned(), json!(requirement.key));
    object.insert("operator".to_owned(), json!(requirement.operator));
    put(&mut object, "values", json!(requirement.values));
    put(&mut object, "minValues", json!(requirement.min_values));
    Value::Object(object)
}

fn class_ref(name: &str) -> Value {
    json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": name})
}

/// A NodePool.
pub(crate) fn node_pool(pool: &NodePool) -> Value {
    let mut template = Map::new();
    template.insert("requirements".to_owned(), pool.requirements.iter().map(requirement).collect());
    put(&mut template, "taints", taints(&pool.taints));
    put(&mut template, "startupTaints", taints(&pool.startup_taints));
    if !pool.node_class.is_empty() {
        template.insert("nodeClassRef".to_owned(), class_ref(&pool.node_class));
    }
    put(&mut template, "expireAfter", json!(pool.expire_after));
    put(&mut template, "terminationGracePeriod", json!(pool.termination_grace_period));
    let mut disruption = Map::new();
    put(&mut disruption, "consolidationPolicy", json!(pool.consolidation_policy));
    put(&mut disruption, "consolidateAfter", json!(pool.consolidate_after));
    let budgets = pool.budgets.iter().map(|budget| {
        let mut object = Map::new();
        object.insert("nodes".to_owned(), json!(budget.nodes));
        put(&mut object, "reasons", json!(budget.reasons));
        put(&mut object, "schedule", json!(budget.schedule));
        put(&mut object, "duration", json!(budget.duration));
        Value::Object(object)
    });
    put(&mut disruption, "budgets", budgets.collect());
    let mut metadata = Map::new();
    put(&mut metadata, "labels", json!(pool.labels));
    let mut spec = Map::new();
    spec.insert("template".to_owned(), json!({"metadata": metadata, "spec": template}));
    put(&mut spec, "disruption", Value::Object(disruption));
    put(&mut spec, "limits", quantities(&pool.limits));
    if pool.weight != 0 {
        spec.insert("weight".to_owned(), json!(pool.weight));
    }
    put(&mut spec, "replicas", json!(pool.replicas));
    let status = match &pool.not_ready {
        None => json!({"conditions": conditions(["Ready"].into_iter())}),
        Some(why) => json!({"conditions": [{"type": "Ready", "status": "False", "message": why}]}),
    };
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "spec": spec,
        "metadata": meta(None, &pool.name, &Labels::new(), &Labels::new(), pool.deleting),
        "status": status,
    })
}

/// A NodeClaim, with what messages say of its node.
pub(crate) fn node_claim(claim: &NodeClaim, all: &[Notice]) -> Value {
    let mut notices = Notices::default();
    for notice in all.iter().filter(|notice| claim.node.as_ref() == Some(&notice.node)) {
        notices.add(notice.kind, notice.deadline.as_deref().and_then(instant));
    }
    let mut annotations = Labels::new();
    if !notices.is_empty() {
        annotations.insert(NOTICES.to_owned(), notices.to_string());
    }
    let mut metadata = meta(None, &claim.name, &claim.labels, &annotations, claim.deleting);
    if let Some(pool) = pool_of(&claim.labels) {
        let owner = json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "name": pool, "uid": format!("nodepool-{pool}"),
        });
        metadata.insert("ownerReferences".to_owned(), json!([owner]));
    }
    put(&mut metadata, "creationTimestamp", json!(claim.created));
    let mut spec = Map::new();
    put(&mut spec, "taints", taints(&claim.taints));
    put(&mut spec, "expireAfter", json!(claim.expire_after));
    put(&mut spec, "terminationGracePeriod", json!(claim.termination_grace_period));
    spec.insert("requirements".to_owned(), json!([]));
    spec.insert("nodeClassRef".to_owned(), class_ref("default"));
    let mut status = Map::new();
    put(&mut status, "nodeName", json!(claim.node));
    put(&mut status, "providerID", json!(claim.provider_id));
    put(&mut status, "capacity", quantities(&claim.capacity));
    put(&mut status, "allocatable", quantities(&claim.allocatable));
    put(&mut status, "conditions", conditions(claim.conditions.iter().map(String::as_str)));
    json!({"apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": metadata, "spec": spec, "status": status})
}

/// An EC2NodeClass.
pub(crate) fn node_class(class: &Ec2NodeClass) -> Value {
    let mut kubelet = Map::new();
    put(&mut kubelet, "maxPods", json!(class.max_pods));
    put(&mut kubelet, "podsPerCore", json!(class.pods_per_core));
    put(&mut kubelet, "kubeReserved", quantities(&class.kube_reserved));
    put(&mut kubelet, "systemReserved", quantities(&class.system_reserved));
    if let Some(memory) = &class.eviction_memory {
        kubelet.insert("evictionHard".to_owned(), json!({"memory.available": memory}));
    }
    let mut spec = Map::new();
    put(&mut spec, "kubelet", Value::Object(kubelet));
    spec.insert("amiSelectorTerms".to_owned(), json!([{"alias": "al2023@latest"}]));
    if let Some(bytes) = class.root_volume_bytes {
        let size = if bytes % GIB == 0 { format!("{}Gi", bytes / GIB) } else { bytes.to_string() };
        spec.insert(
            "blockDeviceMappings".to_owned(),
            json!([{"deviceName": "/dev/xvda", "ebs": {"volumeSize": size}}]),
        );
    }
    if class.instance_store_raid0 {
        spec.insert("instanceStorePolicy".to_owned(), json!("RAID0"));
    }
    let subnets: Vec<Value> = class
        .zones
        .iter()
        .enumerate()
        .map(|(index, zone)| json!({"id": format!("subnet-{index}"), "zone": zone}))
        .collect();
    let mut status = json!({"subnets": subnets, "conditions": conditions(["Ready"].into_iter())});
    if !class.capacity_reservations.is_empty() {
        let reservations = class.capacity_reservations.iter().map(|one| {
            json!({
                "id": one.id, "instanceType": one.instance_type, "availabilityZone": one.zone,
                "availableInstanceCount": one.available, "reservationType": one.reservation_type, "state": "active", "endTime": one.ends,
            })
        });
        status["capacityReservations"] = reservations.collect();
    }
    json!({
        "apiVersion": "karpenter.k8s.aws/v1", "kind": "EC2NodeClass", "spec": spec,
        "metadata": meta(None, &class.name, &Labels::new(), &Labels::new(), false),
        "status": status,
    })
}
