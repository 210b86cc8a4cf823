//! Goal: capacity that is reserved is used first, as much of it as there is, and nodes say so.

use crate::common::outcome::settled;
use crate::common::scene::Scene;
use crate::common::{LATER, all_bound, class};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use stowage_api::Ec2NodeClass;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::{Reservation, Script};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_reserved_is_used_first() {
    let reservation = Reservation {
        id: "cr-0123".to_owned(),
        instance_type: "m6a.xlarge".to_owned(),
        zone: "us-east-1b".to_owned(),
        total: 1,
        tags: [("team".to_owned(), "a".to_owned())].into(),
    };
    let scene = Scene::start(Script { reservations: vec![reservation], ..Script::default() }).await;
    let mut spec = class();
    spec["capacityReservationSelectorTerms"] = json!([{ "tags": { "team": "a" } }]);
    let classes: Api<Ec2NodeClass> = Api::all(scene.client.clone());
    let change = Patch::Merge(json!({ "spec": spec }));
    classes.patch("default", &PatchParams::default(), &change).await.expect("the class changes");
    let one_of = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
    let requirements = [
        one_of("karpenter.sh/capacity-type", &["reserved", "on-demand"]),
        one_of("node.kubernetes.io/instance-type", &["m6a.xlarge"]),
    ];
    scene.pool(json!({ "spec": { "template": { "spec": { "requirements": requirements } } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    // One machine each.
    for n in 0..2 {
        let requests = json!({ "cpu": "3", "memory": "1Gi" });
        let container = json!({ "name": "main", "image": "none", "resources": { "requests": requests } });
        let pod =
            json!({ "metadata": { "name": format!("pod-{n}") }, "spec": { "containers": [container] } });
        let pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("a pod");
    }
    eventually("all pods bound", LATER, || all_bound(&scene.client, 2)).await.expect("they are bound");
    let claims = eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    let mut kinds: Vec<(String, Option<String>)> = claims
        .iter()
        .map(|claim| {
            let labels = claim.labels();
            let id = labels.get("karpenter.k8s.aws/capacity-reservation-id").cloned();
            (labels["karpenter.sh/capacity-type"].clone(), id)
        })
        .collect();
    kinds.sort();
    let reserved = ("reserved".to_owned(), Some("cr-0123".to_owned()));
    assert_eq!(kinds, [("on-demand".to_owned(), None), reserved]);
    let machines = scene.cloud.with(|world| world.machines().clone());
    assert_eq!(machines.values().filter(|one| one.reservation.as_deref() == Some("cr-0123")).count(), 1);
    scene.seen();
    replica.task.abort();
}
