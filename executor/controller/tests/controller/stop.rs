//! Goal: the cluster-wide stop works within five seconds, whatever is under way: nothing is launched, drained or ended any more, and machines
//! that were launched before become nodes that any pod may use. Shown by what the cloud and the API server themselves have recorded.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, USER, until};
use crate::common::{LATER, all_bound, pods};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use stowage_api::{NodeClaim, PlanPolicy};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// What a stop may take.
const SOON_ENOUGH: SignedDuration = SignedDuration::from_secs(5);

/// Sets or takes away the annotation.
async fn stop(scene: &Scene, value: Value) {
    scene.change_policy(json!({ "metadata": { "annotations": { "stowage.dev/stop": value } } })).await;
}

/// What the controller wrote in that time, as `verb resource/subresource`, but for what it says about itself.
fn writes(scene: &Scene, from: Timestamp, to: Timestamp) -> Vec<String> {
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let within = ours.filter(|one| {
        let at: Option<Timestamp> = one["requestReceivedTimestamp"].as_str().and_then(|at| at.parse().ok());
        at.is_some_and(|at| from <= at && at < to)
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let what = |one: &Value| {
        let object = &one["objectRef"];
        format!("{} {}/{}", text(&one["verb"]), text(&object["resource"]), text(&object["subresource"]))
    };
    let reads = ["get", "list", "watch"];
    let writes = within.filter(|one| !reads.contains(&one["verb"].as_str().unwrap_or_default()));
    let about_itself = ["leases/", "events/", "plans/status", "planpolicies/status"];
    writes.map(what).filter(|one| !about_itself.iter().any(|other| one.ends_with(other))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_works_within_seconds_whatever_is_under_way() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(json!({})).await;
    scene.types(&["m6a.xlarge"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    pods(&scene.client, "first", 8).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 8)).await.expect("they are bound");
    let claims = eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");

    // A drain and many launches are under way when it comes.
    let all: Api<NodeClaim> = Api::all(scene.client.clone());
    pods(&scene.client, "second", 60).await;
    until("launches", async || {
        if scene.calls("CreateFleet", 0).len() > claims.len() { Ok(()) } else { Err(String::new()) }
    })
    .await;
    for claim in &claims {
        all.delete(&claim.name_any(), &DeleteParams::default()).await.expect("it is marked");
    }
    stop(&scene, "incident".into()).await;
    let asked = Timestamp::now();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = asked.checked_add(SOON_ENOUGH).expect("a time");
    let changes = async || -> usize {
        ["CreateFleet", "TerminateInstances", "CreateLaunchTemplate", "DeleteLaunchTemplate", "CreateTags"]
            .iter()
            .map(|action| scene.calls(action, 0).len())
            .sum()
    };
    let before = changes().await;
    pods(&scene.client, "third", 20).await;
    // Machines boot in this time and join.
    let nodes: Api<Node> = Api::all(scene.client.clone());
    until("machines that were launched are nodes that are open", async || {
        let found = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let ready = |node: &&Node| node.labels().get("karpenter.sh/initialized").is_some();
        let open = |node: &&Node| {
            let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
            taints.into_iter().flatten().all(|taint| taint.key == "karpenter.sh/disrupted")
        };
        let (live, count) = (scene.live(), found.iter().filter(ready).filter(open).count());
        if live == count { Ok(()) } else { Err(format!("{count} of {live}")) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(changes().await, before, "the cloud was asked to change something");
    let wrote = writes(&scene, from, Timestamp::now());
    let finishing = ["patch nodes/", "patch nodeclaims/", "patch nodeclaims/status"];
    // A plan that was being computed is shown, and nothing of it is carried out.
    let shown = wrote.iter().filter(|one| *one == "create plans/").count();
    assert!(shown <= 1, "{shown} plans");
    let others = wrote.iter().filter(|one| !finishing.contains(&one.as_str()) && *one != "create plans/");
    let others: Vec<_> = others.collect();
    assert!(others.is_empty(), "{others:?}");
    let api: Api<PlanPolicy> = Api::all(scene.client.clone());
    let conditions = api.get("default").await.expect("it").status.unwrap_or_default().conditions;
    let told = |one: &stowage_api::Condition| one.type_ == "Stopped" && one.status == "True";
    assert!(conditions.as_ref().is_some_and(|all| all.iter().any(told)), "{conditions:?}");

    // And on it goes: what was to be drained is, and every pod gets a place.
    stop(&scene, Value::Null).await;
    eventually("all pods bound", LATER, || async {
        let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(scene.client.clone(), "test");
        let found = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let waiting =
            found.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())).count();
        let old = all.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let old = old.iter().filter(|one| one.metadata.deletion_timestamp.is_some()).count();
        if waiting + old == 0 { Ok(()) } else { Err(format!("{waiting} pods wait, {old} claims go")) }
    })
    .await
    .expect("it goes on");
    scene.seen();
    replica.task.abort();
}
