//! Carries removals out against the API server: intent on the NodeClaim, a last look, the end; or all of it undone.

use crate::act::{Outcome, Ports, api, fine};
use crate::classes::Classes;
use crate::consolidating::to_judge;
use crate::events::{About, Weight};
use crate::lease::WRITE;
use crate::run::Options;
use jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_checker::{Leaving, LeavingPod, check_removals};
use stowage_executor::{Answer, Hindrance, Key, Place, PlanInput, Removal, Time, Verb};
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_observe::{REMOVAL, View};

/// Takes a node from load balancers.
pub(crate) const EXCLUDED: &str = "node.kubernetes.io/exclude-from-external-load-balancers";

/// What a claim says of its removal.
fn removal_of(claim: &DynamicObject) -> Option<Removal> {
    let text = claim.metadata.annotations.as_ref()?.get(REMOVAL)?;
    serde_json::from_str(text).ok()
}

async fn get(api: &Api<DynamicObject>, name: &str) -> Result<Option<DynamicObject>, String> {
    api.get_opt(name).await.map_err(|error| error.to_string())
}

/// Writes on a claim that its node is to go. The version is checked: nobody's change is lost.
pub(crate) async fn intend(ports: &Ports, removal: &Removal) -> Outcome {
    let claims = api(&ports.client, "NodeClaim")?;
    let Some(found) = get(&claims, &removal.claim).await? else {
        return Err("the NodeClaim is gone".to_owned());
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Err("the NodeClaim is being deleted already".to_owned());
    }
    match removal_of(&found) {
        Some(other) if other.plan == removal.plan => return Ok(()),
        Some(other) if other.forced || !removal.forced => {
            return Err(format!("its node is to go by plan {} already", other.plan));
        }
        _ => {}
    }
    let text = serde_json::to_string(removal).map_err(|error| error.to_string())?;
    let patch = json!({ "metadata": {
        "annotations": { REMOVAL: text }, "resourceVersion": found.metadata.resource_version,
    } });
    fine(claims.patch(&removal.claim, &PatchParams::default(), &Patch::Merge(patch)).await, 404)?;
    if !removal.needs.is_empty() {
        let about = About::claim(&removal.claim, &found.metadata.uid.unwrap_or_default());
        let note = format!("Launching NodeClaims: {:?}, {}", removal.reason, removal.needs.join(", "));
        ports.events.tell(about, Weight::Normal, "DisruptionLaunching", &note);
    }
    Ok(())
}

/// Deletes the claim of a node that is still to go by this plan and is closed. The version is checked: whoever lets it stay meanwhile wins.
pub(crate) async fn leave(ports: &Ports, claim: &str, plan: &str, why: NodeReason) -> Outcome {
    let claims = api(&ports.client, "NodeClaim")?;
    let Some(found) = get(&claims, claim).await? else { return Ok(()) };
    let Some(removal) = removal_of(&found).filter(|removal| removal.plan == plan) else {
        return Err("its node is not to go any more".to_owned());
    };
    if found.metadata.deletion_timestamp.is_some() {
        return Ok(());
    }
    if let Some(node) = get(&api(&ports.client, "Node")?, &removal.node).await? {
        let taints = node.data["spec"]["taints"].as_array().cloned().unwrap_or_default();
        if node.metadata.uid.as_deref() == Some(&removal.uid)
            && taints.iter().all(|taint| taint["key"] != labels::TAINT_DISRUPTED)
        {
            return Err("its node is open to pods".to_owned());
        }
    }
    let uid = found.metadata.uid.clone().unwrap_or_default();
    let reason = format!("{why:?}");
    let mut conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|one| one["type"] != "DisruptionReason");
    conditions.push(json!({
        "type": "DisruptionReason", "status": "True", "reason": reason, "message": format!("plan {plan}"),
        "lastTransitionTime": Timestamp::now().to_string(), "observedGeneration": found.metadata.generation,
    }));
    let version = found.metadata.resource_version;
    let status =
        json!({ "metadata": { "resourceVersion": version }, "status": { "conditions": conditions } });
    let noted = claims.patch_status(claim, &PatchParams::default(), &Patch::Merge(status)).await;
    let noted = noted.map_err(|error| error.to_string())?;
    let preconditions =
        Preconditions { uid: Some(uid.clone()), resource_version: noted.metadata.resource_version };
    fine(claims.delete(claim, &DeleteParams::default().preconditions(preconditions)).await, 404)?;
    let note = format!("Disrupting NodeClaim: {reason}");
    ports.events.tell(About::claim(claim, &uid), Weight::Normal, "DisruptionTerminating", &note);
    let note = format!("Disrupting Node: {reason}");
    let about = About::node(&removal.node, &removal.uid);
    ports.events.tell(about, Weight::Normal, "DisruptionTerminating", &note);
    Ok(())
}

/// Lets a node stay: opens it again, and then takes from its claim what says that it is to go.
pub(crate) async fn keep(
    ports: &Ports,
    claim: &str,
    node: Option<&str>,
    plan: Option<&str>,
    why: &str,
) -> Outcome {
    let claims = api(&ports.client, "NodeClaim")?;
    let Some(found) = get(&claims, claim).await? else { return Ok(()) };
    let known = removal_of(&found);
    if found.metadata.deletion_timestamp.is_some()
        || known.as_ref().map(|removal| removal.plan.as_str()) != plan
    {
        return Ok(());
    }
    if let Some(node) = node {
        let own = get(&api(&ports.client, "Node")?, node).await?;
        let excluded = own.and_then(|own| own.metadata.labels).and_then(|mut all| all.remove(EXCLUDED));
        // Only what was done when it was closed.
        let change = match excluded.as_deref() {
            Some("karpenter") => json!({ "metadata": { "labels": { EXCLUDED: null } } }),
            _ => json!({}),
        };
        let closed = |taint: &Value| taint["key"] == labels::TAINT_DISRUPTED;
        ports.change_taints(node, &change, closed, None).await?;
    }
    if found.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(REMOVAL)) {
        let patch = json!({ "metadata": {
            "annotations": { REMOVAL: null }, "resourceVersion": found.metadata.resource_version,
        } });
        fine(claims.patch(claim, &PatchParams::default(), &Patch::Merge(patch)).await, 404)?;
    }
    if let Some(removal) = known {
        let about = About::claim(claim, &found.metadata.uid.unwrap_or_default());
        let note = format!("Cannot disrupt NodeClaim ({:?}): {why}", removal.reason);
        ports.events.tell(about, Weight::Normal, "DisruptionBlocked", &note);
        tracing::info!(claim, node, plan = removal.plan, why, "node stays");
    }
    Ok(())
}

/// Has the referee judge removals against the cluster as it is seen, and asks the API server itself who is on the nodes.
pub(crate) async fn recheck(
    ports: &Ports,
    view: &View,
    classes: &Classes,
    options: Arc<Options>,
    removals: Vec<Removal>,
    input: PlanInput,
) -> Answer {
    let failed = |error: String| Answer::Failed(Key { verb: Verb::Recheck, object: String::new() }, error);
    // What is read first can only be older: a pod that comes in between is not among those the referee has seen.
    let facts = view.facts();
    let planning = match to_judge(ports, view, classes, &options, &input) {
        Ok(planning) => planning,
        Err(error) => return failed(error),
    };
    let leaving: Vec<Leaving> = removals.iter().map(|removal| leaving(removal, &facts)).collect();
    let judged = tokio::task::spawn_blocking(move || {
        check_removals(&planning.snapshot, &planning.catalog, &options.consolidation, &leaving)
    });
    let judged = match judged.await {
        Ok(judged) => judged,
        Err(error) => return failed(error.to_string()),
    };
    let mut verdicts = BTreeMap::new();
    for (removal, obstacle) in removals.iter().zip(judged) {
        let verdict = match obstacle {
            Some(obstacle) => Err(Hindrance { waits: passes(obstacle.reason), text: obstacle.text }),
            None => match look(ports, removal, &facts).await {
                Ok(verdict) => verdict,
                Err(error) => return failed(error),
            },
        };
        if let Err(hindrance) = &verdict {
            tracing::info!(node = removal.node, waits = hindrance.waits, why = hindrance.text, "not now");
        }
        verdicts.insert(removal.claim.clone(), verdict);
    }
    Answer::Rechecked(verdicts)
}

/// Whether what stands against a node passes by itself: others are on their way, and then there is room in budgets again.
pub(crate) fn passes(reason: NodeReason) -> bool {
    matches!(reason, NodeReason::Budget | NodeReason::PodDisruptionBudget | NodeReason::Nominated)
}

/// A removal as the referee judges it.
pub(crate) fn leaving(removal: &Removal, facts: &stowage_executor::Observation) -> Leaving {
    let node_of = |name: &String| {
        let instance = facts.claims.get(name).and_then(|claim| claim.instance.clone());
        let mut nodes = facts.nodes.values();
        let node = nodes.find(|node| instance.is_some() && node.instance == instance);
        node.map_or_else(|| name.clone(), |node| node.name.clone())
    };
    let pods = removal.pods.iter().map(|pod| LeavingPod {
        pod: pod.id.clone(),
        uid: pod.uid.clone(),
        to: pod.to.as_ref().map(|to| match to {
            Place::Node(node) => node.clone(),
            Place::Claim(claim) => node_of(claim),
        }),
    });
    Leaving {
        node: removal.node.clone(),
        reason: removal.reason,
        forced: removal.forced,
        deadline: removal.deadline.map(|at| at.0.div_euclid(1_000)),
        exact: removal.approved,
        pods: pods.collect(),
    }
}

/// Looks at a node itself: nobody has come whom the referee did not see, and nobody must stay.
async fn look(
    ports: &Ports,
    removal: &Removal,
    facts: &stowage_executor::Observation,
) -> Result<Result<(), Hindrance>, String> {
    let no = |waits: bool, text: String| Ok(Err(Hindrance { waits, text }));
    let nodes = api(&ports.client, "Node")?;
    let late = |_| "no answer in time".to_owned();
    let node = tokio::time::timeout(WRITE, get(&nodes, &removal.node)).await.map_err(late)??;
    if node.is_none_or(|node| node.metadata.uid.as_deref() != Some(&removal.uid)) {
        return no(false, "its node is another".to_owned());
    }
    let here = ListParams::default().fields(&format!("spec.nodeName={}", removal.node));
    let pods = tokio::time::timeout(WRITE, api(&ports.client, "Pod")?.list(&here)).await.map_err(late)?;
    let now = Time(Timestamp::now().as_millisecond());
    for object in pods.map_err(|error| error.to_string())?.items {
        let namespace = object.metadata.namespace.clone().unwrap_or_default();
        let id = format!("{namespace}/{}", object.metadata.name.clone().unwrap_or_default());
        let pod = stowage_observe::pod(&object);
        let Some(drain) = pod.drain.filter(|drain| drain.going.is_none()) else { continue };
        if !removal.reason.is_departure() && drain.protected.is_some_and(|until| until > now) {
            return no(false, format!("pod {id} must not be disrupted"));
        }
        // What the view shows was judged by the referee; pods of DaemonSets end with their node.
        let known = facts.pods.iter().any(|(_, seen)| seen.uid == pod.uid && seen.node == pod.node);
        if drain.tier % 2 == 0 && !known {
            return no(true, format!("pod {id} has come a moment ago"));
        }
    }
    Ok(Ok(()))
}

/// Whether no volume of pods that were drained is attached to a node any more. Volumes of pods that stay on it (`here`) are not waited for.
pub(crate) async fn are_detached(ports: &Ports, node: &str, here: &[DynamicObject]) -> Outcome {
    let kind = |group: &str, kind: &str, plural: &str| -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(group, "v1", kind);
        Api::all_with(ports.client.clone(), &ApiResource::from_gvk_with_plural(&kind, plural))
    };
    let attachments = kind("storage.k8s.io", "VolumeAttachment", "volumeattachments");
    let found = tokio::time::timeout(WRITE, attachments.list(&ListParams::default())).await;
    let found = found.map_err(|_| "no answer in time".to_owned())?.map_err(|error| error.to_string())?;
    let of_node = found.items.iter().filter(|one| one.data["spec"]["nodeName"] == node);
    let volumes: BTreeSet<&str> =
        of_node.filter_map(|one| one.data["spec"]["source"]["persistentVolumeName"].as_str()).collect();
    if volumes.is_empty() {
        return Ok(());
    }
    let claims_of = |pod: &DynamicObject| -> Vec<(String, String)> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let name = pod.metadata.name.clone().unwrap_or_default();
        let volumes = pod.data["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        let claim = |volume: &Value| {
            let stated = volume["persistentVolumeClaim"]["claimName"].as_str().map(str::to_owned);
            let own = volume["ephemeral"].is_object().then(|| volume["name"].as_str()).flatten();
            stated.or_else(|| own.map(|own| format!("{name}-{own}")))
        };
        volumes.iter().filter_map(claim).map(|claim| (namespace.clone(), claim)).collect()
    };
    let in_use: BTreeSet<(String, String)> = here.iter().flat_map(claims_of).collect();
    let known = kind("", "PersistentVolume", "persistentvolumes");
    let mut attached = 0;
    for name in volumes {
        let volume = get(&known, name).await?;
        let claim = volume.map(|volume| {
            let text =
                |field: &str| volume.data["spec"]["claimRef"][field].as_str().unwrap_or_default().to_owned();
            (text("namespace"), text("name"))
        });
        attached += usize::from(!claim.is_some_and(|claim| in_use.contains(&claim)));
    }
    if attached == 0 {
        return Ok(());
    }
    let note = format!("Awaiting detachment of {attached} volumes");
    ports.events.tell(About::node(node, ""), Weight::Normal, "AwaitingVolumeDetachment", &note);
    Err(format!("{attached} volumes are still attached to {node}"))
}
