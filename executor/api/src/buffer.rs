//! `autoscaling.x-k8s.io/v1beta1` CapacityBuffer, as Karpenter 1.14 ships it; Cluster Autoscaler reads the same objects.

use crate::common::{Condition, ResourceList, keyed_conditions};
use crate::resource::{Column, Names, definition};
use crate::schema::{rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Room that is kept free for pods of a shape.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct CapacityBufferSpec {
    /// No more room than this, in requests; without replicas and percentage, as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceList>,
    /// Room for such a share of the replicas of the `scalableRef`, in percent, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub percentage: Option<i32>,
    /// The shape, as a PodTemplate of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_ref: Option<TemplateRef>,
    /// How the room comes about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "buffer.x-k8s.io/active-capacity"))]
    pub provisioning_strategy: Option<String>,
    /// Room for so many pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// The shape, as a Deployment, StatefulSet or ReplicaSet of the same namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scalable_ref: Option<ScalableRef>,
}

fn spec_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            (
                "!has(self.podTemplateRef) || has(self.replicas) || has(self.limits)",
                "If podTemplateRef is set, replicas or limits must also be set",
            ),
            (
                "!(has(self.podTemplateRef) && has(self.scalableRef))",
                "You must define either PodTemplateRef or ScalableRef, but not both",
            ),
        ],
    );
}

fn named(schema: &mut Schema) {
    set(schema, json!({ "minLength": 1 }));
}

/// Names a PodTemplate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateRef {
    /// Name.
    #[schemars(transform = named)]
    pub name: String,
}

/// Names what has replicas.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalableRef {
    /// API group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// Kind.
    #[schemars(transform = named)]
    pub kind: String,
    /// Name.
    #[schemars(transform = named)]
    pub name: String,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapacityBufferStatus {
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyed_conditions)]
    pub conditions: Option<Vec<Condition>>,
    /// Generation of the PodTemplate that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_generation: Option<i64>,
    /// The PodTemplate that is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_template_ref: Option<TemplateRef>,
    /// The strategy that is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provisioning_strategy: Option<String>,
    /// Pods that there is to be room for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i32>,
}

const COLUMNS: [Column; 7] = [
    ("Strategy", "string", ".spec.provisioningStrategy", false),
    ("PodTemplate", "string", ".status.podTemplateRef.name", false),
    ("Replicas", "integer", ".status.replicas", false),
    ("ConditionsType", "string", ".status.conditions[*].type", false),
    ("ConditionsStatus", "string", ".status.conditions[*].status", false),
    ("ConditionsReason", "string", ".status.conditions[*].reason", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
];

/// The definition of CapacityBuffer.
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn capacity_buffer_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "autoscaling.x-k8s.io",
        version: "v1beta1",
        kind: "CapacityBuffer",
        plural: "capacitybuffers",
        short: &["cb"],
        category: "autoscaling",
    };
    let (spec, status) = (structural::<CapacityBufferSpec>(), structural::<CapacityBufferStatus>());
    let mut definition = definition(&names, &COLUMNS, None, spec, status, true)?;
    definition.spec.scope = "Namespaced".to_owned();
    Ok(definition)
}
