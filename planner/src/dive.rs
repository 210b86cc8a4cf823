//! The first plan: follow the fluid optimum.
//!
//! Each round solves the fluid program for what is still to place, builds the whole nodes of its mixes with the
//! proportions the mixes have, and goes on with the rest. The proportions matter: they leave a rest whose cpu and memory
//! still balance. What remains when mixes shrink below one node is packed by value per price.

use crate::core::Core;
use crate::fill::{BinRef, Filler};
use crate::fluid::{Fluid, FluidPoint, Mix};
use crate::hybrid;
use crate::lp::Fault;
use crate::pack::{
    ALIKE_SHARE, Guide, PackedNode, Packing, Pattern, complete, fill_spares, right_size, times,
};
use crate::pricing::PriceList;

/// Rounds at most. Each places most of what is left, so the rest is a few nodes after three or four.
const ROUNDS_MAX: usize = 12;

/// How much more large pods are worth while nodes are filled up. Which is best differs from batch to batch, by up to two per cent; the first
/// plan is made with the first.
pub(crate) const SIZE_BIASES: [f64; 4] = [0.0, 0.5, 2.0, 0.1];

/// Packs everything, guided by the fluid program. What a pod is worth where nodes are filled up counts as more by `size_bias` times the
/// share of the node that it takes: at the multipliers of the optimum nearly all pods of a mix are worth their room alike. A fault of the
/// solver leaves more to pack by value per price.
pub(crate) fn dive(
    core: &Core,
    fluid: &Fluid<'_>,
    (first, list): (&FluidPoint, &PriceList),
    guide: &Guide,
    size_bias: f64,
) -> (Packing, Result<(), Fault>) {
    let mut packing = Packing::empty(core);
    let mut filler = Filler::default();
    fill_spares(core, guide, &mut packing, &mut filler);
    let how = (guide, size_bias);
    let prices = (&first.multipliers, list);
    let built = if core.spares.is_empty() {
        let mut program = fluid.narrowed(prices);
        program.set_time_limit(fluid.time_limit());
        build(core, &mut program, first.clone(), how, &mut packing, &mut filler)
    } else {
        // What was on existing nodes is full now: a program that still counts on them would build too little.
        let mut program = Fluid::of_new_nodes(core, &first.mixes, &guide.near, prices);
        program.set_time_limit(fluid.time_limit());
        let point = program.resolve(&packing.left, &packing.limits);
        point.and_then(|point| build(core, &mut program, point, how, &mut packing, &mut filler))
    };
    let bias = vec![1.0; core.demand.len()];
    complete(core, guide, &mut packing, &guide.near, &bias, &mut filler);
    (packing, built)
}

/// Builds whole nodes of the mixes of `point`, solves again for what is left, and so on until no mix has a whole node.
///
/// # Errors
/// [`Fault`] of the solver; what was built before stays.
pub(crate) fn build(
    core: &Core,
    fluid: &mut Fluid<'_>,
    mut point: FluidPoint,
    guide: (&Guide, f64),
    packing: &mut Packing,
    filler: &mut Filler,
) -> Result<(), Fault> {
    for _ in 0..ROUNDS_MAX {
        let built = build_whole_nodes(core, guide, &point, packing, filler);
        if built == 0 || packing.left_out() == 0 {
            break;
        }
        point = fluid.resolve(&packing.left, &packing.limits)?;
    }
    Ok(())
}

/// A node is built if its pods are worth this share of its price: what is left by those that are not is packed by value per price.
const WORTHWHILE: f64 = 0.95;
/// A node is filled anew from less of its share until its pods are worth this share of its price.
const WELL: f64 = 0.995;
/// Pods per node above which nodes of a mix are alike enough to fill several at a time.
const MANY_TO_A_NODE: f64 = hybrid::PODS_PER_NODE_MAX as f64;
/// Of mixes of fewer pods a node, this share of the nodes is filled alike at a time: only where there are thousands.
const FEW_ALIKE_SHARE: usize = 1_024;
/// Shares of what is due that a node starts from, until it is filled well. Whole pods may leave it short of one resource with the other to
/// spare and nothing left to put that right; what starts from less is balanced while it fills.
/// In small batches the search does that better.
const STARTS: [f64; 6] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.5];

/// What the next node of a mix is due of a group.
struct Due {
    /// Of the group among the candidates.
    position: usize,
    /// Pods, in fractions.
    each: f64,
    /// What is added before fractions are cut off, below one: it decides on which node of several the group has its turn.
    phase: f64,
    /// Whole pods of the mix that are left for each node.
    most: i64,
}

/// The best filling of an offer from what it is due, or from less of it where that leaves room it cannot fill.
fn fill_well(
    core: &Core,
    guide: &Guide,
    offer: usize,
    (candidates, bias): (&[(u32, i64)], &[f64]),
    (dues, starts): (&[Due], &[f64]),
    filler: &mut Filler,
) -> (Pattern, f64) {
    let mut best = (Pattern::new(), f64::MIN);
    let mut start = vec![0_i64; candidates.len()];
    for part in starts {
        for due in dues {
            start[due.position] = ((due.each * part + due.phase).floor() as i64).min(due.most).max(0);
        }
        filler.fill(core, guide, BinRef::Offer(offer), candidates, bias, Some(&start));
        if filler.value > best.1 {
            best = (filler.pattern(candidates), filler.value);
        }
        if best.1 >= WELL * guide.price[offer] {
            break;
        }
    }
    best
}

/// Builds `floor(nodes)` nodes of each mix; returns how many were built.
fn build_whole_nodes(
    core: &Core,
    (guide, size_bias): (&Guide, f64),
    point: &FluidPoint,
    packing: &mut Packing,
    filler: &mut Filler,
) -> usize {
    let before = packing.nodes.len();
    let starts = if core.has_many_pods() { &STARTS[..] } else { &STARTS[..1] };
    for Mix { offer: o, nodes, pods: mix } in &point.mixes {
        let whole = (*nodes + 1e-6).floor() as usize;
        let mut placed = vec![0_i64; mix.len()];
        let mut built = 0;
        // Where a node holds three pods of a mix, the next one holds other three, and is soon filled.
        let holds_many = mix.iter().map(|(_, pods)| pods).sum::<f64>() > MANY_TO_A_NODE * nodes;
        // One node has nobody to take turns with.
        let phases = if whole > 1 { phases(core, *o, mix) } else { vec![0.0; mix.len()] };
        let planned = &core.offers[*o];
        let bias: Vec<f64> =
            planned.items.iter().map(|(g, _)| 1.0 + size_bias * share(core, *g, &planned.capacity)).collect();
        while built < whole && packing.allows(core, *o) {
            let (candidates, bias): (Vec<(u32, i64)>, Vec<f64>) = planned
                .items
                .iter()
                .zip(&bias)
                .map(|((g, _), bias)| ((*g, packing.left[*g as usize]), *bias))
                .filter(|((_, left), _)| *left > 0)
                .unzip();
            let alike = ((whole - built) / if holds_many { ALIKE_SHARE } else { FEW_ALIKE_SHARE }).max(1);
            // Cumulative rounding: after k nodes, k shares of the mix are placed, to within one pod per group.
            let mut dues = Vec::with_capacity(mix.len());
            for (i, (g, pods)) in mix.iter().enumerate() {
                if let Ok(position) = candidates.binary_search_by_key(g, |(g, _)| *g) {
                    let due = pods * (built + alike) as f64 / nodes - placed[i] as f64;
                    let most = (pods.floor() as i64 - placed[i]) / alike as i64;
                    dues.push(Due { position, each: due / alike as f64, phase: phases[i], most });
                }
            }
            let (pattern, value) = fill_well(core, guide, *o, (&candidates, &bias), (&dues, starts), filler);
            if pattern.is_empty() || value < WORTHWHILE * guide.price[*o] {
                break;
            }
            let alike = alike.min(times(packing, &pattern)).max(1);
            // What is right for the first is right for all of them, as long as limits allow it.
            let offer = right_size(core, guide, &pattern, packing, *o);
            let already = built;
            while built < already + alike && packing.allows(core, offer) {
                packing.push(core, PackedNode { offer: offer as u32, pattern: pattern.clone() });
                built += 1;
            }
            for (i, (g, _)) in mix.iter().enumerate() {
                if let Ok(position) = pattern.binary_search_by_key(g, |(g, _)| *g) {
                    placed[i] += pattern[position].1 * (built - already) as i64;
                }
            }
        }
    }
    packing.nodes.len() - before
}

/// The largest share of any resource that a pod takes.
fn share(core: &Core, g: u32, capacity: &[i64]) -> f64 {
    let shares = core.weight(g as usize).iter().zip(capacity);
    shares.map(|(weight, capacity)| *weight as f64 / (*capacity).max(1) as f64).fold(0.0, f64::max)
}

/// When each group of a mix has its turn, as a share of a pod. Of a hundred groups with less than a pod a node none has a whole pod due on the
/// first, and what has would fill it to no purpose; so they take turns, those of a shape one after the other, and every node has cpu and
/// memory as the mix has them.
fn phases(core: &Core, offer: usize, mix: &[(u32, f64)]) -> Vec<f64> {
    /// The golden ratio spreads turns evenly however many there are.
    const TURN: f64 = 0.618_033_988_749_895;
    let capacity = &core.offers[offer].capacity;
    let shape = |g: u32| {
        let weight = core.weight(g as usize);
        let share = |k: usize| match (weight.get(k), capacity.get(k)) {
            (Some(weight), Some(capacity)) => *weight as f64 / (*capacity).max(1) as f64,
            _ => 0.0,
        };
        share(0) / share(1).max(1e-12)
    };
    let mut order: Vec<usize> = (0..mix.len()).collect();
    order.sort_by(|a, b| shape(mix[*a].0).total_cmp(&shape(mix[*b].0)).then(a.cmp(b)));
    let mut phases = vec![0.0; mix.len()];
    for (turn, i) in order.into_iter().enumerate() {
        phases[i] = (turn as f64 * TURN).fract();
    }
    phases
}

/// A packing along a fluid optimum whose numbers of nodes are integer, or nearly: as many nodes, filled with their shares of
/// the mixes first and with what remains after that.
pub(crate) fn follow(core: &Core, point: &FluidPoint, guide: &Guide) -> Packing {
    let mut packing = Packing::empty(core);
    let mut filler = Filler::default();
    fill_spares(core, guide, &mut packing, &mut filler);
    let mut mixes: Vec<&Mix> = point.mixes.iter().filter(|mix| mix.nodes > 0.5).collect();
    mixes.sort_by_key(|mix| (std::cmp::Reverse(core.offers[mix.offer].price), mix.offer));
    // Whole shares are set aside before any node takes more than its own.
    let mut unclaimed = packing.left.clone();
    let mut nodes: Vec<(usize, Pattern)> = Vec::new();
    for Mix { offer, nodes: count, pods } in mixes {
        let copies = count.round().max(1.0) as usize;
        let mut placed = vec![0_i64; pods.len()];
        for k in 1..=copies {
            let mut share = Pattern::new();
            for (i, (g, amount)) in pods.iter().enumerate() {
                let due = (amount * k as f64 / copies as f64 + 1e-6).floor() as i64 - placed[i];
                let due = due.clamp(0, unclaimed[*g as usize]);
                placed[i] += due;
                unclaimed[*g as usize] -= due;
                share.push((*g, due));
            }
            nodes.push((*offer, share));
        }
    }
    for (offer, share) in nodes {
        if !packing.allows(core, offer) {
            share.iter().for_each(|(g, due)| unclaimed[*g as usize] += due);
            continue;
        }
        let own = |g: u32| share.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| share[at].1);
        let candidates: Vec<(u32, i64)> = core.offers[offer]
            .items
            .iter()
            .map(|(g, _)| (*g, unclaimed[*g as usize] + own(*g)))
            .filter(|(_, available)| *available > 0)
            .collect();
        let start: Vec<i64> = candidates.iter().map(|(g, _)| own(*g)).collect();
        let bias = vec![1.0; candidates.len()];
        filler.fill(core, guide, BinRef::Offer(offer), &candidates, &bias, Some(&start));
        let pattern = filler.pattern(&candidates);
        let taken = |g: u32| pattern.binary_search_by_key(&g, |(g, _)| *g).map_or(0, |at| pattern[at].1);
        for (g, _) in &candidates {
            unclaimed[*g as usize] += own(*g) - taken(*g);
        }
        if !pattern.is_empty() {
            let offer = right_size(core, guide, &pattern, &packing, offer);
            packing.push(core, PackedNode { offer: offer as u32, pattern });
        }
    }
    complete(core, guide, &mut packing, &guide.near, &vec![1.0; core.demand.len()], &mut filler);
    packing
}
