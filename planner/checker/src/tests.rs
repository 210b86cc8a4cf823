//! The semantics of the formulation as tables.
#![expect(
    clippy::cloned_ref_to_slice_refs,
    clippy::field_reassign_with_default,
    clippy::type_complexity,
    reason = "a table says in one line what a row is; an object under test is a default with one change"
)]

use crate::branching::Verdict;
use crate::certificate::judge_bin;
use crate::matching::{Constraint, Rules, accepts, tolerates};
use crate::problem::{Asked, Problem, fits, usable};
use crate::request::effective_request;
use crate::variants::{VARIANTS_MAX, asked, mentions, variants};
use std::collections::BTreeSet;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::*;
use stowage_models::quantity::Resources;
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

fn container(cpu: i64, sidecar: bool) -> Container {
    Container { requests: Resources::from([("cpu", cpu)]), sidecar, ..Container::default() }
}

fn spec(cpu: i64) -> PodSpec {
    PodSpec { containers: vec![container(cpu, false)], ..PodSpec::default() }
}

fn pod(name: &str, cpu: i64) -> Pod {
    Pod { namespace: "n".into(), name: name.into(), spec: spec(cpu).into(), ..Pod::default() }
}

fn set(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn node(name: &str, allocatable: &[(&str, i64)]) -> Node {
    let mut node = Node { name: name.into(), ready: true, ..Node::default() };
    allocatable.iter().for_each(|(resource, amount)| node.allocatable.set(resource, *amount));
    node
}

/// A catalogue of one type in two zones.
fn catalog() -> Catalog {
    let mut catalog = Catalog::embedded().clone();
    catalog.types.retain(|one| one.name == "m5.large");
    catalog.types[0].zones.truncate(2);
    catalog
}

#[test]
fn requests() {
    // (containers, init containers with `true` for sidecars, pod level, overhead) -> cpu
    type Row = (&'static [i64], &'static [(i64, bool)], Option<i64>, i64, i64);
    let table: [Row; 11] = [
        (&[], &[], None, 0, 0),
        (&[100, 200], &[], None, 0, 300),
        (&[100], &[(500, false)], None, 0, 500),
        (&[100], &[(500, false), (600, false)], None, 0, 600),
        (&[100], &[(50, true)], None, 0, 150),
        // A sidecar counts beside the init containers after it only.
        (&[100], &[(500, false), (50, true)], None, 0, 500),
        (&[100], &[(50, true), (500, false)], None, 0, 550),
        (&[100], &[(50, true), (500, false), (1000, true)], None, 0, 1150),
        (&[100], &[(500, false)], Some(200), 0, 200),
        (&[100], &[(500, false)], Some(0), 7, 7),
        (&[i64::MAX, 5], &[], None, 7, i64::MAX),
    ];
    for (containers, init, pod_level, overhead, want) in table {
        let mut spec = PodSpec {
            containers: containers.iter().map(|cpu| container(*cpu, false)).collect(),
            ..PodSpec::default()
        };
        spec.init_containers = init.iter().map(|(cpu, sidecar)| container(*cpu, *sidecar)).collect();
        spec.pod_requests.0.extend(pod_level.map(|cpu| ("cpu".to_owned(), cpu)));
        spec.overhead.set("cpu", overhead);
        let request = effective_request(&spec);
        assert_eq!(
            (request.get("cpu"), request.get("pods")),
            (want, 1),
            "{containers:?} {init:?} {pod_level:?}"
        );
        assert!(request.0.values().all(|amount| *amount != 0));
    }
    // Other resources than the init container's own do not count for it.
    let mut mixed = spec(100);
    mixed.init_containers = vec![
        container(40, true),
        Container { requests: Resources::from([("x", 3)]), ..Container::default() },
    ];
    assert_eq!(effective_request(&mixed), Resources::from([("cpu", 140), ("pods", 1), ("x", 3)]));
    assert_eq!(effective_request(&spec(-5)), Resources::from([("pods", 1)]));
}

#[test]
fn tolerations() {
    use TaintEffect::{NoExecute, NoSchedule};
    // (key, operator, value, effect) against the taint `k=v:NoSchedule`
    let table = [
        ("k", "Equal", "v", Some(NoSchedule), true),
        ("k", "Equal", "v", None, true),
        ("k", "Equal", "v", Some(NoExecute), false),
        ("k", "Equal", "w", None, false),
        ("k", "Equal", "", None, false),
        ("k", "Exists", "", None, true),
        ("k", "Exists", "w", None, true),
        ("j", "Exists", "", None, false),
        ("", "Exists", "", None, true),
        ("", "Exists", "", Some(NoExecute), false),
        ("", "Equal", "v", None, false),
        ("k", "Lt", "v", None, false),
        ("k", "", "v", None, false),
    ];
    let taint = Taint { key: "k".into(), value: "v".into(), effect: NoSchedule };
    for (key, operator, value, effect, want) in table {
        let toleration =
            Toleration { key: key.into(), operator: operator.into(), value: value.into(), effect };
        assert_eq!(tolerates(std::slice::from_ref(&toleration), &taint), want, "{toleration:?}");
        assert!(!tolerates(&[], &taint));
    }
}

#[test]
fn operators() {
    use Operator::*;
    // operator, values, value of the label -> accepted
    let table: [(Operator, &[&str], Option<&str>, bool); 20] = [
        (In, &["a", "b"], Some("b"), true),
        (In, &["a"], Some("c"), false),
        (In, &["a"], None, false),
        (In, &[], Some("a"), false),
        (NotIn, &["a"], Some("b"), true),
        (NotIn, &["a"], Some("a"), false),
        (NotIn, &["a"], None, true),
        (Exists, &[], Some(""), true),
        (Exists, &[], None, false),
        (DoesNotExist, &[], None, true),
        (DoesNotExist, &[], Some(""), false),
        (Gt, &["4"], Some("5"), true),
        (Gt, &["4"], Some("4"), false),
        (Gt, &["4"], Some("x"), false),
        (Gt, &["x"], Some("5"), false),
        (Gt, &[], Some("5"), false),
        (Lt, &["4"], Some("-3"), true),
        (Lt, &["4"], None, false),
        (Gte, &["4"], Some("4"), true),
        (Lte, &["4"], Some("5"), false),
    ];
    for (operator, values, value, want) in table {
        assert_eq!(
            accepts(&Requirement::new("k", operator, values), value),
            want,
            "{operator:?} {values:?} {value:?}"
        );
    }
}

#[test]
fn required_node_affinity() {
    let term = |labels: &[Requirement], fields: &[Requirement]| NodeSelectorTerm {
        match_expressions: labels.to_vec(),
        match_fields: fields.to_vec(),
    };
    let a = Requirement::new("a", Operator::In, &["1"]);
    let b = Requirement::new("b", Operator::Exists, &[]);
    let name = Requirement::new("metadata.name", Operator::In, &["here"]);
    let not_name = Requirement::new("metadata.name", Operator::NotIn, &["here"]);
    let field = Requirement::new("metadata.namespace", Operator::In, &["here"]);
    // terms, matches the node `here` with a=1, matches a planned node with a=1
    let table: [(Option<Vec<NodeSelectorTerm>>, bool, bool); 11] = [
        (None, true, true),
        (Some(vec![]), false, false),
        (Some(vec![term(&[], &[])]), false, false),
        (Some(vec![term(&[a.clone()], &[])]), true, true),
        (Some(vec![term(&[a.clone(), b.clone()], &[])]), false, false),
        (Some(vec![term(&[b.clone()], &[]), term(&[a.clone()], &[])]), true, true),
        (Some(vec![term(&[], &[]), term(&[b], &[])]), false, false),
        (Some(vec![term(&[], &[name.clone()])]), true, false),
        (Some(vec![term(&[a.clone()], &[name])]), true, false),
        (Some(vec![term(&[], &[not_name])]), false, true),
        (Some(vec![term(&[a], &[field])]), false, false),
    ];
    let node_labels = set(&[("a", "1")]);
    for (terms, here, planned) in table {
        let mut spec = spec(1);
        spec.affinity.node_required = terms;
        let (rules, index) = Rules::new(&[Constraint::new(&spec, Vec::new())], Vec::new());
        let values: Vec<_> = rules.keys.iter().map(|key| node_labels.get(*key).map(String::as_str)).collect();
        let matches = |name| rules.evaluate(&values, name, &[])[index[0]].holds();
        assert_eq!((matches(Some("here")), matches(None)), (here, planned), "{:?}", spec.affinity);
        assert!(!matches(Some("there")) || planned);
    }
}

#[test]
fn hard_taints_only() {
    let spec = spec(1);
    let (rules, _) = Rules::new(&[Constraint::new(&spec, Vec::new())], Vec::new());
    for (effect, want) in [
        (TaintEffect::NoSchedule, false),
        (TaintEffect::NoExecute, false),
        (TaintEffect::PreferNoSchedule, true),
    ] {
        let taint = Taint { key: "k".into(), value: String::new(), effect };
        assert_eq!(rules.evaluate(&[], None, &[taint])[0].holds(), want, "{effect:?}");
    }
}

#[test]
fn slack_leaves_less() {
    for (name, amount, slack, want) in [
        ("cpu", 1930, 10_000, 1910),
        ("cpu", 1, 1, 0),
        ("cpu", 1930, 0, 1930),
        ("memory", i64::MAX, 500_000, i128::from(i64::MAX / 2)),
        ("pods", 29, 500_000, 29),
        ("nvidia.com/gpu", 1, 500_000, 1),
    ] {
        assert_eq!(usable(name, amount, slack), want, "{name} {amount} {slack}");
    }
}

#[test]
fn what_existing_nodes_have_left() {
    let mut snapshot = Snapshot { pods: vec![pod("waits", 10)], ..Snapshot::default() };
    let daemon = |name: &str, cpu: i64| DaemonSet {
        namespace: "n".into(),
        name: name.into(),
        spec: spec(cpu),
        ..DaemonSet::default()
    };
    snapshot.daemon_sets = vec![daemon("present", 30), daemon("missing", 40), daemon("elsewhere", 50)];
    snapshot.daemon_sets[2].spec.node_selector = set(&[("zone", "z")]);
    snapshot.nodes =
        vec![node("a", &[("cpu", 1000), ("pods", 10)]), node("full", &[("cpu", 100), ("pods", 0)])];
    let on_a = |name: &str, cpu: i64, phase: PodPhase, owner: Option<&str>| {
        let owner = owner.map(|owner| Owner { kind: "DaemonSet".into(), name: owner.into() }.into());
        Pod { node: Some("a".into()), phase, owner, ..pod(name, cpu) }
    };
    snapshot.pods.extend([
        on_a("running", 100, PodPhase::Running, None),
        on_a("starting", 200, PodPhase::Pending, None),
        on_a("unknown", 3, PodPhase::Unknown, None),
        on_a("ended", 400, PodPhase::Failed, None),
        on_a("present-1", 31, PodPhase::Running, Some("present")),
        // Its DaemonSet will replace it.
        on_a("missing-1", 41, PodPhase::Succeeded, Some("missing")),
    ]);
    let catalog = catalog();
    let problem = Problem::new(&snapshot, &catalog, 10_000, &[], Asked::default());
    let free: Vec<_> = problem.nodes.iter().map(|bin| (bin.running.get("cpu"), bin.free.clone())).collect();
    assert_eq!(problem.axis.names, ["cpu", "pods"]);
    // 990 usable - 334 - 40, and 10 pods - 4 - 1; the full node has less than nothing, which is nothing.
    assert_eq!(free, [(334, vec![616, 5]), (0, vec![29, 0])]);
}

#[test]
fn daemon_sets_take_room_on_new_nodes() {
    let mut snapshot = Snapshot { pods: vec![pod("waits", 10)], ..Snapshot::default() };
    snapshot.node_pools = vec![NodePool { name: "p".into(), ..NodePool::default() }];
    let mut zonal = spec(100);
    zonal.node_selector = set(&[(labels::ZONE, "us-east-1b")]);
    let mut gpu = spec(1);
    gpu.containers[0].requests.set("nvidia.com/gpu", 1);
    gpu.node_selector = set(&[(labels::CAPACITY_TYPE, "spot")]);
    let daemon = |spec| DaemonSet { spec, ..DaemonSet::default() };
    snapshot.daemon_sets = vec![daemon(spec(50)), daemon(zonal), daemon(gpu)];
    let catalog = catalog();
    let problem = Problem::new(&snapshot, &catalog, 0, &[], Asked::default());
    let offerings = &problem.offerings;
    let rooms: Vec<_> = offerings
        .list
        .iter()
        .map(|one| offerings.kinds[one.kind].room.as_ref().map(|room| room[0]))
        .collect();
    let cpu = catalog.types[0].allocatable(&snapshot.settings, &Ec2NodeClass::default()).get("cpu");
    // On-demand and spot in each zone; a DaemonSet that needs a GPU closes spot nodes without one, which stay in the list.
    assert_eq!(rooms, [Some(cpu - 50), None, Some(cpu - 150), None]);
}

#[test]
fn which_offerings_there_are() {
    let offerings = |change: &dyn Fn(&mut Snapshot)| {
        let mut snapshot = Snapshot::default();
        snapshot.node_pools =
            vec![NodePool { name: "p".into(), node_class: "c".into(), ..NodePool::default() }];
        snapshot.node_classes = vec![Ec2NodeClass { name: "c".into(), ..Ec2NodeClass::default() }];
        change(&mut snapshot);
        let catalog = catalog();
        let problem = Problem::new(&snapshot, &catalog, 0, &[], Asked::default());
        let names = problem.offerings.list.iter().map(|one| format!("{} {}", one.zone, one.capacity_type));
        names.collect::<Vec<_>>().join(", ")
    };
    let all = "us-east-1a on-demand, us-east-1a spot, us-east-1b on-demand, us-east-1b spot";
    let require = |key: &'static str, operator, values: &'static [&'static str]| {
        move |snapshot: &mut Snapshot| {
            snapshot.node_pools[0].requirements.push(Requirement::new(key, operator, values))
        }
    };
    assert_eq!(offerings(&|_| {}), all);
    assert_eq!(offerings(&|snapshot| snapshot.node_pools[0].replicas = Some(0)), "");
    assert_eq!(offerings(&|snapshot| snapshot.node_pools[0].deleting = true), "");
    assert_eq!(offerings(&|snapshot| snapshot.node_pools[0].not_ready = Some("why".to_owned())), "");
    assert_eq!(offerings(&|snapshot| snapshot.node_classes[0].zones = vec!["us-east-1b".into()]), &all[39..]);
    assert_eq!(offerings(&require(labels::ZONE_ID, Operator::In, &["use1-az4"])), &all[39..]);
    assert_eq!(
        offerings(&require(labels::CAPACITY_TYPE, Operator::NotIn, &["spot"])),
        "us-east-1a on-demand, us-east-1b on-demand"
    );
    for (key, operator, values) in [
        (labels::REGION, Operator::In, &["us-east-1"] as &[&str]),
        (labels::NODEPOOL, Operator::In, &["p"]),
        (labels::EC2_NODE_CLASS, Operator::In, &["c"]),
        (labels::REGISTERED, Operator::In, &["true"]),
        (labels::HOSTNAME, Operator::Exists, &[]),
        (labels::INSTANCE_TYPE, Operator::In, &["m5.large"]),
        ("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["1"]),
    ] {
        let key: &'static str = key;
        assert_eq!(
            offerings(&|snapshot| snapshot.node_pools[0]
                .requirements
                .push(Requirement::new(key, operator, values))),
            all,
            "{key}"
        );
    }
    assert_eq!(offerings(&require("karpenter.k8s.aws/instance-cpu", Operator::Gt, &["2"])), "");
    // A template label cannot pretend to be the zone, but satisfies requirements on itself.
    let template =
        |snapshot: &mut Snapshot| snapshot.node_pools[0].labels = set(&[(labels::ZONE, "x"), ("team", "a")]);
    assert_eq!(offerings(&template), all);
    let with = |values: &'static [&'static str]| {
        move |snapshot: &mut Snapshot| {
            template(snapshot);
            require("team", Operator::In, values)(snapshot);
        }
    };
    assert_eq!((offerings(&with(&["a"])), offerings(&with(&["b"]))), (all.to_owned(), String::new()));
}

#[test]
fn variants_of_open_labels() {
    use Operator::*;
    // Requirements on the key `k` and the values pods select, to the values of the variants (`-`: absent).
    let table: [(&[(Operator, &[&str])], &[&str], &[&str]); 16] = [
        (&[(In, &["b", "a"])], &[], &["a"]),
        (&[(In, &["c", "b", "a"])], &["b"], &["a", "b"]),
        (&[(In, &["a", "b"])], &["a", "b", "c"], &["a", "b"]),
        (&[(Exists, &[])], &[], &["stowage"]),
        (&[(Exists, &[])], &["x"], &["x"]),
        (&[(NotIn, &["x"])], &["x", "y"], &["-", "y"]),
        (&[(NotIn, &["stowage"])], &[], &["-"]),
        (&[(DoesNotExist, &[])], &["x"], &["-"]),
        (&[(Gt, &["4"])], &[], &["5"]),
        (&[(Lt, &["4"])], &["9"], &["3"]),
        (&[(Gte, &["4"]), (Lte, &["6"])], &[], &["4"]),
        (&[(Lte, &["6"])], &["5", "7"], &["5"]),
        (&[(Gt, &["4"]), (Lt, &["5"])], &[], &[]),
        (&[(Gt, &["9223372036854775807"])], &[], &[]),
        (&[(Gt, &["x"])], &[], &[]),
        (&[(In, &["a"]), (NotIn, &["a"])], &[], &[]),
    ];
    for (requirements, selected, want) in table {
        let mut pool = NodePool::default();
        pool.requirements =
            requirements.iter().map(|(operator, values)| Requirement::new("k", *operator, values)).collect();
        let specs: Vec<PodSpec> =
            selected.iter().map(|value| PodSpec { node_selector: set(&[("k", value)]), ..spec(1) }).collect();
        let found = variants(&pool, &mentions(&specs, false), &asked(&specs), &BTreeSet::new());
        let values: Vec<&str> = found.iter().map(|set| set.get("k").map_or("-", String::as_str)).collect();
        assert_eq!(values, want, "{requirements:?} {selected:?}");
    }
}

#[test]
fn variants_are_a_product_cut_off() {
    let values: Vec<String> = (10..20).map(|value| value.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    let mut pool = NodePool::default();
    pool.requirements =
        vec![Requirement::new("a", Operator::In, &values), Requirement::new("b", Operator::NotIn, &["x"])];
    let mut pod = spec(1);
    let both =
        vec![Requirement::new("a", Operator::In, &values), Requirement::new("b", Operator::In, &values)];
    pod.affinity.node_required =
        Some(vec![NodeSelectorTerm { match_expressions: both, match_fields: Vec::new() }]);
    let found = variants(&pool, &mentions([&pod], false), &asked([&pod]), &BTreeSet::new());
    // The last key turns fastest: five full rounds of absent and ten values of `b`, then nine more.
    assert_eq!(found.len(), VARIANTS_MAX);
    assert_eq!(found.iter().filter(|set| set["a"] == "10").count(), 11);
    assert_eq!(found.iter().filter(|set| set["a"] == "15").count(), 9);
    assert!(found.is_sorted());
    // Keys that the node decides, or the template, are not open.
    pool.requirements = vec![
        Requirement::new(labels::ZONE, Operator::In, &["a"]),
        Requirement::new(labels::NODEPOOL, Operator::Exists, &[]),
    ];
    assert_eq!(variants(&pool, &mentions([&pod], false), &asked([&pod]), &BTreeSet::new()), [Labels::new()]);
}

#[test]
fn limits_count_capacity_of_nodes_and_claims() {
    let mut snapshot = Snapshot::default();
    let mut pool = NodePool { name: "p".into(), ..NodePool::default() };
    pool.limits.0 = [("cpu".to_owned(), 5), ("gpu".to_owned(), 0), ("nodes".to_owned(), 9)].into();
    snapshot.node_pools = vec![pool];
    let mut of_pool = node("a", &[]);
    (of_pool.labels, of_pool.capacity) = (set(&[(labels::NODEPOOL, "p")]), Resources::from([("cpu", 7)]));
    let mut deleting = Node { deleting: true, ..of_pool.clone() };
    deleting.name = "b".into();
    snapshot.nodes = vec![of_pool.clone(), deleting, node("other", &[])];
    let claim = |node: Option<&str>| NodeClaim {
        labels: of_pool.labels.clone(),
        node: node.map(str::to_owned),
        capacity: Resources::from([("cpu", 100)]),
        ..NodeClaim::default()
    };
    snapshot.node_claims = vec![claim(None), claim(Some("a")), claim(Some("gone"))];
    let catalog = catalog();
    let problem = Problem::new(&snapshot, &catalog, 0, &[], Asked::default());
    let limits: Vec<_> =
        problem.pools[0].limits.iter().map(|one| (one.resource, one.used, one.remaining())).collect();
    assert_eq!(limits, [("cpu", 214, 0), ("gpu", 0, 0), ("nodes", 4, 5)]);
}

#[test]
fn groups_are_pods_that_nothing_tells_apart() {
    let mut pods = vec![pod("b", 1), pod("a", 1), pod("c", 2), pod("d", 1), pod("e", 1)];
    pods[3].spec.priority = 5;
    pods[4].labels = set(&[("any", "label")]).into();
    // The same request in another way.
    pods.push(Pod {
        spec: PodSpec { pod_requests: Resources::from([("cpu", 1)]), ..PodSpec::default() }.into(),
        ..pod("f", 0)
    });
    // `-` sorts before `/`: by reference, not by namespace.
    pods.push(Pod { namespace: "n-1".into(), ..pod("z", 1) });
    let snapshot = Snapshot { pods, ..Snapshot::default() };
    let storage = crate::storage::Storage::new(&snapshot);
    let groups = crate::groups::collect(&snapshot, &storage, false).groups;
    let first: Vec<&str> = groups.iter().map(|group| group.first.0.as_str()).collect();
    assert_eq!(first, ["n-1/z", "n/c", "n/d"]);
}

/// Goal: what is said of a bin is true of the best set of pods it can hold, whatever the vector.
#[test]
fn verdicts_are_those_of_brute_force() {
    let mut state = 7_u64;
    let mut roll = |bound: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % u64::try_from(bound).unwrap()).unwrap()
    };
    for _ in 0..2_000 {
        let needs: Vec<Vec<i64>> = (0..3).map(|_| vec![roll(5), 1 + roll(4)]).collect();
        let multipliers: Vec<i64> = (0..3).map(|_| roll(100)).collect();
        let room = vec![roll(12), roll(12)];
        let pods: Vec<u64> = (0..3).map(|_| u64::try_from(roll(4)).unwrap()).collect();
        let vector = vec![roll(30), roll(30)];
        let mut best = 0;
        for (a, b, c) in (0..64).map(|code| (code / 16, code / 4 % 4, code % 4)) {
            let counts = [a, b, c];
            let demand: Vec<i64> =
                (0..2).map(|axis| (0..3).map(|one| needs[one][axis] * counts[one]).sum()).collect();
            let held =
                fits(&demand, &room) && (0..3).all(|one| u64::try_from(counts[one]).unwrap() <= pods[one]);
            best = if held { best.max((0..3).map(|one| multipliers[one] * counts[one]).sum()) } else { best };
        }
        let best = i128::from(best) << 20;
        let judge = |threshold| judge_bin(&needs, &multipliers, &pods, (&room, &vector), threshold);
        assert_eq!(
            judge(best),
            Some(Verdict::Holds),
            "{needs:?} {multipliers:?} {room:?} {pods:?} {vector:?}"
        );
        assert_eq!(judge(best - 1), Some(Verdict::Refuted(best)));
    }
}

/// Goal: a bin that holds many kinds of pods neither takes for ever nor passes, and levels are no recursion.
#[test]
fn branching_gives_up() {
    let needs: Vec<Vec<i64>> = (0..5_000).map(|group| vec![1_000 + group % 97, 1_000 + group % 89]).collect();
    let multipliers: Vec<i64> = (0..5_000).map(|group| 1_000_000 + group * 7919 % 1_000).collect();
    let pods = vec![3; 5_000];
    let (room, vector): (&[i64], &[i64]) = (&[700_123, 700_456], &[600, 400]);
    let judge = |threshold: i128| judge_bin(&needs, &multipliers, &pods, (room, vector), threshold << 20);
    assert!(matches!(judge(1), Some(Verdict::Refuted(_))));
    assert_eq!(judge(1_000_000_000_000), Some(Verdict::Holds));
    // At most 700 pods of less than 1,001,000 fit, and nearly as many do.
    let undecided =
        (690..=701).map(|pods| judge(pods * 1_000_500)).filter(|one| *one == Some(Verdict::Undecided));
    assert!(undecided.count() > 0);
}
