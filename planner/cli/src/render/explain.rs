//! An explanation for the terminal.

use super::figures::{dearer_by, per_hour};
use super::grid::{self, Column};
use crate::explanation::Explanation;
use crate::style::Palette;

/// Pods listed at most; `-o json` has all.
const PODS_MAX: usize = 20;

/// Renders the explanation.
#[must_use]
pub fn table(told: &Explanation, palette: Palette) -> String {
    let mut text = grid::wrap("", &format!("{} {}", told.subject, told.answer));
    text = text.replacen(&told.subject, &palette.strong(&told.subject), 1);
    let width = told.facts.iter().map(|fact| fact.name.len()).max().unwrap_or(0);
    for fact in &told.facts {
        text.push_str(&grid::wrap(&format!("  {:<width$}  ", fact.name), &fact.text));
    }
    text.push_str(&substitutes(told, palette));
    text.push_str(&pods(told, palette));
    text
}

fn substitutes(told: &Explanation, palette: Palette) -> String {
    if told.substitutes.is_empty() {
        return String::new();
    }
    let columns = [
        Column::text("type"),
        Column::text("zone"),
        Column::fixed("capacity"),
        Column::figure("price"),
        Column::figure("difference"),
    ];
    let rows: Vec<Vec<String>> = told
        .substitutes
        .iter()
        .map(|substitute| {
            let one = &substitute.alternate;
            vec![
                one.instance_type.clone(),
                one.zone.clone(),
                one.capacity_type.clone(),
                per_hour(one.price),
                dearer_by(substitute.dearer_by),
            ]
        })
        .collect();
    let heading = palette.strong("What else holds the same pods");
    format!("\n{heading}\n{}", grid::lay_out(&columns, &rows, 2, palette))
}

fn pods(told: &Explanation, palette: Palette) -> String {
    if told.pods.is_empty() {
        return String::new();
    }
    let mut text = format!("\n{}\n", palette.strong("Pods"));
    for pod in told.pods.iter().take(PODS_MAX) {
        text.push_str(&format!("  {}\n", grid::shorten(&pod.0, grid::WIDTH_MAX - 2)));
    }
    if told.pods.len() > PODS_MAX {
        text.push_str(&format!("  ... {} more (-o json lists all)\n", told.pods.len() - PODS_MAX));
    }
    text
}
