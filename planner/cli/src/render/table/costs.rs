//! The money, and what is proven about it.

use crate::render::figures::{self, per_hour, per_month, pods};
use crate::render::grid::{self, Column};
use crate::render::{Subject, stop_reason};
use crate::style::Palette;
use stowage_models::consolidation::ConsolidationSummary;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};

/// Cost, bound, gap and time; then what the nodes cost before and after; then where the pods go. Where nodes go as well, what is proven is
/// about the whole cluster: the bound of the launches alone, given what leaves, says nothing about what is left to save.
pub(super) fn section(subject: &Subject<'_>, palette: Palette) -> String {
    let columns = [Column::fixed(""), Column::figure(""), Column::figure(""), Column::text("")];
    let plan = subject.plan;
    let rows = match &plan.consolidation {
        Some(stated) => [launch(plan), cluster(plan), joint(&stated.summary), run(subject)].concat(),
        None => [launch(plan), proof(plan), run(subject), cluster(plan)].concat(),
    };
    let keys = if plan.consolidation.is_some() { ["  after", "  left"] } else { ["  launch", "  gap"] };
    let is_key = |line: &str| keys.iter().any(|key| line.starts_with(key));
    let text = grid::lay_out(&columns, &rows, 2, Palette::PLAIN);
    let strong =
        |line: &str| format!("{}\n", if is_key(line) { palette.strong(line) } else { line.to_owned() });
    let text: String = text.lines().map(strong).collect();
    format!("{text}\n{}", grid::wrap("  ", &outcome(subject.plan)))
}

/// A row: name, price per hour and per month, remark.
fn money(name: &str, hourly: UsdMicros, remark: String) -> Vec<String> {
    vec![name.to_owned(), per_hour(hourly), per_month(hourly), remark]
}

fn launch(plan: &Plan) -> Vec<Vec<String>> {
    let summary = &plan.summary;
    let launched = format!("{} for {}", figures::nodes(summary.nodes_launched), pods(summary.pods_on_new));
    let mut rows = vec![money("launch", summary.launch_cost, launched)];
    if summary.preference_cost > UsdMicros::ZERO {
        let remark = "what pods prefer and do not get, priced".to_owned();
        rows.push(money("unmet", summary.preference_cost, remark));
    }
    rows
}

fn proof(plan: &Plan) -> Vec<Vec<String>> {
    let summary = &plan.summary;
    let proven = "proven: no launches that place these pods cost less".to_owned();
    let mut rows = vec![money("bound", summary.launch_bound, proven)];
    if let Some(bound) = summary.launch_bound_without_weights {
        rows.push(money("bound", bound, "if NodePool weights were not strict".to_owned()));
    }
    let (share, worth) = gap(plan);
    rows.push(vec!["gap".to_owned(), share, String::new(), worth]);
    rows
}

fn run(subject: &Subject<'_>) -> Vec<Vec<String>> {
    let row = |report: &stowage_planner::Report| {
        let ended = stop_reason(report.stop).to_owned();
        vec!["time".to_owned(), figures::seconds(report.elapsed), String::new(), ended]
    };
    subject.report.map(row).into_iter().collect()
}

fn cluster(plan: &Plan) -> Vec<Vec<String>> {
    let summary = &plan.summary;
    let unpriced = match summary.nodes_unpriced {
        0 => String::new(),
        without => format!(", {} without a known price", figures::thousands(without)),
    };
    let before = format!("{}{unpriced}", figures::nodes(summary.nodes_before));
    let removed = plan.consolidation.as_ref().map_or(0, |stated| stated.summary.nodes_removed);
    let after = figures::nodes((summary.nodes_before + summary.nodes_launched).saturating_sub(removed));
    vec![money("before", summary.cost_before, before), money("after", figures::cost_after(plan), after)]
}

/// What is proven of launches and removals together.
fn joint(summary: &ConsolidationSummary) -> Vec<Vec<String>> {
    let proven = "proven: no cluster costs less, moves counted".to_owned();
    let worth = format!("of the cost before; at most {} left to save", per_month(summary.left));
    vec![
        money("bound", summary.bound, proven),
        vec!["left".to_owned(), summary.left_share.to_string(), String::new(), worth],
    ]
}

/// The gap and what it is worth.
fn gap(plan: &Plan) -> (String, String) {
    let gap = plan.summary.gap;
    let left = figures::left_to_save(plan);
    let worth = if gap == Ppm::UNBOUNDED {
        "there is no bound, so nothing is known about what is left to save".to_owned()
    } else if left == UsdMicros::ZERO {
        "nothing costs less".to_owned()
    } else {
        format!("at most {} left to save", per_month(left))
    };
    (gap.to_string(), worth)
}

/// Where the pods go, in a sentence.
#[must_use]
pub fn outcome(plan: &Plan) -> String {
    let summary = &plan.summary;
    if summary.pods_pending == 0 {
        let is_idle = plan.consolidation.as_ref().is_none_or(|stated| stated.waves.is_empty());
        return if is_idle {
            "No pod waits for a place; there is nothing to do."
        } else {
            "No pod waits for a place."
        }
        .to_owned();
    }
    if plan.consolidation.as_ref().is_some_and(|stated| stated.summary.pods_moved == summary.pods_pending) {
        let places =
            [(summary.pods_on_existing, "nodes that exist"), (summary.pods_on_new, "nodes to launch")];
        let parts: Vec<String> = places
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, place)| format!("{} to {place}", figures::thousands(count)))
            .collect();
        return format!("{} move: {}.", pods(summary.pods_pending), parts.join(", "));
    }
    let waits = if summary.pods_pending == 1 { "waits" } else { "wait" };
    let left_out = if summary.pods_unplaced == 1 { "is" } else { "are" };
    let receiving = plan.existing.iter().filter(|node| !node.pods.is_empty()).count() as u64;
    let mut parts = Vec::new();
    if summary.pods_on_existing > 0 {
        let on = figures::count(receiving, "node that exists", "nodes that exist");
        parts.push(format!("{} on {on}", figures::thousands(summary.pods_on_existing)));
    }
    if summary.pods_on_new > 0 {
        let on = figures::count(summary.nodes_launched, "node to launch", "nodes to launch");
        parts.push(format!("{} on {on}", figures::thousands(summary.pods_on_new)));
    }
    if summary.pods_unplaced > 0 {
        parts.push(format!("{} {left_out} left out", figures::thousands(summary.pods_unplaced)));
    }
    format!("{} {waits}: {}.", pods(summary.pods_pending), parts.join(", "))
}
