//! Goal: the limits of a NodePool hold at every moment, with a batch in flight when the next is planned.

use crate::common::pods;
use crate::common::scene::{Scene, until};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use serde_json::json;
use std::time::Duration;
use stowage_executor::Settings;
use stowage_fake_cloud::{Effect, Fault, Script};

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_with_two_batches_at_once() {
    const LIMIT: u64 = 24;
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge", "c6a.xlarge", "c6a.2xlarge"]).await;
    scene.pool(json!({ "spec": { "limits": { "cpu": LIMIT.to_string() } } })).await;
    // Machines are there 6 s before anybody hears of them.
    scene.cloud.with(|world| world.add_fault(Fault::new("CreateFleet", Effect::Slow { by: 6_000 })));
    let replica = scene.replica("one", Settings::default()).await;
    // Sixteen pods ask for 15 cores.
    pods(&scene.client, "first", 16).await;
    until(
        "first fleet",
        async || {
            if scene.calls("CreateFleet", 0).is_empty() { Err(String::new()) } else { Ok(()) }
        },
    )
    .await;
    pods(&scene.client, "second", 24).await;
    // What does not fit within the limit is said, and why.
    let left_out = async || {
        let plans = scene.plans().await.into_iter().filter_map(|plan| plan.status?.left_out).flatten();
        plans.filter(|left| left.reason.contains("limit")).count()
    };
    until("reason", async || if left_out().await > 0 { Ok(()) } else { Err("none".to_owned()) }).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let bound = async || {
        let all = pods.list(&ListParams::default()).await.expect("pods").items;
        all.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some())).count()
    };
    until("first batch bound", async || {
        let bound = bound().await;
        if bound >= 16 { Ok(()) } else { Err(format!("{bound} bound")) }
    })
    .await;
    until("the limit is used", async || {
        let most = scene.seen().cores_most;
        if most >= LIMIT - 4 { Ok(()) } else { Err(format!("{most} cores")) }
    })
    .await;
    // And it holds.
    tokio::time::sleep(Duration::from_secs(12)).await;
    let most = scene.seen().cores_most;
    eprintln!("{} of 40 pods bound, at most {most} cores at once of {LIMIT}", bound().await);
    assert!(most <= LIMIT, "{most} cores");
    replica.task.abort();
}
