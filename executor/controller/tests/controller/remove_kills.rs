//! Goal: wherever the controller ends while nodes go, whoever follows goes on or undoes it; and what is bound to a node a moment before it is
//! closed, and must not be disrupted, lets it stay.

use crate::common::outcome::settled;
use crate::common::scene::until;
use crate::common::trap::{Trap, When};
use crate::shrinking::{
    at_a_time, at_first_none_goes, done_to_pods, follow, is_closed, nodes, set_consolidation, shrinks,
    too_large,
};
use http::Method;
use k8s_openapi::api::core::v1::Event;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use stowage_api::NodeClaim;
use stowage_executor::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_finds_nodes_that_are_to_go() {
    let (scene, pods) = at_first_none_goes().await;
    let mut replica = scene.replica("one", Settings::default()).await;
    let before = too_large(&scene, &pods).await;
    replica.task.abort();
    at_a_time(&scene, "1").await;
    set_consolidation(&scene, "auto").await;
    let trap = Trap::default();
    for (method, path) in [
        (Method::PATCH, "/nodeclaims/"),
        (Method::PATCH, "/nodes/"),
        (Method::DELETE, "/nodeclaims/"),
        (Method::POST, "/eviction"),
        (Method::DELETE, "/nodes/"),
    ] {
        for when in [When::Before, When::After] {
            trap.set(method.clone(), path, when);
            replica = follow(&scene, replica.lease, &trap).await;
            trap.caught(path).await;
            replica.task.abort();
            eprintln!("killed {when:?} {method} {path}: {} nodes", scene.live());
        }
    }
    replica = follow(&scene, replica.lease, &Trap::default()).await;
    shrinks(&scene, &pods).await;
    assert!(before > scene.live());
    let (evicted, deleted) = done_to_pods(&scene);
    assert_eq!(deleted, Vec::<String>::new());
    assert_eq!(evicted.iter().collect::<BTreeSet<_>>().len(), evicted.len(), "each is evicted once");
    scene.seen();
    replica.task.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_stay_and_came_a_moment_before_the_taint_keeps_the_node() {
    let (scene, pods) = at_first_none_goes().await;
    let mut replica = scene.replica("one", Settings::default()).await;
    too_large(&scene, &pods).await;
    // What is still on its way would spring the trap.
    until("everything is settled", async || settled(&scene.client, &scene.cloud).await.map(drop)).await;
    replica.task.abort();
    at_a_time(&scene, "1").await;
    let trap = Trap::default();
    trap.set_for(Method::PATCH, "/nodes/", "karpenter.sh/disrupted", When::After);
    replica = follow(&scene, replica.lease, &trap).await;
    set_consolidation(&scene, "auto").await;
    trap.caught("it is closed").await;
    // Two seconds after that its claim may be deleted, and a busy machine may need longer than that to make the pod.
    let closing = trap.sent().expect("it was caught");
    trap.set(Method::DELETE, "/nodeclaims/", When::Before);
    // As if it had been bound before: nobody asks the scheduler.
    let closed = nodes(&scene).await.into_iter().find(is_closed).expect("a closed node").name_any();
    let pod = json!({
        "metadata": { "name": "must-stay", "annotations": { "karpenter.sh/do-not-disrupt": "true" } },
        "spec": { "nodeName": closed, "containers": [{ "name": "main", "image": "none" }] },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("it is bound");
    let bound = Instant::now();
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let of_node = async || -> Result<NodeClaim, String> {
        let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let mut of = found.into_iter();
        of.find(|one| one.status.as_ref().and_then(|status| status.node_name.as_ref()) == Some(&closed))
            .ok_or_else(|| "its claim is gone".to_owned())
    };
    until("it is open again", async || {
        let open = nodes(&scene).await.iter().any(|node| node.name_any() == closed && !is_closed(node));
        let said = of_node().await?.annotations().contains_key("stowage.dev/removal");
        if open && !said { Ok(()) } else { Err(format!("open: {open}, to go: {said}")) }
    })
    .await;
    assert_eq!(of_node().await.expect("its claim").metadata.deletion_timestamp, None);
    trap.lift();
    // If it was to be deleted, then not before those two seconds were over, and not for long after the pod had come: what it was looked at for
    // the last time may be older than the pod.
    if let Some(sent) = trap.sent() {
        let (waited, late) = (sent.duration_since(closing), sent.saturating_duration_since(bound));
        assert!(waited >= Duration::from_secs(2) && late < Duration::from_secs(15), "{waited:?} {late:?}");
        eprintln!("it was to be deleted {waited:?} after it was closed, the pod had come {late:?} before");
    }
    let events: Api<Event> = Api::all(scene.client.clone());
    until("it is said", async || {
        let found = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let blocked = found.iter().filter(|one| one.reason.as_deref() == Some("DisruptionBlocked"));
        let notes: Vec<String> = blocked.filter_map(|one| one.message.clone()).collect();
        if notes.iter().any(|note| note.contains("must-stay")) { Ok(()) } else { Err(format!("{notes:?}")) }
    })
    .await;
    // It stays as long as the pod does; others go.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let found = pods.get("must-stay").await.expect("it is there");
    assert_eq!(found.metadata.deletion_timestamp, None);
    assert!(of_node().await.expect("its claim").metadata.deletion_timestamp.is_none());
    let (evicted, deleted) = done_to_pods(&scene);
    assert!(!evicted.contains(&"test/must-stay".to_owned()) && deleted.is_empty(), "{evicted:?} {deleted:?}");
    pods.delete("must-stay", &DeleteParams::default()).await.expect("it ends");
    scene.seen();
    replica.task.abort();
}
