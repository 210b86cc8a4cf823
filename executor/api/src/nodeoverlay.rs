//! `karpenter.sh/v1alpha1` NodeOverlay, as Karpenter 1.14 defines it.

use crate::common::{
    Condition, ResourceList, atomic_list, keyed_conditions, operator, overlay_key, requirement_values,
};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

resource!(
    /// What people know of nodes and prices and the cloud does not say.
    NodeOverlay, NodeOverlaySpec, NodeOverlayStatus, "karpenter.sh", "v1alpha1", "NodeOverlay", "nodeoverlays"
);

/// What is known of which nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct NodeOverlaySpec {
    /// Extended resources the nodes have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = extended_only)]
    pub capacity: Option<ResourceList>,
    /// What a node costs, in dollars per hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = r"^\d+(\.\d+)?$"))]
    pub price: Option<String>,
    /// What a node costs more or less: dollars per hour (`-0.5`) or a share (`+10%`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = r"^(([+-]{1}(\d*\.?\d+))|(\+{1}\d*\.?\d+%)|(^(-\d{1,2}(\.\d+)?%)$)|(-100%))$"))]
    pub price_adjustment: Option<String>,
    /// Which nodes: those whose labels satisfy all of them.
    #[schemars(transform = requirements)]
    pub requirements: Vec<OverlayRequirement>,
    /// Of several overlays about one thing the one of the highest weight counts; without, the weight is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10000))]
    pub weight: Option<i32>,
}

fn spec_rules(schema: &mut Schema) {
    let rule = "!has(self.price) || !has(self.priceAdjustment)";
    rules(schema, &[(rule, "cannot set both 'price' and 'priceAdjustment'")]);
}

fn extended_only(schema: &mut Schema) {
    let rule = "self.all(x, !(x in ['cpu', 'memory', 'ephemeral-storage', 'pods']))";
    rules(schema, &[(rule, "invalid resource restricted")]);
}

/// A requirement on a label of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverlayRequirement {
    /// Label key.
    #[schemars(transform = overlay_key)]
    pub key: String,
    /// How the label relates to the values.
    #[schemars(transform = operator)]
    pub operator: String,
    /// Values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = requirement_values)]
    pub values: Option<Vec<String>>,
}

fn requirements(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 100 }));
    atomic_list(schema);
    rules(
        schema,
        &[
            (
                "self.all(x, x.operator == 'NotIn' ? x.values.size() != 0 : true)",
                "requirements with operator 'NotIn' must have a value defined",
            ),
            (
                "self.all(x, x.operator == 'In' ? x.values.size() != 0 : true)",
                "requirements with operator 'In' must have a value defined",
            ),
            (
                "self.all(x, (x.operator == 'Gt' || x.operator == 'Lt' || x.operator == 'Gte' || x.operator == \
                 'Lte') ? (x.values.size() == 1 && int(x.values[0]) >= 0) : true)",
                "requirements operator 'Gt', 'Lt', 'Gte' or 'Lte' must have a single positive integer value",
            ),
        ],
    );
}

/// Whether it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeOverlayStatus {
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyed_conditions)]
    pub conditions: Option<Vec<Condition>>,
}

const COLUMNS: [Column; 3] = [
    ("Ready", "string", ".status.conditions[?(@.type==\"Ready\")].status", false),
    ("Age", "date", ".metadata.creationTimestamp", false),
    ("Weight", "integer", ".spec.weight", true),
];

/// The definition of [`NodeOverlay`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn node_overlay_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "karpenter.sh",
        version: "v1alpha1",
        kind: "NodeOverlay",
        plural: "nodeoverlays",
        short: &["overlays"],
        category: "karpenter",
    };
    definition(
        &names,
        &COLUMNS,
        None,
        structural::<NodeOverlaySpec>(),
        structural::<NodeOverlayStatus>(),
        true,
    )
}
