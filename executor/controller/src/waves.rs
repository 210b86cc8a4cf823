//! Plans that remove nodes, between what is planned, what people approve, and what the executor carries out.

use crate::act::Ports;
use crate::classes::Classes;
use crate::consolidating::only_ours;
use crate::intents;
use crate::removing::{leaving, passes};
use crate::run::{Options, Unready, snapshot_with};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_checker::{Leaving, check_removals, check_waves};
use stowage_executor::{
    Ground, InFlight, Intent, Leaver, Observation, Place, PlanInput, PlannedBatch, PlannedWave, PlanningView,
    ProposedWave, Removal, Time, Unmet, claim_name, client_token, planning_view, stand_in,
};
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{ConsolidationPolicy, NodeReason, Wave as ModelWave};
use stowage_models::labels;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan};
use stowage_models::schedule;
use stowage_models::snapshot::Snapshot;
use stowage_observe::View;
use stowage_review::{Body, Known, Mover, Target, Wave};

/// What plans name, as it is seen: nodes of claims of others are nobody's to remove.
pub(crate) fn known(snapshot: &Snapshot, facts: &Observation, input: &PlanInput) -> Known {
    let bound = snapshot.pods.iter().filter_map(|pod| {
        let (uid, node) = (pod.uid.clone()?, pod.node.clone()?);
        Some((pod.id(), (uid, node)))
    });
    let ours: BTreeMap<&String, &String> = facts
        .claims
        .values()
        .filter(|claim| claim.ours)
        .filter_map(|claim| Some((claim.instance.as_ref()?, &claim.name)))
        .collect();
    let claims = facts.nodes.values().filter_map(|node| {
        let claim = ours.get(node.instance.as_ref()?)?;
        Some((node.name.clone(), (node.uid.clone(), (*claim).clone())))
    });
    let starting = input.in_flight.iter().filter(|one| one.node.is_none());
    Known {
        pods: bound.collect(),
        claims: claims.collect(),
        starting: starting.map(|one| one.claim.clone()).collect(),
    }
}

/// The removals of a plan with this digest, wave by wave.
fn removals(digest: &str, waves: &[Wave], launches: &[Launch]) -> Vec<Vec<Removal>> {
    let mut slots: BTreeMap<&str, String> = BTreeMap::new();
    for launch in launches {
        let token = client_token(digest, &intents::action(launch));
        slots.insert(&launch.slot, claim_name(&launch.node_pool, &token));
    }
    let place = |to: &Target| match to {
        Target::Node(node) => Place::Node(node.clone()),
        Target::Claim(claim) => Place::Claim(claim.clone()),
        Target::Slot(slot) => Place::Claim(slots.get(slot.as_str()).cloned().unwrap_or_default()),
    };
    let leaver = |pod: &Mover| Leaver {
        id: pod.pod.clone(),
        uid: pod.uid.clone(),
        owner: None,
        to: pod.to.as_ref().map(place),
    };
    let mut found = Vec::new();
    for (index, wave) in waves.iter().enumerate() {
        let removal = |one: &stowage_review::Leaving| Removal {
            plan: digest.to_owned(),
            action: stowage_review::removal(&one.node),
            wave: u32::try_from(index + 1).unwrap_or(u32::MAX),
            claim: one.claim.clone(),
            node: one.node.clone(),
            uid: one.uid.clone(),
            reason: one.reason,
            forced: one.forced,
            approved: false,
            deadline: one
                .deadline
                .as_deref()
                .and_then(schedule::instant)
                .map(|at| Time(at.saturating_mul(1000))),
            pods: one.pods.iter().map(leaver).collect(),
            needs: Vec::new(),
            since: Time(0),
        };
        let mut removals: Vec<Removal> = wave.removals.iter().map(removal).collect();
        // Nothing of a wave is drained before all that takes its pods is ready.
        let needs: BTreeSet<String> = removals
            .iter()
            .flat_map(|removal| &removal.pods)
            .filter_map(|pod| match &pod.to {
                Some(Place::Claim(claim)) => Some(claim.clone()),
                _ => None,
            })
            .collect();
        for removal in &mut removals {
            removal.needs = needs.iter().cloned().collect();
        }
        found.push(removals);
    }
    found
}

/// The same with what is launched.
pub(crate) fn planned(
    digest: &str,
    waves: &[Wave],
    (launches, intents): (&[Launch], &[Intent]),
) -> Vec<PlannedWave> {
    let removals = removals(digest, waves, launches);
    let with = |(wave, removals): (&Wave, Vec<Removal>)| {
        let names: BTreeSet<String> = wave.launches.iter().map(|slot| format!("launch/{slot}")).collect();
        let launches = intents.iter().filter(|one| names.contains(&one.action)).cloned().collect();
        PlannedWave { launches, removals }
    };
    waves.iter().zip(removals).map(with).collect()
}

/// The same of a plan that waits.
pub(crate) fn proposed(digest: &str, body: &Body) -> Vec<ProposedWave> {
    let removals = removals(digest, &body.waves, &body.launches);
    let with = |(wave, removals): (&Wave, Vec<Removal>)| ProposedWave {
        launches: wave.launches.iter().map(|slot| format!("launch/{slot}")).collect(),
        removals,
    };
    body.waves.iter().zip(removals).map(with).collect()
}

/// Nodes that static pools give back, as a wave for people to read; where pools lack more nodes than the plan launches for them, so many fewer
/// that are to be replaced.
pub(crate) fn returned(
    plan: &Plan,
    view: &PlanningView,
    facts: &Observation,
    (wanted, lacking): (&BTreeMap<String, NodeReason>, &BTreeMap<String, i64>),
) -> Vec<Wave> {
    let mut short = lacking.clone();
    for launch in &plan.launches {
        if launch.pods.iter().any(|pod| stand_in(pod, &launch.node_pool).is_some()) {
            *short.entry(launch.node_pool.clone()).or_insert(0) -= 1;
        }
    }
    let mut removals = Vec::new();
    for (name, reason) in wanted {
        let found = facts.claims.get(name).and_then(|claim| {
            let mut nodes = facts.nodes.values();
            Some((claim, nodes.find(|node| claim.instance.is_some() && node.instance == claim.instance)?))
        });
        let Some((claim, node)) = found else { continue };
        if let Some(short) = short.get_mut(&claim.pool).filter(|short| **short > 0 && reason.is_departure()) {
            *short -= 1;
            continue;
        }
        let label = |key: &str| node.labels.get(key).cloned().unwrap_or_default();
        let (kind, zone) = (label(labels::INSTANCE_TYPE), label(labels::ZONE));
        let capacity_type = label(labels::CAPACITY_TYPE);
        let price = view.catalog.get(&kind).and_then(|kind| kind.price(&zone, &capacity_type));
        removals.push(stowage_review::Leaving {
            node: node.name.clone(),
            uid: node.uid.clone(),
            claim: name.clone(),
            reason: *reason,
            forced: false,
            deadline: None,
            node_pool: claim.pool.clone(),
            instance_type: kind,
            zone,
            capacity_type,
            price: price.map(|price| price.usd).unwrap_or_default(),
            pods: Vec::new(),
        });
    }
    if removals.is_empty() {
        return Vec::new();
    }
    let launches = plan.launches.iter().map(|launch| launch.slot.clone()).collect();
    vec![Wave { launches, removals }]
}

/// Pods that leave nodes.
pub(crate) fn movers(waves: &[Wave]) -> BTreeMap<&PodRef, &str> {
    let leaving = waves.iter().flat_map(|wave| &wave.removals).flat_map(|one| &one.pods);
    leaving.map(|pod| (&pod.pod, pod.uid.as_str())).collect()
}

/// Has the referee judge a plan with removals against the cluster as it is: what to carry out of it, or what is in the way. What passes by
/// itself, such as budgets that are used up, is waited for when its wave comes.
///
/// # Errors
/// If that cannot be said now.
pub(crate) async fn verify(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    options: Arc<Options>,
    (plan, body, actions): (String, Arc<Body>, Vec<String>),
    input: PlanInput,
) -> Result<Result<Box<PlannedBatch>, Unmet>, String> {
    let body = only(&plan, &body, &actions);
    let facts = view.facts();
    let mut snapshot = snapshot_with(ports, view, classes, &options, Unready::Stay)?;
    only_ours(&mut snapshot, &facts.claims);
    let live = ports.cloud.catalog();
    let work = move || {
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        judge((&plan, &body), &snapshot, catalog, &options.consolidation, &facts, &input)
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// The part of a plan that these actions are. What it launched before are claims by now.
fn only(plan: &str, body: &Body, actions: &[String]) -> Body {
    let asked: BTreeSet<&String> = actions.iter().collect();
    let is_asked = |launch: &Launch| asked.contains(&intents::action(launch));
    let before: BTreeMap<&str, String> = body
        .launches
        .iter()
        .filter(|launch| !is_asked(launch))
        .map(|launch| {
            let token = client_token(plan, &intents::action(launch));
            (launch.slot.as_str(), claim_name(&launch.node_pool, &token))
        })
        .collect();
    let mut rest = body.clone();
    rest.launches.retain(is_asked);
    for wave in &mut rest.waves {
        wave.launches.retain(|slot| !before.contains_key(slot.as_str()));
        wave.removals.retain(|one| asked.contains(&stowage_review::removal(&one.node)));
        for pod in wave.removals.iter_mut().flat_map(|one| &mut one.pods) {
            if let Some(Target::Slot(slot)) = &pod.to
                && let Some(claim) = before.get(slot.as_str())
            {
                pod.to = Some(Target::Claim(claim.clone()));
            }
        }
    }
    rest.waves.retain(|wave| !wave.launches.is_empty() || !wave.removals.is_empty());
    rest
}

fn judge(
    (plan, body): (&str, &Body),
    snapshot: &Snapshot,
    catalog: &Catalog,
    rules: &ConsolidationPolicy,
    facts: &Observation,
    input: &PlanInput,
) -> Result<Box<PlannedBatch>, Unmet> {
    let infeasible = |text: String| Err(Unmet::new(Ground::Infeasible, text));
    let now = planning_view(snapshot, catalog, input);
    let waves: Vec<ModelWave> = body.waves.iter().map(model).collect();
    let what = (&body.launches[..], &waves[..]);
    let findings = check_waves(&now.snapshot, &now.catalog, &body.policy, what, &body.existing);
    if let Some(finding) = findings.first() {
        return infeasible(finding.to_string());
    }
    let launches = body.launches.clone();
    let mut batch = intents::batch(&Plan { id: plan.to_owned(), launches, ..Plan::default() }, &now);
    if batch.launches.len() != body.launches.len() {
        return Err(Unmet::new(Ground::Stale, "a NodePool of it is gone".to_owned()));
    }
    let movers = movers(&body.waves);
    for intent in &mut batch.launches {
        intent.pods.retain(|pod| !movers.contains_key(&pod.id));
        if let Some(pod) = intent.pods.iter().find(|pod| body.reads.pods.get(&pod.id) != Some(&pod.uid)) {
            return Err(Unmet::new(Ground::Stale, format!("pod {} is another one by now", pod.id)));
        }
    }
    batch.waves = planned(plan, &body.waves, (&body.launches, &batch.launches));
    let then = once_launched(snapshot, catalog, input, &batch);
    let removals: Vec<&Removal> = batch.waves.iter().flat_map(|wave| &wave.removals).collect();
    let exact = |removal: &&Removal| Leaving { exact: true, ..leaving(removal, facts) };
    let asked: Vec<Leaving> = removals.iter().map(exact).collect();
    let judged = check_removals(&then.snapshot, &then.catalog, rules, &asked);
    for (removal, obstacle) in removals.iter().zip(judged) {
        if let Some(obstacle) = obstacle.filter(|obstacle| !passes(obstacle.reason)) {
            return infeasible(format!("{}: {}", removal.action, obstacle.text));
        }
    }
    batch.launches.clear();
    Ok(Box::new(batch))
}

fn model(wave: &Wave) -> ModelWave {
    let leaving = wave.removals.iter().flat_map(|one| &one.pods);
    ModelWave {
        launches: wave.launches.clone(),
        evictions: leaving.map(|pod| pod.pod.clone()).collect(),
        removals: wave.removals.iter().map(|one| one.node.clone()).collect(),
    }
}

/// The cluster as it will be when everything of a plan is launched and nothing has gone.
fn once_launched(
    snapshot: &Snapshot,
    catalog: &Catalog,
    input: &PlanInput,
    batch: &PlannedBatch,
) -> PlanningView {
    let mut input = input.clone();
    for intent in &batch.launches {
        input.in_flight.push(InFlight {
            claim: claim_name(&intent.pool, &client_token(&batch.plan, &intent.action)),
            pool: intent.pool.clone(),
            labels: intent.labels.clone(),
            taints: intent.taints.clone(),
            capacity: intent.capacity.clone(),
            allocatable: intent.allocatable.clone(),
            pods: intent.pods.clone(),
            node: None,
        });
    }
    planning_view(snapshot, catalog, &input)
}
