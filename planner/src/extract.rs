//! From a placement to the plan document.

use crate::Moment;
use crate::constraints::volumes::ATTACHABLE;
use crate::core::usage;
use crate::engine::Found;
use crate::matching::effective_request;
use crate::offerings::{CAPACITY_TYPES, Offering};
use crate::pack::Pattern;
use crate::placement::Placement;
use crate::problem::Problem;
use crate::reasons;
use std::collections::BTreeMap;
use stowage_models::labels;
use stowage_models::objects::{Node, PodRef};
use stowage_models::plan::{
    ALTERNATES_MAX, Alternate, CatalogRef, ExistingNode, FORMAT_VERSION, KIND, Launch, Plan, Policy,
    Preferences, Progress, SnapshotRef, Summary,
};
use stowage_models::quantity::{PODS, Resources};
use stowage_models::units::{Ppm, UsdMicros};
use stowage_models::whatif::WhatIf;

/// Hands out the pods of each group in order. Shares of one group draw on the same pods, which are equal.
#[derive(Default)]
pub(crate) struct Dealer {
    /// Pods handed out, by the first pod of the group.
    next: BTreeMap<u32, usize>,
}

impl Dealer {
    /// The next pods of a group.
    pub(crate) fn take<'w>(&mut self, whole: &'w [u32], count: i64) -> &'w [u32] {
        let next = self.next.entry(whole[0]).or_default();
        let from = *next;
        *next = (from + usize::try_from(count).expect("counts are not negative")).min(whole.len());
        &whole[from..*next]
    }

    fn deal(&mut self, problem: &Problem<'_>, pattern: &Pattern) -> (Vec<PodRef>, Resources) {
        let mut pods = Vec::new();
        let mut requested = Resources::default();
        for (g, count) in pattern {
            let group = &problem.groups[*g as usize];
            pods.extend(self.take(&group.whole, *count).iter().map(|pod| problem.pod_ref(*pod)));
            let each = effective_request(problem.spec(group));
            for (name, amount) in each.0 {
                requested.set(&name, requested.get(&name) + amount * count);
            }
            let attached = problem.resources.iter().zip(&group.request);
            for (name, amount) in
                attached.filter(|(name, amount)| name.starts_with(ATTACHABLE) && **amount > 0)
            {
                requested.set(name, requested.get(name) + amount * count);
            }
        }
        pods.sort();
        (pods, requested)
    }
}

/// The plan, without its second certificate and id.
pub(crate) fn plan(problem: &Problem<'_>, found: &Found, timeline: &[Moment]) -> Plan {
    let mut dealer = Dealer::default();
    let existing = existing_nodes(problem, &found.placement, &mut dealer);
    let launches = launches(problem, &found.placement, &mut dealer);
    let groups = dealer.next.values().filter(|pods| **pods > 0).count();
    let unplaced = reasons::unplaced(problem, &found.placement, &mut dealer);
    let sum = |pods: usize| u64::try_from(pods).unwrap_or(u64::MAX);
    let launch_cost: UsdMicros = launches.iter().map(|launch| launch.price).sum();
    let preference_cost =
        UsdMicros(found.placement.missed(problem).saturating_add(problem.unwished(&found.placement)));
    let total = launch_cost + preference_cost;
    let summary = Summary {
        pods_pending: sum(problem.snapshot.pods.iter().filter(|pod| pod.is_pending()).count()),
        pods_on_existing: sum(existing.iter().map(|node| node.pods.len()).sum()),
        pods_on_new: sum(launches.iter().map(|launch| launch.pods.len()).sum()),
        pods_unplaced: sum(unplaced.iter().map(|entry| entry.pods.len()).sum()),
        groups: sum(groups),
        offerings: sum(problem.offerings.len()),
        nodes_before: sum(problem.snapshot.nodes.len()),
        nodes_launched: sum(launches.len()),
        cost_before: existing.iter().filter_map(|node| node.price).sum(),
        launch_cost,
        preference_cost,
        launch_bound: found.bound,
        gap: Ppm::gap(total, found.bound),
        launch_bound_without_weights: None,
        estimated_cost: launches
            .iter()
            .filter(|launch| launch.price_estimated)
            .map(|launch| launch.price)
            .sum(),
        nodes_unpriced: sum(existing.iter().filter(|node| node.price.is_none()).count()),
    };
    let mut notes = problem.notes.clone();
    if found.placement.left.iter().any(|left| *left > 0) {
        notes.push(
            "NodePool limits bind: nothing that is left out fits beside this plan, but another plan might place more              pods; cost and bound are about the pods that are placed"
                .to_owned(),
        );
    }
    notes.extend(problem.note_uncovered(&found.placement));
    notes.sort();
    notes.dedup();
    Plan {
        kind: KIND.to_owned(),
        format_version: FORMAT_VERSION.to_owned(),
        id: String::new(),
        planner: format!("stowage {}", env!("CARGO_PKG_VERSION")),
        snapshot: SnapshotRef {
            digest: problem.prepared.digest(problem.snapshot),
            taken_at: problem.snapshot.taken_at.clone(),
            origin: problem.snapshot.origin.clone(),
        },
        catalog: CatalogRef {
            digest: problem.prepared.tables.digest.clone(),
            region: problem.catalog.region.clone(),
            on_demand_as_of: problem.catalog.on_demand_as_of.clone(),
            spot_as_of: problem.catalog.spot_as_of.clone(),
        },
        policy: Policy {
            preferences: problem.prices_preferences.then_some(Preferences::Respect),
            min_values: problem.policy.min_values.filter(|_| problem.has_min_values()),
            spot_share_max: problem.spot_share_max,
            ..problem.policy.clone()
        },
        what_if: WhatIf::default(),
        progress: progress(timeline, total, found.bound),
        summary,
        notes,
        launches,
        existing,
        unplaced,
        consolidation: None,
        certificate: found.certificate.clone(),
        certificate_without_weights: None,
    }
}

/// Steps kept in a plan at most: what a chart can show.
const PROGRESS_MAX: usize = 100;

/// The way to the final figures without its times, as one descent of cost and one ascent of bound. What was found for
/// another problem on the way (before a lower weight was opened, or before pods were left out) has no place in it.
fn progress(timeline: &[Moment], cost: UsdMicros, bound: UsdMicros) -> Vec<Progress> {
    let mut steps: Vec<Progress> = Vec::new();
    for moment in timeline {
        let Some(found) = moment.cost.filter(|found| *found >= cost) else { continue };
        let last = steps.last();
        let found = last.map_or(found, |last| found.min(last.cost));
        let proven = last.map_or(UsdMicros::ZERO, |last| last.bound).max(moment.bound.min(bound));
        if last.is_none_or(|last| (last.cost, last.bound) != (found, proven)) && steps.len() < PROGRESS_MAX {
            steps.push(Progress { stage: moment.stage.to_owned(), cost: found, bound: proven });
        }
    }
    steps.push(Progress { stage: "final".to_owned(), cost, bound });
    steps
}

fn launches(problem: &Problem<'_>, placement: &Placement, dealer: &mut Dealer) -> Vec<Launch> {
    // Offerings are in canonical order, so sorting by index groups launches by pool, type, zone.
    let mut order: Vec<&(usize, Pattern)> = placement.launches.iter().collect();
    order.sort();
    let by_price = offerings_by_price(problem);
    order
        .into_iter()
        .enumerate()
        .map(|(k, (index, pattern))| {
            let offering = &problem.offerings[*index];
            let (pods, requested) = dealer.deal(problem, pattern);
            let pool = problem.pool(offering);
            let class = problem.snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
            let instance_type = &problem.catalog.types[offering.instance_type as usize];
            Launch {
                slot: format!("new-{:04}", k + 1),
                node_pool: pool.name.clone(),
                instance_type: instance_type.name.clone(),
                zone: instance_type.zones[offering.zone as usize].zone.clone(),
                capacity_type: CAPACITY_TYPES[offering.capacity_type as usize].to_owned(),
                labels: (*offering.variant).clone(),
                price: UsdMicros(offering.price),
                list_price: offering.reserved.then_some(instance_type.on_demand).flatten(),
                price_estimated: offering.estimated,
                allocatable: problem.overlays.applied(
                    instance_type
                        .allocatable(&problem.snapshot.settings, &class.cloned().unwrap_or_default()),
                    pool,
                    instance_type,
                ),
                daemon_sets: crate::offerings::daemon_requests(problem, offering),
                requested,
                pods,
                alternates: alternates(problem, *index, pattern, placement, &by_price),
            }
        })
        .collect()
}

/// Offering indices by (price, type, zone, capacity type).
pub(crate) fn offerings_by_price(problem: &Problem<'_>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..problem.offerings.len()).collect();
    order.sort_by_key(|o| {
        let offering = &problem.offerings[*o];
        (offering.price, offering.instance_type, offering.zone, offering.capacity_type, *o)
    });
    order
}

/// The cheapest substitutes, and more where the NodePool asks for more values.
fn alternates(
    problem: &Problem<'_>,
    index: usize,
    pattern: &Pattern,
    placement: &Placement,
    by_price: &[usize],
) -> Vec<Alternate> {
    let stands_in = Substitutes::new(problem, &placement.limits, (index, pattern));
    let may = by_price.iter().copied().filter(|o| stands_in.may(*o));
    let substitutes: Vec<usize> =
        if problem.has_min_values() { may.collect() } else { may.take(ALTERNATES_MAX).collect() };
    let picked = problem.choose_alternates(index, &substitutes);
    picked.into_iter().map(|o| alternate(problem, &problem.offerings[o])).collect()
}

/// What may stand in for a launch: same NodePool and labels, room for the same pods, within what limits leave.
pub(crate) struct Substitutes<'s, 'a> {
    problem: &'s Problem<'a>,
    /// What the placement leaves of each limit.
    limits: &'s [i64],
    index: usize,
    pattern: &'s Pattern,
    own_usage: Vec<(usize, i64)>,
    load: Vec<i64>,
    concerned: bool,
}

impl<'s, 'a> Substitutes<'s, 'a> {
    /// For a launch of an offering with a pattern.
    pub(crate) fn new(
        problem: &'s Problem<'a>,
        limits: &'s [i64],
        (index, pattern): (usize, &'s Pattern),
    ) -> Substitutes<'s, 'a> {
        let mut load = vec![0_i64; problem.resources.len()];
        for (g, count) in pattern {
            let request = &problem.groups[*g as usize].request;
            load.iter_mut().zip(request).for_each(|(sum, w)| *sum += w * count);
        }
        // Where constraints between pods are in play, a substitute is in all the same domains.
        let concerned = pattern.iter().any(|(g, _)| problem.groups[*g as usize].wants.concern_pods());
        let own_usage = usage(problem, index);
        Substitutes { problem, limits, index, pattern, own_usage, load, concerned }
    }

    /// Whether an offering may stand in.
    pub(crate) fn may(&self, o: usize) -> bool {
        let Substitutes { problem, limits, index, pattern, .. } = *self;
        let (own, other) = (&problem.offerings[index], &problem.offerings[o]);
        let keys = 0..problem.constraints.meanings.keys.len() as u32;
        let same_domains = || {
            let value = |offering: &Offering, key| problem.value_of(offering.signature as usize, key);
            other.signature == own.signature || keys.clone().all(|key| value(other, key) == value(own, key))
        };
        o != index
            && other.pool == own.pool
            && self.load.iter().zip(&other.capacity).all(|(l, c)| l <= c)
            && other.variant == own.variant
            && (!self.concerned || same_domains())
            && pattern.iter().all(|(g, _)| problem.classes[other.class as usize].contains(*g as usize))
            && usage(problem, o).iter().all(|(row, amount)| {
                let freed = self.own_usage.iter().find(|(r, _)| r == row).map_or(0, |(_, amount)| *amount);
                *amount <= limits[*row].saturating_add(freed)
            })
    }
}
fn alternate(problem: &Problem<'_>, offering: &Offering) -> Alternate {
    let instance_type = &problem.catalog.types[offering.instance_type as usize];
    Alternate {
        instance_type: instance_type.name.clone(),
        zone: instance_type.zones[offering.zone as usize].zone.clone(),
        capacity_type: CAPACITY_TYPES[offering.capacity_type as usize].to_owned(),
        price: UsdMicros(offering.price),
    }
}

fn existing_nodes(problem: &Problem<'_>, placement: &Placement, dealer: &mut Dealer) -> Vec<ExistingNode> {
    let running = problem.prepared.running(problem.snapshot);
    problem
        .snapshot
        .nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let pattern = placement
                .existing
                .iter()
                .find(|(bin, _)| problem.existing[*bin].node == index)
                .map_or(&[][..], |(_, pattern)| pattern);
            let (pods, requested) = dealer.deal(problem, &pattern.to_vec());
            let mut busy = running.get(node.name.as_str()).cloned().unwrap_or_default();
            if busy.get(PODS) == 0 {
                busy = Resources::default();
            }
            let label = |key: &str| node.labels.get(key).cloned();
            ExistingNode {
                name: node.name.clone(),
                node_pool: node.nodepool().map(str::to_owned),
                instance_type: label(labels::INSTANCE_TYPE),
                zone: label(labels::ZONE),
                capacity_type: capacity_type(node),
                price: price(problem, node),
                allocatable: node.allocatable.clone(),
                running: busy,
                pods,
                requested,
            }
        })
        .collect()
}

/// Karpenter's label, or EKS's own for managed node groups.
pub(crate) fn capacity_type(node: &Node) -> Option<String> {
    let own = node.labels.get(labels::CAPACITY_TYPE).cloned();
    own.or_else(|| match node.labels.get(labels::EKS_CAPACITY_TYPE)?.as_str() {
        "SPOT" => Some("spot".to_owned()),
        "ON_DEMAND" => Some("on-demand".to_owned()),
        _ => None,
    })
}

fn price(problem: &Problem<'_>, node: &Node) -> Option<UsdMicros> {
    let instance_type = problem.catalog.get(node.labels.get(labels::INSTANCE_TYPE)?)?;
    let zone = node.labels.get(labels::ZONE)?;
    let list = instance_type.price(zone, &capacity_type(node)?)?;
    Some(problem.overlays.node_price(node, list).usd)
}
