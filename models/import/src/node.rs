//! Nodes.

use crate::meta::{Condition, Meta, RawTaint, symptoms, taints, true_conditions};
use crate::quantities::{Quantities, nonzero};
use crate::requirement::modernise;
use serde::Deserialize;
use std::collections::BTreeMap;
use stowage_models::objects::Node;

/// A `v1` Node.
#[derive(Deserialize)]
pub(crate) struct RawNode {
    metadata: Meta,
    spec: Option<RawSpec>,
    status: Option<RawStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    taints: Option<Vec<RawTaint>>,
    unschedulable: Option<bool>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
}

#[derive(Default, Deserialize)]
struct RawStatus {
    capacity: Option<Quantities>,
    allocatable: Option<Quantities>,
    conditions: Option<Vec<Condition>>,
}

impl RawNode {
    pub(crate) fn convert(self) -> Node {
        let spec = self.spec.unwrap_or_default();
        let status = self.status.unwrap_or_default();
        Node {
            annotations: self.metadata.kept_annotations(),
            deleting: self.metadata.is_deleting(),
            name: self.metadata.name,
            labels: modernise(self.metadata.labels),
            taints: taints(spec.taints),
            unschedulable: spec.unschedulable.unwrap_or(false),
            provider_id: spec.provider_id.filter(|id| !id.is_empty()),
            created: self.metadata.creation_timestamp,
            capacity: nonzero(status.capacity),
            allocatable: nonzero(status.allocatable),
            volume_limits: BTreeMap::new(),
            symptoms: symptoms(status.conditions.as_deref().unwrap_or_default()),
            ready: true_conditions(status.conditions).iter().any(|condition| condition == "Ready"),
        }
    }
}
