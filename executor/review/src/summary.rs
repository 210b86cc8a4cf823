//! A plan for reviewers, in markdown.

use crate::waves::{Target, Wave, count, of, saved};
use std::collections::BTreeMap;
use stowage_models::consolidation::Consolidation;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};

/// Kinds of launches and entries of pods left out that are shown.
const ROWS_MAX: usize = 25;
/// Places that pods of a node move to that are named.
const PLACES_MAX: usize = 4;

/// Cost first, then what goes, what is launched, and what is left out.
#[must_use]
pub fn summary(plan: &Plan, waves: &[Wave]) -> String {
    let figures = &plan.summary;
    let nodes = plan.launches.len();
    let proof = match figures.gap {
        Ppm::UNBOUNDED => "without a proven bound".to_owned(),
        gap => format!("proven within {gap} of the cheapest"),
    };
    let (month, hour) = (dollars(figures.launch_cost.per_month()), figures.launch_cost);
    let pods: usize = plan.launches.iter().map(|launch| launch.pods.len()).sum();
    let mut text = match of(plan) {
        Some(consolidation) => removals(plan, consolidation, waves),
        None if waves.is_empty() => {
            format!("### +{month}/month ({hour}/h): {nodes} nodes for {pods} pods, {proof}\n\n")
        }
        None => returns(plan, waves),
    };
    if nodes > 0 {
        text.push_str(
            "| nodes | type | zone | capacity | nodepool | $/h | pods |\n|---:|---|---|---|---|---:|---:|\n",
        );
    }
    let mut kinds: BTreeMap<[&str; 4], (usize, UsdMicros, usize)> = BTreeMap::new();
    for launch in &plan.launches {
        let key = [&launch.instance_type, &launch.zone, &launch.capacity_type, &launch.node_pool]
            .map(String::as_str);
        let (count, cost, pods) = kinds.entry(key).or_default();
        *count += 1;
        *cost = [*cost, launch.price].into_iter().sum();
        *pods += launch.pods.len();
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // Dearest first.
    kinds.sort_by_key(|(_, (_, cost, _))| std::cmp::Reverse(*cost));
    for ([instance, zone, capacity, pool], (count, cost, pods)) in kinds.iter().take(ROWS_MAX) {
        let cells = [instance, zone, capacity, pool].map(|text| cell(text)).join(" | ");
        text.push_str(&format!("| +{count} | {cells} | {cost} | {pods} |\n"));
    }
    if kinds.len() > ROWS_MAX {
        text.push_str(&format!("\n... and {} more kinds.\n", kinds.len() - ROWS_MAX));
    }
    if !plan.unplaced.is_empty() {
        text.push_str("\nLeft out:\n\n");
    }
    for left in plan.unplaced.iter().take(ROWS_MAX) {
        text.push_str(&format!("- {} pods: {}\n", left.pods.len(), cell(&left.message)));
    }
    text.push_str(&format!(
        "\nPrices: {}, on demand of {}, spot of {}.\n",
        plan.catalog.region, plan.catalog.on_demand_as_of, plan.catalog.spot_as_of
    ));
    text
}

/// Nodes that static pools give back, and how many come in their place.
fn returns(plan: &Plan, waves: &[Wave]) -> String {
    let change = plan.summary.launch_cost.0.saturating_sub(saved(waves));
    let sign = if change < 0 { '-' } else { '+' };
    let hour = UsdMicros(change.saturating_abs());
    let mut text = format!(
        "### {sign}{}/month ({sign}{hour}/h): {} nodes of static NodePools go, {} come first; pods on them are evicted within their budgets and \
         go where there is room\n\n| node | type | zone | capacity | nodepool | $/h | why |\n|---|---|---|---|---|---:|---|\n",
        dollars(hour.per_month()),
        count(waves),
        plan.launches.len(),
    );
    let all = waves.iter().flat_map(|wave| &wave.removals);
    for one in all.take(ROWS_MAX) {
        let facts = [&one.node, &one.instance_type, &one.zone, &one.capacity_type, &one.node_pool];
        let facts = facts.map(|text| cell(text)).join(" | ");
        text.push_str(&format!("| {facts} | {} | {:?} |\n", one.price, one.reason));
    }
    if count(waves) > ROWS_MAX {
        text.push_str(&format!("\n... and {} more nodes.\n", count(waves) - ROWS_MAX));
    }
    text.push('\n');
    text
}

/// What goes, why, in which order, and where pods move; what that saves first.
fn removals(plan: &Plan, consolidation: &Consolidation, waves: &[Wave]) -> String {
    let figures = &consolidation.summary;
    let change = figures.cost_after.0.saturating_sub(figures.cost_before.0);
    let sign = if change < 0 { '-' } else { '+' };
    let hour = UsdMicros(change.saturating_abs());
    let (month, nodes, moved) = (dollars(hour.per_month()), figures.nodes_removed, figures.pods_moved);
    let mut text = format!(
        "### {sign}{month}/month ({sign}{hour}/h): {nodes} nodes go, {} come, {moved} pods move, in {} waves; at most {} of the bill is \
         left to save\n\n| wave | node | type | zone | capacity | nodepool | $/h | why | pods move to |\n\
         |---:|---|---|---|---|---|---:|---|---|\n",
        plan.launches.len(),
        consolidation.waves.len(),
        figures.left_share,
    );
    let rows =
        waves.iter().enumerate().flat_map(|(at, wave)| wave.removals.iter().map(move |one| (at + 1, one)));
    let count = rows.clone().count();
    for (wave, one) in rows.take(ROWS_MAX) {
        let mut to: BTreeMap<&str, usize> = BTreeMap::new();
        for pod in &one.pods {
            *to.entry(pod.to.as_ref().map_or("nowhere", Target::name)).or_default() += 1;
        }
        let places: Vec<String> =
            to.iter().take(PLACES_MAX).map(|(place, pods)| format!("{} ({pods})", cell(place))).collect();
        let facts = [&one.node, &one.instance_type, &one.zone, &one.capacity_type, &one.node_pool];
        text.push_str(&format!(
            "| {wave} | {} | {} | {:?}{} | {}{} |\n",
            facts.map(|text| cell(text)).join(" | "),
            one.price,
            one.reason,
            if one.forced { ", by force" } else { "" },
            places.join(", "),
            if to.len() > PLACES_MAX { ", ..." } else { "" },
        ));
    }
    if count > ROWS_MAX {
        text.push_str(&format!("\n... and {} more nodes.\n", count - ROWS_MAX));
    }
    text.push('\n');
    text
}

/// Dollars and cents.
fn dollars(amount: UsdMicros) -> String {
    format!("${}.{:02}", amount.0 / 1_000_000, amount.0 % 1_000_000 / 10_000)
}

/// Text in a table or a list: a bar would end the cell, a line break the row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
