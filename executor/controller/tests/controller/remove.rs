//! Goal: a cluster that has become too large shrinks to the planned nodes: replacements first, only planned pods are evicted, by eviction and
//! within their budgets, what is protected stays; a stop in the middle leaves no node closed. Shown by the API server's own audit log.

use crate::common::LATER;
use crate::common::outcome::{all_ready, is_ready, ready};
use crate::common::scene::{Scene, until};
use crate::shrinking::{
    APPS, REPLICAS, WANTED, app, at_first_none_goes, at_rest, done_to_pods, is_closed, nodes,
    set_consolidation, shrinks, too_large,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stowage_api::{NodeClaim, Plan};
use stowage_cluster::eventually;
use stowage_executor::Settings;

/// Pods that plans move, by `namespace/name`, and nodes that they remove.
async fn planned_moves(scene: &Scene) -> (BTreeSet<String>, BTreeSet<String>) {
    let plans = scene.plans().await;
    let actions = plans.iter().flat_map(|plan| &plan.spec.actions).filter(|action| action.kind == "Remove");
    let (mut pods, mut nodes) = (BTreeSet::new(), BTreeSet::new());
    for action in actions {
        pods.extend(action.pods.iter().cloned());
        nodes.extend(action.node.clone());
    }
    (pods, nodes)
}

/// What was seen along the way.
#[derive(Default)]
struct Watched {
    /// Fewest pods of an application that were ready at once.
    least: BTreeMap<String, usize>,
    /// Nodes of pods, both by name.
    on: BTreeMap<String, String>,
}

impl Watched {
    fn take_in(&mut self, found: &[Pod]) {
        let mut count: BTreeMap<String, usize> = (0..APPS).map(|n| (app(n), 0)).collect();
        for pod in found {
            // Also one that is not ready yet, or not any more: it may be evicted before it is seen again.
            if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
                self.on.insert(format!("test/{}", pod.name_any()), node);
            }
            if is_ready(pod) {
                *count.entry(pod.labels().get("app").cloned().unwrap_or_default()).or_default() += 1;
            }
        }
        for (app, count) in count {
            let entry = self.least.entry(app).or_insert(count);
            *entry = (*entry).min(count);
        }
    }
}

fn watch(pods: Api<Pod>) -> (Arc<Mutex<Watched>>, tokio::task::JoinHandle<()>) {
    let watched: Arc<Mutex<Watched>> = Arc::default();
    let into = watched.clone();
    let task = tokio::spawn(async move {
        loop {
            // A list that failed says nothing.
            if let Ok(found) = pods.list(&ListParams::default()).await {
                into.lock().expect("what was seen").take_in(&found.items);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    (watched, task)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_shrinks_to_the_planned_nodes_within_budgets() {
    let (scene, pods) = at_first_none_goes().await;
    let replica = scene.replica("one", Settings::default()).await;
    let before = too_large(&scene, &pods).await;
    // One pod must stay where it is.
    let protected = ready(&pods).await.expect("pods")[0].name_any();
    let mark = json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" } } });
    pods.patch(&protected, &PatchParams::default(), &Patch::Merge(mark)).await.expect("it is marked");
    let (watched, watching) = watch(pods.clone());
    let begun = std::time::Instant::now();
    set_consolidation(&scene, "auto").await;
    shrinks(&scene, &pods).await;
    eprintln!("{before} nodes -> {} in {:.1} s", scene.live(), begun.elapsed().as_secs_f64());
    watching.abort();
    assert!(before > WANTED.div_ceil(2), "{before} nodes were there before");
    let (planned, removed) = planned_moves(&scene).await;
    let watched = std::mem::take(&mut *watched.lock().expect("what was seen"));
    for (app, least) in &watched.least {
        assert!(*least + 1 >= REPLICAS * 6 / 10, "{least} of {app} were ready at times");
    }
    // Only what plans move was evicted, or what had come to the nodes they remove since and had another place; and nothing was deleted.
    let (evicted, deleted) = done_to_pods(&scene);
    assert!(!evicted.is_empty());
    let mut since = 0;
    for pod in &evicted {
        let node = watched.on.get(pod).cloned().unwrap_or_default();
        assert!(removed.contains(&node), "{pod} was evicted from {node}, which no plan removes");
        assert_ne!(*pod, format!("test/{protected}"));
        since += usize::from(!planned.contains(pod));
    }
    eprintln!("{} evictions, {since} of pods that had come since", evicted.len());
    assert_eq!(deleted, Vec::<String>::new());
    assert_eq!(evicted.iter().collect::<BTreeSet<_>>().len(), evicted.len(), "each is evicted once");
    // Nobody else can have a node removed by writing that it is to go.
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let one = claims.list(&ListParams::default()).await.expect("claims").items[0].name_any();
    let forged = Patch::Merge(json!({ "metadata": { "annotations": { "stowage.dev/removal": "{}" } } }));
    let refused = claims.patch(&one, &PatchParams::default(), &forged).await.map(drop);
    assert!(refused.is_err_and(|error| error.to_string().contains("only stowage writes")));
    // The plans that did it are over, and say so.
    let plans: Api<Plan> = Api::all(scene.client.clone());
    until("plans are over", async || {
        let found = plans.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let removing =
            found.iter().filter(|plan| plan.spec.actions.iter().any(|action| action.kind == "Remove"));
        let phases: Vec<String> = removing.filter_map(|plan| plan.status.as_ref()?.phase.clone()).collect();
        // One that failed says that a node stayed: kube-scheduler had put a successor where another pod was to go. Another plan follows it.
        // One of which nothing was begun in time is superseded.
        let over = phases.iter().all(|phase| ["Completed", "Failed", "Superseded"].contains(&phase.as_str()));
        let done = over && phases.contains(&"Completed".to_owned());
        if done { Ok(()) } else { Err(format!("{phases:?}")) }
    })
    .await;
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_the_middle_leaves_no_node_closed() {
    let (scene, pods) = at_first_none_goes().await;
    let replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    set_consolidation(&scene, "auto").await;
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    // As soon as one is to go.
    eventually("one is to go", LATER, async || {
        let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let intended = found.iter().any(|claim| claim.annotations().contains_key("stowage.dev/removal"));
        intended.then_some(()).ok_or_else(|| format!("none of {} claims", found.len()))
    })
    .await
    .expect("one is to go");
    scene.change_policy(json!({ "spec": { "stop": true } })).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (evicted, _) = done_to_pods(&scene);
    until("what is not being deleted is open", async || {
        let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let deleting: BTreeSet<String> = found
            .iter()
            .filter(|claim| claim.metadata.deletion_timestamp.is_some())
            .filter_map(|claim| claim.status.as_ref()?.node_name.clone())
            .collect();
        let intended = found.iter().filter(|claim| {
            claim.metadata.deletion_timestamp.is_none()
                && claim.annotations().contains_key("stowage.dev/removal")
        });
        let intended = intended.count();
        let closed = nodes(&scene).await;
        let closed =
            closed.iter().filter(|node| is_closed(node) && !deleting.contains(&node.name_any())).count();
        if intended + closed == 0 { Ok(()) } else { Err(format!("{intended} to go, {closed} closed")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(done_to_pods(&scene).0.len(), evicted.len(), "pods were evicted while everything was stopped");
    scene.change_policy(json!({ "spec": { "stop": false } })).await;
    // It goes on.
    shrinks(&scene, &pods).await;
    scene.seen();
    replica.task.abort();
}

/// One node that has become too large for what is left on it is replaced: the new one is ready before the pod has to leave the old one.
#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_is_ready_before_anything_is_evicted() {
    let (scene, pods) = at_first_none_goes().await;
    scene.types(&["m6a.large", "m6a.4xlarge"]).await;
    // All ten are one batch, however long it takes until they are there.
    let settings = Settings { batch_idle: 5_000, batch_max: 20_000, ..Settings::default() };
    let replica = scene.replica("one", settings).await;
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({
        "name": "main", "image": "none", "resources": { "requests": { "cpu": "1500m", "memory": "1Gi" } },
    });
    // Ten are cheapest on one node of 16 cores, one on a node of two.
    let deployment = json!({
        "metadata": { "name": "one" },
        "spec": {
            "replicas": 10, "selector": { "matchLabels": { "app": "one" } },
            "template": { "metadata": { "labels": { "app": "one" } }, "spec": {
                "containers": [container], "terminationGracePeriodSeconds": 1,
            } },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
    eventually("all ready", LATER, || all_ready(&pods, 10)).await.expect("they are ready");
    let fewer = Patch::Merge(json!({ "spec": { "replicas": 1 } }));
    deployments.patch("one", &PatchParams::default(), &fewer).await.expect("it is scaled");
    eventually("one", LATER, || all_ready(&pods, 1)).await.expect("one is left");
    let kind = async || -> Result<String, String> {
        let node = ready(&pods).await?.pop().and_then(|pod| pod.spec?.node_name).ok_or("no pod is ready")?;
        let nodes: Api<Node> = Api::all(scene.client.clone());
        let node = nodes.get(&node).await.map_err(|error| error.to_string())?;
        Ok(node.labels().get("node.kubernetes.io/instance-type").cloned().unwrap_or_default())
    };
    assert_eq!(kind().await.expect("its node"), "m6a.4xlarge");
    set_consolidation(&scene, "auto").await;
    eventually("one small node", 2 * LATER, async || {
        let live = at_rest(&scene).await?;
        all_ready(&pods, 1).await?;
        let kind = kind().await?;
        if live == 1 && kind == "m6a.large" {
            Ok(())
        } else {
            Err(format!("{live} nodes, the pod is on {kind}"))
        }
    })
    .await
    .expect("it is replaced");
    // It left once, and after the new node was ready.
    let audit = scene.cluster.audit().expect("the audit log");
    let at = |one: &Value| one["requestReceivedTimestamp"].as_str().unwrap_or_default().to_owned();
    let evicted: Vec<String> = audit
        .iter()
        .filter(|one| one["objectRef"]["subresource"] == "eviction")
        .filter(|one| one["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300))
        .map(at)
        .collect();
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let last = claims.list(&ListParams::default()).await.expect("claims").items.pop().expect("one claim");
    let conditions = last.status.clone().unwrap_or_default().conditions.unwrap_or_default();
    let initialized = conditions.iter().find(|one| one.type_ == "Initialized").expect("a condition");
    assert_eq!(evicted.len(), 1);
    assert!(initialized.last_transition_time.as_str() <= evicted[0].as_str(), "{initialized:?} {evicted:?}");
    scene.seen();
    replica.task.abort();
}
