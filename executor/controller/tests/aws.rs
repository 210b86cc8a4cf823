//! Goal: on a real control plane and with the real AWS SDK, whatever the cloud does and wherever the controller ends, every action gets
//! one machine, none leaks, pods end on nodes that were planned, at the planned price. The cloud is the fake one.

mod common;

use common::{LATER, SOON, all_bound, pods, prepare};
use http::{Method, Request, Response};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::client::Body;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stowage_api::{Ec2NodeClass, NodeClaim};
use stowage_aws::{Aws, Order};
use stowage_cluster::{Cluster, Kubelet, NodeSpec, eventually};
use stowage_controller::{Controller, Lease, Options};
use stowage_executor::{Mode, Settings};
use stowage_fake_cloud::{Effect, FakeCloud, Fault, Machine, PoolRule, Script};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;

/// Pods at the start. `STOWAGE_PODS=500 cargo test` for more.
fn count() -> usize {
    std::env::var("STOWAGE_PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// When a call to the API server is caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// It does not arrive.
    Before,
    /// It is done, and its answer does not arrive.
    After,
}

/// What is caught: a method, a part of the path, and when.
type Bait = (Method, &'static str, When);

/// Catches the next write of a kind: it never returns, and the controller that made it is ended.
#[derive(Clone, Debug, Default)]
struct Trap(Arc<Mutex<(Option<Bait>, bool)>>);

impl Trap {
    fn set(&self, method: Method, path: &'static str, when: When) {
        *self.0.lock().expect("the trap") = (Some((method, path, when)), false);
    }

    fn sprung(&self) -> bool {
        self.0.lock().expect("the trap").1
    }

    /// Whether this call is the one, and when it is caught.
    fn catches(&self, request: &Request<Body>) -> Option<When> {
        let mut state = self.0.lock().expect("the trap");
        let (method, path, when) = state.0.clone()?;
        if request.method() != method || !request.uri().path().contains(path) {
            return None;
        }
        *state = (None, true);
        Some(when)
    }

    /// A client whose calls pass the trap.
    fn client(&self, inner: Client) -> Client {
        let trap = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (trap, inner) = (trap.clone(), inner.clone());
            async move {
                let caught = trap.catches(&request);
                if caught == Some(When::Before) {
                    std::future::pending::<()>().await;
                }
                let answer: Result<Response<Body>, kube::Error> = inner.send(request).await;
                if caught == Some(When::After) {
                    std::future::pending::<()>().await;
                }
                answer
            }
        });
        Client::new(service, "default")
    }
}

/// What a machine's user data tell its kubelet: labels and taints to register with.
fn registration(machine: &Machine) -> (BTreeMap<String, String>, Vec<Value>) {
    let user_data = machine.template.user_data().expect("user data");
    let from = user_data.find('{').expect("a NodeConfig");
    let to = user_data.rfind('}').expect("a NodeConfig");
    let config: Value = serde_json::from_str(&user_data[from..=to]).expect("a NodeConfig");
    let kubelet = &config["spec"]["kubelet"];
    let labels = kubelet["flags"][0].as_str().expect("labels").trim_start_matches("--node-labels=");
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    (labels, kubelet["config"]["registerWithTaints"].as_array().expect("taints").clone())
}

fn node_name(machine: &Machine) -> String {
    format!("ip-{}", &machine.id[2..])
}

/// Machines boot: their kubelets register as their user data say. Those in `dead` never do. Ended machines fall silent.
async fn boot(cloud: Arc<FakeCloud>, kubelet: Arc<Kubelet>, dead: Arc<Mutex<BTreeSet<String>>>) {
    let mut up = BTreeSet::new();
    loop {
        let now = cloud.now();
        for machine in cloud.with(|world| world.booted(now)) {
            if dead.lock().expect("the dead").contains(&machine.id) || !up.insert(machine.id.clone()) {
                continue;
            }
            let (labels, taints) = registration(&machine);
            let kind = Catalog::embedded().get(&machine.instance_type).expect("a type of the catalogue");
            let mut node = NodeSpec::new(node_name(&machine))
                .provider_id(format!("aws:///{}/{}", machine.zone, machine.id))
                .ready_after(Duration::from_millis(500))
                // What the kubelet and the cloud's node controller say by themselves.
                .label("node.kubernetes.io/instance-type", &machine.instance_type)
                .label("topology.kubernetes.io/zone", &machine.zone);
            for (key, value) in labels {
                node = node.label(key, value);
            }
            for taint in taints {
                let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
                node = node.taint(&text("key"), &text("value"), &text("effect"));
            }
            for (name, amount) in &kind.allocatable(&Default::default(), &Default::default()).0 {
                let text = if name == "cpu" { format!("{amount}m") } else { amount.to_string() };
                node = node.resource(name, text);
            }
            kubelet.add(node).await.expect("the node registers");
        }
        for machine in cloud.with(|world| world.machines().clone()).into_values() {
            if machine.ended.is_some() && up.contains(&machine.id) {
                kubelet.silence(&node_name(&machine));
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What must hold at every moment: no action and no claim has two machines.
fn one_each(cloud: &FakeCloud) {
    let machines = cloud.with(|world| world.machines().clone());
    for key in ["karpenter.sh/nodeclaim", "token"] {
        let mut seen = BTreeSet::new();
        for machine in machines.values() {
            let of = if key == "token" { &machine.token } else { &machine.tags[key] };
            assert!(seen.insert(of.clone()), "two machines for {key} {of}");
        }
    }
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
        let settings = stowage_aws::Settings {
            endpoint: "https://api.example".to_owned(),
            region: Some("us-east-1".to_owned()),
            aws_endpoint: Some(self.cloud.endpoint()),
            fake_credentials: true,
            ..stowage_aws::Settings::new("demo", "1.36")
        };
        let aws = Aws::connect(settings, Catalog::embedded().clone()).await;
        let settings = Settings { mode: Mode::Auto, registration_timeout: 20_000, ..Settings::default() };
        let options = Options {
            settings,
            policy: Policy::default(),
            catalog: Catalog::embedded().clone(),
            plan_time: Duration::from_secs(2),
            threads: 1,
        };
        let client = self.trap.client(self.cluster.client());
        tokio::spawn(Controller::new(client, aws, self.lease.leadership(), options).run())
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

/// All claims are ready, all nodes open, and machines, claims and nodes are the same.
async fn settled(lives: &Lives) -> Result<Vec<NodeClaim>, String> {
    one_each(&lives.cloud);
    let client = lives.cluster.client();
    let claims: Api<NodeClaim> = Api::all(client.clone());
    let claims = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let ready = |claim: &&NodeClaim| {
        let conditions = claim.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        !conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let waiting = claims.iter().filter(ready).count();
    let nodes: Api<Node> = Api::all(client);
    let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let tainted = nodes.iter().filter(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        taints.is_some_and(|taints| !taints.is_empty())
    });
    let tainted = tainted.count();
    let live: BTreeSet<String> = lives.cloud.with(|world| {
        let live = world.machines().values().filter(|machine| machine.ended.is_none());
        live.map(|machine| machine.tags["karpenter.sh/nodeclaim"].clone()).collect()
    });
    let named: BTreeSet<String> = claims.iter().map(|claim| claim.name_any()).collect();
    if waiting == 0 && tainted == 0 && live == named && nodes.len() == claims.len() {
        return Ok(claims);
    }
    Err(format!(
        "{waiting} claims not ready, {tainted} nodes tainted, {} machines, {} claims, {} nodes",
        live.len(),
        named.len(),
        nodes.len()
    ))
}

/// Each claim's machine is one of its plan's offerings at the planned price; what was paid and what the first choices cost.
fn paid(lives: &Lives, claims: &[NodeClaim]) -> (i64, i64) {
    let machines = lives.cloud.with(|world| world.machines().clone());
    let (mut paid, mut planned) = (0, 0);
    for claim in claims {
        let order = Order::parse(&claim.annotations()["stowage.dev/launch-request"]).expect("an order");
        let machine = machines
            .values()
            .find(|one| one.ended.is_none() && one.tags["karpenter.sh/nodeclaim"] == claim.name_any())
            .expect("a machine");
        let offering = order.launch.offerings.iter().find(|one| {
            one.instance_type == machine.instance_type
                && one.zone == machine.zone
                && one.capacity_type == machine.capacity_type
        });
        assert_eq!(offering.expect("an offering of the plan").price.0, machine.price);
        paid += machine.price;
        planned += order.launch.offerings[0].price.0;
    }
    (paid, planned)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_machine_for_each_action_whatever_happens() {
    let begun = std::time::Instant::now();
    let lap = |what: &str| eprintln!("{:6.1} s {what}", begun.elapsed().as_secs_f64());
    let builder = Cluster::builder().controller_manager(true).scheduler(true);
    let cluster = builder.start().await.expect("the cluster starts");
    let class = json!({
        "role": "nodes", "amiSelectorTerms": [{ "alias": "al2023@latest" }],
        "subnetSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "test" } }],
        "securityGroupSelectorTerms": [{ "tags": { "karpenter.sh/discovery": "test" } }],
    });
    prepare(&cluster, class).await;
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
    let kubelet = Arc::new(Kubelet::start(cluster.client()));
    let dead = Arc::new(Mutex::new(BTreeSet::new()));
    let booting = tokio::spawn(boot(cloud.clone(), kubelet, dead.clone()));
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
    let kill = {
        let (cloud, dead) = (cloud.clone(), dead.clone());
        tokio::spawn(async move {
            loop {
                let after: Vec<String> = cloud.with(|world| world.machines().keys().cloned().collect());
                if let Some(new) = after.into_iter().find(|id| !before.contains(id)) {
                    dead.lock().expect("the dead").insert(new);
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    };
    pods(&client, "last", 40).await;
    total += 40;
    eventually("all pods bound", LATER, || all_bound(&client, total)).await.expect("they are bound");
    kill.await.expect("a machine is dead");
    lap("all bound though a machine never registered");
    let claims = eventually("everything settled", LATER, || settled(&lives)).await.expect("it settles");
    lap("settled");

    let (paid, planned) = paid(&lives, &claims);
    let (machines, templates, calls) =
        cloud.with(|world| (world.machines().clone(), world.templates().len(), world.calls().to_vec()));
    assert!(machines.values().all(|machine| machine.zone != "us-east-1a"), "there is no capacity");
    let dead_ones = machines.values().filter(|machine| machine.ended.is_some()).count();
    assert!(dead_ones >= 1, "the dead machine was given back");
    assert!(templates <= 2, "{templates} launch templates for two configurations");
    let fleets: Vec<_> = calls.iter().filter(|call| call.action == "CreateFleet").collect();
    let first_zone = |call: &&&stowage_fake_cloud::Call| {
        call.parameters.get("LaunchTemplateConfigs.1.Overrides.1.SubnetId").map(String::as_str)
            == Some("subnet-0a")
    };
    assert!(fleets.iter().filter(first_zone).count() >= 1, "the planned offering was missing");
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
