//! CapacityBuffers: what became of them, written into their status as Karpenter's users know it.

use crate::act::Ports;
use crate::classes::merged;
use kube::Api;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use stowage_models::labels::{BUFFER_NAME, BUFFER_NAMESPACE};
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;
use stowage_observe::{Buffer, KINDS, View};

/// Virtual pods of a buffer in the last plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    /// On what is there, or on its way.
    existing: usize,
    /// On nodes that the plan launches.
    new: usize,
    /// Nowhere.
    nowhere: usize,
}

/// The same of all buffers, by namespace and name.
#[derive(Debug, Default)]
pub(crate) struct Rooms(Mutex<BTreeMap<(String, String), Share>>);

impl Rooms {
    /// Takes in where a plan puts virtual pods.
    pub(crate) fn planned(&self, plan: &Plan, snapshot: &Snapshot, left_out: &[(PodRef, String)]) {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        if known && !snapshot.pods.iter().any(|pod| pod.is_virtual()) {
            return;
        }
        let shares = shares(plan, snapshot, left_out);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = shares;
    }

    fn of(&self, buffer: &Buffer) -> Option<Share> {
        let key = (buffer.namespace.clone(), buffer.name.clone());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied()
    }
}

fn shares(
    plan: &Plan,
    snapshot: &Snapshot,
    left_out: &[(PodRef, String)],
) -> BTreeMap<(String, String), Share> {
    let mut owners: BTreeMap<PodRef, (String, String)> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| pod.is_virtual()) {
        let text = |key: &str| pod.annotations.get(key).cloned().unwrap_or_default();
        owners.insert(pod.id(), (text(BUFFER_NAMESPACE), text(BUFFER_NAME)));
    }
    let mut shares: BTreeMap<(String, String), Share> = BTreeMap::new();
    let mut count = |pods: &mut dyn Iterator<Item = &PodRef>, add: fn(&mut Share)| {
        for owner in pods.filter_map(|pod| owners.get(pod)) {
            add(shares.entry(owner.clone()).or_default());
        }
    };
    count(&mut plan.existing.iter().flat_map(|node| &node.pods), |share| share.existing += 1);
    count(&mut plan.launches.iter().flat_map(|launch| &launch.pods), |share| share.new += 1);
    count(&mut plan.unplaced.iter().flat_map(|left| &left.pods), |share| share.nowhere += 1);
    count(&mut left_out.iter().map(|(pod, _)| pod), |share| share.nowhere += 1);
    // What a plan does not name at all is on a machine that is being launched for it.
    for pod in snapshot.pods.iter().filter(|pod| pod.is_virtual() && pod.node.is_some()) {
        if let Some(owner) = owners.get(&pod.id()) {
            shares.entry(owner.clone()).or_default().existing += 1;
        }
    }
    shares
}

/// Writes what has changed.
pub(crate) async fn look(ports: &Ports, view: &View) {
    let Some(kind) = KINDS.iter().find(|one| one.kind == "CapacityBuffer") else { return };
    let resource = kube::core::GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = kube::core::ApiResource::from_gvk_with_plural(&resource, kind.plural);
    for buffer in view.buffers().iter() {
        let text = view.object_in(kind.plural, &buffer.namespace, &buffer.name);
        let Some(old) = text.and_then(|text| serde_json::from_str::<Value>(&text).ok()) else { continue };
        let said = status(buffer, &old, ports.rooms.of(buffer));
        let Some(new) = merged(&old, &said.to_string()).filter(|new| *new != old["status"]) else { continue };
        let api: Api<DynamicObject> =
            Api::namespaced_with(ports.client.clone(), &buffer.namespace, &resource);
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({ "status": new })));
        if let Err(error) = ports.leadership.write(api.patch_status(&buffer.name, &params, &patch)).await {
            tracing::warn!(capacitybuffer = buffer.name, error, "its status is not written");
        }
    }
}

/// What the status of a buffer says; conditions without times. Reasons are Karpenter's.
fn status(buffer: &Buffer, old: &Value, share: Option<Share>) -> Value {
    let condition = |kind: &str, holds: bool, reason: &str, message: String| {
        let status = if holds { "True" } else { "False" };
        json!({ "type": kind, "status": status, "reason": reason, "message": message })
    };
    let room = match &buffer.outcome {
        Err(why) => {
            let not_ready = "Buffer is not ReadyForProvisioning".to_owned();
            return json!({ "conditions": [
                condition("ReadyForProvisioning", false, why.reason, why.message.clone()),
                condition("Provisioning", false, "NotReadyForProvisioning", not_ready),
            ] });
        }
        Ok(room) => room,
    };
    let ready = "Pod template resolved successfully".to_owned();
    let mut conditions = vec![condition("ReadyForProvisioning", true, "Resolved", ready)];
    let limited =
        if room.limited { ("Limited", "its limits hold less than it asks for") } else { ("NotLimited", "") };
    conditions.push(condition("LimitedByQuotas", room.limited, limited.0, limited.1.to_owned()));
    let all = usize::try_from(room.replicas).unwrap_or_default();
    match share {
        _ if all == 0 => {
            let message = "Buffer has zero desired replicas".to_owned();
            conditions.push(condition("Provisioning", false, "BufferEmpty", message));
        }
        Some(share) if share.new + share.nowhere > 0 => {
            let message =
                format!("{}/{all} virtual pods required new capacity, {} failed", share.new, share.nowhere);
            conditions.push(condition("Provisioning", false, "RequiresNewCapacity", message));
        }
        Some(share) if share.existing == all => {
            let message = format!("All {all} virtual pods fit on existing capacity");
            conditions.push(condition("Provisioning", true, "FitsExistingCapacity", message));
        }
        // No plan has looked at all of them yet.
        _ => {}
    }
    let strategy = old["spec"]["provisioningStrategy"].clone();
    let mut said =
        json!({ "replicas": room.replicas, "provisioningStrategy": strategy, "conditions": conditions });
    if let Some((name, generation)) = &room.template {
        said["podTemplateRef"] = json!({ "name": name });
        said["podTemplateGeneration"] = json!(generation);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_observe::{Room, Unresolved};

    fn told(buffer: &Buffer, share: Option<Share>, kind: &str) -> Option<(String, String)> {
        let status = status(buffer, &json!({ "spec": {} }), share);
        let found = status["conditions"].as_array()?.iter().find(|one| one["type"] == kind)?.clone();
        let text = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Some((text("status"), text("reason")))
    }

    #[test]
    fn a_buffer_says_how_far_it_is() {
        let room = Room { replicas: 3, limited: true, template: Some(("shape".to_owned(), Some(4))) };
        let mut buffer =
            Buffer { namespace: "a".to_owned(), name: "b".to_owned(), outcome: Ok(room), pods: Vec::new() };
        let is = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        assert_eq!(told(&buffer, None, "ReadyForProvisioning"), is("True", "Resolved"));
        assert_eq!(told(&buffer, None, "LimitedByQuotas"), is("True", "Limited"));
        assert_eq!(told(&buffer, None, "Provisioning"), None, "nobody has planned with it");
        let fits = Share { existing: 3, ..Share::default() };
        assert_eq!(told(&buffer, Some(fits), "Provisioning"), is("True", "FitsExistingCapacity"));
        for share in [Share { existing: 2, new: 1, nowhere: 0 }, Share { existing: 2, new: 0, nowhere: 1 }] {
            assert_eq!(told(&buffer, Some(share), "Provisioning"), is("False", "RequiresNewCapacity"));
        }
        buffer.outcome = Ok(Room::default());
        assert_eq!(told(&buffer, Some(fits), "Provisioning"), is("False", "BufferEmpty"));
        let why =
            Unresolved { reason: "PodTemplateNotFound", message: "there is no PodTemplate x".to_owned() };
        buffer.outcome = Err(why);
        assert_eq!(told(&buffer, None, "ReadyForProvisioning"), is("False", "PodTemplateNotFound"));
        assert_eq!(told(&buffer, Some(fits), "Provisioning"), is("False", "NotReadyForProvisioning"));
    }
}
