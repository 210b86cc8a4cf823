//! A cluster that has become too large, and what of it several tests look at while it shrinks.

use crate::common::outcome::{all_ready, settled};
use crate::common::scene::{Replica, Scene, USER};
use crate::common::trap::Trap;
use crate::common::{LATER, SOON};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use stowage_api::NodeClaim;
use stowage_cluster::eventually;
use stowage_controller::Lease;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

pub(crate) const APPS: usize = 3;
pub(crate) const REPLICAS: usize = 8;
/// Pods that are left once there are fewer: two of them fill a node.
pub(crate) const WANTED: usize = APPS * (REPLICAS * 6 / 10);

pub(crate) fn app(n: usize) -> String {
    format!("app-{n}")
}

/// Deployments of pods that are ready soon and end quickly, each with a budget that lets one of its pods be away.
pub(crate) async fn deploy(scene: &Scene) {
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), "test");
    for n in 0..APPS {
        let name = app(n);
        let container = json!({
            "name": "main", "image": "none", "resources": { "requests": { "cpu": "1500m", "memory": "1Gi" } },
        });
        let deployment = json!({
            "metadata": { "name": name },
            "spec": {
                "replicas": REPLICAS, "selector": { "matchLabels": { "app": name } },
                "template": { "metadata": { "labels": { "app": name } }, "spec": {
                    "containers": [container], "terminationGracePeriodSeconds": 1,
                } },
            },
        });
        let deployment = serde_json::from_value(deployment).expect("a Deployment");
        deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
        let budget = json!({
            "metadata": { "name": name },
            "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": name } } },
        });
        let budget = serde_json::from_value(budget).expect("a budget");
        budgets.create(&PostParams::default(), &budget).await.expect("it is created");
    }
}

pub(crate) async fn scale(scene: &Scene, replicas: usize) {
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    for n in 0..APPS {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        deployments.patch(&app(n), &PatchParams::default(), &patch).await.expect("it is scaled");
    }
}

pub(crate) async fn nodes(scene: &Scene) -> Vec<Node> {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let list = || async { nodes.list(&ListParams::default()).await.map_err(|error| error.to_string()) };
    eventually("list of nodes", SOON, list).await.expect("nodes").items
}

pub(crate) fn is_closed(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    taints.into_iter().flatten().any(|taint| taint.key == "karpenter.sh/disrupted")
}

/// A cluster whose pods have become fewer than it was made for.
pub(crate) async fn too_large(scene: &Scene, pods: &Api<Pod>) -> usize {
    scene.types(&["m6a.xlarge"]).await;
    at_a_time(scene, "30%").await;
    deploy(scene).await;
    eventually("all ready", LATER, || all_ready(pods, APPS * REPLICAS)).await.expect("they are ready");
    let before = nodes(scene).await.len();
    scale(scene, REPLICAS * 6 / 10).await;
    eventually("fewer", LATER, || all_ready(pods, WANTED)).await.expect("they are fewer");
    // The first plan is of a cluster in which nothing is on its way: no node is still kept for pods.
    eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await.expect("it settles");
    before
}

/// Nothing is on its way: no claim is to go, none is being deleted, no node is closed.
pub(crate) async fn at_rest(scene: &Scene) -> Result<usize, String> {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let leaving = found.iter().filter(|claim| {
        claim.metadata.deletion_timestamp.is_some() || claim.annotations().contains_key("stowage.dev/removal")
    });
    let (leaving, closed) =
        (leaving.count(), nodes(scene).await.iter().filter(|node| is_closed(node)).count());
    let (live, nodes) = (scene.live(), nodes(scene).await.len());
    if leaving + closed == 0 && live == found.len() && nodes == live {
        Ok(live)
    } else {
        Err(format!("{leaving} claims leave, {closed} nodes closed, {live} machines, {nodes} nodes"))
    }
}

/// Plans have time enough on a busy machine.
const TIME: &str = "10s";

/// A control plane where no node goes for its cost until that is asked for.
pub(crate) async fn at_first_none_goes() -> (Scene, Api<Pod>) {
    let (scene, pods) = start().await;
    scene.create_policy(json!({ "consolidation": none_goes(), "timeLimit": TIME })).await;
    (scene, pods)
}

/// The same in review: launches need no approval, removals do.
pub(crate) async fn in_review() -> (Scene, Api<Pod>) {
    let (scene, pods) = start().await;
    let rules = json!({ "launches": "auto", "removals": "approve", "expireAfter": "10m" });
    let policy =
        json!({ "mode": "review", "review": rules, "consolidation": none_goes(), "timeLimit": TIME });
    scene.create_policy(policy).await;
    (scene, pods)
}

async fn start() -> (Scene, Api<Pod>) {
    let scene = Scene::start(Script::default()).await;
    let pods = Api::namespaced(scene.client.clone(), "test");
    (scene, pods)
}

fn none_goes() -> Value {
    json!({ "minNodeAge": "0s", "every": "5s", "mode": "off" })
}

/// Nodes go for their cost from now on, or no more.
pub(crate) async fn set_consolidation(scene: &Scene, mode: &str) {
    scene.change_policy(json!({ "spec": { "consolidation": { "mode": mode } } })).await;
}

/// Budgets of the pool.
pub(crate) async fn at_a_time(scene: &Scene, nodes: &str) {
    scene.pool(json!({ "spec": { "disruption": { "budgets": [{ "nodes": nodes }] } } })).await;
}

/// A controller that follows another; what it writes passes the trap.
pub(crate) async fn follow(scene: &Scene, lease: Lease, trap: &Trap) -> Replica {
    let client = trap.client(scene.cluster.client_as(USER));
    scene.replica_through(lease, client, Settings::default()).await
}

/// All pods run on as few nodes as they need, and nothing is on its way.
pub(crate) async fn shrinks(scene: &Scene, pods: &Api<Pod>) {
    eventually("it shrinks", 2 * LATER, async || {
        let live = at_rest(scene).await?;
        all_ready(pods, WANTED).await?;
        if live <= WANTED.div_ceil(2) { Ok(()) } else { Err(format!("{live} nodes")) }
    })
    .await
    .expect("it shrinks");
}

/// What the controller did to pods: evicted, and deleted, as `namespace/name`.
pub(crate) fn done_to_pods(scene: &Scene) -> (Vec<String>, Vec<String>) {
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let (mut evicted, mut deleted) = (Vec::new(), Vec::new());
    for one in ours.filter(|one| one["objectRef"]["resource"] == "pods") {
        let object = &one["objectRef"];
        let name = format!(
            "{}/{}",
            object["namespace"].as_str().unwrap_or_default(),
            object["name"].as_str().unwrap_or_default()
        );
        let done = one["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300);
        if done && object["subresource"] == "eviction" {
            evicted.push(name);
        } else if one["verb"] == "delete" {
            deleted.push(name);
        }
    }
    (evicted, deleted)
}
