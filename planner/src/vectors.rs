//! Knapsack vectors shared by many bins.
//!
//! `sum_r y_r C_r + sum_g u_g max(0, pi_g - y.w_g)` bounds what a bin can hold for any `y >= 0`. The vectors of a handful of
//! bins usually show of all others that they are worth no more than they cost, at a few multiplications each; the knapsack
//! itself is solved for the rest only.

use crate::core::{Core, Fined};
use crate::knapsack::Knapsack;
use crate::pricing::{Multipliers, PriceList, Priced, full_price, items};

/// A vector, and the groups whose pods are worth more than the room they take at its prices.
pub(crate) struct Vector {
    /// Price of one unit of each resource, scaled.
    pub(crate) y: Vec<f64>,
    surplus: Vec<(u32, f64)>,
}

impl Vector {
    /// Prepares a vector for the given values of pods.
    pub(crate) fn new(core: &Core, pi: &[f64], y: Vec<f64>) -> Vector {
        let surplus = (0..pi.len())
            .map(|g| (g as u32, pi[g] - core.worth_of_room(g, &y)))
            .filter(|(_, more)| *more > 0.0);
        Vector { surplus: surplus.collect(), y }
    }

    /// Upper bound on the value of any pattern of a bin.
    pub(crate) fn worth(&self, cap: &[f64], items: &[(u32, i64)], fines: &Fined) -> f64 {
        let mut total: f64 = self.y.iter().zip(cap).map(|(y, c)| y * c).sum();
        for (g, surplus) in &self.surplus {
            if let Ok(at) = items.binary_search_by_key(g, |(g, _)| *g) {
                total += (surplus - fines.dollars(*g)).max(0.0) * items[at].1 as f64;
            }
        }
        total
    }
}

/// All bins priced by shared vectors.
pub(crate) struct Shared {
    /// The vectors.
    pub(crate) vectors: Vec<Vector>,
    /// Upper bound on the value of each offer; exact where it exceeds the price.
    pub(crate) values: Vec<f64>,
    /// Sum of the values of all existing nodes.
    pub(crate) spares: f64,
}

/// Tolerance of prices, as a share: bins this little above their price are not looked at again.
const EXCESS: f64 = 1e-9;
/// An existing node gets a vector of its own if it makes this share of the whole value tighter.
const SPARE_GAIN: f64 = 1e-5;

/// Prices all bins; `seeds` are vectors likely to serve.
pub(crate) fn price_shared(
    core: &Core,
    multipliers: &Multipliers,
    seeds: &[Vec<f64>],
    knapsack: &mut Knapsack,
) -> Shared {
    let pi = &multipliers.pi;
    let mut vectors: Vec<Vector> = seeds.iter().map(|y| Vector::new(core, pi, y.clone())).collect();
    let mut used = vec![false; vectors.len()];
    let mut values = Vec::with_capacity(core.offers.len());
    // Neighbours in price are often alike, so the vector that served last is tried first.
    let mut last = 0;
    for (o, offer) in core.offers.iter().enumerate() {
        let price = full_price(core, o, multipliers);
        let mut value = f64::INFINITY;
        for k in std::iter::once(last).chain(0..vectors.len()).filter(|k| *k < vectors.len()) {
            let worth = vectors[k].worth(&offer.cap, &offer.items, &offer.fines);
            if worth < value {
                (value, last) = (worth, k);
            }
            if value <= price {
                break;
            }
        }
        if value > price + EXCESS * offer.cost {
            let exact = knapsack.solve(&items(&offer.items, &offer.fines, pi), &core.w, &offer.cap);
            if exact < value {
                value = exact;
                last = vectors.len();
                vectors.push(Vector::new(core, pi, knapsack.y.clone()));
                used.push(false);
            }
        }
        used[last] = true;
        values.push(value);
    }
    let whole: f64 = pi.iter().zip(&core.demand).map(|(pi, d)| pi * *d as f64).sum();
    let mut spares = 0.0;
    for spare in &core.spares {
        let own = knapsack.solve(&items(&spare.items, &spare.fines, pi), &core.w, &spare.cap);
        let shared = vectors.iter().map(|vector| vector.worth(&spare.cap, &spare.items, &spare.fines));
        let (best, at) = shared.zip(0..).fold((f64::INFINITY, 0), |a, b| if b.0 < a.0 { b } else { a });
        if best - own > SPARE_GAIN * whole {
            vectors.push(Vector::new(core, pi, knapsack.y.clone()));
            used.push(true);
            spares += own;
        } else {
            used[at] = true;
            spares += best;
        }
    }
    let mut keep = used.into_iter();
    vectors.retain(|_| keep.next().unwrap_or(false));
    Shared { vectors, values, spares }
}

/// The price list that the given vectors make, for guiding a search.
pub(crate) fn price_list(
    core: &Core,
    multipliers: &Multipliers,
    vectors: &[Vec<f64>],
    bound: f64,
) -> PriceList {
    let vectors: Vec<Vector> =
        vectors.iter().map(|y| Vector::new(core, &multipliers.pi, y.clone())).collect();
    let priced = |cap: &[f64], items: &[(u32, i64)], fines: &Fined| -> Priced {
        let all = vectors.iter().map(|vector| (vector.worth(cap, items, fines), vector));
        let best = all.reduce(|a, b| if b.0 < a.0 { b } else { a });
        best.map_or_else(Priced::default, |(value, vector)| Priced::by(value, vector.y.clone()))
    };
    PriceList {
        offers: core.offers.iter().map(|offer| priced(&offer.cap, &offer.items, &offer.fines)).collect(),
        spares: core.spares.iter().map(|spare| priced(&spare.cap, &spare.items, &spare.fines)).collect(),
        theta: 1.0,
        bound,
    }
}
