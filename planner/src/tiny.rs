//! Exact plans for a handful of pods: dynamic programming over what is still to place.
//!
//! A *state* is a sub-multiset of the pods. `f[s]` is the cheapest set of launches for `s`: some node holds the first pod
//! left, together with some sub-multiset. Existing nodes come last, each taking one sub-multiset for free. With six
//! different pods there are 64 states and 729 (state, part) pairs.

use crate::core::{Core, Offer};
use crate::pack::{PackedNode, Packing, Pattern};

/// (state, part) pairs visited at most, over all bins: some tens of milliseconds.
const PAIRS_MAX: u64 = 3_000_000;

/// A state as a number in mixed radix `d_g + 1`.
struct States {
    groups: Vec<u32>,
    demand: Vec<i64>,
    stride: Vec<usize>,
    count: usize,
}

const UNREACHABLE: i64 = i64::MAX / 4;

impl States {
    fn new(core: &Core) -> Option<States> {
        let groups: Vec<u32> =
            (0..core.demand.len() as u32).filter(|g| core.demand[*g as usize] > 0).collect();
        let demand: Vec<i64> = groups.iter().map(|g| core.demand[*g as usize]).collect();
        let mut pairs = 1_u64;
        let mut count = 1_usize;
        let mut stride = Vec::new();
        for d in &demand {
            let d = u64::try_from(*d).ok()?;
            stride.push(count);
            pairs = pairs.checked_mul((d + 1).checked_mul(d + 2)? / 2)?;
            if pairs.checked_mul(core.spares.len() as u64 + 1)? > PAIRS_MAX {
                return None;
            }
            count = count.checked_mul(usize::try_from(d + 1).ok()?)?;
        }
        let work = (count as u64).checked_mul(core.offers.len() as u64 + 1)?;
        (work <= 4 * PAIRS_MAX).then_some(States { groups, demand, stride, count })
    }

    fn digits(&self, state: usize) -> Vec<i64> {
        self.demand.iter().zip(&self.stride).map(|(d, stride)| (state / stride) as i64 % (d + 1)).collect()
    }

    fn pattern(&self, state: usize) -> Pattern {
        let digits = self.digits(state);
        self.groups.iter().zip(digits).filter(|(_, n)| *n > 0).map(|(g, n)| (*g, n)).collect()
    }

    /// Calls `visit` with every part of `state` that contains at least `least` of its digits, as numbers.
    fn parts(&self, state: usize, least: &[i64], visit: &mut dyn FnMut(usize)) {
        let most = self.digits(state);
        let mut digits = least.to_vec();
        let mut part: usize = digits.iter().zip(&self.stride).map(|(n, stride)| *n as usize * stride).sum();
        loop {
            visit(part);
            let mut k = 0;
            loop {
                if k == digits.len() {
                    return;
                }
                if digits[k] < most[k] {
                    digits[k] += 1;
                    part += self.stride[k];
                    break;
                }
                part -= (digits[k] - least[k]) as usize * self.stride[k];
                digits[k] = least[k];
                k += 1;
            }
        }
    }

    fn load(&self, core: &Core, state: usize) -> Vec<i64> {
        let mut load = vec![0_i64; core.r()];
        for (g, n) in self.pattern(state) {
            load.iter_mut().zip(core.weight(g as usize)).for_each(|(sum, w)| *sum += w * n);
        }
        load
    }
}

/// The cheapest plan, if the problem is small enough and no limit is in play; `None` otherwise.
pub(crate) fn solve(core: &Core) -> Option<Packing> {
    if core.offers.iter().any(|offer| !offer.usage.is_empty()) {
        return None;
    }
    let states = States::new(core)?;
    let loads: Vec<Vec<i64>> = (0..states.count).map(|state| states.load(core, state)).collect();
    let fined = core.has_fines();
    let cost = |o: usize, pattern: &Pattern| core.offers[o].price + core.offers[o].fines.sum(pattern);
    let holder: Vec<Option<usize>> = (0..states.count)
        .map(|state| {
            let pattern = states.pattern(state);
            if !core.rules.allow(&pattern, &[]) {
                return None;
            }
            let fits = |offer: &Offer| holds(&offer.items, &offer.capacity, &pattern, &loads[state]);
            if !fined {
                // Offers are sorted by price: the first that holds the part is the cheapest.
                return core.offers.iter().position(fits);
            }
            let holders = (0..core.offers.len()).filter(|o| fits(&core.offers[*o]));
            holders.min_by_key(|o| (cost(*o, &pattern), *o))
        })
        .collect();
    let mut layers: Vec<Vec<(i64, usize)>> = vec![launch_layer(&states, &holder, &cost)];
    for spare in &core.spares {
        let fits: Vec<Option<i64>> = (0..states.count)
            .map(|state| {
                let pattern = states.pattern(state);
                let fits = holds(&spare.items, &spare.capacity, &pattern, &loads[state])
                    && core.rules.allow(&pattern, &spare.held);
                fits.then(|| spare.fines.sum(&pattern))
            })
            .collect();
        let last = layers.last().expect("the launch layer is there");
        layers.push(spare_layer(&states, last, &fits));
    }
    let full = states.count - 1;
    if layers.last()?[full].0 >= UNREACHABLE {
        return None;
    }
    Some(reconstruct(core, &states, &layers, &holder))
}

fn holds(items: &[(u32, i64)], capacity: &[i64], pattern: &Pattern, load: &[i64]) -> bool {
    load.iter().zip(capacity).all(|(l, c)| l <= c)
        && pattern
            .iter()
            .all(|(g, n)| items.binary_search_by_key(g, |(g, _)| *g).is_ok_and(|at| *n <= items[at].1))
}

/// `f[s]` and the part the first node takes.
fn launch_layer(
    states: &States,
    holder: &[Option<usize>],
    cost: &dyn Fn(usize, &Pattern) -> i64,
) -> Vec<(i64, usize)> {
    let costs: Vec<i64> = (0..states.count)
        .map(|part| holder[part].map_or(0, |offer| cost(offer, &states.pattern(part))))
        .collect();
    let mut best = vec![(UNREACHABLE, 0_usize); states.count];
    best[0] = (0, 0);
    for state in 1..states.count {
        let digits = states.digits(state);
        let first = digits.iter().position(|n| *n > 0).expect("the state is not empty");
        let mut least = vec![0; digits.len()];
        least[first] = 1;
        let mut found = (UNREACHABLE, 0);
        states.parts(state, &least, &mut |part| {
            if holder[part].is_some() {
                let cost = costs[part] + best[state - part].0;
                if cost < found.0 {
                    found = (cost, part);
                }
            }
        });
        best[state] = found;
    }
    best
}

/// The layer before with one more existing node, which takes some part for no more than what it says there.
fn spare_layer(states: &States, before: &[(i64, usize)], fits: &[Option<i64>]) -> Vec<(i64, usize)> {
    let zero = vec![0; states.demand.len()];
    (0..states.count)
        .map(|state| {
            let mut found = (UNREACHABLE, 0);
            states.parts(state, &zero, &mut |part| {
                if let Some(fine) = fits[part]
                    && before[state - part].0 + fine < found.0
                {
                    found = (before[state - part].0 + fine, part);
                }
            });
            found
        })
        .collect()
}

fn reconstruct(
    core: &Core,
    states: &States,
    layers: &[Vec<(i64, usize)>],
    holder: &[Option<usize>],
) -> Packing {
    let mut packing = Packing::empty(core);
    let mut state = states.count - 1;
    for s in (0..core.spares.len()).rev() {
        let part = layers[s + 1][state].1;
        packing.spares[s] = states.pattern(part);
        for (g, n) in &packing.spares[s] {
            packing.left[*g as usize] -= n;
        }
        state -= part;
    }
    while state > 0 {
        let part = layers[0][state].1;
        let offer = holder[part].expect("a launched part has a holder");
        packing.push(core, PackedNode { offer: offer as u32, pattern: states.pattern(part) });
        state -= part;
    }
    packing
}
