//! Launches of a plan with removals that was decided on a while ago, judged against what is there now (formulation, section 5.8).

use super::allow::Guard;
use super::{rules, states};
use crate::finding::{Finding, code};
use crate::limits;
use crate::overlays::{Overlaid, with};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::Wave;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Policy};
use stowage_models::snapshot::Snapshot;

/// Judges whether the launches of a plan that removes nodes are possible now, and cost no more than they say: as
/// [`crate::check_launches`], in the cluster without these nodes, in which their pods wait; and in each wave within limits, with the nodes
/// that are there by then. Pods that were to leave a node and have ended since are left aside. Whether nodes may go is
/// [`super::check_removals`]' to say.
#[must_use]
pub fn check_waves(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    (launches, waves): (&[Launch], &[Wave]),
    existing: &BTreeMap<String, Vec<PodRef>>,
) -> Vec<Finding> {
    let rules = policy.consolidation.clone().unwrap_or_default();
    let guard = Guard::new(snapshot, &rules);
    let (subjects, _) = rules::subjects(snapshot, catalog, &rules, &guard);
    let removed: BTreeSet<&str> = waves.iter().flat_map(|wave| &wave.removals).map(String::as_str).collect();
    let after = states::without(snapshot, &removed, &subjects);
    let moved: BTreeSet<&PodRef> = waves.iter().flat_map(|wave| &wave.evictions).collect();
    let waiting: BTreeSet<PodRef> =
        after.pods.iter().filter(|pod| pod.is_pending()).map(|pod| pod.id()).collect();
    let ended = |pod: &PodRef| moved.contains(pod) && !waiting.contains(pod);
    let mut left = launches.to_vec();
    for launch in &mut left {
        launch.pods.retain(|pod| !ended(pod));
    }
    let fewer = left != launches;
    let mut findings = crate::check_launches(&after, catalog, policy, &left, existing);
    // What they request is less than stated then.
    findings.retain(|finding| !fewer || finding.code != code::REQUESTED);
    findings.extend(over_limits(snapshot, catalog, launches, waves));
    findings
}

/// In each wave, what is launched by then and what is not removed before are within the limits of pools that launch.
fn over_limits(snapshot: &Snapshot, catalog: &Catalog, launches: &[Launch], waves: &[Wave]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut removed: BTreeSet<&str> = BTreeSet::new();
    let mut launched: BTreeSet<&str> = BTreeSet::new();
    let overlaid = Overlaid::new(snapshot, catalog);
    for (index, wave) in waves.iter().enumerate() {
        launched.extend(wave.launches.iter().map(String::as_str));
        let mut there = Snapshot {
            nodes: snapshot.nodes.clone(),
            node_claims: snapshot.node_claims.clone(),
            ..Snapshot::default()
        };
        let is_gone = |name: &str| removed.contains(name);
        there.nodes.retain(|node| !is_gone(&node.name));
        there.node_claims.retain(|claim| !claim.node.as_deref().is_some_and(is_gone));
        for pool in &snapshot.node_pools {
            let own = launches.iter().filter(|launch| launch.node_pool == pool.name);
            let own: Vec<&Launch> = own.filter(|launch| launched.contains(launch.slot.as_str())).collect();
            let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
            let class = class.cloned().unwrap_or_default();
            for limit in limits::of_pool(&there, pool).into_iter().filter(|_| !own.is_empty()) {
                let one = |launch: &&Launch| match (limit.resource, catalog.get(&launch.instance_type)) {
                    ("nodes", _) => 1,
                    (_, None) => 0,
                    (resource, Some(kind)) => {
                        let stated = overlaid.stated(snapshot, &catalog.region, pool, kind);
                        i128::from(with(kind.capacity(&snapshot.settings, &class), &stated).get(resource))
                    }
                };
                let sum = limit.used + own.iter().map(one).sum::<i128>();
                if sum > i128::from(limit.limit) {
                    let (wave, name, resource) = (index + 1, &pool.name, limit.resource);
                    let message =
                        format!("wave {wave}: NodePool {name} would use {sum} {resource} of {}", limit.limit);
                    findings.push(Finding { code: code::WAVE, message });
                }
            }
        }
        removed.extend(wave.removals.iter().map(String::as_str));
    }
    findings
}
