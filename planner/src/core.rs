//! The problem as the engine sees it: dense arrays, floating point beside the exact integers, dominated offerings gone.

use crate::constraints::nodes::Rules;
use crate::constraints::split::{Amount, Split};
use crate::faults;
use crate::offerings::Offering;
use crate::problem::{Bits, Limit, Problem};
use rayon::ThreadPool;
use std::sync::Arc;
use stowage_models::plan::{MULTIPLIER_BITS, unit_bits};

/// What unmet preferences cost in a bin, in micro-dollars per hour and pod: (group, fine), by group, fines positive.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fined(pub(crate) Vec<(u32, i64)>);

impl Fined {
    /// Those of `items` for which `fine` says so.
    fn new(items: &[(u32, i64)], fine: impl Fn(u32) -> i64) -> Fined {
        Fined(items.iter().map(|(g, _)| (*g, fine(*g))).filter(|(_, fine)| *fine > 0).collect())
    }

    /// Of a group.
    pub(crate) fn of(&self, g: u32) -> i64 {
        if self.0.is_empty() {
            return 0;
        }
        self.0.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| self.0[at].1)
    }

    /// Of a group, in dollars per hour.
    pub(crate) fn dollars(&self, g: u32) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.of(g) as f64 / 1e6 }
    }

    /// Of all pods of a pattern.
    pub(crate) fn sum(&self, pattern: &[(u32, i64)]) -> i64 {
        if self.0.is_empty() {
            return 0;
        }
        pattern.iter().map(|(g, count)| self.of(*g) * count).sum()
    }
}

/// See [`Core::has_many_pods`]: a round number, not a tuned one.
pub(crate) const MANY_PODS: i64 = 2_000;

/// A bin that may be bought any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Index into [`Problem::offerings`].
    pub(crate) offering: usize,
    /// Price, micro-dollars per hour.
    pub(crate) price: i64,
    /// Price in dollars per hour.
    pub(crate) cost: f64,
    /// Exact capacity by resource.
    pub(crate) capacity: Vec<i64>,
    /// Scaled capacity by resource.
    pub(crate) cap: Vec<f64>,
    /// Groups that may use it, ascending, with the copies that fit at most (by demand and capacity).
    pub(crate) items: Vec<(u32, i64)>,
    /// What it costs when preferences of their pods are not met here.
    pub(crate) fines: Fined,
    /// Limit rows it counts against, with exact amounts.
    pub(crate) usage: Vec<(usize, i64)>,
}

/// An existing node with free room.
#[derive(Clone, Debug)]
pub(crate) struct Spare {
    /// Index into [`Problem::existing`].
    pub(crate) bin: usize,
    /// Its [`ExistingBin::kind`](crate::problem::ExistingBin::kind).
    pub(crate) kind: u32,
    /// Exact free amounts.
    pub(crate) capacity: Vec<i64>,
    /// Scaled free amounts.
    pub(crate) cap: Vec<f64>,
    /// Groups that may use it, with the copies that fit at most.
    pub(crate) items: Vec<(u32, i64)>,
    /// What it costs when preferences of their pods are not met here.
    pub(crate) fines: Fined,
    /// What counts there already, by rule.
    pub(crate) held: Vec<i64>,
}

/// The engine's input.
pub(crate) struct Core {
    /// Where parallel work runs.
    pub(crate) pool: Arc<ThreadPool>,
    /// Resources some group asks for: indices into [`Problem::resources`].
    pub(crate) resources: Vec<usize>,
    /// Scale of each: amounts are divided by it for floating point.
    pub(crate) scale: Vec<f64>,
    /// Binary digits that bring a product of a multiplier and an amount of each to the scale of certificates.
    pub(crate) shift: Vec<u32>,
    /// Exact weights, `groups x resources`.
    pub(crate) weights: Vec<i64>,
    /// Scaled weights, `groups x resources`.
    pub(crate) w: Vec<f64>,
    /// Pods to place, by group.
    pub(crate) demand: Vec<i64>,
    /// Pods to place of the whole group, where a group is one domain of a split; else the same as `demand`.
    pub(crate) wanted: Vec<i64>,
    /// Pods of a group on one new node at most, by group.
    pub(crate) cap: Vec<i64>,
    /// Splits over domains: their groups, and which splits are feasible.
    pub(crate) families: Vec<(Vec<u32>, Split)>,
    /// Who may share a node.
    pub(crate) rules: Rules,
    /// Priority by group.
    pub(crate) priority: Vec<i32>,
    /// Undominated offerings, by rising price, then canonical order.
    pub(crate) offers: Vec<Offer>,
    /// Existing nodes with room.
    pub(crate) spares: Vec<Spare>,
    /// What is left of each limit (at least 0).
    pub(crate) limits: Vec<i64>,
    /// For each offering of the problem the offer that dominates it (itself if undominated); `None` if it takes no
    /// group with demand.
    pub(crate) dominator: Vec<Option<u32>>,
}

/// Divisors that bring amounts near one: cores, 4 GiB, counts of pods in tens. The ratio of 4 GiB to a core is that of
/// a general-purpose instance, so both columns of the matrix have like magnitudes.
fn scale_of(resource: &str) -> f64 {
    match resource {
        "cpu" => 1000.0,
        "memory" => 4.0 * 1024.0 * 1024.0 * 1024.0,
        "pods" => 10.0,
        "ephemeral-storage" => 16.0 * 1024.0 * 1024.0 * 1024.0,
        name if name.starts_with("hugepages-") => 1024.0 * 1024.0 * 1024.0,
        _ => 1.0,
    }
}

impl Core {
    /// Builds the engine's input for the given demand (one entry per group) and what is left of the limits. Existing
    /// nodes take part only `with_spares`.
    pub(crate) fn new(problem: &Problem<'_>, demand: Vec<i64>, limits: &[i64], with_spares: bool) -> Core {
        let resources: Vec<usize> = (0..problem.resources.len())
            .filter(|r| problem.groups.iter().any(|group| group.request[*r] > 0))
            .collect();
        let pick = |vector: &[i64]| -> Vec<i64> { resources.iter().map(|r| vector[*r]).collect() };
        let scale: Vec<f64> = resources.iter().map(|r| scale_of(&problem.resources[*r])).collect();
        let scaled = |vector: &[i64]| -> Vec<f64> {
            vector.iter().zip(&scale).map(|(amount, scale)| *amount as f64 / scale).collect()
        };
        let weights: Vec<i64> = problem.groups.iter().flat_map(|group| pick(&group.request)).collect();
        let w: Vec<f64> = weights.chunks(resources.len().max(1)).flat_map(&scaled).collect();
        let mut wanted = demand.clone();
        let mut families = Vec::new();
        for family in &problem.families {
            let total: i64 = family.rows.iter().map(|g| demand[*g as usize]).sum();
            family.rows.iter().for_each(|g| wanted[*g as usize] = total);
            families.push((family.rows.clone(), family.split.clone()));
        }
        let cap: Vec<i64> = problem.groups.iter().map(|group| group.cap).collect();
        let copies = |g: usize, capacity: &[i64], cap: i64| {
            copies_that_fit(&weights, capacity, g).min(wanted[g]).min(cap)
        };
        let mut core = Core {
            pool: problem.pool.clone(),
            priority: problem.groups.iter().map(|group| group.priority).collect(),
            limits: limits.iter().map(|left| (*left).max(0)).collect(),
            offers: Vec::new(),
            spares: Vec::new(),
            dominator: vec![None; problem.offerings.len()],
            resources: resources.clone(),
            scale: scale.clone(),
            shift: resources.iter().map(|r| MULTIPLIER_BITS - unit_bits(&problem.resources[*r])).collect(),
            w,
            weights: weights.clone(),
            demand: demand.clone(),
            wanted: wanted.clone(),
            cap: cap.clone(),
            families,
            rules: problem.rules.clone(),
        };
        for (bin, existing) in problem.existing.iter().enumerate().filter(|_| with_spares) {
            let capacity = pick(&existing.free);
            let items: Vec<(u32, i64)> = existing
                .groups
                .iter()
                .zip(&existing.caps)
                .map(|(g, cap)| (*g, copies(*g as usize, &capacity, *cap)))
                .filter(|(_, copies)| *copies > 0)
                .collect();
            if !items.is_empty() {
                let held = existing.held.clone();
                let fines = Fined::new(&items, |g| problem.groups[g as usize].fines.on_node(existing.node));
                let kind = existing.kind;
                core.spares.push(Spare { bin, kind, cap: scaled(&capacity), capacity, items, fines, held });
            }
        }
        let (kept, dominated_by) = undominated(problem, &resources, &wanted);
        let mut position = vec![None; kept.len()];
        for (rank, offering) in kept.into_iter().enumerate() {
            let source = &problem.offerings[offering];
            let capacity = pick(&source.capacity);
            let weight = problem.pool(source).weight;
            let items: Vec<(u32, i64)> = problem.classes[source.class as usize]
                .iter()
                .filter(|g| weight >= problem.groups[*g].min_weight)
                .map(|g| (u32::try_from(g).expect("groups fit 32 bits"), copies(g, &capacity, cap[g])))
                .filter(|(_, copies)| *copies > 0)
                .collect();
            if !items.is_empty() {
                position[rank] = Some(u32::try_from(core.offers.len()).expect("offers fit 32 bits"));
                core.offers.push(Offer {
                    offering,
                    price: source.price,
                    cost: source.price as f64 / 1e6,
                    cap: scaled(&capacity),
                    usage: usage(problem, offering),
                    fines: Fined::new(&items, |g| problem.groups[g as usize].fines.on_new(source.signature)),
                    capacity,
                    items,
                });
            }
        }
        for (offering, rank) in dominated_by {
            core.dominator[offering] = position[rank];
        }
        core
    }

    /// Whether preferences have a price anywhere.
    pub(crate) fn has_fines(&self) -> bool {
        self.offers.iter().any(|offer| !offer.fines.0.is_empty())
            || self.spares.iter().any(|spare| !spare.fines.0.is_empty())
    }

    /// Whether some group may have only so many pods on a node.
    pub(crate) fn has_caps(&self) -> bool {
        self.cap.iter().any(|cap| *cap < i64::MAX)
    }

    /// Pods to place.
    pub(crate) fn pods(&self) -> i64 {
        self.demand.iter().sum()
    }

    /// Whether there are so many pods that the fluid optimum is worth following closely: from here on its rows for whole copies, nodes
    /// filled anew from less of their mix, and nodes built again along it gain more than they cost. In smaller batches the search makes
    /// better plans.
    pub(crate) fn has_many_pods(&self) -> bool {
        self.pods() >= MANY_PODS
    }

    /// Does `other` in the pool, and meanwhile `own` on this thread; `own` first where the pool has one thread, because no more than it were
    /// asked for, and where tests make faults, which are those of a thread.
    pub(crate) fn side_by_side<T, U: Send>(
        &self,
        other: impl FnOnce() -> U + Send,
        own: impl FnOnce() -> T,
    ) -> (U, T) {
        if self.pool.current_num_threads() < 2 || faults::are_made() {
            let own = own();
            return (other(), own);
        }
        let mut found = None;
        let own = self.pool.in_place_scope(|scope| {
            scope.spawn(|_| found = Some(other()));
            own()
        });
        (found.expect("what is spawned is done when the scope ends"), own)
    }

    /// Resources per vector.
    pub(crate) fn r(&self) -> usize {
        self.resources.len()
    }

    /// Exact request of group `g`.
    pub(crate) fn weight(&self, g: usize) -> &[i64] {
        &self.weights[g * self.r()..][..self.r()]
    }

    /// Scaled request of group `g`.
    pub(crate) fn scaled(&self, g: usize) -> &[f64] {
        &self.w[g * self.r()..][..self.r()]
    }

    /// What a pod of group `g` takes at prices of a scaled unit of each resource.
    pub(crate) fn worth_of_room(&self, g: usize, y: &[f64]) -> f64 {
        self.scaled(g).iter().zip(y).map(|(w, y)| w * y).sum()
    }

    /// Entries of a column for pods of group `g`: its cover row is `g`, the first of the rows for room is `row`.
    pub(crate) fn item_entries(&self, g: usize, row: usize) -> impl Iterator<Item = (usize, f64)> + use<'_> {
        let weights = self.scaled(g).iter().enumerate().filter(|(_, w)| **w > 0.0);
        std::iter::once((g, 1.0)).chain(weights.map(move |(k, w)| (row + k, *w)))
    }

    /// What the cover rows contribute to a bound at the given values of pods: `sum_g pi_g d_g`, where a group that is split
    /// over domains counts with its cheapest feasible split.
    pub(crate) fn covered<P: Amount>(&self, pi: &[P]) -> P {
        let single: P = if self.families.is_empty() {
            pi.iter().zip(&self.demand).map(|(pi, pods)| pi.times(*pods)).sum()
        } else {
            let mut split = vec![false; pi.len()];
            self.families.iter().flat_map(|(rows, _)| rows).for_each(|g| split[*g as usize] = true);
            let single = pi.iter().zip(&self.demand).zip(split).filter(|(_, split)| !split);
            single.map(|((pi, pods), _)| pi.times(*pods)).sum()
        };
        let families = self.families.iter().map(|(rows, split)| {
            let values: Vec<P> = rows.iter().map(|g| pi[*g as usize]).collect();
            split.least(rows.iter().map(|g| self.demand[*g as usize]).sum(), &values)
        });
        std::iter::once(single).chain(families).sum()
    }

    /// What splits that are only preferred cost as they are planned, in micro-dollars per hour.
    pub(crate) fn split_fines(&self) -> i64 {
        let fines = |(rows, split): &(Vec<u32>, Split)| {
            if split.fine.is_none() {
                return 0;
            }
            split.fines(&rows.iter().map(|g| self.demand[*g as usize]).collect::<Vec<i64>>())
        };
        self.families.iter().map(fines).sum()
    }

    /// What the fluid program has to cover of a group. A domain that is to take no pod still needs a price, which only a
    /// demand, however small, gives it.
    pub(crate) fn fluid_demand(&self, g: usize, demand: i64) -> f64 {
        if demand == 0 && self.wanted[g] > 0 { 1e-3 } else { demand as f64 }
    }

    /// How many pods of `g` fit `capacity`.
    pub(crate) fn copies(&self, g: usize, capacity: &[i64]) -> i64 {
        copies_that_fit(&self.weights, capacity, g)
    }
}

fn copies_that_fit(weights: &[i64], capacity: &[i64], g: usize) -> i64 {
    let r = capacity.len();
    weights[g * r..][..r]
        .iter()
        .zip(capacity)
        .filter(|(w, _)| **w > 0)
        .map(|(w, c)| c / w)
        .min()
        .unwrap_or(i64::MAX)
}

/// Limit rows an offering counts against.
pub(crate) fn usage(problem: &Problem<'_>, offering: usize) -> Vec<(usize, i64)> {
    let source = &problem.offerings[offering];
    let rows: Vec<usize> = (0..problem.limits.len())
        .filter(|row| problem.is_limited_by(source, &problem.limits[*row]))
        .collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let pool = problem.pool(source);
    let class = problem.snapshot.node_classes.iter().find(|class| class.name == pool.node_class).cloned();
    let kind = &problem.catalog.types[source.instance_type as usize];
    let capacity = kind.capacity(&problem.snapshot.settings, &class.unwrap_or_default());
    // Limits are rarely about what overlays state, and offerings are many.
    let stated = rows.iter().any(|row| problem.overlays.states(&problem.limits[*row].resource));
    let capacity = if stated { problem.overlays.applied(capacity, pool, kind) } else { capacity };
    rows.into_iter()
        .map(|row| {
            let Limit { pool, resource, .. } = &problem.limits[row];
            (row, if pool.is_none() || resource == "nodes" { 1 } else { capacity.get(resource) })
        })
        .filter(|(_, amount)| *amount > 0)
        .collect()
}

/// Offerings not dominated by another: one that takes at least the same groups, has at least the same capacity, costs
/// at most as much, fines for unmet preferences included, and uses no more of any limit. No optimum is lost, because in any plan the dominated one can be
/// swapped for its dominator. Sorted by price, then canonical order, which also breaks ties.
///
/// Returns the survivors and, for every offering that takes a group with demand, the rank of its dominator among them.
fn undominated(
    problem: &Problem<'_>,
    resources: &[usize],
    demand: &[i64],
) -> (Vec<usize>, Vec<(usize, usize)>) {
    let allowed: Vec<Bits> = allowed_sets(problem, demand);
    let mut subset = vec![Bits::new(allowed.len()); allowed.len()];
    for (a, set) in allowed.iter().enumerate() {
        for (b, other) in allowed.iter().enumerate() {
            if set.is_subset(other) {
                subset[a].insert(b);
            }
        }
    }
    let pools = problem.snapshot.node_pools.len();
    let class_of = |o: usize| {
        let offering = &problem.offerings[o];
        offering.class as usize * pools + offering.pool as usize
    };
    let mut order: Vec<usize> = (0..problem.offerings.len())
        .filter(|o| allowed[class_of(*o)].0.iter().any(|word| *word != 0))
        .filter(|o| problem.offerings[*o].capacity.iter().any(|amount| *amount > 0))
        .collect();
    // Within a price the roomier one first, so that it can dominate.
    order.sort_by(|a, b| {
        let (x, y) = (&problem.offerings[*a], &problem.offerings[*b]);
        x.price.cmp(&y.price).then_with(|| y.capacity.cmp(&x.capacity)).then(a.cmp(b))
    });
    let limited: Vec<bool> =
        (0..pools).map(|pool| problem.limits.iter().any(|limit| limit.pool == Some(pool))).collect();
    // Whether no group that may use `one` is fined more on `other`.
    let no_dearer = |one: &Offering, other: &Offering| {
        one.signature == other.signature
            || !problem.prices_preferences
            || problem.classes[one.class as usize].iter().filter(|g| demand[*g] > 0).all(|g| {
                let fines = &problem.groups[g].fines;
                fines.on_new(other.signature) <= fines.on_new(one.signature)
            })
    };
    let mut kept: Vec<usize> = Vec::new();
    let mut dominated_by = Vec::with_capacity(order.len());
    for o in order {
        let offering = &problem.offerings[o];
        let dominator = kept.iter().position(|k| {
            let other = &problem.offerings[*k];
            subset[class_of(o)].contains(class_of(*k))
                && no_dearer(offering, other)
                && (!other.reserved || (offering.reserved && other.variant == offering.variant))
                && resources.iter().all(|r| other.capacity[*r] >= offering.capacity[*r])
                && (!limited[other.pool as usize]
                    || (other.pool == offering.pool && other.instance_type == offering.instance_type))
        });
        dominated_by.push((o, dominator.unwrap_or(kept.len())));
        if dominator.is_none() {
            kept.push(o);
        }
    }
    (kept, dominated_by)
}

/// For each (label class, pool): the groups with demand whose weight allows the pool.
fn allowed_sets(problem: &Problem<'_>, demand: &[i64]) -> Vec<Bits> {
    let mut sets = Vec::new();
    for class in &problem.classes {
        for pool in &problem.snapshot.node_pools {
            let mut set = Bits::new(problem.groups.len());
            class
                .iter()
                .filter(|g| demand[*g] > 0 && pool.weight >= problem.groups[*g].min_weight)
                .for_each(|g| set.insert(g));
            sets.push(set);
        }
    }
    sets
}

#[cfg(test)]
pub(crate) mod testing {
    //! Cores without a problem.
    use super::*;

    /// An offer of these groups, each with how many fit.
    pub(crate) fn offer(price: i64, capacity: [i64; 2], items: Vec<(u32, i64)>) -> Offer {
        Offer {
            offering: 0,
            price,
            cost: price as f64 / 1e6,
            cap: capacity.iter().map(|c| *c as f64).collect(),
            capacity: capacity.to_vec(),
            items,
            fines: Fined::default(),
            usage: Vec::new(),
        }
    }

    /// An existing node with this room for these groups.
    pub(crate) fn spare(bin: usize, capacity: [i64; 2], items: Vec<(u32, i64)>) -> Spare {
        Spare {
            bin,
            kind: 0,
            capacity: capacity.to_vec(),
            cap: capacity.iter().map(|c| *c as f64).collect(),
            items,
            fines: Fined::default(),
            held: Vec::new(),
        }
    }

    /// Groups of these requests and numbers of pods, offers by rising price, and limits.
    pub(crate) fn core(weights: &[[i64; 2]], demand: &[i64], offers: Vec<Offer>, limits: Vec<i64>) -> Core {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
        let n = demand.len();
        Core {
            pool: Arc::new(pool),
            resources: vec![0, 1],
            scale: vec![1.0; 2],
            shift: vec![0; 2],
            w: weights.iter().flatten().map(|w| *w as f64).collect(),
            weights: weights.concat(),
            demand: demand.to_vec(),
            wanted: demand.to_vec(),
            cap: vec![i64::MAX; n],
            families: Vec::new(),
            rules: Rules::default(),
            priority: vec![0; n],
            offers,
            spares: Vec::new(),
            limits,
            dominator: Vec::new(),
        }
    }
}
