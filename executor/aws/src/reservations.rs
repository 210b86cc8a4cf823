//! Capacity reservations by selector terms, and how much of them is left.

use crate::client::Aws;
use crate::errors::Trouble;
use crate::limits::Class;
use crate::network::{filter, tag_filters};
use aws_sdk_ec2::types as ec2;
use std::collections::BTreeMap;
use stowage_api::{CapacityReservation, Ec2NodeClassSpec, ReservationTerm};
use tokio::time::Instant;

/// A reservation as it stands in a node class's status, and instances that may still be launched into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) shown: CapacityReservation,
    pub(crate) available: i64,
}

impl Aws {
    /// What a node class selects, by id. Terms add up; what is in a term must all hold.
    pub(crate) async fn reservations(&self, class: &Ec2NodeClassSpec) -> Result<Vec<Reserved>, Trouble> {
        let terms = class.capacity_reservation_selector_terms.as_deref().unwrap_or_default();
        if terms.is_empty() {
            return Ok(Vec::new());
        }
        let key = serde_json::to_string(terms).unwrap_or_default();
        let known = self.caches().reservations.get(&key).cloned();
        if let Some((at, found)) = known
            && at.elapsed() < self.settings.cache
        {
            return Ok(found);
        }
        let begun = Instant::now();
        let mut found = Vec::new();
        for term in terms {
            found.extend(self.selected(term).await?);
        }
        found.sort_by(|a, b| a.shown.id.cmp(&b.shown.id));
        found.dedup_by(|a, b| a.shown.id == b.shown.id);
        self.caches().reservations.insert(key, (begun, found.clone()));
        Ok(found)
    }

    async fn selected(&self, term: &ReservationTerm) -> Result<Vec<Reserved>, Trouble> {
        let mut filters = tag_filters(&term.tags.clone().unwrap_or_default());
        filters.push(filter("state", "active"));
        filters.extend(term.owner_id.as_deref().map(|id| filter("owner-id", id)));
        filters.extend(
            term.instance_match_criteria.as_deref().map(|one| filter("instance-match-criteria", one)),
        );
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .read("DescribeCapacityReservations", Class::Read, || {
                    let request =
                        self.ec2.describe_capacity_reservations().set_filters(Some(filters.clone()));
                    let ids = term.id.clone().map(|id| vec![id]);
                    request.set_capacity_reservation_ids(ids).set_next_token(next.clone()).send()
                })
                .await?;
            found.extend(page.capacity_reservations().iter().filter_map(reserved));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// One instance less may be launched into a reservation, until EC2 is asked again.
    pub(crate) fn drawn(&self, id: &str) {
        let mut caches = self.caches();
        let lists = caches.reservations.values_mut().flat_map(|(_, list)| list);
        lists.filter(|one| one.shown.id == id).for_each(|one| one.available = (one.available - 1).max(0));
    }

    /// Instances that may be launched into each reservation known, by id.
    pub(crate) fn available(&self) -> BTreeMap<String, i64> {
        let caches = self.caches();
        let known = caches.reservations.values().flat_map(|(_, list)| list);
        known.map(|one| (one.shown.id.clone(), one.available)).collect()
    }
}

fn reserved(found: &ec2::CapacityReservation) -> Option<Reserved> {
    let end = found.end_date().and_then(|end| jiff::Timestamp::from_second(end.secs()).ok());
    let block = found.reservation_type().map(ec2::CapacityReservationType::as_str) == Some("capacity-block");
    let shown = CapacityReservation {
        availability_zone: found.availability_zone()?.to_owned(),
        end_time: end.map(|end| end.to_string()),
        id: found.capacity_reservation_id()?.to_owned(),
        instance_match_criteria: found.instance_match_criteria()?.as_str().to_owned(),
        instance_type: found.instance_type()?.to_owned(),
        interruptible: None,
        owner_id: found.owner_id()?.to_owned(),
        reservation_type: Some(if block { "capacity-block" } else { "default" }.to_owned()),
        state: Some("active".to_owned()),
    };
    Some(Reserved { shown, available: i64::from(found.available_instance_count().unwrap_or_default()) })
}
