//! A planner that is good enough here: first fit, one instance type, any zone.

use crate::world::View;
use std::collections::{BTreeMap, BTreeSet};
use stowage_executor::{Intent, Offering, PlanInput, PlannedBatch, PlannedPod};
use stowage_models::labels;
use stowage_models::quantity::{CPU, Resources};
use stowage_models::units::UsdMicros;

/// The only instance type.
pub(crate) const TYPE: &str = "m.large";
/// What it promises, in millicores.
pub(crate) const PROMISED: i64 = 3900;
/// The only pool and class.
pub(crate) const POOL: &str = "default";

/// Plans pods that wait, with what is in flight, within a limit on the number of nodes.
pub(crate) fn plan(
    id: String,
    (claims, nodes, pods): &View,
    input: &PlanInput,
    limit: usize,
) -> PlannedBatch {
    let mut free: Vec<(String, i64)> = Vec::new();
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut used: BTreeMap<&str, i64> = BTreeMap::new();
    let moved: BTreeMap<&str, &String> = input.moving.iter().map(|one| (one.uid.as_str(), &one.to)).collect();
    for (pod, cpu) in pods.values() {
        if let Some(node) = moved.get(pod.uid.as_str()).copied().or(pod.node.as_ref()) {
            *used.entry(node).or_default() += cpu;
        }
    }
    let request = |planned: &PlannedPod| pods.get(&planned.id).map_or(0, |(_, cpu)| *cpu);
    let flying: BTreeSet<&String> = input.in_flight.iter().map(|flight| &flight.claim).collect();
    let known: BTreeSet<&str> = nodes.values().filter_map(|node| node.instance.as_deref()).collect();
    // As the real planner counts: nodes, and claims that have none (those that are being deleted, too).
    let without = claims.values().filter(|claim| {
        !flying.contains(&claim.name)
            && claim.instance.as_deref().is_none_or(|instance| !known.contains(instance))
    });
    let mut count = nodes.len() + without.count();
    for flight in &input.in_flight {
        let wanted: i64 = flight.pods.iter().map(request).sum();
        taken.extend(flight.pods.iter().map(|pod| pod.uid.as_str()));
        match &flight.node {
            Some(node) => *used.entry(node).or_default() += wanted,
            None => count += 1,
        }
    }
    let in_flight: BTreeSet<&String> =
        input.in_flight.iter().filter_map(|flight| flight.node.as_ref()).collect();
    for (name, node) in nodes {
        let open = node.taints.is_empty() && node.ready && !input.leaving.contains(name);
        if !in_flight.contains(name) && open {
            free.push((name.clone(), node.allocatable.get(CPU) - used.get(name.as_str()).unwrap_or(&0)));
        }
    }
    let key = ("default".to_owned(), TYPE.to_owned());
    let capacity = input.smaller.get(&key).map_or(PROMISED, |real| real.get(CPU));
    let mut batch = PlannedBatch { plan: id, ..PlannedBatch::default() };
    let mut bins: Vec<(i64, Vec<PlannedPod>)> = Vec::new();
    for (name, (pod, cpu)) in pods {
        if !pod.pending || taken.contains(pod.uid.as_str()) || input.hopeless.contains_key(name) {
            continue;
        }
        // Some are such that the executor binds them.
        let direct = name.0.ends_with('7');
        let planned = PlannedPod { id: name.clone(), uid: pod.uid.clone(), direct };
        if let Some((_, room)) = free.iter_mut().find(|(_, room)| room >= cpu) {
            *room -= cpu;
            batch.settled.push(planned);
        } else if let Some((room, bin)) = bins.iter_mut().find(|(room, _)| room >= cpu) {
            *room -= cpu;
            bin.push(planned);
        } else if *cpu <= capacity && count + bins.len() < limit {
            bins.push((capacity - cpu, vec![planned]));
        } else {
            batch.settled.push(planned);
        }
    }
    let offerings = offerings(input);
    if offerings.is_empty() {
        batch.settled.extend(bins.into_iter().flat_map(|(_, pods)| pods));
        return batch;
    }
    for (n, (_, pods)) in bins.into_iter().enumerate() {
        batch.launches.push(Intent {
            action: format!("launch/new-{:04}", n + 1),
            pool: POOL.to_owned(),
            class: "default".to_owned(),
            offerings: offerings.clone(),
            labels: [
                (labels::INSTANCE_TYPE.to_owned(), TYPE.to_owned()),
                (labels::EC2_NODE_CLASS.to_owned(), "default".to_owned()),
                (labels::NODEPOOL.to_owned(), POOL.to_owned()),
            ]
            .into(),
            allocatable: Resources::from([(CPU, capacity)]),
            capacity: Resources::from([(CPU, 4000)]),
            pods,
            ..Intent::default()
        });
    }
    batch
}

/// What can be had, cheapest first.
pub(crate) fn offerings(input: &PlanInput) -> Vec<Offering> {
    let mut offerings = Vec::new();
    for (n, zone) in ["a", "b", "c"].into_iter().enumerate() {
        for (m, capacity_type) in ["spot", "on-demand"].into_iter().enumerate() {
            let key = (TYPE.to_owned(), zone.to_owned(), capacity_type.to_owned());
            if !input.missing.contains(&key) {
                let price =
                    UsdMicros(100_000 * (1 + i64::try_from(m).unwrap_or(0)) + i64::try_from(n).unwrap_or(0));
                let (instance_type, zone, capacity_type) = key;
                offerings.push(Offering { instance_type, zone, capacity_type, price });
            }
        }
    }
    offerings.sort_by_key(|offering| offering.price);
    offerings.truncate(2);
    offerings
}
