//! Pods with constraints towards others move, too: where kube-scheduler will let them, in every state on the way, and never away from pods
//! that asked for them.

use super::departures::cluster;
use super::generate::{random, with_claims, with_ties};
use super::{applied, limits, planned, policy};
use std::collections::{BTreeMap, BTreeSet};
use stowage_checker::code::WAVE;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_models::objects::{Pod, PodAffinityTerm, TopologySpread};
use stowage_models::plan::Plan;
use stowage_models::quantity::Resources;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_planner::consolidate;

fn app(name: &str) -> LabelSelector {
    LabelSelector {
        match_labels: Labels::from([("app".to_owned(), name.to_owned())]),
        ..LabelSelector::default()
    }
}

fn term(name: &str, key: &str) -> PodAffinityTerm {
    PodAffinityTerm {
        label_selector: Some(app(name)),
        topology_key: key.to_owned(),
        ..PodAffinityTerm::default()
    }
}

fn by_zone(name: &str) -> TopologySpread {
    TopologySpread {
        topology_key: labels::ZONE.to_owned(),
        max_skew: 1,
        hard: true,
        honor_affinity: true,
        label_selector: Some(app(name)),
        ..TopologySpread::default()
    }
}

/// Nodes of these zones, each with one small pod of `web`.
fn zoned(zones: &[&str]) -> Snapshot {
    let mut snapshot = cluster(zones.len());
    for (node, zone) in snapshot.nodes.iter_mut().zip(zones) {
        node.labels.insert(labels::ZONE.to_owned(), (*zone).to_owned());
    }
    snapshot.node_pools[0].requirements[2] =
        Requirement::new(labels::ZONE, Operator::In, &["us-east-1a", "us-east-1b", "us-east-1c"]);
    snapshot.pods.retain(|pod| pod.name.ends_with("-0"));
    for pod in &mut snapshot.pods {
        pod.labels.insert("app".to_owned(), "web".to_owned());
        pod.spec.containers[0].requests = Resources::from([("cpu", 200), ("memory", 256 << 20)]);
    }
    snapshot.normalise();
    snapshot
}

fn removed(plan: &Plan) -> Vec<&str> {
    let nodes = &plan.consolidation.as_ref().unwrap().nodes;
    nodes.iter().filter(|one| one.reason.is_removal()).map(|one| one.node.as_str()).collect()
}

#[test]
fn spread_pods_move_within_their_skew() {
    let mut snapshot = zoned(&["us-east-1a", "us-east-1a", "us-east-1b", "us-east-1b"]);
    snapshot.pods.iter_mut().for_each(|pod| pod.spec.topology_spread = vec![by_zone("web")]);
    snapshot.node_pools[0].requirements[2] =
        Requirement::new(labels::ZONE, Operator::In, &["us-east-1a", "us-east-1b"]);
    let plan = planned(&snapshot, &policy());
    // One node a zone is left: two pods each.
    let zones: BTreeSet<&String> = snapshot
        .nodes
        .iter()
        .filter(|node| !removed(&plan).contains(&node.name.as_str()))
        .map(|node| &node.labels[labels::ZONE])
        .collect();
    assert_eq!((removed(&plan).len(), zones.len(), plan.launches.len()), (2, 2, 0));
}

#[test]
fn pods_that_keep_apart_stay_apart() {
    let mut snapshot = zoned(&["us-east-1a"; 3]);
    for pod in &mut snapshot.pods {
        pod.spec.affinity.anti_required = vec![term("web", labels::HOSTNAME)];
    }
    assert_eq!(removed(&planned(&snapshot, &policy())), Vec::<&str>::new());
    // Another's pod beside them finds a place among them, and so its node goes.
    snapshot.pods[2].labels.insert("app".to_owned(), "other".to_owned());
    snapshot.pods[2].spec.affinity.anti_required.clear();
    assert_eq!(removed(&planned(&snapshot, &policy())).len(), 1);
}

#[test]
fn a_pod_that_another_asked_for_stays_with_it() {
    let mut snapshot = zoned(&["us-east-1a"; 2]);
    snapshot.pods[0].labels.insert("app".to_owned(), "cache".to_owned());
    snapshot.pods[1].spec.affinity.pod_required = vec![term("cache", labels::ZONE)];
    let plan = planned(&snapshot, &policy());
    let node = snapshot.pods[0].node.clone().unwrap();
    let decision = plan.consolidation.as_ref().unwrap().nodes.iter().find(|one| one.node == node).unwrap();
    assert_eq!(decision.reason, NodeReason::Pod);
    assert!(decision.message.contains("required affinity"), "{}", decision.message);
    // Who asks may move to where it is.
    assert_eq!(removed(&plan), [snapshot.pods[1].node.as_deref().unwrap()]);
}

/// Each zone holds one of them: the second has to leave its zone before the first can come. The referee sees if it is the other way round.
#[test]
fn on_the_way_every_place_is_open_when_it_is_needed() {
    let mut snapshot = zoned(&["us-east-1b", "us-east-1a", "us-east-1b", "us-east-1c"]);
    snapshot.node_pools[0].budgets[0].nodes = "1".to_owned();
    snapshot.node_pools[0].limits = Resources::from([("nodes", 4)]);
    for (at, pod) in snapshot.pods.iter_mut().enumerate() {
        if at < 2 {
            pod.spec.affinity.anti_required = vec![term("web", labels::ZONE)];
        } else {
            pod.labels.insert("app".to_owned(), "other".to_owned());
            pod.owner = None;
        }
    }
    // By now the first has to be in zone c, and the second in b.
    for (pod, zone) in [(0, "us-east-1c"), (1, "us-east-1b")] {
        snapshot.pods[pod].spec.node_selector = Labels::from([(labels::ZONE.to_owned(), zone.to_owned())]);
    }
    let mut plan = planned(&snapshot, &policy());
    assert_eq!(removed(&plan), ["node-0", "node-1"]);
    let waves = &mut plan.consolidation.as_mut().unwrap().waves;
    assert_eq!(waves.len(), 2, "{waves:?}");
    waves.swap(0, 1);
    plan.id = plan.compute_id();
    let findings = stowage_checker::check(&snapshot, Catalog::embedded(), &plan);
    assert!(
        findings.iter().any(|one| one.code == WAVE && one.message.contains("cannot be bound")),
        "{findings:?}"
    );
}

/// Asserted without the referee: nobody shares a node with whom it keeps away from there, or the port it holds.
fn assert_apart(snapshot: &Snapshot) {
    let mut by_node: BTreeMap<&str, Vec<&Pod>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| pod.phase == stowage_models::objects::PodPhase::Running) {
        by_node.entry(pod.node.as_deref().unwrap()).or_default().push(pod);
    }
    for (node, pods) in by_node.iter().filter(|(node, _)| !node.starts_with("node-")) {
        let ports: usize = pods.iter().map(|pod| pod.spec.containers[0].host_ports.len()).sum();
        assert!(ports <= 1, "{}: {node} has {ports} of one port", snapshot.origin);
        for pod in pods {
            let away = pod.spec.affinity.anti_required.iter();
            for term in away.filter(|term| term.topology_key == labels::HOSTNAME) {
                let selector = term.label_selector.as_ref().unwrap();
                let near =
                    pods.iter().filter(|other| other.name != pod.name && selector.matches(&other.labels));
                assert_eq!(near.count(), 0, "{}: {node}: {}", snapshot.origin, pod.name);
            }
        }
    }
}

/// Goal: with every kind of tie no plan is refused, tied pods do move, also over several waves, and planning ends. `STOWAGE_CASES` asks for
/// more.
#[test]
fn random_clusters_with_ties_are_consolidated() {
    let cases = std::env::var("STOWAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let (mut tied, mut several) = (0, 0);
    for seed in 0..cases {
        let mut snapshot = with_ties(with_claims(random(30_000 + seed)), seed);
        for round in 0.. {
            let plan = planned(&snapshot, &policy());
            let stated = plan.consolidation.as_ref().unwrap();
            let is_tied = |pod: &&Pod| {
                let affinity = &pod.spec.affinity;
                affinity.pod_required.len() + affinity.anti_required.len() + pod.spec.topology_spread.len()
                    > 0
            };
            let moved = |pod: &&Pod| stated.moves.iter().any(|one| one.pod == pod.id());
            tied += snapshot.pods.iter().filter(is_tied).filter(moved).count();
            several += u64::from(stated.waves.len() > 1);
            if stated.summary.nodes_removed == 0 {
                break;
            }
            snapshot = applied(&snapshot, &plan);
            assert_apart(&snapshot);
            assert!(round < 8, "{seed}: no rest");
        }
    }
    assert!(
        tied as u64 > cases / 2 && several > 0,
        "{tied} tied pods moved, {several} plans of several waves"
    );
}

#[test]
fn the_same_plan_whatever_the_threads() {
    let snapshot = with_ties(with_claims(random(30_007)), 7);
    let id = |threads| {
        let planned =
            consolidate(&snapshot, Catalog::embedded(), &policy(), &limits(60, threads), &mut |_| {});
        planned.unwrap().plan.id
    };
    assert_eq!(id(1), id(2));
}
