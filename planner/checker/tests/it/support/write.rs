//! The plan as a document, and the figures that follow from it.

use super::{Maker, Offer, Rule};
use crate::naive;
use std::collections::BTreeSet;
use stowage_checker::effective_request;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::*;
use stowage_models::quantity::Resources;
use stowage_models::units::{Ppm, UsdMicros};

impl Maker<'_> {
    fn requested(&self, pods: &[(usize, PodRef)]) -> Resources {
        let mut total = Resources::default();
        for (group, _) in pods {
            total.add(&self.groups[*group].request);
        }
        total
    }

    fn alternates(&self, chosen: usize, requested: &Resources, groups: &BTreeSet<usize>) -> Vec<Alternate> {
        let launch = &self.offers[chosen];
        let constrained = naive::any(self.snapshot);
        let holds = |offer: &Offer<'_>| {
            (!constrained || offer.zone == launch.zone)
                && groups.iter().all(|group| self.offer_takes(offer, *group))
                && offer.room.as_ref().is_some_and(|room| requested.fits(room))
        };
        let others =
            self.offers.iter().enumerate().filter(|(index, _)| *index != chosen).map(|(_, offer)| offer);
        let mut alternates: Vec<Alternate> = others
            .filter(|offer| {
                offer.pool.name == launch.pool.name && offer.variant == launch.variant && holds(offer)
            })
            .map(|offer| Alternate {
                instance_type: offer.instance.name.clone(),
                zone: offer.zone.clone(),
                capacity_type: offer.capacity_type.into(),
                price: offer.price.usd,
            })
            .collect();
        let key = |one: &Alternate| {
            (one.price, one.instance_type.clone(), one.zone.clone(), one.capacity_type.clone())
        };
        alternates.sort_by_key(key);
        alternates.truncate(ALTERNATES_MAX);
        alternates
    }

    fn launch(&self, index: usize) -> Launch {
        let (chosen, _, pods) = &self.launches[index];
        let offer = &self.offers[*chosen];
        let requested = self.requested(pods);
        let groups = pods.iter().map(|(group, _)| *group).collect();
        let mut names: Vec<PodRef> = pods.iter().map(|(_, pod)| pod.clone()).collect();
        names.sort();
        Launch {
            slot: format!("new-{:04}", index + 1),
            node_pool: offer.pool.name.clone(),
            instance_type: offer.instance.name.clone(),
            zone: offer.zone.clone(),
            capacity_type: offer.capacity_type.into(),
            labels: offer.variant.clone(),
            price: offer.price.usd,
            list_price: None,
            price_estimated: offer.price.estimated,
            allocatable: offer.allocatable.clone(),
            daemon_sets: offer.daemon_sets.clone(),
            alternates: self.alternates(*chosen, &requested, &groups),
            requested,
            pods: names,
        }
    }

    fn existing(&self, catalog: &Catalog, node: &Node) -> ExistingNode {
        let label = |key: &str| node.labels.get(key).cloned();
        let mut running = Resources::default();
        for pod in self.snapshot.pods.iter().filter(|pod| pod.node.as_deref() == Some(&node.name)) {
            running.add(&effective_request(&pod.spec));
        }
        let pods = self.on_node.get(node.name.as_str()).cloned().unwrap_or_default();
        let mut names: Vec<PodRef> = pods.iter().map(|(_, pod)| pod.clone()).collect();
        names.sort();
        let price = catalog.get(&label(labels::INSTANCE_TYPE).unwrap()).unwrap();
        ExistingNode {
            name: node.name.clone(),
            node_pool: label(labels::NODEPOOL),
            instance_type: label(labels::INSTANCE_TYPE),
            zone: label(labels::ZONE),
            capacity_type: label(labels::CAPACITY_TYPE),
            price: price.price(&label(labels::ZONE).unwrap(), "on-demand").map(|price| price.usd),
            allocatable: node.allocatable.clone(),
            running,
            requested: self.requested(&pods),
            pods: names,
        }
    }

    fn unplaced(&self) -> Vec<Unplaced> {
        let mut reasons = self.left_out.clone();
        if !self.unsupported.is_empty() {
            reasons.insert(UnplacedReason::Unsupported, self.unsupported.clone());
        }
        let entry = |(reason, mut pods): (UnplacedReason, Vec<PodRef>)| {
            pods.sort();
            Unplaced {
                reason,
                message: "because".into(),
                hint: String::new(),
                nearest: None,
                blocking: Vec::new(),
                pods,
            }
        };
        reasons.into_iter().map(entry).collect()
    }

    pub(super) fn write(&self, catalog: &Catalog, policy: Policy, rule: Rule) -> Plan {
        let (certificate, bound) = self.prove(rule, true);
        let weights: BTreeSet<i32> = self.snapshot.node_pools.iter().map(|pool| pool.weight).collect();
        let without = (weights.len() > 1).then(|| self.prove(rule, false));
        let mut plan = Plan {
            kind: KIND.into(),
            format_version: FORMAT_VERSION.into(),
            planner: "naive".into(),
            snapshot: SnapshotRef {
                digest: self.snapshot.digest(),
                taken_at: self.snapshot.taken_at.clone(),
                origin: self.snapshot.origin.clone(),
            },
            catalog: CatalogRef {
                digest: catalog.digest(),
                region: catalog.region.clone(),
                on_demand_as_of: catalog.on_demand_as_of.clone(),
                spot_as_of: catalog.spot_as_of.clone(),
            },
            policy,
            launches: (0..self.launches.len()).map(|index| self.launch(index)).collect(),
            existing: self.snapshot.nodes.iter().map(|node| self.existing(catalog, node)).collect(),
            unplaced: self.unplaced(),
            certificate,
            ..Plan::default()
        };
        plan.summary.groups = self.groups.iter().filter(|group| group.placed > 0).count() as u64;
        plan.summary.offerings = self.offers.len() as u64;
        plan.summary.launch_bound = UsdMicros(bound);
        plan.summary.launch_bound_without_weights = without.as_ref().map(|(_, bound)| UsdMicros(*bound));
        plan.certificate_without_weights = without.map(|(certificate, _)| certificate);
        restate(&mut plan);
        plan
    }
}

/// Recomputes the figures that follow from the lists of the plan, and the id.
pub(crate) fn restate(plan: &mut Plan) {
    let summary = &mut plan.summary;
    summary.pods_on_existing = plan.existing.iter().map(|node| node.pods.len() as u64).sum();
    summary.pods_on_new = plan.launches.iter().map(|launch| launch.pods.len() as u64).sum();
    summary.pods_unplaced = plan.unplaced.iter().map(|entry| entry.pods.len() as u64).sum();
    summary.pods_pending = summary.pods_on_existing + summary.pods_on_new + summary.pods_unplaced;
    summary.nodes_before = plan.existing.len() as u64;
    summary.nodes_launched = plan.launches.len() as u64;
    summary.nodes_unpriced = plan.existing.iter().filter(|node| node.price.is_none()).count() as u64;
    summary.cost_before = plan.existing.iter().filter_map(|node| node.price).sum();
    summary.launch_cost = plan.launches.iter().map(|launch| launch.price).sum();
    let estimated = plan.launches.iter().filter(|launch| launch.price_estimated);
    summary.estimated_cost = estimated.map(|launch| launch.price).sum();
    summary.gap = Ppm::gap(summary.launch_cost, summary.launch_bound);
    let point = |cost, bound| Progress { stage: "naive".into(), cost, bound };
    let start = point(UsdMicros(summary.launch_cost.0.saturating_add(1)), UsdMicros::ZERO);
    plan.progress = vec![start, point(summary.launch_cost, summary.launch_bound)];
    plan.id = plan.compute_id();
}
