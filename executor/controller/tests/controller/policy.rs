//! Goal: the cluster's PlanPolicy is read while the controller runs, what it says is done, and its status says whether it is in force.

use crate::common::scene::{Scene, until};
use crate::common::{LATER, all_bound, pods};
use kube::Api;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use stowage_api::PlanPolicy;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// Changes the policy, and waits until its status says how that is taken.
async fn set(scene: &Scene, spec: Value, status: &str, words: &str) {
    let api: Api<PlanPolicy> = Api::all(scene.client.clone());
    let changed = scene.change_policy(json!({ "spec": spec })).await;
    until("word about the policy", async || {
        let found = api.get("default").await.map_err(|error| error.to_string())?;
        let conditions = found.status.unwrap_or_default().conditions.unwrap_or_default();
        let told = conditions.iter().any(|one| {
            one.type_ == "Ready"
                && one.status == status
                && one.message.contains(words)
                && one.observed_generation == changed.metadata.generation
        });
        told.then_some(()).ok_or_else(|| format!("{conditions:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_the_cluster_is_honoured() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(json!({ "mode": "shadow" })).await;
    let replica = scene.replica("one", Settings::default()).await;
    set(&scene, json!({ "gapPpm": 20_000 }), "True", "").await;
    pods(&scene.client, "first", 8).await;
    let shadow = async |least: usize| {
        until("plans in shadow", async || {
            let plans = scene.plans().await;
            let shadow =
                plans.iter().filter(|plan| plan.spec.mode == "shadow" && !plan.spec.actions.is_empty());
            let count = shadow.count();
            if count >= least { Ok(()) } else { Err(format!("{count} of {}", plans.len())) }
        })
        .await;
    };
    shadow(1).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);

    // What nobody approves is not launched.
    set(&scene, json!({ "mode": "review" }), "True", "").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), 0);

    set(&scene, json!({ "mode": "auto" }), "True", "").await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 8)).await.expect("they are bound");

    // A stop works at once, and its end too.
    set(&scene, json!({ "stop": true }), "True", "").await;
    let before = scene.calls("CreateFleet", 0).len();
    pods(&scene.client, "second", 40).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(scene.calls("CreateFleet", 0).len(), before);
    let begun = Instant::now();
    set(&scene, json!({ "stop": false, "batchIdleDuration": "8s", "batchMaxDuration": "20s" }), "True", "")
        .await;
    until(
        "fleet",
        async || {
            if scene.calls("CreateFleet", 0).len() > before { Ok(()) } else { Err(String::new()) }
        },
    )
    .await;
    let waited = begun.elapsed();
    assert!(waited > Duration::from_secs(7), "the batch was open for {waited:?}");
    eventually("all pods bound", LATER, || all_bound(&scene.client, 48)).await.expect("they are bound");
    scene.seen();
    replica.task.abort();
}
