//! Every node: its tile, its line in the list, and the names for its details.

use crate::render::figures::{self, dearer_by, fill, per_hour, whole_per_cent};
use crate::render::groups;
use serde::Serialize;
use stowage_models::plan::{ExistingNode, Launch, Plan};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::units::Ppm;

/// A node on the page.
#[derive(Debug, Serialize)]
pub(super) struct Node {
    /// Position in the data block.
    at: usize,
    /// `+` new, `~` gets pods, `=` left as it is.
    pub(super) sign: &'static str,
    name: String,
    instance_type: String,
    zone: String,
    capacity_type: String,
    /// `spot`, `od`, or `none` if unknown.
    capacity_class: &'static str,
    /// Filters it is shown by, separated by blanks.
    show: String,
    pods: usize,
    pods_text: String,
    cpu_fill: String,
    memory_fill: String,
    price: String,
    amounts: String,
    /// Everything in a sentence: tooltip, label, and readout.
    title: String,
    /// SVG paths of the two bars, what was there and what is new.
    base: String,
    plus: String,
}

/// What a node is made of, for tile and list alike.
struct Facts<'a> {
    sign: &'static str,
    name: &'a str,
    instance_type: &'a str,
    zone: &'a str,
    capacity_type: &'a str,
    node_pool: &'a str,
    price: String,
    pods: usize,
    allocatable: &'a Resources,
    before: &'a Resources,
    used: Resources,
}

/// New nodes in order of slots, then existing ones by name.
pub(super) fn all(plan: &Plan) -> Vec<Node> {
    let new = plan.launches.iter().map(new_facts);
    let old = plan.existing.iter().map(old_facts);
    new.chain(old).enumerate().map(|(at, facts)| node(at, &facts)).collect()
}

fn new_facts(launch: &Launch) -> Facts<'_> {
    let estimated = if launch.price_estimated { "~" } else { "" };
    Facts {
        sign: "+",
        name: &launch.slot,
        instance_type: &launch.instance_type,
        zone: &launch.zone,
        capacity_type: &launch.capacity_type,
        node_pool: &launch.node_pool,
        price: format!("{estimated}{}", launch.price),
        pods: launch.pods.len(),
        allocatable: &launch.allocatable,
        before: &launch.daemon_sets,
        used: groups::used_by_launch(launch),
    }
}

fn old_facts(node: &ExistingNode) -> Facts<'_> {
    Facts {
        sign: if node.pods.is_empty() { "=" } else { "~" },
        name: &node.name,
        instance_type: node.instance_type.as_deref().unwrap_or(""),
        zone: node.zone.as_deref().unwrap_or(""),
        capacity_type: node.capacity_type.as_deref().unwrap_or(""),
        node_pool: node.node_pool.as_deref().unwrap_or(""),
        price: node.price.map_or_else(|| "unpriced".to_owned(), |price| price.to_string()),
        pods: node.pods.len(),
        allocatable: &node.allocatable,
        before: &node.running,
        used: groups::used_by_node(node),
    }
}

fn node(at: usize, facts: &Facts<'_>) -> Node {
    let share = |name| fill(facts.used.get(name), facts.allocatable.get(name));
    let capacity_class = match facts.capacity_type {
        "spot" => "spot",
        "" => "none",
        _ => "od",
    };
    let amounts = amounts(facts);
    let known = [facts.instance_type, facts.zone, facts.capacity_type, facts.node_pool];
    let known: Vec<&str> = known.into_iter().filter(|part| !part.is_empty()).collect();
    let placed = match (facts.sign, facts.pods) {
        ("=", _) => "no new pods".to_owned(),
        ("+", pods) => figures::pods(pods as u64),
        (_, pods) => format!("{} more", figures::pods(pods as u64)),
    };
    let (base, plus) = tile(facts);
    Node {
        at,
        sign: facts.sign,
        name: facts.name.to_owned(),
        instance_type: facts.instance_type.to_owned(),
        zone: facts.zone.to_owned(),
        capacity_type: facts.capacity_type.to_owned(),
        capacity_class,
        show: format!("{} {capacity_class}", if facts.sign == "+" { "new" } else { "existing" }),
        pods: facts.pods,
        pods_text: if facts.sign == "~" { format!("+{}", facts.pods) } else { facts.pods.to_string() },
        cpu_fill: whole_per_cent(share(CPU)),
        memory_fill: whole_per_cent(share(MEMORY)),
        price: facts.price.clone(),
        title: format!("{}: {}. {placed}. {amounts}. {}/h", facts.name, known.join(", "), facts.price),
        amounts,
        base,
        plus,
    }
}

/// `cpu 14.2 of 15.89 (89 %), memory ..., pods ...`.
fn amounts(facts: &Facts<'_>) -> String {
    let part = |name| {
        let share = whole_per_cent(fill(facts.used.get(name), facts.allocatable.get(name)));
        format!("{name} {} ({share})", figures::of(name, &facts.used, facts.allocatable).replace('/', " of "))
    };
    [CPU, MEMORY, PODS].map(part).join(", ")
}

/// Height of the picture inside a tile.
const TILE_HEIGHT: i64 = 32;

/// Two bars, cpu and memory: what is there already, and on top of it what this plan adds.
fn tile(facts: &Facts<'_>) -> (String, String) {
    let mut base = String::new();
    let mut plus = String::new();
    for (left, name) in [(1, CPU), (11, MEMORY)] {
        let of = facts.allocatable.get(name);
        let height = |share: Ppm| share.0.min(Ppm::ONE) * TILE_HEIGHT * 100 / Ppm::ONE;
        let (lower, upper) =
            (height(fill(facts.before.get(name), of)), height(fill(facts.used.get(name), of)));
        base.push_str(&bar(left, 0, lower));
        plus.push_str(&bar(left, lower, upper));
    }
    (base, plus)
}

/// A rectangle from `lower` to `upper`, hundredths of a unit above the floor.
fn bar(left: i64, lower: i64, upper: i64) -> String {
    let (top, height) = (TILE_HEIGHT * 100 - upper, upper - lower);
    if height <= 0 {
        return String::new();
    }
    let decimal = |hundredths: i64| format!("{}.{:02}", hundredths / 100, hundredths % 100);
    format!("M{left} {}h8v{}h-8z", decimal(top), decimal(height))
}

/// A choice of the list's filter.
#[derive(Debug, Serialize)]
pub(super) struct Choice {
    value: &'static str,
    name: &'static str,
}

/// Only choices that would hide something and show something.
pub(super) fn choices(nodes: &[Node]) -> Vec<Choice> {
    let all = [("new", "New"), ("existing", "Existing"), ("od", "On-demand"), ("spot", "Spot")];
    let shown =
        |value: &str| nodes.iter().filter(|node| node.show.split(' ').any(|part| part == value)).count();
    let some = all.into_iter().filter(|(value, _)| (1..nodes.len()).contains(&shown(value)));
    let some = some.map(|(value, name)| Choice { value, name });
    std::iter::once(Choice { value: "all", name: "All" }).chain(some).collect()
}

/// Average fill, the sentence shown before anything is pointed at.
pub(super) fn fill_sentence(plan: &Plan) -> String {
    let mut parts = Vec::new();
    let full = |used: &Resources, of: &Resources, name| whole_per_cent(fill(used.get(name), of.get(name)));
    if !plan.launches.is_empty() {
        let (mut used, mut of) = (Resources::default(), Resources::default());
        for launch in &plan.launches {
            used.add(&groups::used_by_launch(launch));
            of.add(&launch.allocatable);
        }
        let (cpu, memory) = (full(&used, &of, CPU), full(&used, &of, MEMORY));
        parts.push(format!("New nodes together: cpu {cpu}, memory {memory}."));
    }
    if !plan.existing.is_empty() {
        let (mut before, mut used, mut of) =
            (Resources::default(), Resources::default(), Resources::default());
        for node in &plan.existing {
            before.add(&node.running);
            used.add(&groups::used_by_node(node));
            of.add(&node.allocatable);
        }
        let change = |name| format!("{} → {}", full(&before, &of, name), full(&used, &of, name));
        parts.push(format!("Existing nodes together: cpu {}, memory {}.", change(CPU), change(MEMORY)));
    }
    parts.join(" ")
}

/// The data block.
#[derive(Debug, Serialize)]
pub(super) struct Names<'a> {
    nodes: Vec<Inside<'a>>,
    out: Vec<Vec<&'a str>>,
}

/// What a node's details show. Short keys: there may be a thousand of these.
#[derive(Debug, Serialize)]
struct Inside<'a> {
    /// Pods.
    p: Vec<&'a str>,
    /// More words to find it by.
    s: &'a str,
    /// Substitutes: type, zone, capacity type, price, difference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    a: Vec<[String; 5]>,
}

/// Names of all pods, in the order of [`all`].
pub(super) fn names(plan: &Plan) -> Names<'_> {
    let new = plan.launches.iter().map(|launch| Inside {
        p: launch.pods.iter().map(|pod| pod.0.as_str()).collect(),
        s: &launch.node_pool,
        a: substitutes(launch),
    });
    let old = plan.existing.iter().map(|node| Inside {
        p: node.pods.iter().map(|pod| pod.0.as_str()).collect(),
        s: node.node_pool.as_deref().unwrap_or(""),
        a: Vec::new(),
    });
    let out = plan.unplaced.iter().map(|entry| entry.pods.iter().map(|pod| pod.0.as_str()).collect());
    Names { nodes: new.chain(old).collect(), out: out.collect() }
}

fn substitutes(launch: &Launch) -> Vec<[String; 5]> {
    let row = |one: &stowage_models::plan::Alternate| {
        [
            one.instance_type.clone(),
            one.zone.clone(),
            one.capacity_type.clone(),
            per_hour(one.price),
            dearer_by(one.price - launch.price),
        ]
    };
    launch.alternates.iter().map(row).collect()
}
