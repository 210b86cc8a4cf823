//! The executor's numbers: `cargo bench -p stowage-controller --bench numbers -- 500 5000 memory shrink notices day` prints them as rows of the table in
//! `benchmarks/results/executor.md`. Without arguments all of them.

#[path = "../tests/controller/common/mod.rs"]
#[allow(dead_code, reason = "tests of the controller use the rest")]
mod common;
#[path = "numbers/day.rs"]
mod day;
#[path = "numbers/notices.rs"]
mod notices;

use crate::common::outcome::{all_ready, paid, settled};
use crate::common::pods;
use crate::common::scene::{SPACE, Scene, USER};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use stowage_api::NodeClaim;
use stowage_cluster::{Kubelet, NodeSpec, eventually};
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// What takes long with thousands of pods on a busy machine.
const LONG: Duration = Duration::from_secs(1200);

fn percentile(sorted: &[i64], percent: usize) -> i64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).copied().unwrap_or_default()
}

/// From nothing: how long pods wait for their fleet to be asked for, what is paid, where pods end, what it takes.
async fn launch(count: usize) {
    let scene = Scene::start(Script::default()).await;
    let replica = scene.replica("one", Settings::default()).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let from = scene.cloud.now();
    let begun = Instant::now();
    pods(&scene.client, "pod", count).await;
    let created = begun.elapsed();
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let claims = eventually("everything settled", LONG, || async {
        let list = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let unbound =
            list.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none()));
        let unbound = unbound.count();
        if list.len() < count || unbound > 0 {
            // A list of thousands is not asked for twenty times a second.
            tokio::time::sleep(Duration::from_secs(2)).await;
            return Err(format!("{unbound} of {} pods unbound", list.len()));
        }
        settled(&scene.client, &scene.cloud).await
    })
    .await
    .expect("it settles");
    let took = begun.elapsed();

    // When a token was first used for a fleet, by the clock on the wall.
    let mut sent: BTreeMap<String, i64> = BTreeMap::new();
    for call in scene.calls("CreateFleet", 0) {
        let at = scene.cloud.with(|world| world.clock(call.at));
        sent.entry(call.parameters["ClientToken"].clone()).or_insert(at);
    }
    let listed = api.list(&ListParams::default()).await.expect("pods").items;
    let mut planned: BTreeMap<String, (i64, Option<String>)> = BTreeMap::new();
    for claim in &claims {
        let of: Value = serde_json::from_str(&claim.annotations()["stowage.dev/pods"]).expect("pods");
        let node = claim.status.as_ref().and_then(|status| status.node_name.clone());
        for pod in of.as_array().into_iter().flatten() {
            let id = pod["id"].as_str().expect("an id").to_owned();
            planned.insert(id, (sent[&claim.annotations()["stowage.dev/client-token"]], node.clone()));
        }
    }
    let (mut waits, mut there) = (Vec::new(), 0);
    for pod in &listed {
        let Some((at, node)) = planned.get(&format!("test/{}", pod.name_any())) else { continue };
        // kube-scheduler's word that it has no place, which is when it counts as pending; to the second.
        let seen = pod.creation_timestamp().map(|at| at.0.as_millisecond()).unwrap_or_default();
        waits.push(at - seen);
        there += usize::from(pod.spec.as_ref().is_some_and(|spec| spec.node_name == *node));
    }
    waits.sort_unstable();
    let (paid, planned) = paid(&scene.cloud, &claims);
    let ours = |one: &&Value| one["impersonatedUser"]["username"] == USER;
    let audit = scene.cluster.audit().expect("the audit log");
    let leases = |one: &&Value| one["objectRef"]["resource"] != "leases";
    let writes = audit.iter().filter(ours).filter(leases).count();
    let calls = scene.cloud.with(|world| world.calls().iter().filter(|call| call.at >= from).count());
    let nodes = claims.len();
    println!(
        "| {count} pods from nothing | {nodes} nodes; pod created to CreateFleet sent p50 {:.1} s, p99 {:.1} s (pods created over {:.1} s); all \
         ready after {:.1} s; paid/planned {:.4}; {there} of {} pods on their planned node; {:.1} API writes and {:.1} EC2 calls a node |",
        percentile(&waits, 50) as f64 / 1000.0,
        percentile(&waits, 99) as f64 / 1000.0,
        created.as_secs_f64(),
        took.as_secs_f64(),
        paid as f64 / planned as f64,
        waits.len(),
        writes as f64 / nodes as f64,
        calls as f64 / nodes as f64,
    );
    scene.seen();
    replica.task.abort();
}

/// Memory of the program, in a process of its own.
async fn memory() {
    const NODES: usize = 1000;
    const PODS: usize = 10_000;
    let scene = Scene::start(Script::default()).await;
    let kubelet = Kubelet::builder().heartbeat(Duration::from_secs(30)).start(scene.cluster.client());
    for n in 0..NODES {
        let node = NodeSpec::new(format!("node-{n:04}"))
            .provider_id(format!("aws:///us-east-1a/i-{n:017x}"))
            .label("node.kubernetes.io/instance-type", "m6a.4xlarge")
            .label("topology.kubernetes.io/zone", "us-east-1a")
            .label("karpenter.sh/capacity-type", "on-demand")
            .label("karpenter.sh/nodepool", "default")
            .label("karpenter.sh/registered", "true")
            .label("karpenter.sh/initialized", "true")
            .resource("cpu", "16")
            .resource("memory", "62Gi");
        kubelet.add(node).await.expect("a node");
    }
    let api: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..PODS {
        let container = json!({
            "name": "main", "image": "example.com/team/image:v1.2.3",
            "env": [{ "name": "A", "value": "b".repeat(200) }],
            "resources": { "requests": { "cpu": "1", "memory": "4Gi" } },
        });
        let pod = json!({
            "metadata": { "name": format!("runs-{n:05}"), "labels": { "app": format!("app-{}", n % 200), "team": "a" } },
            "spec": { "nodeName": format!("node-{:04}", n % NODES), "containers": [container] },
        });
        let (api, pod) = (api.clone(), serde_json::from_value(pod).expect("a pod"));
        tasks.spawn(async move { drop(api.create(&PostParams::default(), &pod).await.expect("a pod")) });
        if tasks.len() >= 32 {
            tasks.join_next().await;
        }
    }
    while tasks.join_next().await.is_some() {}
    let mut command = Command::new(env!("CARGO_BIN_EXE_stowage-controller"));
    command
        .args(["--mode", "shadow", "--namespace", SPACE, "--listen", "127.0.0.1:0", "--cluster-name", "demo"])
        .args(["--region", "us-east-1", "--aws-endpoint", &scene.cloud.endpoint()])
        // As the chart has it.
        .env("MALLOC_ARENA_MAX", "2")
        .env("MALLOC_MMAP_THRESHOLD_", "131072")
        .env("MALLOC_TRIM_THRESHOLD_", "131072")
        .env("KUBECONFIG", scene.cluster.kubeconfig_as(USER).expect("a kubeconfig"))
        .stdin(Stdio::null());
    let mut program = command.spawn().expect("the program starts");
    // Some hundred pods with no room: they are planned, and again.
    let huge = json!({ "metadata": { "generateName": "waits-" }, "spec": { "containers": [{
        "name": "main", "image": "none", "resources": { "requests": { "cpu": "7", "memory": "20Gi" } } }] } });
    for _ in 0..200 {
        let pod = serde_json::from_value(huge.clone()).expect("a pod");
        api.create(&PostParams::default(), &pod).await.expect("a pod");
    }
    let planned = eventually("plan", LONG, || async {
        let plans = scene.plans().await;
        if plans.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap_or_default();
    let mib = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
        line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap_or_default() / 1024
    };
    let (rss, peak) = (mib("VmRSS:"), mib("VmHWM:"));
    program.kill().expect("it ends");
    program.wait().expect("a status");
    planned.expect("it plans");
    println!(
        "| {NODES} nodes, {PODS} pods, 200 waiting, shadow mode | {rss} MiB resident, {peak} MiB at most |"
    );
    assert!(peak <= 200, "{peak} MiB");
}

/// Applications of the cluster that is consolidated, and their pods: two on a node.
const APPS: usize = 10;

/// A cluster that has become too large shrinks: how long that takes, what it takes, and whether anything was disrupted beyond budgets.
async fn shrink(wanted: usize) {
    let scene = Scene::start(Script::default()).await;
    let rules = json!({ "minNodeAge": "0s", "every": "5s", "mode": "off" });
    scene.create_policy(json!({ "consolidation": rules, "timeLimit": "10s" })).await;
    scene.types(&["m6a.xlarge"]).await;
    scene.pool(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "20%" }] } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let replicas = 2 * wanted / APPS;
    apps(&scene, replicas).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let ready = async |count: usize| {
        // A list of hundreds is not asked for twenty times a second.
        tokio::time::sleep(Duration::from_secs(1)).await;
        all_ready(&pods, count).await
    };
    eventually("all ready", LONG, || ready(APPS * replicas)).await.expect("they are ready");
    let fewer = replicas * 6 / 10;
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    for n in 0..APPS {
        let patch = Patch::Merge(json!({ "spec": { "replicas": fewer } }));
        deployments.patch(&format!("app-{n}"), &PatchParams::default(), &patch).await.expect("it is scaled");
    }
    eventually("fewer", LONG, || ready(APPS * fewer)).await.expect("they are fewer");
    let (before, fewest) = (scene.live(), (APPS * fewer).div_ceil(2));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let begun = Instant::now();
    scene.change_policy(json!({ "spec": { "consolidation": { "mode": "auto" } } })).await;
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    // What would save less than the threshold (1 % of the bill) is left.
    eventually("it shrinks", LONG, async || {
        ready(APPS * fewer).await?;
        let found = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let leaving = found.iter().filter(|claim| {
            claim.metadata.deletion_timestamp.is_some()
                || claim.annotations().contains_key("stowage.dev/removal")
        });
        let (leaving, live) = (leaving.count(), scene.live());
        if leaving == 0 && live * 100 <= fewest * 102 {
            Ok(())
        } else {
            Err(format!("{leaving} leave, {live} machines"))
        }
    })
    .await
    .expect("it shrinks");
    let took = begun.elapsed();
    let plans = scene.plans().await;
    let removing =
        plans.iter().filter(|plan| plan.spec.actions.iter().any(|one| one.kind == "Remove")).count();
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = || audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let evictions = |good: bool| {
        let asked = ours().filter(|one| one["objectRef"]["subresource"] == "eviction");
        asked
            .filter(|one| one["responseStatus"]["code"].as_i64().is_some_and(|code| (code < 300) == good))
            .count()
    };
    let deleted =
        ours().filter(|one| one["objectRef"]["resource"] == "pods" && one["verb"] == "delete").count();
    println!(
        "| {before} nodes, {} pods, shrinks to {} (least possible {fewest}) | {:.0} s; {removing} plans that are kept, {} evictions ({} refused by \
         budgets and repeated), {deleted} pods deleted; load before {} |",
        APPS * fewer,
        scene.live(),
        took.as_secs_f64(),
        evictions(true),
        evictions(false),
        load.trim(),
    );
    scene.seen();
    replica.task.abort();
}

/// Deployments of pods of which a node of four cores takes two; a tenth of each may be away.
async fn apps(scene: &Scene, replicas: usize) {
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), "test");
    let container = json!({
        "name": "main", "image": "none", "resources": { "requests": { "cpu": "1500m", "memory": "1Gi" } },
    });
    for n in 0..APPS {
        let name = format!("app-{n}");
        let selector = json!({ "matchLabels": { "app": name } });
        let pod = json!({
            "metadata": { "labels": { "app": name } },
            "spec": { "containers": [container], "terminationGracePeriodSeconds": 1 },
        });
        let deployment = json!({
            "metadata": { "name": name },
            "spec": { "replicas": replicas, "selector": selector, "template": pod },
        });
        let deployment = serde_json::from_value(deployment).expect("a Deployment");
        deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
        let budget = json!({
            "metadata": { "name": name }, "spec": { "maxUnavailable": "10%", "selector": selector },
        });
        let budget = serde_json::from_value(budget).expect("a budget");
        budgets.create(&PostParams::default(), &budget).await.expect("it is created");
    }
}

/// Measurements by name, each in its own control plane.
const NAMES: [&str; 6] = ["500", "5000", "memory", "shrink", "notices", "day"];
/// Nodes of the cluster that shrinks.
const SHRINK: usize = 200;

fn main() {
    // cargo passes `--bench`.
    let mut wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    if wanted.is_empty() {
        wanted = NAMES.map(str::to_owned).to_vec();
    }
    let unknown: Vec<&String> = wanted.iter().filter(|name| !NAMES.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "no such measurement: {unknown:?}; there are {NAMES:?}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    for name in wanted {
        match name.as_str() {
            "memory" => runtime.block_on(memory()),
            "day" => runtime.block_on(day::day()),
            "notices" => runtime.block_on(notices::notices()),
            "shrink" => runtime.block_on(shrink(SHRINK)),
            pods => runtime.block_on(launch(pods.parse().expect("a number of pods"))),
        }
    }
}
