//! Nodes that go, nodes that stay and why, and what is left to save.

use crate::render::figures::{self, per_hour, per_month};
use crate::render::grid::{self, Column};
use crate::render::leaving;
use crate::style::Palette;
use std::collections::BTreeMap;
use stowage_models::consolidation::{Consolidation, NodeReason};
use stowage_models::plan::Plan;
use stowage_models::units::UsdMicros;

/// Nodes named per reason at most.
const NAMED_MAX: usize = 3;
/// Nodes that have to go listed at most.
const DEPARTING_MAX: usize = 8;
/// Waves listed at most.
const WAVES_MAX: usize = 8;

/// The whole section; empty for a plan that leaves nodes alone.
pub(super) fn section(plan: &Plan, palette: Palette) -> String {
    let Some(stated) = &plan.consolidation else { return String::new() };
    let mut text = format!("{}\n", palette.strong("Consolidation"));
    for sentence in sentences(stated) {
        text.push_str(&grid::wrap("  ", &sentence));
    }
    text.push_str(&reasons(stated, palette));
    text.push_str(&departing(stated, palette));
    text.push_str(&waves(stated, palette));
    text
}

/// What is proven, for where no figures above say it.
#[must_use]
pub fn proven(stated: &Consolidation) -> String {
    let summary = &stated.summary;
    format!(
        "Proven: at most {} of today's cost ({}) is left to save under this policy.",
        summary.left_share,
        per_month(summary.left)
    )
}

/// The outcome in sentences.
#[must_use]
pub fn sentences(stated: &Consolidation) -> Vec<String> {
    let summary = &stated.summary;
    let mut sentences = Vec::new();
    if summary.nodes_removed == 0 {
        sentences.push("No node is worth removing.".to_owned());
    } else {
        let saved = summary.cost_before - summary.cost_after;
        let (saved, word) = if saved.0 < 0 { (UsdMicros(-saved.0), "more") } else { (saved, "saved") };
        sentences.push(format!(
            "Removes {} in {}, moving {}: {} before, {} after, {} {word}; evictions and removals cost {} once.",
            figures::nodes(summary.nodes_removed),
            figures::count(stated.waves.len() as u64, "wave", "waves"),
            figures::pods(summary.pods_moved),
            per_month(summary.cost_before),
            per_month(summary.cost_after),
            per_month(saved),
            summary.disruption_cost,
        ));
    }
    let (gone, held): (Vec<_>, Vec<_>) =
        leaving::departing(stated).into_iter().partition(|(one, _)| one.reason.is_removal());
    if !gone.is_empty() || !held.is_empty() {
        let wait = match held.len() as u64 {
            0 => String::new(),
            count => format!(
                "; {}",
                figures::count(count, "node that has to is held", "nodes that have to are held")
            ),
        };
        sentences.push(format!("{} go whatever they cost{wait}.", figures::nodes(gone.len() as u64)));
    }
    if summary.cost_fixed > UsdMicros::ZERO {
        sentences.push(format!("Nodes that may not be removed cost {}.", per_month(summary.cost_fixed)));
    }
    sentences
}

/// Nodes by reason, the dearest reason first.
fn reasons(stated: &Consolidation, palette: Palette) -> String {
    let mut by_reason: BTreeMap<NodeReason, (u64, UsdMicros, Vec<&str>, &str)> = BTreeMap::new();
    for one in &stated.nodes {
        let entry = by_reason.entry(one.reason).or_insert((0, UsdMicros::ZERO, Vec::new(), &one.message));
        entry.0 += 1;
        entry.1 += one.price.unwrap_or_default();
        entry.2.push(&one.node);
    }
    let mut sorted: Vec<_> = by_reason.into_iter().collect();
    sorted.sort_by_key(|(reason, (_, price, ..))| (!reason.is_removal(), std::cmp::Reverse(*price), *reason));
    let columns =
        [Column::fixed(""), Column::figure("nodes"), Column::figure("per hour"), Column::text("such as")];
    let rows: Vec<Vec<String>> = sorted
        .into_iter()
        .map(|(reason, (count, price, nodes, message))| {
            let sign = if reason.is_removal() { "-" } else { " " };
            let mut such = nodes.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
            if !matches!(reason, NodeReason::Worth | NodeReason::Empty | NodeReason::Underutilized) {
                such = format!("{} ({message})", nodes.first().copied().unwrap_or_default());
            }
            vec![format!("{sign} {}", words(reason)), figures::thousands(count), per_hour(price), such]
        })
        .collect();
    format!("\n{}", grid::lay_out(&columns, &rows, 2, palette))
}

/// Nodes that have to go, with their deadlines.
fn departing(stated: &Consolidation, palette: Palette) -> String {
    let departing = leaving::departing(stated);
    if departing.is_empty() {
        return String::new();
    }
    let columns = [Column::text("has to go"), Column::text("because"), Column::text("")];
    let mut rows: Vec<Vec<String>> = departing
        .iter()
        .take(DEPARTING_MAX)
        .map(|(one, departure)| vec![one.node.clone(), leaving::due(departure), words(one.reason).to_owned()])
        .collect();
    if departing.len() > DEPARTING_MAX {
        let more = format!("{} more", figures::thousands((departing.len() - DEPARTING_MAX) as u64));
        rows.push(vec![more, String::new(), String::new()]);
    }
    format!("\n{}", grid::lay_out(&columns, &rows, 2, palette))
}

/// Whether nodes stay or go, and why, in a few words.
#[must_use]
pub fn words(reason: NodeReason) -> &'static str {
    match reason {
        NodeReason::Unmanaged => "stays, not managed",
        NodeReason::OutOfScope => "stays, not asked about",
        NodeReason::NotReady => "stays, not in service",
        NodeReason::RepairBlocked => "stays, too many unhealthy",
        NodeReason::DoNotDisrupt => "stays, do-not-disrupt",
        NodeReason::Nominated => "stays, nominated",
        NodeReason::Unpriced => "stays, price unknown",
        NodeReason::Policy => "stays, policy",
        NodeReason::Young => "stays, consolidateAfter",
        NodeReason::Pod => "stays for a pod",
        NodeReason::PodDisruptionBudget => "stays for a PDB",
        NodeReason::Budget => "stays for a budget",
        NodeReason::Deferred => "stays, has to go later",
        NodeReason::Worth => "stays, worth its price",
        NodeReason::Empty => "removed, empty",
        NodeReason::Underutilized => "removed, underutilized",
        NodeReason::Interrupted => "removed, interrupted",
        NodeReason::Unhealthy => "removed, unhealthy",
        NodeReason::Expired => "removed, expired",
        NodeReason::Drifted => "removed, drifted",
    }
}

fn waves(stated: &Consolidation, palette: Palette) -> String {
    if stated.waves.is_empty() {
        return String::new();
    }
    let columns = [
        Column::figure("wave"),
        Column::figure("launch"),
        Column::figure("evict"),
        Column::figure("remove"),
        Column::text(""),
    ];
    let mut rows: Vec<Vec<String>> = stated
        .waves
        .iter()
        .take(WAVES_MAX)
        .enumerate()
        .map(|(index, wave)| {
            let count = |number: usize| figures::thousands(number as u64);
            let names = wave.removals.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            vec![
                count(index + 1),
                count(wave.launches.len()),
                count(wave.evictions.len()),
                count(wave.removals.len()),
                names,
            ]
        })
        .collect();
    if stated.waves.len() > WAVES_MAX {
        rows.push(vec![
            format!("+{}", stated.waves.len() - WAVES_MAX),
            String::new(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    format!("\n{}", grid::lay_out(&columns, &rows, 2, palette))
}
