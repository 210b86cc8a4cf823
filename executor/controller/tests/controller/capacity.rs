//! Goal: what EC2 has none of is not asked for again and again, what it gave instead is what counts, and pods get their nodes when
//! there is capacity again.

use crate::common::machines::one_each;
use crate::common::outcome::{paid, settled};
use crate::common::scene::{Scene, until};
use crate::common::{LATER, all_bound, first_subnet, pods};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use std::time::Duration;
use stowage_api::NodeClaim;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::{PoolRule, Script};

/// How long an offering without capacity is left out.
const PAUSE: i64 = 90_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_capacity_is_left_out_until_it_may_have_some_again() {
    // A fleet finds nothing in the zone that was planned, and a machine in the next: errors beside an instance.
    let script =
        Script { pools: vec![PoolRule::capacity("*", "us-east-1a", "on-demand", 0)], ..Script::default() };
    let scene = Scene::start(script).await;
    scene.types(&["m6a.xlarge", "m7i.xlarge"]).await;
    let settings = Settings { capacity_pause: PAUSE, ..Settings::default() };
    let replica = scene.replica("one", settings).await;
    pods(&scene.client, "first", 8).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 8)).await.expect("they are bound");
    let claims = eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    let missed = scene
        .calls("CreateFleet", 0)
        .iter()
        .filter(|call| first_subnet(call) == "subnet-0a")
        .map(|call| call.at)
        .max();
    let missed = missed.expect("the plan was for the zone without capacity");
    let machines = scene.cloud.with(|world| world.machines().clone());
    assert!(machines.values().all(|machine| machine.zone != "us-east-1a"));
    for claim in &claims {
        // What EC2 gave is what the claim says, whatever was planned.
        let machine = machines.values().find(|one| one.tags["karpenter.sh/nodeclaim"] == claim.name_any());
        let machine = machine.expect("a machine");
        assert_eq!(claim.labels()["topology.kubernetes.io/zone"], machine.zone);
        assert_eq!(claim.labels()["node.kubernetes.io/instance-type"], machine.instance_type);
    }
    let (paid, planned) = paid(&scene.cloud, &claims);
    assert_eq!(paid, planned, "a price on demand is the same in all zones");

    // The next plan knows.
    let now = scene.cloud.now();
    pods(&scene.client, "second", 8).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, 16)).await.expect("they are bound");
    let mut again = scene.calls("CreateFleet", now);
    again.retain(|call| call.at < missed + u64::try_from(PAUSE).expect("positive"));
    assert!(!again.is_empty(), "the second plan came within the pause");
    assert!(again.iter().all(|call| first_subnet(call) != "subnet-0a"), "it is still left out");

    // Nothing at all is left. It is found out, and then not asked for until the pause is over.
    let (now, before) = (scene.cloud.now(), scene.live());
    scene.cloud.with(|world| world.add_pool(PoolRule::capacity("*", "*", "on-demand", 0)));
    pods(&scene.client, "third", 8).await;
    until("reason", async || {
        let reasons = scene.reasons("third-0000").await;
        if reasons.is_empty() { Err("no plan says why".to_owned()) } else { Ok(()) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let refused = scene.calls("CreateFleet", now);
    // One plan of some machines, each asked for once, and perhaps one more that had left out half of what is missing.
    let tokens = scene.fleets_by_token();
    assert!(!refused.is_empty() && refused.len() <= 8, "{} fleets", refused.len());
    assert!(refused.iter().all(|call| tokens[&call.parameters["ClientToken"]] == 1), "{tokens:?}");
    assert_eq!(scene.live(), before);
    until("claims given back", async || {
        let claims: Api<NodeClaim> = Api::all(scene.client.clone());
        let left = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        if left == before { Ok(()) } else { Err(format!("{left} claims for {before} machines")) }
    })
    .await;

    scene.cloud.with(|world| world.add_pool(PoolRule::capacity("*", "*", "on-demand", 100)));
    let back = std::time::Instant::now();
    eventually("all pods bound", LATER, || all_bound(&scene.client, 24)).await.expect("they are bound");
    eprintln!("bound {:.1} s after there was capacity again", back.elapsed().as_secs_f64());
    eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud))
        .await
        .expect("it settles");
    one_each(&scene.cloud);
    scene.seen();
    replica.task.abort();
}
