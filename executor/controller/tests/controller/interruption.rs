//! Goal: what the queue says of machines is noted on their claims within two seconds, whatever else is in the queue, and plans find it; a message
//! is gone only when it was noted.

use crate::common::outcome::settled;
use crate::common::scene::{SPACE, Scene, USER, until};
use crate::common::{LATER, SOON, all_bound, create, pods};
use k8s_openapi::api::events::v1::Event;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_api::NodeClaim;
use stowage_cluster::eventually;
use stowage_controller::{Health, Lease, Metrics};
use stowage_executor::Settings;
use stowage_fake_cloud::{Effect, Fault, Script};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::departure::{DepartureReason, NOTICES, NoticeKind};
use stowage_models::plan::{Policy, Unplaced};
use stowage_models::snapshot::Snapshot;
use stowage_planner::{Limits, consolidate};
use tokio::task::JoinHandle;

const QUEUE: &str = "stowage";
const WARNING: &str = "EC2 Spot Instance Interruption Warning";
const STATE: &str = "EC2 Instance State-change Notification";

fn event(kind: &str, detail: Value) -> String {
    let time = jiff::Timestamp::now().to_string();
    json!({ "source": "aws.ec2", "detail-type": kind, "time": time, "detail": detail }).to_string()
}

fn warning(instance: &str) -> String {
    event(WARNING, json!({ "instance-id": instance, "instance-action": "terminate" }))
}

/// A running controller, its numbers and its health.
struct Running {
    task: JoinHandle<()>,
    metrics: Arc<Metrics>,
    health: Health,
    lease: Lease,
}

async fn running(scene: &Scene, name: &str) -> Running {
    let lease = Lease::start(scene.cluster.client_as(USER), SPACE, "stowage-controller", name);
    let controller = scene.controller(&lease, scene.cluster.client_as(USER), Settings::default()).await;
    let (metrics, health) = (controller.metrics(), controller.health());
    Running { task: tokio::spawn(controller.run()), metrics, health, lease }
}

async fn notices(scene: &Scene) -> BTreeMap<String, String> {
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    let list =
        || async { claims.list_metadata(&ListParams::default()).await.map_err(|error| error.to_string()) };
    let all = eventually("list of claims", SOON, list).await.expect("claims").items;
    let noted = |claim: &kube::core::PartialObjectMeta<NodeClaim>| {
        Some((claim.name_any(), claim.annotations().get(NOTICES)?.clone()))
    };
    all.iter().filter_map(noted).collect()
}

async fn emptied(scene: &Scene) -> Result<(), String> {
    match scene.cloud.with(|world| world.messages(QUEUE)) {
        0 => Ok(()),
        left => Err(format!("{left} messages are left")),
    }
}

fn instance(claim: &NodeClaim) -> String {
    let id = claim.status.clone().unwrap_or_default().provider_id.expect("a machine");
    id.rsplit('/').next().expect("an id").to_owned()
}

async fn recorded(scene: &Scene) -> Snapshot {
    let mut snapshot = stowage_observe::record(&scene.client).await.expect("a recording").imported.snapshot;
    snapshot.taken_at = Some(jiff::Timestamp::now().to_string());
    // As the controller does: what pools say of themselves is its own word, and may be some seconds old.
    snapshot.node_pools.iter_mut().for_each(|pool| pool.not_ready = None);
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_written_at_once_survives_and_is_planned_with() {
    const PODS: usize = 24;
    let scene = Scene::start(Script::default()).await;
    scene.spot(&["m6a.xlarge", "c6a.xlarge", "r6a.xlarge"]).await;
    let first = running(&scene, "one").await;
    pods(&scene.client, "pod", PODS).await;
    eventually("all pods bound", LATER, || all_bound(&scene.client, PODS)).await.expect("they are bound");
    let claims = eventually("everything settled", LATER, || settled(&scene.client, &scene.cloud)).await;
    let claims = claims.expect("it settles");
    assert!(claims.len() >= 3 && notices(&scene).await.is_empty());

    // Nothing is done about it, so that it can be looked at: what is announced would be drained within seconds. A stop deafens nobody.
    scene.create_policy(json!({ "stop": true })).await;
    until("everything is stopped", async || {
        let text = first.metrics.render();
        text.contains("stowage_stopped 1\n").then_some(()).ok_or_else(String::new)
    })
    .await;

    // A warning among what does not matter: twice, and after what it announces.
    let (taken, spared) = (&claims[0], &claims[1]);
    let id = instance(taken);
    scene.cloud.with(|world| {
        world.send(QUEUE, "nonsense".to_owned());
        world.send(QUEUE, event(STATE, json!({ "instance-id": id, "state": "shutting-down" })));
        world.send(QUEUE, warning(&id));
        world.send(QUEUE, warning("i-0fffffffffffffff0"));
        world.send(QUEUE, warning(&id));
        world.send(
            QUEUE,
            event("EC2 Instance Rebalance Recommendation", json!({ "instance-id": instance(spared) })),
        );
        world.send(QUEUE, event(STATE, json!({ "instance-id": instance(spared), "state": "running" })));
    });
    let sent = Instant::now();
    let (gone, rebalance) = (taken.name_any(), spared.name_any());
    until("both claims noted", async || {
        let found = notices(&scene).await;
        let of = |name: &str| found.get(name).cloned().unwrap_or_default();
        let both = of(&gone).contains("SpotInterruption@") && of(&gone).contains("StateChange");
        if both && of(&rebalance) == "RebalanceRecommendation" { Ok(()) } else { Err(format!("{found:?}")) }
    })
    .await;
    let took = sent.elapsed();
    eprintln!("noted after {:.3} s", took.as_secs_f64());
    // It takes well below two seconds where nothing else runs. Here other clusters do, so the limit is what shows that the queue is listened to:
    // nothing that merely asks does so as often.
    assert!(took < Duration::from_secs(10), "{took:?}");
    until("the queue is empty", async || emptied(&scene).await).await;
    assert_eq!(notices(&scene).await.len(), 2);

    // Told once.
    until("events", async || {
        let events: Api<Event> = Api::all(scene.client.clone());
        let all = events.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
        let told: BTreeSet<(String, String, String)> = all
            .into_iter()
            .filter_map(|one| {
                let about = one.regarding.clone()?;
                Some((one.reason?, about.kind?, about.name?))
            })
            .collect();
        let has = |reason: &str, kind: &str, name: &str| {
            told.contains(&(reason.to_owned(), kind.to_owned(), name.to_owned()))
        };
        let node = taken.status.clone().and_then(|status| status.node_name).unwrap_or_default();
        let all = has("SpotInterrupted", "NodeClaim", &gone)
            && has("SpotInterrupted", "Node", &node)
            && has("InstanceTerminating", "NodeClaim", &gone)
            && has("SpotRebalanceRecommendation", "NodeClaim", &rebalance);
        if all { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let lines = [
        "karpenter_interruption_received_messages_total{message_type=\"spot_interrupted\"} 3\n",
        "karpenter_interruption_received_messages_total{message_type=\"no_op\"} 1\n",
        "karpenter_interruption_deleted_messages_total 7\n",
        "karpenter_interruption_message_queue_duration_seconds_count 6\n",
        "stowage_interruption_malformed_messages_total 1\n",
        "stowage_interruption_notices_total{message_type=\"spot_interrupted\"} 1\n",
        "stowage_interruption_queue_available 1\n",
    ];
    // What was deleted is counted once the queue has answered, which is empty by then.
    until("numbers", async || {
        let numbers = first.metrics.render();
        let lacking: Vec<&str> = lines.into_iter().filter(|line| !numbers.contains(line)).collect();
        if lacking.is_empty() { Ok(()) } else { Err(format!("{lacking:?} {numbers}")) }
    })
    .await;

    // Plans find it: the node goes now, and its pods have a place.
    let snapshot = recorded(&scene).await;
    let node = taken.status.clone().and_then(|status| status.node_name).expect("a node");
    let kinds: Vec<NoticeKind> =
        snapshot.notices.iter().filter(|one| one.node == node).map(|one| one.kind).collect();
    assert_eq!(kinds, [NoticeKind::SpotInterruption, NoticeKind::StateChange]);
    assert!(snapshot.is_interrupted(&node));
    let begun = Instant::now();
    let limits = Limits {
        time: Duration::from_secs(60),
        threads: 1,
        clock: Arc::new(move || begun.elapsed()),
        cancel: None,
    };
    let policy = Policy { consolidation: Some(ConsolidationPolicy::default()), ..Policy::default() };
    let planned = consolidate(&snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan");
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &planned.plan), []);
    let consolidation = planned.plan.consolidation.clone().expect("of a consolidation");
    let found = consolidation.nodes.iter().find(|one| one.node == node).expect("the node");
    let departure = found.departure.as_ref().expect("it has to go");
    assert_eq!((departure.reason, departure.forced), (DepartureReason::Interrupted, true));
    assert!(departure.deadline.is_some() && found.reason == NodeReason::Interrupted, "{found:?}");
    let of_node = snapshot.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node)).count();
    let ours = |left: &&Unplaced| left.pods.iter().any(|pod| pod.0.starts_with("test/"));
    let left: Vec<_> = planned.plan.unplaced.iter().filter(ours).collect();
    assert!(of_node > 0 && left.is_empty(), "{left:?}");
    first.task.abort();
    first.lease.release().await;
    // Another process knows what this one was told.
    let second = running(&scene, "two").await;
    until("a second controller sees it", async || {
        let text = second.metrics.render();
        text.contains("karpenter_cluster_state_synced 1").then_some(()).ok_or_else(String::new)
    })
    .await;
    assert_eq!(notices(&scene).await.len(), 2);

    // A queue that refuses is said, and heard again.
    let denied = Effect::Refuse { code: "AccessDenied".to_owned(), status: 403 };
    let now = scene.cloud.now();
    // A question that was asked before may wait for 20 s until it is answered.
    let fault = Fault { until: now + 45_000, ..Fault::new("AmazonSQS.ReceiveMessage", denied) };
    scene.cloud.with(|world| world.add_fault(fault));
    until("degraded", async || {
        let degraded = second.health.degraded();
        let said =
            degraded.iter().any(|line| line.contains("interruption queue") && line.contains("AccessDenied"));
        let number = second.metrics.render().contains("stowage_interruption_queue_available 0");
        let (alive, ready) = (second.health.alive(), second.health.ready());
        if said && number { Ok(()) } else { Err(format!("{degraded:?} {alive:?} {ready:?}")) }
    })
    .await;
    assert_eq!((second.health.alive(), second.health.ready()), (Ok(()), Ok(())), "degraded, and well");
    scene.cloud.with(|world| world.send(QUEUE, warning(&instance(spared))));
    until("heard again", async || {
        let text = notices(&scene).await.remove(&rebalance).unwrap_or_default();
        if text.starts_with("SpotInterruption@") { Ok(()) } else { Err(text) }
    })
    .await;
    assert_eq!(second.health.degraded(), Vec::<String>::new());
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let refused: Vec<_> = ours.filter(|one| one["responseStatus"]["code"].as_u64() == Some(403)).collect();
    assert!(refused.is_empty(), "{refused:?}");
    second.task.abort();
}

/// Claims of others, with machines.
async fn claims(scene: &Scene, count: usize) {
    for n in 0..count {
        let name = format!("other-{n:04}");
        create(&scene.client, "nodeclaims", json!({
            "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim", "metadata": { "name": name },
            "spec": {
                "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "default" },
                "requirements": [],
            },
        }))
        .await;
        let status =
            json!({ "status": { "providerID": format!("aws:///us-east-1a/i-{n:017x}"), "conditions": [] } });
        let claims: Api<NodeClaim> = Api::all(scene.client.clone());
        claims.patch_status(&name, &PatchParams::default(), &Patch::Merge(status)).await.expect("a status");
    }
}

/// Goal: 15,000 messages at once, and each machine's notice is written within two seconds; nothing is left, nothing is noted that was not said.
#[tokio::test(flavor = "multi_thread")]
async fn fifteen_thousand_messages_at_once() {
    const CLAIMS: usize = 200;
    const ALL: usize = 15_000;
    let scene = Scene::start(Script::default()).await;
    claims(&scene, CLAIMS).await;
    let controller = running(&scene, "one").await;
    until("it listens", async || {
        let text = controller.metrics.render();
        text.contains("stowage_leader 1").then_some(()).ok_or_else(String::new)
    })
    .await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    scene.cloud.with(|world| {
        for n in 0..ALL {
            // Every machine is named some fifty times among 15,000, in no order to speak of; a fifth of its messages are of its end.
            let n = n * 7919 % ALL;
            let body = match n / CLAIMS {
                round if round % 8 == 0 => "{\"source\": ".to_owned(),
                round if round % 8 == 1 => warning(&format!("i-0a{n:015x}")),
                round if round % 5 == 0 => event(
                    STATE,
                    json!({ "instance-id": format!("i-{:017x}", n % CLAIMS), "state": "stopping" }),
                ),
                _ => warning(&format!("i-{:017x}", n % CLAIMS)),
            };
            world.send(QUEUE, body);
        }
    });
    let sent = Instant::now();
    let mut noted: BTreeMap<String, Duration> = BTreeMap::new();
    while noted.len() < CLAIMS && sent.elapsed() < Duration::from_secs(120) {
        for name in notices(&scene).await.into_keys() {
            noted.entry(name).or_insert_with(|| sent.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("the queue is empty", async || emptied(&scene).await).await;
    let emptied = sent.elapsed();
    let mut times: Vec<Duration> = noted.values().copied().collect();
    times.sort();
    let at = |permille: usize| times[(times.len() - 1) * permille / 1000].as_secs_f64();
    eprintln!(
        "{CLAIMS} claims noted among {ALL} messages: p50 {:.2} s, p99 {:.2} s, last {:.2} s; queue empty after {:.2} s",
        at(500),
        at(990),
        at(1000),
        emptied.as_secs_f64()
    );
    assert_eq!(noted.len(), CLAIMS);
    let audit = scene.cluster.audit().expect("the audit log");
    let patches = audit.iter().filter(|one| {
        one["impersonatedUser"]["username"] == USER
            && one["verb"] == "patch"
            && one["objectRef"]["resource"] == "nodeclaims"
            && one["responseStatus"]["code"].as_u64() == Some(200)
    });
    let patches = patches.count();
    eprintln!("{patches} writes");
    // One for each kind at most, and one more where a kind's earlier time came later.
    assert!((CLAIMS..=4 * CLAIMS).contains(&patches), "{patches}");
    for (name, text) in notices(&scene).await {
        assert!(text.contains("SpotInterruption@") || text.contains("StateChange@"), "{name}: {text}");
    }
    // The deletion of a claim is not in its own way.
    let claims: Api<NodeClaim> = Api::all(scene.client.clone());
    claims.delete("other-0000", &DeleteParams::default()).await.expect("it goes");
    controller.task.abort();
}
