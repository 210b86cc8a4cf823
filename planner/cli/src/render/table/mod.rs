//! A plan for the terminal: money first, then what would change, then what would not.

mod consolidation;
mod costs;
mod nodes;
mod unplaced;

pub use consolidation::{proven, sentences, words};
pub use costs::outcome;
pub use nodes::describe;
pub use unplaced::{in_the_way, reason_name, some_names};

use super::Subject;
use super::figures;
use super::grid;
use crate::style::Palette;
use stowage_models::plan::Plan;

/// Renders the plan.
#[must_use]
pub fn render(subject: &Subject<'_>, palette: Palette) -> String {
    let plan = subject.plan;
    let sections = [
        heading(subject, palette),
        costs::section(subject, palette),
        consolidation::section(plan, palette),
        nodes::launches(plan, palette),
        nodes::placements(plan, palette),
        unplaced::section(plan, palette),
        notes(plan, palette),
        origin(plan, palette),
    ];
    let present: Vec<String> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    present.join("\n")
}

fn heading(subject: &Subject<'_>, palette: Palette) -> String {
    let plan = subject.plan;
    let mut line = format!("{} {}", palette.strong("plan"), palette.strong(figures::short_digest(&plan.id)));
    if let Some(taken_at) = &plan.snapshot.taken_at {
        line.push_str(&format!("   snapshot {taken_at}"));
    }
    if subject.checked {
        line.push_str(&format!("   {}", palette.good("checked")));
    }
    line.push('\n');
    line
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
    let estimated = if share.0 == 0 { String::new() } else { format!("; {share} of the cost is estimated") };
    let dates = format!("on-demand of {}, spot of {}", catalog.on_demand_as_of, catalog.spot_as_of);
    let mut text = grid::wrap("prices  ", &format!("{}, {dates}{estimated}", catalog.region));
    if !plan.snapshot.origin.is_empty() {
        text.push_str(&grid::wrap("origin  ", &plan.snapshot.origin));
    }
    text.push_str(&grid::wrap("plan    ", &plan.id));
    palette_lines(&text, palette)
}

fn palette_lines(text: &str, palette: Palette) -> String {
    text.lines().map(|line| format!("{}\n", palette.faint(line))).collect()
}

/// Colours the sign at the start of lines that have it.
fn tinted(text: &str, sign: char, tint: impl Fn(&str) -> String) -> String {
    let mut tinted = String::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix(sign) {
            Some(rest) => {
                let blanks = line.len() - line.trim_start().len();
                tinted.push_str(&format!("{}{}{rest}", " ".repeat(blanks), tint(&sign.to_string())));
            }
            None => tinted.push_str(line),
        }
        tinted.push('\n');
    }
    tinted
}
