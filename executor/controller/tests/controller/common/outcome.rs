//! How things ended.

use super::machines::one_each;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use std::collections::BTreeSet;
use stowage_api::NodeClaim;
use stowage_aws::Order;
use stowage_fake_cloud::FakeCloud;

/// All claims are ready, all nodes open, and machines, claims and nodes are the same.
pub(crate) async fn settled(client: &Client, cloud: &FakeCloud) -> Result<Vec<NodeClaim>, String> {
    one_each(cloud);
    let claims: Api<NodeClaim> = Api::all(client.clone());
    let claims = claims.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let ready = |claim: &&NodeClaim| {
        let conditions = claim.status.clone().unwrap_or_default().conditions.unwrap_or_default();
        !conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True")
    };
    let waiting = claims.iter().filter(ready).count();
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = nodes.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let tainted = nodes.iter().filter(|node| {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
        taints.is_some_and(|taints| !taints.is_empty())
    });
    let tainted = tainted.count();
    let live: BTreeSet<String> = cloud.with(|world| {
        let live = world.machines().values().filter(|machine| machine.ended.is_none());
        live.map(|machine| machine.tags["karpenter.sh/nodeclaim"].clone()).collect()
    });
    let named: BTreeSet<String> = claims.iter().map(|claim| claim.name_any()).collect();
    if waiting == 0 && tainted == 0 && live == named && nodes.len() == claims.len() {
        return Ok(claims);
    }
    Err(format!(
        "{waiting} claims not ready, {tainted} nodes tainted, {} machines, {} claims, {} nodes",
        live.len(),
        named.len(),
        nodes.len()
    ))
}

/// Whether it is ready and not on its way out.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|one| one.status == "True")
        && pod.metadata.deletion_timestamp.is_none()
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    pod.status.as_ref()?.conditions.as_ref()?.iter().find(|one| one.type_ == kind)
}

/// Pods that are. A list that failed is not one of no pods.
pub(crate) async fn ready(pods: &Api<Pod>) -> Result<Vec<Pod>, String> {
    let mut found = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    found.retain(is_ready);
    Ok(found)
}

/// Whether so many pods are, and no more. If not, those that are not are named: who reads it asks why they wait.
pub(crate) async fn all_ready(pods: &Api<Pod>, count: usize) -> Result<(), String> {
    let all = pods.list(&ListParams::default()).await.map_err(|error| error.to_string())?.items;
    let (ready, others): (Vec<&Pod>, Vec<&Pod>) = all.iter().partition(|pod| is_ready(pod));
    if ready.len() == count {
        return Ok(());
    }
    let others: Vec<String> = others.into_iter().map(whereabouts).collect();
    Err(format!("{} of {count} ready; not ready: [{}]", ready.len(), others.join("; ")))
}

/// How far a pod is: its node and its phase, or why it has no node.
fn whereabouts(pod: &Pod) -> String {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("no phase");
    let leaves = if pod.metadata.deletion_timestamp.is_some() { ", is deleted" } else { "" };
    let name = pod.name_any();
    if let Some(node) = spec.and_then(|spec| spec.node_name.as_deref()) {
        return format!("{name} on {node}, {phase}{leaves}");
    }
    let gates = spec.and_then(|spec| spec.scheduling_gates.as_ref());
    let gates: Vec<&str> = gates.into_iter().flatten().map(|gate| gate.name.as_str()).collect();
    let scheduled = condition(pod, "PodScheduled").and_then(|one| one.message.as_deref()).unwrap_or_default();
    format!("{name} on no node, {phase}{leaves}, gates {gates:?}, PodScheduled {scheduled:?}")
}

/// Each claim's machine is one of its plan's offerings at the planned price; what was paid and what the first choices cost.
pub(crate) fn paid(cloud: &FakeCloud, claims: &[NodeClaim]) -> (i64, i64) {
    let machines = cloud.with(|world| world.machines().clone());
    let (mut paid, mut planned) = (0, 0);
    for claim in claims {
        let order = Order::parse(&claim.annotations()["stowage.dev/launch-request"]).expect("an order");
        let machine = machines
            .values()
            .find(|one| one.ended.is_none() && one.tags["karpenter.sh/nodeclaim"] == claim.name_any())
            .expect("a machine");
        let offering = order.launch.offerings.iter().find(|one| {
            one.instance_type == machine.instance_type
                && one.zone == machine.zone
                && one.capacity_type == machine.capacity_type
        });
        assert_eq!(offering.expect("an offering of the plan").price.0, machine.price);
        paid += machine.price;
        planned += order.launch.offerings[0].price.0;
    }
    (paid, planned)
}
