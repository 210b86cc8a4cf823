//! What NodeOverlays make of prices and capacity (`docs/formulation.md`, section 1.12).

use std::borrow::Cow;
use std::collections::BTreeSet;
use stowage_models::catalog::{Catalog, InstanceType, Price};
use stowage_models::labels;
use stowage_models::objects::{Ec2NodeClass, Node, NodePool};
use stowage_models::overlay::{NodeOverlay, PERCENT_WHOLE, PRICE_MAX, PriceChange};
use stowage_models::plan::Launch;
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// The overlays of a snapshot that count, and those that do not.
#[derive(Clone, Debug, Default)]
pub struct Overlays<'a> {
    /// Highest weight first, then by name.
    active: Vec<&'a NodeOverlay>,
    /// Name and reason, by name.
    ignored: Vec<(&'a str, String)>,
    region: &'a str,
    classes: &'a [Ec2NodeClass],
}

/// What two overlays may both state.
struct Point<'l> {
    own: Cow<'l, Labels>,
    pool: &'l NodePool,
    zone: &'l str,
    zone_id: &'l str,
    capacity_type: &'l str,
    region: &'l str,
}

impl Point<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let fixed = match key {
            labels::ZONE => self.zone,
            labels::ZONE_ID => self.zone_id,
            labels::REGION => self.region,
            labels::CAPACITY_TYPE => self.capacity_type,
            labels::NODEPOOL => &self.pool.name,
            labels::EC2_NODE_CLASS => &self.pool.node_class,
            _ => "",
        };
        if !fixed.is_empty() {
            return Some(fixed);
        }
        self.own.get(key).or_else(|| self.pool.labels.get(key)).map(String::as_str)
    }
}

impl<'a> Overlays<'a> {
    /// Sorts out which overlays count.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, catalog: &'a Catalog) -> Overlays<'a> {
        let mut ranked: Vec<&NodeOverlay> = snapshot.node_overlays.iter().collect();
        ranked.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| a.name.cmp(&b.name)));
        let mut all = Overlays {
            active: Vec::new(),
            ignored: Vec::new(),
            region: &catalog.region,
            classes: &snapshot.node_classes,
        };
        for overlay in ranked {
            let fault = overlay.unreadable.clone();
            let fault = fault.or_else(|| {
                Some(format!("spec.capacity: {} is no resource of its own", overlay.restricted()?))
            });
            match fault.or_else(|| all.rival(overlay, snapshot, catalog)) {
                Some(why) => all.ignored.push((&overlay.name, why)),
                None => all.active.push(overlay),
            }
        }
        all.ignored.sort();
        all
    }

    /// Overlays that count for nothing, with the reason; by name.
    pub fn ignored(&self) -> impl Iterator<Item = (&'a str, &str)> {
        self.ignored.iter().map(|(name, why)| (*name, why.as_str()))
    }

    /// An overlay before it of the same weight that states something about the same nodes.
    fn rival(&self, overlay: &NodeOverlay, snapshot: &Snapshot, catalog: &Catalog) -> Option<String> {
        let rivals: Vec<&NodeOverlay> = self
            .active
            .iter()
            .copied()
            .filter(|one| one.weight == overlay.weight)
            .filter(|one| both_price(one, overlay) || shares_resource(one, overlay))
            .collect();
        if rivals.is_empty() {
            return None;
        }
        for kind in &catalog.types {
            let own = kind.labels();
            for pool in &snapshot.node_pools {
                let mine: Vec<bool> = self
                    .points(pool, kind, &own)
                    .map(|point| overlay.selects(|key| point.get(key)))
                    .collect();
                if !mine.contains(&true) {
                    continue;
                }
                for rival in &rivals {
                    let theirs: Vec<bool> = self
                        .points(pool, kind, &own)
                        .map(|point| rival.selects(|key| point.get(key)))
                        .collect();
                    let meet = mine.iter().zip(&theirs).any(|(mine, theirs)| *mine && *theirs);
                    let share = theirs.contains(&true) && shares_resource(rival, overlay);
                    if (meet && both_price(rival, overlay)) || share {
                        return Some(format!(
                            "conflict with another overlay: {} has the same weight ({}) and is about {} in NodePool {}, too",
                            rival.name, rival.weight, kind.name, pool.name
                        ));
                    }
                }
            }
        }
        None
    }

    /// Where nodes of a type could be in a pool, prices aside.
    fn points<'l>(
        &'l self,
        pool: &'l NodePool,
        kind: &'l InstanceType,
        own: &'l Labels,
    ) -> impl Iterator<Item = Point<'l>> {
        let class = self.classes.iter().find(|class| class.name == pool.node_class);
        let reaches = move |zone: &str| {
            class.is_none_or(|class| class.zones.is_empty() || class.zones.iter().any(|one| one == zone))
        };
        let zones = kind.zones.iter().filter(move |zone| reaches(&zone.zone));
        zones.flat_map(move |zone| {
            crate::offerings::CAPACITY_TYPES.iter().map(move |capacity_type| Point {
                own: Cow::Borrowed(own),
                pool,
                zone: &zone.zone,
                zone_id: &zone.zone_id,
                capacity_type,
                region: self.region,
            })
        })
    }

    /// Whether any overlay says something of prices.
    pub(crate) fn has_prices(&self) -> bool {
        self.active.iter().any(|overlay| overlay.price.is_some())
    }

    /// What a node with these labels costs, if it costs `list` without overlays.
    pub(crate) fn price<'b>(&self, label: impl Fn(&str) -> Option<&'b str>, list: Price) -> Price {
        let found = self.active.iter().find(|overlay| overlay.price.is_some() && overlay.selects(&label));
        match found.and_then(|overlay| overlay.price) {
            None => list,
            Some(PriceChange::To(usd)) => Price { usd, estimated: false },
            Some(change) => Price { usd: changed(list.usd, change), estimated: list.estimated },
        }
    }

    /// What an existing node costs, if it costs `list` without overlays.
    pub(crate) fn node_price(&self, node: &Node, list: Price) -> Price {
        self.price(|key| node.labels.get(key).map(String::as_str), list)
    }

    /// Whether any overlay says how much of a resource nodes have.
    pub(crate) fn states(&self, resource: &str) -> bool {
        self.active.iter().any(|overlay| overlay.capacity.0.contains_key(resource))
    }

    /// What overlays say nodes of a type in a pool have.
    fn stated(&self, pool: &NodePool, kind: &InstanceType) -> Resources {
        let mut stated = Resources::default();
        if self.active.iter().all(|overlay| overlay.capacity.is_empty()) {
            return stated;
        }
        let own = kind.labels();
        for overlay in self.active.iter().filter(|overlay| !overlay.capacity.is_empty()) {
            if self.points(pool, kind, &own).any(|point| overlay.selects(|key| point.get(key))) {
                for (name, amount) in &overlay.capacity.0 {
                    stated.0.entry(name.clone()).or_insert(*amount);
                }
            }
        }
        stated
    }

    /// Changes amounts of a node of a type in a pool to what overlays say.
    #[must_use]
    pub fn applied(&self, mut amounts: Resources, pool: &NodePool, kind: &InstanceType) -> Resources {
        for (name, amount) in &self.stated(pool, kind).0 {
            amounts.set(name, *amount);
        }
        amounts
    }

    /// Whether overlays change the price of a launch, and the capacity of what it launches.
    #[must_use]
    pub fn change(&self, launch: &Launch, pool: &NodePool, catalog: &Catalog) -> (bool, bool) {
        let mut changes = (false, false);
        let places = launch.alternates.iter().map(|one| (&one.instance_type, &one.zone, &one.capacity_type));
        let own = [(&launch.instance_type, &launch.zone, &launch.capacity_type)];
        let places: BTreeSet<_> = places.chain(own).collect();
        for (instance_type, zone, capacity_type) in places {
            let Some(kind) = catalog.get(instance_type) else { continue };
            let zone_id = kind.zone(zone).map(|zone| zone.zone_id.as_str()).unwrap_or_default();
            let own = Cow::Owned(kind.labels());
            let point = Point { own, pool, zone, zone_id, capacity_type, region: self.region };
            let label = |key: &str| point.get(key).or_else(|| launch.labels.get(key).map(String::as_str));
            changes.0 |= self.active.iter().any(|overlay| overlay.price.is_some() && overlay.selects(label));
            changes.1 |= !self.stated(pool, kind).is_empty();
        }
        changes
    }
}

fn both_price(one: &NodeOverlay, other: &NodeOverlay) -> bool {
    one.price.is_some() && other.price.is_some()
}

fn shares_resource(one: &NodeOverlay, other: &NodeOverlay) -> bool {
    one.capacity.0.keys().any(|name| other.capacity.0.contains_key(name))
}

/// Rounded half up, and kept from zero to [`PRICE_MAX`].
fn changed(list: UsdMicros, change: PriceChange) -> UsdMicros {
    let list = i128::from(list.0);
    let whole = i128::from(PERCENT_WHOLE);
    let changed = match change {
        PriceChange::To(usd) => i128::from(usd.0),
        PriceChange::By(by) => list + i128::from(by),
        PriceChange::Percent(by) => (list * (whole + i128::from(by)) + whole / 2).div_euclid(whole),
    };
    UsdMicros(i64::try_from(changed.clamp(0, i128::from(PRICE_MAX.0))).unwrap_or(PRICE_MAX.0))
}

/// Capacity of a node of a type in a pool, as its class and the overlays make it.
pub(crate) fn capacity(
    snapshot: &Snapshot,
    catalog: &Catalog,
    pool: &NodePool,
    kind: &InstanceType,
) -> Resources {
    let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
    let bare = match class {
        Some(class) => kind.capacity(&snapshot.settings, class),
        None => kind.capacity(&snapshot.settings, &Ec2NodeClass::default()),
    };
    if snapshot.node_overlays.iter().all(|overlay| overlay.capacity.is_empty()) {
        return bare;
    }
    Overlays::new(snapshot, catalog).applied(bare, pool, kind)
}
