//! Nodes that have to go: they do, with their pods' places first and within what they have to keep, or something named holds them.

use super::generate::{random, with_claims, with_departures, zonal};
use super::{applied, planned, policy, refused};
use std::collections::{BTreeMap, BTreeSet};
use stowage_checker::code::*;
use stowage_models::consolidation::{Consolidation, ConsolidationPolicy, NodeReason};
use stowage_models::departure::{DepartureReason, Notice, NoticeKind, Symptom};
use stowage_models::labels;
use stowage_models::objects::{
    Budget, Container, Node, NodeClaim, NodePool, Owner, Pod, PodDisruptionBudget, PodPhase, PodVolume,
    TopologySpread,
};
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::Resources;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

const NOW: &str = "2026-08-31T12:00:00Z";

/// `count` nodes of one pool, each m5.large on demand, with two pods that nearly fill it; budgets allow everything.
pub(crate) fn cluster(count: usize) -> Snapshot {
    let catalog = stowage_models::catalog::Catalog::embedded();
    let kind = catalog.get("m5.large").unwrap();
    let class = stowage_models::objects::Ec2NodeClass::default();
    let mut snapshot = Snapshot { taken_at: Some(NOW.to_owned()), ..Snapshot::default() };
    snapshot.node_pools.push(NodePool {
        name: "general".to_owned(),
        requirements: vec![
            Requirement::new(labels::INSTANCE_TYPE, Operator::In, &["m5.large"]),
            Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["on-demand"]),
            Requirement::new(labels::ZONE, Operator::In, &["us-east-1a"]),
        ],
        budgets: vec![Budget { nodes: "100%".to_owned(), ..Budget::default() }],
        ..NodePool::default()
    });
    for index in 0..count {
        let name = format!("node-{index}");
        let mut own = kind.labels();
        for (key, value) in [
            (labels::ZONE, "us-east-1a"),
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::NODEPOOL, "general"),
            (labels::HOSTNAME, &name),
            (labels::INITIALIZED, "true"),
        ] {
            own.insert(key.to_owned(), value.to_owned());
        }
        snapshot.nodes.push(Node {
            name: name.clone(),
            labels: own.clone(),
            created: Some("2026-08-01T12:00:00Z".to_owned()),
            capacity: kind.capacity(&snapshot.settings, &class),
            allocatable: kind.allocatable(&snapshot.settings, &class),
            ready: true,
            ..Node::default()
        });
        snapshot.node_claims.push(NodeClaim {
            name: name.clone(),
            node: Some(name.clone()),
            labels: own,
            created: Some("2026-08-01T12:00:00Z".to_owned()),
            conditions: vec!["Initialized".to_owned()],
            ..NodeClaim::default()
        });
        for number in 0..2 {
            let mut requests = Resources::default();
            requests.set("cpu", 900);
            requests.set("memory", 2 << 30);
            let mut pod = Pod {
                namespace: "default".to_owned(),
                name: format!("web-{index}-{number}"),
                labels: Labels::from([("app".to_owned(), "web".to_owned())]).into(),
                owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: "web".to_owned() }.into()),
                phase: PodPhase::Running,
                node: Some(name.clone()),
                ..Pod::default()
            };
            pod.spec.containers = vec![Container { requests, ..Container::default() }];
            snapshot.pods.push(pod);
        }
    }
    snapshot.normalise();
    snapshot
}

fn drift(snapshot: &mut Snapshot, nodes: &[usize]) {
    nodes.iter().for_each(|node| snapshot.node_claims[*node].conditions.push("Drifted".to_owned()));
}

fn protect(snapshot: &mut Snapshot, pod: usize) {
    snapshot.pods[pod].annotations.insert(labels::DO_NOT_DISRUPT.to_owned(), "true".to_owned());
}

fn notice(snapshot: &mut Snapshot, node: &str, kind: NoticeKind) {
    let deadline = Some("2026-08-31T12:02:00Z".to_owned());
    snapshot.notices.push(Notice { node: node.to_owned(), kind, deadline });
}

fn pdb(snapshot: &mut Snapshot, allowed: i64) {
    snapshot.pod_disruption_budgets.push(PodDisruptionBudget {
        namespace: "default".to_owned(),
        name: "web".to_owned(),
        selector: Some(LabelSelector {
            match_labels: Labels::from([("app".to_owned(), "web".to_owned())]),
            ..LabelSelector::default()
        }),
        disruptions_allowed: Some(allowed),
        ..PodDisruptionBudget::default()
    });
}

fn stated(plan: &Plan) -> &Consolidation {
    plan.consolidation.as_ref().unwrap()
}

fn reasons(plan: &Plan) -> Vec<NodeReason> {
    stated(plan).nodes.iter().map(|one| one.reason).collect()
}

fn repairing() -> Policy {
    let wanted =
        ConsolidationPolicy { repair: true, min_node_age_minutes: 0, ..ConsolidationPolicy::default() };
    Policy { consolidation: Some(wanted), ..policy() }
}

use NodeReason::*;

#[test]
fn drifted_nodes_are_replaced_first_and_then_removed() {
    let mut snapshot = cluster(3);
    drift(&mut snapshot, &[0, 2]);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Drifted, Worth, Drifted]);
    assert_eq!((plan.launches.len(), stated(&plan).moves.len()), (2, 4));
    assert_eq!(stated(&plan).waves.len(), 1);
    assert_eq!(stated(&plan).summary.cost_before, stated(&plan).summary.cost_after);
    let again = planned(&applied(&snapshot, &plan), &policy());
    assert!(again.is_empty(), "{again:?}");
}

#[test]
fn drift_keeps_to_its_budgets_wave_by_wave() {
    let mut snapshot = cluster(4);
    drift(&mut snapshot, &[0, 1, 2, 3]);
    let about = |nodes: &str| Budget {
        nodes: nodes.to_owned(),
        reasons: vec!["Drifted".to_owned()],
        ..Budget::default()
    };
    snapshot.node_pools[0].budgets.push(about("1"));
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Drifted; 4]);
    let waves: Vec<usize> = stated(&plan).waves.iter().map(|wave| wave.removals.len()).collect();
    assert_eq!(waves, [1; 4]);
    snapshot.node_pools[0].budgets.push(about("0"));
    let held = planned(&snapshot, &policy());
    assert_eq!(reasons(&held), [Budget; 4]);
    let departure = stated(&held).nodes[0].departure.as_ref().unwrap();
    assert_eq!((departure.reason, departure.forced), (DepartureReason::Drifted, false));
}

#[test]
fn what_keeps_a_drifted_node_and_what_does_not() {
    let mut snapshot = cluster(2);
    drift(&mut snapshot, &[0, 1]);
    protect(&mut snapshot, 0);
    // Rules about what is worth its cost do not count.
    snapshot.node_pools[0].consolidation_policy = Some("WhenEmpty".to_owned());
    snapshot.node_pools[0].consolidate_after = Some("Never".to_owned());
    assert_eq!(reasons(&planned(&snapshot, &policy())), [NodeReason::Pod, Drifted]);
    snapshot.node_claims[0].termination_grace_period = Some("1h".to_owned());
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Drifted, Drifted]);
    pdb(&mut snapshot, 0);
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Drifted, NodeReason::PodDisruptionBudget]);
    snapshot.pod_disruption_budgets[0].disruptions_allowed = Some(1);
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Drifted, Drifted]);
    snapshot.nodes[0].unschedulable = true;
    assert_eq!(reasons(&planned(&snapshot, &policy())), [NotReady, Drifted]);
}

#[test]
fn an_interrupted_node_goes_whatever_stands_against_it() {
    let mut snapshot = cluster(3);
    notice(&mut snapshot, "node-1", NoticeKind::SpotInterruption);
    notice(&mut snapshot, "node-2", NoticeKind::RebalanceRecommendation);
    snapshot.node_pools[0].budgets[0].nodes = "0".to_owned();
    (0..6).for_each(|pod| protect(&mut snapshot, pod));
    pdb(&mut snapshot, 0);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [NodeReason::Pod, Interrupted, NodeReason::Pod]);
    let departure = stated(&plan).nodes[1].departure.as_ref().unwrap();
    assert_eq!(departure.deadline.as_deref(), Some("2026-08-31T12:02:00Z"));
    assert_eq!(plan.launches.len(), 1);
    assert_eq!(stated(&plan).waves[0].launches, ["new-0001"]);
}

#[test]
fn expiry_keeps_budgets_until_its_end_and_no_longer() {
    let mut snapshot = cluster(2);
    snapshot.node_pools[0].budgets[0].nodes = "0".to_owned();
    // Created 2026-08-01T12:00:00Z: 720 hours are over on 2026-08-31T12:00:00Z.
    snapshot.node_claims[0].expire_after = Some("720h".to_owned());
    snapshot.node_claims[1].expire_after = Some("720h1s".to_owned());
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Expired, Budget]);
    let deadlines = stated(&plan).nodes.iter().map(|one| one.departure.as_ref().unwrap());
    let deadlines: Vec<(&str, bool)> =
        deadlines.map(|one| (one.deadline.as_deref().unwrap(), one.forced)).collect();
    assert_eq!(deadlines, [("2026-08-31T12:00:00Z", true), ("2026-08-31T12:00:01Z", false)]);
    // Within the lead, and budgets allow it.
    snapshot.node_pools[0].budgets[0].nodes = "1".to_owned();
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Expired, Expired]);
    // Before the lead.
    snapshot.node_claims[0].expire_after = Some("721h1s".to_owned());
    snapshot.node_claims[1].expire_after = Some("Never".to_owned());
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Worth, Worth]);
}

#[test]
fn unhealthy_nodes_are_replaced_unless_too_many_are() {
    let ill = |snapshot: &mut Snapshot, node: usize, since: &str| {
        snapshot.nodes[node].symptoms = vec![Symptom {
            condition: "StorageReady".to_owned(),
            status: "False".to_owned(),
            since: Some(since.to_owned()),
        }];
    };
    let mut snapshot = cluster(5);
    snapshot.node_pools[0].budgets[0].nodes = "0".to_owned();
    ill(&mut snapshot, 0, "2026-08-31T11:30:01Z");
    assert_eq!(reasons(&planned(&snapshot, &repairing())), [Budget; 5], "for less than half an hour");
    ill(&mut snapshot, 0, "2026-08-31T11:30:00Z");
    assert_eq!(reasons(&planned(&snapshot, &repairing()))[0], Unhealthy);
    assert_eq!(reasons(&planned(&snapshot, &policy()))[0], Budget, "only if asked to");
    snapshot.nodes[0].ready = false;
    assert_eq!(reasons(&planned(&snapshot, &repairing()))[0], Unhealthy);
    ill(&mut snapshot, 1, "2026-08-31T11:59:00Z");
    let blocked = planned(&snapshot, &repairing());
    assert_eq!(reasons(&blocked)[..2], [RepairBlocked, Budget]);
}

/// Without room for its successor beside it, a node that has to go by force goes first; one that may wait does.
#[test]
fn limits_leave_no_room_for_old_and_new() {
    let mut snapshot = cluster(2);
    snapshot.node_pools[0].limits.set("nodes", 2);
    notice(&mut snapshot, "node-0", NoticeKind::ScheduledChange);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Interrupted, Worth]);
    let waves = &stated(&plan).waves;
    assert_eq!((waves[0].launches.len(), waves[0].removals.len(), waves[1].launches.len()), (0, 1, 1));
    snapshot.notices.clear();
    drift(&mut snapshot, &[0, 1]);
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Deferred, Deferred]);
    snapshot.node_pools[0].limits.set("nodes", 3);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Drifted, Drifted]);
    assert_eq!(stated(&plan).waves.len(), 2);
}

/// A pod that nothing else holds keeps a drifted node, and is left out when a node goes by force.
#[test]
fn pods_without_another_place() {
    let mut snapshot = cluster(2);
    snapshot.pods[0].spec.node_selector.insert("rack".to_owned(), "one".to_owned());
    drift(&mut snapshot, &[0]);
    assert_eq!(reasons(&planned(&snapshot, &policy())), [NodeReason::Pod, Worth]);
    notice(&mut snapshot, "node-0", NoticeKind::StateChange);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Interrupted, Worth]);
    let left: Vec<&str> =
        plan.unplaced.iter().flat_map(|entry| &entry.pods).map(|pod| pod.0.as_str()).collect();
    assert_eq!(left, ["default/web-0-0"]);
    assert_eq!(stated(&plan).moves.len(), 1);
    assert_eq!(stated(&plan).waves[0].evictions.len(), 2);
}

/// A pod whose volume is where nothing may be launched makes its own node wait, and no other.
#[test]
fn one_pod_without_another_place_keeps_no_other_node() {
    let mut snapshot = cluster(5);
    snapshot.pods[0].spec.volumes.push(PodVolume::Claim("data".to_owned()));
    let (claim, volume) = zonal("data", "default", "us-east-1f");
    snapshot.volume_claims.push(claim);
    snapshot.volumes.push(volume);
    drift(&mut snapshot, &[0, 1, 2, 3]);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Deferred, Drifted, Drifted, Drifted, Worth]);
    assert!(stated(&plan).nodes[0].message.contains("default/web-0-0"), "{}", stated(&plan).nodes[0].message);
}

/// Pods with constraints towards others are planned for when their node has to go.
#[test]
fn tied_pods_find_places_too() {
    let mut snapshot = cluster(3);
    for pod in &mut snapshot.pods {
        pod.spec.topology_spread = vec![TopologySpread {
            topology_key: labels::HOSTNAME.to_owned(),
            max_skew: 1,
            hard: true,
            label_selector: Some(LabelSelector {
                match_labels: (*pod.labels).clone(),
                ..LabelSelector::default()
            }),
            ..TopologySpread::default()
        }];
    }
    drift(&mut snapshot, &[1]);
    notice(&mut snapshot, "node-0", NoticeKind::InstanceStatus);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Interrupted, Drifted, Worth]);
    assert_eq!((stated(&plan).moves.len(), plan.unplaced.len()), (4, 0));
}

/// A node that has to go and is held takes no more pods; and neither does one with a notice where nothing is consolidated.
#[test]
fn nodes_that_have_to_go_are_no_destination() {
    let mut snapshot = cluster(2);
    snapshot.pods.retain(|pod| pod.name != "web-0-0");
    drift(&mut snapshot, &[0]);
    snapshot.node_pools[0].budgets[0].nodes = "0".to_owned();
    let mut waiting = snapshot.pods[0].clone();
    (waiting.name, waiting.node, waiting.phase) = ("waits".to_owned(), None, PodPhase::Pending);
    snapshot.pods.push(waiting);
    snapshot.normalise();
    let launches = |snapshot: &Snapshot| planned(snapshot, &policy()).launches.len();
    assert_eq!(launches(&snapshot), 1);
    snapshot.node_claims[0].conditions.retain(|one| one != "Drifted");
    assert_eq!(launches(&snapshot), 0);
    notice(&mut snapshot, "node-0", NoticeKind::SpotInterruption);
    let limits = super::limits(20, 1);
    let catalog = stowage_models::catalog::Catalog::embedded();
    let alone = Policy { consolidation: None, ..policy() };
    let plan = stowage_planner::plan(&snapshot, catalog, &alone, &limits, &mut |_| {}).unwrap().plan;
    assert_eq!(stowage_checker::check(&snapshot, catalog, &plan), []);
    assert_eq!(plan.launches.len(), 1);
}

#[test]
fn the_referee_sees_lies_about_nodes_that_have_to_go() {
    let mut snapshot = cluster(4);
    drift(&mut snapshot, &[0, 1]);
    notice(&mut snapshot, "node-2", NoticeKind::SpotInterruption);
    let of_drift =
        Budget { nodes: "1".to_owned(), reasons: vec!["Drifted".to_owned()], ..Default::default() };
    snapshot.node_pools[0].budgets.push(of_drift);
    pdb(&mut snapshot, 2);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Drifted, Drifted, Interrupted, Worth]);
    assert_eq!(stated(&plan).waves.len(), 3, "{:?}", stated(&plan).waves);
    let look = |damage: fn(&mut Consolidation)| {
        refused(&snapshot, &plan, |plan| damage(plan.consolidation.as_mut().unwrap()))
    };
    assert_eq!(look(|_| ()), BTreeSet::new());
    assert!(look(|one| one.nodes[0].reason = Worth).contains(DECISION));
    assert!(look(|one| one.nodes[0].reason = Budget).contains(DECISION));
    assert!(look(|one| one.nodes[0].reason = Underutilized).contains(DECISION));
    assert!(look(|one| one.nodes[2].reason = Deferred).contains(DECISION), "it goes by force");
    assert!(look(|one| one.nodes[3].reason = Deferred).contains(DECISION), "it has not to go");
    assert!(look(|one| one.nodes[0].departure = None).contains(DECISION));
    assert!(look(|one| one.nodes[2].departure.as_mut().unwrap().deadline = None).contains(DECISION));
    assert!(look(|one| one.summary.bound.0 -= 1).contains(BOUND));
    // Two drifted nodes at once, beside the interrupted one.
    let merged = look(|one| {
        let second = one.waves.remove(1);
        one.waves[0].launches.extend(second.launches);
        one.waves[0].evictions.extend(second.evictions);
        one.waves[0].removals.extend(second.removals);
        one.waves[0].launches.sort();
        one.waves[0].evictions.sort();
        one.waves[0].removals.sort();
    });
    assert_eq!(merged, BTreeSet::from([WAVE]));
    // No limit is in the way of launching first.
    let late = look(|one| {
        let launches = std::mem::take(&mut one.waves[0].launches);
        one.waves[1].launches.extend(launches);
        one.waves[1].launches.sort();
    });
    assert_eq!(late, BTreeSet::from([WAVE]));
}

/// Asserted without the referee: what has to go does, or something named holds it; no drifted node goes against a mark, a
/// PodDisruptionBudget or a budget; and no more than those are away at once.
fn assert_right(snapshot: &Snapshot, plan: &Plan) {
    let seed = &snapshot.origin;
    let claims: BTreeMap<&str, &NodeClaim> =
        snapshot.node_claims.iter().map(|claim| (claim.name.as_str(), claim)).collect();
    let pool_of = |node: &str| snapshot.nodes.iter().find(|one| one.name == node).unwrap().nodepool();
    for one in &stated(plan).nodes {
        let claim = claims.get(one.node.as_str());
        let is_lost = snapshot.is_interrupted(&one.node);
        let drifted = claim.is_some_and(|claim| claim.conditions.iter().any(|one| one == "Drifted"));
        let expired =
            claim.is_some_and(|claim| matches!(claim.expire_after.as_deref(), Some("720h" | "100h" | "24h")));
        let managed = pool_of(&one.node).is_some();
        let ends = claim.is_some_and(|claim| claim.deleting);
        if managed && !ends && (is_lost || expired) {
            assert!(one.reason.is_departure(), "{seed}: {one:?}");
        }
        assert_eq!(one.reason == Interrupted, is_lost && managed && !ends, "{seed}: {one:?}");
        if drifted {
            assert!(one.reason != Worth, "{seed}: {one:?}");
            assert!(one.departure.is_some(), "{seed}: {one:?}");
        }
        if one.reason != Drifted {
            continue;
        }
        assert!(drifted);
        let pool =
            snapshot.node_pools.iter().find(|pool| Some(pool.name.as_str()) == pool_of(&one.node)).unwrap();
        let about = pool
            .budgets
            .iter()
            .filter(|budget| budget.reasons.is_empty() || budget.reasons.contains(&"Drifted".to_owned()));
        assert!(
            about.clone().all(|budget| !matches!(budget.nodes.as_str(), "0" | "nonsense")),
            "{seed}: {one:?}"
        );
        if claim.unwrap().termination_grace_period.is_none() {
            let here = snapshot.pods.iter().filter(|pod| pod.node.as_ref() == Some(&one.node));
            assert!(here.clone().all(|pod| pod.annotations.is_empty()), "{seed}: {one:?}");
        }
    }
    let by_name: BTreeMap<&str, NodeReason> =
        stated(plan).nodes.iter().map(|one| (one.node.as_str(), one.reason)).collect();
    let forced = |node: &str| {
        let one = stated(plan).nodes.iter().find(|one| one.node == node).unwrap();
        one.departure.as_ref().is_some_and(|departure| departure.forced)
    };
    for wave in &stated(plan).waves {
        for pool in snapshot.node_pools.iter().filter(|pool| pool.budgets[0].nodes == "1") {
            let from: BTreeSet<&str> = stated(plan)
                .moves
                .iter()
                .filter(|one| wave.evictions.contains(&one.pod))
                .map(|one| one.from.as_str())
                .chain(wave.removals.iter().map(String::as_str))
                .filter(|node| pool_of(node) == Some(&pool.name))
                .collect();
            assert!(from.len() <= 1 || from.iter().all(|node| forced(node)), "{seed}: {from:?}");
        }
    }
    for node in &plan.existing {
        let leaves = stated(plan).nodes.iter().find(|one| one.node == node.name).unwrap().departure.is_some();
        assert!(
            node.pods.is_empty() || !leaves,
            "{seed}: {} takes pods, {:?}",
            node.name,
            by_name[node.name.as_str()]
        );
    }
}

/// Asserted without the referee: pods with local storage move only if they may, or their node goes by force; a pod with a volume moves
/// within the volume's zone.
fn assert_storage(snapshot: &Snapshot, plan: &Plan, keeps: bool) {
    let zone_of = |place: &str| -> String {
        let launch =
            plan.launches.iter().find(|launch| launch.slot == place).map(|launch| launch.zone.clone());
        let node = snapshot.nodes.iter().find(|node| node.name == place);
        launch.or_else(|| node.and_then(|node| node.labels.get(labels::ZONE).cloned())).unwrap()
    };
    for one in &stated(plan).moves {
        let pod = snapshot.pods.iter().find(|pod| pod.id() == one.pod).unwrap();
        let from = stated(plan).nodes.iter().find(|node| node.node == one.from).unwrap();
        let forced = from.departure.as_ref().is_some_and(|departure| departure.forced);
        assert!(forced || !keeps || !pod.spec.local_storage, "{}: {one:?}", snapshot.origin);
        for volume in &pod.spec.volumes {
            let PodVolume::Claim(name) = volume else { continue };
            let volume = snapshot.volumes.iter().find(|volume| volume.name == *name).unwrap();
            let zones = &volume.node_affinity.as_ref().unwrap()[0].match_expressions[0].values;
            assert!(zones.contains(&zone_of(&one.to)), "{}: {one:?}", snapshot.origin);
        }
    }
}

/// Goal: with every reason to leave, ties between pods and limits: no plan is refused, nothing protected goes for less than force, and
/// what has to go goes. Planning again after that finds none of the nodes that went, and ends. `STOWAGE_CASES` asks for more.
#[test]
fn random_clusters_with_nodes_that_have_to_go() {
    let cases = std::env::var("STOWAGE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut seen: BTreeMap<NodeReason, u64> = BTreeMap::new();
    for seed in 0..cases {
        let mut snapshot = with_departures(with_claims(random(20_000 + seed)), seed);
        for round in 0.. {
            let mut policy = repairing();
            let keeps = seed % 2 == 0;
            policy.consolidation.as_mut().unwrap().keep_local_storage = keeps;
            let plan = planned(&snapshot, &policy);
            assert_right(&snapshot, &plan);
            assert_storage(&snapshot, &plan, keeps);
            for one in &stated(&plan).nodes {
                *seen.entry(one.reason).or_default() += 1;
            }
            if stated(&plan).summary.nodes_removed == 0 && plan.launches.is_empty() {
                break;
            }
            snapshot = applied(&snapshot, &plan);
            assert!(round < 8, "{seed}: no rest");
        }
    }
    for reason in [Interrupted, Unhealthy, Expired, Drifted, Budget, NodeReason::Pod, Underutilized] {
        assert!(seen.contains_key(&reason), "{reason:?} in {seen:?}");
    }
}

/// Goal: of a PodDisruptionBudget, nodes that ask have what those that do not leave, also when they began first.
#[test]
fn those_that_do_not_ask_are_counted_first() {
    let mut snapshot = cluster(3);
    drift(&mut snapshot, &[0, 1, 2]);
    snapshot.node_claims[2].termination_grace_period = Some("1h".to_owned());
    // Two nodes at once, and an eviction at a time: the first begins, and the third must not come between.
    snapshot.node_pools[0].budgets[0].nodes = "2".to_owned();
    pdb(&mut snapshot, 1);
    let plan = planned(&snapshot, &policy());
    assert_eq!(reasons(&plan), [Drifted; 3]);
    snapshot.node_pools[0].budgets[0].nodes = "1".to_owned();
    assert_eq!(reasons(&planned(&snapshot, &policy())), [Drifted; 3]);
}
