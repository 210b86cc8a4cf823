//! Parts of the problem that are proved by branching on numbers of nodes (formulation, section 3.1).

use crate::branching::Priced;
use crate::certificate::{Item, Proof, explain, most_on, terms_on};
use crate::finding::{Findings, code};
use crate::offerings::Kind;
use crate::problem::fits;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::plan::{Certificate, Fork, Leaf, MULTIPLIER_BITS, PROOF_BRANCHES_MAX, Part, Step};

/// Checks the form of the parts: rows of their own, trees that end where they should, lists as long as they must be.
pub(crate) fn check_form(certificate: &Certificate, title: &str, findings: &mut Findings) {
    let mut add = |message: String| findings.add(code::CERT_PARTS, format!("{title}: {message}"));
    let mut taken = BTreeSet::new();
    for (index, part) in certificate.parts.iter().enumerate() {
        let name = format!("part {index}");
        if part.rows.is_empty() || part.rows.windows(2).any(|pair| pair[0] >= pair[1]) {
            add(format!("{name}: its {} rows are none, or out of order", part.rows.len()));
        }
        for row in &part.rows {
            match certificate.rows.get(*row as usize) {
                Some(stated) if stated.multiplier == 0 => {}
                Some(stated) => add(format!("{name}: row {row} has {}, not 0", stated.multiplier)),
                None => add(format!("{name}: row {row} of {}", certificate.rows.len())),
            }
            if !taken.insert(*row) {
                add(format!("{name}: row {row} is in 2 parts"));
            }
        }
        if let Err(message) = check_tree(certificate, part) {
            add(format!("{name}: {message}"));
        }
    }
}

fn check_tree(certificate: &Certificate, part: &Part) -> Result<(), String> {
    let mut path = Path::default();
    for (index, step) in part.steps.iter().enumerate() {
        if path.ended {
            return Err(format!("{} steps, the tree ends after {index}", part.steps.len()));
        }
        match step {
            Step::Fork(fork) => path.fork(fork),
            Step::Leaf(leaf) => {
                let lengths = (leaf.multipliers.len(), leaf.forks.len());
                if lengths != (part.rows.len(), path.above.len()) {
                    let wanted = (part.rows.len(), path.above.len());
                    return Err(format!(
                        "step {index}: (multipliers, forks) number {lengths:?}, not {wanted:?}"
                    ));
                }
                let length = certificate.resources.len();
                if leaf.vectors.is_empty() || leaf.vectors.iter().any(|vector| vector.len() != length) {
                    return Err(format!("step {index}: 0 vectors, or one without {length} entries"));
                }
                let entries = leaf.multipliers.iter().chain(&leaf.forks).chain(leaf.vectors.iter().flatten());
                if let Some(entry) = entries.into_iter().find(|entry| **entry < 0) {
                    return Err(format!("step {index}: {entry} is below 0"));
                }
                path.leaf();
            }
        }
    }
    if path.ended { Ok(()) } else { Err(format!("{} steps do not end the tree", part.steps.len())) }
}

/// The forks above the next step, and on which side of each it is.
#[derive(Default)]
struct Path<'c> {
    above: Vec<(&'c Fork, bool)>,
    ended: bool,
}

impl<'c> Path<'c> {
    fn fork(&mut self, fork: &'c Fork) {
        self.above.push((fork, false));
    }

    /// A leaf ends a side: the next step is the second side of the nearest fork whose first side this ends.
    fn leaf(&mut self) {
        while self.above.pop_if(|(_, more)| *more).is_some() {}
        match self.above.last_mut() {
            Some((_, more)) => *more = true,
            None => self.ended = true,
        }
    }
}

/// An offering no other is better than: in any plan the others can be replaced by one of these.
struct Undominated {
    offering: usize,
    /// By row of the part: whether pods of the row may use it.
    admits: Vec<bool>,
}

/// A vector of a leaf, and the rows whose pods are worth more than what they take at its prices, with how much more.
struct Vector<'l> {
    entries: &'l [i64],
    gains: Vec<(usize, i128)>,
}

impl Proof<'_> {
    /// The sum of the bounds of all parts, scaled. `None`: beyond 128 bits.
    pub(crate) fn parts(&self) -> Option<Result<i128, String>> {
        if let Some(message) = self.divided_split() {
            return Some(Err(message));
        }
        let mut part_of = vec![None; self.items.len()];
        for (index, part) in self.certificate.parts.iter().enumerate() {
            part.rows.iter().for_each(|row| part_of[*row as usize] = Some(index));
        }
        if let Err(message) = self.parts_share_nothing(&part_of) {
            return Some(Err(message));
        }
        let mut sum = 0_i128;
        for part in &self.certificate.parts {
            match self.part(part)? {
                Ok(bound) => sum = sum.checked_add(bound)?,
                Err(message) => return Some(Err(message)),
            }
        }
        Some(Ok(sum))
    }

    /// A part has all rows of a split group, or none.
    fn divided_split(&self) -> Option<String> {
        let divided = |part: &Part, item: &Item| {
            let rows =
                |items: &mut dyn Iterator<Item = &Item>| items.filter(|one| one.group == item.group).count();
            let all = rows(&mut self.items.iter());
            rows(&mut part.rows.iter().map(|row| &self.items[*row as usize])) != all
        };
        self.certificate.parts.iter().enumerate().find_map(|(index, part)| {
            let rows = part.rows.iter().map(|row| &self.items[*row as usize]);
            let mut split = rows.filter(|item| item.domain.is_some());
            let item = split.find(|item| divided(part, item))?;
            let first = &self.problem.pods.groups[item.group].first;
            Some(format!("part {index} has some of the rows of pods like {first}, not all"))
        })
    }

    /// No bin takes pods of two parts, or of one and of the rows in none.
    fn parts_share_nothing(&self, part_of: &[Option<usize>]) -> Result<(), String> {
        if self.certificate.parts.is_empty() {
            return Ok(());
        }
        let one_part = |takes: &dyn Fn(&Item) -> bool, name: &dyn Fn() -> String| {
            let mut parts = self
                .items
                .iter()
                .zip(part_of)
                .filter(|(item, _)| item.pods > 0 && takes(item))
                .map(|(_, p)| *p);
            let first = parts.next();
            match parts.find(|part| Some(*part) != first) {
                None => Ok(()),
                Some(other) => Err(format!("{} takes pods of parts {first:?} and {other:?}", name())),
            }
        };
        for kind in &self.problem.offerings.kinds {
            let Some(room) = &kind.room else { continue };
            let takes = |item: &Item| self.admits(kind, item) && fits(&self.problem.needs[item.group], room);
            let facts = &self.problem.offerings.facts[kind.facts];
            one_part(&takes, &|| format!("instance type {}", facts.instance.name))?;
        }
        for bin in &self.problem.nodes {
            let takes = |item: &Item| {
                most_on(self.problem, bin, item) > 0 && fits(&self.problem.needs[item.group], &bin.free)
            };
            one_part(&takes, &|| format!("node {}", bin.node.name))?;
        }
        Ok(())
    }

    /// The least bound of the leaves of a part, in micro-dollars, scaled and a multiple of one.
    fn part(&self, part: &Part) -> Option<Result<i128, String>> {
        let rows: Vec<&Item> = part.rows.iter().map(|row| &self.items[*row as usize]).collect();
        let offerings = self.undominated(&rows);
        let mut path = Path::default();
        let mut least = i128::MAX;
        for (index, step) in part.steps.iter().enumerate() {
            match step {
                Step::Fork(fork) => path.fork(fork),
                Step::Leaf(leaf) => {
                    match self.leaf(&rows, leaf, &path.above, &offerings)? {
                        Ok(bound) => least = least.min(bound),
                        Err(message) => return Some(Err(format!("step {index}: {message}"))),
                    }
                    path.leaf();
                }
            }
        }
        // Costs are whole micro-dollars, so the bound may be rounded up.
        let up = least.checked_add((1 << (2 * MULTIPLIER_BITS)) - 1)? >> (2 * MULTIPLIER_BITS);
        up.max(0).checked_mul(1 << (2 * MULTIPLIER_BITS)).map(Ok)
    }

    /// The offerings pods of these rows may use, less those that another one dominates: it is no dearer, has no less room,
    /// takes the same pods, and if its pool has limits, is of the same pool and instance type.
    fn undominated(&self, rows: &[&Item]) -> Vec<Undominated> {
        let offerings = &self.problem.offerings;
        let place: Vec<usize> = self.coordinates.iter().map(|(place, _)| *place).collect();
        let admits: Vec<Option<Vec<bool>>> = offerings
            .kinds
            .iter()
            .map(|kind| {
                let room = kind.room.as_ref()?;
                let admitted = |item: &&Item| item.pods > 0 && self.admits(kind, item);
                let useful =
                    rows.iter().any(|item| admitted(item) && fits(&self.problem.needs[item.group], room));
                useful.then(|| rows.iter().map(admitted).collect())
            })
            .collect();
        // By kind, and those in capacity reservations by reservation: they draw on a stock.
        let mut cheapest: BTreeMap<(usize, Option<&str>), (i64, usize)> = BTreeMap::new();
        for (index, offering) in offerings.list.iter().enumerate() {
            if admits[offering.kind].is_some() {
                let one = (offering.price.usd.0, index);
                let pool = &self.problem.pools[offerings.kinds[offering.kind].pool];
                let key = (offering.kind, offering.reservation(pool));
                cheapest.entry(key).and_modify(|least| *least = one.min(*least)).or_insert(one);
            }
        }
        let room = |kind: &Kind| -> Vec<i64> {
            let room = kind.room.as_ref().map_or(&[][..], Vec::as_slice);
            place.iter().map(|place| room[*place]).collect()
        };
        let mut order: Vec<_> = cheapest
            .into_iter()
            .map(|((kind, _), (price, index))| {
                let taken = admits[kind].as_ref().map_or(0, |rows| rows.iter().filter(|one| **one).count());
                (price, Reverse(room(&offerings.kinds[kind])), Reverse(taken), index, kind)
            })
            .collect();
        order.sort();
        let mut kept: Vec<(Undominated, Vec<i64>, usize)> = Vec::new();
        let labels = |index: usize| {
            let offering = &offerings.list[index];
            let pool = &self.problem.pools[offerings.kinds[offering.kind].pool];
            offering.reservation(pool).map(|_| pool.variant(offering.variant))
        };
        for (_, Reverse(room), _, offering, kind) in order {
            let Some(admits) = admits[kind].clone() else { continue };
            let own = &offerings.kinds[kind];
            let dominated = kept.iter().any(|(other, more, by)| {
                let by = &offerings.kinds[*by];
                more.iter().zip(&room).all(|(more, room)| more >= room)
                    && (labels(other.offering).is_none() || labels(other.offering) == labels(offering))
                    && (self.problem.pools[by.pool].limits.is_empty()
                        || (by.pool, by.facts) == (own.pool, own.facts))
                    && other.admits.iter().zip(&admits).all(|(other, own)| *other || !*own)
                    && (!self.problem.asked.preferences
                        || rows.iter().zip(&admits).filter(|(_, own)| **own).all(|(item, _)| {
                            let unmet = |kind| self.problem.kind_unmet(kind, item.group);
                            let fine = |kind| self.problem.fine(item.group, unmet(kind));
                            fine(by) <= fine(own)
                        }))
            });
            if !dominated {
                kept.push((Undominated { offering, admits }, room, kind));
            }
        }
        kept.into_iter().map(|(one, ..)| one).collect()
    }

    /// What a leaf proves, scaled.
    fn leaf(
        &self,
        rows: &[&Item],
        leaf: &Leaf,
        above: &[(&Fork, bool)],
        offerings: &[Undominated],
    ) -> Option<Result<i128, String>> {
        let items: Vec<Item> = rows
            .iter()
            .zip(&leaf.multipliers)
            .map(|(item, multiplier)| Item { multiplier: *multiplier, ..**item })
            .collect();
        let proof = Proof {
            problem: self.problem,
            certificate: self.certificate,
            limits: &leaf.limits,
            coordinates: self.coordinates.clone(),
            items,
        };
        let vectors: Vec<Vector<'_>> =
            leaf.vectors.iter().map(|entries| proof.vector(entries)).collect::<Option<_>>()?;
        for one in offerings {
            let offering = &self.problem.offerings.list[one.offering];
            let mut cost = proof.cost(offering)?;
            for ((fork, more), multiplier) in above.iter().zip(&leaf.forks) {
                let inside =
                    fork.from <= offering.price.usd && fork.to.is_none_or(|to| offering.price.usd <= to);
                if inside {
                    let scaled = i128::from(*multiplier) << MULTIPLIER_BITS;
                    cost = cost.checked_add(if *more { -scaled } else { scaled })?;
                }
            }
            let kind = &self.problem.offerings.kinds[offering.kind];
            let Some(room) = &kind.room else { continue };
            let terms = |row: usize| {
                let group = rows[row].group;
                let most = if one.admits[row] { self.problem.reach[group].cap } else { 0 };
                (most, self.problem.fine(group, self.problem.kind_unmet(kind, group)))
            };
            if let Err(why) = proof.holds(&vectors, room, terms, cost)? {
                let (_, instance, zone, capacity_type, _) =
                    self.problem.offerings.key(&self.problem.pools, offering);
                return Some(Err(format!("{instance} {zone} {capacity_type} costs {cost} / 2^40, {why}")));
            }
        }
        let mut total = proof.covered()?;
        for bin in &self.problem.nodes {
            let terms = |row: usize| terms_on(self.problem, bin, &proof.items[row]);
            let takes = (0..proof.items.len()).any(|row| {
                proof.items[row].pods > 0
                    && terms(row).0 > 0
                    && fits(&self.problem.needs[proof.items[row].group], &bin.free)
            });
            if takes {
                total = total.checked_sub(proof.least(&vectors, &bin.free, terms, i128::MIN)?.0)?;
            }
        }
        for ((fork, more), multiplier) in above.iter().zip(&leaf.forks) {
            let nodes = if *more { i128::from(fork.most) + 1 } else { -i128::from(fork.most) };
            let scaled = i128::from(*multiplier) << MULTIPLIER_BITS;
            total = total.checked_add(scaled.checked_mul(nodes)?)?;
        }
        Some(Ok(total))
    }

    fn vector<'l>(&self, entries: &'l [i64]) -> Option<Vector<'l>> {
        let mut gains = Vec::new();
        for (row, item) in self.items.iter().enumerate().filter(|(_, item)| item.pods > 0) {
            let profit = self.price(entries, item)?.profit()?;
            if profit > 0 {
                gains.push((row, profit));
            }
        }
        Some(Vector { entries, gains })
    }

    /// The least `value(bin, y)` over the vectors, and which shows it; not below `enough` is looked further.
    fn least(
        &self,
        vectors: &[Vector<'_>],
        room: &[i64],
        terms: impl Fn(usize) -> (u64, i64),
        enough: i128,
    ) -> Option<(i128, usize)> {
        let mut least = (i128::MAX, 0);
        for (index, vector) in vectors.iter().enumerate() {
            let mut value = self.dot(vector.entries, room)?;
            for (row, profit) in &vector.gains {
                let item = &self.items[*row];
                let (most, fine) = terms(*row);
                let profit = (profit - (i128::from(fine) << (2 * MULTIPLIER_BITS))).max(0);
                let priced = Priced {
                    need: &self.problem.needs[item.group],
                    pods: item.pods.min(most),
                    multiplier: item.multiplier,
                    takes: 0,
                };
                value = value.checked_add(profit.checked_mul(i128::from(priced.most(room)))?)?;
            }
            least = least.min((value, index));
            if least.0 <= enough {
                break;
            }
        }
        Some(least)
    }

    /// Whether no pattern of a bin is worth more than `cost`: by some vector, or by branching with the best of them.
    fn holds(
        &self,
        vectors: &[Vector<'_>],
        room: &[i64],
        terms: impl Fn(usize) -> (u64, i64),
        cost: i128,
    ) -> Option<Result<(), String>> {
        let (value, best) = self.least(vectors, room, &terms, cost)?;
        if value <= cost {
            return Some(Ok(()));
        }
        let entries = vectors[best].entries;
        let rows = (0..self.items.len()).filter(|row| self.items[*row].pods > 0 && terms(*row).0 > 0);
        let items = rows
            .map(|row| {
                let (most, fine) = terms(row);
                self.price(entries, &self.items[row])?.capped(most).fined(fine)
            })
            .collect::<Option<Vec<_>>>()?;
        self.search(entries, items, room, cost, PROOF_BRANCHES_MAX).map(|verdict| explain(&verdict))
    }
}
