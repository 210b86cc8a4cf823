//! Goal: pods whose spread counts only nodes they tolerate end where they were planned. kube-scheduler alone would not bind them: it
//! does not count the nodes of other slots, and rejects the second pod of each.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, USER};
use crate::common::{LATER, all_bound};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

const ZONE: &str = "topology.kubernetes.io/zone";

async fn spread(scene: &Scene, app: &str, count: usize, policy: &str) {
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    for n in 0..count {
        let constraint = json!({
            "maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": policy,
            "labelSelector": { "matchLabels": { "app": app } },
        });
        let container = json!({
            "name": "main", "image": "none", "resources": { "requests": { "cpu": "3", "memory": "1Gi" } },
        });
        let pod = json!({
            "metadata": { "name": format!("{app}-{n}"), "labels": { "app": app } },
            "spec": { "containers": [container], "topologySpreadConstraints": [constraint] },
        });
        let pod = serde_json::from_value(pod).expect("a pod");
        api.create(&PostParams::default(), &pod).await.expect("a pod");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_whose_spread_looks_at_taints_are_bound_by_the_controller() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    // Pods that come one after the other are one batch, however long it takes until they are there.
    let settings = Settings { batch_idle: 5_000, batch_max: 20_000, ..Settings::default() };
    let replica = scene.replica("one", settings).await;
    // Open nodes in every zone, full, with none of the pods in question.
    spread(&scene, "before", 3, "Ignore").await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 3)).await.expect("they are bound");
    eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await.expect("it settles");

    scene.types(&["m6a.2xlarge"]).await;
    spread(&scene, "looks", 6, "Honor").await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 9)).await.expect("they are bound");
    let claims = eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    assert_eq!(claims.len(), 6, "three nodes for six pods, two each");

    let mut zones: BTreeMap<String, usize> = BTreeMap::new();
    let mut direct = 0;
    for claim in &claims {
        let node = claim.status.as_ref().and_then(|status| status.node_name.clone()).expect("a node");
        let pods: Value = serde_json::from_str(&claim.annotations()["stowage.dev/pods"]).expect("pods");
        for pod in pods.as_array().into_iter().flatten() {
            let name = pod["id"].as_str().and_then(|id| id.strip_prefix("test/")).expect("a name");
            assert_eq!(scene.node_of(name).await.as_deref(), Some(node.as_str()), "{name}");
            if pod["direct"] == true {
                direct += 1;
                *zones.entry(claim.labels()[ZONE].clone()).or_default() += 1;
            }
        }
    }
    assert_eq!((direct, zones.into_values().collect::<Vec<_>>()), (6, vec![2, 2, 2]));
    let bound = scene.cluster.audit().expect("the audit log").into_iter().filter(|one| {
        one["objectRef"]["subresource"] == "binding"
            && one["impersonatedUser"]["username"] == USER
            && one["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300)
    });
    assert_eq!(bound.count(), 6, "each once, and none of the others");
    scene.seen();
    replica.task.abort();
}
