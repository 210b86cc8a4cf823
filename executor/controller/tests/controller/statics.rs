//! Goal: a static NodePool has as many nodes as it says, needed or not: launched when they lack, given back when they are too many, and
//! replaced when one is lost; nothing that plans make of it is seen on nodes, and pods that wait get nodes of other pools.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, until};
use crate::common::{LATER, all_bound, create};
use crate::review::{JANE, approver, becomes, phase};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use stowage_api::{NodeClaim, NodePool, Plan};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;
use stowage_review::cluster;

/// So many machines of each pool, ready and open, with nothing under way.
async fn machines(scene: &Scene, of_base: usize, of_default: usize) {
    let there = || async {
        let claims = settled(&scene.client, &scene.cloud).await?;
        let of =
            |pool: &str| claims.iter().filter(|one| one.labels()["karpenter.sh/nodepool"] == pool).count();
        let found = (of("base"), of("default"));
        if found == (of_base, of_default) { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually(&format!("{of_base} and {of_default} machines"), LATER, there).await.expect("they come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pool_has_as_many_nodes_as_it_says() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    let one_of = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
    let pool = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "base" },
        "spec": {
            "replicas": 2, "limits": { "nodes": 3 },
            "template": { "metadata": { "labels": { "kind": "base" } }, "spec": {
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                "requirements": [
                    one_of("karpenter.sh/capacity-type", &["on-demand"]),
                    one_of("node.kubernetes.io/instance-type", &["m6i.large", "m6a.large"]),
                ],
            } },
        },
    });
    create(&scene.client, "nodepools", pool).await;
    let replica = scene.replica("one", Settings::default()).await;
    machines(&scene, 2, 0).await;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    for node in nodes.list(&ListParams::default()).await.expect("nodes") {
        assert_eq!(node.labels().get("kind").map(String::as_str), Some("base"));
        assert!(!node.labels().contains_key("stowage.dev/static-pool"), "{:?}", node.labels());
    }
    // A pod that fits no node of it gets one of another pool; one that tolerates everything gets none of it, either.
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "3" } } });
    let pod = json!({
        "metadata": { "name": "pod" },
        "spec": { "containers": [container], "tolerations": [{ "operator": "Exists" }] },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
    eventually("the pod is bound", LATER, || all_bound(&scene.client, 1)).await.expect("it is bound");
    machines(&scene, 2, 1).await;
    // Scaled as people and programs scale things: up, no further than its limit, and down.
    let pools: Api<NodePool> = Api::all(scene.client.clone());
    let scale = async |replicas: i32| {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scale: Scale =
            pools.patch_scale("base", &PatchParams::default(), &patch).await.expect("it scales");
        assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(replicas));
    };
    scale(5).await;
    machines(&scene, 3, 1).await;
    scale(1).await;
    machines(&scene, 1, 1).await;
    scale(2).await;
    machines(&scene, 2, 1).await;
    let told = || async {
        let scale = pools.get_scale("base").await.map_err(|error| error.to_string())?;
        let nodes = scale.status.map(|status| status.replicas);
        if nodes == Some(2) { Ok(()) } else { Err(format!("{nodes:?}")) }
    };
    eventually("the scale says so", LATER, told).await.expect("it says so");
    scene.seen();
    replica.task.abort();
}

/// Claims of the static pool by name, and how many nodes of it are ready and open.
async fn of_base(scene: &Scene) -> Result<(BTreeSet<String>, usize), String> {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let own =
        found.iter().filter(|claim| claim.labels().get("karpenter.sh/nodepool") == Some(&"base".to_owned()));
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let is_open = |node: &&Node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        node.labels().get("karpenter.sh/initialized").is_some_and(|value| value == "true")
            && taints.is_none_or(Vec::is_empty)
            && conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    Ok((own.map(|claim| claim.name_any()).collect(), nodes.iter().filter(is_open).count()))
}

/// A static pool of two nodes, of which one may be replaced at a time.
fn one_at_a_time() -> Value {
    let one_of = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
    json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "base" },
        "spec": {
            "replicas": 2, "limits": { "nodes": 3 }, "disruption": { "consolidateAfter": "0s", "budgets": [{ "nodes": "1" }] },
            "template": { "metadata": { "labels": { "kind": "first" } }, "spec": {
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                "requirements": [
                    one_of("karpenter.sh/capacity-type", &["on-demand"]),
                    one_of("node.kubernetes.io/instance-type", &["m6a.large"]),
                ],
            } },
        },
    })
}

async fn change(scene: &Scene, change: Value) {
    let pools: Api<NodePool> = Api::all(scene.client.clone());
    pools.patch("base", &PatchParams::default(), &Patch::Merge(change)).await.expect("the pool changes");
}

/// Approves the next plan that waits, and waits until it is done; the nodes that it removed.
async fn approve_next(scene: &Scene, nodes: &str) -> BTreeSet<String> {
    let found = async || {
        let plans = scene.plans().await;
        let waiting: Vec<&Plan> = plans.iter().filter(|plan| phase(plan) == "Proposed").collect();
        let one = waiting.iter().find(|plan| plan.spec.nodes == nodes).map(|plan| (*plan).clone());
        one.ok_or_else(|| format!("{:?}", waiting.iter().map(|plan| &plan.spec.nodes).collect::<Vec<_>>()))
    };
    let plan = eventually(&format!("a plan of {nodes}"), LATER, found).await.expect("a plan");
    let jane = scene.cluster.client_as(JANE);
    let shown = cluster::show(&jane, &plan.name_any()).await.expect("it is shown");
    for action in &plan.spec.actions {
        assert!(shown.contains(&action.id), "{}: {shown}", action.id);
    }
    cluster::approve(&jane, &plan.name_any(), &plan.spec.digest, "Jane").await.expect("it is approved");
    becomes(scene, &plan.name_any(), "Completed").await;
    plan.spec.actions.iter().filter_map(|action| action.node.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_review_a_static_pool_changes_as_it_was_approved_and_not_otherwise() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(json!({ "mode": "review", "review": { "expireAfter": "10m" } })).await;
    approver(&scene).await;
    create(&scene.client, "nodepools", one_at_a_time()).await;
    let replica = scene.replica("one", Settings::default()).await;
    let nodes = async || -> BTreeSet<String> {
        let nodes: Api<Node> = Api::all(scene.client.clone());
        let found = nodes.list(&ListParams::default()).await.expect("nodes").items;
        found.iter().map(|node| node.name_any()).collect()
    };
    assert_eq!(approve_next(&scene, "+2/-0").await, BTreeSet::new());
    machines(&scene, 2, 0).await;
    // Other labels: both have drifted, one at a time may go, and none does before that is approved.
    change(&scene, json!({ "spec": { "template": { "metadata": { "labels": { "kind": "second" } } } } }))
        .await;
    let mut before = nodes().await;
    for _ in 0..2 {
        assert_eq!(nodes().await, before);
        let gone = approve_next(&scene, "+1/-1").await;
        machines(&scene, 2, 0).await;
        let after = nodes().await;
        assert_eq!(before.difference(&after).cloned().collect::<BTreeSet<_>>(), gone);
        before = after;
    }
    change(&scene, json!({ "spec": { "replicas": 1 } })).await;
    let gone = approve_next(&scene, "+0/-1").await;
    machines(&scene, 1, 0).await;
    assert_eq!(before.difference(&nodes().await).cloned().collect::<BTreeSet<_>>(), gone);
    until("nothing is proposed any more", async || {
        let plans = scene.plans().await;
        let waiting = plans.iter().filter(|plan| phase(plan) == "Proposed").count();
        if waiting == 0 { Ok(()) } else { Err(format!("{waiting} plans")) }
    })
    .await;
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_static_pool_that_have_drifted_or_expire_are_replaced() {
    let scene = Scene::start(Script::default()).await;
    create(&scene.client, "nodepools", one_at_a_time()).await;
    let replica = scene.replica("one", Settings::default()).await;
    machines(&scene, 2, 0).await;
    let (first, _) = of_base(&scene).await.expect("claims and nodes");
    let change = async |spec: Value| change(&scene, spec).await;
    // Other labels: one after the other, and never fewer than two that are ready.
    change(json!({ "spec": { "template": { "metadata": { "labels": { "kind": "second" } } } } })).await;
    let seen = Mutex::new((2, 2));
    eventually("both have drifted and are replaced", LATER, async || {
        let (claims, open) = of_base(&scene).await?;
        {
            let mut seen = seen.lock().expect("what was seen");
            *seen = (seen.0.min(open), seen.1.max(claims.len()));
        }
        let old = claims.intersection(&first).count();
        if old == 0 && claims.len() == 2 && open == 2 {
            Ok(())
        } else {
            Err(format!("{old} old, {claims:?}, {open} open"))
        }
    })
    .await
    .expect("they are replaced");
    assert_eq!(*seen.lock().expect("what was seen"), (2, 3));
    machines(&scene, 2, 0).await;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    for node in nodes.list(&ListParams::default()).await.expect("nodes") {
        assert_eq!(node.labels().get("kind").map(String::as_str), Some("second"));
    }
    // Nodes that live a minute: drifted first, because that is a change; then each new one is replaced when its time comes.
    change(json!({ "spec": { "template": { "spec": { "expireAfter": "60s" } } } })).await;
    let (second, _) = of_base(&scene).await.expect("claims and nodes");
    let known = Mutex::new((second.clone(), 2));
    eventually("four generations", 2 * LATER, async || {
        let (claims, open) = of_base(&scene).await?;
        let mut known = known.lock().expect("what was seen");
        known.1 = known.1.max(claims.len());
        known.0.extend(claims);
        let count = known.0.len();
        if count >= second.len() + 4 { Ok(()) } else { Err(format!("{count} so far, {open} open")) }
    })
    .await
    .expect("they expire");
    let most = known.lock().expect("what was seen").1;
    assert!(most <= 4, "{most} claims at once, and the limit is three nodes with one that ends");
    change(json!({ "spec": { "template": { "spec": { "expireAfter": "Never" } } } })).await;
    machines(&scene, 2, 0).await;
    scene.seen();
    replica.task.abort();
}
