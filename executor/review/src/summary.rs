//! A plan for reviewers, in markdown.

use std::collections::BTreeMap;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};

/// Kinds of launches and entries of pods left out that are shown.
const ROWS_MAX: usize = 25;

/// Cost first, then what is launched, then what is left out.
#[must_use]
pub fn summary(plan: &Plan) -> String {
    let figures = &plan.summary;
    let nodes = plan.launches.len();
    let proof = match figures.gap {
        Ppm::UNBOUNDED => "without a proven bound".to_owned(),
        gap => format!("proven within {gap} of the cheapest"),
    };
    let (month, hour) = (dollars(figures.launch_cost.per_month()), figures.launch_cost);
    let pods: usize = plan.launches.iter().map(|launch| launch.pods.len()).sum();
    let mut text = format!(
        "### +{month}/month ({hour}/h): {nodes} nodes for {pods} pods, {proof}\n\n\
         | nodes | type | zone | capacity | nodepool | $/h | pods |\n|---:|---|---|---|---|---:|---:|\n"
    );
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

/// Dollars and cents.
fn dollars(amount: UsdMicros) -> String {
    format!("${}.{:02}", amount.0 / 1_000_000, amount.0 % 1_000_000 / 10_000)
}

/// Text in a table or a list: a bar would end the cell, a line break the row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
