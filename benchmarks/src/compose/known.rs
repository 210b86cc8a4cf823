//! `known-*`: instances whose optimum is known, made by cutting full nodes into pods, so that the *true* gap can be told.
//!
//! Two offerings A and B are chosen so that for some price of cpu and of memory, `pi`, A and B cost exactly what their
//! capacity is worth and no other offering costs less than its capacity is worth:
//!
//! ```text
//! pi . capacity_o <= price_o   for every offering o of the NodePool, with equality for A and B          (1)
//! ```
//!
//! Nodes of A and B are then cut into pods until nothing of their cpu and memory is left over. Whatever nodes hold all
//! pods, by (1) they cost at least `pi . (sum of all requests)`, which is what the nodes that were cut cost: these are an
//! optimum. `pi` is a quotient of integers and everything is exact; [`Known`] carries what is needed to check it, and
//! `benchmarks/tests/it/known.rs` does, with its own reading of the catalogue.
//!
//! The proof needs the capacity that is cut to be the capacity planners count with: slack must be zero
//! ([`super::Composition::slack`]). DaemonSets are subtracted as always. Prices are those of the embedded catalogue, so
//! another catalogue makes other instances of the same seed; none is committed.

use super::parts::{PodMaker, Workload, daemon_sets, node_class, plain_requests, pool};
use super::sizes::MIB;
use std::collections::BTreeMap;
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::{Container, PodSpec};
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;
use stowage_models::selector::{Operator, Requirement};
use stowage_models::snapshot::{Settings, Snapshot};
use stowage_models::units::UsdMicros;

/// What an instance is like.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Pods.
    pub pods: usize,
    /// Different ways of cutting a node; more than there are nodes = every node its own.
    pub cuts: usize,
    /// Fewest and most pods of a node.
    pub pods_of_a_node: (usize, usize),
}

/// Nearly every node is cut its own way into three to eight pods: packing them back is tight.
const fn hard(pods: usize) -> Size {
    Size { pods, cuts: 60, pods_of_a_node: (3, 8) }
}

/// Four ways of cutting a node into five pods: twenty shapes.
const fn easy(pods: usize) -> Size {
    Size { pods, cuts: 4, pods_of_a_node: (5, 5) }
}

/// `known-50`, `known-500`, `known-5k`: few shapes.
pub(super) const EASY: [Size; 3] = [easy(50), easy(500), easy(5_000)];
/// `known-50-hard`, `known-500-hard`, `known-5k-hard`: shapes that fit together in few ways.
pub(super) const HARD: [Size; 3] = [hard(50), hard(500), hard(5_000)];

/// An instance with its optimum and the proof of it.
#[derive(Clone, Debug)]
pub struct Known {
    /// The instance.
    pub snapshot: Snapshot,
    /// Price of the nodes that were cut: no nodes that hold all pods cost less.
    pub optimum: UsdMicros,
    /// The nodes that were cut.
    pub nodes: Vec<CutNode>,
    /// `pi`.
    pub worth: Worth,
}

/// A node of the optimum.
#[derive(Clone, Debug)]
pub struct CutNode {
    /// Instance type.
    pub instance_type: String,
    /// Zone name.
    pub zone: String,
    /// `spot` or `on-demand`.
    pub capacity_type: &'static str,
    /// Per hour.
    pub price: UsdMicros,
    /// Its pods as `namespace/name`.
    pub pods: Vec<String>,
}

/// What cpu and memory are worth: `(cpu * millicores + memory * mebibytes) / divisor` micro-dollars per hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Of a millicore, times the divisor; not negative.
    pub cpu: i128,
    /// Of a mebibyte, times the divisor; not negative.
    pub memory: i128,
    /// Divisor; above zero.
    pub divisor: i128,
}

impl Worth {
    /// Worth of an amount, times the divisor.
    #[must_use]
    pub fn of(&self, millicores: i64, mebibytes: i64) -> i128 {
        self.cpu * i128::from(millicores) + self.memory * i128::from(mebibytes)
    }

    /// Prices at which both offers cost what they are worth; `None` if there are no such.
    fn tight(a: &Offer, b: &Offer) -> Option<Worth> {
        let wide = |offer: &Offer| {
            (i128::from(offer.millicores), i128::from(offer.mebibytes), i128::from(offer.price))
        };
        let ((cpu_a, memory_a, price_a), (cpu_b, memory_b, price_b)) = (wide(a), wide(b));
        let divisor = cpu_a * memory_b - cpu_b * memory_a;
        let worth = Worth {
            cpu: (price_a * memory_b - price_b * memory_a) * divisor.signum(),
            memory: (cpu_a * price_b - cpu_b * price_a) * divisor.signum(),
            divisor: divisor.abs(),
        };
        (worth.divisor > 0 && worth.cpu >= 0 && worth.memory >= 0).then_some(worth)
    }
}

/// Something the NodePool may launch.
#[derive(Clone, Debug)]
struct Offer {
    instance_type: String,
    zone: String,
    capacity_type: &'static str,
    price: i64,
    /// Left for pods, beside the DaemonSets.
    millicores: i64,
    mebibytes: i64,
}

/// MiB of memory per core around which the instance is made: that of the m family.
const MIB_PER_CORE: i128 = 4 * 1024;

/// Makes an instance.
///
/// # Panics
/// If the catalogue has no two offerings as described above; a test makes every instance.
#[must_use]
pub fn known(seed: u64, size: &Size) -> Known {
    let mut rng = Random::new(seed);
    let mut snapshot = Snapshot {
        node_pools: vec![pool("general", &["amd64", "arm64"], &["on-demand", "spot"])],
        node_classes: vec![node_class()],
        daemon_sets: daemon_sets(),
        ..Snapshot::default()
    };
    // Nodes that three to eight pods of usual size fill.
    for (operator, vcpus) in [(Operator::Gt, "3"), (Operator::Lt, "17")] {
        let sized = Requirement::new("karpenter.k8s.aws/instance-cpu", operator, &[vcpus]);
        snapshot.node_pools[0].requirements.push(sized);
    }
    let offers = offers(&snapshot);
    let (a, b, worth) = tight_pair(&offers);
    let cuts = cut_nodes(&[a, b], size, &mut rng.fork());

    let mut counts: BTreeMap<Shape, u64> = BTreeMap::new();
    for (_, shapes) in &cuts {
        for shape in shapes {
            *counts.entry(*shape).or_default() += 1;
        }
    }
    let mut maker = PodMaker::new(rng.fork());
    let mut names: BTreeMap<Shape, Vec<String>> = BTreeMap::new();
    for (index, (shape, count)) in counts.into_iter().enumerate() {
        let workload = Workload::new("known", &format!("app-{index:03}"), shape.spec());
        let pods = maker.pending(&workload, count);
        names.insert(shape, pods.iter().map(|pod| pod.id().0).collect());
        snapshot.pods.extend(pods);
    }
    let nodes: Vec<CutNode> = cuts
        .into_iter()
        .map(|(offer, shapes)| CutNode {
            instance_type: offer.instance_type.clone(),
            zone: offer.zone.clone(),
            capacity_type: offer.capacity_type,
            price: UsdMicros(offer.price),
            pods: shapes
                .iter()
                .map(|shape| names.get_mut(shape).and_then(Vec::pop).expect("a pod for every cut"))
                .collect(),
        })
        .collect();
    let optimum = UsdMicros(nodes.iter().map(|node| node.price.0).sum());
    Known { snapshot, optimum, nodes, worth }
}

/// Everything the NodePool of the instance may launch.
fn offers(snapshot: &Snapshot) -> Vec<Offer> {
    let (pool, class) = (&snapshot.node_pools[0], &snapshot.node_classes[0]);
    let mut agents = Resources::default();
    for daemon_set in &snapshot.daemon_sets {
        agents.add(&plain_requests(&daemon_set.spec));
    }
    let mut made = Vec::new();
    for kind in &Catalog::embedded().types {
        let mut room = kind.allocatable(&Settings::default(), class);
        room.sub(&agents);
        let (millicores, mebibytes) = (room.get(CPU), room.get(MEMORY) / MIB);
        if millicores <= 0 || mebibytes <= 0 {
            continue;
        }
        let mut node_labels = kind.labels();
        for zone in kind.zones.iter().filter(|zone| class.zones.contains(&zone.zone)) {
            for capacity_type in ["on-demand", "spot"] {
                node_labels.insert(labels::CAPACITY_TYPE.to_owned(), capacity_type.to_owned());
                let launches = pool.requirements.iter().all(|requirement| requirement.matches(&node_labels));
                let Some(price) = kind.price(&zone.zone, capacity_type).filter(|_| launches) else {
                    continue;
                };
                made.push(Offer {
                    instance_type: kind.name.clone(),
                    zone: zone.zone.clone(),
                    capacity_type,
                    price: price.usd.0,
                    millicores,
                    mebibytes,
                });
            }
        }
    }
    made
}

/// The two offers on either side of [`MIB_PER_CORE`] for which (1) of the module text holds.
///
/// It begins with the offers that have most cpu and most memory per dollar. As long as some offer costs less than it is
/// worth, the one that does so most takes the place of the one on its side. Worth falls with every step, so this ends.
fn tight_pair(offers: &[Offer]) -> (&Offer, &Offer, Worth) {
    let per_dollar = |amount: fn(&Offer) -> i64| {
        let better = |x: &&Offer, y: &&Offer| {
            let cross = |p: &Offer, q: &Offer| i128::from(amount(p)) * i128::from(q.price);
            cross(x, y).cmp(&cross(y, x))
        };
        offers.iter().max_by(better).expect("the NodePool launches something")
    };
    let (mut a, mut b) = (per_dollar(|offer| offer.millicores), per_dollar(|offer| offer.mebibytes));
    loop {
        let worth = Worth::tight(a, b).expect("cpu and memory are cheapest in different families");
        let excess = |offer: &Offer| {
            worth.of(offer.millicores, offer.mebibytes) - worth.divisor * i128::from(offer.price)
        };
        let cheap = offers.iter().filter(|offer| excess(offer) > 0).max_by(|x, y| {
            let cross = |p: &Offer, q: &Offer| excess(p) * i128::from(q.price);
            cross(x, y).cmp(&cross(y, x))
        });
        let Some(cheap) = cheap else {
            return (a, b, worth);
        };
        let has_more_memory =
            i128::from(cheap.mebibytes) * 1000 > MIB_PER_CORE * i128::from(cheap.millicores);
        *(if has_more_memory { &mut b } else { &mut a }) = cheap;
    }
}

/// What a pod requests: millicores and mebibytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shape(i64, i64);

impl Shape {
    fn spec(self) -> PodSpec {
        let requests = Resources::from([(CPU, self.0), (MEMORY, self.1 * MIB)]);
        PodSpec { containers: vec![Container { requests, ..Container::default() }], ..PodSpec::default() }
    }
}

/// Full nodes of both offers, in turn, cut into as many pods as the size says.
fn cut_nodes<'a>(both: &[&'a Offer; 2], size: &Size, rng: &mut Random) -> Vec<(&'a Offer, Vec<Shape>)> {
    let (least, most) = size.pods_of_a_node;
    let mut known: Vec<(&Offer, Vec<Shape>)> = Vec::new();
    let mut made: Vec<(&Offer, Vec<Shape>)> = Vec::new();
    let mut left = size.pods;
    while left > 0 {
        let offer = both[made.len() % 2];
        // What is left must not become a node of fewer pods than a node has.
        let usable = |pods: usize| pods == left || left >= pods + least;
        let old: Vec<usize> = (0..known.len())
            .filter(|cut| known[*cut].0.price == offer.price && usable(known[*cut].1.len()))
            .collect();
        let cut = if known.len() < size.cuts || old.is_empty() {
            let choices: Vec<usize> = (least..=most).filter(|pods| usable(*pods)).collect();
            let shapes = cut(offer, *rng.pick(&choices), rng);
            known.push((offer, shapes.clone()));
            shapes
        } else {
            known[*rng.pick(&old)].1.clone()
        };
        left -= cut.len();
        made.push((offer, cut));
    }
    made
}

/// Cuts a node into pods whose requests add up to its capacity exactly.
fn cut(offer: &Offer, pods: usize, rng: &mut Random) -> Vec<Shape> {
    let cpu = parts(offer.millicores, pods, rng);
    let memory = parts(offer.mebibytes, pods, rng);
    cpu.into_iter().zip(memory).map(|(cpu, memory)| Shape(cpu, memory)).collect()
}

/// `count` positive numbers that add up to `total`, the largest about five times the smallest at most.
fn parts(total: i64, count: usize, rng: &mut Random) -> Vec<i64> {
    let weights: Vec<i64> = (0..count).map(|_| rng.between(20, 100)).collect();
    let sum: i64 = weights.iter().sum();
    let mut parts: Vec<i64> = weights.iter().map(|weight| total * weight / sum).collect();
    parts[count - 1] += total - parts.iter().sum::<i64>();
    parts
}
