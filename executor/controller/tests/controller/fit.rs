//! Goal: a pod that can never fit is launched for twice at most, and the reason is shown; a machine smaller than promised corrects what is
//! planned with.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, until};
use crate::common::{LATER, SOON};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use std::time::Duration;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

async fn pod(scene: &Scene, name: &str, cpu: &str, memory: &str) {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let requests = json!({ "cpu": cpu, "memory": memory });
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": requests } });
    let pod = json!({ "metadata": { "name": name }, "spec": { "containers": [container] } });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("a pod");
}

async fn shown(scene: &Scene, pod: &str, words: &str) {
    until("reason", async || {
        let reasons = scene.reasons(pod).await;
        reasons.iter().any(|one| one.contains(words)).then_some(()).ok_or_else(|| format!("{reasons:?}"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_never_fits_is_launched_for_twice_at_most() {
    let scene = Scene::start(Script::default()).await;
    let replica = scene.replica("one", Settings { slot_timeout: 3_000, ..Settings::default() }).await;

    // No type has as much.
    pod(&scene, "huge", "1000", "1Gi").await;
    shown(&scene, "huge", "cpu").await;
    assert_eq!(scene.live(), 0, "nothing is launched for it");

    // Every machine has two thirds of the cores it was said to have.
    scene.whims.lock().expect("the whims").permille.insert("cpu".to_owned(), 660);
    pod(&scene, "never", "3500m", "1Gi").await;
    shown(&scene, "never", "2 nodes were launched for this pod and it did not fit on them").await;
    assert_eq!(scene.cloud.with(|world| world.machines().len()), 2);
    assert_eq!(scene.node_of("never").await, None);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(scene.cloud.with(|world| world.machines().len()), 2, "it stays at that");

    // Others still get their nodes. Every machine has less memory than was said: the first is too small, the next is planned with what was
    // learned of its type.
    scene.types(&["m6a.xlarge", "m6a.2xlarge"]).await;
    scene.whims.lock().expect("the whims").permille = [("memory".to_owned(), 920)].into();
    let before = scene.cloud.with(|world| world.machines().len());
    pod(&scene, "tight", "1", "13500Mi").await;
    until("the pod bound", async || scene.node_of("tight").await.map(drop).ok_or_else(String::new)).await;
    let launched = scene.cloud.with(|world| world.machines().len()) - before;
    assert_eq!(launched, 2, "the second is large enough");
    eventually("everything settled", LATER + SOON, || settled(&scene.client, &scene.cloud))
        .await
        .expect("it settles");
    scene.seen();
    replica.task.abort();
}
