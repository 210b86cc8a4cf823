//! Plans as resources of the cluster: what is meant to be done, and why not.

use crate::plans::{self, Progress};
use jiff::{SignedDuration, Timestamp};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use stowage_api::{Action, LeftOut, Plan as PlanObject, PlanSpec};
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::units::UsdMicros;

/// Pods left out that are named in a status.
const LEFT_OUT_MAX: usize = 100;

/// A plan in execution that is older and has nothing under way was left behind by a process that ended.
const ABANDONED: SignedDuration = SignedDuration::from_secs(600);

/// The name of a plan's object.
pub(crate) fn name(plan: &str) -> String {
    let digest = plan.trim_start_matches("sha256:");
    format!("plan-{}", digest.get(..16).unwrap_or(digest))
}

/// Creates the object of a plan, before anything of the plan is carried out. That it exists already is fine.
pub(crate) async fn publish(
    client: &Client,
    plan: &Plan,
    mode: &str,
    hopeless: &[(PodRef, String)],
) -> Result<(), kube::Error> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let object = PlanObject::new(&name(&plan.id), spec(plan, mode));
    match api.create(&PostParams::default(), &object).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => return Err(error),
    }
    let phase = match mode {
        "shadow" => "Shadow",
        // Nothing to do but to say why.
        _ if plan.launches.is_empty() => "Completed",
        _ => "Executing",
    };
    let unplaced = plan.unplaced.iter().flat_map(|left| {
        left.pods.iter().map(|pod| LeftOut { pod: pod.0.clone(), reason: left.message.clone() })
    });
    let hopeless =
        hopeless.iter().map(|(pod, reason)| LeftOut { pod: pod.0.clone(), reason: reason.clone() });
    let left_out: Vec<LeftOut> = hopeless.chain(unplaced).take(LEFT_OUT_MAX).collect();
    let actions = format!("0/{}", plan.launches.len());
    let status = json!({ "status": { "phase": phase, "actions": actions, "leftOut": left_out } });
    api.patch_status(&name(&plan.id), &PatchParams::default(), &Patch::Merge(status)).await.map(drop)
}

/// Writes how far a plan is. One that was deleted needs no progress.
pub(crate) async fn progress(client: &Client, progress: &Progress) -> Result<(), kube::Error> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let actions = format!("{}/{}", progress.done, progress.all);
    let status = json!({ "status": { "phase": progress.phase, "actions": actions } });
    gone(api.patch_status(&name(&progress.plan), &PatchParams::default(), &Patch::Merge(status)).await)
}

fn gone<T>(result: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => other.map(drop),
    }
}

/// Tidies plans: those of shadow mode that a newer one has replaced, and those in execution of which nothing is under way, are superseded; of
/// those that are over the newest are kept.
pub(crate) async fn tidy(client: &Client, is_under_way: impl Fn(&str) -> bool) -> Result<(), kube::Error> {
    let api: Api<PlanObject> = Api::all(client.clone());
    let mut found = api.list(&ListParams::default()).await?.items;
    let created = |plan: &PlanObject| plan.metadata.creation_timestamp.as_ref().map(|at| at.0);
    found.sort_by(|a, b| (created(b), &b.metadata.name).cmp(&(created(a), &a.metadata.name)));
    let newest =
        found.iter().find(|plan| plan.spec.mode == "shadow").and_then(|plan| plan.metadata.name.clone());
    let superseded = json!({ "status": { "phase": "Superseded" } });
    let mut all = Vec::new();
    for plan in &found {
        let name = plan.metadata.name.clone().unwrap_or_default();
        let mut phase = plan.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
        let replaced = phase == "Shadow" && newest.as_ref() != Some(&name);
        let old = created(plan).is_some_and(|at| Timestamp::now().duration_since(at) > ABANDONED);
        let abandoned = phase == "Executing" && old && !is_under_way(&plan.spec.digest);
        if replaced || abandoned {
            gone(api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&superseded)).await)?;
            "Superseded".clone_into(&mut phase);
        }
        all.push((name, phase, created(plan).map(|at| at.to_string()).unwrap_or_default()));
    }
    for name in plans::forgotten(&all) {
        gone(api.delete(&name, &DeleteParams::default()).await)?;
    }
    Ok(())
}

fn spec(plan: &Plan, mode: &str) -> PlanSpec {
    let summary = &plan.summary;
    let action = |launch: &stowage_models::plan::Launch| Action {
        id: format!("launch/{}", launch.slot),
        kind: "Launch".to_owned(),
        node_pool: launch.node_pool.clone(),
        instance_type: launch.instance_type.clone(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.clone(),
        price_micros: launch.price.0,
        alternates: i32::try_from(launch.alternates.len()).unwrap_or(i32::MAX),
        pods: launch.pods.iter().map(|pod| pod.0.clone()).collect(),
    };
    PlanSpec {
        digest: plan.id.clone(),
        snapshot: plan.snapshot.digest.clone(),
        mode: mode.to_owned(),
        actions: plan.launches.iter().map(action).collect(),
        launch_cost_micros: summary.launch_cost.0,
        launch_bound_micros: summary.launch_bound.0.min(summary.launch_cost.0).max(0),
        nodes: format!("+{}/-0", summary.nodes_launched),
        monthly: format!("+{}", dollars(summary.launch_cost.per_month())),
        gap: format!("{} %", percent(summary.gap.0)),
        expires: None,
    }
}

fn dollars(amount: UsdMicros) -> String {
    format!("${}.{:02}", amount.0 / 1_000_000, amount.0 % 1_000_000 / 10_000)
}

/// Parts per million as percent with two decimals.
fn percent(ppm: i64) -> String {
    format!("{}.{:02}", ppm / 10_000, ppm % 10_000 / 100)
}
