//! Nodes that go: planned with the pods that wait, checked, published, and turned into what the executor carries out.

use crate::act::Ports;
use crate::classes::Classes;
use crate::closing;
use crate::kept::Kept;
use crate::planning::still_wanted;
use crate::policy::{self, dollars};
use crate::review::{self, Proposals};
use crate::run::{Options, Unready, snapshot_with};
use crate::{intents, publish, savings, telling, waves};
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use stowage_api::ConsolidationRules;
use stowage_executor::{Claim, Mode, PlanInput, PlannedBatch, PlanningView, Settings, planning_view};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::NodeClaim;
use stowage_models::plan::{Plan, Policy};
use stowage_models::schedule;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;
use stowage_observe::View;
use stowage_planner::{Limits, consolidate};

/// More than there is to save: nodes go only because they have to.
const NOTHING: Ppm = Ppm(2 * Ppm::ONE);

/// What the PlanPolicy says of consolidation.
pub(crate) fn apply(options: &mut Options, rules: &ConsolidationRules) -> Result<(), String> {
    let seconds = |field: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => schedule::duration(text).map(Some).ok_or_else(|| {
            format!("spec.consolidation.{field}: {text} is no duration; such as 10m or 1h30m")
        }),
    };
    let amount = |field: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => dollars(text)
            .map(Some)
            .ok_or_else(|| format!("spec.consolidation.{field}: {text} is no amount; such as \"0.005\"")),
    };
    let minutes = |seconds: i64| u32::try_from(seconds / 60).unwrap_or(u32::MAX);
    let wanted = &mut options.consolidation;
    if let Some(horizon) = seconds("horizon", &rules.horizon)? {
        if horizon < 60 {
            return Err("spec.consolidation.horizon: it is a minute at least".to_owned());
        }
        wanted.horizon_minutes = minutes(horizon);
    }
    if let Some(share) = rules.savings_threshold_ppm {
        wanted.savings_threshold = Ppm(share.max(0));
    }
    if let Some(payback) = seconds("paybackWithin", &rules.payback_within)? {
        wanted.payback_minutes = Some(minutes(payback));
    }
    wanted.eviction_cost =
        amount("evictionCostDollars", &rules.eviction_cost_dollars)?.unwrap_or(wanted.eviction_cost);
    wanted.removal_cost =
        amount("removalCostDollars", &rules.removal_cost_dollars)?.unwrap_or(wanted.removal_cost);
    let weight = |stated: Option<i64>, before: Ppm| Ppm(stated.unwrap_or(before.0).clamp(0, 10 * Ppm::ONE));
    wanted.age_weight = weight(rules.age_weight_ppm, wanted.age_weight);
    wanted.restart_weight = weight(rules.restart_weight_ppm, wanted.restart_weight);
    if let Some(age) = seconds("minNodeAge", &rules.min_node_age)? {
        wanted.min_node_age_minutes = minutes(age);
    }
    wanted.repair = rules.repair.unwrap_or(wanted.repair);
    wanted.keep_local_storage = rules.keep_local_storage.unwrap_or(wanted.keep_local_storage);
    if let Some(every) = seconds("every", &rules.every)? {
        options.settings.remove_every = Some(every.max(5).saturating_mul(1000));
    }
    match rules.successors.as_deref() {
        Some("none") => options.settings.successors = false,
        None | Some("gate") => options.settings.successors = true,
        Some(other) => {
            return Err(format!("spec.consolidation.successors: there is no {other}; use gate or none"));
        }
    }
    match rules.mode.as_deref() {
        Some("off") => {
            options.settings.consolidate = false;
            options.consolidation.savings_threshold = NOTHING;
        }
        None | Some("auto") => {}
        Some(other) => {
            return Err(format!("spec.consolidation.mode: there is no mode {other}; use off or auto"));
        }
    }
    Ok(())
}

/// The cluster as removals are planned with it, and judged: nodes whose claims are not ours are nobody's to remove.
pub(crate) fn only_ours(snapshot: &mut Snapshot, claims: &BTreeMap<String, Claim>) {
    let there: BTreeSet<String> = snapshot.nodes.iter().map(|node| node.name.clone()).collect();
    snapshot.node_claims.retain(|claim| {
        // Without a node it counts against limits, whosever it is.
        let has_node = claim.node.as_ref().is_some_and(|node| there.contains(node));
        !has_node || claims.get(&claim.name).is_some_and(|claim| claim.ours)
    });
}

/// Nodes kept for their pods stay: what is on its way to them is not there yet.
fn hold(view: &mut PlanningView, input: &PlanInput) {
    let kept: BTreeSet<&String> = input.in_flight.iter().filter_map(|one| one.node.as_ref()).collect();
    for node in view.snapshot.nodes.iter_mut().filter(|node| kept.contains(&node.name)) {
        node.annotations.insert(labels::DO_NOT_DISRUPT.to_owned(), "true".to_owned());
    }
}

/// A plan of which nodes go, checked, and the cluster it was made for.
type Decided = Result<(Plan, PlanningView), String>;

/// Decides which nodes go, of all or of `only` these, with the pods that wait, or without where only some may go: these are planned for
/// beside.
fn decide(
    (options, limits): (&Options, &Limits),
    snapshot: &Snapshot,
    catalog: &Catalog,
    known: &PlanInput,
    only: Option<&BTreeSet<String>>,
) -> Decided {
    let mut view = planning_view(snapshot, catalog, known);
    hold(&mut view, known);
    if let Some(only) = only {
        let may = |claim: &NodeClaim| claim.node.as_ref().is_none_or(|node| only.contains(node));
        view.snapshot.node_claims.retain(may);
        view.snapshot.pods.retain(|pod| !pod.is_pending());
    }
    let policy = Policy { consolidation: Some(options.consolidation.clone()), ..options.policy.clone() };
    let planned = consolidate(&view.snapshot, &view.catalog, &policy, limits, &mut |_| {});
    let planned = planned.map_err(|error| error.to_string())?;
    still_wanted(limits)?;
    let plan = planned.plan;
    let findings = stowage_checker::check(&view.snapshot, &view.catalog, &plan);
    if let Some(finding) = findings.first() {
        return Err(format!("the referee refuses the plan: {finding:?}"));
    }
    Ok((plan, view))
}

/// Nodes that a plan removes by force, and that must not wait until somebody has approved what else is in it.
fn unasked(settings: &Settings, plan: &Plan) -> BTreeSet<String> {
    let review = &settings.review;
    if settings.mode != Mode::Review || review.forced || !(review.removals || review.launches) {
        return BTreeSet::new();
    }
    let decided = plan.consolidation.iter().flat_map(|one| &one.nodes).filter(|one| one.reason.is_removal());
    let forced = decided.filter(|one| one.departure.as_ref().is_some_and(|one| one.forced));
    forced.map(|one| one.node.clone()).collect()
}

/// Plans which nodes go, with the pods that wait, has the referee check it, and publishes it: to be carried out, or to be approved. Without a
/// node that goes there is nothing to do.
pub(crate) async fn plan_now(
    ports: &Ports,
    view: &View,
    (classes, kept, proposals): (&Classes, &Kept, &Mutex<Proposals>),
    (options, limits): (Arc<Options>, Limits),
    input: PlanInput,
) -> Result<PlannedBatch, String> {
    // What is read first can only be older than what is planned.
    let (facts, versions) = (view.facts(), view.versions());
    let mut snapshot = snapshot_with(ports, view, classes, &options, Unready::Stay)?;
    only_ours(&mut snapshot, &facts.claims);
    let shifted = closing::nodes_in(&snapshot.nodes, &ports.shifts.zones(view)?);
    let ours = |name: &Option<String>| name.as_ref().is_some_and(|name| facts.nodes.contains_key(name));
    if !snapshot.node_claims.iter().any(|claim| ours(&claim.node)) {
        return Ok(PlannedBatch::default());
    }
    let (live, settings) = (ports.cloud.catalog(), options.settings.clone());
    let known = input.clone();
    let begun = Instant::now();
    let work = move || -> Result<(Plan, PlanningView, bool), String> {
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        let (plan, view) = decide((&options, &limits), &snapshot, catalog, &known, None)?;
        let forced = unasked(&options.settings, &plan);
        if forced.is_empty() {
            return Ok((plan, view, true));
        }
        let (plan, view) = decide((&options, &limits), &snapshot, catalog, &known, Some(&forced))?;
        Ok((plan, view, false))
    };
    let (plan, view, full) = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    let Some(consolidation) = &plan.consolidation else {
        return Err("the plan says nothing of consolidation".to_owned());
    };
    // A plan of what goes by force alone says nothing of the others.
    if full {
        savings::tell(&ports.metrics, &consolidation.summary);
        let mut nodes = consolidation.nodes.clone();
        closing::explain(&mut nodes, &shifted);
        kept.tell(&ports.events, &versions, &nodes);
    }
    telling::removals_planned(&ports.metrics, consolidation, full, begun.elapsed());
    if consolidation.waves.is_empty() {
        return Ok(PlannedBatch::default());
    }
    let known = waves::known(&view.snapshot, &facts, &input);
    let done = stowage_review::waves(&plan, &view.snapshot.nodes, &known)?;
    let mut batch = intents::batch(&plan, &view);
    let launches = std::mem::take(&mut batch.launches);
    batch.waves = waves::planned(&plan.id, &done, (&plan.launches, &launches));
    let unpublished = |error: String| format!("the plan is not published: {error}");
    let spec = if settings.needs_approval(&batch) {
        let now = Timestamp::now();
        let reads = review::reads(&plan, &launches, &done, &versions);
        if proposals.lock().unwrap_or_else(PoisonError::into_inner).suffices(&plan, &done, now) {
            // One that is as good waits already.
            return Ok(batch);
        }
        let expires = now + SignedDuration::from_millis(settings.review.expire_after);
        stowage_review::proposal(&plan, reads, done, &expires.to_string()).map_err(unpublished)?
    } else {
        let spec = stowage_review::published(&plan, policy::word(settings.mode), &done);
        batch.waves = waves::planned(&spec.digest, &done, (&plan.launches, &launches));
        spec
    };
    batch.plan.clone_from(&spec.digest);
    publish::publish(&ports.client, &ports.leadership, &plan, spec, &view.left_out)
        .await
        .map_err(unpublished)?;
    Ok(batch)
}

/// The cluster as it is, for judging removals.
pub(crate) fn to_judge(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    options: &Options,
    input: &PlanInput,
) -> Result<PlanningView, String> {
    let facts = view.facts();
    let mut snapshot = snapshot_with(ports, view, classes, options, Unready::Stay)?;
    only_ours(&mut snapshot, &facts.claims);
    let live = ports.cloud.catalog();
    let catalog = live.as_deref().unwrap_or(&options.catalog);
    Ok(planning_view(&snapshot, catalog, input))
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_executor::{InFlight, Settings};
    use stowage_models::objects::{Node, NodeClaim};
    use stowage_models::units::UsdMicros;

    fn options() -> Options {
        Options::new(Settings::default())
    }

    #[test]
    fn what_is_said_of_consolidation_counts_and_what_is_wrong_is_named() {
        let mut options = options();
        let text = |text: &str| Some(text.to_owned());
        let rules = ConsolidationRules {
            horizon: text("2h"),
            savings_threshold_ppm: Some(5),
            payback_within: text("30m"),
            eviction_cost_dollars: text("0.25"),
            min_node_age: text("0s"),
            every: text("10s"),
            repair: Some(true),
            successors: text("none"),
            ..ConsolidationRules::default()
        };
        assert_eq!(apply(&mut options, &rules), Ok(()));
        let found = &options.consolidation;
        assert_eq!(
            (found.horizon_minutes, found.savings_threshold, found.payback_minutes),
            (120, Ppm(5), Some(30))
        );
        assert_eq!(
            (found.eviction_cost, found.min_node_age_minutes, found.repair),
            (UsdMicros(250_000), 0, true)
        );
        assert_eq!((options.settings.remove_every, options.settings.consolidate), (Some(10_000), true));
        assert!(!options.settings.successors);
        let off = ConsolidationRules { mode: text("off"), ..ConsolidationRules::default() };
        assert_eq!(apply(&mut options, &off), Ok(()));
        assert!(!options.settings.consolidate && options.consolidation.savings_threshold > Ppm(Ppm::ONE));
        for (rules, word) in [
            (ConsolidationRules { mode: text("on"), ..ConsolidationRules::default() }, "mode"),
            (ConsolidationRules { successors: text("taint"), ..ConsolidationRules::default() }, "successors"),
            (ConsolidationRules { horizon: text("1s"), ..ConsolidationRules::default() }, "horizon"),
            (ConsolidationRules { min_node_age: text("old"), ..ConsolidationRules::default() }, "minNodeAge"),
            (
                ConsolidationRules { removal_cost_dollars: text("1,5"), ..ConsolidationRules::default() },
                "removalCost",
            ),
        ] {
            assert!(apply(&mut options, &rules).is_err_and(|text| text.contains(word)), "{word}");
        }
    }

    #[test]
    fn nodes_of_others_are_nobodys_to_remove_and_nodes_kept_for_their_pods_stay() {
        let claim = |name: &str, node: Option<&str>| NodeClaim {
            name: name.to_owned(),
            node: node.map(str::to_owned),
            ..NodeClaim::default()
        };
        let node = |name: &str| Node { name: name.to_owned(), ..Node::default() };
        let mut snapshot = Snapshot {
            nodes: vec![node("a"), node("b")],
            node_claims: vec![claim("ours", Some("a")), claim("theirs", Some("b")), claim("starting", None)],
            ..Snapshot::default()
        };
        let known =
            |name: &str, ours| (name.to_owned(), Claim { name: name.to_owned(), ours, ..Claim::default() });
        only_ours(
            &mut snapshot,
            &[known("ours", true), known("theirs", false), known("starting", false)].into(),
        );
        let left: Vec<&str> = snapshot.node_claims.iter().map(|claim| claim.name.as_str()).collect();
        assert_eq!(left, ["ours", "starting"], "what has no node yet counts against limits");
        let flight = InFlight {
            claim: "ours".to_owned(),
            pool: String::new(),
            labels: Default::default(),
            taints: Vec::new(),
            capacity: Default::default(),
            allocatable: Default::default(),
            pods: Vec::new(),
            node: Some("a".to_owned()),
        };
        let input = PlanInput { in_flight: vec![flight], ..PlanInput::default() };
        let catalog = stowage_models::catalog::Catalog {
            types: Vec::new(),
            ..stowage_models::catalog::Catalog::embedded().clone()
        };
        let mut view = planning_view(&snapshot, &catalog, &input);
        hold(&mut view, &input);
        let held: Vec<bool> = view.snapshot.nodes.iter().map(|node| !node.annotations.is_empty()).collect();
        assert_eq!(held, [true, false]);
    }
}
