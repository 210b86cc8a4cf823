//! Goal: a static NodePool has as many nodes as it says, needed or not: launched when they lack, given back when they are too many, and
//! replaced when one is lost; nothing that plans make of it is seen on nodes, and pods that wait get nodes of other pools.

use crate::common::outcome::settled;
use crate::common::scene::Scene;
use crate::common::{LATER, all_bound, create};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use stowage_api::NodePool;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// So many machines of each pool, ready and open, with nothing under way.
async fn machines(scene: &Scene, of_base: usize, of_default: usize) {
    let there = || async {
        let claims = settled(&scene.client, &scene.cloud).await?;
        let of =
            |pool: &str| claims.iter().filter(|one| one.labels()["karpenter.sh/nodepool"] == pool).count();
        let found = (of("base"), of("default"));
        if found == (of_base, of_default) { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually(&format!("{of_base} and {of_default} machines"), LATER, there).await.expect("they come");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_pool_has_as_many_nodes_as_it_says() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    let one_of = |key: &str, values: &[&str]| json!({ "key": key, "operator": "In", "values": values });
    let pool = json!({
        "apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": { "name": "base" },
        "spec": {
            "replicas": 2, "limits": { "nodes": 3 },
            "template": { "metadata": { "labels": { "kind": "base" } }, "spec": {
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                "requirements": [
                    one_of("karpenter.sh/capacity-type", &["on-demand"]),
                    one_of("node.kubernetes.io/instance-type", &["m6i.large", "m6a.large"]),
                ],
            } },
        },
    });
    create(&scene.client, "nodepools", pool).await;
    let replica = scene.replica("one", Settings::default()).await;
    machines(&scene, 2, 0).await;
    let nodes: Api<Node> = Api::all(scene.client.clone());
    for node in nodes.list(&ListParams::default()).await.expect("nodes") {
        assert_eq!(node.labels().get("kind").map(String::as_str), Some("base"));
        assert!(!node.labels().contains_key("stowage.dev/static-pool"), "{:?}", node.labels());
    }
    // A pod that fits no node of it gets one of another pool; one that tolerates everything gets none of it, either.
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "3" } } });
    let pod = json!({
        "metadata": { "name": "pod" },
        "spec": { "containers": [container], "tolerations": [{ "operator": "Exists" }] },
    });
    pods.create(&PostParams::default(), &serde_json::from_value(pod).expect("a pod")).await.expect("a pod");
    eventually("the pod is bound", LATER, || all_bound(&scene.client, 1)).await.expect("it is bound");
    machines(&scene, 2, 1).await;
    // Scaled as people and programs scale things: up, no further than its limit, and down.
    let pools: Api<NodePool> = Api::all(scene.client.clone());
    let scale = async |replicas: i32| {
        let patch = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
        let scale: Scale =
            pools.patch_scale("base", &PatchParams::default(), &patch).await.expect("it scales");
        assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(replicas));
    };
    scale(5).await;
    machines(&scene, 3, 1).await;
    scale(1).await;
    machines(&scene, 1, 1).await;
    scale(2).await;
    machines(&scene, 2, 1).await;
    let told = || async {
        let scale = pools.get_scale("base").await.map_err(|error| error.to_string())?;
        let nodes = scale.status.map(|status| status.replicas);
        if nodes == Some(2) { Ok(()) } else { Err(format!("{nodes:?}")) }
    };
    eventually("the scale says so", LATER, told).await.expect("it says so");
    scene.seen();
    replica.task.abort();
}
