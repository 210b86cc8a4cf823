//! Goal: whatever constraints pods state, what the planner places can be bound pod by pod, and what it leaves out has a reason.
//!
//! `STOWAGE_BINDABLE_CASES` and `STOWAGE_BINDABLE_SEED` make it look at others, `STOWAGE_BINDABLE_OUT` keeps refused cases in a folder.
//!
//! Random small clusters with constraints of every kind, also senseless ones. The checker replays each plan with kube-scheduler's
//! filters and proves the bound again.

use std::time::Duration;
use stowage_bench::trial;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{
    Affinity, Container, Ec2NodeClass, Node, NodePool, NodeSelectorTerm, Pod, PodAffinityTerm, PodPhase,
    PodSpec, PodVolume, PreferredPodTerm, StorageClass, TopologySpread, Volume, VolumeClaim,
};
use stowage_models::plan::{Launch, Plan, Policy, Preferences, UnplacedReason};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Foreign, ForeignLaunch, adopt};

const GIB: i64 = 1 << 30;
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const APPS: [&str; 5] = ["web", "db", "cache", "queue", "batch"];
const KEYS: [&str; 4] = [labels::ZONE, labels::HOSTNAME, labels::CAPACITY_TYPE, "example.com/rack"];

fn planned(snapshot: &Snapshot) -> Plan {
    let limits = trial::by_work(Duration::from_millis(100), 1);
    let policy = Policy::default();
    stowage_planner::plan(snapshot, Catalog::embedded(), &policy, &limits, &mut |_| {}).expect("a plan").plan
}

fn text(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn below(rng: &mut Random, n: usize) -> usize {
    (rng.next_u64() % n as u64) as usize
}

fn chance(rng: &mut Random, percent: usize) -> bool {
    below(rng, 100) < percent
}

fn selector(rng: &mut Random, own: &str) -> Option<LabelSelector> {
    if chance(rng, 3) {
        return None;
    }
    let app = if chance(rng, 65) { own } else { APPS[below(rng, APPS.len())] };
    let mut selector = LabelSelector { match_labels: text(&[("app", app)]), match_expressions: Vec::new() };
    if chance(rng, 8) {
        selector.match_labels.clear();
        selector.match_expressions.push(Requirement::new("app", Operator::In, &[app, APPS[below(rng, 5)]]));
    }
    Some(selector)
}

fn key(rng: &mut Random) -> String {
    let weights = [0, 0, 0, 0, 0, 1, 1, 1, 2, 3];
    KEYS[weights[below(rng, weights.len())]].to_owned()
}

fn term(rng: &mut Random, own: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: selector(rng, own),
        topology_key: key(rng),
        ..PodAffinityTerm::default()
    }
}

fn spread(rng: &mut Random, own: &str) -> TopologySpread {
    TopologySpread {
        max_skew: 1 + below(rng, 3) as i32,
        topology_key: key(rng),
        hard: !chance(rng, 10),
        label_selector: selector(rng, own),
        min_domains: chance(rng, 15).then(|| 1 + below(rng, 4) as i32),
        honor_affinity: !chance(rng, 20),
        honor_taints: chance(rng, 20),
        match_label_keys: if chance(rng, 10) { vec!["revision".to_owned()] } else { Vec::new() },
    }
}

fn requests(rng: &mut Random) -> Resources {
    let cpu = [100, 250, 500, 1_000, 3_500][below(rng, 5)];
    Resources::from([(CPU, cpu), (MEMORY, GIB * [1, 1, 2, 4, 14][below(rng, 5)] / 2)])
}

fn spec(rng: &mut Random, own: &str) -> PodSpec {
    let mut container = Container { requests: requests(rng), ..Container::default() };
    let mut affinity = Affinity::default();
    let mut topology_spread = Vec::new();
    let mut node_selector = Labels::new();
    let mut volumes = Vec::new();
    match below(rng, 10) {
        0..=2 => topology_spread.push(spread(rng, own)),
        3 => topology_spread.extend([spread(rng, own), spread(rng, own)]),
        4 | 5 => affinity.anti_required.push(term(rng, own)),
        6 | 7 => affinity.pod_required.push(term(rng, own)),
        _ => {}
    }
    if chance(rng, 10) {
        affinity.anti_required.push(term(rng, own));
    }
    if chance(rng, 10) {
        topology_spread.push(spread(rng, own));
    }
    if chance(rng, 10) {
        container.host_ports.push(format!("TCP/0.0.0.0/{}", 8_000 + below(rng, 2)));
    }
    if chance(rng, 10) {
        node_selector.insert(labels::ZONE.to_owned(), ZONES[below(rng, 3)].to_owned());
    }
    if chance(rng, 12) {
        volumes
            .push(PodVolume::Claim(["bound", "waiting", "immediate", "missing"][below(rng, 4)].to_owned()));
    }
    PodSpec {
        containers: vec![container],
        affinity,
        topology_spread,
        node_selector,
        volumes,
        ..PodSpec::default()
    }
}

fn existing(rng: &mut Random, at: usize) -> Node {
    let zone = ZONES[below(rng, 3)];
    let name = format!("node-{at}");
    let room = Resources::from([(CPU, 3_900), (MEMORY, 14 * GIB), (PODS, 20)]);
    let mut node = Node {
        labels: text(&[
            (labels::ZONE, zone),
            (labels::HOSTNAME, &name),
            (labels::INSTANCE_TYPE, "m5.xlarge"),
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::ARCH, "amd64"),
            (labels::OS, "linux"),
        ]),
        name,
        capacity: room.clone(),
        allocatable: room,
        ready: true,
        ..Node::default()
    };
    if chance(rng, 50) {
        node.labels.insert("example.com/rack".to_owned(), ["r1", "r2"][below(rng, 2)].to_owned());
    }
    node
}

/// A cluster of up to four nodes with pods, and up to eight workloads that wait.
fn snapshot(seed: u64) -> Snapshot {
    let rng = &mut Random::new(seed);
    let mut pool = NodePool {
        name: "general".to_owned(),
        requirements: vec![
            Requirement::new("karpenter.k8s.aws/instance-family", Operator::In, &["c5", "m5", "r5"]),
            Requirement::new(labels::ARCH, Operator::In, &["amd64"]),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand", "spot"]),
        ],
        node_class: "default".to_owned(),
        ..NodePool::default()
    };
    if chance(rng, 30) {
        pool.requirements.push(Requirement::new("example.com/rack", Operator::In, &["r1", "r2"]));
    }
    if chance(rng, 10) {
        pool.limits = Resources::from([(CPU, 16_000)]);
    }
    let nodes: Vec<Node> = (0..below(rng, 5)).map(|at| existing(rng, at)).collect();
    let mut pods = Vec::new();
    for workload in 0..1 + below(rng, 8) {
        let app = APPS[below(rng, APPS.len())];
        let spec = spec(rng, app);
        for replica in 0..1 + below(rng, 12) {
            let mut pod = Pod {
                namespace: ["one", "two"][usize::from(workload == 3)].to_owned(),
                name: format!("w{workload}-{replica:02}"),
                labels: text(&[("app", app), ("revision", ["a", "b"][usize::from(workload % 4 == 1)])]),
                spec: spec.clone(),
                ..Pod::default()
            };
            if !nodes.is_empty() && chance(rng, 20) {
                pod.node = Some(nodes[below(rng, nodes.len())].name.clone());
                pod.phase = PodPhase::Running;
                pod.deleting = chance(rng, 15);
                // What runs here is small: nodes are not to be overfull.
                pod.spec.containers[0].requests = Resources::from([(CPU, 50), (MEMORY, GIB / 16)]);
            }
            pods.push(pod);
        }
    }
    let in_zone = |zone: &str| NodeSelectorTerm {
        match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &[zone])],
        match_fields: Vec::new(),
    };
    let class = |name: &str, wait: bool| StorageClass {
        name: name.to_owned(),
        provisioner: "ebs.csi.aws.com".to_owned(),
        wait_for_first_consumer: wait,
        is_default: false,
        allowed_topologies: vec![in_zone(ZONES[0]), in_zone(ZONES[1])],
    };
    let claim = |name: &str, volume: Option<&str>, class: &str| VolumeClaim {
        namespace: "one".to_owned(),
        name: name.to_owned(),
        volume: volume.map(str::to_owned),
        storage_class: Some(class.to_owned()),
        read_write_once_pod: false,
    };
    let mut snapshot = Snapshot {
        node_pools: vec![pool],
        node_classes: vec![Ec2NodeClass {
            name: "default".to_owned(),
            zones: ZONES.map(str::to_owned).to_vec(),
            ..Ec2NodeClass::default()
        }],
        nodes,
        pods,
        storage_classes: vec![class("wait", true), class("now", false)],
        volume_claims: vec![
            claim("bound", Some("pv"), "wait"),
            claim("waiting", None, "wait"),
            claim("immediate", None, "now"),
        ],
        volumes: vec![Volume {
            name: "pv".to_owned(),
            driver: Some("ebs.csi.aws.com".to_owned()),
            node_affinity: Some(vec![in_zone(ZONES[2])]),
        }],
        seed,
        ..Snapshot::default()
    };
    snapshot.normalise();
    snapshot
}

/// The same cluster where most constraints between pods that wait are preferences.
fn wishful(seed: u64) -> Snapshot {
    let mut snapshot = snapshot(seed);
    let mut known: Vec<(PodSpec, PodSpec)> = Vec::new();
    let rng = &mut Random::new(seed ^ 0x501f);
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.node.is_none()) {
        // Pods that are equal stay so.
        if let Some((_, after)) = known.iter().find(|(before, _)| *before == pod.spec) {
            pod.spec = after.clone();
            continue;
        }
        let before = pod.spec.clone();
        let Affinity { pod_required, pod_preferred, anti_required, anti_preferred, .. } =
            &mut pod.spec.affinity;
        for (hard, soft) in [(pod_required, pod_preferred), (anti_required, anti_preferred)] {
            for term in std::mem::take(hard) {
                if chance(rng, 80) {
                    soft.push(PreferredPodTerm { weight: below(rng, 101) as i32, term });
                } else {
                    hard.push(term);
                }
            }
        }
        for spread in &mut pod.spec.topology_spread {
            spread.hard &= !chance(rng, 80);
            spread.min_domains = spread.min_domains.filter(|_| spread.hard);
        }
        known.push((before, pod.spec.clone()));
    }
    snapshot.normalise();
    snapshot
}

/// What somebody else's plan would cost: the launches and pods of `plan`, with preferences priced.
fn repriced(snapshot: &Snapshot, plan: &Plan) -> Plan {
    let launches = plan.launches.iter().map(|launch| ForeignLaunch {
        node_pool: launch.node_pool.clone(),
        instance_type: launch.instance_type.clone(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.clone(),
        labels: launch.labels.clone(),
        pods: launch.pods.clone(),
    });
    let existing = plan.existing.iter().map(|node| (node.name.clone(), node.pods.clone()));
    let foreign = Foreign { launches: launches.collect(), existing: existing.collect() };
    let limits = trial::by_work(Duration::from_millis(100), 1);
    let adopted = adopt(snapshot, Catalog::embedded(), &Policy::default(), &limits, &foreign);
    adopted.expect("the planner's own placement").plan
}

/// What pods prefer about others is priced, and the plan is hardly ever dearer for it, all told, than the one that ignores it.
#[test]
fn preferences_about_other_pods_are_priced_and_worth_it() {
    let (mut unmet, mut better, mut stated, mut worse) = (0, 0, 0, Vec::new());
    for seed in 1..=250 {
        let snapshot = wishful(seed);
        let of = |preferences: Preferences| {
            let policy = Policy { gap: Ppm(0), preferences: Some(preferences), ..Policy::default() };
            trial::accepted(&snapshot, Catalog::embedded(), &policy, Duration::from_millis(100))
        };
        let (plan, ignored) = (of(Preferences::Respect), of(Preferences::Ignore));
        stated += u32::from(plan.policy.preferences == Some(Preferences::Respect));
        assert_eq!(ignored.summary.preference_cost, UsdMicros::ZERO, "seed {seed}");
        assert!(plan.summary.pods_unplaced <= ignored.summary.pods_unplaced, "seed {seed}");
        // Where pods are left out, what the others prefer is priced, but not looked for.
        if ignored.summary.pods_unplaced == 0 {
            let ours = plan.summary.total_cost();
            let theirs = repriced(&snapshot, &ignored).summary.total_cost();
            better += u32::from(ours < theirs);
            // Several plans share the time of one.
            if ours.0 * 50 > theirs.0 * 51 {
                worse.push(format!("seed {seed}: {ours} with, {theirs} without"));
            }
        }
        unmet += u32::from(plan.summary.preference_cost > UsdMicros::ZERO);
    }
    println!("{stated} with preferences, {unmet} leave some unmet, {better} cheaper than without");
    assert_eq!(worse, Vec::<String>::new());
    assert!(stated > 150 && unmet > 20 && better > 15, "{stated} {unmet} {better}");
}

/// ScheduleAnyway over zones is met where it costs less than what it is worth.
#[test]
fn wishes_that_cost_little_are_met() {
    let anyway = |key: &str| TopologySpread {
        max_skew: 1,
        topology_key: key.to_owned(),
        label_selector: near("web", "").label_selector,
        honor_affinity: true,
        ..TopologySpread::default()
    };
    let beside = |app: &str, key: &str| PreferredPodTerm { weight: 100, term: near(app, key) };
    let affinity = Affinity { anti_preferred: vec![beside("db", labels::HOSTNAME)], ..Affinity::default() };
    let snapshot = waiting(&[
        ("web", PodSpec { topology_spread: vec![anyway(labels::ZONE)], ..PodSpec::default() }),
        ("db", PodSpec { affinity, ..PodSpec::default() }),
        (
            "cache",
            PodSpec {
                affinity: Affinity {
                    pod_preferred: vec![beside("web", labels::ZONE)],
                    ..Affinity::default()
                },
                ..PodSpec::default()
            },
        ),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    let zones = |app: &str| -> Vec<&str> {
        let pods = |launch: &&Launch| launch.pods.iter().any(|pod| pod.0.contains(app));
        plan.launches.iter().filter(pods).map(|launch| launch.zone.as_str()).collect()
    };
    assert!(
        plan.summary.preference_cost > UsdMicros::ZERO,
        "three nodes for three small pods cost more than they are worth"
    );
    // Somebody lies about it.
    let mut lie = plan.clone();
    lie.summary.preference_cost = UsdMicros::ZERO;
    lie.id = lie.compute_id();
    let findings = stowage_checker::check(&snapshot, Catalog::embedded(), &lie);
    assert!(findings.iter().any(|finding| finding.message.contains("preferenceCost")), "{findings:?}");
    println!("{:?} {:?}", zones("web"), plan.summary);
}

#[test]
fn random_constraints_are_kept_or_named() {
    let count: u64 = std::env::var("STOWAGE_BINDABLE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(300);
    let first: u64 = std::env::var("STOWAGE_BINDABLE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (mut pending, mut placed, mut refused) = (0, 0, Vec::new());
    for seed in first..first + count {
        let snapshot = snapshot(seed);
        let plan = planned(&snapshot);
        let findings = stowage_checker::check(&snapshot, Catalog::embedded(), &plan);
        if let Some(finding) = findings.first() {
            if let Ok(folder) = std::env::var("STOWAGE_BINDABLE_OUT") {
                let path = std::path::Path::new(&folder).join(format!("{seed}.json"));
                let text = serde_json::to_string_pretty(&(&snapshot, &plan)).expect("JSON");
                std::fs::write(path, text).expect("the folder takes files");
            }
            refused.push(format!(
                "seed {seed}: {} findings, first {}: {}",
                findings.len(),
                finding.code,
                finding.message
            ));
        }
        pending += plan.summary.pods_pending;
        placed += plan.summary.pods_on_existing + plan.summary.pods_on_new;
        for left in &plan.unplaced {
            assert!(!left.message.is_empty() && !left.hint.is_empty(), "seed {seed}: {left:?}");
            let constraint = left.reason == UnplacedReason::Constraint;
            assert_eq!(constraint, !left.blocking.is_empty(), "seed {seed}: {left:?}");
        }
    }
    println!("{placed} of {pending} pods placed");
    assert!(refused.is_empty(), "{} of {count} plans refused:\n{}", refused.len(), refused.join("\n"));
    // Leaving all out would be easy. Some ask for what nobody can have.
    assert!(placed * 10 >= pending * 6, "{placed} of {pending} pods placed");
}

/// A cluster without nodes and with one workload per entry; each pod asks for little.
fn waiting(workloads: &[(&str, PodSpec)]) -> Snapshot {
    let mut snapshot = snapshot(1);
    snapshot.nodes.clear();
    snapshot.pods.clear();
    snapshot.node_pools[0].limits = Resources::default();
    for (app, spec) in workloads {
        for replica in 0..3 {
            let mut spec = spec.clone();
            spec.containers = vec![Container {
                requests: Resources::from([(CPU, 100), (MEMORY, GIB / 4)]),
                ..Container::default()
            }];
            snapshot.pods.push(Pod {
                namespace: "one".to_owned(),
                name: format!("{app}-{replica}"),
                labels: text(&[("app", app)]),
                spec,
                ..Pod::default()
            });
        }
    }
    snapshot.normalise();
    snapshot
}

fn near(app: &str, key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_labels: text(&[("app", app)]),
            match_expressions: Vec::new(),
        }),
        topology_key: key.to_owned(),
        ..PodAffinityTerm::default()
    }
}

#[test]
fn senseless_constraints_get_a_reason_and_the_rest_is_planned() {
    let affinity = |app: &str, key: &str| PodSpec {
        affinity: Affinity { pod_required: vec![near(app, key)], ..Affinity::default() },
        ..PodSpec::default()
    };
    let over_nothing = PodSpec {
        topology_spread: vec![TopologySpread {
            max_skew: 1,
            topology_key: "example.com/nowhere".to_owned(),
            hard: true,
            label_selector: near("nowhere", "").label_selector,
            honor_affinity: true,
            ..TopologySpread::default()
        }],
        ..PodSpec::default()
    };
    let contradiction = PodSpec {
        affinity: Affinity {
            pod_required: vec![near("plain", labels::ZONE)],
            anti_required: vec![near("plain", labels::ZONE)],
            ..Affinity::default()
        },
        ..PodSpec::default()
    };
    let claim =
        |name: &str| PodSpec { volumes: vec![PodVolume::Claim(name.to_owned())], ..PodSpec::default() };
    let snapshot = waiting(&[
        ("plain", PodSpec::default()),
        ("nowhere", over_nothing),
        ("torn", contradiction),
        ("hen", affinity("egg", labels::ZONE)),
        ("egg", affinity("hen", labels::ZONE)),
        ("lonely", affinity("nobody", labels::ZONE)),
        ("missing", claim("missing")),
        ("immediate", claim("immediate")),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    assert_eq!((plan.summary.pods_on_new, plan.summary.pods_unplaced), (3, 21), "{:?}", plan.unplaced);
    for (app, constraint) in [
        ("nowhere", "topologySpreadConstraints[0]"),
        ("torn", "affinity"),
        ("hen", "affinity.podAffinity"),
        ("egg", "affinity.podAffinity"),
        ("lonely", "affinity.podAffinity"),
        ("missing", "volumes"),
        ("immediate", "volumes"),
    ] {
        let entry = plan.unplaced.iter().find(|entry| entry.pods.iter().any(|pod| pod.0.contains(app)));
        let entry = entry.expect("left out");
        assert_eq!(entry.reason, UnplacedReason::Constraint, "{app}: {entry:?}");
        assert!(entry.blocking[0].constraint.starts_with(constraint), "{app}: {entry:?}");
    }
}

#[test]
fn pods_that_must_share_a_node_do() {
    let together = |app: &str| PodSpec {
        affinity: Affinity { pod_required: vec![near(app, labels::HOSTNAME)], ..Affinity::default() },
        ..PodSpec::default()
    };
    let snapshot = waiting(&[
        ("plain", PodSpec::default()),
        ("self", together("self")),
        ("cache", PodSpec::default()),
        ("web", together("cache")),
    ]);
    let plan = planned(&snapshot);
    assert_eq!(stowage_checker::check(&snapshot, Catalog::embedded(), &plan), Vec::new());
    assert_eq!(plan.unplaced, Vec::new());
    let nodes_with =
        |app: &str| plan.launches.iter().filter(|l| l.pods.iter().any(|p| p.0.contains(app))).count();
    assert_eq!(nodes_with("one/self"), 1);
}
