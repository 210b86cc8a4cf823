//! Goal: NodeOverlays decide what is launched, claims say that they did, and overlays say whether they count.

use crate::common::outcome::settled;
use crate::common::scene::Scene;
use crate::common::{LATER, SOON, all_bound, create};
use k8s_openapi::api::core::v1::Pod;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use stowage_api::NodeOverlay;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// Creates an overlay about one instance type.
async fn overlay(scene: &Scene, name: &str, instance_type: &str, mut spec: Value) {
    spec["requirements"] =
        json!([{ "key": "node.kubernetes.io/instance-type", "operator": "In", "values": [instance_type] }]);
    let object = json!({
        "apiVersion": "karpenter.sh/v1alpha1", "kind": "NodeOverlay", "metadata": { "name": name }, "spec": spec,
    });
    create(&scene.client, "nodeoverlays", object).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn overlays_decide_and_say_whether_they_count() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.large", "m6i.2xlarge"]).await;
    // Four times as large, and by the overlay the cheapest there is.
    overlay(&scene, "paid-for", "m6i.2xlarge", json!({ "priceAdjustment": "-95%", "weight": 10 })).await;
    overlay(&scene, "paid-twice", "m6i.2xlarge", json!({ "price": "9.99", "weight": 10 })).await;
    overlay(&scene, "unheard", "m6i.2xlarge", json!({ "price": "8.88" })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let container = json!({
        "name": "main", "image": "none", "resources": { "requests": { "cpu": "1", "memory": "1Gi" } },
    });
    let pod = json!({ "metadata": { "name": "pod" }, "spec": { "containers": [container] } });
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
    eventually("the pod is bound", LATER, || all_bound(&scene.client, 1)).await.expect("it is bound");
    let claims = eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    assert_eq!(claims.len(), 1);
    assert_eq!(claims[0].labels()["node.kubernetes.io/instance-type"], "m6i.2xlarge");
    assert_eq!(claims[0].annotations()["karpenter.sh/price-overlay-applied"], "true");
    assert!(!claims[0].annotations().contains_key("karpenter.sh/capacity-overlay-applied"));
    let overlays: Api<NodeOverlay> = Api::all(scene.client.clone());
    for (name, status, reason) in [
        ("paid-for", "True", "ValidationSucceeded"),
        ("paid-twice", "False", "Conflict"),
        ("unheard", "True", "ValidationSucceeded"),
    ] {
        let told = || async {
            let found = overlays.get(name).await.map_err(|error| error.to_string())?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            let one = conditions.iter().find(|one| one.type_ == "ValidationSucceeded");
            let one = one.map(|one| (one.status.clone(), one.reason.clone()));
            let wanted = Some((status.to_owned(), reason.to_owned()));
            if one == wanted { Ok(()) } else { Err(format!("{one:?}")) }
        };
        eventually(name, SOON, told).await.expect("its condition");
    }
    scene.seen();
    replica.task.abort();
}
