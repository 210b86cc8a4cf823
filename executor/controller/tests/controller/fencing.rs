//! Goal: of two replicas one acts. When its lease is lost between a decision and the call, the call is not made; the other goes on where it
//! was, and nothing is done twice.

use crate::common::outcome::settled;
use crate::common::scene::{SPACE, Scene, USER, until};
use crate::common::{LATER, all_bound, pods};
use http::{Method, Request};
use kube::Client;
use kube::client::Body;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stowage_cluster::eventually;
use stowage_controller::Lease;
use stowage_executor::Settings;
use stowage_fake_cloud::{Effect, Fault, Script};

/// A client whose requests stop arriving when the gate is closed.
fn gated(inner: Client, closed: Arc<AtomicBool>) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, closed) = (inner.clone(), closed.clone());
        async move {
            if closed.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            inner.send(request).await
        }
    });
    Client::new(service, "default")
}

/// What a replica changes, and when it asked for it.
type Writes = Arc<Mutex<Vec<(Instant, String)>>>;

fn written(inner: Client, writes: Writes) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (inner, writes) = (inner.clone(), writes.clone());
        async move {
            if request.method() != Method::GET {
                let what = format!("{} {}", request.method(), request.uri().path());
                writes.lock().expect("the writes").push((Instant::now(), what));
            }
            inner.send(request).await
        }
    });
    Client::new(service, "default")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_lost_between_decision_and_call() {
    const PODS: usize = 24;
    let scene = Scene::start(Script::default()).await;
    scene.types(&["m6a.xlarge", "c6a.xlarge", "r6a.xlarge"]).await;
    let closed = Arc::new(AtomicBool::new(false));
    let lease = |name: &str, client: Client| Lease::start(client, SPACE, "stowage-controller", name);
    let one = lease("one", gated(scene.cluster.client_as(USER), closed.clone()));
    until("lease", async || one.leadership().epoch().map(drop).ok_or_else(|| "not held".to_owned())).await;
    let two = lease("two", scene.cluster.client_as(USER));

    // The first replica is in the middle of a launch, with its fleet still to come, for longer than its lease lasts.
    scene.cloud.with(|world| {
        world.add_fault(Fault::new("CreateLaunchTemplate", Effect::Slow { by: 27_000 }).times(1));
    });
    let (first, second) = (Writes::default(), Writes::default());
    let replica = async |lease: Lease, writes: &Writes| {
        let client = written(scene.cluster.client_as(USER), writes.clone());
        scene.replica_through(lease, client, Settings::default()).await
    };
    let one = replica(one, &first).await;
    let two = replica(two, &second).await;
    pods(&scene.client, "pod", PODS).await;
    until("launch under way", async || {
        if scene.calls("CreateLaunchTemplate", 0).is_empty() { Err(String::new()) } else { Ok(()) }
    })
    .await;
    assert!(two.lease.leadership().epoch().is_none());
    closed.store(true, Ordering::SeqCst);
    let lost = scene.cloud.now();
    eventually("all pods bound", LATER, || all_bound(&scene.client, PODS)).await.expect("they are bound");
    eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud))
        .await
        .expect("it settles");
    assert!(one.lease.leadership().epoch().is_none() && two.lease.leadership().epoch().is_some());
    // Until well after the slow call has been answered: its replica is no longer allowed to go on.
    let rest = (lost + 30_000).saturating_sub(scene.cloud.now());
    tokio::time::sleep(Duration::from_millis(rest)).await;
    let tokens = scene.fleets_by_token();
    assert!(tokens.values().all(|times| *times == 1), "a fleet was asked for by both: {tokens:?}");
    assert_eq!(tokens.len(), scene.live(), "one machine for each action");
    let (first, second) = (first.lock().expect("writes"), second.lock().expect("writes"));
    let (last, begun) = (first.last().expect("it wrote"), second.first().expect("it wrote"));
    assert!(last.0 < begun.0, "{} after {}", last.1, begun.1);
    eprintln!(
        "{} writes of one, {} of the other, {:.1} s between them",
        first.len(),
        second.len(),
        (begun.0 - last.0).as_secs_f64()
    );
    scene.seen();
    one.task.abort();
    two.task.abort();
}
