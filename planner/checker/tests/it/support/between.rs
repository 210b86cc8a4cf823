//! What constraints between pods make of the naive maker: where a pod may go, and which rows there are.

use super::offers::admits;
use super::{Group, Maker, Offer, Placed};
use crate::naive;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::PodSpec;
use stowage_models::plan::Row;
use stowage_models::selector::Labels;

impl Maker<'_> {
    /// Of a group, or of its row for a zone.
    fn min_weight(&self, group: usize, zone: Option<&String>) -> i32 {
        let running: Vec<_> = self.others().into_iter().take(self.running()).collect();
        let one = (&self.groups[group].labels, &self.groups[group].spec);
        let near = |offer: &Offer<'_>| {
            naive::repelled(&running, one, &naive::Spot::new(&offer.zone, self.launches.len()))
        };
        let usable = self.offers.iter().filter(|offer| self.offer_takes(offer, group) && !near(offer));
        let usable = usable.filter(|offer| zone.is_none_or(|zone| *zone == offer.zone));
        let top = usable.map(|offer| offer.pool.weight).max().unwrap_or(i32::MIN);
        self.groups[group].weight.unwrap_or(top).min(top)
    }

    /// Rows without multipliers, for the groups that have any, with the group of each.
    pub(super) fn rows(&self, weighted: bool) -> Vec<(usize, Row)> {
        let with = (0..self.groups.len())
            .filter(|group| self.groups[*group].placed > 0 || self.limited.contains(group));
        let row = |group: usize, domain: Option<(String, u64)>| Row {
            pod: self.groups[group].pods[0].clone(),
            pods: domain.as_ref().map_or(self.groups[group].placed, |(_, pods)| *pods),
            min_weight: if weighted {
                self.min_weight(group, domain.as_ref().map(|(zone, _)| zone))
            } else {
                i32::MIN
            },
            domain: domain.map(|(name, _)| name),
            multiplier: 0,
        };
        let rows = with.flat_map(|group| match self.by_zone(group) {
            Some(zones) => zones.into_iter().map(|zone| (group, row(group, Some(zone)))).collect(),
            None => vec![(group, row(group, None))],
        });
        rows.collect()
    }

    /// Pods that run; the first of [`Maker::others`].
    fn running(&self) -> usize {
        let known = |name: &String| self.snapshot.nodes.iter().any(|node| node.name == *name);
        self.snapshot.pods.iter().filter(|pod| pod.node.as_ref().is_some_and(known)).count()
    }

    /// Where the pods placed so far are, and those that run.
    fn others(&self) -> Vec<(naive::Spot, &Labels, &PodSpec)> {
        let running = self.snapshot.pods.iter().filter_map(|pod| {
            let node = self.snapshot.nodes.iter().find(|node| Some(&node.name) == pod.node.as_ref())?;
            Some((naive::Spot::of(node), &*pod.labels, &*pod.spec))
        });
        let there = |group: usize| (&self.groups[group].labels, &self.groups[group].spec);
        let on_nodes = self.snapshot.nodes.iter().flat_map(|node| {
            let pods = self.on_node.get(node.name.as_str()).into_iter().flatten();
            pods.map(|(group, _)| (naive::Spot::of(node), *group))
        });
        let new = self.launches.iter().enumerate().flat_map(|(index, (offer, _, pods))| {
            let spot = naive::Spot::new(&self.offers[*offer].zone, index);
            pods.iter().map(move |(group, _)| (spot.clone(), *group))
        });
        let planned = on_nodes.chain(new).map(|(spot, group)| (spot, there(group).0, there(group).1));
        running.chain(planned).collect()
    }

    pub(super) fn allows(&self, group: usize, spot: naive::Spot) -> bool {
        let group = &self.groups[group];
        let zones = self.zones(group);
        !naive::any(self.snapshot)
            || naive::allows(&self.others(), &zones, (&group.labels, &group.spec), &spot)
    }

    /// Zones of nodes and offers that the group selects.
    fn zones(&self, group: &Group) -> BTreeSet<String> {
        let selects = |labels: &Labels| admits(&group.spec, labels, &[]);
        let nodes = self.snapshot.nodes.iter().filter(|node| selects(&node.labels));
        let nodes = nodes.map(|node| node.labels[labels::ZONE].clone());
        nodes
            .chain(self.offers.iter().filter(|one| selects(&one.labels)).map(|one| one.zone.clone()))
            .collect()
    }

    /// Pods placed by zone, if a spread by zone counts this group and no other.
    fn by_zone(&self, group: usize) -> Option<Vec<(String, u64)>> {
        let one = &self.groups[group];
        let spread = one.spec.topology_spread.iter().find(|spread| spread.topology_key == labels::ZONE)?;
        let counts = |labels: &Labels| spread.label_selector.as_ref().is_some_and(|one| one.matches(labels));
        let others = self.groups.iter().enumerate();
        if others.clone().any(|(index, other)| counts(&other.labels) != (index == group)) {
            return None;
        }
        let mut zones: BTreeMap<String, u64> = self.zones(one).into_iter().map(|zone| (zone, 0)).collect();
        let count = |pods: &Placed| pods.iter().filter(|(other, _)| *other == group).count() as u64;
        let on_nodes = self.snapshot.nodes.iter().filter_map(|node| {
            Some((&node.labels[labels::ZONE], count(self.on_node.get(node.name.as_str())?)))
        });
        let new = self.launches.iter().map(|(offer, _, pods)| (&self.offers[*offer].zone, count(pods)));
        for (zone, pods) in on_nodes.chain(new).filter(|(_, pods)| *pods > 0) {
            *zones.entry(zone.clone()).or_default() += pods;
        }
        Some(zones.into_iter().collect())
    }
}
