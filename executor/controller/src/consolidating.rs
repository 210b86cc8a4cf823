//! Nodes that go: planned with the pods that wait, checked, published, and turned into what the executor carries out.

use crate::act::Ports;
use crate::classes::Classes;
use crate::intents;
use crate::kept::Kept;
use crate::policy::dollars;
use crate::publish;
use crate::run::{Options, Unready, snapshot_with};
use crate::savings;
use crate::telling;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;
use stowage_api::ConsolidationRules;
use stowage_executor::{
    Claim, Leaver, Place, PlanInput, PlannedBatch, PlannedWave, PlanningView, Removal, Time, claim_name,
    client_token, planning_view,
};
use stowage_models::consolidation::Consolidation;
use stowage_models::departure::DepartureReason;
use stowage_models::labels;
use stowage_models::objects::PodRef;
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
    if let Some(age) = seconds("minNodeAge", &rules.min_node_age)? {
        wanted.min_node_age_minutes = minutes(age);
    }
    wanted.repair = rules.repair.unwrap_or(wanted.repair);
    wanted.keep_local_storage = rules.keep_local_storage.unwrap_or(wanted.keep_local_storage);
    if let Some(every) = seconds("every", &rules.every)? {
        options.settings.remove_every = Some(every.max(5).saturating_mul(1000));
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
fn only_ours(snapshot: &mut Snapshot, claims: &BTreeMap<String, Claim>) {
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

/// Plans which nodes go, with the pods that wait, has the referee check it, and publishes it. Without a node that goes there is nothing to do.
pub(crate) async fn plan_now(
    ports: &Ports,
    view: &View,
    (classes, kept): (&Classes, &Kept),
    options: Arc<Options>,
    input: PlanInput,
) -> Result<PlannedBatch, String> {
    // What is read first can only be older than what is planned.
    let (facts, versions) = (view.facts(), view.versions());
    let mut snapshot = snapshot_with(ports, view, classes, &options, Unready::Stay)?;
    only_ours(&mut snapshot, &facts.claims);
    let ours = |name: &Option<String>| name.as_ref().is_some_and(|name| facts.nodes.contains_key(name));
    if !snapshot.node_claims.iter().any(|claim| ours(&claim.node)) {
        return Ok(PlannedBatch::default());
    }
    let live = ports.cloud.catalog();
    let known = input.clone();
    let begun = Instant::now();
    let work = move || -> Result<_, String> {
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        let mut view = planning_view(&snapshot, catalog, &known);
        hold(&mut view, &known);
        let begun = Instant::now();
        let limits = Limits {
            time: options.plan_time,
            threads: options.threads,
            clock: Arc::new(move || begun.elapsed()),
            cancel: None,
        };
        let policy = Policy { consolidation: Some(options.consolidation.clone()), ..options.policy.clone() };
        let planned = consolidate(&view.snapshot, &view.catalog, &policy, &limits, &mut |_| {});
        let plan = planned.map_err(|error| error.to_string())?.plan;
        let findings = stowage_checker::check(&view.snapshot, &view.catalog, &plan);
        if let Some(finding) = findings.first() {
            return Err(format!("the referee refuses the plan: {finding:?}"));
        }
        Ok((plan, view))
    };
    let (plan, view) = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())??;
    let Some(consolidation) = &plan.consolidation else {
        return Err("the plan says nothing of consolidation".to_owned());
    };
    savings::tell(&ports.metrics, &consolidation.summary);
    kept.tell(&ports.events, &versions, &consolidation.nodes);
    telling::removals_planned(&ports.metrics, consolidation, begun.elapsed());
    if consolidation.waves.is_empty() {
        return Ok(PlannedBatch::default());
    }
    let spec = stowage_review::published(&plan, "auto", &view.snapshot.nodes);
    let mut batch = intents::batch(&plan, &view);
    batch.plan.clone_from(&spec.digest);
    let scene = Scene { plan: &plan, digest: &spec.digest, view: &view, input: &input, facts: &facts };
    batch.waves = scene.waves(consolidation, std::mem::take(&mut batch.launches))?;
    publish::publish(&ports.client, &ports.leadership, &plan, spec, &view.left_out)
        .await
        .map_err(|error| format!("the plan is not published: {error}"))?;
    Ok(batch)
}

/// What removals are read off.
struct Scene<'a> {
    plan: &'a Plan,
    digest: &'a str,
    view: &'a PlanningView,
    input: &'a PlanInput,
    facts: &'a stowage_executor::Observation,
}

impl Scene<'_> {
    /// The waves of a plan with everything they need.
    fn waves(
        &self,
        consolidation: &Consolidation,
        launches: Vec<stowage_executor::Intent>,
    ) -> Result<Vec<PlannedWave>, String> {
        let slots: BTreeMap<&str, String> = self
            .plan
            .launches
            .iter()
            .map(|launch| {
                let token = client_token(self.digest, &intents::action(launch));
                (launch.slot.as_str(), claim_name(&launch.node_pool, &token))
            })
            .collect();
        let starting: BTreeSet<&String> =
            self.input.in_flight.iter().filter(|one| one.node.is_none()).map(|one| &one.claim).collect();
        let place = |to: &String| match slots.get(to.as_str()) {
            Some(claim) => Place::Claim(claim.clone()),
            None if starting.contains(to) => Place::Claim(to.clone()),
            None => Place::Node(to.clone()),
        };
        let to: BTreeMap<&PodRef, &String> =
            consolidation.moves.iter().map(|one| (&one.pod, &one.to)).collect();
        // Those that are left out leave, too.
        let evicted: BTreeSet<&PodRef> =
            consolidation.waves.iter().flat_map(|wave| &wave.evictions).collect();
        let mut leavers: BTreeMap<&str, Vec<Leaver>> = BTreeMap::new();
        for pod in &self.view.snapshot.pods {
            let (id, Some(node)) = (pod.id(), pod.node.as_deref()) else { continue };
            if evicted.contains(&id) {
                let uid = pod.uid.clone().ok_or_else(|| format!("pod {id} has no uid"))?;
                let to = to.get(&id).map(|to| place(to));
                leavers.entry(node).or_default().push(Leaver { id, uid, to });
            }
        }
        let mut waves = Vec::new();
        for (index, wave) in consolidation.waves.iter().enumerate() {
            let names: BTreeSet<String> = wave.launches.iter().map(|slot| format!("launch/{slot}")).collect();
            let launches = launches.iter().filter(|one| names.contains(&one.action)).cloned().collect();
            let mut removals = Vec::new();
            for node in &wave.removals {
                let decided = consolidation.nodes.iter().find(|one| one.node == *node);
                let decided = decided.ok_or_else(|| format!("node {node} is removed and not decided on"))?;
                let found = self.facts.nodes.get(node).ok_or_else(|| format!("node {node} is gone"))?;
                let mut claims = self.facts.claims.values().filter(|claim| claim.ours);
                let claim = claims
                    .find(|claim| claim.instance.is_some() && claim.instance == found.instance)
                    .ok_or_else(|| format!("node {node} has no NodeClaim"))?;
                let departure = decided.departure.as_ref();
                // Only what is taken away ends by itself; what has expired is ours to end.
                let taken = departure.filter(|one| one.reason == DepartureReason::Interrupted);
                let deadline = taken.and_then(|one| one.deadline.as_deref()).and_then(schedule::instant);
                removals.push(Removal {
                    plan: self.digest.to_owned(),
                    action: stowage_review::removal(node),
                    wave: u32::try_from(index + 1).unwrap_or(u32::MAX),
                    claim: claim.name.clone(),
                    node: node.clone(),
                    uid: found.uid.clone(),
                    reason: decided.reason,
                    forced: departure.is_some_and(|one| one.forced),
                    deadline: deadline.map(|at| Time(at.saturating_mul(1000))),
                    pods: leavers.remove(node.as_str()).unwrap_or_default(),
                    needs: Vec::new(),
                    since: Time(0),
                });
            }
            // Nothing of a wave is drained before all that takes its pods is ready.
            let needs: BTreeSet<String> = removals
                .iter()
                .flat_map(|removal: &Removal| &removal.pods)
                .filter_map(|pod| match &pod.to {
                    Some(Place::Claim(claim)) => Some(claim.clone()),
                    _ => None,
                })
                .collect();
            for removal in &mut removals {
                removal.needs = needs.iter().cloned().collect();
            }
            waves.push(PlannedWave { launches, removals });
        }
        Ok(waves)
    }
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
        let off = ConsolidationRules { mode: text("off"), ..ConsolidationRules::default() };
        assert_eq!(apply(&mut options, &off), Ok(()));
        assert!(!options.settings.consolidate && options.consolidation.savings_threshold > Ppm(Ppm::ONE));
        for (rules, word) in [
            (ConsolidationRules { mode: text("on"), ..ConsolidationRules::default() }, "mode"),
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
