//! Goal: without its queue the controller is degraded, says so, and works; machines whose status checks fail and machines with scheduled events are
//! found by asking, noted once, and replaced; the others are left alone.

use crate::common::outcome::all_ready;
use crate::common::scene::{SPACE, Scene, USER, until};
use crate::common::{LATER, aws_settings, options};
use crate::shrinking::{APPS, REPLICAS, at_rest, deploy, done_to_pods};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stowage_api::{NodeClaim, PlanPolicy};
use stowage_aws::Aws;
use stowage_cluster::eventually;
use stowage_controller::{Controller, Lease, Options};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{Ailment, Script};
use stowage_models::catalog::Catalog;
use stowage_models::departure::NOTICES;

#[tokio::test(flavor = "multi_thread")]
async fn unwell_machines_are_replaced_and_a_missing_queue_is_no_end() {
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge"]).await;
    scene.create_policy(json!({ "consolidation": { "mode": "off" } })).await;
    let lease = Lease::start(scene.cluster.client_as(USER), SPACE, "stowage-controller", "one");
    let settings = stowage_aws::Settings { queue: Some("missing".to_owned()), ..aws_settings(&scene.cloud) };
    let aws = Aws::connect(settings, Catalog::embedded().clone()).await;
    let settings = Settings { mode: Mode::Auto, ..Settings::default() };
    let options = Options { status_every: Duration::from_secs(2), ..options(settings) };
    let controller =
        Controller::new(scene.cluster.client_as(USER), Arc::new(aws), lease.leadership(), options);
    let (health, metrics) = (controller.health(), controller.metrics());
    let task = tokio::spawn(controller.run());

    // Degraded, and at work.
    let policies: Api<PlanPolicy> = Api::all(scene.client.clone());
    until("the policy says it", async || {
        let policy = policies.get("default").await.map_err(|error| error.to_string())?;
        let conditions = policy.status.unwrap_or_default().conditions.unwrap_or_default();
        let found = conditions.iter().find(|one| one.type_ == "Degraded" && one.status == "True");
        let message = found.map(|one| one.message.clone()).ok_or_else(|| format!("{conditions:?}"))?;
        if message.contains("interruption queue: queue missing") { Ok(()) } else { Err(message) }
    })
    .await;
    assert_eq!(health.ready(), Ok(()));
    deploy(&scene).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let all = APPS * REPLICAS;
    eventually("all ready", LATER, || all_ready(&pods, all)).await.expect("they are ready");
    eventually("at rest", LATER, || at_rest(&scene)).await.expect("nothing is under way");

    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let list = async || claims.list(&Default::default()).await.expect("claims").items;
    let before = list().await;
    let instance = |claim: &NodeClaim| {
        let id = claim.status.clone().unwrap_or_default().provider_id.expect("a machine");
        id.rsplit('/').next().expect("an id").to_owned()
    };
    let (impaired, retired) = (instance(&before[0]), instance(&before[1]));
    let names: BTreeSet<String> = [before[0].name_any(), before[1].name_any()].into();
    // Not at once, so that their notes are seen.
    scene.change_policy(json!({ "spec": { "stop": true } })).await;
    until("everything is stopped", async || {
        metrics.render().contains("stowage_stopped 1\n").then_some(()).ok_or_else(String::new)
    })
    .await;
    scene.cloud.with(|world| {
        world.ail(&impaired, Ailment { system: true, ..Ailment::default() });
        let start = world.calls().last().map_or(0, |call| call.at) + 600_000;
        let event = Some(("instance-retirement".to_owned(), "It is to be retired".to_owned(), start));
        world.ail(&retired, Ailment { event, ..Ailment::default() });
    });
    let noted = async || -> BTreeMap<String, String> {
        let noted = |claim: &NodeClaim| Some((claim.name_any(), claim.annotations().get(NOTICES)?.clone()));
        list().await.iter().filter_map(noted).collect()
    };
    until("both are noted", async || {
        let found = noted().await;
        let of = |n: usize| found.get(&before[n].name_any()).cloned().unwrap_or_default();
        let good = of(0) == "InstanceStatus" && of(1).starts_with("ScheduledChange@") && found.len() == 2;
        if good { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let first = noted().await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(noted().await, first, "what is noted is not noted again");

    // They go, by force, with their replacements; and no others.
    scene.change_policy(json!({ "spec": { "stop": false } })).await;
    eventually("both are replaced", LATER, async || {
        at_rest(&scene).await?;
        all_ready(&pods, all).await?;
        let there: BTreeSet<String> = list().await.iter().map(|claim| claim.name_any()).collect();
        if there.is_disjoint(&names) { Ok(()) } else { Err(format!("{there:?}")) }
    })
    .await
    .expect("they are replaced");
    let ended: BTreeSet<String> = scene.cloud.with(|world| {
        let gone = world.machines().values().filter(|one| one.ended.is_some());
        gone.map(|one| one.id.clone()).collect()
    });
    assert_eq!(ended, [impaired, retired].into());
    assert_eq!(done_to_pods(&scene).1, Vec::<String>::new(), "evicted, not deleted");
    scene.seen();
    task.abort();
}
