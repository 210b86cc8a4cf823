//! Goal: a node whose claim is deleted is emptied before its machine ends: by eviction, within disruption budgets, what is protected
//! last of all, and its pods run elsewhere.

use crate::common::LATER;
use crate::common::outcome::{all_ready, ready, settled};
use crate::common::scene::{Scene, USER, until};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::VolumeAttachment;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use stowage_api::NodeClaim;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

const REPLICAS: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_emptied_within_budgets_before_it_goes() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.2xlarge"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "2", "memory": "1Gi" } } });
    let deployment = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": REPLICAS, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": {
                "containers": [container], "terminationGracePeriodSeconds": 1,
            } },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), "test");
    let budget = json!({
        "metadata": { "name": "web" },
        "spec": { "maxUnavailable": 1, "selector": { "matchLabels": { "app": "web" } } },
    });
    let budget = serde_json::from_value(budget).expect("a budget");
    budgets.create(&PostParams::default(), &budget).await.expect("it is created");
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    eventually("all ready", LATER, || all_ready(&pods, REPLICAS)).await.expect("they are ready");
    let before =
        eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await.expect("it settles");

    // The claim with most pods goes; one of its pods is protected.
    let node_of = |claim: &NodeClaim| claim.status.as_ref().and_then(|status| status.node_name.clone());
    let victim = before.iter().find(|claim| {
        let of = &claim.annotations()["stowage.dev/pods"];
        of.matches("uid").count() >= 3
    });
    let victim = victim.expect("three pods on a node").clone();
    let node = node_of(&victim).expect("a node");
    let here = ready(&pods).await.expect("pods");
    let here: Vec<&Pod> = here
        .iter()
        .filter(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&node))
        .collect();
    let protected = here[0].name_any();
    let mark = |value: Option<&str>| {
        Patch::Merge(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": value } } }))
    };
    pods.patch(&protected, &PatchParams::default(), &mark(Some("true"))).await.expect("it is marked");
    let least = Arc::new(AtomicUsize::new(REPLICAS));
    let watching = tokio::spawn({
        let (pods, least) = (pods.clone(), least.clone());
        async move {
            loop {
                // A list that failed says nothing.
                if let Ok(found) = ready(&pods).await {
                    least.fetch_min(found.len(), Ordering::SeqCst);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    claims.delete(&victim.name_any(), &DeleteParams::default()).await.expect("it is being deleted");

    // All others leave; the protected one stays, and its machine with it.
    let alone = async || {
        let on_node: BTreeSet<String> = pods
            .list(&ListParams::default().fields(&format!("spec.nodeName={node}")))
            .await
            .map_err(|error| error.to_string())?
            .items
            .iter()
            .map(|pod| pod.name_any())
            .collect();
        if on_node == [protected.clone()].into() { Ok(()) } else { Err(format!("{on_node:?}")) }
    };
    until("the others gone", alone).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    alone().await.expect("it is still there");
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let found = nodes.get(&node).await.expect("the node");
    let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
    assert!(taints.iter().any(|taint| taint.key == "karpenter.sh/disrupted"), "{taints:?}");
    assert_eq!(
        scene.cloud.with(|world| world.machines().values().filter(|one| one.ended.is_some()).count()),
        0
    );

    pods.patch(&protected, &PatchParams::default(), &mark(None)).await.expect("it is let go");
    let gone = async || match claims.get_opt(&victim.name_any()).await {
        Ok(None) => Ok(()),
        other => Err(format!("{:?}", other.map(|found| found.map(|one| one.metadata.deletion_timestamp)))),
    };
    until("the claim gone", gone).await;
    eventually("all ready", LATER, || all_ready(&pods, REPLICAS)).await.expect("they run elsewhere");
    eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await.expect("it settles");
    watching.abort();
    assert!(
        least.load(Ordering::SeqCst) >= REPLICAS - 1,
        "{} were ready at times",
        least.load(Ordering::SeqCst)
    );
    assert!(nodes.get_opt(&node).await.expect("an answer").is_none());

    // Evictions, and nothing else, made them go: each pod of the node once in the end, refused ones again.
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let on_pods = ours.filter(|one| one["objectRef"]["resource"] == "pods");
    let (mut evictions, mut deletions) = (0, 0);
    for one in on_pods {
        let done = one["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300);
        evictions += usize::from(done && one["objectRef"]["subresource"] == "eviction");
        deletions += usize::from(one["verb"] == "delete");
    }
    assert_eq!((evictions, deletions), (here.len(), 0));
    scene.seen();
    replica.task.abort();
}

/// The machine of a node waits for volumes of pods that have left it, and says so. (That it does not wait for ever is shown in the executor's tests.)
#[tokio::test(flavor = "multi_thread")]
async fn a_machine_ends_once_the_volumes_of_its_pods_are_detached() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.large"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    let volumes: Api<PersistentVolume> = Api::all(scene.client.clone());
    let volume = json!({ "metadata": { "name": "data" }, "spec": {
        "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": "",
        "csi": { "driver": "ebs.csi.aws.com", "volumeHandle": "vol-1" },
        "claimRef": { "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "test", "name": "data" },
    } });
    let volume = serde_json::from_value(volume).expect("a volume");
    volumes.create(&PostParams::default(), &volume).await.expect("it is created");
    let wanted: Api<PersistentVolumeClaim> = Api::namespaced(scene.client.clone(), "test");
    let claim = json!({ "metadata": { "name": "data" }, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "data",
        "resources": { "requests": { "storage": "1Gi" } },
    } });
    let claim = serde_json::from_value(claim).expect("a claim");
    wanted.create(&PostParams::default(), &claim).await.expect("it is created");
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "1" } } });
    let deployment = json!({
        "metadata": { "name": "db" },
        "spec": {
            "replicas": 1, "selector": { "matchLabels": { "app": "db" } },
            "template": { "metadata": { "labels": { "app": "db" } }, "spec": {
                "containers": [container], "terminationGracePeriodSeconds": 1,
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": "data" } }],
            } },
        },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let on = async || {
        ready(&pods).await?.pop().and_then(|pod| pod.spec?.node_name).ok_or("it is not ready".to_owned())
    };
    let node = eventually("it runs", LATER, on).await.expect("it runs");
    // Somebody detaches it, and takes their time.
    let attachments: Api<VolumeAttachment> = Api::all(scene.client.clone());
    let attachment = json!({ "metadata": { "name": "held", "finalizers": ["example.com/detaching"] }, "spec": {
        "attacher": "ebs.csi.aws.com", "nodeName": node, "source": { "persistentVolumeName": "data" },
    } });
    let attachment = serde_json::from_value(attachment).expect("an attachment");
    attachments.create(&PostParams::default(), &attachment).await.expect("it is attached");
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let old = claims.list(&ListParams::default()).await.expect("claims").items[0].name_any();
    claims.delete(&old, &DeleteParams::default()).await.expect("it is being deleted");
    let moved = async || match on().await? {
        other if other != node => Ok(()),
        _ => Err("it is there still".to_owned()),
    };
    eventually("it runs elsewhere", LATER, moved).await.expect("it runs");
    let events: Api<Event> = Api::all(scene.client.clone());
    until("it is said", async || {
        let found = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let said = found.iter().any(|one| one.reason.as_deref() == Some("AwaitingVolumeDetachment"));
        if said { Ok(()) } else { Err(format!("{} events", found.len())) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.live(), 2, "its machine is there");
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    attachments.patch("held", &PatchParams::default(), &free).await.expect("it is detached");
    attachments.delete("held", &DeleteParams::default()).await.expect("it is gone");
    until("its machine has ended", async || match (scene.live(), claims.get_opt(&old).await) {
        (1, Ok(None)) => Ok(()),
        (live, _) => Err(format!("{live} machines")),
    })
    .await;
    scene.seen();
    replica.task.abort();
}
