//! Properties of every plan: the referee accepts it, the same snapshot gives the same bytes whatever the order of the input
//! and the number of threads, and damage to it is refused.

#[path = "../../../planner/checker/tests/it/mutations.rs"]
mod mutations;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use stowage_bench::oracle::Case;
use stowage_bench::trial::{self, recorded};
use stowage_checker::check;
use stowage_models::catalog::Catalog;
use stowage_models::objects::{
    Container, DaemonSet, NodePool, Owner, Pod, PodAffinityTerm, PodPhase, PodRef, PodSpec, PodVolume,
    TopologySpread,
};
use stowage_models::plan::{Plan, Policy, UnplacedReason};
use stowage_models::quantity::Resources;
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Limits, PlanError, Stop};

fn limits(threads: usize) -> Limits {
    trial::by_work(Duration::from_millis(500), threads)
}

fn policy() -> Policy {
    Policy { gap: Ppm(1_000), ..Policy::default() }
}

fn plan_of(snapshot: &Snapshot, catalog: &Catalog, threads: usize) -> Plan {
    stowage_planner::plan(snapshot, catalog, &policy(), &limits(threads), &mut |_| {}).expect("a plan").plan
}

fn accepted(snapshot: &Snapshot, catalog: &Catalog) -> Plan {
    let plan = plan_of(snapshot, catalog, 2);
    assert_eq!(check(snapshot, catalog, &plan), Vec::new());
    plan
}

#[test]
fn recorded_snapshots_give_accepted_plans() {
    for (name, gap) in
        [("small", 100_000), ("web-1k", 100_000), ("mixed-10k", 10_000), ("mixed-10k-od", 10_000)]
    {
        let plan = accepted(&recorded(name), Catalog::embedded());
        assert!(plan.summary.gap <= Ppm(gap), "{name}: gap {}", plan.summary.gap);
    }
}

#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let snapshot = recorded("small");
    let bytes = |snapshot: &Snapshot, threads: usize| {
        // Little work each: there are many runs.
        let limits = trial::by_work(Duration::from_millis(100), threads);
        let planned = stowage_planner::plan(snapshot, Catalog::embedded(), &policy(), &limits, &mut |_| {});
        serde_json::to_vec(&planned.expect("a plan").plan).expect("JSON")
    };
    let first = bytes(&snapshot, 2);
    for run in 0..10 {
        let mut shuffled = snapshot.clone();
        // Rotations by different amounts are order enough; import normalises, so this does too.
        let pods = shuffled.pods.len();
        shuffled.pods.rotate_left(run * 7 % pods);
        shuffled.nodes.reverse();
        shuffled.normalise();
        assert!(bytes(&shuffled, 1 + run % 3) == first, "run {run} differs");
    }
}

#[test]
fn mixed_10k_does_not_depend_on_threads() {
    let snapshot = recorded("mixed-10k");
    let one = plan_of(&snapshot, Catalog::embedded(), 1);
    let two = plan_of(&snapshot, Catalog::embedded(), 2);
    assert!(one == two);
}

#[test]
fn damage_to_a_plan_is_refused() {
    let (mut refused, mut harmless) = (0, 0);
    for (restamp, seed) in [(false, 11), (true, 12)] {
        for case in (0..40).map(Case::random) {
            let plan = accepted(&case.snapshot, &case.catalog);
            let outcome = mutations::run(&case.snapshot, &case.catalog, &plan, (250, seed, restamp));
            assert_eq!(outcome.holes, Vec::<String>::new());
            refused += outcome.refused;
            harmless += outcome.harmless;
        }
    }
    assert!(refused > 10_000, "{refused} refused, {harmless} harmless");
}

#[test]
fn damage_to_a_recorded_plan_is_refused() {
    let snapshot = recorded("small");
    let plan = accepted(&snapshot, Catalog::embedded());
    for (restamp, seed) in [(false, 21), (true, 22)] {
        let outcome = mutations::run(&snapshot, Catalog::embedded(), &plan, (60, seed, restamp));
        assert_eq!(outcome.holes, Vec::<String>::new());
    }
}

fn pod(name: &str, cpu: i64) -> Pod {
    Pod {
        namespace: "default".into(),
        name: name.into(),
        phase: PodPhase::Pending,
        spec: PodSpec {
            containers: vec![Container { requests: Resources::from([("cpu", cpu)]), ..Container::default() }],
            ..PodSpec::default()
        }
        .into(),
        ..Pod::default()
    }
}

fn pool(name: &str, types: &[&str]) -> NodePool {
    NodePool {
        name: name.into(),
        requirements: vec![
            Requirement::new("node.kubernetes.io/instance-type", Operator::In, types),
            Requirement::new("karpenter.sh/capacity-type", Operator::In, &["on-demand"]),
            Requirement::new("topology.kubernetes.io/zone", Operator::In, &["us-east-1a"]),
        ],
        ..NodePool::default()
    }
}

fn cluster(pools: Vec<NodePool>, pods: Vec<Pod>) -> Snapshot {
    let mut snapshot = Snapshot { node_pools: pools, pods, ..Snapshot::default() };
    snapshot.normalise();
    snapshot
}

#[test]
fn no_pods_is_an_empty_plan() {
    let plan = accepted(&cluster(vec![pool("a", &["m5.large"])], Vec::new()), Catalog::embedded());
    assert!(plan.is_empty());
    assert_eq!((plan.summary.launch_cost, plan.summary.gap), (UsdMicros::ZERO, Ppm(0)));
}

#[test]
fn a_lower_weight_is_used_only_beyond_the_limits_of_the_higher() {
    // m5.large holds one such pod. The preferred pool may have two nodes; the other is cheaper but comes second.
    let mut first = pool("first", &["m5.large"]);
    first.weight = 10;
    first.limits.0.insert("nodes".into(), 2);
    let second = pool("second", &["c5.large"]);
    let pods = (0..5).map(|k| pod(&format!("pod-{k}"), 1_500)).collect();
    let plan = accepted(&cluster(vec![first, second], pods), Catalog::embedded());
    let count = |pool: &str| plan.launches.iter().filter(|launch| launch.node_pool == pool).count();
    assert_eq!((count("first"), count("second")), (2, 3));
}

#[test]
fn the_price_of_strict_weights_is_shown() {
    let mut first = pool("first", &["m5.large"]);
    first.weight = 10;
    let second = pool("second", &["c5.large"]);
    let plan = accepted(&cluster(vec![first, second], vec![pod("a", 1_500)]), Catalog::embedded());
    let free = plan.summary.launch_bound_without_weights.expect("the weights restrict something");
    assert!(free < plan.summary.launch_bound, "{free} of {}", plan.summary.launch_bound);
}

#[test]
fn pods_beyond_the_limits_are_left_with_the_reason() {
    let mut only = pool("only", &["m5.large"]);
    only.limits.0.insert("cpu".into(), 4_000);
    let mut important = pod("important", 1_500);
    important.spec.priority = 1_000;
    let pods = vec![pod("a", 1_500), pod("b", 1_500), important];
    let plan = accepted(&cluster(vec![only], pods), Catalog::embedded());
    assert_eq!(plan.summary.nodes_launched, 2);
    assert_eq!(plan.unplaced.len(), 1);
    assert_eq!(plan.unplaced[0].reason, UnplacedReason::Limits);
    assert!(plan.unplaced[0].message.contains("only"), "{}", plan.unplaced[0].message);
    let left: Vec<&str> = plan.unplaced[0].pods.iter().map(|pod| pod.0.as_str()).collect();
    assert!(!left.contains(&"default/important"), "a lower priority stays before a higher: {left:?}");
    let blocking = &plan.unplaced[0].blocking;
    assert_eq!((blocking.len(), blocking[0].constraint.as_str()), (1, "NodePool only: limits.cpu"));
    assert_eq!(blocking[0].price_without, Some(plan.launches[0].price));
}

/// kube-scheduler has preempted others for it: its room is taken, by it.
#[test]
fn a_nominated_pod_keeps_its_room_and_nothing_is_launched_for_it() {
    let mut nominated = pod("nominated", 3_000);
    nominated.nominated_node = Some("node-1".to_owned());
    let mut snapshot =
        cluster(vec![pool("a", &["m5.large"])], vec![nominated, pod("small", 500), pod("large", 1_500)]);
    let room = Resources::from([("cpu", 4_000), ("memory", 8 << 30), ("pods", 10)]);
    snapshot.nodes.push(stowage_models::objects::Node {
        name: "node-1".into(),
        labels: Labels::from([("kubernetes.io/hostname".to_owned(), "node-1".to_owned())]),
        capacity: room.clone(),
        allocatable: room,
        ready: true,
        ..Default::default()
    });
    let plan = accepted(&snapshot, Catalog::embedded());
    let there: Vec<&str> =
        plan.existing.iter().flat_map(|node| &node.pods).map(|pod| pod.0.as_str()).collect();
    assert_eq!(there, ["default/small"]);
    assert_eq!((plan.summary.pods_pending, plan.summary.nodes_launched), (2, 1));
    assert!(plan.notes.iter().any(|note| note.contains("nominated")), "{:?}", plan.notes);
    // So it is with a pod of a DaemonSet: its request is not counted twice.
    let mut daemon = snapshot.clone();
    daemon.pods.retain(|pod| pod.name != "large");
    let nominated = daemon.pods.iter_mut().find(|pod| pod.name == "nominated").expect("the pod");
    nominated.owner = Some(Owner { kind: "DaemonSet".into(), name: "agent".into() }.into());
    let spec = (*nominated.spec).clone();
    daemon.daemon_sets.push(DaemonSet {
        namespace: "default".into(),
        name: "agent".into(),
        spec,
        ..DaemonSet::default()
    });
    let beside = accepted(&daemon, Catalog::embedded());
    assert_eq!((beside.summary.pods_on_existing, beside.summary.nodes_launched), (1, 0));
    // A plan that gives its room away is refused.
    let mut wrong = plan.clone();
    wrong.existing[0].pods.push(PodRef("default/large".to_owned()));
    wrong.id = wrong.compute_id();
    assert_ne!(check(&snapshot, Catalog::embedded(), &wrong), Vec::new());
}

#[test]
fn a_pool_already_beyond_its_limit_launches_nothing() {
    let mut only = pool("only", &["m5.large"]);
    only.limits.0.insert("nodes".into(), 1);
    let mut snapshot = cluster(vec![only], vec![pod("a", 1_500)]);
    for name in ["node-1", "node-2"] {
        let labels = Labels::from([("karpenter.sh/nodepool".to_owned(), "only".to_owned())]);
        snapshot.nodes.push(stowage_models::objects::Node {
            name: name.into(),
            labels,
            ..Default::default()
        });
    }
    let plan = accepted(&snapshot, Catalog::embedded());
    assert_eq!((plan.summary.nodes_launched, plan.summary.pods_unplaced), (0, 1));
}

#[test]
fn what_fits_nothing_says_what_comes_nearest() {
    let huge = pod("huge", 3_000);
    let mut picky = pod("picky", 100);
    picky.spec.node_selector.insert("team".into(), "blue".into());
    let plan = accepted(&cluster(vec![pool("a", &["m5.large"])], vec![huge, picky]), Catalog::embedded());
    let of = |name: &str| {
        plan.unplaced
            .iter()
            .find(|entry| entry.pods[0].0 == format!("default/{name}"))
            .expect("the pod is left out")
    };
    assert!(of("huge").message.starts_with("requests cpu 3;"), "{}", of("huge").message);
    assert!(of("huge").nearest.as_deref().is_some_and(|nearest| nearest.starts_with("m5.large us-east-1a")));
    assert!(of("picky").message.contains("team=blue"), "{}", of("picky").message);
}

#[test]
fn contradictory_requirements_are_a_note_and_a_reason() {
    let mut impossible = pool("impossible", &["m5.large"]);
    impossible.requirements.push(Requirement::new("kubernetes.io/arch", Operator::In, &["arm64"]));
    let plan = accepted(&cluster(vec![impossible], vec![pod("a", 100)]), Catalog::embedded());
    assert!(plan.notes.iter().any(|note| note.contains("impossible") && note.contains("kubernetes.io/arch")));
    assert_eq!(plan.unplaced[0].reason, UnplacedReason::NoFit);
}

/// What no cluster can satisfy is said of the pods that ask for it, and keeps no others from their places.
#[test]
fn impossible_constraints_concern_their_pods_only() {
    let app = |name: &str| LabelSelector {
        match_labels: Labels::from([("app".to_owned(), name.to_owned())]),
        match_expressions: Vec::new(),
    };
    let labelled = |name: &str| {
        let mut pod = pod(name, 500);
        pod.labels.insert("app".to_owned(), name.to_owned());
        pod
    };
    let wants = |name: &str, other: &str| {
        let mut pod = labelled(name);
        pod.spec.affinity.pod_required.push(PodAffinityTerm {
            label_selector: Some(app(other)),
            topology_key: "topology.kubernetes.io/zone".into(),
            ..PodAffinityTerm::default()
        });
        pod
    };
    let mut spread = labelled("spread");
    spread.spec.topology_spread.push(TopologySpread {
        topology_key: "nobody.example/has-it".into(),
        max_skew: 1,
        hard: true,
        label_selector: Some(app("spread")),
        ..TopologySpread::default()
    });
    let mut claims = labelled("claims");
    claims.spec.volumes.push(PodVolume::Claim("missing".into()));
    let mut odd = labelled("odd");
    odd.spec.unreadable = Some("spec.affinity: unknown operator `Is` on a".into());
    // Each of the two waits for the other.
    let pods = vec![wants("chicken", "egg"), wants("egg", "chicken"), spread, claims, odd, pod("plain", 500)];
    let plan = accepted(&cluster(vec![pool("a", &["m5.large"])], pods), Catalog::embedded());
    assert_eq!(plan.launches.iter().map(|launch| launch.pods.len()).sum::<usize>(), 1);
    let of = |name: &str| {
        let id = PodRef(format!("default/{name}"));
        plan.unplaced
            .iter()
            .find(|entry| entry.pods.contains(&id))
            .unwrap_or_else(|| panic!("{name}: no reason"))
    };
    for (name, reason, word) in [
        ("chicken", UnplacedReason::Constraint, "podAffinity"),
        ("egg", UnplacedReason::Constraint, "podAffinity"),
        ("spread", UnplacedReason::Constraint, "nobody.example/has-it"),
        ("claims", UnplacedReason::Constraint, "missing"),
        ("odd", UnplacedReason::Unsupported, "unknown operator"),
    ] {
        let entry = of(name);
        assert_eq!(entry.reason, reason, "{name}: {entry:?}");
        assert!(!entry.hint.is_empty() && !entry.blocking.is_empty(), "{name}: {entry:?}");
        let said = format!("{} {:?}", entry.message, entry.blocking);
        assert!(said.contains(word), "{name}: {said}");
    }
    let constraint = |name: &str| of(name).blocking[0].constraint.as_str();
    assert_eq!((constraint("odd"), constraint("claims")), ("spec.affinity", "volumes"));
}

#[test]
fn a_policy_out_of_range_is_an_error() {
    let snapshot = cluster(Vec::new(), Vec::new());
    for (slack, gap) in [(-1, 0), (500_001, 0), (0, -1)] {
        let policy = Policy { slack: Ppm(slack), gap: Ppm(gap), seed: 0, ..Policy::default() };
        let answer = stowage_planner::plan(&snapshot, Catalog::embedded(), &policy, &limits(1), &mut |_| {});
        assert!(matches!(answer, Err(PlanError::Policy(_))));
    }
}

#[test]
fn a_cancelled_run_still_gives_an_accepted_plan() {
    let snapshot = recorded("web-1k");
    let cancelled = Limits { cancel: Some(Arc::new(AtomicBool::new(true))), ..limits(1) };
    let planned = stowage_planner::plan(&snapshot, Catalog::embedded(), &policy(), &cancelled, &mut |_| {})
        .expect("a plan");
    assert_eq!(planned.report.stop, Stop::Cancelled);
    assert_eq!(check(&snapshot, Catalog::embedded(), &planned.plan), Vec::new());
}

/// A tiny case blown up: copies of its pods, priorities, and limits that often bind.
fn blown_up(seed: u64) -> Case {
    let mut case = Case::random(seed);
    let mut random = Random::new(seed ^ 0xD1CE);
    let originals = std::mem::take(&mut case.snapshot.pods);
    for pod in originals {
        let copies = if pod.is_pending() { random.between(1, 12) } else { 1 };
        for copy in 0..copies {
            let mut pod = pod.clone();
            pod.name = format!("{}-{copy}", pod.name);
            pod.spec.priority = i32::try_from(random.between(0, 2)).expect("small") * 100;
            case.snapshot.pods.push(pod);
        }
    }
    for pool in &mut case.snapshot.node_pools {
        if random.chance(60) {
            let (resource, limit) =
                *random.pick(&[("cpu", 16_000), ("cpu", 40_000), ("nodes", 2), ("nodes", 0)]);
            pool.limits.0.insert(resource.to_owned(), limit);
        }
        pool.weight = i32::try_from(random.between(0, 2)).expect("small") * 10;
    }
    case.snapshot.normalise();
    case
}

#[test]
fn plans_under_limits_weights_and_priorities_are_accepted() {
    let cases = std::env::var("STOWAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (mut left, mut refused) = (0, Vec::new());
    for seed in 0..cases {
        let case = blown_up(seed);
        let plan = plan_of(&case.snapshot, &case.catalog, 2);
        left += plan.summary.pods_unplaced;
        let findings = check(&case.snapshot, &case.catalog, &plan);
        if !findings.is_empty() {
            refused.push((seed, findings));
        }
    }
    assert!(refused.is_empty(), "{} refused, the first: {:?}", refused.len(), refused[0]);
    assert!(left > cases / 2, "limits hardly ever bind: {left} pods left out of {cases} cases");
}

/// Pods may ask for more resources together than nodes usually have, and there is an end to it that says so.
#[test]
fn many_resources_are_planned_for_and_too_many_are_an_error() {
    let asking = |resources: usize| {
        let pods = (0..resources).map(|number| {
            let mut pod = pod(&format!("p{number:02}"), 100);
            pod.spec.containers[0].requests.set(&format!("example.com/device-{number:02}"), 1);
            pod
        });
        let mut snapshot = cluster(vec![pool("general", &["m5.large", "m5.xlarge"])], pods.collect());
        snapshot.pods.push(pod("plain", 100));
        snapshot.normalise();
        snapshot
    };
    let plan = accepted(&asking(20), Catalog::embedded());
    assert_eq!((plan.summary.pods_on_new, plan.summary.pods_unplaced), (1, 20));
    let many = stowage_planner::plan(&asking(80), Catalog::embedded(), &policy(), &limits(1), &mut |_| {});
    let text = many.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(text.contains("83 resources") && text.contains("at most 64"), "{text}");
}
