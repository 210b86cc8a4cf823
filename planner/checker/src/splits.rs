//! Groups spread over the domains of a topology key (formulation, section 2.2).

use stowage_models::plan::MULTIPLIER_BITS;

/// The one spread constraint of a group that reaches the bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Position of its key in the problem's topology keys.
    pub(crate) key: usize,
    /// Sorted.
    pub(crate) domains: Vec<String>,
    /// By domain: pods there that count and stay.
    pub(crate) existing: Vec<u64>,
    pub(crate) max_skew: i64,
    /// There are fewer domains than the constraint wants: the least is taken to be zero.
    pub(crate) few: bool,
    /// What each pod beyond the skew costs, in micro-dollars per hour, where the spread is only preferred.
    pub(crate) fine: Option<i64>,
}

impl Split {
    /// Least and most pods a domain may get when the emptiest one ends up with `level`.
    fn range(&self, domain: usize, level: i128) -> (i128, i128) {
        let existing = i128::from(self.existing[domain]);
        ((level - existing).max(0), (level + i128::from(self.max_skew) - existing).max(0))
    }

    /// Whether pods may be split so: some level allows it. The highest there could be allows most.
    pub(crate) fn is_feasible(&self, pods: &[u64]) -> bool {
        if self.fine.is_some() {
            return true;
        }
        let with = pods.iter().zip(&self.existing).map(|(new, old)| i128::from(*new) + i128::from(*old));
        let level = if self.few { 0 } else { with.min().unwrap_or(0) };
        pods.iter().enumerate().all(|(domain, pods)| i128::from(*pods) <= self.range(domain, level).1)
    }

    /// The least `sum_d price_d n_d` over all feasible splits `n` of `pods`, and a split that attains it. `None`: none is
    /// feasible, or beyond 128 bits.
    ///
    /// For a given level the splits are those between bounds: start at the lower ones, give the rest to the cheapest domains.
    /// Where the spread is only preferred, more may go to any domain for a fine each.
    pub(crate) fn least(&self, pods: u64, prices: &[i64]) -> Option<(i128, Vec<u64>)> {
        let pods = i128::from(pods);
        let mut order: Vec<usize> = (0..self.domains.len()).collect();
        order.sort_by_key(|domain| (prices[*domain], *domain));
        let highest = self.existing.iter().max().map_or(0, |most| i128::from(*most)) + pods;
        let last = if self.few { 0 } else { highest };
        let mut best: Option<(i128, Vec<u64>)> = None;
        for level in 0..=last {
            let ranges: Vec<(i128, i128)> =
                (0..self.domains.len()).map(|domain| self.range(domain, level)).collect();
            let low: i128 = ranges.iter().map(|(low, _)| low).sum();
            if low > pods {
                break;
            }
            if self.fine.is_none() && ranges.iter().map(|(_, high)| high).sum::<i128>() < pods {
                continue;
            }
            let mut rest = pods - low;
            let mut split: Vec<i128> = ranges.iter().map(|(low, _)| *low).collect();
            let mut fines = 0_i128;
            if let Some(fine) = self.fine {
                rest -= self.fill(fine, rest, &ranges, prices, &mut split, &mut fines)?;
            }
            for domain in &order {
                let more = rest.min(ranges[*domain].1 - ranges[*domain].0);
                split[*domain] += more;
                rest -= more;
            }
            let mut sum = fines;
            for (price, pods) in prices.iter().zip(&split) {
                sum = sum.checked_add(i128::from(*price).checked_mul(*pods)?)?;
            }
            if best.as_ref().is_none_or(|(least, _)| sum < *least) {
                let split = split.into_iter().map(|pods| u64::try_from(pods).ok()).collect::<Option<_>>()?;
                best = Some((sum, split));
            }
        }
        best
    }
}

impl Split {
    /// Gives `rest` pods to the domains that cost least for the next one, fine included; adds to `fines` what that comes to.
    /// How many: all, if there is any domain.
    fn fill(
        &self,
        fine: i64,
        rest: i128,
        ranges: &[(i128, i128)],
        prices: &[i64],
        split: &mut [i128],
        fines: &mut i128,
    ) -> Option<i128> {
        let fine = i128::from(fine).checked_mul(1 << MULTIPLIER_BITS)?;
        let mut left = rest;
        while left > 0 {
            let next = |domain: &usize| {
                let full = split[*domain] >= ranges[*domain].1;
                (i128::from(prices[*domain]) + if full { fine } else { 0 }, full, *domain)
            };
            let Some((_, full, domain)) = (0..ranges.len()).map(|domain| next(&domain)).min() else { break };
            let pods = if full { left } else { left.min(ranges[domain].1 - split[domain]) };
            split[domain] += pods;
            left -= pods;
            if full {
                *fines = fines.checked_add(fine.checked_mul(pods)?)?;
            }
        }
        Some(rest - left)
    }
}

#[cfg(test)]
mod tests {
    use super::{MULTIPLIER_BITS, Split};
    use stowage_models::random::Random;

    /// All ways to write `pods` as a sum over `domains` places.
    fn splits(pods: u64, domains: usize) -> Vec<Vec<u64>> {
        if domains == 0 {
            return if pods == 0 { vec![Vec::new()] } else { Vec::new() };
        }
        let mut all = Vec::new();
        for first in 0..=pods {
            for mut rest in splits(pods - first, domains - 1) {
                rest.insert(0, first);
                all.push(rest);
            }
        }
        all
    }

    /// The definition: some level is at most every domain's pods (those it lacks come), and no domain is above it by more
    /// than the skew unless it gets nothing.
    fn by_definition(split: &Split, pods: &[u64]) -> bool {
        let levels = if split.few { 0..=0 } else { 0..=30 };
        levels.into_iter().any(|level: i64| {
            pods.iter().zip(&split.existing).all(|(new, old)| {
                let (new, old) = (*new as i64, *old as i64);
                new >= (level - old).max(0) && new <= (level + split.max_skew - old).max(0)
            })
        })
    }

    #[test]
    fn the_least_is_that_of_all_feasible_splits() {
        let mut seed = 7_u64;
        let mut roll = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let (mut feasible, mut infeasible) = (0, 0);
        for _ in 0..3_000 {
            let domains = 1 + roll(3) as usize;
            let split = Split {
                key: 0,
                domains: (0..domains).map(|domain| domain.to_string()).collect(),
                existing: (0..domains).map(|_| roll(5)).collect(),
                max_skew: 1 + roll(3) as i64,
                few: roll(5) == 0,
                fine: None,
            };
            let pods = roll(9);
            let prices: Vec<i64> = (0..domains).map(|_| roll(50) as i64).collect();
            let mut least = None;
            for one in splits(pods, domains) {
                let allowed = by_definition(&split, &one);
                assert_eq!(split.is_feasible(&one), allowed, "{split:?} {one:?}");
                let sum: i128 =
                    one.iter().zip(&prices).map(|(n, price)| i128::from(*n) * i128::from(*price)).sum();
                if allowed {
                    least = Some(least.map_or(sum, |least: i128| least.min(sum)));
                }
            }
            let found = split.least(pods, &prices);
            assert_eq!(found.as_ref().map(|(sum, _)| *sum), least, "{split:?} {pods} {prices:?}");
            match found {
                Some((_, found)) => {
                    assert!(split.is_feasible(&found) && found.iter().sum::<u64>() == pods);
                    feasible += 1;
                }
                None => infeasible += 1,
            }
        }
        assert!(feasible > 1_000 && infeasible > 100, "{feasible} feasible, {infeasible} not");
    }

    #[test]
    fn preferred_spread_costs_what_the_cheapest_of_all_splits_costs() {
        let mut random = Random::new(5);
        let mut fined = 0;
        for _ in 0..2_000 {
            let domains = 1 + random.index(3);
            let split = Split {
                key: 0,
                domains: (0..domains).map(|domain| domain.to_string()).collect(),
                existing: (0..domains).map(|_| random.below(5)).collect(),
                max_skew: random.between(1, 3),
                few: false,
                fine: Some(random.between(0, 20)),
            };
            let pods = random.below(9);
            // In the units of multipliers, like the fine.
            let prices: Vec<i64> = (0..domains).map(|_| random.between(0, 30) << MULTIPLIER_BITS).collect();
            let cost = |one: &Vec<u64>| -> i128 {
                let with = one.iter().zip(&split.existing).map(|(new, old)| (new + old) as i64);
                let least = with.clone().min().unwrap_or(0);
                let over =
                    with.zip(one).map(|(all, new)| (all - least - split.max_skew).clamp(0, *new as i64));
                let fine = i128::from(split.fine.unwrap_or(0)) << MULTIPLIER_BITS;
                let nodes = one.iter().zip(&prices).map(|(n, price)| i128::from(*n) * i128::from(*price));
                nodes.sum::<i128>() + fine * i128::from(over.sum::<i64>())
            };
            let least = splits(pods, domains).iter().map(cost).min().expect("some split");
            let (found, one) = split.least(pods, &prices).expect("every split is feasible");
            assert_eq!(found, least, "{split:?} {pods} {prices:?}");
            assert_eq!(cost(&one), least, "{split:?} {pods} {prices:?} {one:?}");
            fined += u32::from(!Split { fine: None, ..split.clone() }.is_feasible(&one));
        }
        assert!(fined > 200, "{fined} pay a fine");
    }
}
