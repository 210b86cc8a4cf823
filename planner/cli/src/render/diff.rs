//! Two plans side by side: decisions only, cost first, one screen.

use super::figures::{self, per_hour, per_month, pods, signed_per_hour};
use super::grid::{self, Column};
use super::{leaving, table};
use crate::difference::{Change, DecisionChange, Difference, LaunchChange, NodeChange};
use crate::style::Palette;
use stowage_models::consolidation::NodeReason;
use stowage_models::units::{Ppm, UsdMicros};

/// Lines per section unless `--all` is given: three sections and the head then fit a screen of 45 lines.
const LINES_MAX: usize = 10;

/// Pods named per line.
const NAMES_MAX: usize = 3;

/// For the terminal.
#[must_use]
pub fn table(difference: &Difference, all: bool, palette: Palette) -> String {
    let limit = if all { usize::MAX } else { LINES_MAX };
    let mut text = format!(
        "{} {} ← {}\n",
        palette.strong("plan"),
        palette.strong(figures::short_digest(&difference.id.after)),
        figures::short_digest(&difference.id.before)
    );
    for (name, line) in head(difference) {
        text.push_str(&grid::wrap(&format!("  {name:<6}  "), &line));
    }
    if !difference.is_change() {
        text.push_str("\n  = both plans decide the same\n");
        return text;
    }
    text.push('\n');
    text.push_str(&launches(difference, limit, palette));
    text.push_str(&existing(difference, limit, palette));
    text.push_str(&decisions(difference, limit, palette));
    text.push_str(&left_out(difference, palette));
    text.push_str(&palette.faint(&unchanged(difference)));
    text.push('\n');
    text
}

/// Cost, bound, gap, nodes and pods, and inputs that differ: a line each, with its name.
fn head(difference: &Difference) -> Vec<(&'static str, String)> {
    let cost = &difference.launch_cost;
    let share =
        figures::change(cost.before, cost.after).map_or_else(String::new, |share| format!(" ({share})"));
    let thousands = |count: &u64| figures::thousands(*count);
    let mut lines = vec![
        (
            "launch",
            format!(
                "{}{share}, {}",
                arrow(cost, |cost| per_hour(*cost)),
                signed_month(cost.after - cost.before)
            ),
        ),
        ("bound", arrow(&difference.launch_bound, |bound| per_hour(*bound))),
        ("gap", arrow(&difference.gap, Ppm::to_string)),
        ("nodes", format!("{} to launch", arrow(&difference.nodes_launched, thousands))),
    ];
    let waiting = arrow(&difference.pods_pending, thousands);
    lines.push((
        "pods",
        format!("{waiting} waiting, {} left out", arrow(&difference.pods_unplaced, thousands)),
    ));
    lines.extend(inputs(difference).into_iter().map(|line| ("input", line)));
    lines
}

fn signed_month(hourly: UsdMicros) -> String {
    let sign = if hourly.0 > 0 { "+" } else { "" };
    format!("{sign}{}", per_month(hourly))
}

/// `a → b`, or `a` if nothing changed.
fn arrow<T: PartialEq>(change: &Change<T>, write: impl Fn(&T) -> String) -> String {
    if change.is_change() {
        format!("{} → {}", write(&change.before), write(&change.after))
    } else {
        write(&change.after)
    }
}

fn inputs(difference: &Difference) -> Vec<String> {
    let inputs = &difference.inputs;
    let mut lines = Vec::new();
    if inputs.snapshot_differs {
        lines.push("the snapshots differ".to_owned());
    }
    if inputs.catalog_differs {
        lines.push("the catalogues differ (prices or types)".to_owned());
    }
    if inputs.planner.is_change() {
        lines.push(format!("planner {}", arrow(&inputs.planner, String::clone)));
    }
    if inputs.policy.is_change() {
        let (before, after) = (&inputs.policy.before, &inputs.policy.after);
        let share = |before: Ppm, after: Ppm| arrow(&Change { before, after }, Ppm::to_string);
        let seed = arrow(&Change { before: before.seed, after: after.seed }, u64::to_string);
        lines.push(format!(
            "policy: gap {}, slack {}, seed {seed}",
            share(before.gap, after.gap),
            share(before.slack, after.slack)
        ));
    }
    lines
}

/// `+`, `-` or `~` and what to say about the number of nodes.
fn sign_and_count(launch: &LaunchChange) -> (&'static str, String) {
    match (launch.nodes.before, launch.nodes.after) {
        (0, after) => ("+", after.to_string()),
        (before, 0) => ("-", before.to_string()),
        (before, after) if before == after => ("~", after.to_string()),
        (before, after) => ("~", format!("{before} → {after}")),
    }
}

fn launches(difference: &Difference, limit: usize, palette: Palette) -> String {
    let columns = [
        Column::fixed(""),
        Column::figure(""),
        Column::text(""),
        Column::text(""),
        Column::fixed(""),
        Column::text(""),
        Column::figure(""),
        Column::figure(""),
    ];
    let rows: Vec<Vec<String>> = difference
        .launches
        .iter()
        .take(limit)
        .map(|launch| {
            let (sign, count) = sign_and_count(launch);
            vec![
                sign.to_owned(),
                count,
                launch.instance_type.clone(),
                launch.zone.clone(),
                launch.capacity_type.clone(),
                launch.node_pool.clone(),
                signed_per_hour(launch.cost.after - launch.cost.before),
                format!("{} pods", arrow(&launch.pods, u64::to_string)),
            ]
        })
        .collect();
    signed(&grid::lay_out(&columns, &rows, 2, Palette::PLAIN), palette)
        + &rest(difference.launches.len(), limit)
}

fn existing(difference: &Difference, limit: usize, palette: Palette) -> String {
    let columns = [Column::fixed(""), Column::text(""), Column::text("")];
    let rows: Vec<Vec<String>> = difference
        .existing
        .iter()
        .take(limit)
        .map(|node| vec!["~".to_owned(), node.node.clone(), placed(node)])
        .collect();
    signed(&grid::lay_out(&columns, &rows, 2, Palette::PLAIN), palette)
        + &rest(difference.existing.len(), limit)
}

fn decisions(difference: &Difference, limit: usize, palette: Palette) -> String {
    let columns = [Column::fixed(""), Column::text(""), Column::text("")];
    let rows: Vec<Vec<String>> = difference
        .decisions
        .iter()
        .take(limit)
        .map(|one| vec![decision_sign(one).to_owned(), one.node.clone(), decided(one)])
        .collect();
    signed(&grid::lay_out(&columns, &rows, 2, Palette::PLAIN), palette)
        + &rest(difference.decisions.len(), limit)
}

fn decision_sign(one: &DecisionChange) -> &'static str {
    let goes = |reason: Option<NodeReason>| reason.is_some_and(NodeReason::is_removal);
    match (goes(one.reason.before), goes(one.reason.after)) {
        (false, true) => "-",
        (true, false) => "+",
        _ => "~",
    }
}

fn decided(one: &DecisionChange) -> String {
    let words = |reason: &Option<NodeReason>| reason.map_or("no decision", table::words);
    let change = arrow(&one.reason, |reason| words(reason).to_owned());
    match &one.departure {
        Some(departure) => format!("{change}; {}", leaving::due(departure)),
        None => change,
    }
}

fn placed(node: &NodeChange) -> String {
    let gets = arrow(&node.pods, u64::to_string);
    if node.pods_new == 0 {
        format!("gets {gets} pods")
    } else {
        format!("gets {gets} pods, {} of them others", node.pods_new)
    }
}

fn left_out(difference: &Difference, palette: Palette) -> String {
    let mut text = String::new();
    if !difference.newly_left_out.is_empty() {
        let names = some(&difference.newly_left_out);
        text.push_str(&grid::wrap("  ! ", &format!("newly left out: {names}")));
    }
    if !difference.newly_placed.is_empty() {
        text.push_str(&grid::wrap("  + ", &format!("newly placed: {}", some(&difference.newly_placed))));
    }
    if difference.pods_elsewhere > 0 {
        text.push_str(&grid::wrap("  ~ ", &format!("{} go elsewhere", pods(difference.pods_elsewhere))));
    }
    signed(&text, palette)
}

fn some(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    let count = pods(names.len() as u64);
    if names.len() > NAMES_MAX { format!("{count} ({shown}, ...)") } else { format!("{count} ({shown})") }
}

fn unchanged(difference: &Difference) -> String {
    format!(
        "  = {} to launch and {} that exist unchanged",
        figures::nodes(difference.launches_unchanged),
        figures::nodes(difference.existing_unchanged)
    )
}

fn rest(total: usize, limit: usize) -> String {
    if total > limit { format!("    ... {} more (--all lists them)\n", total - limit) } else { String::new() }
}

/// Colours each line's sign.
fn signed(text: &str, palette: Palette) -> String {
    let mut colored = String::new();
    for line in text.lines() {
        let sign = line.get(2..3).unwrap_or_default();
        let painted = match sign {
            "+" => palette.good(sign),
            "-" => palette.bad(sign),
            "~" | "!" => palette.notable(sign),
            _ => sign.to_owned(),
        };
        colored.push_str(line.get(..2).unwrap_or_default());
        colored.push_str(&painted);
        colored.push_str(line.get(3..).unwrap_or_default());
        colored.push('\n');
    }
    colored
}

/// For a comment on a pull request.
#[must_use]
pub fn markdown(difference: &Difference, all: bool) -> String {
    let limit = if all { usize::MAX } else { LINES_MAX };
    let cost = &difference.launch_cost;
    let mut text = format!("### Stowage: {} for launches\n\n", signed_month(cost.after - cost.before));
    for (name, line) in head(difference) {
        text.push_str(&format!("- **{name}** {line}\n"));
    }
    text.push('\n');
    if !difference.is_change() {
        text.push_str("Both plans decide the same.\n");
        return text;
    }
    if !difference.launches.is_empty() {
        text.push_str("| | nodes | type | zone | capacity | nodepool | $/h | pods |\n|---|---:|---|---|---|---|---:|---:|\n");
        for launch in difference.launches.iter().take(limit) {
            let (sign, count) = sign_and_count(launch);
            let LaunchChange { instance_type, zone, capacity_type, node_pool, .. } = launch;
            let delta = signed_per_hour(launch.cost.after - launch.cost.before);
            let pods = arrow(&launch.pods, u64::to_string);
            text.push_str(&format!(
                "| `{sign}` | {count} | {instance_type} | {zone} | {capacity_type} | {node_pool} | {delta} | {pods} |\n"
            ));
        }
        text.push_str(rest(difference.launches.len(), limit).trim_start());
        text.push('\n');
    }
    for node in difference.existing.iter().take(limit) {
        text.push_str(&format!("- `~` `{}` {}\n", node.node, placed(node)));
    }
    text.push_str(rest(difference.existing.len(), limit).trim_start());
    for one in difference.decisions.iter().take(limit) {
        text.push_str(&format!("- `{}` `{}` {}\n", decision_sign(one), one.node, decided(one)));
    }
    text.push_str(rest(difference.decisions.len(), limit).trim_start());
    for line in left_out(difference, Palette::PLAIN).lines().chain([unchanged(difference).as_str()]) {
        let (sign, rest) = line.trim_start().split_once(' ').unwrap_or_default();
        text.push_str(&format!("- `{sign}` {rest}\n"));
    }
    text.push_str(&format!("\nplan `{}` ← `{}`\n", difference.id.after, difference.id.before));
    text
}
