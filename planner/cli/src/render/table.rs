//! A plan for the terminal: money first, then what would change, then what would not.

use super::Subject;
use super::figures::{self, per_hour, per_month, pods};
use super::grid::{self, Column};
use super::groups;
use crate::style::Palette;
use stowage_models::labels;
use stowage_models::plan::{Plan, Unplaced, UnplacedReason};
use stowage_models::quantity::{CPU, MEMORY};
use stowage_models::units::{Ppm, UsdMicros};

/// Kinds of launches listed at most; the rest is summed up. A plan of 10,000 pods has about a dozen kinds.
const KINDS_MAX: usize = 30;
/// Existing nodes listed at most: placements there cost nothing, so a few tell the story.
const NODES_MAX: usize = 10;
/// Pods named per reason for being left out.
const NAMES_MAX: usize = 3;

/// Renders the plan.
#[must_use]
pub fn render(subject: &Subject<'_>, palette: Palette) -> String {
    let plan = subject.plan;
    let sections = [
        heading(subject, palette),
        costs(subject, palette),
        launches(plan, palette),
        placements(plan, palette),
        unplaced(plan, palette),
        notes(plan, palette),
        origin(plan, palette),
    ];
    let present: Vec<String> = sections
        .into_iter()
        .filter(|section| !section.is_empty())
        .collect();
    present.join("\n")
}

fn heading(subject: &Subject<'_>, palette: Palette) -> String {
    let plan = subject.plan;
    let mut line = format!(
        "{} {}",
        palette.strong("plan"),
        palette.strong(figures::short_digest(&plan.id))
    );
    if let Some(taken_at) = &plan.snapshot.taken_at {
        line.push_str(&format!("   snapshot {taken_at}"));
    }
    if subject.checked {
        line.push_str(&format!("   {}", palette.good("checked")));
    }
    line.push('\n');
    line
}

fn costs(subject: &Subject<'_>, palette: Palette) -> String {
    let plan = subject.plan;
    let summary = &plan.summary;
    let money = |name: &str, hourly: UsdMicros, remark: String| {
        vec![name.to_owned(), per_hour(hourly), per_month(hourly), remark]
    };
    let launched = figures::nodes(summary.nodes_launched);
    let mut rows = vec![
        money(
            "launch",
            summary.launch_cost,
            format!("{launched} for {}", pods(summary.pods_on_new)),
        ),
        money(
            "bound",
            summary.launch_bound,
            "proven: no launches that place these pods cost less".to_owned(),
        ),
    ];
    if let Some(bound) = summary.launch_bound_without_weights {
        rows.push(money(
            "bound",
            bound,
            "if NodePool weights were not strict".to_owned(),
        ));
    }
    let (share, worth) = gap(plan);
    rows.push(vec!["gap".to_owned(), share, String::new(), worth]);
    if let Some(report) = subject.report {
        let ended = super::stop_reason(report.stop).to_owned();
        rows.push(vec![
            "time".to_owned(),
            figures::seconds(report.elapsed),
            String::new(),
            ended,
        ]);
    }
    let unpriced = match summary.nodes_unpriced {
        0 => String::new(),
        without => format!(", {} without a known price", figures::thousands(without)),
    };
    rows.push(money(
        "before",
        summary.cost_before,
        format!("{}{unpriced}", figures::nodes(summary.nodes_before)),
    ));
    let nodes_after = figures::nodes(summary.nodes_before + summary.nodes_launched);
    rows.push(money("after", figures::cost_after(plan), nodes_after));
    let columns = [
        Column::fixed(""),
        Column::figure(""),
        Column::figure(""),
        Column::text(""),
    ];
    let text = grid::lay_out(&columns, &rows, 2, Palette::PLAIN);
    let strong = |line: &str| {
        format!(
            "{}\n",
            if is_key(line) {
                palette.strong(line)
            } else {
                line.to_owned()
            }
        )
    };
    let text: String = text.lines().map(strong).collect();
    format!("{text}\n{}", grid::wrap("  ", &outcome(plan)))
}

/// The two lines to read if nothing else.
fn is_key(line: &str) -> bool {
    line.starts_with("  launch") || line.starts_with("  gap")
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
        return "No pod waits for a place; there is nothing to do.".to_owned();
    }
    let waits = if summary.pods_pending == 1 {
        "waits"
    } else {
        "wait"
    };
    let left_out = if summary.pods_unplaced == 1 { "is" } else { "are" };
    let receiving = plan.existing.iter().filter(|node| !node.pods.is_empty()).count() as u64;
    let mut parts = Vec::new();
    if summary.pods_on_existing > 0 {
        let on = figures::count(receiving, "node that exists", "nodes that exist");
        parts.push(format!(
            "{} on {on}",
            figures::thousands(summary.pods_on_existing)
        ));
    }
    if summary.pods_on_new > 0 {
        let on = figures::count(summary.nodes_launched, "node to launch", "nodes to launch");
        parts.push(format!("{} on {on}", figures::thousands(summary.pods_on_new)));
    }
    if summary.pods_unplaced > 0 {
        parts.push(format!(
            "{} {left_out} left out",
            figures::thousands(summary.pods_unplaced)
        ));
    }
    format!("{} {waits}: {}.", pods(summary.pods_pending), parts.join(", "))
}

fn launches(plan: &Plan, palette: Palette) -> String {
    if plan.launches.is_empty() {
        return String::new();
    }
    let groups = groups::dearest_first(&plan.launches);
    let columns = [
        Column::fixed(""),
        Column::figure("nodes"),
        Column::text("type"),
        Column::text("zone"),
        Column::fixed("capacity"),
        Column::text("nodepool"),
        Column::figure("$/h each"),
        Column::figure("$/h"),
        Column::figure("pods"),
        Column::figure("cpu"),
        Column::figure("memory"),
    ];
    let rows: Vec<Vec<String>> = groups
        .iter()
        .take(KINDS_MAX)
        .map(|(kind, group)| {
            let estimated = if group.estimated { "~" } else { "" };
            let full = |name| {
                figures::whole_per_cent(figures::fill(group.used.get(name), group.allocatable.get(name)))
            };
            vec![
                "+".to_owned(),
                figures::thousands(group.nodes),
                kind.instance_type.clone(),
                kind.zone.clone(),
                kind.capacity_type.clone(),
                kind.node_pool.clone(),
                format!("{estimated}{}", bare(group.price)),
                format!("{estimated}{}", bare(group.cost)),
                figures::thousands(group.pods),
                full(CPU),
                full(MEMORY),
            ]
        })
        .collect();
    let mut text = format!(
        "{}\n",
        palette.strong(&format!("Launch {}", figures::nodes(plan.summary.nodes_launched)))
    );
    text.push_str(&tinted(
        &grid::lay_out(&columns, &rows, 2, palette),
        '+',
        |line| palette.good(line),
    ));
    if groups.len() > KINDS_MAX {
        let rest: UsdMicros = groups[KINDS_MAX..].iter().map(|(_, group)| group.cost).sum();
        let kinds = figures::count((groups.len() - KINDS_MAX) as u64, "more kind", "more kinds");
        text.push_str(&format!(
            "    ... {kinds}, {} together (-o json lists all)\n",
            per_hour(rest)
        ));
    }
    if groups.iter().any(|(_, group)| group.estimated) {
        text.push_str(&palette.faint("    ~ estimated spot price"));
        text.push('\n');
    }
    text
}

/// A price without its dollar sign, for columns whose heading has it.
fn bare(price: UsdMicros) -> String {
    price.to_string().replace('$', "")
}

/// Colours the sign at the start of lines that have it.
fn tinted(text: &str, sign: char, tint: impl Fn(&str) -> String) -> String {
    let mut tinted = String::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix(sign) {
            Some(rest) => {
                let blanks = line.len() - line.trim_start().len();
                tinted.push_str(&format!(
                    "{}{}{rest}",
                    " ".repeat(blanks),
                    tint(&sign.to_string())
                ));
            }
            None => tinted.push_str(line),
        }
        tinted.push('\n');
    }
    tinted
}

fn placements(plan: &Plan, palette: Palette) -> String {
    let nodes = groups::receiving(&plan.existing);
    if nodes.is_empty() {
        return String::new();
    }
    let columns = [
        Column::fixed(""),
        Column::text("node"),
        Column::text("type"),
        Column::text("zone"),
        Column::figure("pods"),
        Column::figure("cpu"),
        Column::figure("memory"),
    ];
    let rows: Vec<Vec<String>> = nodes
        .iter()
        .take(NODES_MAX)
        .map(|node| {
            let used = groups::used_by_node(node);
            let full = |name| {
                let of = node.allocatable.get(name);
                let before = figures::whole_per_cent(figures::fill(node.running.get(name), of));
                let after = figures::whole_per_cent(figures::fill(used.get(name), of));
                format!("{} → {after}", before.trim_end_matches(" %"))
            };
            vec![
                "~".to_owned(),
                node.name.clone(),
                node.instance_type.clone().unwrap_or_default(),
                node.zone.clone().unwrap_or_default(),
                format!("+{}", node.pods.len()),
                full(CPU),
                full(MEMORY),
            ]
        })
        .collect();
    let title = format!(
        "Place {} on {} that exist",
        pods(plan.summary.pods_on_existing),
        figures::nodes(nodes.len() as u64)
    );
    let mut text = format!("{}\n", palette.strong(&title));
    text.push_str(&tinted(
        &grid::lay_out(&columns, &rows, 2, palette),
        '~',
        |line| palette.notable(line),
    ));
    if nodes.len() > NODES_MAX {
        let rest: usize = nodes[NODES_MAX..].iter().map(|node| node.pods.len()).sum();
        let more = (nodes.len() - NODES_MAX) as u64;
        text.push_str(&format!(
            "    ... {} on {} (-o json lists all)\n",
            pods(rest as u64),
            figures::count(more, "more node", "more nodes")
        ));
    }
    text
}

fn unplaced(plan: &Plan, palette: Palette) -> String {
    if plan.unplaced.is_empty() {
        return String::new();
    }
    let title = format!("Left out {}", pods(plan.summary.pods_unplaced));
    let mut text = format!("{}\n", palette.strong(&title));
    for entry in &plan.unplaced {
        text.push_str(&unplaced_entry(entry, palette));
    }
    text
}

fn unplaced_entry(entry: &Unplaced, palette: Palette) -> String {
    let reason = reason_name(entry.reason);
    let first = grid::wrap(
        "  ! ",
        &format!("{}, {reason}: {}", pods(entry.pods.len() as u64), entry.message),
    );
    let mut text = tinted(&first, '!', |sign| palette.notable(sign));
    if !entry.hint.is_empty() {
        text.push_str(&grid::wrap("    hint: ", &entry.hint));
    }
    if let Some(nearest) = &entry.nearest {
        text.push_str(&grid::wrap("    nearest: ", nearest));
    }
    text.push_str(&grid::wrap("    pods: ", &some_names(entry)));
    text
}

/// The first pods of an entry and how many more there are.
#[must_use]
pub fn some_names(entry: &Unplaced) -> String {
    let names: Vec<&str> = entry
        .pods
        .iter()
        .take(NAMES_MAX)
        .map(|pod| pod.0.as_str())
        .collect();
    let more = entry.pods.len().saturating_sub(NAMES_MAX);
    if more == 0 {
        names.join(", ")
    } else {
        format!("{} and {more} more", names.join(", "))
    }
}

/// The reason as the plan file spells it.
#[must_use]
pub fn reason_name(reason: UnplacedReason) -> &'static str {
    match reason {
        UnplacedReason::Unsupported => "Unsupported",
        UnplacedReason::NoFit => "NoFit",
        UnplacedReason::Limits => "Limits",
    }
}

fn notes(plan: &Plan, palette: Palette) -> String {
    if plan.notes.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n", palette.strong("Notes"));
    for note in &plan.notes {
        text.push_str(&grid::wrap("  - ", note));
    }
    text
}

fn origin(plan: &Plan, palette: Palette) -> String {
    let catalog = &plan.catalog;
    let share = figures::estimated_share(plan);
    let estimated = if share.0 == 0 {
        String::new()
    } else {
        format!("; {share} of the cost is estimated")
    };
    let dates = format!(
        "on-demand of {}, spot of {}",
        catalog.on_demand_as_of, catalog.spot_as_of
    );
    let mut text = grid::wrap("prices  ", &format!("{}, {dates}{estimated}", catalog.region));
    if !plan.snapshot.origin.is_empty() {
        text.push_str(&grid::wrap("origin  ", &plan.snapshot.origin));
    }
    text.push_str(&grid::wrap("plan    ", &plan.id));
    palette_lines(&text, palette)
}

fn palette_lines(text: &str, palette: Palette) -> String {
    text.lines()
        .map(|line| format!("{}\n", palette.faint(line)))
        .collect()
}

/// Zone, type and capacity of a node in one line, as far as they are known.
#[must_use]
pub fn describe(node: &stowage_models::plan::ExistingNode) -> String {
    let known = [
        &node.instance_type,
        &node.zone,
        &node.capacity_type,
        &node.node_pool,
    ];
    let parts: Vec<&str> = known.iter().filter_map(|part| part.as_deref()).collect();
    if parts.is_empty() {
        format!("no {} label", labels::INSTANCE_TYPE)
    } else {
        parts.join(" ")
    }
}
