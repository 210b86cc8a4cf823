//! Offerings proved by cases (formulation, section 3): how many pods of some rows a node holds, each case with a vector of its own.

use crate::branching::Priced;
use crate::certificate::{Item, Proof, SCALE_BITS};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use stowage_models::plan::{CASES_MAX, CaseFork, MULTIPLIER_BITS};

/// Sides of forks that are looked at, the first fork included: a tree of [`CASES_MAX`] ends has as many. A fork may be used twice, so a few of
/// them can make a tree without end, and a chain of many may be deep.
const SIDES_MAX: u32 = 2 * CASES_MAX - 1;

/// What the forks above say of a row: pods at least, and at most.
type Held = BTreeMap<u32, (u64, u64)>;

/// A side of a fork that is still to be looked at.
struct Side {
    proof: u32,
    held: Held,
}

/// A proof by cases, with its rows priced by each of its vectors.
pub(crate) struct Cases<'p> {
    root: u32,
    prices: BTreeMap<u32, Vec<(&'p Item, Priced<'p>)>>,
}

impl<'p> Proof<'p> {
    fn fork(&self, proof: u32) -> Option<&CaseFork> {
        self.certificate.cases.get((proof as usize).checked_sub(self.certificate.vectors.len())?)
    }

    /// Prepares the proof by cases that begins with `root`. `None`: out of range.
    pub(crate) fn cases(&'p self, root: u32) -> Option<Cases<'p>> {
        let mut prices = BTreeMap::new();
        let (mut next, mut sides) = (vec![root], 0);
        while let Some(proof) = next.pop() {
            // What is not looked at here is not looked at when it is judged either.
            sides += 1;
            if sides > SIDES_MAX {
                break;
            }
            match self.fork(proof) {
                Some(fork) => next.extend([fork.more, fork.fewer]),
                None => {
                    if let Entry::Vacant(slot) = prices.entry(proof) {
                        slot.insert(self.prices(&self.certificate.vectors[proof as usize])?);
                    }
                }
            }
        }
        Some(Cases { root, prices })
    }

    /// Whether no pattern of an offering is worth more than `threshold`, or why that is not shown. `terms` are the pods of a row it may
    /// take, capacity aside, and what each pays for unmet preferences. `None`: out of range.
    pub(crate) fn judge_cases(
        &self,
        cases: &Cases<'_>,
        room: &[i64],
        terms: impl Fn(&Item) -> (u64, i64),
        threshold: i128,
    ) -> Option<Result<(), String>> {
        let mut next = vec![Side { proof: cases.root, held: Held::new() }];
        let mut sides = 0;
        while let Some(Side { proof, held }) = next.pop() {
            sides += 1;
            if sides > SIDES_MAX {
                return Some(Err(format!("and is proved by more than {CASES_MAX} cases")));
            }
            if let Some(fork) = self.fork(proof) {
                let (least, most) = held.get(&fork.row).copied().unwrap_or((0, u64::MAX));
                let pods = u64::from(fork.most);
                let with = |bounds: (u64, u64)| {
                    let mut held = held.clone();
                    held.insert(fork.row, bounds);
                    held
                };
                next.push(Side { proof: fork.more, held: with((least.max(pods + 1), most)) });
                next.push(Side { proof: fork.fewer, held: with((least, most.min(pods))) });
                continue;
            }
            let value = self.end(proof, &cases.prices[&proof], &held, room, &terms)?;
            if let Some(value) = value.filter(|value| *value > threshold) {
                let case = self.names(&held);
                return Some(Err(format!("but with {case} may hold pods worth {value} / 2^{SCALE_BITS}")));
            }
        }
        Some(Ok(()))
    }

    /// What no pattern with these pods is worth more than; inside, nothing where there is no such pattern.
    fn end(
        &self,
        vector: u32,
        prices: &[(&Item, Priced<'_>)],
        held: &Held,
        room: &[i64],
        terms: impl Fn(&Item) -> (u64, i64),
    ) -> Option<Option<i128>> {
        let mut left = room.to_vec();
        let mut value = 0_i128;
        for (row, (least, most)) in held {
            let item = &self.items[*row as usize];
            let (allowed, fine) = terms(item);
            if least > most || *least > allowed.min(item.pods) {
                return Some(None);
            }
            let count = i64::try_from(*least).ok()?;
            for (left, need) in left.iter_mut().zip(&self.problem.needs[item.group]) {
                *left = left.checked_sub(need.checked_mul(count)?)?;
            }
            let worth = i128::from(item.multiplier) - (i128::from(fine) << MULTIPLIER_BITS);
            let worth = worth.checked_mul(i128::from(count))?.checked_mul(1 << MULTIPLIER_BITS)?;
            value = value.checked_add(worth)?;
        }
        if left.iter().any(|left| *left < 0) {
            return Some(None);
        }
        let is_about = |row: u32, item: &Item| {
            let own = &self.items[row as usize];
            (own.group, own.domain) == (item.group, item.domain)
        };
        let bounds = |item: &Item| {
            let own = held.iter().find(|(row, _)| is_about(**row, item));
            own.map_or((0, u64::MAX), |(_, bounds)| *bounds)
        };
        let more = |item: &Item| {
            let ((allowed, fine), (least, most)) = (terms(item), bounds(item));
            (allowed.min(item.pods).min(most) - least, fine)
        };
        let vector = &self.certificate.vectors[vector as usize];
        Some(Some(value.checked_add(self.value(vector, prices, &left, more)?)?))
    }

    /// The case in words.
    fn names(&self, held: &Held) -> String {
        let name = |(row, (least, most)): (&u32, &(u64, u64))| {
            let pod = &self.certificate.rows[*row as usize].pod;
            match *most {
                u64::MAX => format!("{least} or more of {pod}"),
                most => format!("{least} to {most} of {pod}"),
            }
        };
        held.iter().map(name).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::{Asked, Problem};
    use stowage_models::catalog::Catalog;
    use stowage_models::objects::PodRef;
    use stowage_models::plan::{Certificate, Row};
    use stowage_models::random::Random;
    use stowage_models::snapshot::Snapshot;

    /// What is said to be worth no more than a threshold is not, and cases show it where no vector of theirs does alone.
    #[test]
    fn what_cases_prove_agrees_with_enumeration() {
        let mut random = Random::new(5);
        let (snapshot, catalog) = (Snapshot::default(), Catalog::default());
        let mut problem = Problem::new(&snapshot, &catalog, 0, &[], Asked::default());
        let (mut proved, mut refused, mut better) = (0, 0, 0);
        for case in 0..3_000 {
            let needs: Vec<Vec<i64>> =
                (0..3).map(|_| vec![random.between(1, 9), random.between(1, 9)]).collect();
            problem.needs.clone_from(&needs);
            let items: Vec<Item> = (0..3)
                .map(|group| {
                    let multiplier = random.between(0, 30) << 20;
                    Item { group, domain: None, pods: random.below(4), multiplier, min_weight: 0 }
                })
                .collect();
            let room = vec![random.between(6, 14), random.between(6, 14)];
            let fines: Vec<i64> = (0..3).map(|_| random.between(0, 2)).collect();
            let caps: Vec<u64> = (0..3).map(|_| 1 + random.below(4)).collect();
            let vectors: Vec<Vec<i64>> =
                (0..4).map(|_| vec![random.between(0, 4) << 20, random.between(0, 4) << 20]).collect();
            // The later forks have earlier ones below them, at times for the same row.
            let cases: Vec<CaseFork> = (0..3)
                .map(|index| CaseFork {
                    row: random.below(3) as u32,
                    most: random.below(3) as u32,
                    fewer: random.below(4 + index) as u32,
                    more: random.below(4 + index) as u32,
                })
                .collect();
            let row = |group: usize| Row {
                pod: PodRef(format!("any/pod-{group}")),
                domain: None,
                pods: 0,
                min_weight: 0,
                multiplier: 0,
            };
            let rows = (0..3).map(row).collect();
            let certificate = Certificate { rows, vectors: vectors.clone(), cases, ..Certificate::default() };
            let coordinates = vec![(0, MULTIPLIER_BITS), (1, MULTIPLIER_BITS)];
            let terms = |item: &Item| (caps[item.group], fines[item.group]);
            let mut best = 0_i128;
            for code in 0..64_u64 {
                let counts: Vec<u64> = (0..3).map(|k| code / 4_u64.pow(k) % 4).collect();
                let load = |r: usize| -> i64 { (0..3).map(|g| needs[g][r] * counts[g] as i64).sum() };
                let allowed = (0..3).all(|g| counts[g] <= items[g].pods.min(caps[g]));
                if allowed && (0..2).all(|r| load(r) <= room[r]) {
                    let worth = |g: usize| i128::from(items[g].multiplier - (fines[g] << MULTIPLIER_BITS));
                    let value: i128 = (0..3).map(|g| worth(g) * i128::from(counts[g])).sum();
                    best = best.max(value << MULTIPLIER_BITS);
                }
            }
            let proof =
                Proof { problem: &problem, certificate: &certificate, limits: &[], coordinates, items };
            let single = |vector: &Vec<i64>| {
                let prices = proof.prices(vector).expect("in range");
                proof.value(vector, &prices, &room, terms).expect("in range")
            };
            let alone = vectors.iter().map(single).min().expect("a vector");
            let cases = proof.cases(6).expect("in range");
            for threshold in [best - 1, best, best + (3 << SCALE_BITS), best + (20 << SCALE_BITS)] {
                let holds = proof.judge_cases(&cases, &room, terms, threshold).expect("in range").is_ok();
                assert!(!holds || best <= threshold, "case {case}: {best} is above {threshold}");
                proved += u32::from(holds);
                refused += u32::from(!holds && best <= threshold);
                better += u32::from(holds && alone > threshold);
            }
        }
        assert!(proved > 1_000 && refused > 100 && better > 20, "{proved}, {refused}, {better}");
    }
}
