//! Plans in review: as the cluster has them, and what becomes of them.

use crate::act::Ports;
use crate::classes::Classes;
use crate::events::{About, Weight};
use crate::intents;
use crate::plans;
use crate::run::{Options, snapshot_now};
use crate::waves;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_api::Plan as PlanObject;
use stowage_executor::{
    Ground, Intent, Observation, PlanInput, PlannedBatch, PlannedPod, Proposal, ProposedAction, Time, Unmet,
    Verdict, planning_view, stand_in,
};
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan};
use stowage_observe::View;
use stowage_review::{APPROVED, APPROVED_BY, Body, REJECTED, Reads, Wave, name};

/// A plan, and its body if it is as its digest says.
type Known = (Proposal, Option<Arc<Body>>);

/// What is known of an object.
#[derive(Debug)]
struct Entry {
    text: String,
    /// Nothing if it is not in review (any more).
    known: Option<Known>,
    /// It was approved, begun, and is not over: the same, of one that removes nodes.
    begun: Option<(Proposal, Arc<Body>)>,
}

/// Plans in review, by the names of their objects. It may be lost.
#[derive(Debug, Default)]
pub(crate) struct Proposals(BTreeMap<String, Entry>);

impl Proposals {
    /// Brings it up to date, and what is seen of plans in review and of those that were begun.
    pub(crate) fn look(&mut self, view: &View, seen: &mut Observation) {
        let mut names = Vec::new();
        let mut changed = Vec::new();
        view.each("plans", |name, text| {
            names.push(name.to_owned());
            if self.0.get(name).is_none_or(|entry| entry.text != text) {
                changed.push((name.to_owned(), text.to_owned()));
            }
        });
        self.0.retain(|name, _| names.binary_search(name).is_ok());
        for (name, text) in changed {
            let read = read(&name, &text);
            let entry = match read {
                Some((true, (proposal, body))) => {
                    Entry { text, known: None, begun: body.map(|body| (proposal, body)) }
                }
                other => Entry { text, known: other.map(|(_, known)| known), begun: None },
            };
            self.0.insert(name, entry);
        }
        let by_digest = |proposal: &Proposal| (proposal.plan.clone(), proposal.clone());
        let known = self.0.values().filter_map(|entry| entry.known.as_ref());
        seen.proposals = known.map(|(proposal, _)| by_digest(proposal)).collect();
        let begun = self.0.values().filter_map(|entry| entry.begun.as_ref());
        seen.executing = begun.map(|(proposal, _)| by_digest(proposal)).collect();
    }

    /// What is to be carried out of a plan.
    pub(crate) fn body(&self, plan: &str) -> Option<Arc<Body>> {
        let waits = self.0.values().filter_map(|entry| entry.known.as_ref());
        let waits = waits.filter_map(|(proposal, body)| Some((proposal, body.as_ref()?)));
        let begun = self.0.values().filter_map(|entry| entry.begun.as_ref()).map(|(plan, body)| (plan, body));
        waits.chain(begun).find(|(proposal, _)| proposal.plan == plan).map(|(_, body)| body.clone())
    }

    /// Whether a plan that waits, or was rejected a while ago, has these launches for these pods and gives the same nodes back.
    pub(crate) fn has(&self, wanted: &Body, now: Time) -> bool {
        let mut known = self.0.values().filter_map(|entry| entry.known.as_ref());
        known.any(|(proposal, body)| {
            proposal.expires > now && body.as_ref().is_some_and(|body| is_same(body, wanted))
        }) || self.rejected(wanted, now)
    }

    /// Whether a plan that removes nodes waits, or was rejected a while ago, that is about as good: it has all nodes that have to go, and does
    /// not save a tenth less. Clusters change all the time; people who read plans need not see each.
    pub(crate) fn suffices(&self, plan: &Plan, waves: &[Wave], now: Timestamp) -> bool {
        let body = Body { launches: plan.launches.clone(), waves: waves.to_vec(), ..Body::default() };
        let now = milliseconds(now);
        self.0.values().any(|entry| match &entry.known {
            Some((proposal, Some(other))) => proposal.expires > now && is_as_good(other, &body),
            Some((_, None)) => false,
            None if !entry.text.contains(REJECTED) => false,
            None => serde_json::from_str::<PlanObject>(&entry.text).is_ok_and(|object| {
                expires(&object) > now
                    && stowage_review::open(&object.spec).is_ok_and(|other| is_as_good(&other, &body))
            }),
        })
    }

    /// Rejected plans are no longer in review, and are not proposed again until they would have expired.
    fn rejected(&self, wanted: &Body, now: Time) -> bool {
        self.0.values().filter(|entry| entry.known.is_none() && entry.text.contains(REJECTED)).any(|entry| {
            let Ok(object) = serde_json::from_str::<PlanObject>(&entry.text) else { return false };
            expires(&object) > now
                && stowage_review::open(&object.spec).is_ok_and(|body| is_same(&body, wanted))
        })
    }
}

fn is_same(one: &Body, other: &Body) -> bool {
    one.launches == other.launches && one.reads == other.reads && one.waves == other.waves
}

/// Whether a plan with removals is about as good as another.
fn is_as_good(one: &Body, other: &Body) -> bool {
    let leaving = |body: &Body, all: bool| -> BTreeSet<String> {
        let removals = body.waves.iter().flat_map(|wave| &wave.removals);
        removals.filter(|one| all || one.reason.is_departure()).map(|one| one.node.clone()).collect()
    };
    let (own, wanted) = (one.change(), other.change());
    !one.waves.is_empty()
        && !one.statics
        && leaving(other, false).is_subset(&leaving(one, true))
        && wanted >= own.saturating_sub(own.saturating_abs() / 10)
}

fn milliseconds(at: Timestamp) -> Time {
    Time(at.as_millisecond())
}

fn expires(object: &PlanObject) -> Time {
    let at = object.spec.expires.as_deref().and_then(|at| at.parse::<Timestamp>().ok());
    at.map(milliseconds).unwrap_or_default()
}

/// A plan in review, or one that was approved and begun (`true`), as the step machine sees it, with its body if it is as its digest says.
fn read(object_name: &str, text: &str) -> Option<(bool, Known)> {
    let object: PlanObject = match serde_json::from_str(text) {
        Ok(object) => object,
        Err(error) => {
            tracing::warn!(plan = object_name, %error, "a plan cannot be read");
            return None;
        }
    };
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    if object.spec.mode != "review"
        || object.spec.body.is_none()
        || !["", "Proposed", "Approved", "Executing"].contains(&phase)
    {
        return None;
    }
    let digest = &object.spec.digest;
    let noted = object.metadata.annotations.clone().unwrap_or_default();
    let mut proposal = Proposal {
        // An object of another name has a key of its own: it must not stand in for the one that has the name.
        plan: if name(digest) == object_name { digest.clone() } else { object_name.to_owned() },
        created: object.metadata.creation_timestamp.as_ref().map(|at| milliseconds(at.0)).unwrap_or_default(),
        expires: expires(&object),
        shown: phase == "Proposed",
        approved: noted.get(APPROVED) == Some(digest),
        rejected: noted.contains_key(REJECTED),
        ..Proposal::default()
    };
    if noted.contains_key(APPROVED) && !proposal.approved {
        tracing::warn!(plan = object_name, "the approval names another digest than that of the plan");
    }
    let begun = phase == "Executing";
    if begun && (!proposal.approved || proposal.rejected) {
        // Somebody has thought better of it: what is left is not carried out.
        return None;
    }
    let opened = if name(digest) == object_name {
        stowage_review::open(&object.spec)
    } else {
        Err("its name is not that of its digest".to_owned())
    };
    match opened {
        Ok(body) => {
            proposal.versions.clone_from(&body.reads.versions);
            let movers = waves::movers(&body.waves);
            let action = |launch: &Launch| action(launch, &body.reads, &movers);
            proposal.actions = body.launches.iter().map(action).collect();
            let waves = waves::proposed(&proposal.plan, &body);
            if body.statics {
                proposal.returns = waves.into_iter().flat_map(|wave| wave.removals).collect();
            } else {
                proposal.waves = waves;
            }
            let removes = !proposal.waves.is_empty() || !proposal.returns.is_empty();
            (!begun || removes).then(|| (begun, (proposal, Some(Arc::new(body)))))
        }
        Err(broken) => {
            proposal.broken = Some(broken);
            Some((begun, (proposal, None)))
        }
    }
}

fn action(launch: &Launch, reads: &Reads, movers: &BTreeMap<&PodRef, &str>) -> ProposedAction {
    let pod = |id: &PodRef| PlannedPod {
        id: id.clone(),
        uid: reads.pods.get(id).cloned().unwrap_or_default(),
        direct: false,
    };
    ProposedAction {
        action: intents::action(launch),
        pool: launch.node_pool.clone(),
        pods: launch
            .pods
            .iter()
            .filter(|pod| !movers.contains_key(pod) && stand_in(pod, &launch.node_pool).is_none())
            .map(pod)
            .collect(),
    }
}

/// What a plan that was just made relies on. `versions` were seen before its snapshot was taken.
pub(crate) fn reads(
    plan: &Plan,
    launches: &[Intent],
    waves: &[Wave],
    versions: &BTreeMap<String, String>,
) -> Reads {
    let pods = launches.iter().flat_map(|launch| &launch.pods);
    let pods = pods.map(|pod| (pod.id.clone(), pod.uid.clone()));
    // What stands for nodes of static pools is no pod, and there is no other of its name.
    let nodes =
        plan.launches.iter().flat_map(|launch| launch.pods.iter().map(move |pod| (pod, &launch.node_pool)));
    let stand_ins = nodes.filter_map(|(pod, pool)| Some((pod.clone(), stand_in(pod, pool)?)));
    let leaving = waves::movers(waves).into_iter().map(|(pod, uid)| (pod.clone(), uid.to_owned()));
    let pools = launches.iter().map(|launch| format!("NodePool/{}", launch.pool));
    let classes = launches.iter().map(|launch| format!("EC2NodeClass/{}", launch.class));
    let placed = plan.existing.iter().filter(|node| !node.pods.is_empty()).map(|node| &node.name);
    let removed = waves.iter().flat_map(|wave| &wave.removals).map(|one| &one.node);
    // What is in flight has no node yet.
    let nodes = placed.chain(removed).map(|node| format!("Node/{node}"));
    let nodes = nodes.filter(|name| versions.contains_key(name));
    let known = |object: String| {
        let version = versions.get(&object).cloned().unwrap_or_default();
        (object, version)
    };
    Reads {
        pods: pods.chain(leaving).chain(stand_ins).collect(),
        versions: pools.chain(classes).chain(nodes).map(known).collect(),
    }
}

/// Has the referee judge actions of a plan against the cluster as it is: what to launch for them, or what is in the way.
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
    if !body.waves.is_empty() && !body.statics {
        return waves::verify(ports, view, classes, options, (plan, body, actions), input).await;
    }
    let snapshot = snapshot_now(ports, view, classes, &options)?;
    let live = ports.cloud.catalog();
    let work = move || {
        let catalog = live.as_deref().unwrap_or(&options.catalog);
        let view = planning_view(&snapshot, catalog, &input);
        let wanted = body.launches.iter().filter(|launch| actions.contains(&intents::action(launch)));
        let launches: Vec<Launch> = wanted.cloned().collect();
        let (snapshot, catalog) = (&view.snapshot, &view.catalog);
        let findings =
            stowage_checker::check_launches(snapshot, catalog, &body.policy, &launches, &body.existing);
        if let Some(finding) = findings.first() {
            return Err(Unmet::new(Ground::Infeasible, finding.to_string()));
        }
        let count = launches.len();
        let batch = intents::batch(&Plan { id: plan, launches, ..Plan::default() }, &view);
        let other = |pod: &&PlannedPod| body.reads.pods.get(&pod.id) != Some(&pod.uid);
        if let Some(pod) = batch.launches.iter().flat_map(|launch| &launch.pods).find(other) {
            return Err(Unmet::new(Ground::Stale, format!("pod {} is another one by now", pod.id)));
        }
        if batch.launches.len() != count {
            return Err(Unmet::new(Ground::Stale, "a NodePool of it is gone".to_owned()));
        }
        Ok(Box::new(batch))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
}

/// Writes what becomes of a plan, and tells it. One that is over stays as it is.
pub(crate) async fn judge(ports: &Ports, plan: &str, verdict: &Verdict) -> Result<(), String> {
    let api: Api<PlanObject> = Api::all(ports.client.clone());
    let object = if plan.starts_with("sha256:") { name(plan) } else { plan.to_owned() };
    let Some(found) = api.get_opt(&object).await.map_err(|error| error.to_string())? else { return Ok(()) };
    let status = found.status.clone().unwrap_or_default();
    let before = status.phase.as_deref().unwrap_or_default();
    // Of one that was begun, what is left may not be carried out: it says why, and is over when what was begun of it is.
    let cut = before == "Executing" && matches!(verdict, Verdict::Refused(_));
    if (before == "Executing" && !cut) || plans::OVER.contains(&before) {
        return Ok(());
    }
    let noted = found.metadata.annotations.clone().unwrap_or_default();
    let (phase, holds, reason, message) = match verdict {
        Verdict::Proposed => ("Proposed", "True", "Proposed", "it waits for approval".to_owned()),
        Verdict::Executing => {
            ("Executing", "True", "Approved", "it is carried out as it was approved".to_owned())
        }
        Verdict::Refused(unmet) => {
            let phase = if unmet.ground == Ground::Superseded { "Superseded" } else { "Refused" };
            (phase, "False", unmet.ground.as_str(), unmet.text.clone())
        }
    };
    let phase = if cut { before } else { phase };
    let generation = found.metadata.generation;
    let condition = json!({
        "type": "Executable", "status": holds, "reason": reason, "message": message,
        "observedGeneration": generation, "lastTransitionTime": Timestamp::now().to_string(),
    });
    let mut wanted = json!({ "phase": phase, "conditions": [condition] });
    if noted.get(APPROVED) == Some(&found.spec.digest) {
        wanted["approved"] = found.spec.digest.clone().into();
        wanted["approvedBy"] = noted.get(APPROVED_BY).cloned().into();
    }
    if status.actions.is_none() {
        wanted["actions"] = format!("0/{}", found.spec.actions.len()).into();
    }
    let patch =
        json!({ "metadata": { "resourceVersion": found.metadata.resource_version }, "status": wanted });
    match api.patch_status(&object, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        other => drop(other.map_err(|error| error.to_string())?),
    }
    tracing::info!(plan, phase, reason, message, "review");
    let weight = if holds == "True" { Weight::Normal } else { Weight::Warning };
    let about = About::plan(&object, &found.metadata.uid.unwrap_or_default());
    let reason = match verdict {
        Verdict::Proposed => "PlanProposed",
        Verdict::Executing => "PlanApproved",
        Verdict::Refused(unmet) if unmet.ground == Ground::Superseded => "PlanSuperseded",
        Verdict::Refused(_) => "PlanRefused",
    };
    let note = if holds == "True" { message } else { format!("{}: {message}", condition_reason(verdict)) };
    ports.events.tell(about, weight, reason, &note);
    Ok(())
}

fn condition_reason(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Refused(unmet) => unmet.ground.as_str(),
        Verdict::Proposed | Verdict::Executing => "",
    }
}
