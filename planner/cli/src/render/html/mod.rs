//! The report: one file, no network. The template is compiled in; what it shows is put together here.
//!
//! Every figure carries `data-figure` and `data-value`, the exact integer of the plan, so that a test (or a script) can
//! compare the page with the plan. Pod names are in the page once, as a JSON block, and become elements only when a node
//! is opened: 10,000 of them would make a phone wait.

mod bars;
mod chart;
mod leaving;
mod nodes;

use super::Subject;
use super::figures::{self, cents, per_hour, pods, thousands};
use super::table;
use minijinja::{Environment, Value, context};
use serde::Serialize;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};

/// The parts of the page. Names end in `.html`, so that everything put into them is escaped.
const PARTS: [(&str, &str); 6] = [
    ("page.html", include_str!("../report/page.html")),
    ("head.html", include_str!("../report/head.html")),
    ("consolidation.html", include_str!("../report/consolidation.html")),
    ("launches.html", include_str!("../report/launches.html")),
    ("nodes.html", include_str!("../report/nodes.html")),
    ("facts.html", include_str!("../report/facts.html")),
];
const STYLE: &str = include_str!("../report/page.css");
const SCRIPT: &str = include_str!("../report/page.js");

/// Renders the report.
///
/// # Panics
/// Never: the template and the names it uses are fixed, and a test renders them.
#[must_use]
pub fn render(subject: &Subject<'_>) -> String {
    let mut environment = Environment::new();
    for (name, source) in PARTS {
        environment.add_template(name, source).expect("the built-in template is valid");
    }
    let page = environment.get_template("page.html").expect("the page is among the parts");
    page.render(page_context(subject)).expect("the built-in template renders")
}

fn page_context(subject: &Subject<'_>) -> Value {
    let plan = subject.plan;
    let nodes = nodes::all(plan);
    let (new_nodes, old_nodes): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| node.sign == "+");
    let page = context! {
        css => STYLE,
        js => SCRIPT,
        data => embedded(&nodes::names(plan)),
        title => format!("Stowage plan {}", figures::short_digest(&plan.id)),
        chart => value(chart::Chart::new(subject)),
        leaving => value(leaving::section(plan)),
        by_type => value(bars::by(plan, "type", |launch| &launch.instance_type)),
        by_zone => value(bars::by(plan, "zone", |launch| &launch.zone)),
        by_capacity => value(bars::by(plan, "capacity", |launch| &launch.capacity_type)),
        by_pool => value(bars::by(plan, "pool", |launch| &launch.node_pool)),
        choices => value(nodes::choices(&nodes)),
        fill_sentence => nodes::fill_sentence(plan),
        new_nodes => value(new_nodes),
        old_nodes => value(old_nodes),
        nodes => value(&nodes),
    };
    context! { ..page, ..head_context(subject), ..facts_context(plan) }
}

/// A value of ours as the template engine sees it.
fn value<T: Serialize>(ours: T) -> Value {
    Value::from(minijinja::value::Serde(ours))
}

/// Text that may stand inside a script element: nothing in it can end the element.
fn embedded<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_string(value).expect("names serialise to JSON");
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// A figure of the money strip.
#[derive(Serialize)]
struct Money {
    class: &'static str,
    name: &'static str,
    figure: &'static str,
    value: i64,
    per_month: String,
    per_hour: String,
    remark: String,
}

impl Money {
    fn new(
        class: &'static str,
        name: &'static str,
        figure: &'static str,
        cost: UsdMicros,
        remark: String,
    ) -> Money {
        let per_month = cents(cost.per_month());
        Money { class, name, figure, value: cost.0, per_month, per_hour: per_hour(cost), remark }
    }
}

/// Pods that share a fate.
#[derive(Serialize)]
struct PodPart {
    class: &'static str,
    figure: &'static str,
    value: u64,
    text: String,
    name: &'static str,
}

fn money(plan: &Plan) -> Vec<Money> {
    let summary = &plan.summary;
    let unpriced = match summary.nodes_unpriced {
        0 => String::new(),
        without => format!(", {} unpriced", thousands(without)),
    };
    let before = format!("{}{unpriced}", figures::nodes(summary.nodes_before));
    let removed = plan.consolidation.as_ref().map_or(0, |stated| stated.summary.nodes_removed);
    let after = figures::nodes((summary.nodes_before + summary.nodes_launched).saturating_sub(removed));
    let launched = figures::nodes(summary.nodes_launched);
    let unmet = (summary.preference_cost > UsdMicros::ZERO).then(|| {
        let remark = "what pods prefer and do not get, priced".to_owned();
        Money::new("unmet", "Preferences", "preferenceCost", summary.preference_cost, remark)
    });
    let launch = Money::new("launch", "Launch", "launchCost", summary.launch_cost, launched);
    let rest = [
        Money::new("bound", "Bound", "launchBound", summary.launch_bound, bound_remark(plan)),
        Money::new("after", "After", "costAfter", figures::cost_after(plan), after),
    ];
    [Money::new("before", "Before", "costBefore", summary.cost_before, before), launch]
        .into_iter()
        .chain(unmet)
        .chain(rest)
        .collect()
}

fn bound_remark(plan: &Plan) -> String {
    let given = if plan.consolidation.is_some() { ", given what leaves" } else { "" };
    format!("no launches cost less{given}")
}

fn head_context(subject: &Subject<'_>) -> Value {
    let plan = subject.plan;
    let summary = &plan.summary;
    let part = |class, figure, value, name| PodPart { class, figure, value, text: thousands(value), name };
    // With consolidation, what is left to save is about all nodes, not only those launched.
    let joint = plan.consolidation.as_ref().map(|stated| &stated.summary);
    let (label, figure, share) = match joint {
        Some(joint) => ("Left to save, at most", "leftShare", joint.left_share),
        None => ("Proven gap", "gap", summary.gap),
    };
    let gap = share.to_string();
    let (text, unit) = gap.split_once(' ').unwrap_or((&gap, ""));
    context! {
        id_short => figures::short_digest(&plan.id),
        taken_at => plan.snapshot.taken_at.clone(),
        region => plan.catalog.region.clone(),
        checked => subject.checked,
        time => subject.report.map(|report| figures::seconds(report.elapsed)),
        headline => headline(plan),
        outcome => table::outcome(plan),
        pod_parts => value([
            part("new", "podsOnNew", summary.pods_on_new, "on new nodes"),
            part("old", "podsOnExisting", summary.pods_on_existing, "on existing nodes"),
            part("out", "podsUnplaced", summary.pods_unplaced, "left out"),
        ]),
        gap => context! { label, figure, value => share.0, text, unit },
        gap_sentence => gap_sentence(plan),
        money => value(money(plan)),
    }
}

fn headline(plan: &Plan) -> String {
    if let Some(headline) = super::leaving::headline(plan) {
        return headline;
    }
    let summary = &plan.summary;
    if summary.nodes_launched == 0 {
        return "Nothing to launch".to_owned();
    }
    let nodes = figures::nodes(summary.nodes_launched);
    format!("Launch {nodes} for {} a month", cents(summary.launch_cost.per_month()))
}

fn gap_sentence(plan: &Plan) -> String {
    if let Some(stated) = &plan.consolidation {
        let left = cents(stated.summary.left.per_month());
        return format!(
            "Of today's cost, {left} a month: proven for all removals and launches under this policy."
        );
    }
    if plan.summary.gap == Ppm::UNBOUNDED {
        return "There is no bound yet, so nothing is known about what is left to save.".to_owned();
    }
    match figures::left_to_save(plan) {
        UsdMicros::ZERO => "There is no cheaper set of launches for these pods.".to_owned(),
        left => format!("At most {} a month is left to save, by any plan.", cents(left.per_month())),
    }
}

/// A line of a list of facts; `figure` is empty where there is nothing to compare.
#[derive(Serialize)]
struct Fact {
    name: &'static str,
    text: String,
    figure: &'static str,
    value: i64,
}

fn counted(name: &'static str, figure: &'static str, count: usize) -> Fact {
    let count = count as u64;
    Fact { name, text: thousands(count), figure, value: i64::try_from(count).unwrap_or(i64::MAX) }
}

fn plain(name: &'static str, text: String) -> Fact {
    Fact { name, text, figure: "", value: 0 }
}

/// A pod entry of the "left out" section.
#[derive(Serialize)]
struct Out<'a> {
    pods: usize,
    pods_text: String,
    reason: &'static str,
    message: &'a str,
    hint: &'a str,
    nearest: Option<&'a str>,
    blocking: Vec<String>,
}

fn facts_context(plan: &Plan) -> Value {
    let summary = &plan.summary;
    let unplaced: Vec<Out<'_>> = plan
        .unplaced
        .iter()
        .map(|entry| Out {
            pods: entry.pods.len(),
            pods_text: pods(entry.pods.len() as u64),
            reason: table::reason_name(entry.reason),
            message: &entry.message,
            hint: &entry.hint,
            nearest: entry.nearest.as_deref(),
            blocking: entry.blocking.iter().map(table::in_the_way).collect(),
        })
        .collect();
    let estimated = format!("{} ({})", per_hour(summary.estimated_cost), figures::estimated_share(plan));
    context! {
        unplaced => value(unplaced),
        unplaced_text => pods(summary.pods_unplaced),
        on_demand_as_of => plan.catalog.on_demand_as_of.clone(),
        spot_as_of => plan.catalog.spot_as_of.clone(),
        estimated => context! { value => summary.estimated_cost.0, text => estimated },
        unpriced => context! { value => summary.nodes_unpriced, text => thousands(summary.nodes_unpriced) },
        proof => value(proof(plan)),
        policy => value([
            plain("Stop at a gap of", plan.policy.gap.to_string()),
            plain("Kept free on every node", plan.policy.slack.to_string()),
            plain("Seed", plan.policy.seed.to_string()),
        ]),
        digests => value([
            plain("plan", plan.id.clone()),
            plain("snapshot", plan.snapshot.digest.clone()),
            plain("catalogue", plan.catalog.digest.clone()),
        ]),
        notes => plan.notes.clone(),
        planner => plan.planner.clone(),
        origin => plan.snapshot.origin.clone(),
    }
}

fn proof(plan: &Plan) -> Vec<Fact> {
    let summary = &plan.summary;
    let certificate = &plan.certificate;
    let count = |figure: u64| usize::try_from(figure).unwrap_or(usize::MAX);
    let mut facts = vec![
        counted("Pods that wait", "podsPending", count(summary.pods_pending)),
        counted("Groups of equal pods", "groups", count(summary.groups)),
        counted("Offerings considered", "offerings", count(summary.offerings)),
        counted("Rows of the certificate", "rows", certificate.rows.len()),
        counted("Distinct vectors", "vectors", certificate.vectors.len()),
        counted("Forks of proofs by cases", "cases", certificate.cases.len()),
        counted("NodePool limits that bind", "limits", certificate.limits.len()),
    ];
    if let Some(bound) = summary.launch_bound_without_weights {
        facts.push(Fact {
            name: "Bound if weights were not strict",
            text: per_hour(bound),
            figure: "launchBoundWithoutWeights",
            value: bound.0,
        });
    }
    facts
}
