//! The form of a certificate: which rows, multipliers and vectors there are. What they prove is [`crate::certificate`]'s.

use crate::certificate::stock_of;
use crate::certificate::{Item, is_useful};
use crate::finding::{Findings, code};
use crate::ledger::Ledger;
use crate::limits::stock;
use crate::nodes::NodeBin;
use crate::parts;
use crate::problem::{Problem, fits};
use std::collections::BTreeSet;
use stowage_models::plan::{CaseFork, Certificate, LimitMultiplier, Row, Step};

/// The form of a certificate: which rows, multipliers and vectors there are.
pub(crate) struct Form<'f> {
    pub(crate) problem: &'f Problem<'f>,
    pub(crate) certificate: &'f Certificate,
    /// Names the certificate in messages.
    pub(crate) title: &'f str,
    pub(crate) findings: &'f mut Findings,
}

impl Form<'_> {
    fn add(&mut self, code: &'static str, message: &str) {
        self.findings.add(code, format!("{}: {message}", self.title));
    }

    /// Rows are the groups with pods placed or left out for limits, in order; a split group has one for each domain.
    pub(crate) fn rows(&mut self, ledger: &Ledger, by_domain: &[Vec<u64>], weighted: bool) -> Vec<Item> {
        let counts = ledger.placed.iter().zip(&ledger.limited).enumerate();
        let mut wanted: Vec<(usize, Option<usize>, u64)> = Vec::new();
        for (group, _) in counts.filter(|(_, (placed, limited))| **placed + **limited > 0) {
            match &self.problem.reach[group].split {
                None => wanted.push((group, None, ledger.placed[group])),
                Some(_) => {
                    let domains = by_domain[group].iter().enumerate();
                    wanted.extend(domains.map(|(domain, pods)| (group, Some(domain), *pods)));
                }
            }
        }
        let rows = &self.certificate.rows;
        if rows.len() != wanted.len() {
            let message = format!(
                "{} rows, but {} groups (or domains of groups) with pods placed or left for limits",
                rows.len(),
                wanted.len()
            );
            self.add(code::CERT_ROWS, &message);
        }
        let mut items = Vec::with_capacity(rows.len());
        for (row, (group, domain, pods)) in rows.iter().zip(wanted) {
            let first = &self.problem.pods.groups[group].first;
            let split = self.problem.reach[group].split.as_ref();
            let name = split.zip(domain).map(|(split, domain)| split.domains[domain].as_str());
            if (&row.pod, row.domain.as_deref(), row.pods) != (first, name, pods) {
                let stated = (row.pods, &row.pod, &row.domain);
                let message = format!("a row for {stated:?}, where {:?} belongs", (pods, first, name));
                self.add(code::CERT_ROWS, &message);
            }
            self.row(row, weighted);
            let (multiplier, min_weight) = (row.multiplier, row.min_weight);
            items.push(Item { group, domain, pods: ledger.placed[group], multiplier, min_weight });
        }
        items
    }

    fn row(&mut self, row: &Row, weighted: bool) {
        if row.multiplier < 0 {
            self.add(
                code::CERT_MULTIPLIER,
                &format!("row {}: multiplier {} is below 0", row.pod, row.multiplier),
            );
        }
        if !weighted && row.min_weight != i32::MIN {
            let message = format!("row {}: minimal weight {} is not {}", row.pod, row.min_weight, i32::MIN);
            self.add(code::CERT_ROWS, &message);
        }
    }

    /// Multipliers of limits belong to limits there are, in order.
    pub(crate) fn limits(&mut self, limits: &[LimitMultiplier]) {
        let name = |index: usize| (&limits[index].node_pool, &limits[index].resource);
        for index in 1..limits.len() {
            if name(index - 1) >= name(index) {
                self.add(
                    code::CERT_LIMITS,
                    &format!("limit {:?} comes before {:?}", name(index - 1), name(index)),
                );
            }
        }
        for limit in limits {
            let (pool, resource) = (&limit.node_pool, &limit.resource);
            let known = self.problem.pools.iter().find(|one| one.pool.name == *pool);
            let stocked = stock_of(limit).is_some_and(|id| stock(self.problem.snapshot, id).is_some());
            if !stocked && !known.is_some_and(|one| one.limits.iter().any(|limit| limit.resource == resource))
            {
                self.add(
                    code::CERT_LIMITS,
                    &format!("NodePool {pool} has 0 limits on {resource}, 1 has a multiplier"),
                );
            }
            if limit.multiplier <= 0 {
                let message =
                    format!("limit {pool} {resource}: multiplier {} is not above 0", limit.multiplier);
                self.add(code::CERT_MULTIPLIER, &message);
            }
        }
    }

    /// Vectors are distinct, have an entry per resource, and none below zero.
    pub(crate) fn vectors(&mut self) {
        let Certificate { resources, vectors, .. } = self.certificate;
        let distinct: BTreeSet<&String> = resources.iter().collect();
        if distinct.len() != resources.len() {
            let message = format!("{} resources, {} of them distinct", resources.len(), distinct.len());
            self.add(code::CERT_VECTORS, &message);
        }
        let distinct: BTreeSet<&Vec<i64>> = vectors.iter().collect();
        if distinct.len() != vectors.len() {
            let message = format!("{} vectors, {} of them distinct", vectors.len(), distinct.len());
            self.add(code::CERT_VECTORS, &message);
        }
        for (index, vector) in vectors.iter().enumerate() {
            if vector.len() != resources.len() {
                let message =
                    format!("vector {index} has {} entries for {} resources", vector.len(), resources.len());
                self.add(code::CERT_VECTORS, &message);
            }
            if let Some(entry) = vector.iter().find(|entry| **entry < 0) {
                self.add(code::CERT_VECTORS, &format!("vector {index} has an entry {entry} below 0"));
            }
        }
    }

    /// Forks of cases are about rows there are, distinct, and refer to vectors and to forks before them.
    pub(crate) fn cases(&mut self) {
        let Certificate { rows, vectors, cases, .. } = self.certificate;
        let distinct: BTreeSet<&CaseFork> = cases.iter().collect();
        if distinct.len() != cases.len() {
            let message = format!("{} forks of cases, {} of them distinct", cases.len(), distinct.len());
            self.add(code::CERT_VECTORS, &message);
        }
        for (index, fork) in cases.iter().enumerate() {
            let known = vectors.len() + index;
            if fork.row as usize >= rows.len() {
                let message = format!("case {index} is about row {} of {}", fork.row, rows.len());
                self.add(code::CERT_VECTORS, &message);
            }
            for side in [fork.fewer, fork.more].into_iter().filter(|side| *side as usize >= known) {
                let message =
                    format!("case {index} refers to {side}, of {known} vectors and cases before it");
                self.add(code::CERT_VECTORS, &message);
            }
        }
    }

    /// Vector of every offering. Each run is `index` or `index*count`.
    pub(crate) fn offering_vectors(&mut self) -> Vec<usize> {
        let (text, wanted) = (&self.certificate.offering_vectors, self.problem.offerings.list.len());
        match decode(text, wanted, self.certificate.vectors.len() + self.certificate.cases.len()) {
            Ok(of_offering) => of_offering,
            Err(message) => {
                self.add(code::CERT_OFFERINGS, &message);
                Vec::new()
            }
        }
    }

    /// Every existing node that takes a pod of some row has a vector, and no other.
    pub(crate) fn node_vectors(&mut self, items: &[Item]) {
        let listed = &self.certificate.node_vectors;
        for pair in listed.windows(2).filter(|pair| pair[0].node >= pair[1].node) {
            self.add(code::CERT_NODES, &format!("node {} comes before {}", pair[0].node, pair[1].node));
        }
        for one in listed {
            let (count, node) = (self.certificate.vectors.len(), &one.node);
            if one.vector as usize >= count {
                self.add(code::CERT_NODES, &format!("node {node} has vector {} of {count}", one.vector));
            }
        }
        let nodes = self.problem.nodes.iter();
        let useful = nodes.clone().filter(|bin| is_useful(self.problem, bin, items));
        let useful: BTreeSet<&str> = useful.map(|bin| bin.node.name.as_str()).collect();
        // One that only constraints between pods close may be listed: it costs the bound something, if anything.
        let admits = |bin: &&NodeBin<'_>| {
            let takes = |item: &Item| {
                let (problem, needs) = (self.problem, &self.problem.needs[item.group]);
                problem.node_admits(bin, item.group) && fits(needs, &bin.free)
            };
            items.iter().any(|item| item.pods > 0 && takes(item))
        };
        let listable: BTreeSet<&str> = nodes.filter(admits).map(|bin| bin.node.name.as_str()).collect();
        let named: BTreeSet<&str> = listed.iter().map(|one| one.node.as_str()).collect();
        for node in useful.difference(&named) {
            self.add(code::CERT_NODES, &format!("node {node} takes pods and has 0 vectors"));
        }
        for node in named.difference(&listable) {
            self.add(code::CERT_NODES, &format!("node {node} has a vector and takes 0 pods"));
        }
    }

    /// Parts have rows of their own, whole trees, and limits there are.
    pub(crate) fn parts(&mut self) {
        parts::check_form(self.certificate, self.title, self.findings);
        for step in self.certificate.parts.iter().flat_map(|part| &part.steps) {
            if let Step::Leaf(leaf) = step {
                self.limits(&leaf.limits);
            }
        }
    }

    /// Every vector and every case is used; another could carry anything.
    pub(crate) fn usage(&mut self, of_offering: &[usize]) {
        let of_nodes = self.certificate.node_vectors.iter().map(|one| one.vector as usize);
        let sides = self.certificate.cases.iter().flat_map(|fork| [fork.fewer as usize, fork.more as usize]);
        let used: BTreeSet<usize> = of_offering.iter().copied().chain(of_nodes).chain(sides).collect();
        let vectors = self.certificate.vectors.len();
        for index in (0..vectors + self.certificate.cases.len()).filter(|index| !used.contains(index)) {
            let name =
                if index < vectors { format!("vector {index}") } else { format!("case {}", index - vectors) };
            self.add(code::CERT_VECTORS, &format!("{name} is used 0 times"));
        }
    }
}

/// Decodes a run-length list of exactly `wanted` indices below `vectors`.
fn decode(text: &str, wanted: usize, vectors: usize) -> Result<Vec<usize>, String> {
    // Plain decimal digits only: `parse` would also take a sign.
    let number = |part: &str| {
        let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| part.parse::<usize>().ok()).flatten()
    };
    let mut decoded = Vec::with_capacity(wanted);
    for run in text.split(',').filter(|_| !text.is_empty()) {
        let (index, count) = run.split_once('*').unwrap_or((run, "1"));
        let (Some(index), Some(count)) = (number(index), number(count)) else {
            return Err(format!("run `{run}` of the offerings' vectors is not `index` or `index*count`"));
        };
        if index >= vectors || count == 0 || count > wanted - decoded.len() {
            let at = decoded.len();
            return Err(format!("run `{run}` at offering {at} of {wanted} does not fit ({vectors} vectors)"));
        }
        decoded.resize(decoded.len() + count, index);
    }
    if decoded.len() != wanted {
        return Err(format!("vectors for {} offerings of {wanted}", decoded.len()));
    }
    Ok(decoded)
}
