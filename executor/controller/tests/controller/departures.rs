//! Goal: nodes that have to go do so as documented: drifted ones one after the other, within budgets and outside of closed windows, replacements
//! first; expired ones at their end, whatever a blocked budget says, and their pods when the grace period of the node ends, not before; unhealthy
//! ones, unless so many look so that it is the network. Shown along the way, and by the API server's audit log.

use crate::common::outcome::{all_ready, ready};
use crate::common::scene::{Scene, until};
use crate::common::{LATER, SOON};
use crate::shrinking::{at_rest, done_to_pods, is_closed, nodes};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stowage_api::{Ec2NodeClass, NodeClaim};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;
use tokio::task::JoinHandle;

/// A Deployment of pods of which a node of four cores takes two.
pub(crate) async fn app(scene: &Scene, name: &str, replicas: usize, annotations: Value) {
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({
        "name": "main", "image": "none", "resources": { "requests": { "cpu": "1500m", "memory": "1Gi" } },
    });
    let metadata = json!({ "labels": { "app": name }, "annotations": annotations });
    let deployment = json!({
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": metadata, "spec": {
                "containers": [container], "terminationGracePeriodSeconds": 5,
            } },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
}

/// Lets so many pods of an application be away.
pub(crate) async fn guard(scene: &Scene, name: &str, away: usize) {
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), "test");
    let budget = json!({
        "metadata": { "name": name },
        "spec": { "maxUnavailable": away, "selector": { "matchLabels": { "app": name } } },
    });
    let budget = serde_json::from_value(budget).expect("a budget");
    budgets.create(&PostParams::default(), &budget).await.expect("it is created");
}

pub(crate) async fn claims(scene: &Scene) -> Vec<NodeClaim> {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let list = || async { claims.list(&Default::default()).await.map_err(|error| error.to_string()) };
    eventually("list of claims", SOON, list).await.expect("claims").items
}

fn names(claims: &[NodeClaim]) -> BTreeSet<String> {
    claims.iter().map(|claim| claim.name_any()).collect()
}

/// Most nodes that were closed at once, and fewest pods that were ready, along the way.
fn watch(scene: &Scene) -> (Arc<Mutex<(usize, usize)>>, JoinHandle<()>) {
    let seen = Arc::new(Mutex::new((0, usize::MAX)));
    let (into, client) = (seen.clone(), scene.client.clone());
    let task = tokio::spawn(async move {
        let nodes: Api<Node> = Api::all(client.clone());
        let pods: Api<Pod> = Api::namespaced(client, "test");
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // A list that failed says nothing.
            let Ok(found) = nodes.list(&Default::default()).await else { continue };
            let Ok(ready) = ready(&pods).await else { continue };
            let closed = found.iter().filter(|node| is_closed(node)).count();
            let mut seen = into.lock().expect("what was seen");
            *seen = (seen.0.max(closed), seen.1.min(ready.len()));
        }
    });
    (seen, task)
}

async fn class(scene: &Scene, change: Value) {
    let classes: Api<Ec2NodeClass> = Api::all(scene.client.clone());
    let change = Patch::Merge(json!({ "spec": change }));
    classes.patch("default", &PatchParams::default(), &change).await.expect("the class changes");
}

fn planner() -> Value {
    json!({ "consolidation": { "minNodeAge": "0s", "every": "5s", "mode": "off" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_image_replaces_machines_within_budgets_and_windows() {
    const PODS: usize = 6;
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(planner()).await;
    class(&scene, json!({ "amiFamily": "AL2023", "amiSelectorTerms": [{ "name": "al2023-x86_64*" }] })).await;
    scene.types(&["m6a.xlarge"]).await;
    // A window in which nothing drifted goes, open from midnight to midnight.
    let closed = json!([
        { "nodes": "0", "reasons": ["Drifted"], "schedule": "@daily", "duration": "24h" }, { "nodes": "1" },
    ]);
    scene.pool(json!({ "spec": { "disruption": { "budgets": closed } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    app(&scene, "web", PODS, json!({})).await;
    guard(&scene, "web", 1).await;
    eventually("all ready", LATER, || all_ready(&pods, PODS)).await.expect("they are ready");
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("nothing is under way");
    let before = names(&claims(&scene).await);
    let images = || -> BTreeMap<String, String> {
        scene.cloud.with(|world| {
            let live = world.machines().values().filter(|one| one.ended.is_none());
            live.map(|one| (one.id.clone(), one.template.field("ImageId").unwrap_or_default().to_owned()))
                .collect()
        })
    };
    let old: BTreeSet<String> = images().into_values().collect();

    class(&scene, json!({ "amiSelectorTerms": [{ "name": "al2-x86_64*" }] })).await;
    let drifted = async || {
        let is_drifted = |claim: &&NodeClaim| {
            let conditions = claim.status.clone().unwrap_or_default().conditions.unwrap_or_default();
            conditions
                .iter()
                .any(|one| one.type_ == "Drifted" && one.status == "True" && one.reason == "AMIDrift")
        };
        claims(&scene).await.iter().filter(is_drifted).count()
    };
    until("all drift", async || {
        let found = drifted().await;
        if found == before.len() { Ok(()) } else { Err(format!("{found} of {}", before.len())) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(names(&claims(&scene).await), before, "the window is closed");
    assert_eq!(done_to_pods(&scene), (Vec::new(), Vec::new()));

    let (seen, watching) = watch(&scene);
    scene.pool(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "1" }] } } })).await;
    eventually("all are replaced", LATER, async || {
        at_rest(&scene).await?;
        all_ready(&pods, PODS).await?;
        let left = names(&claims(&scene).await).intersection(&before).count();
        if left == 0 { Ok(()) } else { Err(format!("{left} of {} are left", before.len())) }
    })
    .await
    .expect("they are replaced");
    watching.abort();
    assert!(images().values().all(|image| !old.contains(image)), "{:?}", images());
    let (closed, ready) = *seen.lock().expect("what was seen");
    assert!(closed == 1 && ready + 1 >= PODS, "{closed} nodes closed at once, {ready} pods ready at times");
    assert_eq!(done_to_pods(&scene).1, Vec::<String>::new(), "evicted, not deleted");
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_node_goes_at_its_end_though_a_budget_is_blocked() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(planner()).await;
    scene.types(&["m6a.xlarge"]).await;
    // Longer than a busy machine takes until its pod is ready.
    let template = json!({ "expireAfter": "60s", "terminationGracePeriod": "16s" });
    scene.pool(json!({ "spec": { "template": { "spec": template } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    app(&scene, "web", 1, json!({})).await;
    guard(&scene, "web", 0).await;
    eventually("ready", LATER, || all_ready(&pods, 1)).await.expect("it is ready");
    let first = claims(&scene).await.pop().expect("a claim");
    let pod = pods.list(&Default::default()).await.expect("pods").items.pop().expect("a pod").name_any();
    let created = first.creation_timestamp().expect("a time").0.as_millisecond();
    let age = || jiff::Timestamp::now().as_millisecond() - created;
    // Until then the budget keeps it.
    while age() < 58_000 {
        let found = claims(&scene).await;
        let own = found.iter().find(|claim| claim.name_any() == first.name_any()).expect("it is there");
        let leaving = own.metadata.deletion_timestamp.is_some()
            || own.annotations().contains_key("stowage.dev/removal");
        assert!(!leaving || age() >= 59_000, "it leaves {} ms after it was created", age());
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // When it left is what the API server says: looking may take a while.
    let left = eventually("it is being deleted, its replacement there", LATER, async || {
        let found = claims(&scene).await;
        let own = found.iter().find(|claim| claim.name_any() == first.name_any());
        let deleted = own.and_then(|claim| claim.metadata.deletion_timestamp.clone());
        let deleted = deleted.filter(|_| found.len() > 1).map(|at| at.0.as_millisecond() - created);
        deleted.ok_or_else(|| format!("{} claims", found.len()))
    })
    .await
    .expect("it is being deleted");
    assert!(left >= 59_000, "it left {left} ms after it was created");
    until("its machine ends", async || {
        let ended = scene.cloud.with(|world| {
            let own =
                |one: &&stowage_fake_cloud::Machine| one.tags["karpenter.sh/nodeclaim"] == first.name_any();
            world.machines().values().find(own).is_some_and(|one| one.ended.is_some())
        });
        if ended { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
    let ended = age();
    eprintln!("left after {left} ms, ended after {ended} ms");
    // The budget holds every eviction; the pod is deleted when the node's grace period ends, and not much before.
    let (evicted, deleted) = done_to_pods(&scene);
    assert!(!evicted.contains(&format!("test/{pod}")), "{evicted:?}");
    assert!(deleted.contains(&format!("test/{pod}")), "{deleted:?}");
    assert!(ended >= left + 10_000, "{left} {ended}");
    eventually("ready", LATER, || all_ready(&pods, 1)).await.expect("its successor is ready");
    scene.seen();
    replica.task.abort();
}

/// Makes a node look unhealthy, or well, since then.
async fn sicken(scene: &Scene, node: &str, status: &str, since: jiff::Timestamp) {
    let since = since.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let ready = json!({ "type": "Ready", "status": status, "reason": "Test", "lastTransitionTime": since });
    let change = Patch::Strategic(json!({ "status": { "conditions": [ready] } }));
    let nodes: Api<Node> = Api::all(scene.client.clone());
    nodes.patch_status(node, &PatchParams::default(), &change).await.expect("its status");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unhealthy_node_is_replaced_and_a_partition_ends_nothing() {
    const PODS: usize = 10;
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(json!({ "consolidation": { "every": "5s", "mode": "off", "repair": true } })).await;
    scene.types(&["m6a.xlarge"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    app(&scene, "web", PODS, json!({})).await;
    eventually("all ready", LATER, || all_ready(&pods, PODS)).await.expect("they are ready");
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("nothing is under way");
    let all: Vec<String> = nodes(&scene).await.iter().map(|node| node.name_any()).collect();
    assert_eq!(all.len(), 5);

    // Three of five: it is not the nodes. All of them are to be repaired from the same moment on, some seconds from now: one by itself would be.
    let half_an_hour = jiff::SignedDuration::from_mins(30);
    let since = jiff::Timestamp::now() - half_an_hour + jiff::SignedDuration::from_secs(10);
    for node in &all[..3] {
        sicken(&scene, node, "Unknown", since).await;
    }
    // Statuses have whole seconds.
    let due = since + half_an_hour - jiff::SignedDuration::from_secs(1);
    assert!(jiff::Timestamp::now() < due, "this machine is too slow to tell");
    tokio::time::sleep(Duration::from_secs(24)).await;
    assert!(nodes(&scene).await.iter().all(|node| !is_closed(node)), "the breaker holds");
    assert_eq!(done_to_pods(&scene), (Vec::new(), Vec::new()));
    assert_eq!(scene.calls("TerminateInstances", 0).len(), 0);
    let claimed = claims(&scene).await;
    assert!(claimed.iter().all(|claim| claim.metadata.deletion_timestamp.is_none()));

    // It heals, but for one.
    for node in &all[1..3] {
        sicken(&scene, node, "True", jiff::Timestamp::now() - half_an_hour).await;
    }
    eventually("one is replaced", LATER, async || {
        at_rest(&scene).await?;
        all_ready(&pods, PODS).await?;
        let there: BTreeSet<String> = nodes(&scene).await.iter().map(|node| node.name_any()).collect();
        let gone: Vec<&String> = all.iter().filter(|node| !there.contains(*node)).collect();
        if gone == [&all[0]] { Ok(()) } else { Err(format!("{gone:?} are gone")) }
    })
    .await
    .expect("it is replaced");
    let ended = scene.cloud.with(|world| world.machines().values().filter(|one| one.ended.is_some()).count());
    assert_eq!(ended, 1);
    scene.seen();
    replica.task.abort();
}

/// Applications of one pod: what may move is evicted once, what must not be stays with its node.
#[tokio::test(flavor = "multi_thread")]
async fn single_pods_move_once_or_stay() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(planner()).await;
    scene.types(&["m6a.xlarge"]).await;
    scene.pool(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "100%" }] } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    // Each with a partner, which then goes: four nodes with half of their room.
    let mark = json!({ "karpenter.sh/do-not-disrupt": "true" });
    let mut count = 0;
    for (name, annotations) in
        [("free", json!({})), ("other", json!({})), ("guarded", json!({})), ("marked", mark)]
    {
        app(&scene, name, 1, annotations).await;
        app(&scene, &format!("{name}-partner"), 1, json!({})).await;
        // Two of a kind on each node: the next come when these are there.
        count += 2;
        eventually("ready", LATER, || all_ready(&pods, count)).await.expect("they are ready");
    }
    guard(&scene, "guarded", 0).await;
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("nothing is under way");
    let before = nodes(&scene).await.len();
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    for name in ["free", "other", "guarded", "marked"] {
        deployments.delete(&format!("{name}-partner"), &Default::default()).await.expect("it goes");
    }
    eventually("four are left", LATER, || all_ready(&pods, 4)).await.expect("they are ready");
    let of = async |name: &str| {
        let found = pods.list(&Default::default()).await.expect("pods").items;
        found.iter().find(|pod| pod.labels()["app"] == name).expect("it").clone()
    };
    let kept = [of("guarded").await.uid(), of("marked").await.uid()];
    scene.change_policy(json!({ "spec": { "consolidation": { "mode": "auto" } } })).await;
    // What must stay has room for the others beside it.
    eventually("two nodes", LATER, async || {
        let live = at_rest(&scene).await?;
        all_ready(&pods, 4).await?;
        if live == 2 { Ok(()) } else { Err(format!("{live} of {before} nodes")) }
    })
    .await
    .expect("it shrinks");
    assert_eq!([of("guarded").await.uid(), of("marked").await.uid()], kept);
    let (evicted, deleted) = done_to_pods(&scene);
    let apps: BTreeSet<&str> = evicted
        .iter()
        .map(|pod| pod.trim_start_matches("test/").split('-').next().unwrap_or_default())
        .collect();
    assert!(apps.is_subset(&["free", "other"].into()), "{evicted:?}");
    assert_eq!((evicted.iter().collect::<BTreeSet<_>>().len(), deleted), (evicted.len(), Vec::new()));
    scene.seen();
    replica.task.abort();
}
