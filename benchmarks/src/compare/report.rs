//! The comparison as markdown.

use super::row::{Row, best_bound};
use crate::peers::{Outcome, Peer, Task};
use std::fmt::Write as _;
use stowage_models::units::UsdMicros;

/// What was run, and on what.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Date, `YYYY-MM-DD`.
    pub date: String,
    /// Commit, if known.
    pub commit: String,
    /// Processor and cores.
    pub machine: String,
    /// Threads allowed to each peer.
    pub threads: usize,
}

/// Snapshots in order of first appearance.
#[must_use]
pub fn snapshots(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.snapshot.as_str()) {
            names.push(&row.snapshot);
        }
    }
    names
}

/// Rows of one snapshot.
pub fn of<'r>(rows: &'r [Row], snapshot: &'r str) -> impl Iterator<Item = &'r Row> + Clone {
    rows.iter().filter(move |row| row.snapshot == snapshot)
}

/// The row of a peer on a snapshot.
#[must_use]
pub fn find<'r>(rows: &'r [Row], snapshot: &str, peer: Peer) -> Option<&'r Row> {
    rows.iter().find(|row| row.snapshot == snapshot && row.peer() == Some(peer))
}

/// The whole report.
#[must_use]
pub fn markdown(setting: &Setting, rows: &[Row]) -> String {
    let mut text = format!(
        "# Stowage beside its peers, {}\n\n{}; commit {}; {} threads for each peer. Costs are dollars per hour by the \
         catalogue, times are of deciding alone. *Over the bound* is the distance to the best lower bound the checker \
         vouches for (or to the known optimum, marked \\*): nobody can be below zero. Every answer passes the same \
         referee, `stowage check`, with no slack kept on nodes; `stowage-slack` keeps the default 1 %.\n\n",
        setting.date, setting.machine, setting.commit, setting.threads
    );
    text.push_str(&against_karpenter(rows));
    for snapshot in snapshots(rows) {
        let _ = write!(text, "\n## {snapshot}\n\n");
        let first = of(rows, snapshot).next();
        match first {
            Some(row) if row.peer.is_empty() => {
                let _ = writeln!(text, "Skipped: {}", row.message);
            }
            Some(row) if row.task == Task::Consolidate => text.push_str(&consolidation(rows, snapshot)),
            _ => text.push_str(&provisioning(rows, snapshot)),
        }
    }
    text
}

/// Ours beside Karpenter's, and the sums that matter.
fn against_karpenter(rows: &[Row]) -> String {
    let mut text = "## Stowage and Karpenter\n\n| snapshot | pods | Stowage $/h | over the bound | s | Karpenter $/h | over the \
                    bound | s | Karpenter dearer by | slower by |\n|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let mut dearer = Vec::new();
    for snapshot in snapshots(rows) {
        let (Some(ours), Some(theirs)) =
            (find(rows, snapshot, Peer::Stowage), find(rows, snapshot, Peer::Karpenter))
        else {
            continue;
        };
        if ours.task == Task::Consolidate {
            continue;
        }
        let comparable = is_comparable(ours, theirs);
        let more = comparable.then(|| ratio(theirs.cost, ours.cost)).flatten();
        dearer.extend(more);
        let _ = writeln!(
            text,
            "| {snapshot} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            ours.pods,
            money(ours.cost),
            over(ours, rows),
            seconds(ours.median_seconds()),
            money_and_left(theirs),
            over(theirs, rows),
            seconds(theirs.median_seconds()),
            more.map_or_else(|| why_not(ours, theirs), |more| format!("{:+.1} %", (more - 1.0) * 100.0)),
            times(theirs.median_seconds(), ours.median_seconds()),
        );
    }
    if !dearer.is_empty() {
        let mean = dearer.iter().map(|more| 1.0 - 1.0 / more).sum::<f64>() / dearer.len() as f64;
        let worse = dearer.iter().filter(|more| **more < 1.0).count();
        let _ = writeln!(
            text,
            "\nOver the {} snapshots on which both place the same number of pods Stowage is {:.1} % cheaper on average and dearer \
             on {worse}.",
            dearer.len(),
            mean * 100.0
        );
    }
    text
}

/// Costs compare only if the same number of pods is placed and there is an answer at all.
fn is_comparable(ours: &Row, theirs: &Row) -> bool {
    ours.placed == theirs.placed && ours.cost.is_some() && theirs.cost.is_some()
}

fn why_not(ours: &Row, theirs: &Row) -> String {
    match theirs.outcome {
        Outcome::Failed | Outcome::Skipped => cell(&theirs.message),
        _ if theirs.placed < ours.placed => format!("places {} fewer pods", ours.placed - theirs.placed),
        _ if theirs.placed > ours.placed => format!("places {} more pods", theirs.placed - ours.placed),
        _ => "-".to_owned(),
    }
}

fn provisioning(rows: &[Row], snapshot: &str) -> String {
    let mut text = "| peer | $/h | over the bound | nodes | pods left out | s | cost to ours | time to ours | referee |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let ours = find(rows, snapshot, Peer::Stowage);
    for row in of(rows, snapshot) {
        if matches!(row.outcome, Outcome::Failed | Outcome::Skipped) {
            let _ = writeln!(text, "| {} | | | | | | | | {} |", row.peer, cell(&row.message));
            continue;
        }
        let same = ours.filter(|ours| is_comparable(ours, row));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.peer,
            money(row.cost),
            over(row, rows),
            row.nodes,
            row.pods - row.placed.min(row.pods),
            seconds(row.median_seconds()),
            same.and_then(|ours| ratio(row.cost, ours.cost))
                .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
            times(row.median_seconds(), ours.and_then(Row::median_seconds)),
            referee(row),
        );
    }
    if let Some(row) = ours.filter(|row| row.cost.is_some()) {
        let what = match row.optimum {
            Some(_) => "Optimum, known by construction".to_owned(),
            None => format!("Best proven lower bound for the {} pods Stowage places", row.placed),
        };
        let _ = writeln!(text, "\n{what}: ${} per hour.", money(best_bound(row, rows)));
    }
    text
}

fn consolidation(rows: &[Row], snapshot: &str) -> String {
    let mut text =
        "| peer | $/h before | $/h at rest | nodes at rest | commands | pods moved | moves | s (median) | $/h at rest, all runs | \
         referee |\n|---|---|---|---|---|---|---|---|---|---|\n"
            .to_owned();
    for row in of(rows, snapshot) {
        if matches!(row.outcome, Outcome::Failed | Outcome::Skipped) {
            let _ = writeln!(text, "| {} | | | | | | | | | {} |", row.peer, cell(&row.message));
            continue;
        }
        let details = &row.details;
        let all = details["runs"].as_array().map(|runs| {
            let costs = runs.iter().filter_map(|run| run["cost"].as_i64());
            costs.map(|cost| money(Some(UsdMicros(cost)))).collect::<Vec<_>>().join(", ")
        });
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            row.peer,
            money(details["costBefore"].as_i64().map(UsdMicros)),
            money(row.cost),
            row.nodes,
            details["commands"],
            details["podsMoved"],
            details["podMoves"],
            seconds(row.median_seconds()),
            all.unwrap_or_default(),
            referee(row),
        );
    }
    if let Some(bound) = of(rows, snapshot).filter_map(|row| best_bound(row, rows)).max() {
        let _ = writeln!(
            text,
            "\nNo cluster for these pods, whatever is moved, costs less than ${} per hour (proven).",
            money(Some(bound))
        );
    }
    text
}

/// What the referee says of a row.
fn referee(row: &Row) -> String {
    if let Some(why) = &row.unjudged {
        return format!("cannot be judged: {}", cell(why));
    }
    let mut said: Vec<String> = row
        .findings
        .iter()
        .map(|finding| format!("{} x {}: {}", finding.count, finding.code, cell(&finding.example)))
        .collect();
    if said.is_empty() {
        said.push("accepted".to_owned());
    }
    if row.outcome == Outcome::Timeout {
        let more = if row.message.is_empty() { String::new() } else { format!(" ({})", cell(&row.message)) };
        said.push(format!("time ran out after {} s{more}", row.allowed));
    }
    if let Some(claimed) = row.claimed_bound.filter(|_| row.peer().is_some_and(|peer| !peer.is_ours())) {
        said.push(format!("claims a bound of {}", money(Some(claimed))));
    }
    said.join("; ")
}

/// Text that does not break a table.
fn cell(text: &str) -> String {
    const LONGEST: usize = 220;
    let flat = text.replace('|', "/").replace('\n', " ");
    match flat.char_indices().nth(LONGEST) {
        Some((at, _)) => format!("{}...", &flat[..at]),
        None => flat,
    }
}

/// Dollars with two decimals, more for small sums.
pub(super) fn money(cost: Option<UsdMicros>) -> String {
    let Some(cost) = cost else { return "-".to_owned() };
    let dollars = cost.0 as f64 / 1e6;
    if dollars < 10.0 { format!("{dollars:.4}") } else { format!("{dollars:.2}") }
}

fn money_and_left(row: &Row) -> String {
    match row.pods.saturating_sub(row.placed) {
        0 => money(row.cost),
        left => format!("{} ({left} pods left out)", money(row.cost)),
    }
}

/// Distance to the best bound for the pods it places, or to the known optimum. An answer the referee does not accept may be
/// cheaper than any that keeps the rules; the distance says nothing then.
fn over(row: &Row, rows: &[Row]) -> String {
    match ratio(row.cost, best_bound(row, rows)) {
        Some(ratio) if ratio < 1.0 && !row.findings.is_empty() => "breaks a rule".to_owned(),
        Some(ratio) => {
            let star = if row.optimum.is_some() { " \\*" } else { "" };
            format!("{:.2} %{star}", (ratio - 1.0) * 100.0)
        }
        None => "-".to_owned(),
    }
}

/// The ratio of two costs.
pub(super) fn ratio(cost: Option<UsdMicros>, to: Option<UsdMicros>) -> Option<f64> {
    let (cost, to) = (cost?.0 as f64, to?.0 as f64);
    (to > 0.0).then(|| cost / to)
}

pub(super) fn seconds(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value < 0.0995 => format!("{value:.3}"),
        Some(value) if value < 9.95 => format!("{value:.2}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn times(theirs: Option<f64>, ours: Option<f64>) -> String {
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if ours > 0.0 => {
            let ratio = theirs / ours;
            if ratio < 9.95 { format!("{ratio:.2} x") } else { format!("{ratio:.0} x") }
        }
        _ => "-".to_owned(),
    }
}
