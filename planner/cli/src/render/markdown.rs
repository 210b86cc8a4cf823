//! A plan as a comment on a pull request: cost first, a table of launches, what is left out, the digest to approve.

use super::Subject;
use super::figures::{self, per_hour, per_month, pods};
use super::{groups, leaving, table};
use stowage_models::plan::{Plan, Unplaced};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::units::{Ppm, UsdMicros};

/// Kinds of launches shown before the rest is summed up. GitHub cuts comments at 65,536 characters; a row takes 120.
const KINDS_MAX: usize = 25;
/// Waves and nodes that leave shown at most, for the same reason: a node takes 150 characters.
const WAVES_MAX: usize = 20;
const LEAVERS_MAX: usize = 100;
/// Places of a node's pods named at most.
const PLACES_MAX: usize = 3;

/// Renders the plan.
#[must_use]
pub fn render(subject: &Subject<'_>) -> String {
    let plan = subject.plan;
    let mut text = heading(plan);
    text.push_str(&figures_table(plan));
    text.push_str(&format!("\n{}\n", table::outcome(plan)));
    text.push_str(&consolidation(plan));
    text.push_str(&launches(plan));
    text.push_str(&unplaced(plan));
    text.push_str(&notes(plan));
    text.push_str(&footer(subject));
    text
}

fn heading(plan: &Plan) -> String {
    if let Some(headline) = leaving::headline(plan) {
        return format!("### Stowage: {headline}\n\n");
    }
    let summary = &plan.summary;
    if summary.nodes_launched == 0 {
        return "### Stowage: nothing to launch\n\n".to_owned();
    }
    let gap = if summary.gap == Ppm::UNBOUNDED {
        "without a proven bound".to_owned()
    } else {
        format!("proven within {} of the cheapest", summary.gap)
    };
    format!(
        "### Stowage: +{} for {}, {gap}\n\n",
        per_month(summary.launch_cost),
        figures::nodes(summary.nodes_launched)
    )
}

fn figures_table(plan: &Plan) -> String {
    let summary = &plan.summary;
    let row =
        |name: &str, cost: UsdMicros| format!("| {name} | {} | {} |\n", per_hour(cost), per_month(cost));
    let mut text = "| | per hour | per month |\n|---|---:|---:|\n".to_owned();
    text.push_str(&row("before", summary.cost_before));
    text.push_str(&row("**launch**", summary.launch_cost));
    if summary.preference_cost > UsdMicros::ZERO {
        text.push_str(&row("preferences not met", summary.preference_cost));
    }
    let Some(stated) = &plan.consolidation else {
        text.push_str(&row("bound: nothing costs less", summary.launch_bound));
        text.push_str(&row("after", figures::cost_after(plan)));
        return text;
    };
    text.push_str(&row("after", figures::cost_after(plan)));
    text.push_str(&row("bound: nothing under this policy costs less, moves included", stated.summary.bound));
    text
}

/// What happens to nodes that exist.
fn consolidation(plan: &Plan) -> String {
    let Some(stated) = &plan.consolidation else { return String::new() };
    let mut text = "\n#### Consolidation\n\n".to_owned();
    for sentence in table::sentences(stated).into_iter().chain([table::proven(stated)]) {
        text.push_str(&format!("- {sentence}\n"));
    }
    text.push_str("\n| | nodes | per month | such as |\n|---|---:|---:|---|\n");
    for one in leaving::by_reason(stated) {
        let such = one.nodes.first().map_or_else(String::new, |node| match leaving::told(node) {
            message if message.is_empty() => node.node.clone(),
            message => format!("{}: {message}", node.node),
        });
        text.push_str(&format!(
            "| {} | {} | {} | {} |\n",
            table::words(one.reason),
            figures::thousands(one.nodes.len() as u64),
            figures::cents(one.cost.per_month()),
            cell(&such)
        ));
    }
    let departing = leaving::departing(stated);
    if !departing.is_empty() {
        text.push_str("\n| has to go | because | |\n|---|---|---|\n");
    }
    for (one, departure) in departing.iter().take(LEAVERS_MAX) {
        let (node, due) = (cell(&one.node), cell(&leaving::due(departure)));
        text.push_str(&format!("| {node} | {due} | {} |\n", table::words(one.reason)));
    }
    if departing.len() > LEAVERS_MAX {
        text.push_str(&format!("\n... and {} more.\n", departing.len() - LEAVERS_MAX));
    }
    if stated.waves.is_empty() {
        return text;
    }
    text.push_str("\n| wave | launch | evict | remove |\n|---:|---:|---:|---:|\n");
    for (index, wave) in stated.waves.iter().enumerate().take(WAVES_MAX) {
        let (launches, evictions, removals) =
            (wave.launches.len(), wave.evictions.len(), wave.removals.len());
        text.push_str(&format!("| {} | {launches} | {evictions} | {removals} |\n", index + 1));
    }
    if stated.waves.len() > WAVES_MAX {
        text.push_str(&format!("\n... and {} more waves.\n", stated.waves.len() - WAVES_MAX));
    }
    let leavers = leaving::leavers(stated);
    text.push_str(&format!("\n<details><summary>What leaves ({})</summary>\n\n", leavers.len()));
    text.push_str("| wave | node | $/h | pods | go |\n|---:|---|---:|---:|---|\n");
    for one in leavers.iter().take(LEAVERS_MAX) {
        let price = one.decision.price.map_or_else(String::new, |price| price.to_string());
        let to = leaving::places(&one.to, PLACES_MAX);
        let row = format!(
            "| {} | {} | {price} | {} | {} |\n",
            one.wave,
            cell(&one.decision.node),
            one.pods,
            cell(&to)
        );
        text.push_str(&row);
    }
    if leavers.len() > LEAVERS_MAX {
        text.push_str(&format!("\n... and {} more.\n", leavers.len() - LEAVERS_MAX));
    }
    text.push_str("\n</details>\n");
    text
}

fn launches(plan: &Plan) -> String {
    if plan.launches.is_empty() {
        return String::new();
    }
    let groups = groups::dearest_first(&plan.launches);
    let mut text = "\n| nodes | type | zone | capacity | nodepool | $/h | pods | cpu | memory |\n".to_owned();
    text.push_str("|---:|---|---|---|---|---:|---:|---:|---:|\n");
    for (kind, group) in groups.iter().take(KINDS_MAX) {
        let full =
            |name| figures::whole_per_cent(figures::fill(group.used.get(name), group.allocatable.get(name)));
        let estimated = if group.estimated { "~" } else { "" };
        text.push_str(&format!(
            "| +{} | {} | {} | {} | {} | {estimated}{} | {} | {} | {} |\n",
            figures::thousands(group.nodes),
            cell(&kind.instance_type),
            cell(&kind.zone),
            cell(&kind.capacity_type),
            cell(&kind.node_pool),
            group.cost,
            figures::thousands(group.pods),
            full(CPU),
            full(MEMORY),
        ));
    }
    if groups.len() > KINDS_MAX {
        let rest: UsdMicros = groups[KINDS_MAX..].iter().map(|(_, group)| group.cost).sum();
        text.push_str(&format!(
            "\n... and {} more kinds, {} together.\n",
            groups.len() - KINDS_MAX,
            per_hour(rest)
        ));
    }
    if groups.iter().any(|(_, group)| group.estimated) {
        text.push_str("\n`~` estimated spot price\n");
    }
    text
}

/// Text in a table: a bar would end the cell, a line break the row.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

fn unplaced(plan: &Plan) -> String {
    if plan.unplaced.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**Left out: {}**\n\n", pods(plan.summary.pods_unplaced));
    for entry in &plan.unplaced {
        text.push_str(&unplaced_entry(entry));
    }
    text
}

fn unplaced_entry(entry: &Unplaced) -> String {
    let reason = table::reason_name(entry.reason);
    let mut text = format!("- {} (`{reason}`): {}", pods(entry.pods.len() as u64), cell(&entry.message));
    if !entry.hint.is_empty() {
        text.push_str(&format!("\n  Hint: {}", cell(&entry.hint)));
    }
    if let Some(nearest) = &entry.nearest {
        text.push_str(&format!("\n  Nearest: `{nearest}`"));
    }
    for one in &entry.blocking {
        text.push_str(&format!("\n  In the way: {}", cell(&table::in_the_way(one))));
    }
    text.push_str(&format!("\n  `{}`\n", table::some_names(entry)));
    text
}

fn notes(plan: &Plan) -> String {
    if plan.notes.is_empty() {
        return String::new();
    }
    let list: String = plan.notes.iter().map(|note| format!("- {}\n", cell(note))).collect();
    format!("\n<details><summary>Notes ({})</summary>\n\n{list}\n</details>\n", plan.notes.len())
}

fn footer(subject: &Subject<'_>) -> String {
    let Subject { plan, checked, .. } = subject;
    let verdict =
        if *checked { "checked by the referee" } else { "not re-checked: `stowage check SNAPSHOT PLAN`" };
    let catalog = &plan.catalog;
    let taken = plan
        .snapshot
        .taken_at
        .as_ref()
        .map_or_else(String::new, |taken_at| format!(", snapshot of {taken_at}"));
    format!(
        "\nplan `{}`, {verdict}{taken}; prices: {}, on-demand of {}, spot of {}, {} of the cost estimated\n",
        plan.id,
        catalog.region,
        catalog.on_demand_as_of,
        catalog.spot_as_of,
        figures::estimated_share(plan)
    )
}
