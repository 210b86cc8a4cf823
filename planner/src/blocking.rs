//! Which of a pod's own constraints keep it from every node: the fewest to drop, and what a node would cost then.

use crate::constraints::bound::daemon_ports;
use crate::constraints::ports::clash;
use crate::existing::destinations;
use crate::matching::{selects, selects_any, tolerates_all};
use crate::offerings::label_of;
use crate::problem::{Group, Problem};
use std::collections::BTreeMap;
use stowage_models::objects::{Affinity, PodSpec, Taint};
use stowage_models::plan::Blocking;
use stowage_models::quantity::display_amount;
use stowage_models::selector::Labels;
use stowage_models::units::UsdMicros;

/// Something a pod asks of its node that an offering may not give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ask<'a> {
    /// A pair of the node selector.
    Selector(&'a str, &'a str),
    /// Required node affinity.
    Affinity,
    /// To tolerate taints.
    Taints,
    /// Where its volumes can be.
    Volumes,
    /// Host ports that DaemonSets do not have.
    Ports,
    /// To be apart from pods that run, by the position of the term.
    Apart(usize),
    /// Of others: pods that run are to be apart from it.
    Repelled,
    /// An amount of a resource, by number.
    Request(usize),
}

/// A bin as far as asks go.
struct Bin<'b> {
    taints: &'b [Taint],
    room: &'b [i64],
    /// Its place in the snapshot if it is there.
    node: Option<usize>,
}

/// What keeps a group from every bin: alternatives, each with the price of the cheapest node that dropping it alone would open;
/// or, where none would do alone, the fewest that would together. Constraints between pods are not looked at, but for those of
/// pods that run.
pub(crate) fn in_the_way(problem: &Problem<'_>, group: &Group<'_>, type_labels: &[Labels]) -> Vec<Blocking> {
    let affinity =
        Affinity { node_required: problem.spec(group).affinity.node_required.clone(), ..Affinity::default() };
    let affinity = PodSpec { affinity, ..PodSpec::default() };
    let mut closed: Vec<(Vec<Ask<'_>>, i64)> = Vec::new();
    for found in destinations(problem) {
        let node = &problem.snapshot.nodes[found.node];
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let bin = Bin { taints: &found.taints, room: &found.free, node: Some(found.node) };
        closed.push((unmet(problem, group, &affinity, &label, &bin), 0));
    }
    for offering in &problem.offerings {
        let label = |key: &str| label_of(problem, type_labels, offering, key);
        let bin = Bin { taints: &problem.pool(offering).taints, room: &offering.capacity, node: None };
        closed.push((unmet(problem, group, &affinity, &label, &bin), offering.price));
    }
    let say = |ask: Ask<'_>, price: Option<i64>| {
        let (constraint, detail) = words(problem, group, ask);
        Blocking { constraint, detail, price_without: price.map(UsdMicros) }
    };
    minimal_sets(closed).into_iter().map(|(ask, price)| say(ask, price)).collect()
}

/// Of what closes each bin, with the bin's price: whatever closes some bin alone, each with the lowest price of such a bin; or, where
/// every bin is closed by several, those of one with the fewest, without a price. Bins that nothing closes do not count.
pub(crate) fn minimal_sets<T: Ord>(closed: impl IntoIterator<Item = (Vec<T>, i64)>) -> Vec<(T, Option<i64>)> {
    let mut alone: BTreeMap<T, i64> = BTreeMap::new();
    let mut fewest: Option<(usize, i64, Vec<T>)> = None;
    for (mut set, price) in closed {
        if set.len() > 1 {
            if fewest.as_ref().is_none_or(|(len, least, _)| (set.len(), price) < (*len, *least)) {
                fewest = Some((set.len(), price, set));
            }
        } else if let Some(one) = set.pop() {
            let have = alone.entry(one).or_insert(price);
            *have = price.min(*have);
        }
    }
    if alone.is_empty() {
        return fewest.into_iter().flat_map(|(.., set)| set).map(|one| (one, None)).collect();
    }
    alone.into_iter().map(|(one, price)| (one, Some(price))).collect()
}

fn unmet<'a, 'b>(
    problem: &'a Problem<'_>,
    group: &'a Group<'_>,
    affinity: &PodSpec,
    label: &impl Fn(&str) -> Option<&'b str>,
    bin: &Bin<'_>,
) -> Vec<Ask<'a>> {
    let spec = problem.spec(group);
    let name = bin.node.map(|node| problem.snapshot.nodes[node].name.as_str());
    let mut unmet: Vec<Ask<'a>> = Vec::new();
    let pairs = spec.node_selector.iter().filter(|(key, value)| label(key) != Some(value.as_str()));
    unmet.extend(pairs.map(|(key, value)| Ask::Selector(key, value)));
    if !selects(affinity, label, name) {
        unmet.push(Ask::Affinity);
    }
    if !tolerates_all(&spec.tolerations, bin.taints) {
        unmet.push(Ask::Taints);
    }
    if !selects_any(&group.wants.volumes, label, name) {
        unmet.push(Ask::Volumes);
    }
    let (meanings, bound) = (&problem.constraints.meanings, &problem.constraints.bound);
    let ports = &group.wants.ports;
    let taken = || match bin.node {
        Some(node) => bound.ports_taken(node, &group.wants),
        None => clash(ports, &daemon_ports(problem.snapshot, label, bin.taints)),
    };
    if !ports.is_empty() && taken() {
        unmet.push(Ask::Ports);
    }
    unmet.extend(bound.apart_from(meanings, &group.wants, label).map(Ask::Apart));
    if bound.repels(meanings, &group.wants, label) {
        unmet.push(Ask::Repelled);
    }
    let short = group.request.iter().zip(bin.room).enumerate();
    unmet.extend(short.filter(|(_, (w, c))| w > c).map(|(r, _)| Ask::Request(r)));
    unmet
}

/// The constraint as a path in the pod's spec, and what it asks for.
fn words(problem: &Problem<'_>, group: &Group<'_>, ask: Ask<'_>) -> (String, String) {
    match ask {
        Ask::Selector(key, value) => {
            (format!("nodeSelector[{key}]"), format!("asks for {value}, and nothing there holds the pod"))
        }
        Ask::Affinity => (
            "affinity.nodeAffinity".to_owned(),
            "nothing that holds the pod satisfies a required term".to_owned(),
        ),
        Ask::Taints => (
            "tolerations".to_owned(),
            "the taints of every NodePool and node that would hold the pod are not tolerated".to_owned(),
        ),
        Ask::Volumes => {
            ("volumes".to_owned(), "its volumes are, or may be, only where nothing holds the pod".to_owned())
        }
        Ask::Ports => (
            "containers[].ports[].hostPort".to_owned(),
            "the port is taken on every node that would hold the pod".to_owned(),
        ),
        Ask::Apart(at) => (
            format!("affinity.podAntiAffinity[{at}]"),
            "required: every domain with room for the pod has a pod it means".to_owned(),
        ),
        Ask::Repelled => (
            "podAntiAffinity of others".to_owned(),
            "required anti-affinity of running pods means it in every domain with room for it".to_owned(),
        ),
        Ask::Request(r) => {
            let resource = &problem.resources[r];
            let amount = display_amount(resource, group.request[r]);
            let detail =
                format!("requests {amount}; no node it may use leaves that much after DaemonSets and slack");
            (format!("resources[{resource}]"), detail)
        }
    }
}
