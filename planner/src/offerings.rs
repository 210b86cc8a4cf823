//! All offerings of all NodePools, in canonical order (`docs/formulation.md` sections 1.2 and 1.3).
//!
//! Thousands of offerings differ in few labels that anybody asks about. Labels are therefore looked up through layers
//! instead of being built, and matching is done once per *signature*: the values of the label keys in use.

use crate::constraints::bound::daemon_ports;
use crate::constraints::ports::clash;
use crate::constraints::volumes::{ATTACHABLE, UNLIMITED};
use crate::existing::daemon_matches;
use crate::matching::{effective_request, selects, selects_any, tolerates_all};
use crate::open::{ANY_WORD, Asked};
use crate::problem::{Bits, Problem, usable, vector};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use stowage_models::catalog::{InstanceType, Price};
use stowage_models::labels;
use stowage_models::objects::{Ec2NodeClass, NodePool, PodSpec};
use stowage_models::plan::RESERVED_SHARE;
use stowage_models::quantity::Resources;
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::units::UsdMicros;

/// Variants of custom labels per NodePool at most. Karpenter users have one or two custom keys with a handful of
/// values; 64 leaves room and bounds the number of offerings.
pub(crate) const VARIANTS_MAX: usize = 64;

/// Capacity types offered, in byte order.
pub(crate) const CAPACITY_TYPES: [&str; 3] = ["on-demand", labels::RESERVED, "spot"];

/// The hostname of a planned node: exists, but no pod can name it.
const PLANNED_HOSTNAME: &str = "stowage.dev/planned";

/// Something a NodePool may launch.
#[derive(Clone, Debug)]
pub(crate) struct Offering {
    /// Index into the snapshot's NodePools.
    pub(crate) pool: u32,
    /// Index into the catalogue's types.
    pub(crate) instance_type: u32,
    /// Index into the type's zones.
    pub(crate) zone: u32,
    /// Index into [`CAPACITY_TYPES`].
    pub(crate) capacity_type: u32,
    /// Custom labels of the variant.
    pub(crate) variant: std::sync::Arc<Labels>,
    /// It is a node in a capacity reservation, which the variant names.
    pub(crate) reserved: bool,
    /// Price in micro-dollars per hour.
    pub(crate) price: i64,
    /// The price is an estimate.
    pub(crate) estimated: bool,
    /// What is left for pods; all zero if DaemonSets do not fit.
    pub(crate) capacity: Vec<i64>,
    /// Index into [`Problem::classes`].
    pub(crate) class: u32,
    /// Index into [`Problem::signatures`].
    pub(crate) signature: u32,
}

/// What offerings that nobody can tell apart by their labels have in common.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    /// Index into the snapshot's NodePools.
    pub(crate) pool: u32,
    /// Values of [`Problem::label_keys`].
    pub(crate) values: Vec<Option<String>>,
    /// Groups that may use such nodes as far as labels, taints and ports go: index into [`Problem::classes`].
    pub(crate) class: u32,
}

/// The labels of a planned node, by lookup. Earlier layers win.
struct Layers<'a> {
    type_labels: &'a Labels,
    fixed: [(&'static str, &'a str); 8],
    template: &'a Labels,
    variant: &'a Labels,
}

impl<'a> Layers<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        if let Some(value) = self.type_labels.get(key) {
            return Some(value);
        }
        if let Some((_, value)) = self.fixed.iter().find(|(name, value)| *name == key && !value.is_empty()) {
            return Some(value);
        }
        self.template.get(key).or_else(|| self.variant.get(key)).map(String::as_str)
    }
}

/// A label of the node an offering would become, for words about it; the enumeration itself uses [`Layers`] directly.
pub(crate) fn label_of<'b>(
    problem: &'b Problem<'_>,
    type_labels: &'b [Labels],
    offering: &'b Offering,
    key: &str,
) -> Option<&'b str> {
    let pool = problem.pool(offering);
    let zone = &problem.catalog.types[offering.instance_type as usize].zones[offering.zone as usize];
    if key == labels::INITIALIZED {
        return Some("true");
    }
    let layers = Layers {
        type_labels: &type_labels[offering.instance_type as usize],
        fixed: fixed(
            &zone.zone,
            &zone.zone_id,
            &problem.catalog.region,
            CAPACITY_TYPES[offering.capacity_type as usize],
            pool,
        ),
        template: &pool.labels,
        variant: &offering.variant,
    };
    layers.get(key)
}

fn fixed<'b>(
    zone: &'b str,
    zone_id: &'b str,
    region: &'b str,
    capacity_type: &'b str,
    pool: &'b NodePool,
) -> [(&'static str, &'b str); 8] {
    [
        (labels::ZONE, zone),
        (labels::ZONE_ID, zone_id),
        (labels::REGION, region),
        (labels::CAPACITY_TYPE, capacity_type),
        (labels::NODEPOOL, &pool.name),
        (labels::EC2_NODE_CLASS, &pool.node_class),
        (labels::HOSTNAME, PLANNED_HOSTNAME),
        (labels::REGISTERED, "true"),
    ]
}

/// Keys every planned node has whatever its type, beside [`labels::OFFERING_KEYS`].
const FIXED_KEYS: [&str; 5] =
    [labels::NODEPOOL, labels::REGISTERED, labels::INITIALIZED, labels::EC2_NODE_CLASS, labels::HOSTNAME];

/// Fills [`Problem::offerings`] and [`Problem::classes`] and notes NodePools that can launch nothing.
pub(crate) fn enumerate(problem: &mut Problem<'_>) {
    let tables = problem.prepared.tables.clone();
    let type_labels = &tables.labels;
    let mut enumerator = Enumerator::new(problem, type_labels);
    let mut offerings = Vec::new();
    let mut notes = Vec::new();
    for (index, pool) in problem.snapshot.node_pools.iter().enumerate() {
        if pool.replicas.is_some() || pool.deleting || pool.not_ready.is_some() {
            continue;
        }
        let before = offerings.len();
        enumerator.pool(index, pool, &mut offerings);
        if offerings.len() == before {
            notes.push(format!(
                "NodePool {} can launch nothing: {}",
                pool.name,
                enumerator.why_empty(pool, type_labels)
            ));
        }
    }
    let Enumerator { classes, signatures, keys, .. } = enumerator;
    problem.offerings = offerings;
    problem.classes = classes.into_sorted();
    problem.signatures = signatures;
    problem.label_keys = keys;
    problem.notes.extend(notes);
}

/// Sets of groups by number, numbered in order of first use.
#[derive(Default)]
struct Classes {
    by_set: BTreeMap<Bits, u32>,
}

impl Classes {
    fn number(&mut self, set: Bits) -> u32 {
        let next = u32::try_from(self.by_set.len()).expect("classes fit 32 bits");
        *self.by_set.entry(set).or_insert(next)
    }

    fn into_sorted(self) -> Vec<Bits> {
        let mut sets: Vec<(u32, Bits)> = self.by_set.into_iter().map(|(set, number)| (number, set)).collect();
        sets.sort();
        sets.into_iter().map(|(_, set)| set).collect()
    }
}

/// Values of the keys in use, as [`write_value`] writes them -> signature and the requests of the DaemonSets that match.
type Memo = BTreeMap<String, (u32, Vec<i64>)>;

struct Enumerator<'p, 'a> {
    problem: &'p Problem<'a>,
    type_labels: &'p [Labels],
    /// Label keys that pods or DaemonSets ask about.
    keys: Vec<String>,
    /// Values of custom keys that problem pods mention.
    mentioned: BTreeMap<String, BTreeSet<String>>,
    /// Topology keys that constraints and preferences about other pods name.
    domains: BTreeSet<&'a str>,
    asked: Asked,
    daemon_requests: Vec<Vec<i64>>,
    classes: Classes,
    signatures: Vec<Signature>,
    no_class: Ec2NodeClass,
    /// Room to write the values of an offering.
    text: String,
}

/// Writes the value of a label so that no two sequences of values read alike.
fn write_value(value: Option<&str>, text: &mut String) {
    match value {
        Some(value) => {
            let _ = write!(text, "{}:{value}", value.len());
        }
        None => text.push('-'),
    }
}

fn expressions(spec: &PodSpec) -> impl Iterator<Item = &Requirement> {
    spec.affinity.node_required.iter().flatten().flat_map(|term| &term.match_expressions)
}

impl<'p, 'a> Enumerator<'p, 'a> {
    fn new(problem: &'p Problem<'a>, type_labels: &'p [Labels]) -> Enumerator<'p, 'a> {
        let mut keys = BTreeSet::new();
        let mut mentioned: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut asked = Asked::default();
        for spec in problem.groups.iter().map(|group| problem.spec(group)) {
            asked.add(spec);
            for (key, value) in &spec.node_selector {
                keys.insert(key.clone());
                mentioned.entry(key.clone()).or_default().insert(value.clone());
            }
            let preferred = spec.affinity.node_preferred.iter().filter(|_| problem.prices_preferences);
            let preferred = preferred.flat_map(|one| &one.preference.match_expressions);
            for requirement in expressions(spec).chain(preferred) {
                keys.insert(requirement.key.clone());
                if requirement.operator == Operator::In {
                    mentioned
                        .entry(requirement.key.clone())
                        .or_default()
                        .extend(requirement.values.iter().cloned());
                }
            }
        }
        for group in &problem.groups {
            let terms = group.wants.volumes.iter().flat_map(|terms| terms.iter());
            keys.extend(terms.flat_map(|term| &term.match_expressions).map(|one| one.key.clone()));
        }
        let mut domains: BTreeSet<&'a str> = problem.constraints.domain_keys.clone();
        domains.extend(problem.wish_keys());
        keys.extend(problem.constraints.meanings.keys.iter().chain(&domains).map(|key| (*key).to_owned()));
        for daemon in &problem.snapshot.daemon_sets {
            keys.extend(daemon.spec.node_selector.keys().cloned());
            keys.extend(expressions(&daemon.spec).map(|requirement| requirement.key.clone()));
        }
        let reserves =
            problem.snapshot.node_classes.iter().any(|class| !class.capacity_reservations.is_empty());
        if reserves && crate::min_values::matter(problem.snapshot) {
            // A reservation has one type: there is less to choose from than beside it.
            keys.insert(labels::CAPACITY_RESERVATION_ID.to_owned());
        }
        let daemon_requests = problem
            .snapshot
            .daemon_sets
            .iter()
            .map(|daemon| vector(&problem.resources, &effective_request(&daemon.spec)))
            .collect();
        Enumerator {
            problem,
            type_labels,
            keys: keys.into_iter().collect(),
            mentioned,
            domains,
            asked,
            daemon_requests,
            classes: Classes::default(),
            signatures: Vec::new(),
            no_class: Ec2NodeClass::default(),
            text: String::new(),
        }
    }

    fn node_class(&self, pool: &NodePool) -> &Ec2NodeClass {
        self.problem
            .snapshot
            .node_classes
            .iter()
            .find(|class| class.name == pool.node_class)
            .unwrap_or(&self.no_class)
    }

    fn pool(&mut self, index: usize, pool: &NodePool, offerings: &mut Vec<Offering>) {
        let class = self.node_class(pool).clone();
        let variants: Vec<std::sync::Arc<Labels>> =
            self.variants(pool).into_iter().map(std::sync::Arc::new).collect();
        let mut memo: Memo = BTreeMap::new();
        let overlays = &self.problem.overlays;
        let repriced = overlays.has_prices();
        for (type_index, instance_type) in self.problem.catalog.types.iter().enumerate() {
            let type_labels = &self.type_labels[type_index];
            if !quick_accepts(pool, type_labels) {
                continue;
            }
            let is_open = |one: &&Requirement| !type_labels.contains_key(&one.key);
            let open: Vec<&Requirement> = pool.requirements.iter().filter(is_open).collect();
            let allocatable = instance_type.allocatable(&self.problem.snapshot.settings, &class);
            let allocatable = overlays.applied(allocatable, pool, instance_type);
            let usable = self.usable(&allocatable, instance_type);
            for (zone_index, zone) in instance_type.zones.iter().enumerate() {
                if !class.zones.is_empty() && !class.zones.contains(&zone.zone) {
                    continue;
                }
                for (capacity_index, capacity_type) in CAPACITY_TYPES.iter().enumerate() {
                    let price = instance_type.price(&zone.zone, capacity_type);
                    let is_reserved = *capacity_type == labels::RESERVED;
                    let (price, own) = match price {
                        _ if is_reserved => self.reserved(&class, instance_type, &zone.zone, &variants),
                        Some(price) => (price, None),
                        None => continue,
                    };
                    for variant in own.as_ref().unwrap_or(&variants) {
                        let layers = Layers {
                            type_labels,
                            fixed: fixed(
                                &zone.zone,
                                &zone.zone_id,
                                &self.problem.catalog.region,
                                capacity_type,
                                pool,
                            ),
                            template: &pool.labels,
                            variant,
                        };
                        let label = |key: &str| {
                            if key == labels::INITIALIZED { Some("true") } else { layers.get(key) }
                        };
                        if !open.iter().all(|requirement| requirement.accepts(label(&requirement.key))) {
                            continue;
                        }
                        let price = if repriced { overlays.price(label, price) } else { price };
                        let (signature, daemons) = self.signature(index, pool, &label, &mut memo);
                        let capacity = subtract(&usable, &daemons);
                        offerings.push(Offering {
                            pool: u32::try_from(index).expect("pools fit 32 bits"),
                            instance_type: u32::try_from(type_index).expect("types fit 32 bits"),
                            zone: u32::try_from(zone_index).expect("zones fit 32 bits"),
                            capacity_type: u32::try_from(capacity_index).expect("three capacity types"),
                            variant: variant.clone(),
                            reserved: is_reserved,
                            price: price.usd.0,
                            estimated: price.estimated,
                            capacity,
                            class: self.signatures[signature as usize].class,
                            signature,
                        });
                    }
                }
            }
        }
    }

    /// Price of nodes of this type and zone in capacity reservations of the class, and the labels of each: variant and
    /// reservation.
    fn reserved(
        &self,
        class: &Ec2NodeClass,
        instance_type: &InstanceType,
        zone: &str,
        variants: &[std::sync::Arc<Labels>],
    ) -> (Price, Option<Vec<std::sync::Arc<Labels>>>) {
        let list =
            instance_type.price(zone, "on-demand").filter(|_| self.problem.policy.consolidation.is_none());
        let Some(list) = list else {
            return (Price { usd: UsdMicros::ZERO, estimated: false }, Some(Vec::new()));
        };
        let open = class.capacity_reservations.iter().filter(|one| {
            one.instance_type == instance_type.name
                && one.zone == zone
                && one.available.is_some_and(|left| left > 0)
        });
        let mut sets: Vec<Labels> = open
            .flat_map(|one| {
                let with = |variant: &std::sync::Arc<Labels>| {
                    let mut labels = (**variant).clone();
                    labels.insert(labels::CAPACITY_RESERVATION_ID.to_owned(), one.id.clone());
                    labels.insert(labels::CAPACITY_RESERVATION_TYPE.to_owned(), one.reservation_type.clone());
                    labels
                };
                variants.iter().map(with).collect::<Vec<_>>()
            })
            .collect();
        sets.sort();
        sets.dedup();
        let price =
            Price { usd: UsdMicros((list.usd.0 + RESERVED_SHARE - 1) / RESERVED_SHARE), estimated: false };
        (price, Some(sets.into_iter().map(std::sync::Arc::new).collect()))
    }

    fn usable(&self, allocatable: &Resources, instance_type: &InstanceType) -> Vec<i64> {
        let amount = |name: &String| match name.strip_prefix(ATTACHABLE) {
            Some(driver) => instance_type.volume_limit(driver).unwrap_or(UNLIMITED),
            None => usable(name, allocatable.get(name), self.problem.policy),
        };
        self.problem.resources.iter().map(amount).collect()
    }

    /// Groups and DaemonSet requests of nodes with these labels in this pool.
    fn signature<'b>(
        &mut self,
        index: usize,
        pool: &NodePool,
        label: &impl Fn(&str) -> Option<&'b str>,
        memo: &mut Memo,
    ) -> (u32, Vec<i64>) {
        self.text.clear();
        self.keys.iter().for_each(|key| write_value(label(key), &mut self.text));
        if let Some(known) = memo.get(&self.text) {
            return known.clone();
        }
        let constraints = &self.problem.constraints;
        let ports = daemon_ports(self.problem.snapshot, label, &pool.taints);
        let mut set = Bits::new(self.problem.groups.len());
        for (g, group) in self.problem.groups.iter().enumerate() {
            let spec = self.problem.spec(group);
            if tolerates_all(&spec.tolerations, &pool.taints)
                && selects(spec, label, None)
                && selects_any(&group.wants.volumes, label, None)
                && !clash(&group.wants.ports, &ports)
                && !constraints.bound.keeps_away(&constraints.meanings, &group.wants, label)
            {
                set.insert(g);
            }
        }
        let mut daemons = vec![0_i64; self.problem.resources.len()];
        for (daemon, request) in self.problem.snapshot.daemon_sets.iter().zip(&self.daemon_requests) {
            if daemon_matches(daemon, label, &pool.taints, None) {
                daemons.iter_mut().zip(request).for_each(|(sum, amount)| *sum = sum.saturating_add(*amount));
            }
        }
        let class = self.classes.number(set);
        let number = u32::try_from(self.signatures.len()).expect("signatures fit 32 bits");
        let pool = u32::try_from(index).expect("pools fit 32 bits");
        let values = self.keys.iter().map(|key| label(key).map(str::to_owned)).collect();
        self.signatures.push(Signature { pool, values, class });
        let value = (number, daemons);
        memo.insert(self.text.clone(), value.clone());
        value
    }

    /// Combinations of values for the pool's custom label keys.
    fn variants(&self, pool: &NodePool) -> Vec<Labels> {
        let keys: BTreeSet<&str> = pool
            .requirements
            .iter()
            .map(|requirement| requirement.key.as_str())
            .filter(|key| {
                !labels::OFFERING_KEYS.contains(key)
                    && !FIXED_KEYS.contains(key)
                    && !pool.labels.contains_key(*key)
            })
            .collect();
        let mut variants = vec![Labels::new()];
        for key in keys {
            let candidates = self.candidates(pool, key);
            let mut next = Vec::new();
            for variant in &variants {
                for candidate in &candidates {
                    let mut labels = variant.clone();
                    if let Some(value) = candidate {
                        labels.insert(key.to_owned(), value.clone());
                    }
                    next.push(labels);
                }
            }
            variants = next;
        }
        variants.truncate(VARIANTS_MAX);
        // The canonical order compares labels as maps; the cut above is taken in product order.
        variants.sort();
        variants
    }

    /// Values a custom key may take on a node of the pool; `None` = absent.
    fn candidates(&self, pool: &NodePool, key: &str) -> Vec<Option<String>> {
        let requirements: Vec<&Requirement> = pool.requirements.iter().filter(|r| r.key == key).collect();
        let accepted =
            |value: Option<&str>| requirements.iter().all(|requirement| requirement.accepts(value));
        let empty = BTreeSet::new();
        let mentioned = self.mentioned.get(key).unwrap_or(&empty);
        let mut values: BTreeSet<String> = mentioned.clone();
        for requirement in requirements.iter().filter(|requirement| requirement.operator == Operator::In) {
            values.extend(requirement.values.iter().cloned());
        }
        // Where the values are domains, pods can tell them apart.
        let is_domain = self.domains.contains(key);
        if !values.iter().any(|value| accepted(Some(value))) {
            values.insert(invented_value(&requirements));
        }
        let mut candidates: Vec<Option<String>> = Vec::new();
        if accepted(None) {
            candidates.push(None);
        }
        let mut unmentioned_kept = false;
        for value in values.into_iter().filter(|value| accepted(Some(value))) {
            let is_mentioned = is_domain || mentioned.contains(&value);
            if is_mentioned || !unmentioned_kept {
                unmentioned_kept |= !is_mentioned;
                candidates.push(Some(value));
            }
        }
        self.asked.complete(key, &requirements, &mut candidates);
        candidates
    }

    /// The requirement that no type, zone or capacity type of the catalogue satisfies together with those before it.
    fn why_empty(&self, pool: &NodePool, type_labels: &[Labels]) -> String {
        let on_type: Vec<&Requirement> = pool
            .requirements
            .iter()
            .filter(|requirement| type_labels.iter().any(|labels| labels.contains_key(&requirement.key)))
            .collect();
        for (i, requirement) in on_type.iter().enumerate() {
            let left = type_labels
                .iter()
                .any(|labels| on_type[..=i].iter().all(|requirement| requirement.matches(labels)));
            if !left {
                return format!(
                    "no instance type satisfies requirement {} {:?} {} together with the requirements before it",
                    requirement.key,
                    requirement.operator,
                    requirement.values.join(",")
                );
            }
        }
        "its requirements on zone, capacity type or custom labels contradict each other, or its EC2NodeClass has no \
         subnet in a zone that offers such types"
            .to_owned()
    }
}

/// The value a node gets for a custom key when no listed or mentioned value is acceptable.
fn invented_value(requirements: &[&Requirement]) -> String {
    requirements
        .iter()
        .find_map(|requirement| {
            let bound = requirement.values.first()?.parse::<i64>().ok()?;
            match requirement.operator {
                Operator::Gt => bound.checked_add(1),
                Operator::Lt => bound.checked_sub(1),
                Operator::Gte | Operator::Lte => Some(bound),
                _ => None,
            }
        })
        .map_or_else(|| ANY_WORD.to_owned(), |value| value.to_string())
}

/// Whether the type's own labels satisfy the pool's requirements on keys the type defines: a cheap first filter.
fn quick_accepts(pool: &NodePool, type_labels: &Labels) -> bool {
    pool.requirements.iter().all(|requirement| {
        type_labels.get(&requirement.key).is_none_or(|value| requirement.accepts(Some(value)))
    })
}

/// `usable - daemons`, or all zero if that is negative anywhere: such an offering can hold nothing.
fn subtract(usable: &[i64], daemons: &[i64]) -> Vec<i64> {
    let left: Vec<i64> = usable.iter().zip(daemons).map(|(c, d)| c - d).collect();
    if left.iter().any(|amount| *amount < 0) { vec![0; left.len()] } else { left }
}

/// Sum of the requests of the DaemonSets that run on an offering's nodes.
pub(crate) fn daemon_requests(problem: &Problem<'_>, offering: &Offering) -> Resources {
    let instance_type = &problem.catalog.types[offering.instance_type as usize];
    let type_labels = instance_type.labels();
    let pool = problem.pool(offering);
    let zone = &instance_type.zones[offering.zone as usize];
    let layers = Layers {
        type_labels: &type_labels,
        fixed: fixed(
            &zone.zone,
            &zone.zone_id,
            &problem.catalog.region,
            CAPACITY_TYPES[offering.capacity_type as usize],
            pool,
        ),
        template: &pool.labels,
        variant: &offering.variant,
    };
    let label = |key: &str| {
        if key == labels::INITIALIZED { Some("true") } else { layers.get(key) }
    };
    let mut sum = Resources::default();
    for daemon in &problem.snapshot.daemon_sets {
        if daemon_matches(daemon, &label, &pool.taints, None) {
            sum.add(&effective_request(&daemon.spec));
        }
    }
    sum
}
