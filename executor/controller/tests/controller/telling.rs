//! Goal: users see what they know from Karpenter: events on pods and NodeClaims, once each; conditions of NodeClaims; and how far plans are.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, USER, until};
use crate::common::{LATER, SOON, pods};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use stowage_api::{NodeClaim, NodePool};
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::{PoolRule, Script};

/// Reason and note of our events about an object, once for each time they were told.
pub(crate) async fn told(scene: &Scene, kind: &str, name: &str) -> Vec<(String, String)> {
    let events: Api<Event> = Api::all(scene.client.clone());
    let list = || async { events.list(&ListParams::default()).await.map_err(|error| error.to_string()) };
    let all = eventually("list of events", SOON, list).await.expect("events").items;
    let ours = all.into_iter().filter(|event| {
        let about = event.regarding.clone().unwrap_or_default();
        event.reporting_controller.as_deref() == Some("stowage")
            && about.kind.as_deref() == Some(kind)
            && about.name.as_deref() == Some(name)
    });
    ours.flat_map(|event| {
        let times = event.series.map_or(1, |series| usize::try_from(series.count).unwrap_or(1));
        std::iter::repeat_n((event.reason.unwrap_or_default(), event.note.unwrap_or_default()), times)
    })
    .collect()
}

async fn phases(scene: &Scene) -> Vec<(String, String)> {
    let status = |plan: stowage_api::Plan| {
        let status = plan.status.unwrap_or_default();
        (status.phase.unwrap_or_default(), status.actions.unwrap_or_default())
    };
    scene.plans().await.into_iter().map(status).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_told_what_they_know_and_once() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge", "c6a.xlarge"]).await;
    // All pods are one batch, however long it takes until they are there.
    let settings = Settings { batch_idle: 5_000, batch_max: 20_000, ..Settings::default() };
    let replica = scene.replica("one", settings).await;
    pods(&scene.client, "pod", 12).await;
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let container =
        json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "1000" } } });
    let huge = json!({ "metadata": { "name": "huge" }, "spec": { "containers": [container] } });
    let huge = serde_json::from_value(huge).expect("a pod");
    api.create(&PostParams::default(), &huge).await.expect("a pod");
    until("pods bound", async || {
        let bound = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let bound = bound.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        let bound = bound.count();
        if bound == 12 { Ok(()) } else { Err(format!("{bound} bound")) }
    })
    .await;
    let claims = eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");

    // Claims: their conditions, and how they came to be.
    for claim in &claims {
        let conditions = claim.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        let kinds: BTreeSet<&str> = conditions.iter().map(|one| one.type_.as_str()).collect();
        assert_eq!(kinds, ["Initialized", "Launched", "Ready", "Registered"].into());
        for one in &conditions {
            assert_eq!((one.status.as_str(), one.reason.as_str()), ("True", one.type_.as_str()));
            assert_eq!(one.observed_generation, claim.metadata.generation);
        }
        until("events of a claim", async || {
            let told = told(&scene, "NodeClaim", &claim.name_any()).await;
            let reasons: Vec<&str> = told.iter().map(|(reason, _)| reason.as_str()).collect();
            let all =
                ["Launched", "Registered", "Initialized", "Ready"].iter().all(|kind| reasons.contains(kind));
            if all && reasons.len() == 4 { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }
    // The pool: how many nodes it has, and that it can launch.
    until("status of the pool", async || {
        let pools: Api<NodePool> = Api::all(scene.client.clone());
        let pool = pools.get("default").await.map_err(|error| error.to_string())?;
        let status = pool.status.unwrap_or_default();
        let cores = status.resources.as_ref().and_then(|all| all.get("cpu")).is_some();
        let ready =
            status.conditions.iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
        let nodes = i64::try_from(claims.len()).ok();
        if status.nodes == nodes && ready && cores { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    // Pods: where they will be, or why nowhere. Looked at again and again, told once.
    tokio::time::sleep(Duration::from_secs(25)).await;
    for n in 0..12 {
        let told = told(&scene, "Pod", &format!("pod-{n:04}")).await;
        let (reason, note) = told.first().expect("an event");
        assert!(told.len() == 1 && reason == "Nominated", "{told:?}");
        let claim = claims.iter().find(|one| note.ends_with(&format!("nodeclaim/{}", one.name_any())));
        let claim = claim.unwrap_or_else(|| panic!("{note}: no such claim"));
        let node = scene.node_of(&format!("pod-{n:04}")).await;
        assert_eq!(node, claim.status.clone().unwrap_or_default().node_name, "{note}");
    }
    let huge = told(&scene, "Pod", "huge").await;
    assert!(huge.len() == 1 && huge[0].0 == "FailedScheduling" && huge[0].1.contains("cpu"), "{huge:?}");
    // The same by command.
    let explained = stowage_review::explain(&scene.client, "test/huge").await.expect("an explanation");
    assert!(explained.contains("left out: ") && explained.contains("event: FailedScheduling"), "{explained}");
    let node = scene.node_of("pod-0000").await.expect("a node");
    let bound = stowage_review::explain(&scene.client, "test/pod-0000").await.expect("an explanation");
    assert_eq!(bound, format!("pod test/pod-0000 is on node {node}\n"));
    let explained = stowage_review::explain(&scene.client, &node).await.expect("an explanation");
    assert!(
        explained.starts_with(&format!("node {node}: ")) && explained.contains("NodePool default"),
        "{explained}"
    );
    assert!(explained.contains("expires: "), "{explained}");
    let unknown = stowage_review::explain(&scene.client, "nobody").await.expect_err("no such node");
    assert!(unknown.text.contains("hint:"), "{}", unknown.text);
    until("all plans are completed", async || {
        let ended = phases(&scene).await;
        let all = claims.len().to_string();
        let whole = ended.iter().any(|(phase, actions)| phase == "Completed" && actions.starts_with(&all));
        let over = ended.iter().all(|(phase, _)| phase == "Completed");
        if whole && over { Ok(()) } else { Err(format!("{ended:?}")) }
    })
    .await;

    // A deletion that has to wait says so: for pods that are protected.
    let protected =
        Patch::Merge(json!({ "metadata": { "annotations": { "karpenter.sh/do-not-disrupt": "true" } } }));
    for n in 0..12 {
        api.patch(&format!("pod-{n:04}"), &PatchParams::default(), &protected).await.expect("it is marked");
    }
    let waiting = claims[0].name_any();
    let all: Api<NodeClaim> = Api::all(scene.client.clone());
    all.delete(&waiting, &DeleteParams::default()).await.expect("it is marked");
    until("event", async || {
        let told = told(&scene, "NodeClaim", &waiting).await;
        told.iter()
            .any(|(reason, _)| reason == "FailedDraining")
            .then_some(())
            .ok_or_else(|| format!("{told:?}"))
    })
    .await;

    // No capacity: the claim says it, and the plan has failed.
    scene.cloud.with(|world| world.add_pool(PoolRule::capacity("*", "*", "on-demand", 0)));
    pods(&scene.client, "more", 12).await;
    until("event", async || {
        let events: Api<Event> = Api::all(scene.client.clone());
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let mut reasons = all.iter().map(|event| event.reason.as_deref().unwrap_or_default());
        reasons.any(|reason| reason == "InsufficientCapacityError").then_some(()).ok_or_else(String::new)
    })
    .await;
    until("failed plan", async || {
        let phases = phases(&scene).await;
        phases.iter().any(|(phase, _)| phase == "Failed").then_some(()).ok_or_else(|| format!("{phases:?}"))
    })
    .await;
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let refused: Vec<_> = ours.filter(|one| one["responseStatus"]["code"].as_u64() == Some(403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    scene.seen();
    replica.task.abort();
}
