//! What is closed to launches: zones that the PlanPolicy takes out or that the cluster is shifted away from, and capacity reservations that end.

use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::{NodeDecision, NodeReason};
use stowage_models::labels;
use stowage_models::objects::Node;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// EC2 begins to end machines in a capacity block so long before the block ends; Karpenter counts it as over from then on, with a reserve.
const BLOCK_LEAD: SignedDuration = SignedDuration::from_mins(40);
/// The zone of a class of which all zones are closed: no list of zones means every zone.
const NO_ZONE: &str = "stowage.dev/closed";

/// Zones by name, with their ids.
pub(crate) type Zones = BTreeMap<String, String>;

/// Takes them out of a snapshot for planning. Nodes that are there stay what they are, at their prices; where the cluster is shifted away from
/// their zone they are kept besides: capacity that goes there does not come back while the shift lasts, and what moves meets a cluster that is
/// short of it already. What has to go goes.
pub(crate) fn close(snapshot: &mut Snapshot, zones: &BTreeSet<String>, shifted: &Zones, now: Timestamp) {
    for node in snapshot.nodes.iter_mut().filter(|node| is_in(&node.labels, shifted).is_some()) {
        node.annotations.insert(labels::DO_NOT_DISRUPT.to_owned(), "true".to_owned());
    }
    let is_closed = |zone: &String| zones.contains(zone) || shifted.contains_key(zone);
    for class in &mut snapshot.node_classes {
        if !class.zones.is_empty() {
            class.zones.retain(|zone| !is_closed(zone));
            if class.zones.is_empty() {
                class.zones.push(NO_ZONE.to_owned());
            }
        }
        for one in &mut class.capacity_reservations {
            let lead =
                if one.reservation_type == "capacity-block" { BLOCK_LEAD } else { SignedDuration::ZERO };
            let end = one.ends.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
            if end.is_some_and(|end| end.duration_since(now) <= lead) {
                one.available = Some(0);
            }
        }
    }
}

/// The zone of these labels, if it is one of those.
pub(crate) fn is_in<'a>(of: &'a Labels, zones: &Zones) -> Option<&'a String> {
    of.get(labels::ZONE).filter(|zone| zones.contains_key(*zone))
}

/// Nodes in zones, with the zone.
pub(crate) fn nodes_in(nodes: &[Node], zones: &Zones) -> BTreeMap<String, String> {
    nodes.iter().filter_map(|node| Some((node.name.clone(), is_in(&node.labels, zones)?.clone()))).collect()
}

/// Why nodes are kept, in the words of what keeps them: the mark that they have in plans is not theirs.
pub(crate) fn explain(nodes: &mut [NodeDecision], kept: &BTreeMap<String, String>) {
    for one in nodes.iter_mut().filter(|one| one.reason == NodeReason::DoNotDisrupt) {
        if let Some(zone) = kept.get(&one.node) {
            one.message = format!("the cluster is shifted away from its zone {zone}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::objects::{CapacityReservation, Ec2NodeClass};

    fn snapshot(zones: &[&str]) -> Snapshot {
        let reservation = |id: &str, kind: &str, ends: Option<&str>| CapacityReservation {
            id: id.to_owned(),
            reservation_type: kind.to_owned(),
            ends: ends.map(str::to_owned),
            available: Some(2),
            ..CapacityReservation::default()
        };
        let (soon, later) = ("2026-11-22T10:40:00Z", "2026-11-22T10:40:01Z");
        let class = Ec2NodeClass {
            zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
            capacity_reservations: vec![
                reservation("block-soon", "capacity-block", Some(soon)),
                reservation("block-later", "capacity-block", Some(later)),
                reservation("plain-soon", "default", Some(soon)),
                reservation("plain-over", "default", Some("2026-11-22T10:00:00Z")),
                reservation("endless", "default", None),
                reservation("unreadable", "default", Some("tomorrow")),
            ],
            ..Ec2NodeClass::default()
        };
        Snapshot { node_classes: vec![class], ..Snapshot::default() }
    }

    fn closed(zones: &[&str], shut: &[&str]) -> Snapshot {
        let mut snapshot = snapshot(zones);
        let now = "2026-11-22T10:00:00Z".parse().expect("a time");
        close(&mut snapshot, &shut.iter().map(|zone| (*zone).to_owned()).collect(), &Zones::new(), now);
        snapshot
    }

    #[test]
    fn zones_that_are_shifted_away_are_closed_too_and_their_nodes_stay() {
        let node = |name: &str, zone: Option<&str>| Node {
            name: name.to_owned(),
            labels: zone.map(|zone| (labels::ZONE.to_owned(), zone.to_owned())).into_iter().collect(),
            ..Node::default()
        };
        let mut snapshot = snapshot(&["a", "b", "c"]);
        snapshot.nodes = vec![node("in-a", Some("a")), node("in-b", Some("b")), node("nowhere", None)];
        let shifted = Zones::from([("a".to_owned(), "az1".to_owned())]);
        let kept = nodes_in(&snapshot.nodes, &shifted);
        close(&mut snapshot, &["b".to_owned()].into(), &shifted, Timestamp::UNIX_EPOCH);
        assert_eq!(snapshot.node_classes[0].zones, ["c"]);
        let marks: Vec<bool> =
            snapshot.nodes.iter().map(|node| node.annotations.contains_key(labels::DO_NOT_DISRUPT)).collect();
        assert_eq!(marks, [true, false, false], "a zone that the policy takes out keeps no node");
        let decision = |node: &str, reason| NodeDecision {
            node: node.to_owned(),
            reason,
            pod: None,
            budget: None,
            departure: None,
            message: "as planned".to_owned(),
            price: None,
        };
        let mut said = [
            decision("in-a", NodeReason::DoNotDisrupt),
            decision("in-a", NodeReason::Expired),
            decision("in-b", NodeReason::DoNotDisrupt),
        ];
        explain(&mut said, &kept);
        assert!(said[0].message.contains("shifted away from its zone a"), "{}", said[0].message);
        assert_eq!((said[1].message.as_str(), said[2].message.as_str()), ("as planned", "as planned"));
    }

    #[test]
    fn zones_that_are_out_are_no_place_for_launches() {
        assert_eq!(closed(&["a", "b"], &[]).node_classes[0].zones, ["a", "b"]);
        assert_eq!(closed(&["a", "b"], &["a", "x"]).node_classes[0].zones, ["b"]);
        assert_eq!(closed(&["a", "b"], &["a", "b"]).node_classes[0].zones, [NO_ZONE], "not every zone");
        assert_eq!(closed(&[], &["a"]).node_classes[0].zones, Vec::<String>::new(), "nobody knows its zones");
    }

    #[test]
    fn reservations_that_end_are_used_up_and_blocks_forty_minutes_before() {
        let snapshot = closed(&["a"], &[]);
        let open =
            snapshot.node_classes[0].capacity_reservations.iter().filter(|one| one.available == Some(2));
        let open: Vec<&str> = open.map(|one| one.id.as_str()).collect();
        assert_eq!(open, ["block-later", "plain-soon", "endless", "unreadable"]);
    }
}
