//! A day in `auto`, compressed: what is paid and who is evicted, beside what the plans said and what nobody can pay less than.
//!
//! Deployments of seeded sizes follow a seeded curve of the day; every hour each is scaled to where it is by then. It takes [`MINUTES`]; machines, kubelets,
//! drains and the controller's own pauses are not compressed, so a boot of two seconds takes six minutes of the day. What is
//! paid more than the bound is therefore more than it would be in a day that takes a day.

use crate::common::scene::{Scene, USER};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use stowage_api::Plan;
use stowage_executor::Settings;
use stowage_fake_cloud::Script;
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodPhase;
use stowage_models::plan::Policy;
use stowage_models::random::Random;
use stowage_models::snapshot::Snapshot;
use stowage_planner::{Limits, plan};

/// Minutes that the day takes; `STOWAGE_DAY_MINUTES=24` for more.
const MINUTES: u32 = 8;
/// Milliseconds of the day.
const DAY: u64 = 24 * 3_600_000;
/// Half hours of the day.
const STEPS: usize = 48;
/// Deployments.
const APPS: usize = 10;
/// Seed of their sizes and of the day.
const SEED: u64 = 1;

/// A Deployment: its pods, and how many there are in each half hour.
struct App {
    name: String,
    cpu: &'static str,
    memory: &'static str,
    replicas: Vec<usize>,
}

/// Deployments with a peak each, most of them in the afternoon, and some noise.
fn apps() -> Vec<App> {
    let mut random = Random::new(SEED);
    let shapes = [("250m", "512Mi"), ("500m", "2Gi"), ("1", "1Gi"), ("1500m", "6Gi"), ("2", "4Gi")];
    let app = |n: usize| {
        let (cpu, memory) = *random.pick(&shapes);
        let (base, swing) = (random.between(1, 4), random.between(3, 14));
        let peak = random.between(20, 36);
        let at = |step: i64| {
            // A tent of eleven hours to each side of the peak.
            let away = (step - peak).rem_euclid(48);
            let away = away.min(48 - away);
            base + swing * (22 - away).max(0) / 22
        };
        // For four hours at a time.
        let noise: Vec<i64> = (0..6).map(|_| random.between(-1, 1)).collect();
        let replicas =
            (0..48).zip(0..).map(|(step, index): (i64, usize)| at(step - step % 2) + noise[index / 8]);
        let replicas = replicas.map(|count| usize::try_from(count.max(1)).unwrap_or(1)).collect();
        App { name: format!("app-{n}"), cpu, memory, replicas }
    };
    (0..APPS).map(app).collect()
}

async fn deploy(scene: &Scene, app: &App) {
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let budgets: Api<PodDisruptionBudget> = Api::namespaced(scene.client.clone(), "test");
    let selector = json!({ "matchLabels": { "app": app.name } });
    let container = json!({
        "name": "main", "image": "none", "resources": { "requests": { "cpu": app.cpu, "memory": app.memory } },
    });
    let deployment = json!({
        "metadata": { "name": app.name },
        "spec": { "replicas": app.replicas[0], "selector": selector, "template": {
            "metadata": { "labels": { "app": app.name } },
            "spec": { "containers": [container], "terminationGracePeriodSeconds": 1 },
        } },
    });
    let deployment = serde_json::from_value(deployment).expect("a Deployment");
    deployments.create(&PostParams::default(), &deployment).await.expect("it is created");
    let budget = json!({ "metadata": { "name": app.name }, "spec": { "maxUnavailable": "25%", "selector": selector } });
    let budget = serde_json::from_value(budget).expect("a budget");
    budgets.create(&PostParams::default(), &budget).await.expect("it is created");
}

/// What plans said, as it was published: they are not kept for ever.
#[derive(Default)]
struct Said {
    /// What each says that the bill is once it is carried out, micro-dollars an hour, by the moment of the cloud at which it was seen.
    bills: BTreeMap<u64, i64>,
    known: BTreeSet<String>,
    /// Pods that they move.
    moves: BTreeSet<(String, String)>,
    removing: BTreeSet<String>,
    failed: BTreeSet<String>,
}

impl Said {
    /// `bill`: that of now.
    fn take_in(&mut self, plan: &Plan, now: u64, bill: i64) {
        let name = plan.name_any();
        let phase = plan.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
        if phase == "Failed" {
            self.failed.insert(name.clone());
        }
        let price = |kind: &str| -> i64 {
            plan.spec.actions.iter().filter(|one| one.kind == kind).map(|one| one.price_micros).sum()
        };
        if !self.known.insert(name.clone()) {
            return;
        }
        self.bills.insert(now, bill + price("Launch") - price("Remove"));
        for action in plan.spec.actions.iter().filter(|one| one.kind == "Remove") {
            self.removing.insert(name.clone());
            self.moves.extend(action.pods.iter().map(|pod| (name.clone(), pod.clone())));
        }
    }

    /// What the day would have cost if each plan had been reality from the moment it was made until the next, in micro-dollars.
    fn cost(&self, until: u64, factor: i128) -> i128 {
        let ends = self.bills.keys().skip(1).copied().chain([until]);
        let spans = self.bills.iter().zip(ends);
        let spans = spans.map(|((at, bill), end)| i128::from(*bill) * i128::from(end.saturating_sub(*at)));
        spans.sum::<i128>() * factor / 3_600_000
    }
}

/// The least that machines for the pods there are cost, and what a plan of them from nothing costs; micro-dollars an hour.
async fn bound(client: &Client) -> (i64, i64, usize) {
    let mut snapshot: Snapshot =
        stowage_observe::record(client).await.expect("a recording").imported.snapshot;
    snapshot.taken_at = Some(jiff::Timestamp::now().to_string());
    snapshot.nodes.clear();
    snapshot.node_claims.clear();
    snapshot.node_pools.iter_mut().for_each(|pool| pool.not_ready = None);
    snapshot.pods.retain(|pod| !pod.deleting);
    for pod in &mut snapshot.pods {
        (pod.node, pod.phase) = (None, PodPhase::Pending);
        (pod.nominated_node, pod.scheduling_gates) = (None, Vec::new());
    }
    let pods = snapshot.pods.len();
    let work = move || {
        let begun = Instant::now();
        let clock: Arc<dyn Fn() -> Duration + Send + Sync> = Arc::new(move || begun.elapsed());
        let limits = Limits { time: Duration::from_secs(5), threads: 1, clock, cancel: None };
        let planned = plan(&snapshot, Catalog::embedded(), &Policy::default(), &limits, &mut |_| {});
        let summary = planned.expect("a plan").plan.summary;
        (summary.launch_bound.0, summary.launch_cost.0)
    };
    let (bound, cost) = tokio::task::spawn_blocking(work).await.expect("it ends");
    (bound, cost, pods)
}

fn dollars(micros: i128) -> String {
    let cents = (micros + 5_000) / 10_000;
    format!("${}.{:02}", cents / 100, cents % 100)
}

pub(crate) async fn day() {
    let minutes =
        std::env::var("STOWAGE_DAY_MINUTES").ok().and_then(|text| text.parse().ok()).unwrap_or(MINUTES);
    let day = Duration::from_secs(60) * minutes;
    let half = day / 48;
    let factor = i128::from(DAY / u64::try_from(day.as_millis()).unwrap_or(DAY));
    let scene = Scene::start(Script::default()).await;
    // Times are compressed as the day is; prices are not.
    let rules = json!({ "minNodeAge": "20s", "every": "5s" });
    scene.create_policy(json!({ "consolidation": rules })).await;
    scene.pool(json!({ "spec": { "disruption": { "budgets": [{ "nodes": "20%" }] } } })).await;
    let replica = scene.replica("one", Settings::default()).await;
    let (said, client, cloud): (Arc<Mutex<Said>>, _, _) =
        (Arc::default(), scene.client.clone(), scene.cloud.clone());
    let listening = tokio::spawn({
        let said = said.clone();
        async move {
            let plans: Api<Plan> = Api::all(client);
            loop {
                if let Ok(found) = plans.list(&ListParams::default()).await {
                    let mut said = said.lock().expect("what was said");
                    let bill = cloud.with(|world| {
                        let live = world.machines().values().filter(|one| one.ended.is_none());
                        live.map(|one| one.price).sum()
                    });
                    found.items.iter().for_each(|plan| said.take_in(plan, cloud.now(), bill));
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    });
    let apps = apps();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let from = scene.cloud.now();
    let begun = Instant::now();
    for app in &apps {
        deploy(&scene, app).await;
    }
    let deployments: Api<Deployment> = Api::namespaced(scene.client.clone(), "test");
    let pods: Api<Pod> = Api::namespaced(scene.client.clone(), "test");
    let (mut least, mut afresh, mut sizes, mut unbound) = (0_i128, 0_i128, Vec::new(), 0);
    for step in 0..STEPS {
        if step > 0 {
            for app in apps.iter().filter(|app| app.replicas[step] != app.replicas[step - 1]) {
                let patch = Patch::Merge(json!({ "spec": { "replicas": app.replicas[step] } }));
                deployments.patch(&app.name, &PatchParams::default(), &patch).await.expect("it is scaled");
            }
        }
        // The pods of this half hour are there a moment later.
        tokio::time::sleep_until((begun + half * u32::try_from(step).unwrap_or(0) + half / 2).into()).await;
        let (bound, cost, count) = bound(&scene.client).await;
        (least, afresh) = (least + i128::from(bound) / 2, afresh + i128::from(cost) / 2);
        sizes.push(count);
        tokio::time::sleep_until((begun + half * u32::try_from(step + 1).unwrap_or(0)).into()).await;
        let found = pods.list(&ListParams::default()).await.expect("pods").items;
        unbound +=
            found.iter().filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_none())).count();
    }
    let until = scene.cloud.now();
    listening.abort();
    let (mut paid, mut launched, mut ended) = (0_i128, 0, 0);
    for machine in scene.cloud.with(|world| world.machines().clone()).into_values() {
        let end = machine.ended.unwrap_or(until).min(until);
        paid += i128::from(machine.price) * i128::from(end.saturating_sub(machine.launched.max(from)));
        launched += 1;
        ended += usize::from(machine.ended.is_some());
    }
    let paid = paid * factor / 3_600_000;
    let audit = scene.cluster.audit().expect("the audit log");
    let ours = || audit.iter().filter(|one| one["impersonatedUser"]["username"] == USER);
    let evictions = ours().filter(|one| one["objectRef"]["subresource"] == "eviction");
    let evictions =
        evictions.filter(|one| one["responseStatus"]["code"].as_i64().is_some_and(|code| code < 300)).count();
    let deleted =
        ours().filter(|one| one["objectRef"]["resource"] == "pods" && one["verb"] == "delete").count();
    let said = std::mem::take(&mut *said.lock().expect("what was said"));
    let over = |base: i128| 100.0 * (paid - base) as f64 / base as f64;
    println!(
        "| a day in {} s (seed {SEED}, {APPS} Deployments, {} to {} pods) | {} paid; the plans said {} ({:+.1} %), planned from nothing each half \
         hour {} ({:+.1} %), bound {} ({:+.1} %); {evictions} evictions (the plans named {}, those that were cut short included), {deleted} pods deleted; {launched} machines launched, \
         {ended} ended; {} plans, {} of them remove nodes, {} were cut short; {unbound} pods without a node at the ends of half hours; load before {} |",
        day.as_secs(),
        sizes.iter().min().copied().unwrap_or_default(),
        sizes.iter().max().copied().unwrap_or_default(),
        dollars(paid),
        dollars(said.cost(until, factor)),
        over(said.cost(until, factor)),
        dollars(afresh),
        over(afresh),
        dollars(least),
        over(least),
        said.moves.len(),
        said.known.len(),
        said.removing.len(),
        said.failed.len(),
        load.trim(),
    );
    scene.seen();
    replica.task.abort();
}
