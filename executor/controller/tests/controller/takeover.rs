//! Goal: started over a cluster that Karpenter made, with its NodePools, NodeClaims and nodes, the controller disrupts nothing: no node of Karpenter's
//! is closed, drained or ended, whatever its pools and classes say by now; pods without room get machines of its own.

use crate::common::LATER;
use crate::common::outcome::{all_ready, settled};
use crate::common::scene::{Scene, until};
use crate::departures::{app, claims};
use crate::drift::karpenters;
use crate::shrinking::{done_to_pods, is_closed, nodes};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;
use stowage_cluster::{Kubelet, eventually};
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

#[tokio::test(flavor = "multi_thread")]
async fn what_karpenter_has_made_is_left_alone() {
    let scene = Scene::start(Script::default()).await;
    let kubelet = Kubelet::start(scene.client.clone());
    // One of them empty: Karpenter itself would end it.
    for name in ["one", "two", "three"] {
        karpenters(&scene, &kubelet, name, 4).await;
    }
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    app(&scene, "old", 2, json!({})).await;
    eventually("Karpenter's pods run", LATER, || all_ready(&pods, 2)).await.expect("they are ready");
    let places = async || -> BTreeMap<String, Option<String>> {
        let found = pods.list(&Default::default()).await.expect("pods").items;
        let old = found.into_iter().filter(|pod| pod.labels()["app"] == "old");
        old.map(|pod| (pod.uid().unwrap_or_default(), pod.spec.and_then(|spec| spec.node_name))).collect()
    };
    let before = places().await;

    // Everything that makes nodes go, as eager as it can be.
    scene
        .create_policy(json!({ "consolidation": { "minNodeAge": "0s", "every": "5s", "repair": true } }))
        .await;
    let disruption = json!({
        "consolidationPolicy": "WhenEmptyOrUnderutilized", "consolidateAfter": "0s", "budgets": [{ "nodes": "100%" }],
    });
    scene.pool(json!({ "spec": { "disruption": disruption } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    scene.pool(json!({ "spec": { "template": { "metadata": { "labels": { "team": "new" } } } } })).await;
    let unharmed = async || {
        let found = claims(&scene).await;
        let karpenters: Vec<_> =
            found.iter().filter(|claim| ["one", "two", "three"].contains(&&*claim.name_any())).collect();
        assert_eq!(karpenters.len(), 3);
        for claim in karpenters {
            assert!(claim.metadata.deletion_timestamp.is_none(), "{}", claim.name_any());
            assert!(!claim.annotations().contains_key("stowage.dev/removal"), "{}", claim.name_any());
        }
        let there = nodes(&scene).await;
        assert!(there.iter().filter(|node| node.name_any().ends_with("-node")).all(|node| !is_closed(node)));
        assert_eq!(done_to_pods(&scene), (Vec::new(), Vec::new()));
        assert_eq!(places().await, before);
    };
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        unharmed().await;
    }
    assert_eq!(scene.calls("TerminateInstances", 0).len() + scene.calls("CreateFleet", 0).len(), 0);

    // What has no room gets a machine of ours, and theirs stay all the same.
    app(&scene, "new", 10, json!({})).await;
    eventually("all ready", LATER, || all_ready(&pods, 12)).await.expect("they are ready");
    until("our machines settle", async || match settled(&scene.client, &scene.cloud).await {
        // Karpenter's are not of this cloud.
        Err(text) if text.starts_with("0 claims not ready, 0 nodes tainted") => Ok(()),
        Err(text) if text.starts_with("3 claims not ready, 0 nodes tainted") => Ok(()),
        other => other.map(drop),
    })
    .await;
    assert!(scene.live() >= 1);
    tokio::time::sleep(Duration::from_secs(7)).await;
    let theirs = done_to_pods(&scene).0;
    assert!(theirs.iter().all(|pod| !pod.starts_with("test/old")), "{theirs:?}");
    assert_eq!(places().await, before);
    let left = claims(&scene).await;
    assert_eq!(left.iter().filter(|claim| ["one", "two", "three"].contains(&&*claim.name_any())).count(), 3);
    scene.seen();
    replica.task.abort();
}
