//! Groups spread over the domains of a label: which domains there are, and how many pods go to each.

use super::selectors::{Meanings, Spread};
use super::split::Split;
use crate::existing::lasting_taints;
use crate::matching::{selects, tolerates_all};
use crate::pack::Pattern;
use crate::problem::{Bits, Family, Group, Problem};
use std::collections::BTreeMap;
use stowage_models::labels;

/// A domain's share of a group.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// The group it is a share of.
    pub(crate) from: u32,
    /// Pods of it, and of other groups, that go together on one node; empty: one of its own.
    pub(crate) bundle: Pattern,
    /// Labels its bins must have beside those the group asks for already.
    pub(crate) cell: Vec<(u32, Option<String>)>,
    /// Pods, or bundles.
    pub(crate) demand: i64,
    /// The family it is a part of.
    pub(crate) family: Option<u32>,
}

impl Share {
    /// A share of single pods.
    pub(crate) fn new(from: u32, cell: Vec<(u32, Option<String>)>, demand: i64) -> Share {
        Share { from, bundle: Pattern::new(), cell, demand, family: None }
    }

    /// What one of it consists of, by group.
    pub(crate) fn members(&self) -> impl Iterator<Item = (u32, i64)> + '_ {
        let single = self.bundle.is_empty().then_some((self.from, 1));
        single.into_iter().chain(self.bundle.iter().copied())
    }
}

/// Notes for each group the first spread constraint over domains that counts its own pods and those of no other group: the
/// one by which the bound splits it.
pub(crate) fn find_private(meanings: &Meanings<'_>, groups: &mut [Group<'_>]) {
    let mut meant = vec![0_usize; meanings.selectors.len()];
    for group in groups.iter() {
        group.wants.terms.meant.iter().for_each(|selector| meant[selector] += 1);
    }
    let hostname = meanings.key_number(labels::HOSTNAME);
    let private = |spread: &Spread| {
        Some(spread.term.key) != hostname
            && spread.own
            && !meanings.counts_none(spread.term.selector)
            && meant[spread.term.selector as usize] == 1
    };
    for group in groups {
        let first = group.wants.terms.spreads.iter().position(private);
        group.split = first.map(|at| u32::try_from(at).expect("a pod has few constraints"));
    }
}

impl Problem<'_> {
    /// Value of a topology key on the nodes of a signature.
    pub(crate) fn value_of(&self, signature: usize, key: u32) -> Option<&str> {
        let name = self.constraints.meanings.keys[key as usize];
        let at = self.label_keys.binary_search_by(|have| have.as_str().cmp(name)).ok()?;
        self.signatures[signature].values[at].as_deref()
    }

    /// Value of a topology key on an existing node.
    pub(crate) fn value_on(&self, node: usize, key: u32) -> Option<&str> {
        let name = self.constraints.meanings.keys[key as usize];
        self.snapshot.nodes[node].labels.get(name).map(String::as_str)
    }

    /// Whether pods on an existing node count for a group's spread constraint.
    pub(crate) fn counts_on_node(&self, group: &Group<'_>, spread: &Spread, at: usize) -> bool {
        let (spec, node) = (self.spec(group), &self.snapshot.nodes[at]);
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        group.wants.terms.spreads.iter().all(|spread| self.value_on(at, spread.term.key).is_some())
            && (!spread.honor_affinity || selects(spec, &label, Some(&node.name)))
            && (!spread.honor_taints
                || tolerates_all(&spec.tolerations, &lasting_taints(self.snapshot, node)))
    }

    /// Whether pods on a new node would count for a group's spread constraint.
    pub(crate) fn counts_on_new(&self, group: &Group<'_>, spread: &Spread, at: usize) -> bool {
        let (spec, signature) = (self.spec(group), &self.signatures[at]);
        let label = |key: &str| {
            let at = self.label_keys.binary_search_by(|have| have.as_str().cmp(key)).ok()?;
            signature.values[at].as_deref()
        };
        let taints = &self.snapshot.node_pools[signature.pool as usize].taints;
        group.wants.terms.spreads.iter().all(|spread| self.value_of(at, spread.term.key).is_some())
            && (!spread.honor_affinity || selects(spec, &label, None))
            && (!spread.honor_taints || tolerates_all(&spec.tolerations, taints))
    }

    /// The domains of a group's spread constraint in byte order, with the pods that run there and count: values of the key on
    /// existing nodes, and on offerings if `with_offerings`, that have all keys of the group's constraints and that its node
    /// policies include.
    pub(crate) fn domains(
        &self,
        group: &Group<'_>,
        spread: &Spread,
        with_offerings: bool,
    ) -> BTreeMap<String, i64> {
        let counts_none = self.constraints.meanings.counts_none(spread.term.selector);
        let mut domains: BTreeMap<String, i64> = BTreeMap::new();
        for at in 0..self.snapshot.nodes.len() {
            let Some(value) = self.value_on(at, spread.term.key) else { continue };
            if self.counts_on_node(group, spread, at) {
                let bound = &self.constraints.bound;
                let running = if counts_none { 0 } else { bound.staying(at, spread.term.selector) };
                *domains.entry(value.to_owned()).or_default() += running;
            }
        }
        for at in (0..self.signatures.len()).filter(|_| with_offerings) {
            let Some(value) = self.value_of(at, spread.term.key) else { continue };
            if !domains.contains_key(value) && self.counts_on_new(group, spread, at) {
                domains.insert(value.to_owned(), 0);
            }
        }
        domains
    }

    /// Splits every group with a private spread constraint into one group a domain, with as many of its pods as the
    /// constraint and the bins allow; the others are left out.
    pub(crate) fn split_groups(&mut self) {
        if self.groups.iter().all(|group| group.split.is_none() && group.wish_split.is_none()) {
            return;
        }
        let mut shares = Vec::new();
        let mut families = Vec::new();
        for g in 0..self.groups.len() {
            let group = &self.groups[g];
            let from = u32::try_from(g).expect("groups fit 32 bits");
            if let Some(at) = group.wish_split {
                let family = u32::try_from(families.len()).expect("families fit 32 bits");
                let (domains, split, quotas) = self.wish_split(g, at);
                let key =
                    self.constraints.meanings.key_number(labels::ZONE).expect("such a split has its key");
                families.push(Family { rows: Vec::new(), domains: domains.clone(), split });
                for (domain, demand) in domains.into_iter().zip(quotas) {
                    let cell = vec![(key, Some(domain))];
                    shares.push(Share { family: Some(family), ..Share::new(from, cell, demand) });
                }
                continue;
            }
            let Some(spread) = group.split.map(|at| &group.wants.terms.spreads[at as usize]) else {
                shares.push(Share::new(from, Vec::new(), group.demand));
                continue;
            };
            let domains = self.domains(group, spread, true);
            let split = Split {
                running: domains.values().copied().collect(),
                max_skew: spread.max_skew,
                min_domains: spread.min_domains,
                fine: None,
            };
            let key = spread.term.key;
            let places: Vec<(i64, f64)> = domains.keys().map(|domain| self.place(g, key, domain)).collect();
            let room: Vec<i64> = places.iter().map(|(room, _)| *room).collect();
            let prices: Vec<f64> = places.iter().map(|(_, price)| *price).collect();
            let most = split.most(group.demand, &room);
            let quotas = split.cheapest(most, &room, &prices).unwrap_or_default();
            if most < group.demand {
                let tight = domains
                    .keys()
                    .zip(&room)
                    .filter(|(_, room)| **room == 0)
                    .map(|(domain, _)| domain.as_str());
                let tight: Vec<&str> = tight.collect();
                let blocked = super::reasons::spread_blocked(self, g, spread, &tight, group.demand - most);
                self.blocked.push(blocked);
            }
            if most == 0 {
                continue;
            }
            let family = u32::try_from(families.len()).expect("families fit 32 bits");
            families.push(Family { rows: Vec::new(), domains: domains.keys().cloned().collect(), split });
            for (domain, demand) in domains.into_keys().zip(quotas) {
                let cell = vec![(key, Some(domain))];
                shares.push(Share { family: Some(family), ..Share::new(from, cell, demand) });
            }
        }
        self.families = families;
        self.share_out(&shares);
        let _ = self.settle_weights();
    }

    /// Pods of a group that bins of a domain can hold (all of them if a NodePool can launch there), and the price of one.
    pub(crate) fn place(&self, g: usize, key: u32, domain: &str) -> (i64, f64) {
        let group = &self.groups[g];
        let mut price = f64::INFINITY;
        for offering in &self.offerings {
            if self.classes[offering.class as usize].contains(g)
                && self.value_of(offering.signature as usize, key) == Some(domain)
            {
                let alone = homogeneous(&group.request, group.cap, &offering.capacity, offering.price);
                price = price.min(alone + group.fines.on_new(offering.signature) as f64);
            }
        }
        if price.is_finite() {
            return (i64::MAX, price);
        }
        let from = u32::try_from(g).expect("groups fit 32 bits");
        let mut room = 0_i64;
        for bin in self.existing.iter().filter(|bin| self.value_on(bin.node, key) == Some(domain)) {
            let fit = group.request.iter().zip(&bin.free).filter(|(w, _)| **w > 0).map(|(w, c)| c / w).min();
            room = room.saturating_add(fit.unwrap_or(0).min(bin.cap(from)));
        }
        (room, 0.0)
    }

    /// Replaces the groups by the given shares of them. Rules are about the groups there are: settle them after this.
    pub(crate) fn share_out(&mut self, shares: &[Share]) {
        for family in &mut self.families {
            family.rows.clear();
        }
        let mut groups = Vec::with_capacity(shares.len());
        for (number, share) in shares.iter().enumerate() {
            let mut group = self.groups[share.from as usize].clone();
            group.demand = share.demand;
            if !share.bundle.is_empty() {
                super::bundles::bundle(&mut group, &self.groups, &share.bundle);
            }
            group.cell.extend(share.cell.iter().cloned());
            group.family = share.family.or(group.family);
            if let Some(family) = group.family {
                self.families[family as usize].rows.push(number as u32);
            }
            groups.push(group);
        }
        let mut numbers: BTreeMap<Bits, u32> = BTreeMap::new();
        for at in 0..self.signatures.len() {
            let old = &self.classes[self.signatures[at].class as usize];
            let mut set = Bits::new(shares.len());
            for (number, share) in shares.iter().enumerate() {
                if share.members().all(|(g, _)| old.contains(g as usize))
                    && share.cell.iter().all(|(key, value)| self.value_of(at, *key) == value.as_deref())
                {
                    set.insert(number);
                }
            }
            let next = u32::try_from(numbers.len()).expect("classes fit 32 bits");
            self.signatures[at].class = *numbers.entry(set).or_insert(next);
        }
        let mut classes: Vec<(u32, Bits)> = numbers.into_iter().map(|(set, number)| (number, set)).collect();
        classes.sort();
        self.classes = classes.into_iter().map(|(_, set)| set).collect();
        for offering in &mut self.offerings {
            offering.class = self.signatures[offering.signature as usize].class;
        }
        let mut existing = std::mem::take(&mut self.existing);
        for bin in &mut existing {
            let shared = shares.iter().enumerate().filter_map(|(number, share)| {
                let cap = share.members().map(|(g, each)| bin.cap(g) / each).min().unwrap_or(0);
                let here =
                    share.cell.iter().all(|(key, value)| self.value_on(bin.node, *key) == value.as_deref());
                (cap > 0 && here).then_some((number as u32, cap))
            });
            (bin.groups, bin.caps) = shared.unzip();
        }
        existing.retain(|bin| !bin.groups.is_empty());
        self.existing = existing;
        self.groups = groups;
    }

    /// Gathers the rules between the groups there are.
    pub(crate) fn settle_rules(&mut self) {
        self.rules = super::nodes::Rules::new(&self.groups, &self.constraints.meanings);
        for bin in &mut self.existing {
            bin.held = self.rules.held(&self.constraints.bound, bin.node);
        }
    }
}

/// Price of one pod on nodes that carry nothing else: `price * max(max_r w_r / C_r, 1 / cap)`; infinite if it does not fit.
pub(crate) fn homogeneous(request: &[i64], cap: i64, capacity: &[i64], price: i64) -> f64 {
    let mut share = 1.0 / cap.max(1) as f64;
    for (w, c) in request.iter().zip(capacity) {
        if w > c {
            return f64::INFINITY;
        }
        if *w > 0 {
            share = share.max(*w as f64 / *c as f64);
        }
    }
    share * price as f64
}
