//! What is closed to launches: zones that the PlanPolicy takes out, and capacity reservations that end.

use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use stowage_models::snapshot::Snapshot;

/// EC2 begins to end machines in a capacity block so long before the block ends; Karpenter counts it as over from then on, with a reserve.
const BLOCK_LEAD: SignedDuration = SignedDuration::from_mins(40);
/// The zone of a class of which all zones are closed: no list of zones means every zone.
const NO_ZONE: &str = "stowage.dev/closed";

/// Takes both out of a snapshot for planning. Nodes that are there stay what they are, at their prices.
pub(crate) fn close(snapshot: &mut Snapshot, zones: &BTreeSet<String>, now: Timestamp) {
    for class in &mut snapshot.node_classes {
        if !zones.is_empty() && !class.zones.is_empty() {
            class.zones.retain(|zone| !zones.contains(zone));
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
        close(&mut snapshot, &shut.iter().map(|zone| (*zone).to_owned()).collect(), now);
        snapshot
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
