//! The certificate and its bound.

use super::{Maker, Offer, Rule};
use stowage_models::plan::{Certificate, LimitMultiplier, NodeVector, Row, unit_bits};
use stowage_models::quantity::{CPU, Resources};

impl Maker<'_> {
    /// The certificate and its bound, both by the rule.
    pub(super) fn prove(&self, rule: Rule, weighted: bool) -> (Certificate, i64) {
        let mut rows = self.rows(weighted);
        let holding = || self.offers.iter().filter(|offer| offer.room.is_some());
        let per_cpu = |offers: Vec<&Offer<'_>>| {
            let price =
                |offer: &&Offer<'_>| (offer.price.usd.0 << 20) / offer.room.as_ref().unwrap().get(CPU);
            offers.iter().map(price).min().unwrap_or(0)
        };
        let any = per_cpu(holding().collect());
        let on_demand = per_cpu(holding().filter(|offer| offer.capacity_type == "on-demand").collect());
        let copies = |request: &Resources, room: &Resources, placed: u64| {
            let each = request.0.iter().map(|(name, need)| room.get(name) / need);
            each.min().unwrap_or(0).min(i64::try_from(placed).unwrap())
        };
        let most: i64 = holding()
            .map(|offer| {
                let copies = |(group, row): &(usize, Row)| {
                    copies(&self.groups[*group].request, offer.room.as_ref().unwrap(), row.pods)
                };
                rows.iter().map(copies).sum()
            })
            .max()
            .unwrap_or(0);
        let least = holding().map(|offer| offer.price.usd.0).min().unwrap_or(0);
        let mut certificate =
            Certificate { resources: vec!["cpu".into(), "memory".into()], ..Certificate::default() };
        for (group, row) in &mut rows {
            row.multiplier = match rule {
                Rule::Cpu => any * self.groups[*group].request.get(CPU),
                Rule::Zero => (least << 20) / most.max(1),
            };
        }
        let second = rule == Rule::Cpu && on_demand > any;
        certificate.vectors = match rule {
            Rule::Cpu => vec![vec![any, 0], vec![on_demand, 0]],
            Rule::Zero => vec![vec![0, 0]],
        };
        certificate.vectors.truncate(if second { 2 } else { 1 });
        // One run per offering or more: both spellings are allowed.
        let index = |offer: &Offer<'_>| {
            if second && offer.capacity_type == "on-demand" { "1" } else { "0*1" }
        };
        certificate.offering_vectors = self.offers.iter().map(index).collect::<Vec<_>>().join(",");
        let mut total: i128 =
            rows.iter().map(|(_, row)| i128::from(row.multiplier) * i128::from(row.pods)).sum();
        for node in &self.snapshot.nodes {
            let Some(free) = self.start.get(node.name.as_str()) else {
                continue;
            };
            let takes = |group: usize| self.node_takes(node, free, group);
            let items: Vec<_> = rows.iter().filter(|(group, row)| row.pods > 0 && takes(*group)).collect();
            let zero = |(group, row): &&(usize, Row)| {
                i128::from(row.multiplier) * i128::from(copies(&self.groups[*group].request, free, row.pods))
            };
            let zero: i128 = items.iter().map(zero).sum();
            let by_cpu = i128::from(any) * i128::from(free.get(CPU));
            if items.is_empty() {
                continue;
            }
            let value = if rule == Rule::Cpu { by_cpu } else { zero };
            let (node, value) = (node.name.clone(), i64::try_from(value).unwrap_or(i64::MAX));
            certificate.node_vectors.push(NodeVector { node, vector: 0, value });
            total -= i128::from(value);
        }
        for pool in &self.snapshot.node_pools {
            for (resource, limit) in &pool.limits.0 {
                let node_pool = pool.name.clone();
                certificate.limits.push(LimitMultiplier {
                    node_pool,
                    resource: resource.clone(),
                    multiplier: 9,
                });
                let unit = 1_i128 << unit_bits(resource);
                let left = i128::from((limit - self.used(pool, resource)).max(0));
                // Whole units in these tests, so that nothing is lost.
                assert_eq!(left % unit, 0, "limits of test pools are whole units");
                total -= 9 * left / unit;
            }
        }
        certificate.rows = rows.into_iter().map(|(_, row)| row).collect();
        let bound = (total + (1 << 20) - 1).div_euclid(1 << 20).max(0);
        (certificate, i64::try_from(bound).unwrap())
    }
}
