//! Consolidation on the page: what leaves, what takes its place, in which order; what stays and why; what is left to save.

use crate::render::figures::{self, cents, per_hour, thousands};
use crate::render::leaving;
use crate::render::table;
use serde::Serialize;
use stowage_models::plan::Plan;
use stowage_models::units::UsdMicros;

/// Places named per node that leaves.
const PLACES_MAX: usize = 4;

/// The section.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    sentences: Vec<String>,
    figures: Vec<Figure>,
    /// Cost before, after and bound as parts of the largest, in per cent with decimals.
    strips: Vec<Strip>,
    reasons: Vec<Reason>,
    waves: Vec<Wave>,
    leavers: Vec<Leaver>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: &'static str,
    figure: &'static str,
    value: i64,
    text: String,
    /// Small, after the text.
    unit: &'static str,
    under: String,
}

#[derive(Debug, Serialize)]
struct Strip {
    name: &'static str,
    class: &'static str,
    text: String,
    width: String,
}

#[derive(Debug, Serialize)]
struct Reason {
    words: &'static str,
    leaves: bool,
    count: usize,
    per_month: String,
    nodes: Vec<Decision>,
}

#[derive(Debug, Serialize)]
struct Decision {
    node: String,
    price: String,
    message: String,
}

#[derive(Debug, Serialize)]
struct Wave {
    number: usize,
    launches: usize,
    evictions: usize,
    removals: usize,
    /// Part of the largest wave's evictions, in per cent.
    width: String,
    names: String,
}

#[derive(Debug, Serialize)]
struct Leaver {
    wave: usize,
    node: String,
    price: String,
    pods: u64,
    to: String,
}

/// The section; `None` for a plan that leaves nodes alone.
pub(super) fn section(plan: &Plan) -> Option<Section> {
    let stated = plan.consolidation.as_ref()?;
    let summary = &stated.summary;
    let largest = stated.waves.iter().map(|wave| wave.evictions.len()).max().unwrap_or(0) as u64;
    let waves = stated.waves.iter().enumerate().map(|(index, wave)| Wave {
        number: index + 1,
        launches: wave.launches.len(),
        evictions: wave.evictions.len(),
        removals: wave.removals.len(),
        width: super::bars::percent(wave.evictions.len() as u64, largest.max(1)),
        names: names(&wave.removals),
    });
    let leavers = leaving::leavers(stated);
    let leavers = leavers.iter().map(|one| Leaver {
        wave: one.wave,
        node: one.decision.node.clone(),
        price: one.decision.price.map_or_else(String::new, |price| price.to_string()),
        pods: one.pods,
        to: leaving::places(&one.to, PLACES_MAX),
    });
    let shared = leaving::by_reason(stated);
    let reasons = shared.iter().map(|one| Reason {
        words: table::words(one.reason),
        leaves: one.reason.is_removal(),
        count: one.nodes.len(),
        per_month: cents(one.cost.per_month()),
        nodes: one.nodes.iter().map(|node| decision(node)).collect(),
    });
    Some(Section {
        sentences: [table::sentences(stated), vec![table::proven(stated)]].concat(),
        figures: figures(plan)?,
        strips: strips(summary.cost_before, summary.cost_after, summary.bound),
        reasons: reasons.collect(),
        waves: waves.collect(),
        leavers: leavers.collect(),
    })
}

fn decision(one: &stowage_models::consolidation::NodeDecision) -> Decision {
    Decision {
        node: one.node.clone(),
        price: one.price.map_or_else(|| "unpriced".to_owned(), |price| price.to_string()),
        message: leaving::told(one),
    }
}

fn names(removals: &[String]) -> String {
    const NAMED_MAX: usize = 3;
    let named = removals.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match removals.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn figures(plan: &Plan) -> Option<Vec<Figure>> {
    let summary = &plan.consolidation.as_ref()?.summary;
    let count = |name, figure, value: u64, under: String| Figure {
        name,
        figure,
        value: i64::try_from(value).unwrap_or(i64::MAX),
        text: thousands(value),
        unit: "",
        under,
    };
    let money = |name, figure, value: UsdMicros, text: String, unit, under: String| Figure {
        name,
        figure,
        value: value.0,
        text,
        unit,
        under,
    };
    let saved = summary.cost_before - summary.cost_after;
    Some(vec![
        money(
            "Saved",
            "saved",
            saved,
            cents(saved.per_month()),
            "/month",
            figures::change(summary.cost_before, summary.cost_after).unwrap_or_default(),
        ),
        count(
            "Nodes that leave",
            "nodesRemoved",
            summary.nodes_removed,
            format!("{} take their place", thousands(plan.summary.nodes_launched)),
        ),
        count(
            "Pods that move",
            "podsMoved",
            summary.pods_moved,
            format!("evictions and removals cost {} once", summary.disruption_cost),
        ),
        money(
            "Left to save, at most",
            "left",
            summary.left,
            summary.left_share.to_string(),
            "",
            format!("{} of today's cost, proven", per_hour(summary.left)),
        ),
    ])
}

fn strips(before: UsdMicros, after: UsdMicros, bound: UsdMicros) -> Vec<Strip> {
    let largest = before.max(after).0.max(1).unsigned_abs();
    let strip = |name, class, cost: UsdMicros| Strip {
        name,
        class,
        text: format!("{}/month", cents(cost.per_month())),
        width: super::bars::percent(cost.0.max(0).unsigned_abs(), largest),
    };
    vec![
        strip("before", "base", before),
        strip("after", "od", after),
        strip("bound, evictions counted", "spot", bound),
    ]
}
