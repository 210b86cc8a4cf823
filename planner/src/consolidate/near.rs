//! Which of equal pods goes where: the plan only needs so many of a kind in each place, so whoever is in a zone already stays in it. Then fewer
//! moves wait for others (a pod that keeps its zone changes no spread over zones), and fewer pods change zones.

use std::collections::BTreeMap;
use stowage_models::labels;
use stowage_models::objects::{PodRef, PodSpec};
use stowage_models::plan::Plan;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// Place and position among its pods.
type Seat = (usize, usize);

/// Pods that are equal to the scheduler.
type Kind<'a> = (&'a str, &'a Labels, &'a PodSpec);

/// A pod that moves, its zone, and where the plan puts it.
type Mover<'p> = (PodRef, Option<&'p str>, Seat);

/// A place's zone and pods.
type Place<'p> = (Option<&'p str>, &'p mut Vec<PodRef>);

/// Exchanges equal pods of the nodes that go, so that as many as possible stay in their zones.
pub(super) fn keep_zones(snapshot: &Snapshot, moving: impl Iterator<Item = u32>, plan: &mut Plan) {
    let launches = plan.launches.iter_mut().map(|one| (Some(one.zone.as_str()), &mut one.pods));
    let nodes = plan.existing.iter_mut().map(|one| (one.zone.as_deref(), &mut one.pods));
    exchange(snapshot, moving, &mut launches.chain(nodes).collect::<Vec<Place<'_>>>());
}

fn exchange(snapshot: &Snapshot, moving: impl Iterator<Item = u32>, places: &mut [Place<'_>]) {
    let zones: BTreeMap<&str, &str> = snapshot
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.labels.get(labels::ZONE)?.as_str())))
        .collect();
    let seats: BTreeMap<&PodRef, Seat> = places
        .iter()
        .enumerate()
        .flat_map(|(place, (_, pods))| pods.iter().enumerate().map(move |(at, pod)| (pod, (place, at))))
        .collect();
    // By kind: pods that move, with their zones, and where the plan puts one of the kind.
    let mut kinds: BTreeMap<Kind<'_>, Vec<Mover<'_>>> = BTreeMap::new();
    for pod in moving.map(|pod| &snapshot.pods[pod as usize]) {
        let id = pod.id();
        let Some(seat) = seats.get(&id).copied() else { continue };
        // Volumes are a pod's own.
        if pod.spec.volumes.is_empty() {
            let zone = pod.node.as_deref().and_then(|node| zones.get(node).copied());
            kinds.entry((&pod.namespace, &pod.labels, &pod.spec)).or_default().push((id, zone, seat));
        }
    }
    let mut changes: Vec<(Seat, PodRef)> = Vec::new();
    for pods in kinds.into_values() {
        if pods.iter().all(|(_, zone, seat)| *zone == places[seat.0].0) {
            continue;
        }
        let mut free: BTreeMap<Option<&str>, Vec<Seat>> = BTreeMap::new();
        for (_, _, seat) in &pods {
            free.entry(places[seat.0].0).or_default().push(*seat);
        }
        free.values_mut().for_each(|seats| seats.sort_unstable_by(|a, b| b.cmp(a)));
        let mut others = Vec::new();
        for (pod, zone, _) in pods {
            match free.get_mut(&zone).and_then(Vec::pop) {
                Some(seat) => changes.push((seat, pod)),
                None => others.push(pod),
            }
        }
        changes.extend(free.into_values().flatten().zip(others));
    }
    for ((place, at), pod) in changes {
        places[place].1[at] = pod;
    }
    places.iter_mut().for_each(|(_, pods)| pods.sort());
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::objects::{Node, Pod};

    fn node(name: &str, zone: &str) -> Node {
        Node {
            name: name.to_owned(),
            labels: Labels::from([(labels::ZONE.to_owned(), zone.to_owned())]),
            ..Node::default()
        }
    }

    fn pod(name: &str, app: &str, node: &str) -> Pod {
        Pod {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            labels: Labels::from([("app".to_owned(), app.to_owned())]).into(),
            node: Some(node.to_owned()),
            ..Pod::default()
        }
    }

    /// Equal pods keep their zones as far as places go; one of another app keeps its place, whatever its zone.
    #[test]
    fn equal_pods_are_exchanged_and_others_are_not() {
        let snapshot = Snapshot {
            nodes: vec![node("a1", "a"), node("b1", "b"), node("a2", "a")],
            pods: vec![
                pod("one", "web", "a1"),
                pod("two", "web", "b1"),
                pod("three", "web", "b1"),
                pod("alone", "db", "b1"),
            ],
            ..Snapshot::default()
        };
        let of = |pods: &[usize]| pods.iter().map(|at| snapshot.pods[*at].id()).collect::<Vec<PodRef>>();
        let (mut launched, mut stays) = (of(&[0, 2]), of(&[3, 1]));
        exchange(&snapshot, 0..4, &mut [(Some("b"), &mut launched), (Some("a"), &mut stays)]);
        let sorted = |mut pods: Vec<PodRef>| {
            pods.sort();
            pods
        };
        assert_eq!(launched, sorted(of(&[1, 2])), "both web pods of zone b");
        assert_eq!(stays, sorted(of(&[0, 3])), "the web pod of zone a, and the other app's");
    }
}
