//! Offerings proved by cases (formulation, section 3): how many pods of some rows a node holds, each case with a vector of its own.

use crate::branching::Priced;
use crate::certificate::{Item, Proof, SCALE_BITS};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use stowage_models::plan::{CASES_MAX, CaseFork, MULTIPLIER_BITS};

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
        let (mut next, mut ends) = (vec![root], 0);
        while let Some(proof) = next.pop() {
            match self.fork(proof) {
                Some(fork) => next.extend([fork.more, fork.fewer]),
                None => {
                    ends += 1;
                    if let Entry::Vacant(slot) = prices.entry(proof) {
                        slot.insert(self.prices(&self.certificate.vectors[proof as usize])?);
                    }
                }
            }
            // A fork may be used twice, so few of them can have very many ends. What is left is not looked at, and refuted below.
            if ends > CASES_MAX {
                break;
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
        let mut ends = 0;
        while let Some(Side { proof, held }) = next.pop() {
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
            ends += 1;
            if ends > CASES_MAX {
                return Some(Err(format!("and is proved by more than {CASES_MAX} cases")));
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
