//! NodePools: how many nodes they have, and whether they can launch, written into their status as Karpenter's users know it.

use crate::act::Ports;
use crate::buffers;
use crate::classes::merged;
use crate::objects::quantities;
use crate::overlays;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use stowage_api::NodePool;
use stowage_executor::Observation;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::quantity::Resources;
use stowage_observe::View;

/// How often they are looked at.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Nodes of each pool, and what they have together.
pub(crate) type Counts = BTreeMap<String, (usize, Resources)>;

/// Counts nodes by pool.
pub(crate) fn counts(seen: &Observation) -> Counts {
    let mut counts = Counts::new();
    for node in seen.nodes.values() {
        if let Some(pool) = node.labels.get(labels::NODEPOOL) {
            let (nodes, sum) = counts.entry(pool.clone()).or_default();
            *nodes += 1;
            sum.add(&node.capacity);
        }
    }
    counts
}

/// Writes what has changed, of NodeOverlays and CapacityBuffers, too.
pub(crate) async fn look(ports: &Ports, view: &View, catalog: &Catalog, counts: &Counts) {
    overlays::look(ports, view, catalog).await;
    buffers::look(ports, view).await;
    let api: Api<NodePool> = Api::all(ports.client.clone());
    for name in view.names("nodepools") {
        let Some(pool) = parsed(view, "nodepools", &name) else { continue };
        let class = pool["spec"]["template"]["spec"]["nodeClassRef"]["name"].as_str().unwrap_or_default();
        let class = parsed(view, "ec2nodeclasses", class);
        let nothing = (0, Resources::default());
        let (nodes, sum) = counts.get(&name).unwrap_or(&nothing);
        if let Some(patch) = change(&pool, &status(class.as_ref(), *nodes, sum)) {
            let (params, patch) = (PatchParams::default(), Patch::Merge(json!({ "status": patch })));
            if let Err(error) = ports.leadership.write(api.patch_status(&name, &params, &patch)).await {
                tracing::warn!(nodepool = name, error, "its status is not written");
            }
        }
    }
}

fn parsed(view: &View, plural: &str, name: &str) -> Option<Value> {
    serde_json::from_str(&view.object(plural, name)?).ok()
}

/// What to write of the status of a pool, if it has changed.
fn change(pool: &Value, said: &Value) -> Option<Value> {
    let mut patch = merged(pool, &said.to_string())?;
    if patch == pool["status"] {
        return None;
    }
    // A merge takes away only what is said to be nothing.
    for gone in pool["status"]["resources"].as_object().into_iter().flatten().map(|(name, _)| name) {
        if patch["resources"].get(gone).is_none() {
            patch["resources"][gone] = Value::Null;
        }
    }
    Some(patch)
}

/// What the status of a pool says; conditions without times. Its spec is always valid: the rules of its definition refuse all else that
/// Karpenter's validation would find.
fn status(class: Option<&Value>, nodes: usize, sum: &Resources) -> Value {
    let is_ready = |class: &Value| {
        let all = class["status"]["conditions"].as_array();
        all.is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"))
    };
    let lacks = match class {
        None => Some(("NodeClassNotFound", "the node class does not exist")),
        Some(class) if !is_ready(class) => Some(("NodeClassNotReady", "the node class is not ready")),
        Some(_) => None,
    };
    let condition = |kind: &str, lacks: Option<(&str, &str)>| {
        let (reason, message) = lacks.unwrap_or((kind, ""));
        let status = if lacks.is_none() { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": reason, "message": message })
    };
    let unready = lacks.map(|_| ("UnhealthyDependents", "NodeClassReady=False"));
    let mut resources = json!(quantities(sum));
    resources["nodes"] = nodes.to_string().into();
    let mut said = json!({
        "nodes": nodes,
        "resources": resources,
        "conditions": [
            condition("ValidationSucceeded", None),
            condition("NodeClassReady", lacks),
            condition("Ready", unready),
        ],
    });
    if let Some(class) = class {
        said["nodeClassObservedGeneration"] = class["metadata"]["generation"].clone();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_executor::Node;

    #[test]
    fn a_pool_says_what_it_has_and_whether_it_can_launch() {
        let mut seen = Observation::default();
        for (name, pool) in [("a", Some("web")), ("b", Some("web")), ("c", None)] {
            let labels = pool.map(|pool| (labels::NODEPOOL.to_owned(), pool.to_owned()));
            let capacity = Resources::from([("cpu", 4000)]);
            let labels = labels.into_iter().collect();
            seen.nodes.insert(name.to_owned(), Node { labels, capacity, ..Node::default() });
        }
        let counts = counts(&seen);
        assert_eq!(counts.len(), 1);
        let (nodes, sum) = &counts["web"];
        let ready = json!({
            "metadata": { "generation": 2 }, "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let good = status(Some(&ready), *nodes, sum);
        assert_eq!((&good["nodes"], &good["nodeClassObservedGeneration"]), (&json!(2), &json!(2)));
        assert_eq!(good["resources"], json!({ "cpu": "8000m", "nodes": "2" }));
        let of = |status: &Value, kind: &str| {
            let all = status["conditions"].as_array().expect("conditions");
            all.iter().find(|one| one["type"] == kind).map(|one| one["status"].clone())
        };
        assert_eq!(of(&good, "Ready"), Some("True".into()));
        let bad = status(None, 0, &Resources::default());
        assert_eq!(
            (of(&bad, "Ready"), of(&bad, "NodeClassReady")),
            (Some("False".into()), Some("False".into()))
        );
        assert_eq!(of(&bad, "ValidationSucceeded"), Some("True".into()));
    }

    #[test]
    fn what_a_pool_no_longer_has_is_taken_away_and_nothing_is_written_twice() {
        let class = json!({ "metadata": { "generation": 2 }, "status": { "conditions": [] } });
        let has = Resources::from([("cpu", 4000), ("nvidia.com/gpu", 8)]);
        let mut pool = json!({ "metadata": { "generation": 1 } });
        let nothing = Resources::default();
        let looks =
            [status(Some(&class), 1, &has), status(Some(&class), 0, &nothing), status(None, 0, &nothing)];
        for said in looks {
            let patch = change(&pool, &said).expect("it has changed");
            let gone =
                patch["resources"].as_object().expect("resources").iter().filter(|one| one.1.is_null());
            let gone: Vec<&String> = gone.map(|(name, _)| name).collect();
            let has_gpu = pool["status"]["resources"].get("nvidia.com/gpu").is_some();
            assert_eq!(gone, if has_gpu { vec!["cpu", "nvidia.com/gpu"] } else { Vec::new() });
            // What the API server makes of it.
            pool["status"] = patch;
            if let Some(left) = pool["status"]["resources"].as_object_mut() {
                left.retain(|_, amount| !amount.is_null());
            }
            assert_eq!(change(&pool, &said), None, "{pool}");
        }
        assert_eq!(pool["status"]["resources"], json!({ "nodes": "0" }));
        assert_eq!(pool["status"]["nodeClassObservedGeneration"], 2, "the one it had last");
    }
}
