//! Goal: the API server is gone for a while in the middle of a launch; nothing is launched twice, nothing is forgotten.

use crate::common::outcome::{paid, settled};
use crate::common::scene::{Scene, until};
use crate::common::{LATER, all_bound, pods};
use std::time::{Duration, Instant};
use stowage_cluster::{Program, eventually};
use stowage_executor::Settings;
use stowage_fake_cloud::{Effect, Fault, Script};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_is_gone_for_a_while() {
    const PODS: usize = 60;
    let mut scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge", "c6a.xlarge", "r6a.xlarge"]).await;
    // Half of the fleets answer late, so that answers come while nobody can be told.
    let slow = Fault { permille: 500, ..Fault::new("CreateFleet", Effect::Slow { by: 3_000 }) };
    scene.cloud.with(|world| world.add_fault(slow));
    let replica = scene.replica("one", Settings::default()).await;
    pods(&scene.client, "pod", PODS).await;
    until("some machines", async || {
        let live = scene.live();
        if live >= 4 { Ok(()) } else { Err(format!("{live} machines")) }
    })
    .await;
    scene.cluster.kill(Program::ApiServer);
    let at_death = scene.live();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let without = scene.live();
    scene.cluster.revive(Program::ApiServer).await.expect("it comes back");
    let back = Instant::now();
    eventually("all pods bound", LATER, || all_bound(&scene.client, PODS)).await.expect("they are bound");
    eprintln!(
        "{at_death} machines when the API server died, {without} before it came back; all bound {:.1} s after that",
        back.elapsed().as_secs_f64()
    );
    let claims = eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    let all = scene.cloud.with(|world| world.machines().len());
    assert_eq!(all, claims.len(), "no machine was launched in vain");
    let (paid, planned) = paid(&scene.cloud, &claims);
    assert_eq!(paid, planned);
    scene.seen();
    replica.task.abort();
}
