//! Spot nodes of a NodePool are of several types and zones (formulation, section 1.11), as far as the alternates of launches go.

use crate::finding::{Findings, code};
use crate::nodes::capacity_type;
use std::collections::BTreeMap;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

const SPOT: &str = "spot";

/// vCPUs in thousandths, node by node, by (type, zone).
type Markets<'a> = BTreeMap<(&'a str, &'a str), Vec<i128>>;

/// Whether nodes of one market, so large together, are too much of the pool.
fn is_too_much(nodes: usize, part: i128, whole: i128, share: Ppm) -> bool {
    nodes >= 2 && part * i128::from(Ppm::ONE) > whole * i128::from(share.0)
}

/// No launch is in a market that has too much of its pool, if it has an alternate in one that would not have.
pub(crate) fn check(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan, findings: &mut Findings) {
    let Some(share) = plan.policy.spot_share_max else { return };
    if share.0 < 1 || share.0 > Ppm::ONE {
        findings.add(code::POLICY, format!("spot share {share} is not above 0 and at most 100 %"));
        return;
    }
    let size = |name: &str| catalog.get(name).map_or(0, |kind| i128::from(kind.vcpus) * 1000);
    for pool in &snapshot.node_pools {
        if pool.requirements.iter().any(|one| one.min_values.unwrap_or(0) > 1) {
            continue;
        }
        let mut markets = Markets::new();
        for node in &snapshot.nodes {
            let names = (node.labels.get(labels::INSTANCE_TYPE), node.labels.get(labels::ZONE));
            if let (Some(kind), Some(zone)) = names
                && node.nodepool() == Some(&pool.name)
                && capacity_type(node) == Some(SPOT)
            {
                markets.entry((kind, zone)).or_default().push(node.capacity.get("cpu").into());
            }
        }
        let launches: Vec<_> = plan
            .launches
            .iter()
            .filter(|launch| launch.node_pool == pool.name && launch.capacity_type == SPOT)
            .collect();
        for launch in &launches {
            let market = (launch.instance_type.as_str(), launch.zone.as_str());
            markets.entry(market).or_default().push(size(&launch.instance_type));
        }
        let whole: i128 = markets.values().flatten().sum();
        let of = |market: &(&str, &str)| -> (usize, i128) {
            markets.get(market).map_or((0, 0), |nodes| (nodes.len(), nodes.iter().sum()))
        };
        for launch in launches {
            let own = (launch.instance_type.as_str(), launch.zone.as_str());
            let (nodes, part) = of(&own);
            if !is_too_much(nodes, part, whole, share) {
                continue;
            }
            let better = launch.alternates.iter().filter(|one| one.capacity_type == SPOT).find(|one| {
                let other = (one.instance_type.as_str(), one.zone.as_str());
                let ((nodes, part), more) = (of(&other), size(other.0));
                let whole = whole - size(own.0) + more;
                other != own && !is_too_much(nodes + 1, part + more, whole, share)
            });
            if let Some(one) = better {
                let (slot, name, to) = (&launch.slot, &pool.name, (&one.instance_type, &one.zone));
                findings.add(
                    code::DIVERSITY,
                    format!("slot {slot}: {own:?} has more than {share} of the spot capacity of NodePool {name}, {to:?} would not have"),
                );
            }
        }
    }
}
