//! Goal: when EC2 throttles everything for a while, we do not make it worse, and go on when it is over.

use crate::common::outcome::settled;
use crate::common::scene::{Scene, until};
use crate::common::{LATER, all_bound, pods};
use kube::Api;
use std::time::{Duration, Instant};
use stowage_api::Ec2NodeClass;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::{Effect, Fault, Script};

/// How long everything is refused, and then fleets only, in milliseconds.
const ALL: u64 = 8_000;
const FLEETS: u64 = 16_000;

#[tokio::test(flavor = "multi_thread")]
async fn throttling_is_waited_for_and_not_made_worse() {
    const PODS: usize = 60;
    let scene = Scene::start(Script::default()).await;
    // Small machines, so that there are many fleets.
    scene.types(&["m6a.xlarge", "c6a.xlarge", "r6a.xlarge"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    // Node classes have been looked at; launching is what is throttled.
    let classes: Api<Ec2NodeClass> = Api::all(scene.client.clone());
    until("the node class is ready", async || {
        let class = classes.get("default").await.map_err(|error| error.to_string())?;
        let conditions = class.status.unwrap_or_default().conditions.unwrap_or_default();
        let ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
        if ready { Ok(()) } else { Err(format!("{conditions:?}")) }
    })
    .await;
    let from = scene.cloud.now();
    scene.cloud.with(|world| {
        world.add_fault(Fault { until: from + ALL, ..Fault::new("*", Effect::throttle()) });
        world.add_fault(Fault { until: from + FLEETS, ..Fault::new("CreateFleet", Effect::throttle()) });
    });
    pods(&scene.client, "pod", PODS).await;
    let over = Instant::now() + Duration::from_millis((from + FLEETS).saturating_sub(scene.cloud.now()));
    eventually("all pods bound", LATER, || all_bound(&scene.client, PODS)).await.expect("they are bound");
    let took = over.elapsed();
    eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud))
        .await
        .expect("it settles");
    eprintln!("all bound {:.1} s after throttling ended", took.as_secs_f64());
    assert!(took < Duration::from_secs(60), "{took:?}");
    // Each pause is twice the last, so there are few attempts in 16 s; and all are one action's.
    let tokens = scene.fleets_by_token();
    let most = tokens.values().max().copied().unwrap_or_default();
    assert!(tokens.len() >= 10 && (2..=6).contains(&most), "{most} fleets for an action of {}", tokens.len());
    let calls = scene.cloud.with(|world| world.calls().to_vec());
    let struck = calls.iter().filter(|call| call.fault.is_some()).count();
    let own = calls.iter().filter(|call| call.outcome == "RequestLimitExceeded" && call.fault.is_none());
    assert_eq!(own.count(), 0, "our buckets are smaller than EC2's");
    eprintln!("{struck} of {} calls were refused, {} machines", calls.len(), scene.live());
    assert_eq!(scene.live(), tokens.len(), "every action has its machine");
    scene.seen();
    replica.task.abort();
}
