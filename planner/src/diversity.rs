//! Not all spot nodes of a NodePool of one kind: EC2 takes them back by type and zone (`docs/formulation.md` section 1.11).
//!
//! The plan is made without this rule, which only restricts plans; then launches beyond the share become what costs least more.

use crate::core::usage;
use crate::extract::{Substitutes, capacity_type};
use crate::offerings::{CAPACITY_TYPES, Offering};
use crate::pack::Pattern;
use crate::placement::Placement;
use crate::problem::Problem;
use std::collections::BTreeMap;
use stowage_models::labels;
use stowage_models::units::{Ppm, UsdMicros};

const SPOT: &str = "spot";
/// No limit is in the way of what might be chosen.
const NO_LIMIT: i64 = i64::MAX / 4;

/// NodePool, instance type, zone.
type Market = (u32, String, String);

/// Spot nodes and millicores by market, and millicores by NodePool.
#[derive(Debug, Default)]
struct Held {
    markets: BTreeMap<Market, (i64, i128)>,
    pools: BTreeMap<u32, i128>,
}

impl Held {
    fn add(&mut self, market: &Market, nodes: i64, millicores: i64) {
        let of = self.markets.entry(market.clone()).or_default();
        let amount = i128::from(nodes) * i128::from(millicores);
        (of.0, of.1) = (of.0 + nodes, of.1 + amount);
        *self.pools.entry(market.0).or_default() += amount;
    }

    /// More than the share of its pool, and not a single node; with one node more of so many millicores, and another of the pool gone.
    fn is_crowded(&self, market: &Market, share: Ppm, (more, gone): (Option<i64>, i64)) -> bool {
        let (nodes, millicores) = self.markets.get(market).copied().unwrap_or_default();
        let whole = self.pools.get(&market.0).copied().unwrap_or_default();
        let (nodes, added) = (nodes + i64::from(more.is_some()), i128::from(more.unwrap_or(0)));
        let (part, whole) = (millicores + added, whole + added - i128::from(gone));
        nodes > 1 && part * i128::from(Ppm::ONE) > whole * i128::from(share.0)
    }
}

/// What a launch may become: price, index of the offering.
type Choices = Vec<(i64, usize)>;

fn market(problem: &Problem<'_>, offering: &Offering) -> (Market, i64) {
    let kind = &problem.catalog.types[offering.instance_type as usize];
    let zone = kind.zones[offering.zone as usize].zone.clone();
    ((offering.pool, kind.name.clone(), zone), i64::from(kind.vcpus) * 1000)
}

fn is_spot(offering: &Offering) -> bool {
    CAPACITY_TYPES[offering.capacity_type as usize] == SPOT
}

/// Spot nodes that stay.
fn held(problem: &Problem<'_>) -> Held {
    let mut held = Held::default();
    for node in problem.snapshot.nodes.iter().filter(|node| capacity_type(node).as_deref() == Some(SPOT)) {
        let pool =
            problem.snapshot.node_pools.iter().position(|pool| Some(pool.name.as_str()) == node.nodepool());
        let label = |key: &str| node.labels.get(key).cloned();
        if let (Some(pool), Some(kind), Some(zone)) =
            (pool, label(labels::INSTANCE_TYPE), label(labels::ZONE))
        {
            let pool = u32::try_from(pool).unwrap_or(u32::MAX);
            held.add(&(pool, kind, zone), 1, node.capacity.get("cpu"));
        }
    }
    held
}

/// Makes launches beyond the share of their pool others, one by one, the one first that costs least more, as long as there is any that would
/// be within it. Pools with `minValues` ask for types of their own and are left alone. Returns how many, and what they cost more an hour;
/// `None` if it does not end, because shares move with every change.
fn diversify(problem: &Problem<'_>, share: Ppm, placement: &mut Placement) -> Option<(usize, i64)> {
    let mut held = held(problem);
    let free: Vec<bool> = problem
        .snapshot
        .node_pools
        .iter()
        .map(|pool| pool.requirements.iter().all(|one| one.min_values.is_none_or(|least| least < 2)))
        .collect();
    let may_change =
        |offering: &Offering| is_spot(offering) && free.get(offering.pool as usize).copied().unwrap_or(false);
    for (o, _) in placement.launches.iter().filter(|(o, _)| is_spot(&problem.offerings[*o])) {
        let (market, millicores) = market(problem, &problem.offerings[*o]);
        held.add(&market, 1, millicores);
    }
    let unlimited = vec![NO_LIMIT; placement.limits.len()];
    let mut known: BTreeMap<(usize, Pattern), Choices> = BTreeMap::new();
    let (mut changed, mut more) = (0, 0);
    loop {
        let mut best: Option<(i64, usize, usize)> = None;
        for (at, (o, pattern)) in placement.launches.iter().enumerate() {
            let own = &problem.offerings[*o];
            let (from, millicores) = market(problem, own);
            if !may_change(own) || !held.is_crowded(&from, share, (None, 0)) {
                continue;
            }
            let choices = known.entry((*o, pattern.clone())).or_insert_with(|| {
                // What is left of limits changes on the way: that is asked each time.
                let stands_in = Substitutes::new(problem, &unlimited, (*o, pattern));
                let may = |other: &usize| is_spot(&problem.offerings[*other]) && stands_in.may(*other);
                let mut choices: Choices = (0..problem.offerings.len())
                    .filter(may)
                    .map(|other| (problem.offerings[other].price, other))
                    .collect();
                choices.sort_unstable();
                choices
            });
            let fits = |other: usize| {
                let stands_in = Substitutes::new(problem, &placement.limits, (*o, pattern));
                let (to, its) = market(problem, &problem.offerings[other]);
                let then = (Some(its), millicores);
                to != from && !held.is_crowded(&to, share, then) && stands_in.may(other)
            };
            let limit = best.map_or(i64::MAX, |(price, ..)| price);
            let cheaper = choices.iter().take_while(|(price, _)| price - own.price < limit);
            if let Some((price, other)) = cheaper.copied().find(|(_, other)| fits(*other)) {
                best = Some((price - own.price, at, other));
            }
        }
        let Some((price, at, other)) = best else { return Some((changed, more)) };
        let o = placement.launches[at].0;
        for (from, sign) in [(o, -1), (other, 1)] {
            let (market, millicores) = market(problem, &problem.offerings[from]);
            held.add(&market, sign, millicores);
            for (row, amount) in usage(problem, from) {
                placement.limits[row] = placement.limits[row].saturating_sub(sign * amount);
            }
        }
        placement.launches[at].0 = other;
        (changed, more) = (changed + 1, more + price);
        if changed > 2 * placement.launches.len() {
            return None;
        }
    }
}

impl Problem<'_> {
    /// Keeps a placement within the policy's share, as far as that is possible, and notes what it costs.
    pub(crate) fn diversify(&mut self, placement: &mut Placement) {
        let Some(share) = self.spot_share_max else { return };
        let before = placement.clone();
        let Some((changed, more)) = diversify(self, share, placement) else {
            *placement = before;
            self.spot_share_max = None;
            self.notes.push(format!("no way was found to keep spot nodes within {share} by type and zone"));
            return;
        };
        if changed > 0 {
            self.notes.push(format!(
                "{changed} spot launches are not the cheapest, so that no type and zone has more than {share} of a NodePool's spot \
                 capacity: {} an hour more, which is part of the gap",
                UsdMicros(more)
            ));
        }
    }
}
