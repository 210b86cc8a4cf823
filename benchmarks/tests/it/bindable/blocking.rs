//! What is said to be in the way of pods left out is in their way: without it a pod finds a place, and with less than all of it
//! taken away none does.

use super::generate::{GIB, below, chance, snapshot};
use super::planned;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Pod, PodRef, Taint, TaintEffect, Toleration};
use stowage_models::plan::{Plan, Unplaced, UnplacedReason};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{LabelSelector, Labels};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// A random cluster where some workloads also ask for what few or no nodes have.
fn demanding(seed: u64) -> Snapshot {
    let mut snapshot = snapshot(seed);
    let rng = &mut Random::new(seed ^ 0xB10C);
    // Limits are another reason to be left out.
    snapshot.node_pools[0].limits = Resources::default();
    if chance(rng, 20) {
        let (key, value) = ("example.com/team".to_owned(), "a".to_owned());
        snapshot.node_pools[0].taints.push(Taint { key, value, effect: TaintEffect::NoSchedule });
    }
    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.node.is_none()) {
        let workload = pod.name.split('-').next().unwrap_or_default().to_owned();
        let kind = *asked.entry(workload).or_insert_with(|| below(rng, 12));
        let spec = &mut *pod.spec;
        let requests = &mut spec.containers[0].requests;
        match kind {
            0 => requests.set("nvidia.com/gpu", 8),
            1 => requests.set(CPU, 200_000),
            2 => requests.set(MEMORY, 700 * GIB),
            3 => drop(spec.node_selector.insert(labels::ZONE.to_owned(), "us-east-1e".to_owned())),
            4 => drop(spec.node_selector.insert("example.com/rack".to_owned(), "r9".to_owned())),
            5 => {
                spec.node_selector.insert(labels::ZONE.to_owned(), "us-east-1e".to_owned());
                spec.node_selector.insert(labels::ARCH.to_owned(), "arm64".to_owned());
            }
            6 | 7 => spec.tolerations.push(everything()),
            _ => {}
        }
    }
    snapshot.normalise();
    snapshot
}

fn everything() -> Toleration {
    Toleration { operator: "Exists".to_owned(), ..Toleration::default() }
}

/// Takes a constraint out of a pod's spec, by the name it has in a plan. False if it is no constraint of the pod itself.
fn relax(pod: &mut Pod, constraint: &str) -> bool {
    let spec = &mut *pod.spec;
    let (name, rest) = constraint.split_once('[').unwrap_or((constraint, ""));
    let inner = rest.strip_suffix(']').unwrap_or(rest);
    let at = || inner.parse::<usize>().expect("a position");
    // Taken out by making it mean nothing, so that positions stay.
    let nobody = || LabelSelector {
        match_labels: Labels::from([("is".into(), "nobody".into())]),
        ..Default::default()
    };
    match name {
        "nodeSelector" => drop(spec.node_selector.remove(inner).expect("it is there")),
        "affinity.nodeAffinity" => spec.affinity.node_required = None,
        "tolerations" => spec.tolerations.push(everything()),
        "volumes" => spec.volumes.clear(),
        "resources" => {
            let containers = spec.containers.iter_mut().chain(&mut spec.init_containers);
            containers.for_each(|container| container.requests.set(inner, 0));
        }
        "affinity.podAffinity" => spec.affinity.pod_required.clear(),
        "affinity.podAntiAffinity" => spec.affinity.anti_required[at()].label_selector = Some(nobody()),
        "topologySpreadConstraints" => spec.topology_spread[at()].hard = false,
        _ if constraint.starts_with("containers[]") => {
            spec.containers.iter_mut().for_each(|container| container.host_ports.clear());
        }
        _ => return false,
    }
    true
}

/// How many more pods like those of an entry find a place when they all are without these constraints, as when somebody edits
/// their Deployment. What is said of pods that fit nowhere is about nodes and the pods on them: constraints with pods that wait
/// come after.
fn placed_without(snapshot: &Snapshot, plan: &Plan, entry: &Unplaced, constraints: &[&str]) -> Option<usize> {
    let named: BTreeSet<&PodRef> = entry.pods.iter().collect();
    let examples: Vec<&Pod> = snapshot.pods.iter().filter(|pod| named.contains(&pod.id())).collect();
    let is_like = |pod: &Pod| {
        let same =
            |one: &&Pod| one.namespace == pod.namespace && one.labels == pod.labels && one.spec == pod.spec;
        pod.is_pending() && examples.iter().any(same)
    };
    let alike: BTreeSet<PodRef> = snapshot.pods.iter().filter(|pod| is_like(pod)).map(Pod::id).collect();
    let mut relaxed = snapshot.clone();
    // Room on a node that exists may go to somebody else who waits.
    let taken: BTreeSet<&PodRef> = plan.existing.iter().flat_map(|node| &node.pods).collect();
    let takers: Vec<&Pod> = snapshot.pods.iter().filter(|pod| taken.contains(&pod.id())).collect();
    let may_take = |pod: &Pod| pod.is_pending() && takers.iter().any(|one| one.spec == pod.spec);
    if entry.blocking.iter().any(|one| one.price_without == Some(UsdMicros::ZERO)) {
        relaxed.pods.retain(|pod| alike.contains(&pod.id()) || !may_take(pod));
    }
    if entry.reason == UnplacedReason::NoFit {
        relaxed.pods.retain(|pod| pod.node.is_some() || alike.contains(&pod.id()));
        for pod in relaxed.pods.iter_mut().filter(|pod| alike.contains(&pod.id())) {
            pod.spec.affinity.pod_required.clear();
            pod.spec.topology_spread.clear();
        }
    }
    for pod in relaxed.pods.iter_mut().filter(|pod| alike.contains(&pod.id())) {
        if !constraints.iter().all(|constraint| relax(pod, constraint)) {
            return None;
        }
    }
    let placed = |plan: &Plan| {
        let left = plan.unplaced.iter().flat_map(|entry| &entry.pods);
        alike.len() - left.filter(|pod| alike.contains(*pod)).count()
    };
    Some(placed(&planned(&relaxed)).saturating_sub(placed(plan)))
}

#[test]
fn what_is_named_is_in_the_way_and_nothing_less_would_do() {
    let (mut alone, mut together, mut wrong) = (0, 0, Vec::new());
    for seed in 0..150 {
        let snapshot = demanding(seed);
        let plan = planned(&snapshot);
        for entry in &plan.unplaced {
            if !matches!(entry.reason, UnplacedReason::NoFit | UnplacedReason::Constraint) {
                continue;
            }
            // What is wrong with a claim must be mended; what else there is was not looked at.
            if entry.blocking.iter().any(|one| one.constraint == "volumes" && one.price_without.is_none()) {
                assert!(entry.blocking.len() == 1 || entry.reason == UnplacedReason::NoFit, "{entry:?}");
                if entry.reason == UnplacedReason::Constraint {
                    continue;
                }
            }
            let names: Vec<&str> = entry.blocking.iter().map(|one| one.constraint.as_str()).collect();
            let priced = entry.blocking.iter().filter(|one| one.price_without.is_some()).count();
            assert!(priced == 0 || priced == names.len(), "seed {seed}: {entry:?}");
            if priced > 0 {
                for name in &names {
                    match placed_without(&snapshot, &plan, entry, &[*name]) {
                        Some(0) => wrong.push(format!("seed {seed}: {name} alone does not do: {entry:?}")),
                        Some(_) => alone += 1,
                        None => {}
                    }
                }
                continue;
            }
            match placed_without(&snapshot, &plan, entry, &names) {
                Some(0) => wrong.push(format!("seed {seed}: all of them do not do: {entry:?}")),
                Some(_) => together += 1,
                None => {}
            }
            for name in names.iter().filter(|_| names.len() > 1) {
                let others: Vec<&str> = names.iter().copied().filter(|other| other != name).collect();
                if placed_without(&snapshot, &plan, entry, &others).is_some_and(|placed| placed > 0) {
                    wrong.push(format!("seed {seed}: {name} need not go: {entry:?}"));
                }
            }
        }
    }
    println!("{alone} do alone, {together} sets, {} wrong", wrong.len());
    // Which of several constraints is named depends on where others are when it is looked at; without it they may be elsewhere.
    assert!(wrong.len() * 50 <= alone + together, "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(alone > 200 && together > 50, "{alone} do alone, {together} sets");
}
