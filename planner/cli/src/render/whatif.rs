//! Variants of a question side by side: what each costs, what is proven, what it would save.

use super::figures::{self, per_month};
use super::grid::{self, Column};
use crate::style::Palette;
use serde::Serialize;
use stowage_models::plan::Plan;
use stowage_models::units::UsdMicros;
use stowage_models::whatif::WhatIf;

/// A variant that was planned. Costs are per hour.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// In a few words.
    pub name: String,
    /// What differs from the input; as the plan states it.
    pub what_if: WhatIf,
    /// The plan, to find it again: the same input, options and limits give the same.
    pub plan: String,
    /// Price of all nodes before, at the variant's prices.
    pub cost_before: UsdMicros,
    /// Price of all nodes afterwards.
    pub cost: UsdMicros,
    /// Evictions and removals, spread over the horizon.
    pub disruption_rate: UsdMicros,
    /// What pods prefer and do not get, priced.
    pub preference_cost: UsdMicros,
    /// No plan of this variant brings the sum of the three below this.
    pub bound: UsdMicros,
    /// Nodes launched.
    pub nodes_launched: u64,
    /// Nodes removed.
    pub nodes_removed: u64,
    /// Pods that move.
    pub pods_moved: u64,
    /// Pods that wait.
    pub pods_pending: u64,
    /// Pods left out.
    pub pods_unplaced: u64,
}

impl Row {
    /// The figures of a checked plan.
    #[must_use]
    pub fn new(name: &str, what_if: &WhatIf, plan: &Plan) -> Row {
        let stated = plan.consolidation.as_ref().map(|stated| &stated.summary);
        Row {
            name: name.to_owned(),
            what_if: what_if.clone(),
            plan: plan.id.clone(),
            cost_before: plan.summary.cost_before,
            cost: figures::cost_after(plan),
            disruption_rate: stated.map(|one| one.disruption_rate).unwrap_or_default(),
            preference_cost: plan.summary.preference_cost,
            bound: stated.map_or(plan.summary.cost_before + plan.summary.launch_bound, |one| one.bound),
            nodes_launched: plan.summary.nodes_launched,
            nodes_removed: stated.map(|one| one.nodes_removed).unwrap_or_default(),
            pods_moved: stated.map(|one| one.pods_moved).unwrap_or_default(),
            pods_pending: plan.summary.pods_pending,
            pods_unplaced: plan.summary.pods_unplaced,
        }
    }

    fn net(&self) -> UsdMicros {
        self.cost + self.disruption_rate + self.preference_cost
    }
}

/// What a variant saves against the question as it is, per hour; negative: it costs more.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Variant {
    /// Its figures.
    #[serde(flatten)]
    pub row: Row,
    /// By the plans found.
    pub saves: UsdMicros,
    /// Proven: whatever plan is made of the question as it is, this variant's plan saves at least this against it. One-off costs
    /// spread over the horizon are counted.
    pub saves_at_least: UsdMicros,
    /// Proven: no plan of this variant saves more than this against the plan of the question as it is.
    pub saves_at_most: UsdMicros,
    /// It leaves another number of pods out, so that costs do not compare.
    pub places_other_pods: bool,
}

/// A variant that is the same question.
#[derive(Clone, Debug, Serialize)]
pub struct NotPlanned {
    /// In a few words.
    pub name: String,
    /// Why it changes nothing.
    pub reason: &'static str,
}

/// The table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answers {
    /// Always `StowageWhatIf`.
    pub kind: &'static str,
    /// As of plans: unknown minor versions can be read.
    pub format_version: &'static str,
    /// The question as it is.
    pub as_is: Option<Row>,
    /// Variants, in the order they were asked.
    pub variants: Vec<Variant>,
    /// Variants that change nothing.
    pub not_planned: Vec<NotPlanned>,
}

impl Answers {
    /// The rows compared with the first.
    #[must_use]
    pub fn new(rows: Vec<Row>, not_planned: Vec<NotPlanned>) -> Answers {
        let mut rows = rows.into_iter();
        let as_is = rows.next();
        let compare = |row: Row| {
            let base = as_is.as_ref().unwrap_or(&row);
            Variant {
                saves: base.cost - row.cost,
                saves_at_least: base.bound - row.net(),
                saves_at_most: base.net() - row.bound,
                places_other_pods: base.pods_unplaced != row.pods_unplaced,
                row,
            }
        };
        let variants = rows.map(compare).collect();
        Answers { kind: "StowageWhatIf", format_version: "1.0", as_is, variants, not_planned }
    }
}

/// For the terminal.
#[must_use]
pub fn table(answers: &Answers, palette: Palette) -> String {
    let Some(as_is) = &answers.as_is else { return "Nothing was planned.\n".to_owned() };
    let columns = [
        Column::text("what if"),
        Column::figure("per month"),
        Column::figure("bound"),
        Column::figure("saves"),
        Column::figure("at least"),
        Column::figure("at most"),
        Column::figure("new"),
        Column::figure("gone"),
        Column::figure("left out"),
    ];
    let money = |amount: UsdMicros| figures::dollars(amount.per_month());
    let start = |row: &Row| vec![row.name.clone(), money(row.cost), money(row.bound)];
    let end = |row: &Row| {
        [row.nodes_launched, row.nodes_removed, row.pods_unplaced].map(figures::thousands).to_vec()
    };
    let blank = ["", "", ""].map(str::to_owned).to_vec();
    let mut rows = vec![[start(as_is), blank, end(as_is)].concat()];
    for one in &answers.variants {
        let mark = if one.places_other_pods { "*" } else { "" };
        let savings =
            vec![format!("{mark}{}", money(one.saves)), money(one.saves_at_least), money(one.saves_at_most)];
        rows.push([start(&one.row), savings, end(&one.row)].concat());
    }
    let mut text = format!("{}\n", palette.strong("What if"));
    text.push_str(&grid::lay_out(&columns, &rows, 2, palette));
    text.push('\n');
    let best = answers.variants.iter().filter(|one| !one.places_other_pods).max_by_key(|one| one.saves);
    if let Some(best) = best.filter(|best| best.saves > UsdMicros::ZERO) {
        let proven = if best.saves_at_least > UsdMicros::ZERO {
            format!("; proven: at least {}", per_month(best.saves_at_least))
        } else {
            String::new()
        };
        let said = format!("Most is saved {}: {}{proven}.", best.row.name, per_month(best.saves));
        text.push_str(&grid::wrap("  ", &said));
    }
    if answers.variants.iter().any(|one| one.places_other_pods) {
        let said = "* It leaves another number of pods out, so the costs do not compare.";
        text.push_str(&grid::wrap("  ", said));
    }
    let said = "Bound: no plan of that row costs less, evictions and removals spread over the horizon. At least, at most: \
                what the bounds of both rows prove about the saving.";
    text.push_str(&palette_lines(&grid::wrap("  ", said), palette));
    for one in &answers.not_planned {
        text.push_str(&grid::wrap("  ", &format!("Not planned: {} ({}).", one.name, one.reason)));
    }
    text
}

fn palette_lines(text: &str, palette: Palette) -> String {
    text.lines().map(|line| format!("{}\n", palette.faint(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, cost: i64, bound: i64) -> Row {
        let plan = Plan::default();
        let row = Row::new(name, &WhatIf::default(), &plan);
        Row { cost: UsdMicros(cost), bound: UsdMicros(bound), disruption_rate: UsdMicros(1), ..row }
    }

    #[test]
    fn savings_are_proven_from_both_sides() {
        let answers = Answers::new(vec![row("as it is", 100, 90), row("cheaper", 60, 50)], Vec::new());
        let one = &answers.variants[0];
        assert_eq!(
            (one.saves, one.saves_at_least, one.saves_at_most),
            (UsdMicros(40), UsdMicros(29), UsdMicros(51))
        );
        assert!(one.saves_at_least <= one.saves && one.saves <= one.saves_at_most);
    }

    #[test]
    fn a_row_that_leaves_pods_out_is_marked_and_never_the_best() {
        let mut without = row("without pods", 10_000_000, 0);
        without.pods_unplaced = 3;
        let rows = vec![row("as it is", 100_000_000, 0), row("little", 99_000_000, 0), without];
        let text = table(&Answers::new(rows, Vec::new()), Palette::PLAIN);
        assert!(text.contains("Most is saved little: $730.00/month."), "{text}");
        assert!(text.contains("*$65,700") && text.contains("do not compare"), "{text}");
    }
}
