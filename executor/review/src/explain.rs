//! Why a pod waits, and why a node stays or goes: from what the controller has written into the cluster.

use crate::cluster::{Failure, refused};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use std::fmt::Write as _;
use stowage_api::{NodeClaim, Plan as PlanObject};
use stowage_models::departure::{NOTICES, Notices};
use stowage_models::labels;
use stowage_models::schedule::{duration, rfc3339};

/// Who tells events.
const CONTROLLER: &str = "stowage";
/// Events that are shown, newest first.
const SHOWN: usize = 3;
/// Plans that are looked at, newest first: older ones are history.
const PLANS: usize = 50;

/// What was told of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    at: i64,
    reason: String,
    note: String,
}

/// What is known of a pod (`namespace/name`) or a node, for people.
///
/// # Errors
/// See [`Failure`].
pub async fn explain(client: &Client, what: &str) -> Result<String, Failure> {
    let mut plans =
        Api::<PlanObject>::all(client.clone()).list(&ListParams::default()).await.map_err(refused)?.items;
    let created = |plan: &PlanObject| plan.metadata.creation_timestamp.as_ref().map(|at| at.0);
    plans.sort_by_key(|plan| std::cmp::Reverse((created(plan), plan.metadata.name.clone())));
    plans.truncate(PLANS);
    let gone = |kind: &str| {
        let hint = "NAMESPACE/NAME is a pod, NAME a node";
        Failure::new(format!("there is no {kind} {what}\n  hint: {hint}"))
    };
    let now = Timestamp::now().as_second();
    if let Some((space, name)) = what.split_once('/') {
        let pod = Api::<Pod>::namespaced(client.clone(), space).get_opt(name).await.map_err(refused)?;
        let pod = pod.ok_or_else(|| gone("pod"))?;
        let told = told(client, "Pod", name, Some(space)).await?;
        return Ok(of_pod(what, &pod, &plans, &told, now));
    }
    let node = Api::<Node>::all(client.clone()).get_opt(what).await.map_err(refused)?;
    let node = node.ok_or_else(|| gone("node"))?;
    let claims =
        Api::<NodeClaim>::all(client.clone()).list(&ListParams::default()).await.map_err(refused)?.items;
    let is_its = |claim: &&NodeClaim| {
        claim.status.as_ref().and_then(|status| status.node_name.as_deref()) == Some(what)
    };
    let claim = claims.iter().find(is_its);
    let told = told(client, "Node", what, None).await?;
    Ok(of_node(what, &node, claim, &plans, &told, now))
}

/// Our events about an object, newest first.
async fn told(client: &Client, kind: &str, name: &str, space: Option<&str>) -> Result<Vec<Told>, Failure> {
    let api: Api<Event> = match space {
        Some(space) => Api::namespaced(client.clone(), space),
        None => Api::all(client.clone()),
    };
    let about =
        ListParams::default().fields(&format!("involvedObject.kind={kind},involvedObject.name={name}"));
    let found = api.list(&about).await.map_err(refused)?.items;
    let ours = found.into_iter().filter(|one| one.reporting_component.as_deref() == Some(CONTROLLER));
    let mut told: Vec<Told> = ours
        .map(|one| {
            let last = one.series.as_ref().and_then(|series| series.last_observed_time.as_ref());
            let at = last.or(one.event_time.as_ref()).map_or(0, |at| at.0.as_second());
            Told { at, reason: one.reason.unwrap_or_default(), note: one.message.unwrap_or_default() }
        })
        .collect();
    told.sort_by_key(|one| std::cmp::Reverse((one.at, one.reason.clone())));
    Ok(told)
}

/// `5s`, `12m`, `3h`, `4d`.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn name_and_age(plan: &PlanObject, now: i64) -> String {
    let made = plan.metadata.creation_timestamp.as_ref().map_or(now, |at| at.0.as_second());
    format!("{}, {} ago", plan.metadata.name.as_deref().unwrap_or_default(), age(now - made))
}

fn events(text: &mut String, told: &[Told], now: i64) {
    for one in told.iter().take(SHOWN) {
        let _ = writeln!(text, "event: {}, {} ago: {}", one.reason, age(now - one.at), one.note);
    }
}

fn of_pod(id: &str, pod: &Pod, plans: &[PlanObject], told: &[Told], now: i64) -> String {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty());
    if let Some(node) = node {
        return format!("pod {id} is on node {node}\n");
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let mut text = format!("pod {id} has no node ({phase})\n");
    let left = |plan: &PlanObject| {
        let all = plan.status.as_ref()?.left_out.as_ref()?;
        all.iter().find(|left| left.pod == id).map(|left| left.reason.clone())
    };
    let launch = |plan: &PlanObject| {
        let action = plan.spec.actions.iter().find(|action| action.pods.iter().any(|pod| pod == id))?;
        let phase =
            plan.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_else(|| "new".to_owned());
        let (kind, zone, capacity) = (&action.instance_type, &action.zone, &action.capacity_type);
        Some(format!(
            "{kind} {zone} {capacity} from NodePool {} is launched for it: {phase}",
            action.node_pool
        ))
    };
    // The newest plan that speaks of it says how things are.
    let says = plans.iter().find_map(|plan| {
        let said = left(plan).map(|why| format!("left out: {why}")).or_else(|| launch(plan))?;
        Some(format!("{said} ({})", name_and_age(plan, now)))
    });
    let says = says.unwrap_or_else(|| {
        "no plan speaks of it: it is planned with the next batch, or is not ours to place".to_owned()
    });
    let _ = writeln!(text, "{says}");
    events(&mut text, told, now);
    text
}

fn of_node(
    name: &str,
    node: &Node,
    claim: Option<&NodeClaim>,
    plans: &[PlanObject],
    told: &[Told],
    now: i64,
) -> String {
    let label =
        |key: &str| node.metadata.labels.as_ref().and_then(|all| all.get(key)).map_or("-", String::as_str);
    let claimed = claim.and_then(|claim| claim.metadata.name.as_deref()).unwrap_or("none");
    let mut text = format!(
        "node {name}: {} {} {}, NodePool {}, NodeClaim {claimed}\n",
        label(labels::INSTANCE_TYPE),
        label(labels::ZONE),
        label(labels::CAPACITY_TYPE),
        label(labels::NODEPOOL),
    );
    if let Some(claim) = claim {
        of_claim(&mut text, claim);
    }
    let kept = plans.iter().find_map(|plan| {
        let kept = plan.status.as_ref()?.kept.as_ref()?.iter().find(|kept| kept.node == name)?;
        Some(format!("stays: {}: {} ({})", kept.reason, kept.message, name_and_age(plan, now)))
    });
    if let Some(kept) = &kept {
        let _ = writeln!(text, "{kept}");
    }
    events(&mut text, told, now);
    if text.lines().count() == 1 {
        text.push_str("nothing is said of it yet: why nodes stay is looked at every five minutes\n");
    }
    text
}

/// Why it has to go, or will have to.
fn of_claim(text: &mut String, claim: &NodeClaim) {
    let metadata = &claim.metadata;
    if let Some(at) = &metadata.deletion_timestamp {
        let _ = writeln!(text, "goes: its NodeClaim is being deleted, since {}", at.0);
    }
    let notices =
        metadata.annotations.as_ref().and_then(|all| all.get(NOTICES)).map(|text| Notices::parse(text));
    for notice in notices.unwrap_or_default().about("") {
        let verb = if notice.is_final() { "goes: interrupted" } else { "noted" };
        let until = notice.deadline.as_ref().map(|until| format!(", until {until}")).unwrap_or_default();
        let _ = writeln!(text, "{verb}: {}{until}", notice.kind.as_str());
    }
    let conditions = claim.status.as_ref().and_then(|status| status.conditions.as_ref());
    let drifted = conditions.into_iter().flatten().find(|one| one.type_ == "Drifted" && one.status == "True");
    if let Some(drifted) = drifted {
        let _ = writeln!(text, "goes: drifted: {}: {}", drifted.reason, drifted.message);
    }
    let made = metadata.creation_timestamp.as_ref().map(|at| at.0.as_second());
    let after = claim.spec.expire_after.as_deref().and_then(duration);
    if let (Some(made), Some(after)) = (made, after) {
        let _ = writeln!(text, "expires: {}", rfc3339(made.saturating_add(after)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use stowage_models::schedule::instant;

    const NOW: &str = "2026-11-22T04:10:00Z";

    fn plan(name: &str, minute: u32, spec: Value, status: Value) -> PlanObject {
        let mut all = json!({
            "mode": "auto", "digest": "", "plan": "", "snapshot": "", "nodes": "", "monthly": "", "gap": "",
            "actions": [], "launchCostMicros": 0, "launchBoundMicros": 0,
        });
        all.as_object_mut().expect("a spec").extend(spec.as_object().cloned().unwrap_or_default());
        let created = format!("2026-11-22T04:0{minute}:00Z");
        let object = json!({
            "apiVersion": "stowage.dev/v1alpha1", "kind": "Plan",
            "metadata": { "name": name, "creationTimestamp": created }, "spec": all, "status": status,
        });
        serde_json::from_value(object).expect("a plan")
    }

    fn now() -> i64 {
        instant(NOW).expect("a time")
    }

    fn told() -> Vec<Told> {
        vec![Told { at: now() - 90, reason: "FailedScheduling".to_owned(), note: "no room".to_owned() }]
    }

    #[test]
    fn the_newest_plan_that_speaks_of_a_pod_says_how_things_are() {
        let pod = |node: Value| -> Pod {
            serde_json::from_value(json!({ "spec": { "nodeName": node, "containers": [] } })).expect("a pod")
        };
        let left = |pod: &str| json!({ "phase": "Completed", "leftOut": [{ "pod": pod, "reason": "cpu: too much" }] });
        let action = json!({ "actions": [{
            "id": "launch/1", "kind": "Launch", "nodePool": "default", "instanceType": "m5.large", "zone": "a",
            "capacityType": "spot", "priceMicros": 1, "alternates": 0, "pods": ["default/web"],
        }] });
        let plans = [
            plan("new", 9, json!({}), left("default/other")),
            plan("middle", 8, json!({}), left("default/web")),
            plan("old", 7, action, json!({ "phase": "Failed" })),
        ];
        let waiting = of_pod("default/web", &pod(Value::Null), &plans, &told(), now());
        assert_eq!(
            waiting,
            "pod default/web has no node (Pending)\nleft out: cpu: too much (middle, 2m ago)\n\
             event: FailedScheduling, 90s ago: no room\n"
        );
        let launched = of_pod("default/web", &pod(Value::Null), &plans[2..], &[], now());
        assert!(
            launched.ends_with(
                "m5.large a spot from NodePool default is launched for it: Failed (old, 3m ago)\n"
            )
        );
        assert!(
            of_pod("default/new", &pod(Value::Null), &plans, &[], now()).contains("no plan speaks of it")
        );
        assert_eq!(
            of_pod("default/web", &pod(json!("n")), &plans, &[], now()),
            "pod default/web is on node n\n"
        );
    }

    #[test]
    fn a_node_says_why_it_goes_and_why_it_stays() {
        let node: Node = serde_json::from_value(json!({ "metadata": { "name": "n", "labels": {
            "karpenter.sh/nodepool": "default", "node.kubernetes.io/instance-type": "m5.large",
            "topology.kubernetes.io/zone": "a", "karpenter.sh/capacity-type": "spot",
        } } }))
        .expect("a node");
        let claim: NodeClaim = serde_json::from_value(json!({
            "metadata": {
                "name": "c", "creationTimestamp": "2026-11-01T00:00:00Z",
                "annotations": { NOTICES: "SpotInterruption@2026-11-22T04:12:00Z,RebalanceRecommendation" },
            },
            "spec": { "nodeClassRef": { "group": "g", "kind": "k", "name": "n" }, "requirements": [], "expireAfter": "720h" },
            "status": { "nodeName": "n", "conditions": [{
                "type": "Drifted", "status": "True", "reason": "AMIDrift", "message": "ami-2 today",
                "lastTransitionTime": NOW,
            }] },
        }))
        .expect("a claim");
        let kept = json!({ "phase": "Completed", "kept": [{ "node": "n", "reason": "Pod", "message": "default/web may not move" }] });
        let plans = [plan("p", 9, json!({}), kept)];
        assert_eq!(
            of_node("n", &node, Some(&claim), &plans, &[], now()),
            "node n: m5.large a spot, NodePool default, NodeClaim c\n\
             goes: interrupted: SpotInterruption, until 2026-11-22T04:12:00Z\nnoted: RebalanceRecommendation\n\
             goes: drifted: AMIDrift: ami-2 today\nexpires: 2026-12-01T00:00:00Z\n\
             stays: Pod: default/web may not move (p, 60s ago)\n"
        );
        let plain = of_node("n", &node, None, &[], &[], now());
        assert!(plain.contains("NodeClaim none") && plain.contains("nothing is said of it yet"), "{plain}");
    }
}
