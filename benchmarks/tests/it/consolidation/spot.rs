//! What may move, and to what: spot to spot only with types to choose from, local storage as the policy says, volumes within their zone.

use super::departures::cluster;
use super::{planned, policy, refused};
use std::collections::BTreeSet;
use stowage_checker::code::*;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason};
use stowage_models::labels;
use stowage_models::objects::{NodeSelectorTerm, PodVolume, Volume, VolumeClaim};
use stowage_models::plan::{Plan, Policy};
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::Snapshot;

fn asking(change: impl FnOnce(&mut ConsolidationPolicy)) -> Policy {
    let mut policy = policy();
    change(policy.consolidation.as_mut().unwrap());
    policy
}

fn reasons(plan: &Plan) -> Vec<NodeReason> {
    plan.consolidation.as_ref().unwrap().nodes.iter().map(|one| one.reason).collect()
}

/// A spot node of the type, where the pool launches spot of these types or, without any, of the usual families.
fn spot(types: &[&str]) -> Snapshot {
    let mut snapshot = cluster(1);
    let kind = Catalog::embedded().get("m5.4xlarge").unwrap();
    let pool = &mut snapshot.node_pools[0];
    pool.requirements = vec![
        Requirement::new(labels::CAPACITY_TYPE, Operator::In, &["spot"]),
        if types.is_empty() {
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["c", "m", "r"])
        } else {
            Requirement::new(labels::INSTANCE_TYPE, Operator::In, types)
        },
        // In other zones the same type may be cheaper.
        Requirement::new(labels::ZONE, Operator::In, &["us-east-1a"]),
    ];
    let node = &mut snapshot.nodes[0];
    let class = stowage_models::objects::Ec2NodeClass::default();
    node.labels.extend(kind.labels());
    node.labels.insert(labels::CAPACITY_TYPE.to_owned(), "spot".to_owned());
    node.capacity = kind.capacity(&snapshot.settings, &class);
    node.allocatable = kind.allocatable(&snapshot.settings, &class);
    snapshot.node_claims[0].labels = node.labels.clone();
    snapshot
}

#[test]
fn spot_is_replaced_by_spot_only_with_types_to_choose_from() {
    let few = spot(&["m5.large", "m5.4xlarge"]);
    assert_eq!(reasons(&planned(&few, &policy())), [NodeReason::Worth]);
    assert_eq!(reasons(&planned(&few, &asking(|one| one.spot_types_min = 1))), [NodeReason::Underutilized]);
    assert_eq!(reasons(&planned(&spot(&[]), &policy())), [NodeReason::Underutilized]);
    // It is about what goes for its cost only.
    let mut drifted = few.clone();
    drifted.node_claims[0].conditions.push("Drifted".to_owned());
    assert_eq!(reasons(&planned(&drifted, &policy())), [NodeReason::Drifted]);
    // And about spot only.
    let mut on_demand = few;
    on_demand.nodes[0].labels.insert(labels::CAPACITY_TYPE.to_owned(), "on-demand".to_owned());
    assert_eq!(reasons(&planned(&on_demand, &policy())), [NodeReason::Underutilized]);
}

#[test]
fn the_referee_counts_types() {
    let snapshot = spot(&["m5.large", "m5.xlarge", "m5.4xlarge"]);
    let plan = planned(&snapshot, &asking(|one| one.spot_types_min = 2));
    let with = |least: u32| {
        refused(&snapshot, &plan, |plan| plan.policy.consolidation.as_mut().unwrap().spot_types_min = least)
    };
    assert_eq!(with(2), BTreeSet::new());
    assert_eq!(with(3), BTreeSet::from([FLEXIBILITY]), "m5.4xlarge is no cheaper than itself");
}

/// Two nodes of which one would do.
fn half_empty() -> Snapshot {
    let mut snapshot = cluster(2);
    snapshot.pods.retain(|pod| pod.name.ends_with('0'));
    snapshot
}

#[test]
fn pods_with_local_storage_move_unless_the_policy_says_otherwise() {
    let mut snapshot = half_empty();
    snapshot.pods.iter_mut().for_each(|pod| pod.spec.local_storage = true);
    let removed = |policy: &Policy| planned(&snapshot, policy).consolidation.unwrap().summary.nodes_removed;
    assert_eq!(removed(&policy()), 1);
    let keeping = asking(|one| one.keep_local_storage = true);
    assert_eq!(removed(&keeping), 0);
    assert_eq!(reasons(&planned(&snapshot, &keeping)), [NodeReason::Pod, NodeReason::Pod]);
    let plan = planned(&snapshot, &policy());
    let lied = refused(&snapshot, &plan, |plan| {
        plan.policy.consolidation.as_mut().unwrap().keep_local_storage = true;
    });
    assert!(lied.contains(PROTECTED), "{lied:?}");
}

/// The pod's volume, bound in a zone.
fn bind(snapshot: &mut Snapshot, pod: usize, zone: &str) {
    let name = format!("data-{pod}");
    snapshot.pods[pod].spec.volumes = vec![PodVolume::Claim(name.clone())];
    snapshot.volume_claims.push(VolumeClaim {
        namespace: "default".to_owned(),
        name: name.clone(),
        volume: Some(name.clone()),
        ..VolumeClaim::default()
    });
    snapshot.volumes.push(Volume {
        name,
        driver: Some("ebs.csi.aws.com".to_owned()),
        node_affinity: Some(vec![NodeSelectorTerm {
            match_expressions: vec![Requirement::new(labels::ZONE, Operator::In, &[zone])],
            match_fields: Vec::new(),
        }]),
    });
}

#[test]
fn pods_with_volumes_move_within_their_zone() {
    let mut snapshot = half_empty();
    bind(&mut snapshot, 0, "us-east-1a");
    bind(&mut snapshot, 1, "us-east-1a");
    let removed =
        |snapshot: &Snapshot| planned(snapshot, &policy()).consolidation.unwrap().summary.nodes_removed;
    assert_eq!(removed(&snapshot), 1);
    // Elsewhere: the pod of the second node cannot come to the first, and the other way round.
    let mut apart = snapshot.clone();
    let second = apart.nodes[1].labels.get_mut(labels::ZONE).unwrap();
    "us-east-1b".clone_into(second);
    apart.node_pools[0].requirements.retain(|one| one.key != labels::ZONE);
    apart.volumes[1].node_affinity.as_mut().unwrap()[0].match_expressions[0].values =
        vec!["us-east-1b".to_owned()];
    assert_eq!(removed(&apart), 0);
    // One that a single pod may use at a time cannot start elsewhere before it ends here.
    snapshot.volume_claims.iter_mut().for_each(|claim| claim.read_write_once_pod = true);
    assert_eq!(reasons(&planned(&snapshot, &policy())), [NodeReason::Pod, NodeReason::Pod]);
    // A node takes so many volumes and no more.
    snapshot.volume_claims.iter_mut().for_each(|claim| claim.read_write_once_pod = false);
    for node in &mut snapshot.nodes {
        node.volume_limits.insert("ebs.csi.aws.com".to_owned(), 1);
    }
    let plan = planned(&snapshot, &policy());
    let moves = &plan.consolidation.as_ref().unwrap().moves;
    assert!(moves.iter().all(|one| one.to.starts_with("new-")), "{moves:?}");
}
