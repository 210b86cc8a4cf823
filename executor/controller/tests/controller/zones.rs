//! Goal: nothing is launched in a zone that the PlanPolicy takes out, or that ARC shifts the cluster away from, and again when it is back; nodes in
//! a zone of the second kind stay meanwhile, and a refusal of ARC opens nothing.

use crate::common::outcome::settled;
use crate::common::scene::{SPACE, Scene, USER, until};
use crate::common::{LATER, all_bound, aws_settings, options};
use crate::telling::told;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stowage_api::PlanPolicy;
use stowage_aws::Aws;
use stowage_cluster::eventually;
use stowage_controller::{Controller, Lease, Options};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{Effect, Fault, Script, ZonalShift};
use stowage_models::catalog::Catalog;

const ZONE: &str = "topology.kubernetes.io/zone";

/// A pod that fills a machine.
async fn pod(scene: &Scene, name: &str, selector: Value) {
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({ "name": "main", "image": "none", "resources": { "requests": { "cpu": "3" } } });
    let pod = json!({
        "metadata": { "name": name }, "spec": { "containers": [container], "nodeSelector": selector },
    });
    let pod = serde_json::from_value(pod).expect("a pod");
    pods.create(&PostParams::default(), &pod).await.expect("a pod");
}

/// Waits until a plan says that a pod has no place.
async fn is_left_out(scene: &Scene, name: &str) {
    let left_out = || async {
        let reasons = scene.reasons(name).await;
        if reasons.is_empty() { Err("nobody has said so".to_owned()) } else { Ok(()) }
    };
    eventually("it is left out", LATER, left_out).await.expect("it is left out");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_out_gets_no_machine() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    scene.create_policy(json!({ "unavailableZones": ["us-east-1a", "us-east-1b"] })).await;
    let replica = scene.replica("one", Settings::default()).await;
    // One machine each, for anywhere, or for the zone that is out.
    pod(&scene, "anywhere", json!({})).await;
    eventually("it is bound", LATER, || all_bound(&scene.client, 1)).await.expect("it is bound");
    pod(&scene, "there", json!({ ZONE: "us-east-1a" })).await;
    is_left_out(&scene, "there").await;
    let zones = async || {
        let claims = eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await;
        let mut zones: BTreeMap<String, usize> = BTreeMap::new();
        for claim in claims.expect("it settles") {
            *zones.entry(claim.labels()[ZONE].clone()).or_default() += 1;
        }
        zones
    };
    let before = zones().await;
    assert!(!before.contains_key("us-east-1a") && !before.contains_key("us-east-1b"), "{before:?}");
    scene.change_policy(json!({ "spec": { "unavailableZones": [] } })).await;
    eventually("all are bound", LATER, || all_bound(&scene.client, 2)).await.expect("they are bound");
    assert_eq!(zones().await.get("us-east-1a"), Some(&1));
    scene.seen();
    replica.task.abort();
}

/// Zones of the nodes there are.
async fn zones_of_nodes(scene: &Scene) -> Vec<String> {
    let nodes: Api<Node> = Api::all(scene.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("nodes").items;
    let mut zones: Vec<String> = nodes.iter().map(|node| node.labels()[ZONE].clone()).collect();
    zones.sort();
    zones
}

/// What the condition `Degraded` of the policy says, if it is so.
async fn degraded(scene: &Scene) -> Option<String> {
    let policies: Api<PlanPolicy> = Api::all(scene.client.clone());
    let status = policies.get("default").await.expect("the policy").status.unwrap_or_default();
    let mut conditions = status.conditions.unwrap_or_default().into_iter();
    conditions.find(|one| one.type_ == "Degraded" && one.status == "True").map(|one| one.message)
}

/// Waits until so many events of the pool have a reason; the zones they name.
async fn events(scene: &Scene, reason: &str, count: usize) -> BTreeSet<String> {
    let look = async || {
        let told = told(scene, "NodePool", "default").await;
        let notes = told.iter().filter(|(one, _)| one == reason).map(|(_, note)| note.clone());
        let notes: Vec<String> = notes.collect();
        if notes.len() == count { Ok(notes) } else { Err(format!("{told:?}")) }
    };
    let notes = eventually(reason, LATER, look).await.expect(reason);
    let zone = |note: &String| note.split_whitespace().nth(1).unwrap_or_default().to_owned();
    notes.iter().map(zone).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_that_is_shifted_away_gets_no_machine_and_keeps_those_it_has() {
    // People have shifted away from one zone and AWS from another; a third shift is not in effect.
    let by_people = ZonalShift::away_from("use1-az2");
    let by_aws = ZonalShift { autoshift: true, ..ZonalShift::away_from("use1-az1") };
    let outdone = ZonalShift { outdone: true, ..ZonalShift::away_from("use1-az4") };
    let shifts = vec![by_people.clone(), by_aws.clone(), outdone.clone()];
    let scene = Scene::start(Script { shifts, ..Script::default() }).await;
    scene.types(&["m6a.xlarge"]).await;
    let consolidation = json!({ "minNodeAge": "0s", "every": "5s", "mode": "off" });
    scene.create_policy(json!({ "consolidation": consolidation })).await;
    let lease = Lease::start(scene.cluster.client_as(USER), SPACE, "stowage-controller", "one");
    let arn = "arn:aws:eks:us-east-1:111122223333:cluster/demo".to_owned();
    let settings = stowage_aws::Settings { zonal_shift: Some(arn.clone()), ..aws_settings(&scene.cloud) };
    let aws = Aws::connect(settings, Catalog::embedded().clone()).await;
    let settings = Settings { mode: Mode::Auto, ..Settings::default() };
    let options = Options { shifts_every: Duration::from_secs(1), ..options(settings) };
    let client = scene.cluster.client_as(USER);
    let controller = Controller::new(client, Arc::new(aws), lease.leadership(), options);
    let metrics = controller.metrics();
    let shows =
        |zone: &str| metrics.render().contains(&format!("stowage_zone_shifted{{zone=\"{zone}\"}} 1\n"));
    let task = tokio::spawn(controller.run());

    // Launches go elsewhere, from the first plan on.
    pod(&scene, "anywhere", json!({})).await;
    pod(&scene, "there", json!({ ZONE: "us-east-1a" })).await;
    is_left_out(&scene, "there").await;
    until("it is bound", async || match scene.node_of("anywhere").await {
        Some(_) => Ok(()),
        None => Err("it waits".to_owned()),
    })
    .await;
    assert_eq!(zones_of_nodes(&scene).await, ["us-east-1c"]);
    assert!(shows("us-east-1a") && shows("us-east-1b") && !shows("us-east-1c"), "{}", metrics.render());
    let first = scene.calls("GetManagedResource", 0)[0].clone();
    assert_eq!(first.parameters["path"], format!("/managedresources/{arn}"));
    assert!(first.at <= scene.calls("CreateFleet", 0)[0].at, "it is asked before anything is launched");
    let begun = events(&scene, "ZonalShiftActive", 2).await;
    assert_eq!(begun, ["us-east-1a".to_owned(), "us-east-1b".to_owned()].into());

    // AWS ends its shift: the zone is open again.
    scene.cloud.with(|world| world.set_shifts(vec![by_people.clone(), outdone.clone()]));
    eventually("both are bound", LATER, || all_bound(&scene.client, 2)).await.expect("they are bound");
    eventually("settled", LATER, || settled(&scene.client, &scene.cloud)).await.expect("it settles");
    assert_eq!(zones_of_nodes(&scene).await, ["us-east-1a", "us-east-1c"]);
    assert!(!shows("us-east-1a") && shows("us-east-1b"));
    assert_eq!(events(&scene, "ZonalShiftCleared", 1).await, ["us-east-1a".to_owned()].into());

    // Both nodes become empty, and one of them is in a zone that is shifted away from then on: that one stays, also while ARC refuses to answer.
    let there = scene.node_of("there").await.expect("its node");
    scene.cloud.with(|world| world.set_shifts(vec![ZonalShift::away_from("use1-az1")]));
    until("it is shifted away", async || shows("us-east-1a").then_some(()).ok_or_else(String::new)).await;
    let denied = Effect::Refuse { code: "AccessDeniedException".to_owned(), status: 403 };
    // Long enough that it is seen and said, however busy the machine is.
    let end = scene.cloud.now() + 90_000;
    let refusals = Fault { until: end, ..Fault::new("GetManagedResource", denied) };
    scene.cloud.with(|world| world.add_fault(refusals));
    until("it is degraded", async || {
        let said = degraded(&scene).await.unwrap_or_default();
        if said.contains("zonal shifts: GetManagedResource: AccessDenied") { Ok(()) } else { Err(said) }
    })
    .await;
    assert!(metrics.render().contains("stowage_zonal_shifts_available 0\n"), "{}", metrics.render());
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    for name in ["anywhere", "there"] {
        pods.delete(name, &DeleteParams::default().grace_period(0)).await.expect("it goes");
    }
    scene.change_policy(json!({ "spec": { "consolidation": { "mode": "auto" } } })).await;
    let left = async || match zones_of_nodes(&scene).await {
        zones if zones == ["us-east-1a"] => Ok(()),
        zones => Err(format!("{zones:?}")),
    };
    eventually("the other goes", LATER, left).await.expect("it goes");
    until("it is said why it stays", async || {
        let told = told(&scene, "Node", &there).await;
        let says =
            |(reason, note): &(String, String)| reason == "Unconsolidatable" && note.contains("shifted away");
        if told.iter().any(says) { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    // Several looks at what is not worth its cost, and beyond the refusals.
    let rest = end.saturating_sub(scene.cloud.now()).max(15_000);
    tokio::time::sleep(Duration::from_millis(rest)).await;
    assert_eq!(zones_of_nodes(&scene).await, ["us-east-1a"]);
    until("it works again", async || degraded(&scene).await.map_or(Ok(()), Err)).await;
    assert!(metrics.render().contains("stowage_zonal_shifts_available 1\n"));

    // The shift is over, and so is the node.
    scene.cloud.with(|world| world.set_shifts(Vec::new()));
    let gone = async || match zones_of_nodes(&scene).await {
        zones if zones.is_empty() => Ok(()),
        zones => Err(format!("{zones:?}")),
    };
    eventually("it goes, too", LATER, gone).await.expect("it goes");
    scene.seen();
    task.abort();
}
