//! Goal: in shadow mode the program writes plans and its lease, and nothing else, whatever happens in the cluster: by the API server's audit log
//! and the cloud's own.

use crate::common::pods;
use crate::common::scene::{SPACE, Scene, USER, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use stowage_fake_cloud::Script;

/// Ended with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shadow_mode_writes_nothing_but_plans() {
    let scene = Scene::start(Script::default()).await;
    let kubeconfig = scene.cluster.kubeconfig_as(USER).expect("a kubeconfig");
    let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-controller"));
    command
        .args(["--mode", "shadow", "--namespace", SPACE, "--listen", "127.0.0.1:0", "--cluster-name", "demo"])
        .args(["--region", "us-east-1", "--aws-endpoint", &scene.cloud.endpoint()])
        .env("KUBECONFIG", kubeconfig)
        .stdin(Stdio::null());
    let _program = Program(command.spawn().expect("the program starts"));
    pods(&scene.client, "pod", 20).await;
    let planned = async |least: usize| {
        let plans = scene.plans().await;
        let shadow = plans.iter().filter(|plan| plan.spec.mode == "shadow" && !plan.spec.actions.is_empty());
        let count = shadow.count();
        if count >= least { Ok(()) } else { Err(format!("{count} plans")) }
    };
    until("plan", async || planned(1).await).await;
    // Things happen: more pods, another NodePool, a pod that cannot be placed.
    pods(&scene.client, "more", 20).await;
    scene.pool(json!({ "spec": { "limits": { "cpu": "64" } } })).await;
    until("second plan", async || planned(2).await).await;
    tokio::time::sleep(Duration::from_secs(5)).await;

    let events = scene.cluster.audit().expect("the audit log");
    let ours: Vec<&Value> = events.iter().filter(|one| one["impersonatedUser"]["username"] == USER).collect();
    let what = |one: &&Value| {
        let text = |field: &str| one["objectRef"][field].as_str().unwrap_or_default().to_owned();
        format!("{} {}/{}", one["verb"].as_str().unwrap_or_default(), text("resource"), text("subresource"))
    };
    let written: BTreeSet<String> = ours.iter().map(what).collect();
    eprintln!("{} writes: {written:?}", ours.len());
    let allowed =
        ["create plans/", "patch plans/status", "delete plans/", "create leases/", "update leases/"];
    assert!(written.iter().all(|one| allowed.contains(&one.as_str())), "{written:?}");
    assert!(written.contains("create plans/"), "the log shows what is written: {written:?}");
    let refused = ours.iter().filter(|one| one["responseStatus"]["code"].as_u64() == Some(403));
    assert_eq!(refused.map(what).collect::<BTreeSet<_>>(), BTreeSet::new(), "the chart gives the rights");

    let calls = scene.cloud.with(|world| world.calls().to_vec());
    let actions: BTreeSet<&str> = calls.iter().map(|call| call.action.as_str()).collect();
    eprintln!("calls to the cloud: {actions:?}");
    let reads = |action: &&str| action.starts_with("Describe") || action.contains(".Get");
    assert!(actions.iter().all(reads), "{actions:?}");
    assert!(actions.contains("DescribeSpotPriceHistory"), "prices are the cloud's");
    assert_eq!(scene.live(), 0);
}
