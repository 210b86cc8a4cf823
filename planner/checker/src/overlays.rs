//! NodeOverlays (formulation, section 1.12): what nodes cost and have after people have said what they know.

use crate::matching::accepts;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::{Catalog, InstanceType, Price, ZoneOffer};
use stowage_models::labels;
use stowage_models::objects::NodePool;
use stowage_models::overlay::{NodeOverlay, PriceChange};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

const CAPACITY_TYPES: [&str; 3] = ["on-demand", "reserved", "spot"];
/// A hundred per cent in millionths of one.
const HUNDRED: i128 = 100 * 1_000_000;
/// A million dollars.
const DEAREST: i128 = 1_000_000 * 1_000_000;

/// The overlays that count.
#[derive(Debug, Default)]
pub(crate) struct Overlaid<'a> {
    prices: Vec<&'a NodeOverlay>,
    capacities: Vec<&'a NodeOverlay>,
}

/// A place where nodes of a type could be, in a pool.
struct Place<'p> {
    instance: &'p Labels,
    pool: &'p NodePool,
    offer: &'p ZoneOffer,
    capacity_type: &'static str,
    region: &'p str,
}

impl Place<'_> {
    fn meets(&self, overlay: &NodeOverlay) -> bool {
        overlay.requirements.iter().all(|one| accepts(one, self.label(&one.key)))
    }

    fn label(&self, key: &str) -> Option<&str> {
        let class = self.pool.node_class.as_str();
        let of_type = || self.instance.get(key).or_else(|| self.pool.labels.get(key)).map(String::as_str);
        match key {
            labels::NODEPOOL => Some(&self.pool.name),
            labels::EC2_NODE_CLASS if !class.is_empty() => Some(class),
            labels::CAPACITY_TYPE => Some(self.capacity_type),
            labels::REGION if !self.region.is_empty() => Some(self.region),
            labels::ZONE => Some(&self.offer.zone),
            labels::ZONE_ID if !self.offer.zone_id.is_empty() => Some(&self.offer.zone_id),
            _ => of_type(),
        }
    }
}

/// All of them.
fn places<'p>(
    snapshot: &'p Snapshot,
    region: &'p str,
    pool: &'p NodePool,
    (instance, own): (&'p InstanceType, &'p Labels),
) -> Vec<Place<'p>> {
    let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let zones = class.map(|class| &class.zones[..]).unwrap_or_default();
    let open = instance.zones.iter().filter(|offer| zones.is_empty() || zones.contains(&offer.zone));
    let place = |offer, capacity_type| Place { instance: own, pool, offer, capacity_type, region };
    open.flat_map(|offer| CAPACITY_TYPES.map(|capacity_type| place(offer, capacity_type))).collect()
}

fn takes<'l>(overlay: &NodeOverlay, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    overlay.requirements.iter().all(|one| accepts(one, label(&one.key)))
}

/// What an overlay states.
fn subjects(overlay: &NodeOverlay) -> BTreeSet<&str> {
    overlay.capacity.0.keys().map(String::as_str).collect()
}

impl<'a> Overlaid<'a> {
    /// The overlays of a snapshot without those that cannot be read, and those in conflict with one before them.
    pub(crate) fn new(snapshot: &'a Snapshot, catalog: &Catalog) -> Overlaid<'a> {
        let mut by_weight: BTreeMap<i32, Vec<&NodeOverlay>> = BTreeMap::new();
        for overlay in &snapshot.node_overlays {
            by_weight.entry(overlay.weight).or_default().push(overlay);
        }
        let mut counted: Vec<&'a NodeOverlay> = Vec::new();
        for (_, mut equals) in by_weight.into_iter().rev() {
            equals.sort_by_key(|overlay| &overlay.name);
            let readable =
                equals.into_iter().filter(|one| one.unreadable.is_none() && one.restricted().is_none());
            let mut kept: Vec<&NodeOverlay> = Vec::new();
            for overlay in readable {
                if !kept.iter().any(|one| in_conflict(snapshot, catalog, one, overlay)) {
                    kept.push(overlay);
                }
            }
            counted.extend(kept);
        }
        let (mut prices, mut capacities) = (counted.clone(), counted);
        prices.retain(|overlay| overlay.price.is_some());
        capacities.retain(|overlay| !overlay.capacity.is_empty());
        Overlaid { prices, capacities }
    }

    /// No overlay changes a price.
    pub(crate) fn keeps_prices(&self) -> bool {
        self.prices.is_empty()
    }

    /// What a node of these labels costs.
    pub(crate) fn price<'l>(&self, label: impl Fn(&str) -> Option<&'l str>, list: Price) -> Price {
        let change = self.prices.iter().find(|overlay| takes(overlay, &label)).and_then(|one| one.price);
        let from = i128::from(list.usd.0);
        let (to, estimated) = match change {
            None => return list,
            Some(PriceChange::To(usd)) => (i128::from(usd.0), false),
            Some(PriceChange::By(more)) => (from + i128::from(more), list.estimated),
            // Half of the last place is added before the division cuts it off; nothing here is negative.
            Some(PriceChange::Percent(more)) => {
                ((from * (HUNDRED + i128::from(more)) * 2 + HUNDRED) / (2 * HUNDRED), list.estimated)
            }
        };
        let usd = i64::try_from(to.clamp(0, DEAREST)).unwrap_or_default();
        Price { usd: UsdMicros(usd), estimated }
    }

    /// Amounts that overlays state of nodes of a type in a pool.
    pub(crate) fn stated(
        &self,
        snapshot: &Snapshot,
        region: &str,
        pool: &NodePool,
        instance: &InstanceType,
    ) -> Resources {
        let mut stated = Resources::default();
        if self.capacities.is_empty() {
            return stated;
        }
        let own = instance.labels();
        let places = places(snapshot, region, pool, (instance, &own));
        // From the least weight to the highest: what is written last stays.
        for overlay in self.capacities.iter().rev() {
            if places.iter().any(|place| place.meets(overlay)) {
                stated.0.extend(overlay.capacity.0.iter().map(|(name, amount)| (name.clone(), *amount)));
            }
        }
        stated
    }
}

/// `amounts` with what is stated in their place.
pub(crate) fn with(mut amounts: Resources, stated: &Resources) -> Resources {
    for (name, amount) in &stated.0 {
        amounts.set(name, *amount);
    }
    amounts
}

/// Whether two overlays of one weight say something about the same thing.
fn in_conflict(snapshot: &Snapshot, catalog: &Catalog, one: &NodeOverlay, other: &NodeOverlay) -> bool {
    let price = one.price.is_some() && other.price.is_some();
    let resource = !subjects(one).is_disjoint(&subjects(other));
    if !price && !resource {
        return false;
    }
    catalog.types.iter().any(|instance| {
        let own = instance.labels();
        snapshot.node_pools.iter().any(|pool| {
            let places = places(snapshot, &catalog.region, pool, (instance, &own));
            let both = places.iter().any(|place| place.meets(one) && place.meets(other));
            let each = [one, other].iter().all(|overlay| places.iter().any(|place| place.meets(overlay)));
            (price && both) || (resource && each)
        })
    })
}
