//! Half of the spot machines are named among 15,000 messages that come at once: how long until each is closed and until what takes its place is
//! asked for.

use crate::common::outcome::{all_ready, settled};
use crate::common::scene::{Scene, USER};
use crate::{apps, percentile};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_cluster::eventually;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;

/// Pods of each of the ten Deployments; a machine takes two pods.
const REPLICAS: usize = 8;
const MESSAGES: usize = 15_000;
/// What a step takes at most. It is of 80 pods, not of thousands, and a step that hangs is to be told of soon.
const LIMIT: Duration = Duration::from_secs(300);

/// A message as EventBridge writes it.
fn message(kind: &str, instance: &str) -> String {
    let time = jiff::Timestamp::now().to_string();
    let detail = json!({ "instance-id": instance, "instance-action": "terminate", "state": "running" });
    json!({ "source": "aws.ec2", "detail-type": kind, "time": time, "detail": detail }).to_string()
}

/// When we first changed each node, in milliseconds on the wall, by the API server's own log: nothing but closing changes nodes that are ready.
fn closed(scene: &Scene, since: i64) -> BTreeMap<String, i64> {
    let audit = scene.cluster.audit().expect("the audit log");
    let mut found = BTreeMap::new();
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    for one in ours.filter(|one| one["objectRef"]["resource"] == "nodes" && one["verb"] == "patch") {
        let at: Option<jiff::Timestamp> =
            one["requestReceivedTimestamp"].as_str().and_then(|at| at.parse().ok());
        let (at, node) = (at.map_or(0, |at| at.as_millisecond()), one["objectRef"]["name"].as_str());
        if let (true, true, Some(node)) =
            (one["responseStatus"]["code"].as_i64() == Some(200), at >= since, node)
        {
            let first = found.entry(node.to_owned()).or_insert(at);
            *first = at.min(*first);
        }
    }
    found
}

pub(crate) async fn notices() {
    let scene = Scene::start(Script::default()).await;
    scene.create_policy(json!({ "consolidation": { "mode": "off" } })).await;
    scene.spot(&["m6a.xlarge", "c6a.xlarge", "r6a.xlarge", "m6i.xlarge"]).await;
    let replica = scene.replica("one", Settings::default()).await;
    apps(&scene, REPLICAS).await;
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let ready = async || all_ready(&pods, crate::APPS * REPLICAS).await;
    eventually("all ready", LIMIT, ready).await.expect("they are ready");
    // Nothing else is on its way.
    let settled = async || settled(&scene.client, &scene.cloud).await.map(drop);
    eventually("everything settled", LIMIT, settled).await.expect("it settles");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let all: Vec<String> = scene.cloud.with(|world| world.machines().keys().cloned().collect());
    // Each named some times, spread over the queue; the rest is of machines of others, of no consequence, or no message at all.
    let lost: BTreeSet<&String> = all.iter().step_by(2).collect();
    let named: Vec<&&String> = lost.iter().collect();
    let begun = scene.cloud.now();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let at = jiff::Timestamp::now().as_millisecond();
    scene.cloud.with(|world| {
        for n in 0..MESSAGES {
            let n = n * 7919 % MESSAGES;
            let body = match n % 100 {
                0 => message("EC2 Spot Instance Interruption Warning", named[n / 100 % named.len()]),
                1..20 => "{\"source\": ".to_owned(),
                20..40 => message("EC2 Instance State-change Notification", &all[n % all.len()]),
                _ => message("EC2 Spot Instance Interruption Warning", &format!("i-0a{n:015x}")),
            };
            world.send("stowage", body);
        }
    });
    let of_node: BTreeSet<String> = lost.iter().map(|id| format!("ip-{}", &id[2..])).collect();
    let emptied = async || match scene.cloud.with(|world| world.messages("stowage")) {
        0 => Ok(jiff::Timestamp::now().as_millisecond()),
        left => Err(format!("{left} messages")),
    };
    let emptied = eventually("the queue is empty", LIMIT, emptied).await.expect("it is emptied");
    let gone = async || {
        let left =
            scene.cloud.with(|world| lost.iter().filter(|id| world.machines()[**id].ended.is_none()).count());
        if left == 0 { ready().await } else { Err(format!("{left} of them run")) }
    };
    eventually("they are replaced", LIMIT, gone).await.expect("they are replaced");
    let safe = jiff::Timestamp::now().as_millisecond();
    let closed = closed(&scene, at);
    let mut closings: Vec<i64> =
        of_node.iter().filter_map(|node| closed.get(node)).map(|closed| closed - at).collect();
    let of_fleets = scene.calls("CreateFleet", begun);
    let mut calls: Vec<i64> =
        of_fleets.iter().map(|call| scene.cloud.with(|world| world.clock(call.at)) - at).collect();
    closings.sort_unstable();
    calls.sort_unstable();
    let seconds = |milliseconds: i64| milliseconds as f64 / 1000.0;
    let of = |times: &[i64]| {
        let last = times.last().copied().unwrap_or_default();
        format!(
            "p50 {:.2} s, p99 {:.2} s, the last {:.2} s",
            seconds(percentile(times, 50)),
            seconds(percentile(times, 99)),
            seconds(last)
        )
    };
    println!(
        "| spot notices for {} of {} machines among {MESSAGES} messages at once | {} nodes closed after {}; {} replacements asked for after {}; \
         the queue is empty after {:.1} s; all pods ready elsewhere and the machines gone after {:.0} s; load before {} |",
        lost.len(),
        all.len(),
        closings.len(),
        of(&closings),
        calls.len(),
        of(&calls),
        seconds(emptied - at),
        seconds(safe - at),
        load.trim(),
    );
    scene.seen();
    replica.task.abort();
}
