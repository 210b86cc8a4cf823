//! Plans as resources of the cluster: what is meant to be done, and why not.

use crate::kept;
use crate::lease::Leadership;
use crate::plans::{self, Progress};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use stowage_api::{KeptNode, LeftOut, Plan as PlanObject, PlanSpec};
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_review::name;
use tokio::sync::mpsc;

/// Pods left out that are named in a status.
const LEFT_OUT_MAX: usize = 100;
/// Nodes that stay that are named in a status.
const KEPT_MAX: usize = 100;

/// A plan in execution that is older and has nothing under way was left behind by a process that ended.
const ABANDONED: SignedDuration = SignedDuration::from_secs(600);

/// Pause before progress that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often that is tried.
const TRIES: usize = 30;

/// Creates the object of a plan, before anything of the plan is carried out. That it exists already is fine.
pub(crate) async fn publish(
    client: &Client,
    leadership: &Leadership,
    plan: &Plan,
    spec: PlanSpec,
    hopeless: &[(PodRef, String)],
) -> Result<(), String> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let name = name(&spec.digest);
    let removals = spec.actions.iter().filter(|action| action.kind == "Remove").count();
    let (shadow, waits) = (spec.mode == "shadow", spec.body.is_some());
    let object = PlanObject::new(&name, spec);
    leadership.write(async { fine(api.create(&PostParams::default(), &object).await, 409) }).await?;
    let phase = match shadow {
        true => "Shadow",
        false if waits => "Proposed",
        // Nothing to do but to say why.
        false if plan.launches.is_empty() && removals == 0 => "Completed",
        false => "Executing",
    };
    let unplaced = plan.unplaced.iter().flat_map(|left| {
        left.pods.iter().map(|pod| LeftOut { pod: pod.0.clone(), reason: left.message.clone() })
    });
    let hopeless =
        hopeless.iter().map(|(pod, reason)| LeftOut { pod: pod.0.clone(), reason: reason.clone() });
    let left_out: Vec<LeftOut> = hopeless.chain(unplaced).take(LEFT_OUT_MAX).collect();
    let stay = plan.consolidation.iter().flat_map(|one| &one.nodes).filter(|one| kept::stays(one));
    let kept = stay.map(|one| KeptNode {
        node: one.node.clone(),
        reason: format!("{:?}", one.reason),
        message: kept::sentence(one),
    });
    let kept: Vec<KeptNode> = kept.take(KEPT_MAX).collect();
    let actions = format!("0/{}", plan.launches.len() + removals);
    let mut status = json!({ "phase": phase, "actions": actions, "leftOut": left_out });
    if !kept.is_empty() {
        status["kept"] = json!(kept);
    }
    let status = json!({ "status": status });
    let (params, patch) = (PatchParams::default(), Patch::Merge(status));
    leadership.write(api.patch_status(&name, &params, &patch)).await.map(drop)
}

/// Writes how far plans are, one after the other, each until it is written: what is over is told once. Without the lease nothing is
/// written: whoever has it tells what it finds.
pub(crate) async fn write_progress(
    client: Client,
    leadership: Leadership,
    mut told: mpsc::UnboundedReceiver<Progress>,
) {
    while let Some(one) = told.recv().await {
        tracing::info!(plan = one.plan, phase = one.phase, done = one.done, of = one.all, "plan");
        for _ in 0..TRIES {
            let Err(error) = leadership.write(progress(&client, &one)).await else { break };
            tracing::warn!(plan = one.plan, error, "progress is not written");
            if leadership.epoch().is_none() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Writes how far a plan is. One that was deleted needs no progress.
async fn progress(client: &Client, progress: &Progress) -> Result<(), kube::Error> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let actions = format!("{}/{}", progress.done, progress.all);
    let status = json!({ "status": { "phase": progress.phase, "actions": actions } });
    fine(api.patch_status(&name(&progress.plan), &PatchParams::default(), &Patch::Merge(status)).await, 404)
}

/// What is gone, or there already, is as it should be.
fn fine<T>(result: Result<T, kube::Error>, code: u16) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == code => Ok(()),
        other => other.map(drop),
    }
}

/// What is known of plans by their digests.
pub(crate) struct Known {
    /// Those that are under way.
    pub(crate) under_way: BTreeSet<String>,
    /// Those with machines that are ready.
    pub(crate) ready: BTreeSet<String>,
}

/// Tidies plans: those of shadow mode that a newer one has replaced are superseded; those in execution of which nothing is under way are over,
/// by what there is of them; of those that are over the newest are kept.
pub(crate) async fn tidy(client: &Client, leadership: &Leadership, known: &Known) -> Result<(), String> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let mut found = api.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let created = |plan: &PlanObject| plan.metadata.creation_timestamp.as_ref().map(|at| at.0);
    found.sort_by(|a, b| (created(b), &b.metadata.name).cmp(&(created(a), &a.metadata.name)));
    let newest =
        found.iter().find(|plan| plan.spec.mode == "shadow").and_then(|plan| plan.metadata.name.clone());
    let mut over = Vec::new();
    for plan in &found {
        let name = plan.metadata.name.clone().unwrap_or_default();
        let mut phase = plan.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let replaced = phase == "Shadow" && newest.as_ref() != Some(&name);
        let old = created(plan).is_some_and(|at| Timestamp::now().duration_since(at) > ABANDONED);
        let abandoned = phase == "Executing" && old && !known.under_way.contains(&plan.spec.digest);
        if replaced || abandoned {
            let done = abandoned && known.ready.contains(&plan.spec.digest);
            if done { "Completed" } else { "Superseded" }.clone_into(&mut phase);
            let (params, patch) =
                (PatchParams::default(), Patch::Merge(json!({ "status": { "phase": phase } })));
            leadership.write(async { fine(api.patch_status(&name, &params, &patch).await, 404) }).await?;
        }
        if plans::OVER.contains(&phase.as_str()) {
            over.push(name);
        }
    }
    for name in over.iter().skip(plans::KEPT) {
        leadership.write(async { fine(api.delete(name, &DeleteParams::default()).await, 404) }).await?;
    }
    Ok(())
}
