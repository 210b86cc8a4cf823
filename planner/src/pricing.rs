//! Prices every bin against multipliers: how much is the best pattern worth, at most?

use crate::cases::Step;
use crate::core::{Core, Fined};
use crate::knapsack::{Item, Knapsack};
use rayon::prelude::*;

/// Multipliers, in dollars per hour.
#[derive(Clone, Debug, Default)]
pub(crate) struct Multipliers {
    /// Value of one pod, by group.
    pub(crate) pi: Vec<f64>,
    /// Price of one unit of each limit row (exact units of that row).
    pub(crate) mu: Vec<f64>,
    /// What each offer costs more because of branching decisions; empty without any.
    pub(crate) surcharge: Vec<f64>,
}

impl Multipliers {
    /// `alpha * centre + (1 - alpha) * self`.
    pub(crate) fn mix(&self, centre: &Multipliers, alpha: f64) -> Multipliers {
        let mix = |own: &[f64], other: &[f64]| -> Vec<f64> {
            own.iter().zip(other).map(|(own, other)| alpha * other + (1.0 - alpha) * own).collect()
        };
        Multipliers { pi: mix(&self.pi, &centre.pi), mu: mix(&self.mu, &centre.mu), surcharge: Vec::new() }
    }
}

/// What a bin is worth at most, and the vector that shows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Priced {
    /// Upper bound on the value of any pattern.
    pub(crate) value: f64,
    /// Knapsack-dual vector in scaled units.
    pub(crate) y: Vec<f64>,
    /// A proof by cases, where there is one; then no vector alone has to show it.
    pub(crate) cases: Vec<Step<Vec<f64>>>,
}

impl Priced {
    /// Priced by one vector.
    pub(crate) fn by(value: f64, y: Vec<f64>) -> Priced {
        Priced { value, y, cases: Vec::new() }
    }

    /// With all prices and values divided by this.
    pub(crate) fn divided(&self, by: f64) -> Priced {
        let divided = |y: &Vec<f64>| y.iter().map(|y| y / by).collect();
        let cases = self.cases.iter().map(|step| step.map(|group| group, divided)).collect();
        Priced { value: self.value / by, y: divided(&self.y), cases }
    }
}

/// Prices of all bins of a core.
#[derive(Clone, Debug, Default)]
pub(crate) struct PriceList {
    /// By offer.
    pub(crate) offers: Vec<Priced>,
    /// By spare.
    pub(crate) spares: Vec<Priced>,
    /// Largest value per price over all offers; multipliers divided by it are feasible.
    pub(crate) theta: f64,
    /// Lower bound on the cost that the divided multipliers prove, in dollars per hour (floating point: a guide, not
    /// the proof).
    pub(crate) bound: f64,
}

/// `c_o + sum_r mu_r usage_or`.
pub(crate) fn full_price(core: &Core, o: usize, multipliers: &Multipliers) -> f64 {
    let offer = &core.offers[o];
    let limits: f64 = offer.usage.iter().map(|(row, amount)| multipliers.mu[*row] * *amount as f64).sum();
    offer.cost + limits + multipliers.surcharge.get(o).copied().unwrap_or(0.0)
}

/// The items of a bin, priced: a pod is worth its multiplier less what its unmet preferences cost there.
pub(crate) fn items(list: &[(u32, i64)], fines: &Fined, pi: &[f64]) -> Vec<Item> {
    list.iter()
        .map(|(g, copies)| (*g as usize, pi[*g as usize] - fines.dollars(*g), *copies as f64))
        .filter(|(_, profit, _)| *profit > 0.0)
        .map(|(group, profit, copies)| Item { group, profit, copies })
        .collect()
}

pub(crate) fn price_bin(
    core: &Core,
    (list, fines): (&[(u32, i64)], &Fined),
    cap: &[f64],
    pi: &[f64],
    knapsack: &mut Knapsack,
) -> Priced {
    let value = knapsack.solve(&items(list, fines, pi), &core.w, cap);
    Priced::by(value, knapsack.y.clone())
}

/// Prices all bins. The result does not depend on the number of threads: each bin is independent.
pub(crate) fn price_all(core: &Core, multipliers: &Multipliers) -> PriceList {
    let pi = &multipliers.pi;
    let (offers, spares) = core.pool.install(|| {
        let offers: Vec<Priced> = core
            .offers
            .par_iter()
            .map_init(Knapsack::default, |knapsack, offer| {
                price_bin(core, (&offer.items, &offer.fines), &offer.cap, pi, knapsack)
            })
            .collect();
        let spares: Vec<Priced> = core
            .spares
            .par_iter()
            .map_init(Knapsack::default, |knapsack, spare| {
                price_bin(core, (&spare.items, &spare.fines), &spare.cap, pi, knapsack)
            })
            .collect();
        (offers, spares)
    });
    listed(core, multipliers, offers, spares)
}

/// What bins priced at these multipliers prove.
pub(crate) fn listed(
    core: &Core,
    multipliers: &Multipliers,
    offers: Vec<Priced>,
    spares: Vec<Priced>,
) -> PriceList {
    let theta = offers
        .iter()
        .enumerate()
        .map(|(o, priced)| priced.value / full_price(core, o, multipliers))
        // Fines do not shrink with the multipliers, so where there are any, these are never scaled up.
        .fold(if core.has_fines() || offers.is_empty() { 1.0 } else { 0.0 }, f64::max);
    let mut list = PriceList { offers, spares, theta, bound: 0.0 };
    list.bound = bound(core, multipliers, &list);
    list
}

fn bound(core: &Core, multipliers: &Multipliers, list: &PriceList) -> f64 {
    if list.theta <= 0.0 {
        return 0.0;
    }
    let covered: f64 = core.covered(&multipliers.pi);
    let spare: f64 = list.spares.iter().map(|priced| priced.value).sum();
    let limits: f64 = multipliers.mu.iter().zip(&core.limits).map(|(mu, left)| mu * *left as f64).sum();
    ((covered - spare) / list.theta - limits).max(0.0)
}
