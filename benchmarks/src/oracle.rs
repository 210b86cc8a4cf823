//! The oracle: tiny random cases and their exact optimum, found twice and without the planner's method.
//!
//! [`Problem::by_model`] is the assignment model one would write first, in `good_lp`; it is the readable reference for
//! `docs/formulation.md`, not a planner: beyond a dozen pods its symmetry defeats any solver.
//! [`Problem::by_enumeration`] tries every partition of the pods in integers and needs no solver at all.

mod cases;
mod enumerate;
mod model;

pub use cases::{Case, OFFERINGS_MAX, PODS_MAX};

use std::collections::BTreeSet;
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::labels::{self, CAPACITY_RESERVATION_ID as RESERVATION_ID};
use stowage_models::objects::{DaemonSet, Node, NodePool, PodSpec, Taint, TaintEffect};
use stowage_models::plan::{MinValues, Policy, Preferences};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// Something one can launch any number of times.
#[derive(Clone, Debug)]
pub struct Offering {
    /// What it has left for pods.
    pub capacity: Resources,
    /// Price per hour.
    pub price: UsdMicros,
    /// The capacity reservation it draws on, and its stock.
    pub stock: Option<(String, i64)>,
    /// What its NodePool asks several values of: pool and key, the value here, how many.
    pub asked: Vec<(String, Option<String>, usize)>,
}

impl Offering {
    /// Whether those of `all` that may stand in have as many values as the NodePool asks for.
    fn is_covered(&self, all: &[Offering], may: impl Fn(usize) -> bool) -> bool {
        self.asked.iter().all(|(key, _, least)| {
            let values =
                all.iter().enumerate().filter(|(index, _)| may(*index)).flat_map(|(_, one)| &one.asked);
            let values: BTreeSet<&String> = values
                .filter(|(other, ..)| other == key)
                .filter_map(|(_, value, _)| value.as_ref())
                .collect();
            values.len() >= *least
        })
    }
}

/// A case reduced to arithmetic. Pods that fit no bin are left out already.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    /// Request of each pod.
    pub pods: Vec<Resources>,
    /// Offerings.
    pub offerings: Vec<Offering>,
    /// What each existing node has left.
    pub nodes: Vec<Resources>,
    /// `pod_offering[p][o]`: pod `p` may run on offering `o`.
    pub pod_offering: Vec<Vec<bool>>,
    /// `pod_node[p][i]`: pod `p` may run on existing node `i`.
    pub pod_node: Vec<Vec<bool>>,
    /// `fine_offering[p][o]`: what pod `p` misses on offering `o`, in micro-dollars per hour; known to the enumeration only.
    pub fine_offering: Vec<Vec<i64>>,
    /// `fine_node[p][i]`: what pod `p` misses on existing node `i`.
    pub fine_node: Vec<Vec<i64>>,
}

/// A bin with what decides whether a pod may use it.
struct Place {
    labels: Labels,
    taints: Vec<Taint>,
    capacity: Resources,
}

impl Place {
    /// Whether one pod of this template may run here: selectors, taints, and it fits alone.
    fn takes(&self, spec: &PodSpec) -> bool {
        let selected = spec.node_selector.iter().all(|(key, value)| self.labels.get(key) == Some(value));
        let hard = self.taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule);
        let tolerated = hard.clone().all(|taint| tolerates(spec, taint));
        selected && tolerated && request(spec).fits(&self.capacity)
    }

    /// What a pod of this template misses here (`docs/formulation.md` section 1.7), in micro-dollars per hour.
    fn fine(&self, spec: &PodSpec) -> i64 {
        let soft = self.taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
        let taints = soft.filter(|taint| !tolerates(spec, taint)).count() as i64;
        let missed =
            spec.affinity.node_preferred.iter().filter(|one| {
                !one.preference.match_expressions.iter().all(|term| term.matches(&self.labels))
            });
        let unmet = missed.map(|one| i64::from(one.weight)).sum::<i64>() + 100 * taints;
        let request = request(spec);
        let worth = request.get(CPU) * 12 + request.get(MEMORY) * 1500 / (1 << 30);
        worth.max(1200) * unmet.min(1000) / 1000
    }
}

/// Tolerations of the cases name key, value and effect.
fn tolerates(spec: &PodSpec, taint: &Taint) -> bool {
    spec.tolerations.iter().any(|toleration| {
        toleration.key == taint.key
            && toleration.value == taint.value
            && toleration.effect.is_none_or(|effect| effect == taint.effect)
    })
}

/// Request of a pod of the oracle's cases: containers only, and itself.
fn request(spec: &PodSpec) -> Resources {
    let mut sum = Resources::from([(PODS, 1)]);
    for container in &spec.containers {
        sum.add(&container.requests);
    }
    sum
}

/// Allocatable less slack (cpu and memory) and node agents; negative amounts become zero.
fn left(allocatable: &Resources, slack: Ppm, agents: &[DaemonSet]) -> Resources {
    let mut capacity = allocatable.clone();
    for name in [CPU, MEMORY] {
        capacity.set(name, capacity.get(name) * (Ppm::ONE - slack.0) / Ppm::ONE);
    }
    for agent in agents {
        capacity.sub(&request(&agent.spec));
    }
    Resources(capacity.0.into_iter().filter(|(_, amount)| *amount > 0).collect())
}

impl Problem {
    /// Reads a case. It must stay within what [`Case::random`] makes: selectors, equality tolerations, NodePools that
    /// filter by architecture and capacity type, node agents that tolerate everything, no limits.
    #[must_use]
    pub fn new(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy) -> Problem {
        let offerings = offerings(snapshot, catalog, policy);
        let nodes: Vec<Place> = snapshot.nodes.iter().map(|node| existing(snapshot, node, policy)).collect();
        let mut problem = Problem {
            offerings: offerings
                .iter()
                .map(|(place, price, _)| Offering {
                    capacity: place.capacity.clone(),
                    price: *price,
                    stock: place.labels.get(RESERVATION_ID).map(|id| {
                        let all = snapshot.node_classes.iter().flat_map(|class| &class.capacity_reservations);
                        let left = all.filter(|one| one.id == *id).filter_map(|one| one.available).min();
                        (id.clone(), left.unwrap_or(0))
                    }),
                    asked: if policy.min_values == Some(MinValues::Strict) {
                        asked(snapshot, place)
                    } else {
                        Vec::new()
                    },
                })
                .collect(),
            nodes: nodes.iter().map(|place| place.capacity.clone()).collect(),
            ..Problem::default()
        };
        for pod in snapshot.pods.iter().filter(|pod| pod.is_pending()) {
            let takes: Vec<bool> = offerings.iter().map(|(place, ..)| place.takes(&pod.spec)).collect();
            let takes: Vec<bool> = (0..takes.len())
                .map(|at| {
                    takes[at] && problem.offerings[at].is_covered(&problem.offerings, |other| takes[other])
                })
                .collect();
            let weights = offerings.iter().zip(&takes).filter(|(_, takes)| **takes);
            let weight = weights.map(|((_, _, weight), _)| *weight).max();
            let by_offering: Vec<bool> = offerings
                .iter()
                .zip(&takes)
                .map(|((_, _, own), takes)| Some(*own) == weight && *takes)
                .collect();
            let by_node: Vec<bool> = nodes.iter().map(|place| place.takes(&pod.spec)).collect();
            if by_offering.iter().chain(&by_node).any(|may| *may) {
                problem.pods.push(request(&pod.spec));
                problem.pod_offering.push(by_offering);
                problem.pod_node.push(by_node);
                let priced = policy.preferences == Some(Preferences::Respect);
                let fine = |place: &Place| if priced { place.fine(&pod.spec) } else { 0 };
                problem.fine_offering.push(offerings.iter().map(|(place, ..)| fine(place)).collect());
                problem.fine_node.push(nodes.iter().map(fine).collect());
            }
        }
        problem
    }
}

/// What the NodePool of an offering asks several values of.
fn asked(snapshot: &Snapshot, place: &Place) -> Vec<(String, Option<String>, usize)> {
    let pool = snapshot.node_pools.iter().find(|pool| place.labels.get(labels::NODEPOOL) == Some(&pool.name));
    let several = pool.into_iter().flat_map(|pool| pool.requirements.iter().map(move |one| (pool, one)));
    several
        .filter_map(|(pool, one)| {
            let least = one.min_values.filter(|least| *least > 1)? as usize;
            Some((format!("{}/{}", pool.name, one.key), place.labels.get(&one.key).cloned(), least))
        })
        .collect()
}

/// All offerings with price and weight of their pool.
fn offerings(snapshot: &Snapshot, catalog: &Catalog, policy: &Policy) -> Vec<(Place, UsdMicros, i32)> {
    let mut found = Vec::new();
    for pool in &snapshot.node_pools {
        for machine in &catalog.types {
            for zone in &machine.zones {
                let spot = zone.spot.map(|price| ("spot", price.usd, None));
                let on_demand = machine.on_demand.map(|usd| ("on-demand", usd, None));
                let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
                let reserved =
                    class.into_iter().flat_map(|class| &class.capacity_reservations).filter(|one| {
                        one.instance_type == machine.name && one.zone == zone.zone && one.available > Some(0)
                    });
                let reserved = reserved.filter_map(|one| {
                    let price = UsdMicros((machine.on_demand?.0 + 9_999) / 10_000);
                    Some(("reserved", price, Some(&one.id)))
                });
                for (capacity_type, price, id) in spot.into_iter().chain(on_demand).chain(reserved) {
                    let mut labels = offering_labels(pool, machine, &zone.zone, capacity_type);
                    labels.extend(id.map(|id| (RESERVATION_ID.to_owned(), id.clone())));
                    if pool.requirements.iter().all(|requirement| requirement.matches(&labels)) {
                        let class = snapshot.node_classes.iter().find(|class| class.name == pool.node_class);
                        let class = class.cloned().unwrap_or_default();
                        let allocatable = machine.allocatable(&snapshot.settings, &class);
                        let capacity = left(&allocatable, policy.slack, &snapshot.daemon_sets);
                        let place = Place { labels, taints: pool.taints.clone(), capacity };
                        found.push((place, price, pool.weight));
                    }
                }
            }
        }
    }
    found
}

fn offering_labels(pool: &NodePool, machine: &InstanceType, zone: &str, capacity_type: &str) -> Labels {
    let mut own = machine.labels();
    for (key, value) in
        [(labels::ZONE, zone), (labels::CAPACITY_TYPE, capacity_type), (labels::NODEPOOL, &pool.name)]
    {
        own.insert(key.to_owned(), value.to_owned());
    }
    own
}

/// What an existing node has left; its node agents are taken as not yet bound, as in the cases.
fn existing(snapshot: &Snapshot, node: &Node, policy: &Policy) -> Place {
    let mut capacity = left(&node.allocatable, policy.slack, &snapshot.daemon_sets);
    for pod in snapshot.pods.iter().filter(|pod| pod.node.as_ref() == Some(&node.name)) {
        capacity.sub(&request(&pod.spec));
    }
    let capacity = Resources(capacity.0.into_iter().filter(|(_, amount)| *amount > 0).collect());
    Place { labels: node.labels.clone(), taints: node.taints.clone(), capacity }
}
