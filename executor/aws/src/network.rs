//! Subnets and security groups by selector terms.

use crate::client::Aws;
use crate::errors::{Kind, Trouble};
use crate::limits::Class;
use aws_sdk_ec2::types::Filter;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_api::{Ec2NodeClassSpec, SecurityGroupTerm, SubnetTerm};
use tokio::time::Instant;

/// Terms as text.
pub(crate) type NetworkKey = String;

/// How long a subnet that had no address is left out (Karpenter's 3 minutes for offerings).
const DRY: Duration = Duration::from_secs(180);
/// EC2 may take this long until it counts the address of a new instance.
const COUNTED: Duration = Duration::from_secs(30);

/// A subnet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subnet {
    pub(crate) id: String,
    pub(crate) zone: String,
    pub(crate) zone_id: String,
    /// Free addresses as EC2 said.
    pub(crate) free: i64,
}

/// What the terms of a node class select.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) subnets: Vec<Subnet>,
    /// Id and name.
    pub(crate) groups: Vec<(String, String)>,
}

pub(crate) fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// Filters for tags: `*` means any value.
pub(crate) fn tag_filters(tags: &BTreeMap<String, String>) -> Vec<Filter> {
    let of = |(key, value): (&String, &String)| {
        if value == "*" { filter("tag-key", key) } else { filter(&format!("tag:{key}"), value) }
    };
    tags.iter().map(of).collect()
}

impl Aws {
    /// What a node class selects. Terms add up; what is in a term must all hold.
    pub(crate) async fn network(&self, class: &Ec2NodeClassSpec) -> Result<Network, Trouble> {
        let terms = (&class.subnet_selector_terms, &class.security_group_selector_terms);
        let key = serde_json::to_string(&terms).unwrap_or_default();
        let known = self.caches().networks.get(&key).cloned();
        if let Some((at, network)) = known
            && at.elapsed() < self.settings.cache
        {
            return Ok(network);
        }
        let begun = Instant::now();
        let mut network = Network::default();
        for term in &class.subnet_selector_terms {
            network.subnets.extend(self.subnets(term).await?);
        }
        for term in &class.security_group_selector_terms {
            network.groups.extend(self.groups(term).await?);
        }
        network.subnets.sort_by(|a, b| a.id.cmp(&b.id));
        network.subnets.dedup_by(|a, b| a.id == b.id);
        network.groups.sort();
        network.groups.dedup();
        let mut caches = self.caches();
        caches.promised.retain(|_, times| {
            times.retain(|at| begun.saturating_duration_since(*at) < COUNTED);
            !times.is_empty()
        });
        caches.dry.retain(|_, at| at.elapsed() < DRY);
        caches.networks.insert(key, (begun, network.clone()));
        Ok(network)
    }

    async fn subnets(&self, term: &SubnetTerm) -> Result<Vec<Subnet>, Trouble> {
        let mut filters = tag_filters(&term.tags.clone().unwrap_or_default());
        filters.extend(term.id.as_deref().map(|id| filter("subnet-id", id)));
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .read("DescribeSubnets", Class::Read, || {
                    let request = self.ec2.describe_subnets().set_filters(Some(filters.clone()));
                    request.set_next_token(next.clone()).send()
                })
                .await?;
            found.extend(page.subnets().iter().filter_map(|subnet| {
                Some(Subnet {
                    id: subnet.subnet_id()?.to_owned(),
                    zone: subnet.availability_zone()?.to_owned(),
                    zone_id: subnet.availability_zone_id().unwrap_or_default().to_owned(),
                    free: i64::from(subnet.available_ip_address_count().unwrap_or_default()),
                })
            }));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    async fn groups(&self, term: &SecurityGroupTerm) -> Result<Vec<(String, String)>, Trouble> {
        let mut filters = tag_filters(&term.tags.clone().unwrap_or_default());
        filters.extend(term.id.as_deref().map(|id| filter("group-id", id)));
        filters.extend(term.name.as_deref().map(|name| filter("group-name", name)));
        let mut found = Vec::new();
        let mut next = None;
        loop {
            let page = self
                .read("DescribeSecurityGroups", Class::Read, || {
                    let request = self.ec2.describe_security_groups().set_filters(Some(filters.clone()));
                    request.set_next_token(next.clone()).send()
                })
                .await?;
            found.extend(page.security_groups().iter().filter_map(|group| {
                Some((group.group_id()?.to_owned(), group.group_name().unwrap_or_default().to_owned()))
            }));
            next = page.next_token().filter(|token| !token.is_empty()).map(str::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
    }

    /// The subnet of each zone with the most free addresses, those promised meanwhile taken off. Zones whose subnets are full have none.
    pub(crate) fn roomiest(&self, network: &Network) -> BTreeMap<String, String> {
        let caches = self.caches();
        let mut best: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for subnet in &network.subnets {
            let promised = caches.promised.get(&subnet.id).map_or(0, Vec::len);
            let dry = caches.dry.get(&subnet.id).is_some_and(|at| at.elapsed() < DRY);
            let free = subnet.free.saturating_sub(i64::try_from(promised).unwrap_or(i64::MAX));
            if dry || free <= 0 {
                continue;
            }
            // Subnets come sorted by id, so the first of equals wins.
            if best.get(&subnet.zone).is_none_or(|(most, _)| free > *most) {
                best.insert(subnet.zone.clone(), (free, subnet.id.clone()));
            }
        }
        best.into_iter().map(|(zone, (_, id))| (zone, id)).collect()
    }

    /// An address of the subnet is about to be taken.
    pub(crate) fn promise(&self, subnet: &str) {
        self.caches().promised.entry(subnet.to_owned()).or_default().push(Instant::now());
    }

    /// EC2 says that these have no address left.
    pub(crate) fn dry_up(&self, subnets: &BTreeSet<String>) {
        let mut caches = self.caches();
        for subnet in subnets {
            caches.dry.insert(subnet.clone(), Instant::now());
        }
    }
}

/// Something a node class selects nothing of.
pub(crate) fn nothing(what: &str) -> Trouble {
    let hint = "check the node class's selector terms and the tags in EC2";
    Trouble::new(Kind::NotFound, format!("the node class selects no {what}\n  hint: {hint}"))
}
