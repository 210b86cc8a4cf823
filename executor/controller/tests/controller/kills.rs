//! Goal: on a real control plane and with the real AWS SDK, whatever the cloud does and wherever the controller ends, every action gets
//! one machine, none leaks, pods end on nodes that were planned, at the planned price. The cloud is the fake one.

use crate::common::machines::{Whims, boot, one_each};
use crate::common::outcome::{paid, settled};
use crate::common::trap::{Trap, When};
use crate::common::{
    LATER, SOON, all_bound, alone, aws_settings, class, first_subnet, options, pods, prepare,
};
use http::Method;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use stowage_api::{Ec2NodeClass, NodeClaim};
use stowage_aws::Aws;
use stowage_cluster::{Cluster, Kubelet, eventually};
use stowage_controller::{Controller, Lease};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{Effect, FakeCloud, Fault, PoolRule, Script};
use stowage_models::catalog::Catalog;

/// Pods at the start. `STOWAGE_PODS=500 cargo test` for more.
fn count() -> usize {
    std::env::var("STOWAGE_PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// Controllers of one cluster and cloud, one after the other.
struct Lives {
    cluster: Cluster,
    cloud: Arc<FakeCloud>,
    lease: Lease,
    trap: Trap,
}

impl Lives {
    async fn begin(&self) -> tokio::task::JoinHandle<()> {
        let aws = Aws::connect(aws_settings(&self.cloud), Catalog::embedded().clone()).await;
        // Longer than a busy machine takes to register: two that do not in time, and nothing is launched for minutes.
        let settings = Settings { mode: Mode::Auto, registration_timeout: 60_000, ..Settings::default() };
        let options = options(settings);
        let client = self.trap.client(self.cluster.client());
        tokio::spawn(Controller::new(client, Arc::new(aws), self.lease.leadership(), options).run())
    }

    /// A controller lives until it has been caught at a call.
    async fn until(&self, what: &str, caught: impl Fn() -> bool) {
        let task = self.begin().await;
        eventually(what, LATER, || async {
            one_each(&self.cloud);
            caught().then_some(()).ok_or_else(|| "not caught yet".to_owned())
        })
        .await
        .expect("it is caught");
        task.abort();
    }

    fn struck(&self, action: &str, effect: &Effect) -> usize {
        self.cloud.with(|world| {
            let calls = world.calls().iter();
            calls.filter(|call| call.action == action && call.fault.as_ref() == Some(effect)).count()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_for_each_action_whatever_happens() {
    let _turn = alone().await;
    let begun = std::time::Instant::now();
    let lap = |what: &str| eprintln!("{:6.1} s {what}", begun.elapsed().as_secs_f64());
    let builder = Cluster::builder().controller_manager(true).scheduler(true);
    let cluster = builder.start().await.expect("the cluster starts");
    prepare(&cluster, class()).await;
    let client = cluster.client();
    // The first zone has no capacity, and the plan does not know it; instances are invisible at first; some calls are throttled,
    // some answers lost.
    let script = Script {
        invisible_reads: 2,
        pools: vec![PoolRule::capacity("*", "us-east-1a", "on-demand", 0)],
        faults: vec![
            Fault::new("CreateFleet", Effect::throttle()).times(2),
            Fault::new("CreateFleet", Effect::LoseReply).after(2).times(2),
            Fault::new("DescribeInstances", Effect::throttle()).after(3).times(2),
        ],
        ..Script::default()
    };
    let cloud = Arc::new(FakeCloud::start(script).await.expect("a port"));
    let whims: Arc<Mutex<Whims>> = Arc::default();
    let booting = tokio::spawn(boot(cloud.clone(), Kubelet::start(cluster.client()), whims.clone()));
    let lease = Lease::start(cluster.client(), "kube-system", "stowage", "one");
    let lives = Lives { cluster, cloud: cloud.clone(), lease, trap: Trap::default() };
    lap("prepared");

    // Killed before and after each write to EC2 of a launch.
    let mut total = count();
    pods(&client, "first", total).await;
    for (action, effect) in [
        ("CreateLaunchTemplate", Effect::Hang),
        ("CreateLaunchTemplate", Effect::HangAfter),
        ("CreateFleet", Effect::Hang),
        ("CreateFleet", Effect::HangAfter),
    ] {
        cloud.with(|world| world.add_fault(Fault::new(action, effect.clone()).times(1)));
        lives.until(action, || lives.struck(action, &effect) == 1).await;
        lap(&format!("killed at {action} {effect:?}"));
        if action == "CreateLaunchTemplate" && effect == Effect::Hang {
            continue;
        }
        if action == "CreateLaunchTemplate" {
            // The next template is another.
            let classes: Api<Ec2NodeClass> = Api::all(client.clone());
            let tags = Patch::Merge(json!({ "spec": { "tags": { "team": "a" } } }));
            classes.patch("default", &PatchParams::default(), &tags).await.expect("the class changes");
        }
    }
    // Killed before and after each write of a launch to the API server.
    for (n, (method, path)) in
        [(Method::POST, "/nodeclaims"), (Method::PATCH, "/nodeclaims/"), (Method::PATCH, "/nodes/")]
            .into_iter()
            .enumerate()
    {
        for when in [When::Before, When::After] {
            pods(&client, &format!("more-{n}-{}", format!("{when:?}").to_lowercase()), 8).await;
            total += 8;
            lives.trap.set(method.clone(), path, when);
            lives.until(path, || lives.trap.sprung()).await;
            lap(&format!("killed {when:?} {method} {path}"));
        }
    }
    // One machine never registers; its pods get another. The controller stays.
    let task = lives.begin().await;
    eventually("all pods bound", LATER, || all_bound(&client, total)).await.expect("they are bound");
    lap("all bound");
    let before: BTreeSet<String> = cloud.with(|world| world.machines().keys().cloned().collect());
    whims.lock().expect("the whims").dead_after = Some(before);
    pods(&client, "last", 40).await;
    total += 40;
    eventually("all pods bound", LATER, || all_bound(&client, total)).await.expect("they are bound");
    assert_eq!(whims.lock().expect("the whims").dead.len(), 1, "a machine is dead");
    lap("all bound though a machine never registered");
    let claims =
        eventually("everything settled", LATER, || settled(&client, &lives.cloud)).await.expect("it settles");
    lap("settled");

    let (paid, planned) = paid(&lives.cloud, &claims);
    let (machines, templates, calls) =
        cloud.with(|world| (world.machines().clone(), world.templates().len(), world.calls().to_vec()));
    assert!(machines.values().all(|machine| machine.zone != "us-east-1a"), "there is no capacity");
    let dead_ones = machines.values().filter(|machine| machine.ended.is_some()).count();
    assert!(dead_ones >= 1, "the dead machine was given back");
    assert!(templates <= 2, "{templates} launch templates for two configurations");
    let fleets: Vec<_> = calls.iter().filter(|call| call.action == "CreateFleet").collect();
    assert!(fleets.iter().any(|call| first_subnet(call) == "subnet-0a"), "the planned offering was missing");
    let throttled =
        calls.iter().filter(|call| call.outcome == "RequestLimitExceeded" && call.fault.is_none());
    assert_eq!(throttled.count(), 0, "our buckets are smaller than EC2's");
    eprintln!(
        "{total} pods, {} nodes, paid {paid} of planned {planned} micro-dollars an hour, {} fleets, {} calls, {templates} templates, {:.1} calls \
         for each machine",
        claims.len(),
        fleets.len(),
        calls.len(),
        calls.len() as f64 / machines.len() as f64
    );

    // Everything goes: killed before and after the end of a machine.
    let api: Api<Pod> = Api::namespaced(client.clone(), "test");
    api.delete_collection(&DeleteParams::default().grace_period(0), &ListParams::default())
        .await
        .expect("pods go");
    eventually("no pods", SOON, || async {
        let left = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        (left == 0).then_some(()).ok_or_else(|| format!("{left} left"))
    })
    .await
    .expect("they go");
    task.abort();
    let claims: Api<NodeClaim> = Api::all(client.clone());
    claims.delete_collection(&DeleteParams::default(), &ListParams::default()).await.expect("claims go");
    for effect in [Effect::Hang, Effect::HangAfter] {
        cloud.with(|world| world.add_fault(Fault::new("TerminateInstances", effect.clone()).times(1)));
        lives.until("TerminateInstances", || lives.struck("TerminateInstances", &effect) == 1).await;
        lap(&format!("killed at TerminateInstances {effect:?}"));
    }
    let task = lives.begin().await;
    eventually("nothing left", LATER, || async {
        let left = cloud.with(|world| world.machines().values().filter(|one| one.ended.is_none()).count());
        let claims =
            claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        let nodes: Api<Node> = Api::all(client.clone());
        let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items.len();
        (left + claims + nodes == 0)
            .then_some(())
            .ok_or_else(|| format!("{left} machines, {claims} claims, {nodes} nodes"))
    })
    .await
    .expect("nothing leaks");
    lap("nothing left");
    task.abort();
    booting.abort();
}
