//! The proof of the bound (formulation, section 3), in 128-bit integers.
//!
//! Everything is scaled by `2^40`: multipliers are integers over `2^20`, and amounts may be counted in units of `2^20`
//! (bytes in MiB), so one more factor of `2^20` makes every term an integer. Overflow is a finding, never a wrong result.

use crate::branching::{Priced, Verdict, search};
use crate::finding::{Findings, code};
use crate::form::Form;
use crate::ledger::{Ledger, by_domain};
use crate::limits::stock;
use crate::nodes::NodeBin;
use crate::offerings::{Kind, Offering};
use crate::problem::{Problem, fits};
use crate::tables::{self, Coordinate};
use std::collections::BTreeMap;
use stowage_models::plan::{
    Certificate, LimitMultiplier, MULTIPLIER_BITS, NodeVector, PROOF_BRANCHES_MAX, Plan, STOCK, unit_bits,
};

/// Branches of a search before tables are tried.
const QUICK_BRANCHES: u32 = 2_000;

/// Binary digits after the point of everything here.
pub(crate) const SCALE_BITS: u32 = 2 * MULTIPLIER_BITS;

/// What decides which patterns a kind holds and what they are worth: its room, and the terms of each row.
type Holds<'r> = (&'r Vec<i64>, Vec<(u64, i64)>);

/// A row, ready to compute with.
#[derive(Clone, Copy)]
pub(crate) struct Item {
    pub(crate) group: usize,
    /// Of a split group: position in [`crate::splits::Split::domains`].
    pub(crate) domain: Option<usize>,
    /// Pods of the group the plan places, in all domains.
    pub(crate) pods: u64,
    pub(crate) multiplier: i64,
    pub(crate) min_weight: i32,
}

/// A certificate whose form is in order, or a leaf of one of its parts.
pub(crate) struct Proof<'p> {
    pub(crate) problem: &'p Problem<'p>,
    pub(crate) certificate: &'p Certificate,
    pub(crate) limits: &'p [LimitMultiplier],
    /// Place on the axis of each coordinate of the vectors, and the shift that scales a product with it.
    pub(crate) coordinates: Vec<(usize, u32)>,
    pub(crate) items: Vec<Item>,
}

/// Checks one certificate. `title` names it in messages; `stated` is the bound it has to prove. Without weights, every
/// group may use every pool.
pub(crate) fn check(
    problem: &Problem<'_>,
    (plan, certificate): (&Plan, &Certificate),
    ledger: &Ledger,
    (title, stated, weighted): (&str, i64, bool),
    findings: &mut Findings,
) {
    let before = findings.0.len();
    let mut form = Form { problem, certificate, title, findings };
    let items = form.rows(ledger, &by_domain(problem, plan, ledger), weighted);
    form.limits(&certificate.limits);
    form.vectors();
    form.cases();
    let of_offering = form.offering_vectors();
    form.node_vectors(&items);
    form.usage(&of_offering);
    form.parts();
    // Arithmetic on a malformed certificate would prove nothing.
    if findings.0.len() > before {
        return;
    }
    let coordinate = |name: &String| {
        let place =
            problem.axis.names.binary_search(name).expect("the axis holds all resources of certificates");
        (place, MULTIPLIER_BITS - unit_bits(name))
    };
    let coordinates = certificate.resources.iter().map(coordinate).collect();
    let proof = Proof { problem, certificate, limits: &certificate.limits, coordinates, items };
    let judged = proof.offerings(&of_offering).and_then(|offerings| match offerings {
        Ok(()) => proof.nodes(),
        wrong => Some(wrong),
    });
    let judged = judged.and_then(|judged| match judged {
        Ok(()) => proof.parts(),
        Err(wrong) => Some(Err(wrong)),
    });
    match (judged, proof.bound()) {
        (Some(Err(message)), _) => findings.add(code::CERT_VALUE, format!("{title}: {message}")),
        (Some(Ok(parts)), Some(bound)) if bound + (parts >> SCALE_BITS) == i128::from(stated) => {}
        (Some(Ok(parts)), Some(bound)) => findings.add(
            code::BOUND,
            format!(
                "{title}: the multipliers prove {} micro-dollars per hour, the plan says {stated}",
                bound + (parts >> SCALE_BITS)
            ),
        ),
        _ => findings.add(code::CERT_RANGE, format!("{title}: its terms need more than 128 bits")),
    }
}

/// The capacity reservation whose stock a multiplier is about.
pub(crate) fn stock_of(limit: &LimitMultiplier) -> Option<&str> {
    limit.resource.strip_prefix(STOCK).filter(|_| limit.node_pool.is_empty())
}

/// Whether the node takes a pod of some row.
pub(crate) fn is_useful(problem: &Problem<'_>, node: &NodeBin<'_>, items: &[Item]) -> bool {
    items.iter().any(|item| {
        item.pods > 0 && most_on(problem, node, item) > 0 && fits(&problem.needs[item.group], &node.free)
    })
}

/// Pods of a row at most on an existing node, capacity aside.
pub(crate) fn most_on(problem: &Problem<'_>, node: &NodeBin<'_>, item: &Item) -> u64 {
    let split = problem.reach[item.group].split.as_ref();
    let inside =
        split.zip(item.domain).is_none_or(|(split, domain)| problem.node_domain(node, split) == Some(domain));
    if inside { problem.node_cap(node, item.group) } else { 0 }
}

/// The same, with what a pod pays for unmet preferences.
pub(crate) fn terms_on(problem: &Problem<'_>, node: &NodeBin<'_>, item: &Item) -> (u64, i64) {
    (most_on(problem, node, item), problem.fine(item.group, problem.node_unmet(node, item.group)))
}

/// Copies of a pod that fit alone.
pub(crate) fn copies(need: &[i64], room: &[i64]) -> u64 {
    let per_resource = need.iter().zip(room).filter(|(need, _)| **need > 0).map(|(need, room)| room / need);
    // Every pod needs one of `pods`, so there is always a least element.
    per_resource.min().and_then(|copies| u64::try_from(copies).ok()).unwrap_or(0)
}

impl Proof<'_> {
    /// `sum_r y_r * amount_r`, scaled.
    pub(crate) fn dot(&self, vector: &[i64], amounts: &[i64]) -> Option<i128> {
        // A product of two 64-bit integers always fits; sums are kept by shift, so that one multiplication scales each.
        let (mut fine, mut coarse) = (0_i128, 0_i128);
        for (y, (place, shift)) in vector.iter().zip(&self.coordinates) {
            let product = i128::from(*y) * i128::from(amounts[*place]);
            let sum = if *shift == 0 { &mut fine } else { &mut coarse };
            *sum = sum.checked_add(product)?;
        }
        fine.checked_add(coarse.checked_mul(1 << MULTIPLIER_BITS)?)
    }

    /// A row, priced by a vector.
    pub(crate) fn price(&self, vector: &[i64], item: &Item) -> Option<Priced<'_>> {
        let need = &self.problem.needs[item.group];
        let takes = self.dot(vector, need)?;
        Some(Priced { need, pods: item.pods, multiplier: item.multiplier, takes })
    }

    /// The rows with pods to place, priced by a vector, in order.
    pub(crate) fn prices(&self, vector: &[i64]) -> Option<Vec<(&Item, Priced<'_>)>> {
        let items = self.items.iter().filter(|item| item.pods > 0);
        items.map(|item| self.price(vector, item).map(|priced| (item, priced))).collect()
    }

    /// Whether no pattern of a bin is worth more than `threshold`: by `value(bin, y)`, or else by branching. `terms` are the
    /// pods of a row it may take, capacity aside, and what each pays for unmet preferences.
    fn judge(
        &self,
        vector: &[i64],
        prices: &[(&Item, Priced<'_>)],
        room: &[i64],
        terms: impl Fn(&Item) -> (u64, i64),
        threshold: i128,
    ) -> Option<Verdict> {
        if self.value(vector, prices, room, &terms)? <= threshold {
            return Some(Verdict::Holds);
        }
        let items = self.limited(prices, terms)?.into_iter().map(|(_, item)| item).collect();
        self.search(vector, items, room, threshold, PROOF_BRANCHES_MAX)
    }

    /// The same for offerings, where tables may prove it, too.
    fn judge_offering(
        &self,
        vector: &[i64],
        items: Vec<(i64, Priced<'_>)>,
        room: &[i64],
        threshold: i128,
    ) -> Option<Verdict> {
        let plain: Vec<Priced<'_>> = items.iter().map(|(_, item)| *item).collect();
        if self.search(vector, plain.clone(), room, threshold, QUICK_BRANCHES)? == Verdict::Holds {
            return Some(Verdict::Holds);
        }
        let coordinates: Vec<Coordinate> = vector
            .iter()
            .zip(&self.coordinates)
            .map(|(price, (place, shift))| Coordinate { place: *place, shift: *shift, price: *price })
            .collect();
        if tables::holds(items, room, &coordinates, threshold)? {
            return Some(Verdict::Holds);
        }
        self.search(vector, plain, room, threshold, PROOF_BRANCHES_MAX)
    }

    /// The rows a bin may take, each with its multiplier, and priced with what its pods pay for unmet preferences.
    fn limited<'p>(
        &self,
        prices: &[(&Item, Priced<'p>)],
        terms: impl Fn(&Item) -> (u64, i64),
    ) -> Option<Vec<(i64, Priced<'p>)>> {
        let capped = prices.iter().map(|(item, priced)| {
            let (most, fine) = terms(item);
            Some((item.multiplier, priced.capped(most).fined(fine)?))
        });
        let items: Vec<(i64, Priced<'p>)> = capped.collect::<Option<_>>()?;
        Some(items.into_iter().filter(|(_, one)| one.pods > 0).collect())
    }

    /// `value(bin, y)`, scaled.
    pub(crate) fn value(
        &self,
        vector: &[i64],
        prices: &[(&Item, Priced<'_>)],
        room: &[i64],
        terms: impl Fn(&Item) -> (u64, i64),
    ) -> Option<i128> {
        let mut value = self.dot(vector, room)?;
        for (item, priced) in prices {
            let profit = priced.profit()?;
            if profit > 0 {
                let (most, fine) = terms(item);
                let copies = priced.most(room).min(most);
                let profit = (profit - (i128::from(fine) << SCALE_BITS)).max(0);
                value = value.checked_add(profit.checked_mul(i128::from(copies))?)?;
            }
        }
        Some(value)
    }

    /// Looks for a pattern worth more than `threshold` by branching.
    pub(crate) fn search(
        &self,
        vector: &[i64],
        items: Vec<Priced<'_>>,
        room: &[i64],
        threshold: i128,
        branches_max: u32,
    ) -> Option<Verdict> {
        search(items, room, threshold, branches_max, |room| self.dot(vector, room))
    }

    /// Whether pods of the row may be on nodes of the kind, and its weight allows them.
    pub(crate) fn admits(&self, kind: &Kind, item: &Item) -> bool {
        let split = self.problem.reach[item.group].split.as_ref();
        let inside = || {
            split
                .zip(item.domain)
                .is_none_or(|(split, domain)| self.problem.kind_domain(kind, split) == Some(domain))
        };
        self.problem.pools[kind.pool].pool.weight >= item.min_weight
            && self.problem.kind_matches(kind, item.group)
            && inside()
    }

    /// Pods of the row at most on a node of the kind, capacity aside.
    pub(crate) fn most(&self, kind: &Kind, item: &Item) -> u64 {
        if self.admits(kind, item) { self.problem.reach[item.group].cap } else { 0 }
    }

    /// The same, with what a pod pays for unmet preferences.
    pub(crate) fn terms(&self, kind: &Kind, item: &Item) -> (u64, i64) {
        let fine = self.problem.fine(item.group, self.problem.kind_unmet(kind, item.group));
        (self.most(kind, item), fine)
    }

    /// Price of an offering and of the limits it draws on, scaled.
    pub(crate) fn cost(&self, offering: &Offering<'_>) -> Option<i128> {
        let kind = &self.problem.offerings.kinds[offering.kind];
        let pool = &self.problem.pools[kind.pool].pool.name;
        let mut cost = i128::from(offering.price.usd.0) << SCALE_BITS;
        for limit in self.limits.iter().filter(|limit| limit.node_pool == *pool) {
            let amount = i128::from(self.problem.counts(kind, &limit.resource));
            let shift = MULTIPLIER_BITS - unit_bits(&limit.resource);
            let product = (i128::from(limit.multiplier) * amount).checked_mul(1 << shift)?;
            cost = cost.checked_add(product)?;
        }
        if let Some(id) = offering.reservation(&self.problem.pools[kind.pool]) {
            let own = self.limits.iter().find(|limit| stock_of(limit) == Some(id));
            cost =
                cost.checked_add(own.map_or(0, |limit| i128::from(limit.multiplier) << MULTIPLIER_BITS))?;
        }
        Some(cost)
    }

    /// Checks every offering: no pattern is worth more than it costs. `None`: out of range.
    pub(crate) fn offerings(&self, of_offering: &[usize]) -> Option<Result<(), String>> {
        let offerings = &self.problem.offerings;
        let useful: Vec<bool> = offerings.kinds.iter().map(|kind| self.is_useful(kind)).collect();
        // The cheapest offering of each kind, because equal kinds can hold the same; by vector, so that the prices of one
        // vector are at hand at a time.
        let mut by_vector: BTreeMap<usize, BTreeMap<usize, (i128, usize)>> = BTreeMap::new();
        for (index, vector) in of_offering.iter().enumerate() {
            let kind = offerings.list[index].kind;
            if useful[kind] {
                let cost = (self.cost(&offerings.list[index])?, index);
                let least = by_vector.entry(*vector).or_default().entry(kind).or_insert(cost);
                *least = cost.min(*least);
            }
        }
        for (vector, by_kind) in by_vector {
            let Some(vector) = self.certificate.vectors.get(vector) else {
                if let Err(wrong) = self.offerings_by_cases(u32::try_from(vector).ok()?, &by_kind)? {
                    return Some(Err(wrong));
                }
                continue;
            };
            let prices = self.prices(vector)?;
            // What was proved of kinds that hold the same: by room and rows, the least threshold.
            let mut proved: BTreeMap<Holds<'_>, i128> = BTreeMap::new();
            for (kind, (cost, index)) in by_kind {
                let kind = &offerings.kinds[kind];
                let Some(room) = &kind.room else { continue };
                let terms = |item: &Item| self.terms(kind, item);
                if self.value(vector, &prices, room, terms)? <= cost {
                    continue;
                }
                let key = (room, prices.iter().map(|(item, _)| terms(item)).collect());
                if proved.get(&key).is_some_and(|threshold| *threshold <= cost) {
                    continue;
                }
                let verdict = self.judge_offering(vector, self.limited(&prices, terms)?, room, cost)?;
                if verdict == Verdict::Holds {
                    proved.insert(key, cost);
                    continue;
                }
                if let Err(why) = explain(&verdict) {
                    return Some(Err(self.dear(index, cost, &why)));
                }
            }
        }
        Some(Ok(()))
    }

    /// The same for those, the cheapest of each kind with what it costs, that one proof by cases is about.
    fn offerings_by_cases(
        &self,
        root: u32,
        by_kind: &BTreeMap<usize, (i128, usize)>,
    ) -> Option<Result<(), String>> {
        let cases = self.cases(root)?;
        for (kind, (cost, index)) in by_kind {
            let kind = &self.problem.offerings.kinds[*kind];
            let Some(room) = &kind.room else { continue };
            if let Err(why) = self.judge_cases(&cases, room, |item| self.terms(kind, item), *cost)? {
                return Some(Err(self.dear(*index, *cost, &why)));
            }
        }
        Some(Ok(()))
    }

    /// Why an offering is not shown to cost enough.
    fn dear(&self, index: usize, cost: i128, why: &str) -> String {
        let offerings = &self.problem.offerings;
        let key = offerings.key(&self.problem.pools, &offerings.list[index]);
        let (pool, instance, zone, capacity_type, _) = key;
        format!(
            "offering {instance} {zone} {capacity_type} (NodePool {pool}) costs {cost} / 2^{SCALE_BITS}, {why}"
        )
    }

    /// Whether some row may use offerings of the kind. If none may, its only pattern is the empty one, worth nothing.
    fn is_useful(&self, kind: &Kind) -> bool {
        let Some(room) = &kind.room else { return false };
        self.items.iter().any(|item| {
            item.pods > 0 && self.admits(kind, item) && fits(&self.problem.needs[item.group], room)
        })
    }

    /// Checks every existing node: no pattern is worth more than stated. `None`: out of range.
    pub(crate) fn nodes(&self) -> Option<Result<(), String>> {
        let mut by_vector: BTreeMap<u32, Vec<&NodeVector>> = BTreeMap::new();
        for one in &self.certificate.node_vectors {
            by_vector.entry(one.vector).or_default().push(one);
        }
        for (vector, members) in by_vector {
            let vector = &self.certificate.vectors[vector as usize];
            let prices = self.prices(vector)?;
            for one in members {
                let node = self.problem.nodes.binary_search_by(|bin| bin.node.name.as_str().cmp(&one.node));
                let bin = &self.problem.nodes[node.ok()?];
                let terms = |item: &Item| terms_on(self.problem, bin, item);
                let stated = i128::from(one.value) << MULTIPLIER_BITS;
                let verdict = self.judge(vector, &prices, &bin.free, terms, stated)?;
                if let Err(why) = explain(&verdict) {
                    return Some(Err(format!(
                        "node {} is stated at {stated} / 2^{SCALE_BITS}, {why}",
                        one.node
                    )));
                }
            }
        }
        Some(Ok(()))
    }

    /// The right side of weak duality but for existing nodes, scaled.
    pub(crate) fn covered(&self) -> Option<i128> {
        let mut total = 0_i128;
        let mut at = 0;
        while let Some(item) = self.items.get(at) {
            // Rows of a split group are neighbours; together they count the least that any way to split it would.
            let rows = self.items[at..].iter().take_while(|one| one.group == item.group).count();
            let worth = match &self.problem.reach[item.group].split {
                None => i128::from(item.multiplier).checked_mul(i128::from(item.pods))?,
                Some(split) => {
                    let prices: Vec<i64> =
                        self.items[at..at + rows].iter().map(|one| one.multiplier).collect();
                    // All rows are there (`Form::rows`, `Proof::parts`), and the plan's own split is feasible or a finding.
                    split.least(item.pods, &prices).map_or(0, |(least, _)| least)
                }
            };
            total = total.checked_add(worth)?;
            at += rows;
        }
        // So far in multiples of 2^-20.
        total = total.checked_mul(1 << MULTIPLIER_BITS)?;
        for stated in self.limits {
            if let Some(id) = stock_of(stated) {
                let left = stock(self.problem.snapshot, id)?;
                let product = i128::from(stated.multiplier).checked_mul(left)?;
                total = total.checked_sub(product.checked_mul(1 << MULTIPLIER_BITS)?)?;
                continue;
            }
            let pool = self.problem.pools.iter().find(|pool| pool.pool.name == stated.node_pool)?;
            let limit = pool.limits.iter().find(|limit| limit.resource == stated.resource)?;
            let shift = MULTIPLIER_BITS - unit_bits(&stated.resource);
            let product = i128::from(stated.multiplier).checked_mul(limit.remaining())?;
            total = total.checked_sub(product.checked_mul(1 << shift)?)?;
        }
        Some(total)
    }

    /// The right side of weak duality without the parts, rounded up and not below zero.
    fn bound(&self) -> Option<i128> {
        let mut total = self.covered()?;
        for node in &self.certificate.node_vectors {
            total = total.checked_sub(i128::from(node.value).checked_mul(1 << MULTIPLIER_BITS)?)?;
        }
        let up = total.checked_add((1 << SCALE_BITS) - 1)? >> SCALE_BITS;
        Some(up.max(0))
    }
}

/// What is wrong, if the verdict is not that the inequality holds.
pub(crate) fn explain(verdict: &Verdict) -> Result<(), String> {
    match verdict {
        Verdict::Holds => Ok(()),
        Verdict::Refuted(value) => Err(format!("but can hold pods worth {value} / 2^{SCALE_BITS}")),
        Verdict::Undecided => {
            Err(format!("and {PROOF_BRANCHES_MAX} branches do not show that it holds no more"))
        }
    }
}

/// Checks the certificate of the bound, and that of the bound without weights where the plan states one.
pub(crate) fn check_all(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger, findings: &mut Findings) {
    let bound = plan.summary.launch_bound.0;
    check(problem, (plan, &plan.certificate), ledger, ("certificate", bound, true), findings);
    match (&plan.certificate_without_weights, plan.summary.launch_bound_without_weights) {
        (Some(certificate), Some(bound)) => {
            check(
                problem,
                (plan, certificate),
                ledger,
                ("certificate without weights", bound.0, false),
                findings,
            );
        }
        (None, None) => {}
        (certificate, bound) => findings.add(
            code::CERT_WEIGHTS,
            format!(
                "bound without weights: {bound:?}, with {} certificates for it",
                usize::from(certificate.is_some())
            ),
        ),
    }
}

/// What is proved about one bin along two coordinates without units, for tests. Multipliers are over `2^20`.
#[cfg(test)]
pub(crate) fn judge_bin(
    needs: &[Vec<i64>],
    multipliers: &[i64],
    pods: &[u64],
    (room, vector): (&[i64], &[i64]),
    threshold: i128,
) -> Option<Verdict> {
    use stowage_models::{catalog::Catalog, snapshot::Snapshot};
    let (snapshot, catalog) = (Snapshot::default(), Catalog::default());
    let mut problem = Problem::new(&snapshot, &catalog, 0, &[], crate::problem::Asked::default());
    problem.needs = needs.to_vec();
    let item = |group: usize| Item {
        group,
        domain: None,
        pods: pods[group],
        multiplier: multipliers[group],
        min_weight: 0,
    };
    let items = (0..needs.len()).map(item).collect();
    let coordinates = vec![(0, MULTIPLIER_BITS), (1, MULTIPLIER_BITS)];
    let proof =
        Proof { problem: &problem, certificate: &Certificate::default(), limits: &[], coordinates, items };
    let prices = proof.prices(vector)?;
    proof.judge(vector, &prices, room, |_| (u64::MAX, 0), threshold)
}
