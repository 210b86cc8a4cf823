//! Goal: room that CapacityBuffers keep is launched when it is missing, is not launched where it is, and does not go as if it were empty.

use std::time::Duration;
use stowage_bench::trial::{accepted, by_work};
use stowage_checker::check;
use stowage_import::{Source, import};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_planner::consolidate;

/// A cluster of empty nodes of two cores, with a buffer of so many pods of one core each.
fn cluster(nodes: usize, room: usize, limit: usize) -> Snapshot {
    let pool = serde_json::json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "default" },
        "spec": {
            "limits": { "nodes": limit }, "disruption": { "budgets": [{ "nodes": "100%" }], "consolidateAfter": "0s" },
            "template": { "spec": { "requirements": [
                { "key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["m6a.large"] },
                { "key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"] },
                { "key": "topology.kubernetes.io/zone", "operator": "In", "values": ["us-east-1a"] },
            ] } },
        },
    });
    let buffer = serde_json::json!({
        "apiVersion": "autoscaling.x-k8s.io/v1beta1", "kind": "CapacityBuffer",
        "metadata": { "name": "spare", "namespace": "default" },
        "spec": { "podTemplateRef": { "name": "shape" }, "replicas": room },
    });
    let shape = serde_json::json!({
        "apiVersion": "v1", "kind": "PodTemplate", "metadata": { "name": "shape", "namespace": "default" },
        "template": { "spec": { "containers": [
            { "name": "a", "resources": { "requests": { "cpu": "1", "memory": "1Gi" } } },
        ] } },
    });
    let node = |number: usize| {
        serde_json::json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": { "name": format!("node-{number}"), "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {
                "karpenter.sh/nodepool": "default", "karpenter.sh/capacity-type": "on-demand",
                "karpenter.sh/initialized": "true", "karpenter.sh/registered": "true",
                "node.kubernetes.io/instance-type": "m6a.large", "topology.kubernetes.io/zone": "us-east-1a",
                "kubernetes.io/hostname": format!("node-{number}"), "kubernetes.io/arch": "amd64", "kubernetes.io/os": "linux",
            } },
            "status": {
                "capacity": { "cpu": "2", "memory": "8Gi", "pods": "29" },
                "allocatable": { "cpu": "1930m", "memory": "7Gi", "pods": "29" },
                "conditions": [{ "type": "Ready", "status": "True" }],
            },
        })
    };
    let mut items = vec![pool, buffer, shape];
    items.extend((0..nodes).map(node));
    let text = serde_json::json!({ "kind": "List", "apiVersion": "v1", "items": items }).to_string();
    let mut snapshot =
        import(&[Source { name: "cluster", bytes: text.as_bytes() }]).expect("it imports").snapshot;
    snapshot.taken_at = Some("2026-08-31T12:00:00Z".to_owned());
    snapshot
}

fn consolidated(snapshot: &Snapshot) -> Plan {
    let wanted = ConsolidationPolicy { min_node_age_minutes: 0, ..ConsolidationPolicy::default() };
    let policy = Policy { consolidation: Some(wanted), ..Policy::default() };
    let limits = by_work(Duration::from_secs(2), 2);
    let plan =
        consolidate(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan").plan;
    assert_eq!(check(snapshot, Catalog::embedded(), &plan), Vec::new());
    plan
}

fn removed(plan: &Plan) -> usize {
    let nodes = &plan.consolidation.as_ref().expect("it consolidates").nodes;
    nodes.iter().filter(|one| one.reason.is_removal()).count()
}

#[test]
fn room_is_launched_where_it_is_missing_and_nowhere_else() {
    // A node has room for one of them.
    for (nodes, room) in [(0, 0), (0, 3), (2, 2), (2, 3), (3, 1)] {
        let snapshot = cluster(nodes, room, 10);
        let plan = accepted(&snapshot, Catalog::embedded(), &Policy::default(), Duration::from_secs(1));
        assert_eq!(plan.summary.pods_pending, room as u64);
        assert_eq!((plan.launches.len(), plan.summary.pods_unplaced), (room.saturating_sub(nodes), 0));
    }
    let short = cluster(1, 3, 2);
    let plan = accepted(&short, Catalog::embedded(), &Policy::default(), Duration::from_secs(1));
    assert_eq!((plan.launches.len(), plan.summary.pods_unplaced), (1, 1), "limits hold for room, too");
}

#[test]
fn nodes_that_are_room_do_not_go() {
    for (nodes, room) in [(3, 0), (3, 1), (3, 2), (3, 3), (2, 4)] {
        // With room to launch, and with a limit that would let nothing take the place of what goes.
        for limit in [10, nodes] {
            let plan = consolidated(&cluster(nodes, room, limit));
            let stays = nodes - removed(&plan);
            assert!(
                plan.launches.len() + stays >= room.min(limit),
                "{nodes} nodes, {room} pods, limit {limit}"
            );
            assert_eq!(stays, room.min(nodes), "{nodes} nodes, {room} pods, limit {limit}");
        }
    }
}
