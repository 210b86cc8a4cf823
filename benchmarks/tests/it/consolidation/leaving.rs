//! Goal: what was planned is judged once more before it is done: on the cluster it was planned for nothing stands against it, and everything
//! that has come in the way since does.

use super::{composed, planned, policy};
use std::collections::BTreeMap;
use stowage_checker::{Leaving, LeavingPod, Obstacle, check_removals};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::labels;
use stowage_models::objects::{Owner, PodDisruptionBudget, PodRef, Taint, TaintEffect};
use stowage_models::quantity::CPU;
use stowage_models::selector::LabelSelector;
use stowage_models::snapshot::Snapshot;

/// A cluster, and what the first wave of a plan removes of it.
fn scene() -> (Snapshot, Vec<Leaving>, ConsolidationPolicy) {
    let mut snapshot = composed("scaledown-30");
    for (n, pod) in snapshot.pods.iter_mut().enumerate() {
        pod.uid = Some(format!("uid-{n}"));
    }
    // Nothing can be launched: pods move to nodes that are there.
    for pool in &mut snapshot.node_pools {
        pool.limits.set(CPU, 1);
    }
    let policy = policy();
    let plan = planned(&snapshot, &policy);
    let consolidation = plan.consolidation.expect("it consolidates");
    let uids: BTreeMap<PodRef, String> =
        snapshot.pods.iter().filter_map(|pod| Some((pod.id(), pod.uid.clone()?))).collect();
    let slots: Vec<&str> = plan.launches.iter().map(|launch| launch.slot.as_str()).collect();
    let mut leaving = Vec::new();
    for node in &consolidation.waves[0].removals {
        let moves: Vec<_> = consolidation.moves.iter().filter(|one| one.from == *node).collect();
        if moves.iter().any(|one| slots.contains(&one.to.as_str())) {
            continue;
        }
        let pods = moves.iter().map(|one| LeavingPod {
            pod: one.pod.clone(),
            uid: uids[&one.pod].clone(),
            to: Some(one.to.clone()),
        });
        let decided = consolidation.nodes.iter().find(|one| one.node == *node).expect("it is decided");
        let (node, reason, pods) = (node.clone(), decided.reason, pods.collect());
        leaving.push(Leaving { node, reason, forced: false, deadline: None, exact: true, pods });
    }
    leaving.sort_by_key(|one| one.pods.is_empty());
    assert!(leaving.iter().any(|one| !one.pods.is_empty()), "{leaving:?}");
    (snapshot, leaving, policy.consolidation.expect("a policy"))
}

fn judged(snapshot: &Snapshot, policy: &ConsolidationPolicy, leaving: &[Leaving]) -> Vec<Option<Obstacle>> {
    check_removals(snapshot, Catalog::embedded(), policy, leaving)
}

fn reason(snapshot: &Snapshot, policy: &ConsolidationPolicy, leaving: &[Leaving]) -> Option<NodeReason> {
    judged(snapshot, policy, leaving)[0].as_ref().map(|obstacle| obstacle.reason)
}

#[test]
fn nothing_stands_against_what_was_just_planned_closed_or_not() {
    let (mut snapshot, leaving, policy) = scene();
    assert_eq!(judged(&snapshot, &policy, &leaving), vec![None; leaving.len()]);
    for node in &mut snapshot.nodes {
        if leaving.iter().any(|one| one.node == node.name) {
            let key = labels::TAINT_DISRUPTED.to_owned();
            node.taints.push(Taint { key, value: String::new(), effect: TaintEffect::NoSchedule });
        }
    }
    assert_eq!(judged(&snapshot, &policy, &leaving), vec![None; leaving.len()]);
    // Pods that have gone meanwhile are no reason.
    let first = leaving[0].pods[0].pod.clone();
    snapshot.pods.retain(|pod| pod.id() != first);
    assert_eq!(judged(&snapshot, &policy, &leaving), vec![None; leaving.len()]);
}

#[test]
fn what_has_come_in_the_way_is_found() {
    let (snapshot, leaving, policy) = scene();
    let only = &leaving[..1];
    let own = only[0].pods[0].clone();
    let changed = |change: &dyn Fn(&mut Snapshot)| {
        let mut changed = snapshot.clone();
        change(&mut changed);
        reason(&changed, &policy, only)
    };
    assert_eq!(changed(&|_| ()), None);
    let marked = |snapshot: &mut Snapshot| {
        let pod = snapshot.pods.iter_mut().find(|pod| pod.id() == own.pod).expect("it");
        pod.annotations.insert(labels::DO_NOT_DISRUPT.to_owned(), "true".to_owned());
    };
    assert_eq!(changed(&marked), Some(NodeReason::Pod));
    let budget = |snapshot: &mut Snapshot| {
        let pod = snapshot.pods.iter().find(|pod| pod.id() == own.pod).expect("it");
        snapshot.pod_disruption_budgets.push(PodDisruptionBudget {
            namespace: pod.namespace.clone(),
            name: "closed".to_owned(),
            selector: Some(LabelSelector::default()),
            disruptions_allowed: Some(0),
            ..PodDisruptionBudget::default()
        });
    };
    assert_eq!(changed(&budget), Some(NodeReason::PodDisruptionBudget));
    let gone = |snapshot: &mut Snapshot| snapshot.nodes.retain(|node| node.name != only[0].node);
    assert_eq!(changed(&gone), Some(NodeReason::NotReady));
    let place = own.to.clone().expect("a place");
    let no_place = |snapshot: &mut Snapshot| snapshot.nodes.retain(|node| node.name != place);
    assert_eq!(changed(&no_place), Some(NodeReason::Pod));
    let closed = |snapshot: &mut Snapshot| {
        let key = labels::TAINT_DISRUPTED.to_owned();
        let taint = Taint { key, value: String::new(), effect: TaintEffect::NoSchedule };
        snapshot.nodes.iter_mut().find(|node| node.name == place).expect("it").taints.push(taint);
    };
    assert_eq!(changed(&closed), Some(NodeReason::Pod));
    let full = |snapshot: &mut Snapshot| {
        let node = snapshot.nodes.iter_mut().find(|node| node.name == place).expect("it");
        node.allocatable.set(CPU, 1);
    };
    assert_eq!(changed(&full), Some(NodeReason::Pod));
    let spent = |snapshot: &mut Snapshot| {
        for pool in &mut snapshot.node_pools {
            pool.budgets = vec![stowage_models::objects::Budget {
                nodes: "0".to_owned(),
                reasons: Vec::new(),
                schedule: None,
                duration: None,
            }];
        }
    };
    assert_eq!(changed(&spent), Some(NodeReason::Budget));
    // It was to go because it had drifted, and has not.
    let drifted = [Leaving { reason: NodeReason::Drifted, ..only[0].clone() }];
    assert_eq!(reason(&snapshot, &policy, &drifted), Some(NodeReason::Worth));
    // Nobody's word is enough for what asks nobody.
    let forced = [Leaving { forced: true, ..only[0].clone() }];
    assert_eq!(reason(&snapshot, &policy, &forced), Some(NodeReason::Worth));
    let ends = [Leaving { deadline: Some(0), ..only[0].clone() }];
    assert_eq!(reason(&snapshot, &policy, &ends), Some(NodeReason::Worth));
}

#[test]
fn a_pod_that_has_come_since_needs_a_place_too() {
    let (snapshot, leaving, policy) = scene();
    let only = &leaving[..1];
    let come = |cpu: i64| {
        let mut later = snapshot.clone();
        let mut pod = later.pods.iter().find(|pod| pod.id() == only[0].pods[0].pod).expect("it").clone();
        pod.name = "newcomer".to_owned();
        pod.uid = Some("uid-newcomer".to_owned());
        pod.owner = Some(Owner { kind: "ReplicaSet".to_owned(), name: "other".to_owned() }.into());
        pod.spec.containers.truncate(1);
        pod.spec.containers[0].requests.set(CPU, cpu);
        later.pods.push(pod);
        later.normalise();
        reason(&later, &policy, only)
    };
    assert_eq!(come(1), None);
    assert_eq!(come(1_000_000), Some(NodeReason::Pod));
}

#[test]
fn another_place_will_do_unless_this_one_was_approved() {
    let (snapshot, leaving, policy) = scene();
    let anywhere = [Leaving { exact: false, ..leaving[0].clone() }];
    let place = leaving[0].pods[0].to.clone().expect("a place");
    let gone = |snapshot: &mut Snapshot| snapshot.nodes.retain(|node| node.name != place);
    let full = |snapshot: &mut Snapshot| {
        let node = snapshot.nodes.iter_mut().find(|node| node.name == place).expect("it");
        node.allocatable.set(CPU, 1);
    };
    let changes: [&dyn Fn(&mut Snapshot); 2] = [&gone, &full];
    for change in changes {
        let mut changed = snapshot.clone();
        change(&mut changed);
        assert_eq!(reason(&changed, &policy, &leaving[..1]), Some(NodeReason::Pod));
        assert_eq!(judged(&changed, &policy, &anywhere), [None]);
        // Where nobody takes it there is none.
        for node in changed.nodes.iter_mut().filter(|node| node.name != leaving[0].node) {
            node.unschedulable = true;
        }
        let found = judged(&changed, &policy, &anywhere).remove(0).expect("it stays");
        assert_eq!(found.reason, NodeReason::Pod);
        assert!(found.text.ends_with("and there is no other place for it"), "{}", found.text);
    }
}

#[test]
fn budgets_hold_for_all_that_are_asked_about_together() {
    let (mut snapshot, leaving, policy) = scene();
    for pool in &mut snapshot.node_pools {
        pool.budgets = vec![stowage_models::objects::Budget {
            nodes: "1".to_owned(),
            reasons: Vec::new(),
            schedule: None,
            duration: None,
        }];
    }
    let pool = |one: &Leaving| {
        let node = snapshot.nodes.iter().find(|node| node.name == one.node).expect("it");
        node.nodepool().map(str::to_owned)
    };
    let same: Vec<Leaving> = leaving.iter().filter(|one| pool(one) == pool(&leaving[0])).cloned().collect();
    assert!(same.len() > 1, "{}", same.len());
    let found = judged(&snapshot, &policy, &same);
    assert_eq!(found[0], None);
    assert!(found[1..].iter().flatten().all(|obstacle| obstacle.reason == NodeReason::Budget), "{found:?}");
    assert_eq!(found.iter().flatten().count(), same.len() - 1);
}
