//! What is asked of a cluster, by `kubectl-stowage` and whoever else reviews plans.

use crate::reads::reads;
use crate::{APPROVED, APPROVED_BY, REJECTED, name, open, proposal};
use jiff::{SignedDuration, Timestamp};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stowage_api::Plan as PlanObject;
use stowage_models::plan::Plan;

/// How it ends badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code: 1 error, 3 the plan is not the one named, 4 refused by the cluster.
    pub code: u8,
    /// What is wrong, with a hint.
    pub text: String,
}

impl Failure {
    /// An error.
    pub fn new(text: impl Into<String>) -> Failure {
        Failure { code: 1, text: text.into() }
    }
}

/// Digits of a digest that name it.
const DIGITS_MIN: usize = 12;

pub(crate) fn refused(error: kube::Error) -> Failure {
    match &error {
        kube::Error::Api(status) if status.code == 404 => Failure::new(format!(
            "{}\n  hint: `kubectl stowage list` names plans; are the custom resources of Stowage installed?",
            status.message
        )),
        kube::Error::Api(status) if matches!(status.code, 403 | 422) => {
            let hint = "approving needs the right to `patch` and to `approve` plans: the ClusterRole stowage-approver";
            Failure { code: 4, text: format!("{}\n  hint: {hint}", status.message) }
        }
        _ => Failure::new(format!("{error}\n  hint: does `kubectl get plans` work?")),
    }
}

async fn get(client: &Client, plan: &str) -> Result<PlanObject, Failure> {
    Api::<PlanObject>::all(client.clone()).get(plan).await.map_err(refused)
}

fn phase(plan: &PlanObject) -> (String, String) {
    let status = plan.status.clone().unwrap_or_default();
    let why = status.conditions.unwrap_or_default();
    let why = why.iter().find(|one| one.type_ == "Executable" && one.status == "False");
    let why = why.map(|one| format!("{}: {}", one.reason, one.message));
    (status.phase.unwrap_or_else(|| "new".to_owned()), why.unwrap_or_default())
}

/// Plans, newest first.
///
/// # Errors
/// See [`Failure`].
pub async fn list(client: &Client) -> Result<String, Failure> {
    let found = Api::<PlanObject>::all(client.clone()).list(&ListParams::default()).await;
    let mut found = found.map_err(refused)?.items;
    let created = |plan: &PlanObject| plan.metadata.creation_timestamp.as_ref().map(|at| at.0);
    found.sort_by_key(|plan| std::cmp::Reverse((created(plan), plan.metadata.name.clone())));
    let mut text = format!(
        "{:<22} {:<11} {:<10} {:<12} {:<9} {}\n",
        "NAME", "PHASE", "NODES", "MONTHLY", "GAP", "EXPIRES"
    );
    for plan in &found {
        let spec = &plan.spec;
        let name = plan.metadata.name.as_deref().unwrap_or_default();
        let _ = writeln!(
            text,
            "{name:<22} {:<11} {:<10} {:<12} {:<9} {}",
            phase(plan).0,
            spec.nodes,
            spec.monthly,
            spec.gap,
            spec.expires.as_deref().unwrap_or("-")
        );
    }
    Ok(text)
}

/// A plan for a reviewer; what was tampered with is not shown.
///
/// # Errors
/// See [`Failure`].
pub async fn show(client: &Client, plan: &str) -> Result<String, Failure> {
    let object = get(client, plan).await?;
    let (phase, why) = phase(&object);
    let mut text = format!("{plan}: {phase}\n");
    if !why.is_empty() {
        let _ = writeln!(text, "{why}");
    }
    let spec = &object.spec;
    if spec.body.is_none() {
        let _ = writeln!(
            text,
            "{} nodes, {}/month, gap {}; not for approval",
            spec.nodes, spec.monthly, spec.gap
        );
        return Ok(text);
    }
    let opened = open(spec);
    let body =
        opened.map_err(|error| Failure { code: 4, text: format!("{plan} was tampered with: {error}") })?;
    let _ = writeln!(text, "\n{}", spec.summary.as_deref().unwrap_or_default());
    // Not the publisher's words: what the body says.
    let moves: BTreeMap<String, String> = body
        .waves
        .iter()
        .flat_map(|wave| &wave.removals)
        .map(|one| {
            let to =
                |to: &Option<crate::Target>| to.as_ref().map_or("nowhere", crate::Target::name).to_owned();
            let moves = one.pods.iter().map(|pod| format!("{} -> {}", pod.pod, to(&pod.to)));
            let force = if one.forced { "by force; " } else { "" };
            let end = one.deadline.as_ref().map(|end| format!("ends at {end}; ")).unwrap_or_default();
            let moves = moves.collect::<Vec<_>>().join(", ");
            (crate::removal(&one.node), format!("{force}{end}{moves}"))
        })
        .collect();
    for action in &spec.actions {
        let wave = action.wave.map(|wave| format!("wave {wave}: ")).unwrap_or_default();
        let reason = action.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let pods = moves.get(&action.id).cloned().unwrap_or_else(|| action.pods.join(", "));
        let _ = writeln!(
            text,
            "- {wave}{}{reason}: {} {} {} in {}: {pods}",
            action.id, action.instance_type, action.zone, action.capacity_type, action.node_pool
        );
    }
    let expires = spec.expires.as_deref().unwrap_or_default();
    let digest = &spec.digest;
    let _ = writeln!(text, "\nexpires {expires}\ndigest  {digest}");
    if matches!(phase.as_str(), "Proposed" | "new") {
        let _ = writeln!(text, "\n  kubectl stowage approve {plan} --digest {digest}");
    }
    Ok(text)
}

/// Approves a plan that is still the one that was read.
///
/// # Errors
/// See [`Failure`].
pub async fn approve(client: &Client, plan: &str, digest: &str, by: &str) -> Result<String, Failure> {
    let object = get(client, plan).await?;
    let stale = |text: String| Failure { code: 3, text };
    let actual = &object.spec.digest;
    let digits = digest.trim_start_matches("sha256:");
    if digits.len() < DIGITS_MIN || !actual.trim_start_matches("sha256:").starts_with(digits) {
        let hint = "read it anew with `kubectl stowage show`";
        return Err(stale(format!("the digest of {plan} is {actual}, not {digest}\n  hint: {hint}")));
    }
    open(&object.spec)
        .map_err(|error| Failure { code: 4, text: format!("{plan} was tampered with: {error}") })?;
    let (phase, why) = phase(&object);
    if !matches!(phase.as_str(), "Proposed" | "Approved" | "new") {
        return Err(stale(format!("{plan} is {phase} and does not wait for approval {why}")));
    }
    annotate(client, plan, json!({ APPROVED: actual, APPROVED_BY: by })).await?;
    Ok(format!("{plan} is approved: {actual}\n"))
}

/// Rejects a plan.
///
/// # Errors
/// See [`Failure`].
pub async fn reject(client: &Client, plan: &str, reason: &str) -> Result<String, Failure> {
    get(client, plan).await?;
    annotate(client, plan, json!({ REJECTED: reason })).await?;
    Ok(format!("{plan} is rejected\n"))
}

async fn annotate(client: &Client, plan: &str, annotations: serde_json::Value) -> Result<(), Failure> {
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations } }));
    let api = Api::<PlanObject>::all(client.clone());
    api.patch(plan, &PatchParams::default(), &patch).await.map(drop).map_err(refused)
}

/// Makes a Plan of a plan file, for the pods, NodePools and node classes that there are now.
///
/// # Errors
/// See [`Failure`].
pub async fn apply(
    client: &Client,
    plan: &Plan,
    seconds: i64,
    approve: Option<&str>,
) -> Result<String, Failure> {
    let (reads, waves) = reads(client, plan).await?;
    let expires = Timestamp::now() + SignedDuration::from_secs(seconds);
    let spec = proposal(plan, reads, waves, &expires.to_string()).map_err(Failure::new)?;
    let (name, digest) = (name(&spec.digest), spec.digest.clone());
    let mut object = PlanObject::new(&name, spec);
    if let Some(by) = approve {
        let notes = [(APPROVED, digest.as_str()), (APPROVED_BY, by)];
        let notes = notes.map(|(key, value)| (key.to_owned(), value.to_owned()));
        object.metadata.annotations = Some(notes.into());
    }
    let api = Api::<PlanObject>::all(client.clone());
    api.create(&PostParams::default(), &object).await.map_err(refused)?;
    let mut text = format!("{name} is created\ndigest {digest}\n");
    if approve.is_none() {
        let _ = writeln!(text, "\n  kubectl stowage approve {name} --digest {digest}");
    }
    Ok(text)
}
