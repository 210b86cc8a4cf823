//! Goal: requirements mean what Karpenter's users know, alone and together: In, NotIn, Exists, DoesNotExist, Gt, Lt, Gte, Lte.
//!
//! Method: an exhaustive table over a small set of values. Whether a NodePool with one or two requirements on a key can launch a node
//! for a pod with one or two more is compared with trying every label the node could have.

use std::time::Duration;
use stowage_bench::trial::by_work;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{Container, Ec2NodeClass, NodePool, NodeSelectorTerm, Pod, PodSpec};
use stowage_models::plan::Policy;
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const COMPARISONS: [Operator; 4] = [Operator::Gt, Operator::Lt, Operator::Gte, Operator::Lte];
const FAMILY: &str = "karpenter.k8s.aws/instance-family";
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

/// What a requirement says of a label that is `value`, or absent. Straight from the words of the API, as sets.
fn says(requirement: &Requirement, value: Option<&str>) -> bool {
    let number = value.and_then(|value| value.parse::<i64>().ok());
    let bound = requirement.values.first().map_or(0, |bound| bound.parse::<i64>().unwrap_or(0));
    match requirement.operator {
        Operator::In => requirement.values.iter().any(|one| Some(one.as_str()) == value),
        Operator::NotIn => requirement.values.iter().all(|one| Some(one.as_str()) != value),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt => number.is_some_and(|number| number > bound),
        Operator::Lt => number.is_some_and(|number| number < bound),
        Operator::Gte => number.is_some_and(|number| number >= bound),
        Operator::Lte => number.is_some_and(|number| number <= bound),
    }
}

/// Every requirement over the non-empty subsets of `listed` and the bounds.
fn requirements(key: &str, listed: &[&str], bounds: &[&str]) -> Vec<Requirement> {
    let mut all = Vec::new();
    for subset in 1..1_usize << listed.len() {
        let values: Vec<&str> = listed
            .iter()
            .enumerate()
            .filter(|(at, _)| subset >> at & 1 == 1)
            .map(|(_, value)| *value)
            .collect();
        all.push(Requirement::new(key, Operator::In, &values));
        all.push(Requirement::new(key, Operator::NotIn, &values));
    }
    all.push(Requirement::new(key, Operator::Exists, &[]));
    all.push(Requirement::new(key, Operator::DoesNotExist, &[]));
    for operator in COMPARISONS {
        all.extend(bounds.iter().map(|bound| Requirement::new(key, operator, &[bound])));
    }
    all
}

/// One of them, or two different ones.
fn sets(requirements: &[Requirement]) -> Vec<Vec<Requirement>> {
    let mut sets: Vec<Vec<Requirement>> = requirements.iter().map(|one| vec![one.clone()]).collect();
    for (at, one) in requirements.iter().enumerate() {
        sets.extend(requirements[at + 1..].iter().map(|other| vec![one.clone(), other.clone()]));
    }
    sets
}

/// One pod per set of requirements, and one pool.
fn snapshot(pool: &[Requirement], base: Requirement, pods: &[Vec<Requirement>]) -> Snapshot {
    let pod = |(at, wants): (usize, &Vec<Requirement>)| {
        let requests = Resources::from([(CPU, 10), (MEMORY, 1 << 20)]);
        let mut spec = PodSpec {
            containers: vec![Container { requests, ..Container::default() }],
            ..PodSpec::default()
        };
        spec.affinity.node_required =
            Some(vec![NodeSelectorTerm { match_expressions: wants.clone(), match_fields: Vec::new() }]);
        Pod {
            namespace: "default".to_owned(),
            name: format!("pod-{at:04}"),
            spec: spec.into(),
            ..Pod::default()
        }
    };
    let is_in = |key: &str, value: &str| Requirement::new(key, Operator::In, &[value]);
    let mut snapshot = Snapshot {
        pods: pods.iter().enumerate().map(pod).collect(),
        node_pools: vec![NodePool {
            name: "general".to_owned(),
            node_class: "default".to_owned(),
            requirements: [
                base,
                is_in(labels::ZONE, "us-east-1a"),
                is_in(labels::CAPACITY_TYPE, "on-demand"),
            ]
            .into_iter()
            .chain(pool.iter().cloned())
            .collect(),
            ..NodePool::default()
        }],
        node_classes: vec![Ec2NodeClass { name: "default".to_owned(), ..Ec2NodeClass::default() }],
        ..Snapshot::default()
    };
    snapshot.normalise();
    snapshot
}

/// Compares every pool with every pod: placed exactly if some value of `possible` satisfies all. Returns how many pairs.
fn compare(all: &[Requirement], base: &Requirement, possible: &[Option<&str>]) -> usize {
    let sets = sets(all);
    let mut wrong = Vec::new();
    let (mut yes, mut no) = (0, 0);
    for pool in &sets {
        let snapshot = snapshot(pool, base.clone(), &sets);
        let limits = by_work(Duration::from_millis(1), 1);
        let catalog = Catalog::embedded();
        let planned = stowage_planner::plan(&snapshot, catalog, &Policy::default(), &limits, &mut |_| {})
            .expect("a plan");
        let plan = planned.plan;
        assert_eq!(stowage_checker::check(&snapshot, catalog, &plan), Vec::new(), "{pool:?}");
        let placed: std::collections::BTreeSet<&str> =
            plan.launches.iter().flat_map(|launch| &launch.pods).map(|pod| pod.0.as_str()).collect();
        for (at, pod) in sets.iter().enumerate() {
            let can = possible.iter().any(|value| pool.iter().chain(pod).all(|one| says(one, *value)));
            *(if can { &mut yes } else { &mut no }) += 1;
            if can != placed.contains(format!("default/pod-{at:04}").as_str()) {
                wrong.push(format!("pool {pool:?}, pod {pod:?}: {can} by enumeration"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} differ, first {:#?}",
        wrong.len(),
        yes + no,
        &wrong[..wrong.len().min(5)]
    );
    assert!(yes > 0 && no > 0, "{yes} can, {no} cannot");
    yes + no
}

#[test]
fn one_requirement_means_its_set() {
    let all = requirements("example.com/k", &["a", "b", "2"], &["0", "1", "3"]);
    let values = [
        None,
        Some("a"),
        Some("b"),
        Some("c"),
        Some(""),
        Some("0"),
        Some("1"),
        Some("2"),
        Some("3"),
        Some("4"),
        Some("-1"),
    ];
    for requirement in &all {
        for value in values {
            let want = says(requirement, value);
            assert_eq!(requirement.accepts(value), want, "{requirement:?} {value:?}");
            assert_eq!(stowage_checker::accepts(requirement, value), want, "{requirement:?} {value:?}");
        }
    }
}

#[test]
fn a_label_that_the_pool_leaves_open_can_be_what_all_want() {
    let all = requirements("example.com/k", &["a", "b", "2"], &["1", "3"]);
    // `c` stands for every other word; beyond 5 and below 0 no comparison changes.
    let possible = [
        None,
        Some("a"),
        Some("b"),
        Some("c"),
        Some("-1"),
        Some("0"),
        Some("1"),
        Some("2"),
        Some("3"),
        Some("4"),
        Some("5"),
    ];
    let base = Requirement::new(INSTANCE_TYPE, Operator::In, &["m6i.large"]);
    println!("{} pairs", compare(&all, &base, &possible));
}

#[test]
fn labels_of_instance_types_intersect_as_sets() {
    let all = requirements("karpenter.k8s.aws/instance-cpu", &["2", "8", "7"], &["2", "32"]);
    let sizes: std::collections::BTreeSet<String> = Catalog::embedded()
        .types
        .iter()
        .map(|one| one.labels())
        .filter(|set| set[FAMILY] == "m6i")
        .map(|set| set["karpenter.k8s.aws/instance-cpu"].clone())
        .collect();
    let possible: Vec<Option<&str>> = sizes.iter().map(|size| Some(size.as_str())).collect();
    let base = Requirement::new(FAMILY, Operator::In, &["m6i"]);
    println!("{} pairs", compare(&all, &base, &possible));
}
