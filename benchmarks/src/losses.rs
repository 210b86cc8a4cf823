//! Where a gap is: what each launched node costs more than its pods are worth at the multipliers that prove the bound.
//!
//! Without existing nodes and limits the bound is the sum of `pi_g` over all pods, so `cost - bound` is the sum over nodes of
//! `price - sum pi_g`. Where few nodes carry most of it, they hold what others leave over; where all carry a little, patterns do
//! not fill nodes.

use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stowage_models::catalog::Catalog;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, MULTIPLIER_BITS, Plan};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// What a launched node loses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss<'p> {
    /// The node.
    pub launch: &'p Launch,
    /// Its price less what its pods are worth, rounded down; a little below zero where rounding of the proof shows.
    pub lost: UsdMicros,
    /// Groups of equal pods it carries.
    pub groups: usize,
}

/// The losses of all launches of a plan, the largest first.
///
/// # Errors
/// If the plan places pods on existing nodes, or a part of it is proven by branching: then nodes do not add up to the bound.
pub fn losses<'p>(snapshot: &Snapshot, catalog: &Catalog, plan: &'p Plan) -> Result<Vec<Loss<'p>>> {
    let certificate = &plan.certificate;
    if !certificate.parts.is_empty() {
        bail!("the bound is proven by branching; its multipliers differ from leaf to leaf");
    }
    if plan.summary.pods_on_existing > 0 || certificate.rows.iter().any(|row| row.domain.is_some()) {
        bail!("pods on existing nodes or spread over domains: nodes do not add up to the bound");
    }
    let numbers = stowage_planner::numbers(snapshot, catalog, &plan.policy)?;
    let multiplier: BTreeMap<&PodRef, i64> =
        certificate.rows.iter().map(|row| (&row.pod, row.multiplier)).collect();
    let mut worth: BTreeMap<&PodRef, (usize, i64)> = BTreeMap::new();
    for (index, group) in numbers.groups.iter().enumerate() {
        let Some(pi) = group.pods.first().and_then(|pod| multiplier.get(pod)) else { continue };
        worth.extend(group.pods.iter().map(|pod| (pod, (index, *pi))));
    }
    let loss = |launch: &'p Launch| {
        let mut groups = Vec::new();
        let mut value = 0_i128;
        for pod in &launch.pods {
            let (group, pi) = worth.get(pod).with_context(|| format!("no row for pod {pod}"))?;
            groups.push(*group);
            value += i128::from(*pi);
        }
        groups.sort_unstable();
        groups.dedup();
        let value = i64::try_from(value >> MULTIPLIER_BITS)?;
        Ok(Loss { launch, lost: launch.price - UsdMicros(value), groups: groups.len() })
    };
    let mut all = plan.launches.iter().map(loss).collect::<Result<Vec<_>>>()?;
    all.sort_by(|a, b| b.lost.cmp(&a.lost).then(a.launch.slot.cmp(&b.launch.slot)));
    Ok(all)
}

/// The `most` nodes that lose most, and what share of the gap they carry.
#[must_use]
pub fn markdown(plan: &Plan, all: &[Loss<'_>], most: usize) -> String {
    let summary = &plan.summary;
    let total: i64 = all.iter().map(|one| one.lost.0).sum();
    let worst: i64 = all.iter().take(most).map(|one| one.lost.0).sum();
    let share = |part: i64| Ppm(part.saturating_mul(Ppm::ONE) / total.max(1));
    let mut text = format!(
        "{} over a bound of {} ({}): {} of {} nodes carry {} of it.\n\n",
        UsdMicros(total),
        summary.launch_bound,
        summary.gap,
        most.min(all.len()),
        all.len(),
        share(worst)
    );
    text.push_str("| lost $/h | of the gap | of its price | type | $/h | pods | groups | cpu | memory |\n");
    text.push_str("|---:|---:|---:|---|---:|---:|---:|---:|---:|\n");
    for one in all.iter().take(most) {
        let launch = one.launch;
        let full = |resource: &str| {
            let used = launch.requested.get(resource) + launch.daemon_sets.get(resource);
            Ppm(used.saturating_mul(Ppm::ONE) / launch.allocatable.get(resource).max(1))
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} {} | {} | {} | {} | {} | {} |",
            one.lost,
            share(one.lost.0),
            Ppm(one.lost.0.saturating_mul(Ppm::ONE) / launch.price.0.max(1)),
            launch.instance_type,
            launch.capacity_type,
            launch.price,
            launch.pods.len(),
            one.groups,
            full(CPU),
            full(MEMORY),
        );
    }
    text
}
