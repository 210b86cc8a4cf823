//! Parts with many nodes: plans woven from patterns and the bound that patterns prove, each with the columns of the other.

use crate::certificate::BlockProof;
use crate::engine::Run;
use crate::hybrid;
use crate::master::Column;
use crate::solve::{Effort, ITERATIONS_PER_SECOND, Part, Relaxed};
use crate::weave;
use std::collections::BTreeSet;
use std::time::Duration;

/// Plans woven from patterns are made as if this were the time limit, and again if it is longer.
const FIRST_WEAVE: Duration = Duration::from_secs(1);
/// Cells of tables per second of time limit: about a sixth of what two cores fill.
const TABLE_CELLS_PER_SECOND: f64 = 75_000_000.0;
/// What is left of the time is divided by this for the bound.
const TIGHTEN_SHARE: u32 = 2;

/// Works on a part until its gap is closed or there is nothing more to do here.
pub(crate) fn refine(part: &mut Part<'_>, effort: &mut Effort, run: &mut Run<'_>) {
    let (first, whole) = (FIRST_WEAVE.min(run.time), run.time);
    let done =
        |part: &Part<'_>, effort: &Effort| effort.is_done(part.packing.cost(part.core), part.proof.bound());
    let mut columns = BTreeSet::new();
    // A short one first: whoever watches, or stops early, has something of it soon, and the bound starts from its columns.
    weave(part, first, &mut columns, effort, run);
    if !done(part, effort) {
        tighten(part, &mut columns, effort, run);
    }
    if !done(part, effort) && whole > first {
        weave(part, whole, &mut columns, effort, run);
    }
}

/// Raises the bound of a part with many nodes that hold few pods each, where fractional mixes are worth too much.
fn tighten(part: &mut Part<'_>, columns: &mut BTreeSet<Column>, effort: &Effort, run: &mut Run<'_>) {
    let core = part.core;
    let pods: i64 = core.demand.iter().sum();
    let bins = part.packing.nodes.len() + core.spares.len();
    if pods > hybrid::PODS_PER_NODE_MAX * bins as i64 || part.relaxed.point.is_none() {
        return;
    }
    let iterations = (ITERATIONS_PER_SECOND * run.time.as_secs_f64()).clamp(20.0, 1e6) as usize;
    let Relaxed { fluid: Some(fluid), multipliers: start, .. } = &mut part.relaxed else { return };
    let (before, bound, cost) = (fluid.iterations(), part.proof.bound(), part.packing.cost(core));
    let mut faulty = None;
    let cells = (TABLE_CELLS_PER_SECOND * run.time.as_secs_f64()) as u64;
    let rounds = weave::rounds(core, core.offers.len(), run.time / 2) as usize;
    let allowed = hybrid::Allowed { iterations, rounds, cells };
    // On a machine so busy that the clock decides, the plan and the search need most of the time.
    let until = run.elapsed() + run.time.saturating_sub(run.elapsed()) / TIGHTEN_SHARE;
    let mut watch = |better: Option<f64>| {
        better.iter().for_each(|bound| effort.note("patterns", cost, *bound, run));
        run.stopped().is_some() || run.elapsed() >= until
    };
    columns.extend(weave::columns(&part.packing));
    let found = hybrid::tighten(core, fluid, (start, bound), columns, allowed, &mut watch, &mut faulty);
    run.faults.extend(faulty.map(|fault| format!("patterns: {fault}")));
    run.iterations += fluid.iterations() - before;
    if let Some(found) = found {
        part.proof = BlockProof::Flat(found.multipliers, found.list);
    }
}

/// A plan made of patterns, for a part with many nodes that hold few pods each.
fn weave(
    part: &mut Part<'_>,
    time: Duration,
    columns: &mut BTreeSet<Column>,
    effort: &Effort,
    run: &mut Run<'_>,
) {
    let core = part.core;
    let pods: i64 = core.demand.iter().sum();
    let has_room = pods <= hybrid::PODS_PER_NODE_MAX * part.packing.nodes.len() as i64;
    if !has_room || !core.spares.is_empty() || part.relaxed.point.is_none() || part.packing.left_out() > 0 {
        return;
    }
    let (start, list) = (&part.relaxed.multipliers, &part.relaxed.list);
    // Half of what remains of the time is for columns, the other half for the plan along them and for the search after it.
    let until = run.elapsed() + run.time.saturating_sub(run.elapsed()) / 2;
    let stop = || run.stopped().is_some();
    let late = || stop() || run.elapsed() >= until;
    columns.extend(weave::columns(&part.packing));
    let woven = weave::weave(core, columns, (start, list), part.proof.bound(), time, (&late, &stop));
    run.iterations += woven.iterations;
    match woven.packing {
        Ok(packing) if packing.left_out() == 0 && packing.cost(core) < part.packing.cost(core) => {
            part.packing = packing;
        }
        Ok(_) => {}
        Err(fault) => run.faults.push(format!("weaving: {fault}")),
    }
    effort.note("woven", part.packing.cost(core), part.proof.bound(), run);
}
