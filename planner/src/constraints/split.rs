//! A group spread over domains: which splits are feasible, which is the cheapest, and what any of them is worth at least.
//!
//! With `n_d` pods planned in domain `d` beside `e_d` that run there, a split is feasible if there is an integer level `m >= 0`
//! with `max(0, m - e_d) <= n_d <= max(0, m + maxSkew - e_d)` for all `d` (`m = 0` only, if there are fewer domains than
//! `minDomains`). For a fixed level this is a box with one sum, so the cheapest split starts at the lower ends and gives the
//! rest to domains by rising price: no optimum is lost, since moving a pod from a cheaper to a dearer domain never helps.
//!
//! Where the constraint is only preferred, pods above the upper ends cost a fine each, and every split is feasible.

use std::cmp::Ordering;
use stowage_models::plan::MULTIPLIER_BITS;

/// The domains of a group that is spread over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Split {
    /// Pods that count and run already, by domain.
    pub(crate) running: Vec<i64>,
    /// Largest difference.
    pub(crate) max_skew: i64,
    /// With fewer domains than this the smallest counts as empty.
    pub(crate) min_domains: i64,
    /// What a pod beyond the largest difference costs, in micro-dollars per hour; `None`: there is none.
    pub(crate) fine: Option<i64>,
}

/// Lower and upper end by domain.
type Ends = Vec<(i64, i64)>;

impl Split {
    /// Levels worth a look for up to `pods` pods.
    fn levels(&self, pods: i64) -> std::ops::RangeInclusive<i64> {
        let few = (self.running.len() as i64) < self.min_domains;
        let most = self.running.iter().copied().max().unwrap_or(0).saturating_add(pods);
        0..=if few { 0 } else { most }
    }

    fn ends(&self, level: i64) -> Ends {
        let end = |running: &i64| ((level - running).max(0), (level + self.max_skew - running).max(0));
        self.running.iter().map(end).collect()
    }

    /// The cheapest feasible split of exactly `pods` pods at the given prices, with at most `room` in each domain. `None` if
    /// there is none.
    pub(crate) fn cheapest<P: Amount>(&self, pods: i64, room: &[i64], prices: &[P]) -> Option<Vec<i64>> {
        self.best(pods, room, prices).map(|(_, split)| split)
    }

    /// The same with its cost, fines included.
    fn best<P: Amount>(&self, pods: i64, room: &[i64], prices: &[P]) -> Option<(P, Vec<i64>)> {
        // Room in domains by rising price: that without a fine, and beyond it that with one.
        let mut offers: Vec<(P, usize, bool)> =
            prices.iter().enumerate().map(|(d, price)| (*price, d, false)).collect();
        if let Some(fine) = self.fine.map(P::of_micro_dollars) {
            offers.extend(prices.iter().enumerate().map(|(d, price)| (*price + fine, d, true)));
        }
        offers.sort_by(|a, b| {
            a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then((a.2, a.1).cmp(&(b.2, b.1)))
        });
        let mut best: Option<(P, Vec<i64>)> = None;
        for level in self.levels(pods) {
            let ends = self.ends(level);
            if ends.iter().map(|(lower, _)| lower).sum::<i64>() > pods {
                break;
            }
            if ends.iter().zip(room).any(|((lower, _), room)| lower > room) {
                continue;
            }
            let mut split: Vec<i64> = ends.iter().map(|(lower, _)| *lower).collect();
            let mut rest = pods - split.iter().sum::<i64>();
            let mut cost: P = prices.iter().zip(&split).map(|(price, pods)| price.times(*pods)).sum();
            for (price, d, fined) in &offers {
                let end = if *fined { room[*d] } else { ends[*d].1.min(room[*d]) };
                let more = (end - split[*d]).min(rest).max(0);
                split[*d] += more;
                rest -= more;
                cost = cost + price.times(more);
            }
            if rest > 0 {
                continue;
            }
            if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                best = Some((cost, split));
            }
        }
        best
    }

    /// Pods of each domain at the level of a split: what it needs at least, and what it may have without a fine.
    pub(crate) fn ends_at(&self, split: &[i64]) -> Vec<(i64, i64)> {
        self.ends(split.iter().zip(&self.running).map(|(new, old)| new + old).min().unwrap_or(0))
    }

    /// What a split costs beyond its nodes: the fines of pods above the largest difference, in micro-dollars per hour.
    pub(crate) fn fines(&self, split: &[i64]) -> i64 {
        let Some(fine) = self.fine else { return 0 };
        let over = split.iter().zip(self.ends_at(split)).map(|(pods, (_, upper))| (pods - upper).max(0));
        fine.saturating_mul(over.sum())
    }

    /// As many of `pods` as a feasible split within `room` places.
    pub(crate) fn most(&self, pods: i64, room: &[i64]) -> i64 {
        let mut most = 0;
        for level in self.levels(pods) {
            let ends = self.ends(level);
            let least: i64 = ends.iter().map(|(lower, _)| lower).sum();
            if least > pods {
                break;
            }
            if ends.iter().zip(room).all(|((lower, _), room)| lower <= room) {
                let upper = ends.iter().zip(room).map(|((_, upper), room)| *upper.min(room));
                most = most.max(upper.fold(0, i64::saturating_add).min(pods));
            }
        }
        most
    }

    /// Least worth of any feasible split of `pods` pods at the given values: what the cover rows contribute to a bound.
    pub(crate) fn least<P: Amount>(&self, pods: i64, values: &[P]) -> P {
        let room = vec![i64::MAX; self.running.len()];
        // Without a feasible split nothing is claimed.
        self.best(pods, &room, values)
            .map_or_else(|| values.iter().map(|value| value.times(0)).sum(), |best| best.0)
    }
}

/// Amounts of money that can be added up.
pub(crate) trait Amount:
    Copy + PartialOrd + std::iter::Sum<Self> + std::ops::Add<Output = Self>
{
    /// `self * count`.
    fn times(self, count: i64) -> Self;
    /// From micro-dollars.
    fn of_micro_dollars(amount: i64) -> Self;
}

/// In dollars.
impl Amount for f64 {
    fn times(self, count: i64) -> f64 {
        self * count as f64
    }

    fn of_micro_dollars(amount: i64) -> f64 {
        amount as f64 / 1e6
    }
}

/// In the units of multipliers.
impl Amount for i128 {
    fn times(self, count: i64) -> i128 {
        self * i128::from(count)
    }

    fn of_micro_dollars(amount: i64) -> i128 {
        i128::from(amount) << MULTIPLIER_BITS
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::random::Random;

    fn is_feasible(split: &Split, pods: &[i64]) -> bool {
        let after: Vec<i64> = split.running.iter().zip(pods).map(|(e, n)| e + n).collect();
        let top = if (split.running.len() as i64) < split.min_domains {
            0
        } else {
            *after.iter().max().unwrap_or(&0)
        };
        (0..=top).any(|m| {
            split
                .running
                .iter()
                .zip(pods)
                .all(|(e, n)| *n >= (m - e).max(0) && *n <= (m + split.max_skew - e).max(0))
        })
    }

    /// Every split of few pods, tried one by one.
    #[test]
    fn cheapest_and_most_agree_with_enumeration() {
        let mut rng = Random::new(11);
        for _ in 0..2_000 {
            let domains = 1 + rng.index(3);
            let split = Split {
                running: (0..domains).map(|_| rng.index(4) as i64).collect(),
                max_skew: 1 + rng.index(3) as i64,
                min_domains: 1 + rng.index(4) as i64,
                fine: None,
            };
            let pods = rng.index(7) as i64;
            let room: Vec<i64> = (0..domains).map(|_| rng.index(8) as i64).collect();
            let prices: Vec<i128> = (0..domains).map(|_| rng.index(9) as i128).collect();
            let mut best: Option<i128> = None;
            let mut most = 0;
            for code in 0..8_usize.pow(domains as u32) {
                let n: Vec<i64> = (0..domains).map(|d| (code / 8_usize.pow(d as u32) % 8) as i64).collect();
                let total: i64 = n.iter().sum();
                if !n.iter().zip(&room).all(|(n, room)| n <= room) || !is_feasible(&split, &n) || total > pods
                {
                    continue;
                }
                most = most.max(total);
                if total == pods {
                    let cost = prices.iter().zip(&n).map(|(p, n)| p * i128::from(*n)).sum();
                    best = Some(best.map_or(cost, |have: i128| have.min(cost)));
                }
            }
            let found = split.cheapest(pods, &room, &prices);
            if let Some(found) = &found {
                assert!(is_feasible(&split, found), "{split:?} {found:?}");
            }
            let cost = found.map(|n| prices.iter().zip(n).map(|(p, n)| p * i128::from(n)).sum::<i128>());
            assert_eq!(cost, best, "{split:?} {pods} {room:?} {prices:?}");
            assert_eq!(split.most(pods, &room), most, "{split:?} {pods} {room:?}");
        }
    }

    /// The same where the constraint is only preferred: any split will do, and pods beyond the difference pay.
    #[test]
    fn the_cheapest_with_fines_agrees_with_enumeration() {
        let mut rng = Random::new(12);
        let mut fined = 0;
        for _ in 0..2_000 {
            let domains = 1 + rng.index(3);
            let split = Split {
                running: (0..domains).map(|_| rng.index(4) as i64).collect(),
                max_skew: 1 + rng.index(3) as i64,
                min_domains: 1,
                fine: Some(rng.index(6) as i64),
            };
            let pods = rng.index(7) as i64;
            let room = vec![i64::MAX; domains];
            let prices: Vec<i128> =
                (0..domains).map(|_| i128::of_micro_dollars(rng.index(9) as i64)).collect();
            let cost = |n: &[i64]| -> i128 {
                let nodes: i128 = prices.iter().zip(n).map(|(p, n)| p * i128::from(*n)).sum();
                nodes + i128::of_micro_dollars(split.fines(n))
            };
            let all = (0..8_usize.pow(domains as u32)).map(|code| {
                (0..domains).map(|d| (code / 8_usize.pow(d as u32) % 8) as i64).collect::<Vec<i64>>()
            });
            let best = all.filter(|n| n.iter().sum::<i64>() == pods).map(|n| cost(&n)).min();
            let found = split.cheapest(pods, &room, &prices).expect("every split will do");
            assert_eq!(Some(cost(&found)), best, "{split:?} {pods} {prices:?} {found:?}");
            assert_eq!(Some(split.least(pods, &prices)), best, "{split:?} {pods} {prices:?}");
            fined += u32::from(split.fines(&found) > 0);
        }
        assert!(fined > 200, "{fined} pay");
    }
}
