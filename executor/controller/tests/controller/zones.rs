//! Goal: nothing is launched in a zone that the PlanPolicy takes out, and again when it is back.

use crate::common::outcome::settled;
use crate::common::scene::Scene;
use crate::common::{LATER, all_bound};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_out_gets_no_machine() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    scene.create_policy(json!({ "unavailableZones": ["us-east-1a", "us-east-1b"] })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    // One machine each, for anywhere, or for the zone that is out.
    let pod = async |name: &str, selector: serde_json::Value| {
        let container =
            json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "3" } } });
        let pod = json!({
            "metadata": { "name": name }, "spec": { "containers": [container], "nodeSelector": selector },
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("a pod");
    };
    pod("anywhere", json!({})).await;
    eventually("it is bound", LATER, || all_bound(&scene.client, 1)).await.expect("it is bound");
    pod("there", json!({ "topology.kubernetes.io/zone": "us-east-1a" })).await;
    let left_out = || async {
        let reasons = scene.reasons("there").await;
        if reasons.is_empty() { Err("nobody has said so".to_owned()) } else { Ok(()) }
    };
    eventually("it is left out", LATER, left_out).await.expect("it is left out");
    let zones = async || {
        let claims = eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await;
        let mut zones: BTreeMap<String, usize> = BTreeMap::new();
        for claim in claims.expect("it settles") {
            *zones.entry(claim.labels()["topology.kubernetes.io/zone"].clone()).or_default() += 1;
        }
        zones
    };
    let before = zones().await;
    assert!(!before.contains_key("us-east-1a") && !before.contains_key("us-east-1b"), "{before:?}");
    scene.change_policy(json!({ "spec": { "unavailableZones": [] } })).await;
    eventually("all are bound", LATER, || all_bound(&scene.client, 2)).await.expect("they are bound");
    assert_eq!(zones().await.get("us-east-1a"), Some(&1));
    scene.seen();
    replica.task.abort();
}
