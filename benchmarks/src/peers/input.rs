//! The question a peer is asked (`benchmarks/peers/README.md`).

use super::{INPUT_FORMAT, Task};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::labels;
use stowage_models::objects::NodePool;
use stowage_models::plan::Policy;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_planner::Numbers;

/// How long and on how many threads a peer may think.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    /// Seconds.
    pub seconds: u64,
    /// Threads.
    pub threads: usize,
}

/// Capacity types, in the order of offerings.
const CAPACITY_TYPES: [&str; 2] = ["on-demand", "spot"];

/// Writes the question. Nodes may be filled to the brim (slack 0), because no peer keeps slack.
///
/// # Errors
/// If the snapshot cannot be planned at all.
pub fn question(
    name: &str,
    snapshot: &Snapshot,
    catalog: &Catalog,
    task: Task,
    allowance: Allowance,
) -> Result<Value> {
    let mut question = json!({
        "format": INPUT_FORMAT,
        "name": name,
        "snapshotDigest": snapshot.digest(),
        "catalogDigest": catalog.digest(),
        "task": task,
        "secondsMax": allowance.seconds,
        "threads": allowance.threads,
        "seed": snapshot.seed,
        "objects": objects(snapshot),
        "wellKnownLabels": labels::OFFERING_KEYS.as_slice(),
        "instanceTypes": instance_types(snapshot, catalog),
    });
    if task == Task::Provision {
        let policy = Policy { slack: stowage_models::units::Ppm(0), ..Policy::default() };
        question["aggregate"] = aggregate(&stowage_planner::numbers(snapshot, catalog, &policy)?);
    }
    Ok(question)
}

/// The snapshot's objects by kind, in the protocol's names.
fn objects(snapshot: &Snapshot) -> Value {
    const LISTS: [(&str, &str); 11] = [
        ("Pod", "pods"),
        ("Node", "nodes"),
        ("NodePool", "nodePools"),
        ("NodeClaim", "nodeClaims"),
        ("EC2NodeClass", "nodeClasses"),
        ("DaemonSet", "daemonSets"),
        ("PodDisruptionBudget", "podDisruptionBudgets"),
        ("Namespace", "namespaces"),
        ("PersistentVolumeClaim", "persistentVolumeClaims"),
        ("PersistentVolume", "persistentVolumes"),
        ("StorageClass", "storageClasses"),
    ];
    let mut lists: BTreeMap<&str, Vec<Value>> = LISTS.iter().map(|(_, list)| (*list, Vec::new())).collect();
    for mut object in stowage_import::export::objects(snapshot) {
        // A trace names no node class; Karpenter's API wants one.
        if object["kind"] == "NodePool" && object["spec"]["template"]["spec"]["nodeClassRef"].is_null() {
            object["spec"]["template"]["spec"]["nodeClassRef"] =
                json!({"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default"});
        }
        let list = LISTS.iter().find(|(kind, _)| object["kind"] == *kind).map(|(_, list)| *list);
        lists.entry(list.expect("every exported kind has a list")).or_default().push(object);
    }
    json!(lists)
}

/// What every NodePool may launch.
fn instance_types(snapshot: &Snapshot, catalog: &Catalog) -> Value {
    let mut pools = Map::new();
    for pool in &snapshot.node_pools {
        let types = catalog.types.iter().filter_map(|it| instance_type(snapshot, catalog, pool, it));
        pools.insert(pool.name.clone(), types.collect());
    }
    Value::Object(pools)
}

/// A type as this pool's node class makes it; `None` if it is sold in none of the class's zones.
fn instance_type(
    snapshot: &Snapshot,
    catalog: &Catalog,
    pool: &NodePool,
    it: &InstanceType,
) -> Option<Value> {
    let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let class = class.cloned().unwrap_or_default();
    let zones = it.zones.iter().filter(|offer| class.zones.is_empty() || class.zones.contains(&offer.zone));
    let mut offerings = Vec::new();
    for offer in zones {
        for capacity_type in CAPACITY_TYPES {
            if let Some(price) = it.price(&offer.zone, capacity_type) {
                offerings.push(json!({
                    "zone": offer.zone, "zoneId": offer.zone_id, "capacityType": capacity_type, "price": price.usd.0,
                }));
            }
        }
    }
    if offerings.is_empty() {
        return None;
    }
    let mut all: Labels = it.labels();
    all.insert(labels::REGION.to_owned(), catalog.region.clone());
    let all: BTreeMap<String, [String; 1]> = all.into_iter().map(|(key, value)| (key, [value])).collect();
    Some(json!({
        "name": it.name,
        "labels": all,
        "capacity": it.capacity(&snapshot.settings, &class),
        "allocatable": it.allocatable(&snapshot.settings, &class),
        "offerings": offerings,
    }))
}

/// The same problem as numbers.
fn aggregate(numbers: &Numbers) -> Value {
    let groups = numbers.groups.iter().map(|group| json!({"pods": group.pods, "request": group.request}));
    let offerings = numbers.offerings.iter().map(|offering| {
        json!({
            "nodePool": offering.node_pool, "instanceType": offering.instance_type, "zone": offering.zone,
            "capacityType": offering.capacity_type, "labels": offering.labels, "price": offering.price.0,
            "capacity": offering.capacity, "class": offering.class,
        })
    });
    let nodes =
        numbers.nodes.iter().map(|node| json!({"name": node.name, "free": node.free, "groups": node.groups}));
    let limits = numbers.limits.iter().enumerate().map(|(row, limit)| {
        let used: Vec<i64> = numbers.offerings.iter().map(|offering| offering.usage[row]).collect();
        json!({
            "nodePool": limit.node_pool, "resource": limit.resource, "remaining": limit.remaining, "capacity": used,
        })
    });
    json!({
        "resources": numbers.resources,
        "groups": groups.collect::<Vec<_>>(),
        "classes": numbers.classes,
        "offerings": offerings.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
        "limits": limits.collect::<Vec<_>>(),
    })
}
