//! Every node a plan may launch (formulation, section 1.2), in the order of the certificate.
//!
//! Offerings that no pod can tell apart share a [`Kind`]: matching and capacity are worked out once for it.

use crate::filters::host_ports;
use crate::groups::Port;
use crate::matching::{Match, Rules, accepts};
use crate::overlays::{Overlaid, with};
use crate::problem::{Axis, Pool, usable};
use crate::request::{effective_request, sum};
use crate::storage::{ATTACHABLE, UNLIMITED};
use crate::variants::custom_keys;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::{Catalog, InstanceType, Price, ZoneOffer};
use stowage_models::labels;
use stowage_models::plan::RESERVED_SHARE;
use stowage_models::quantity::Resources;
use stowage_models::selector::{Labels, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::UsdMicros;

/// Capacity types there are prices for, sorted.
const CAPACITY_TYPES: [&str; 3] = ["on-demand", labels::RESERVED, "spot"];

/// The value of `kubernetes.io/hostname` on planned nodes; no label value may contain a slash, so no pod can name it.
const PLANNED_HOSTNAME: &str = "stowage.dev/planned";

/// An instance type in a NodePool.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) instance: &'a InstanceType,
    pub(crate) capacity: Resources,
    pub(crate) allocatable: Resources,
}

/// Nodes of a pool with equal values of all labels that pods or DaemonSets mention.
#[derive(Debug)]
pub(crate) struct Class<'a> {
    /// What the rules say of them.
    pub(crate) matches: Vec<Match>,
    /// Their domains, in the order of [`Rules::topology`].
    pub(crate) domains: Vec<Option<String>>,
    /// The DaemonSets they will carry: positions in the snapshot's list.
    pub(crate) carries: Vec<usize>,
    /// Requests of these.
    pub(crate) daemon_sets: Resources,
    /// Host ports of these.
    pub(crate) ports: BTreeSet<Port<'a>>,
}

/// Offerings that hold the same pods.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) pool: usize,
    pub(crate) facts: usize,
    pub(crate) class: usize,
    /// Capacity left for pods, along the axis; `None` if DaemonSets alone exceed it.
    pub(crate) room: Option<Vec<i64>>,
}

/// A node a plan may launch.
#[derive(Debug)]
pub(crate) struct Offering<'a> {
    pub(crate) kind: usize,
    pub(crate) zone: &'a str,
    pub(crate) capacity_type: &'static str,
    /// Index for [`Pool::variant`].
    pub(crate) variant: usize,
    pub(crate) price: Price,
}

/// The offerings and what they share.
#[derive(Debug, Default)]
pub(crate) struct Offerings<'a> {
    pub(crate) facts: Vec<Facts<'a>>,
    pub(crate) classes: Vec<Class<'a>>,
    pub(crate) kinds: Vec<Kind>,
    /// Sorted by NodePool, instance type, zone, capacity type, variant.
    pub(crate) list: Vec<Offering<'a>>,
}

/// The label keys every planned node may have beside those of its type, NodePool and variant.
const OWN_KEYS: [&str; 7] = [
    labels::ZONE,
    labels::ZONE_ID,
    labels::REGION,
    labels::CAPACITY_TYPE,
    labels::NODEPOOL,
    labels::REGISTERED,
    labels::INITIALIZED,
];

/// Keys whose value differs between the offerings of an instance type.
const LATE_KEYS: [&str; 5] = [
    labels::ZONE,
    labels::ZONE_ID,
    labels::CAPACITY_TYPE,
    labels::CAPACITY_RESERVATION_ID,
    labels::CAPACITY_RESERVATION_TYPE,
];

/// Names of an offering, in the order of the list.
pub(crate) type Key<'k> = (&'k str, &'k str, &'k str, &'k str, &'k Labels);

impl Offering<'_> {
    /// The capacity reservation it draws on.
    pub(crate) fn reservation<'k>(&self, pool: &'k Pool<'_>) -> Option<&'k str> {
        let id = pool.variant(self.variant).get(labels::CAPACITY_RESERVATION_ID);
        id.map(String::as_str).filter(|_| self.capacity_type == labels::RESERVED)
    }
}

impl Offerings<'_> {
    /// Names of an offering.
    pub(crate) fn key<'k>(&'k self, pools: &'k [Pool<'_>], offering: &'k Offering<'_>) -> Key<'k> {
        let kind = &self.kinds[offering.kind];
        let pool = &pools[kind.pool];
        let instance = self.facts[kind.facts].instance;
        let variant = pool.variant(offering.variant);
        (&pool.pool.name, &instance.name, offering.zone, offering.capacity_type, variant)
    }

    /// The labels of a node of this offering, but for its hostname.
    pub(crate) fn labels(&self, region: &str, pools: &[Pool<'_>], offering: &Offering<'_>) -> Labels {
        let kind = &self.kinds[offering.kind];
        let (pool, instance) = (&pools[kind.pool], self.facts[kind.facts].instance);
        let variant = pool.variant(offering.variant);
        let Some(zone) = instance.zones.iter().find(|zone| zone.zone == offering.zone) else {
            return Labels::new();
        };
        let own = instance.labels();
        let capacity_type = offering.capacity_type;
        let view = View { region, pool, instance: &own, zone, capacity_type, variant };
        let keys = own.keys().chain(pool.pool.labels.keys()).chain(variant.keys()).map(String::as_str);
        let keys = keys.chain(OWN_KEYS).chain([labels::EC2_NODE_CLASS]);
        let set = keys.filter_map(|key| Some((key.to_owned(), view.get(key)?.to_owned())));
        set.collect()
    }

    /// The offering of that name.
    pub(crate) fn find(&self, pools: &[Pool<'_>], key: Key<'_>) -> Option<usize> {
        self.list.binary_search_by(|offering| self.key(pools, offering).cmp(&key)).ok()
    }
}

/// The labels of a planned node, by source; earlier sources win.
#[derive(Clone, Copy)]
struct View<'a> {
    region: &'a str,
    pool: &'a Pool<'a>,
    instance: &'a Labels,
    zone: &'a ZoneOffer,
    capacity_type: &'static str,
    variant: &'a Labels,
}

/// What offerings of one class have in common: NodePool, values of the keys asked about, reservation.
type Alike<'e> = (usize, Vec<Option<&'e str>>, Option<&'e str>);

impl<'a> View<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        let node_class = self.pool.pool.node_class.as_str();
        let fixed = match key {
            labels::ZONE => Some(self.zone.zone.as_str()),
            labels::ZONE_ID => Some(self.zone.zone_id.as_str()),
            labels::REGION => Some(self.region),
            labels::CAPACITY_TYPE => Some(self.capacity_type),
            labels::NODEPOOL => Some(self.pool.pool.name.as_str()),
            labels::REGISTERED | labels::INITIALIZED => Some("true"),
            labels::HOSTNAME => Some(PLANNED_HOSTNAME),
            labels::EC2_NODE_CLASS if !node_class.is_empty() => Some(node_class),
            _ => None,
        };
        let from = |labels: &'a Labels| labels.get(key).map(String::as_str);
        fixed
            .or_else(|| from(self.instance))
            .or_else(|| from(&self.pool.pool.labels))
            .or_else(|| from(self.variant))
    }

    fn satisfies(&self, requirements: &[&Requirement]) -> bool {
        requirements.iter().all(|requirement| accepts(requirement, self.get(&requirement.key)))
    }
}

/// A ten thousandth of the price on demand, rounded up.
fn reserved_price(instance: &InstanceType) -> Option<Price> {
    let usd = UsdMicros(instance.on_demand?.0.checked_add(RESERVED_SHARE - 1)? / RESERVED_SHARE);
    Some(Price { usd, estimated: false })
}

/// Builds [`Offerings`]; the maps find what was seen before.
struct Enumeration<'e, 'a> {
    snapshot: &'a Snapshot,
    overlaid: &'e Overlaid<'a>,
    axis: &'e Axis,
    slack: i64,
    rules: &'e Rules<'a>,
    daemon_rules: &'e [usize],
    daemon_requests: Vec<Resources>,
    /// By NodePool, values, and reservation: of a reservation there is one type, so its offerings may be short of values that the
    /// others have.
    classes: BTreeMap<Alike<'e>, usize>,
    kinds: BTreeMap<(usize, usize), usize>,
    result: Offerings<'a>,
}

/// All offerings. `pools` are sorted by name, `instance_labels` belong to the catalogue's types by index.
pub(crate) fn enumerate<'e, 'a: 'e>(
    (snapshot, overlaid): (&'a Snapshot, &'e Overlaid<'a>),
    catalog: &'a Catalog,
    (axis, slack): (&'e Axis, i64),
    (rules, daemon_rules): (&'e Rules<'a>, &'e [usize]),
    pools: &'e [Pool<'a>],
    instance_labels: &'e [Labels],
) -> Offerings<'a> {
    let mut enumeration = Enumeration {
        snapshot,
        overlaid,
        axis,
        slack,
        rules,
        daemon_rules,
        daemon_requests: snapshot.daemon_sets.iter().map(|set| effective_request(&set.spec)).collect(),
        classes: BTreeMap::new(),
        kinds: BTreeMap::new(),
        result: Offerings::default(),
    };
    let types: BTreeMap<&str, (&'a InstanceType, &'e Labels)> =
        catalog.types.iter().zip(instance_labels).map(|(one, set)| (one.name.as_str(), (one, set))).collect();
    for (index, pool) in pools.iter().enumerate() {
        if pool.pool.replicas.is_some() || pool.pool.deleting || pool.pool.not_ready.is_some() {
            continue;
        }
        for (instance, labels) in types.values() {
            enumeration.instance(&catalog.region, (index, pool), instance, labels);
        }
    }
    enumeration.result
}

impl<'e, 'a: 'e> Enumeration<'e, 'a> {
    /// The offerings of one instance type in one pool.
    fn instance(
        &mut self,
        region: &'e str,
        (index, pool): (usize, &'e Pool<'a>),
        instance: &'a InstanceType,
        own_labels: &'e Labels,
    ) {
        let open = custom_keys(pool.pool);
        let varies = |key: &str| LATE_KEYS.contains(&key) || open.contains(key);
        let (late, early): (Vec<&Requirement>, Vec<&Requirement>) =
            pool.pool.requirements.iter().partition(|requirement| varies(&requirement.key));
        let zones: BTreeMap<&str, &'a ZoneOffer> =
            instance.zones.iter().map(|zone| (zone.zone.as_str(), zone)).collect();
        let mut facts = None;
        for zone in zones.into_values().filter(|zone| pool.allows_zone(&zone.zone)) {
            for capacity_type in CAPACITY_TYPES {
                let count = pool.variants.len();
                let reserved = capacity_type == labels::RESERVED;
                let price = if reserved {
                    reserved_price(instance)
                } else {
                    instance.price(&zone.zone, capacity_type)
                };
                let Some(price) = price else {
                    continue;
                };
                let here = |index: &usize| {
                    let Some(one) = index.checked_sub(count).map(|at| pool.reserved[at].from) else {
                        return true;
                    };
                    one.instance_type == instance.name && one.zone == zone.zone
                };
                let range = if reserved { count..count + pool.reserved.len() } else { 0..count };
                for variant in range.filter(here) {
                    let labels_of_variant = pool.variant(variant);
                    let view = View {
                        region,
                        pool,
                        instance: own_labels,
                        zone,
                        capacity_type,
                        variant: labels_of_variant,
                    };
                    // What depends on the type alone fails for all of its offerings: most types end here.
                    if facts.is_none() && !view.satisfies(&early) {
                        return;
                    }
                    if view.satisfies(&late) {
                        let facts = *facts.get_or_insert_with(|| self.facts(region, pool, instance));
                        let kind = self.kind(index, facts, &view);
                        let price = match self.overlaid.keeps_prices() {
                            true => price,
                            false => self.overlaid.price(|key| view.get(key), price),
                        };
                        self.result.list.push(Offering {
                            kind,
                            zone: &zone.zone,
                            capacity_type,
                            variant,
                            price,
                        });
                    }
                }
            }
        }
    }

    fn facts(&mut self, region: &str, pool: &Pool<'_>, instance: &'a InstanceType) -> usize {
        let settings = &self.snapshot.settings;
        let stated = self.overlaid.stated(self.snapshot, region, pool.pool, instance);
        self.result.facts.push(Facts {
            instance,
            capacity: with(instance.capacity(settings, &pool.class), &stated),
            allocatable: with(instance.allocatable(settings, &pool.class), &stated),
        });
        self.result.facts.len() - 1
    }

    fn kind(&mut self, pool: usize, facts: usize, view: &View<'e>) -> usize {
        let values: Vec<Option<&str>> = self.rules.keys.iter().map(|key| view.get(key)).collect();
        let reservation = view.variant.get(labels::CAPACITY_RESERVATION_ID).map(String::as_str);
        let class = match self.classes.get(&(pool, values.clone(), reservation)) {
            Some(class) => *class,
            None => {
                self.result.classes.push(self.class(view, &values));
                self.classes.insert((pool, values, reservation), self.result.classes.len() - 1);
                self.result.classes.len() - 1
            }
        };
        if let Some(kind) = self.kinds.get(&(facts, class)) {
            return *kind;
        }
        let room = self.room(facts, class);
        self.result.kinds.push(Kind { pool, facts, class, room });
        self.kinds.insert((facts, class), self.result.kinds.len() - 1);
        self.result.kinds.len() - 1
    }

    fn class(&self, view: &View<'e>, values: &[Option<&str>]) -> Class<'a> {
        let matches = self.rules.evaluate(values, None, &view.pool.pool.taints);
        let carries = (0..self.daemon_rules.len()).filter(|set| matches[self.daemon_rules[*set]].holds());
        let carries: Vec<usize> = carries.collect();
        let daemon_sets = sum(carries.iter().map(|set| &self.daemon_requests[*set]));
        let sets = &self.snapshot.daemon_sets;
        let ports = carries.iter().flat_map(|set| host_ports(&sets[*set].spec)).collect();
        Class { matches, domains: self.rules.domains(values), carries, daemon_sets, ports }
    }

    fn room(&self, facts: usize, class: usize) -> Option<Vec<i64>> {
        let allocatable = &self.result.facts[facts].allocatable;
        let daemon_sets = &self.result.classes[class].daemon_sets;
        let left = |name: &String| {
            if let Some(driver) = name.strip_prefix(ATTACHABLE) {
                let limit = self.result.facts[facts].instance.volume_limit(driver);
                return Some(limit.unwrap_or(UNLIMITED));
            }
            let left = usable(name, allocatable.get(name), self.slack) - i128::from(daemon_sets.get(name));
            (left >= 0).then(|| i64::try_from(left).unwrap_or(i64::MAX))
        };
        self.axis.names.iter().map(left).collect()
    }
}
