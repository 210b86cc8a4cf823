//! `karpenter.sh/v1` NodeClaim, as Karpenter 1.14 defines it.

use crate::common::{Condition, NodeClassRef, Requirement, ResourceList, Taint, atomic_list, requirements};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{DURATION, DURATION_OR_NEVER, at, rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

resource!(
    /// One machine: asked for, launched, registered, and at last given back.
    NodeClaim, NodeClaimSpec, NodeClaimStatus, "karpenter.sh", "v1", "NodeClaim", "nodeclaims"
);

/// The machine asked for. It cannot be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct NodeClaimSpec {
    /// The node is replaced when it is this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "720h", "pattern" = DURATION_OR_NEVER))]
    pub expire_after: Option<String>,
    /// The node class.
    pub node_class_ref: NodeClassRef,
    /// Which instance types, zones, capacity types and labels are allowed.
    #[schemars(transform = requirements)]
    pub requirements: Vec<Requirement>,
    /// What pods will ask of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ClaimResources>,
    /// Taints that somebody else removes while the node starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = atomic_list)]
    pub startup_taints: Option<Vec<Taint>>,
    /// Taints.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = atomic_list)]
    pub taints: Option<Vec<Taint>>,
    /// How long a drain may take before pods are ended by force.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub termination_grace_period: Option<String>,
}

fn spec_rules(schema: &mut Schema) {
    rules(schema, &[("self == oldSelf", "spec is immutable")]);
}

/// What pods will ask of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ClaimResources {
    /// Sum of requests, those of DaemonSets included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<ResourceList>,
}

/// The machine that was launched.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaimStatus {
    /// What pods may ask of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocatable: Option<ResourceList>,
    /// What it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<ResourceList>,
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = claim_conditions)]
    pub conditions: Option<Vec<Condition>>,
    /// Image it was started with.
    #[serde(rename = "imageID", skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// When its pods changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub last_pod_event_time: Option<String>,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_name: Option<String>,
    /// The cloud's name for it.
    #[serde(rename = "providerID", skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
}

/// Conditions of NodeClaims may come without reason and message.
fn claim_conditions(schema: &mut Schema) {
    set(schema, json!({ "x-kubernetes-list-map-keys": ["type"], "x-kubernetes-list-type": "map" }));
    at(schema, &["items"], |item| {
        set(item, json!({ "required": ["lastTransitionTime", "status", "type"] }));
        at(item, &["properties", "reason"], |reason| {
            reason.remove("minLength");
            set(reason, json!({ "pattern": "^([A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?|)$" }));
        });
    });
}

const COLUMNS: [Column; 11] = [
    ("Type", "string", r".metadata.labels.node\.kubernetes\.io/instance-type", false),
    ("Capacity", "string", r".metadata.labels.karpenter\.sh/capacity-type", false),
    ("Zone", "string", r".metadata.labels.topology\.kubernetes\.io/zone", false),
    ("Node", "string", ".status.nodeName", false),
    ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
    ("ImageID", "string", ".status.imageID", true),
    ("ID", "string", ".status.providerID", true),
    ("NodePool", "string", r".metadata.labels.karpenter\.sh/nodepool", true),
    ("NodeClass", "string", ".spec.nodeClassRef.name", true),
    ("Drifted", "string", ".status.conditions[?(@.type==\"Drifted\")].status", true),
];

/// The definition of [`NodeClaim`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn node_claim_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "karpenter.sh",
        version: "v1",
        kind: "NodeClaim",
        plural: "nodeclaims",
        short: &[],
        category: "karpenter",
    };
    definition(&names, &COLUMNS, None, structural::<NodeClaimSpec>(), structural::<NodeClaimStatus>(), true)
}
