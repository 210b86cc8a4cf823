//! `stowage.dev/v1alpha1` Plan: what the controller means to do, or would do, and how far it is.

use crate::common::{Condition, closed_object, keyed_conditions};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{at, rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

resource!(
    /// A plan. Its name starts with the digest of the plan document.
    Plan, PlanSpec, PlanStatus, "stowage.dev", "v1alpha1", "Plan", "plans"
);

/// What is planned. It cannot be changed: another plan is another object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct PlanSpec {
    /// Digest of this spec with this field empty. An approval names it.
    #[schemars(transform = digest)]
    pub digest: String,
    /// The id of the plan document.
    #[schemars(transform = digest)]
    pub plan: String,
    /// Digest of the snapshot that was planned.
    #[schemars(transform = digest)]
    pub snapshot: String,
    /// Mode it was made for.
    #[schemars(transform = mode)]
    pub mode: String,
    /// Everything to do.
    #[schemars(extend("maxItems" = 5000))]
    pub actions: Vec<Action>,
    /// Price of the launches in micro-dollars per hour.
    #[schemars(range(min = 0))]
    pub launch_cost_micros: i64,
    /// Proven: no set of launches for these pods costs less; micro-dollars per hour.
    #[schemars(range(min = 0))]
    pub launch_bound_micros: i64,
    /// Nodes added and removed, as `+3/-0`.
    pub nodes: String,
    /// Change of the bill in dollars per month.
    pub monthly: String,
    /// Proven gap in percent.
    pub gap: String,
    /// When it may no longer be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub expires: Option<String>,
    /// For reviewers, in markdown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What is carried out once it is approved: launches, and everything they rely on; JSON, compressed with zstd, in base64. The rest
    /// of the spec is read off it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = body)]
    pub body: Option<String>,
}

fn spec_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            ("self == oldSelf", "spec is immutable"),
            (
                "self.mode != 'review' || has(self.body) == has(self.expires)",
                "what is to be approved has a body and an end",
            ),
            ("self.launchBoundMicros <= self.launchCostMicros", "a bound cannot be above the cost"),
        ],
    );
}

fn digest(schema: &mut Schema) {
    set(schema, json!({ "pattern": "^sha256:[0-9a-f]{64}$" }));
}

fn body(schema: &mut Schema) {
    set(schema, json!({ "pattern": "^[A-Za-z0-9+/]+=*$", "maxLength": 1_400_000 }));
}

fn mode(schema: &mut Schema) {
    set(schema, json!({ "enum": ["shadow", "review", "auto"] }));
}

/// One thing to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = action_rules)]
pub struct Action {
    /// Name of the action in this plan.
    pub id: String,
    /// What is done.
    #[schemars(transform = action_kind)]
    pub kind: String,
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Price in micro-dollars per hour.
    #[schemars(range(min = 0))]
    pub price_micros: i64,
    /// How many substitutes may be launched in its place.
    #[schemars(range(min = 0))]
    pub alternates: i32,
    /// Its pods as `namespace/name`: those it launches for, or those that move.
    pub pods: Vec<String>,
    /// Wave of the plan, from 1, where nodes are removed: what is in one begins when all before it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub wave: Option<i32>,
    /// The node that is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why it is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = reasons)]
    pub reason: Option<String>,
}

fn action_rules(schema: &mut Schema) {
    closed_object(schema);
    rules(
        schema,
        &[(
            "(self.kind == 'Remove') == (has(self.node) && has(self.reason))",
            "a removal, and nothing else, names a node and a reason",
        )],
    );
}

fn reasons(schema: &mut Schema) {
    let reasons = ["Empty", "Underutilized", "Interrupted", "Unhealthy", "Expired", "Drifted"];
    set(schema, json!({ "enum": reasons }));
}

fn action_kind(schema: &mut Schema) {
    set(schema, json!({ "enum": ["Launch", "Remove"] }));
}

/// How far a plan is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlanStatus {
    /// In a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = phase)]
    pub phase: Option<String>,
    /// Actions, and how many are done, as `2/3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actions: Option<String>,
    /// Digest that was approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved: Option<String>,
    /// Who approved it, as the approval says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyed_conditions)]
    pub conditions: Option<Vec<Condition>>,
    /// Pods left out, with the reason; the first hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = left_out)]
    pub left_out: Option<Vec<LeftOut>>,
    /// Nodes that stay though they were looked at, with the reason; the first hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = left_out)]
    pub kept: Option<Vec<KeptNode>>,
}

fn phase(schema: &mut Schema) {
    let phases =
        ["Shadow", "Proposed", "Approved", "Executing", "Completed", "Failed", "Superseded", "Refused"];
    set(schema, json!({ "enum": phases }));
}

fn left_out(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 100 }));
    at(schema, &["items"], closed_object);
}

/// A pod that is not placed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// `namespace/name`.
    pub pod: String,
    /// Why.
    pub reason: String,
}

/// A node that stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeptNode {
    /// Name.
    pub node: String,
    /// Why, in a word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

const COLUMNS: [Column; 9] = [
    ("Phase", "string", ".status.phase", false),
    ("Reason", "string", ".status.conditions[?(@.type==\"Executable\")].reason", false),
    ("Actions", "string", ".status.actions", false),
    ("Nodes", "string", ".spec.nodes", false),
    ("Monthly", "string", ".spec.monthly", false),
    ("Gap", "string", ".spec.gap", false),
    ("Expires", "string", ".spec.expires", true),
    ("Approved", "string", ".status.approved", true),
    ("Age", "date", ".metadata.creationTimestamp", false),
];

/// The definition of [`Plan`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn plan_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "stowage.dev",
        version: "v1alpha1",
        kind: "Plan",
        plural: "plans",
        short: &[],
        category: "stowage",
    };
    definition(&names, &COLUMNS, None, structural::<PlanSpec>(), structural::<PlanStatus>(), true)
}
