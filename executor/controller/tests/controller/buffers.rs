//! Goal: room that a CapacityBuffer asks for is there before pods are, pods take it at once, and it comes back; nobody waits for the pods
//! that stand for it, and nothing of them reaches the API server.

use crate::common::outcome::settled;
use crate::common::scene::Scene;
use crate::common::{LATER, SOON};
use k8s_openapi::api::core::v1::{Event, Node, Pod, PodTemplate};
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

fn buffers(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("autoscaling.x-k8s.io", "v1beta1", "CapacityBuffer");
    Api::namespaced_with(client.clone(), "test", &ApiResource::from_gvk_with_plural(&kind, "capacitybuffers"))
}

/// Pods with requests of three cores: one for each machine.
fn spec() -> Value {
    let requests = json!({ "cpu": "3", "memory": "1Gi" });
    json!({ "containers": [{ "name": "main", "image": "none", "resources": { "requests": requests } }] })
}

async fn condition(client: &Client, kind: &str) -> Result<(String, String), String> {
    let found = buffers(client).get("spare").await.map_err(|error| error.to_string())?;
    let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let one = conditions.iter().find(|one| one["type"] == kind).ok_or_else(|| format!("{conditions:?}"))?;
    let text = |field: &str| one[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("reason")))
}

/// So many machines, ready and open, with nothing under way.
async fn machines(scene: &Scene, count: usize) {
    let there = || async {
        let claims = settled(&scene.client, &scene.cloud).await?;
        if claims.len() == count { Ok(()) } else { Err(format!("{} machines", claims.len())) }
    };
    eventually(&format!("{count} machines"), LATER, there).await.expect("they come");
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_there_before_pods_are() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    let buffer = json!({
        "apiVersion": "autoscaling.x-k8s.io/v1beta1", "kind": "CapacityBuffer", "metadata": { "name": "spare" },
        "spec": { "podTemplateRef": { "name": "shape" }, "replicas": 2 },
    });
    let created = async || {
        let buffer = serde_json::from_value(buffer.clone()).expect("a buffer");
        let made = buffers(&scene.client).create(&PostParams::default(), &buffer).await;
        made.map(drop).map_err(|error| error.to_string())
    };
    eventually("the buffer", SOON, created).await.expect("the buffer");
    let replica = scene.replica("one", Settings::default()).await;
    let is = |kind: &'static str, status: &'static str, reason: &'static str| {
        let client = scene.client.clone();
        eventually(reason, LATER, move || {
            let client = client.clone();
            async move {
                let found = condition(&client, kind).await?;
                let wanted = (status.to_owned(), reason.to_owned());
                if found == wanted { Ok(()) } else { Err(format!("{found:?}")) }
            }
        })
    };
    is("ReadyForProvisioning", "False", "PodTemplateNotFound").await.expect("it says so");
    assert_eq!(scene.live(), 0);
    let template = json!({ "metadata": { "name": "shape" }, "template": { "spec": spec() } });
    let templates: Api<PodTemplate> = Api::namespaced(scene.client.clone(), "test");
    let template = serde_json::from_value(template).expect("a template");
    templates.create(&PostParams::default(), &template).await.expect("the template");
    machines(&scene, 2).await;
    is("Provisioning", "True", "FitsExistingCapacity").await.expect("there is room");
    // A pod takes the room there is, and more room comes.
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("nodes").items;
    let spare: BTreeSet<String> = nodes.iter().map(|node| node.name_any()).collect();
    assert_eq!(spare.len(), 2);
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let pod = json!({ "metadata": { "name": "customer" }, "spec": spec() });
    let begun = Instant::now();
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
    let bound = || async {
        let pod = pods.get("customer").await.map_err(|error| error.to_string())?;
        pod.spec.and_then(|spec| spec.node_name).ok_or_else(|| "it waits".to_owned())
    };
    let node = eventually("the pod is bound", SOON, bound).await.expect("it is bound");
    eprintln!("bound after {:.1} s", begun.elapsed().as_secs_f64());
    assert!(spare.contains(&node), "it is on {node}, and there was room on {spare:?}");
    machines(&scene, 3).await;
    // It rests: what is there is enough.
    tokio::time::sleep(Duration::from_secs(3)).await;
    machines(&scene, 3).await;
    let all = pods.list(&ListParams::default()).await.expect("pods").items;
    assert_eq!(all.len(), 1, "nobody runs the others");
    let events: Api<Event> = Api::namespaced(scene.client.clone(), "test");
    let events = events.list(&ListParams::default()).await.expect("events").items;
    let of_nobody = events.iter().filter(|event| {
        event.involved_object.name.as_deref().is_some_and(|name| name.starts_with("capacity-buffer-"))
    });
    assert_eq!(of_nobody.count(), 0, "nothing is told of pods that are not there");
    scene.seen();
    replica.task.abort();
}
