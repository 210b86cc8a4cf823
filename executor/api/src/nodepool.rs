//! `karpenter.sh/v1` NodePool, as Karpenter 1.14 defines it.

use crate::common::{
    Condition, NodeClassRef, Requirement, ResourceList, Taint, allowed_label, atomic_list, keyed_conditions,
    requirements, rule_of,
};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{DURATION, DURATION_OR_NEVER, LABEL_VALUE, at, rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;

resource!(
    /// A kind of nodes that may be launched, and the rules for taking them away again.
    NodePool, NodePoolSpec, NodePoolStatus, "karpenter.sh", "v1", "NodePool", "nodepools"
);

/// What may be launched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct NodePoolSpec {
    /// How nodes are taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = json!({ "consolidateAfter": "0s" })))]
    pub disruption: Option<Disruption>,
    /// The pool as a whole may use no more than this (`nodes` for their number).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<ResourceList>,
    /// Keeps exactly this many nodes, needed or not (a static pool).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i64>,
    /// What its NodeClaims look like.
    pub template: Template,
    /// Pools of more weight come first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub weight: Option<i32>,
}

fn spec_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            (
                "has(self.replicas) == has(oldSelf.replicas)",
                "Cannot transition NodePool between static (replicas set) and dynamic (replicas unset) provisioning modes",
            ),
            (
                "!has(self.replicas) || (!has(self.limits) || size(self.limits) == 0 || (size(self.limits) == 1 && \
                 'nodes' in self.limits))",
                "only 'limits.nodes' is supported on static NodePools",
            ),
            ("!has(self.replicas) || !has(self.weight)", "'weight' is not supported on static NodePools"),
        ],
    );
}

/// How nodes of a pool are taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Disruption {
    /// How many nodes may be disrupted at once. The least of all budgets in force counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = budgets)]
    pub budgets: Option<Vec<Budget>>,
    /// How long a node's pods must not have changed before it may be consolidated.
    #[schemars(extend("pattern" = DURATION_OR_NEVER))]
    pub consolidate_after: String,
    /// Which nodes may be consolidated.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = consolidation_policy)]
    pub consolidation_policy: Option<String>,
}

fn consolidation_policy(schema: &mut Schema) {
    let policies = ["WhenEmpty", "WhenEmptyOrUnderutilized", "Balanced"];
    set(schema, json!({ "default": "WhenEmptyOrUnderutilized", "enum": policies }));
}

fn budgets(schema: &mut Schema) {
    set(schema, json!({ "default": [{ "nodes": "10%" }], "maxItems": 50 }));
    atomic_list(schema);
    rules(
        schema,
        &[("self.all(x, has(x.schedule) == has(x.duration))", "'schedule' must be set with 'duration'")],
    );
}

/// A disruption budget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// How long it is in force from each time of the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^((([0-9]+(h|m))|([0-9]+h[0-9]+m))(0s)?)$"))]
    pub duration: Option<String>,
    /// A number of nodes, or a share in percent (rounded up).
    #[schemars(extend("default" = "10%", "pattern" = "^((100|[0-9]{1,2})%|[0-9]+)$"))]
    pub nodes: String,
    /// The reasons it is about; none: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = budget_reasons)]
    pub reasons: Option<Vec<String>>,
    /// When it comes into force, as cron writes it, in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = r"^(@(annually|yearly|monthly|weekly|daily|midnight|hourly))|((.+)\s(.+)\s(.+)\s(.+)\s(.+))$"))]
    pub schedule: Option<String>,
}

fn budget_reasons(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 50, "x-kubernetes-list-type": "set" }));
    at(schema, &["items"], |item| set(item, json!({ "enum": ["Underutilized", "Empty", "Drifted"] })));
}

/// The template of NodeClaims.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Template {
    /// Labels and annotations of its nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Everything else.
    pub spec: TemplateSpec,
}

/// Labels and annotations of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TemplateMetadata {
    /// Annotations.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-map-type" = "granular"))]
    pub annotations: Option<BTreeMap<String, String>>,
    /// Labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = template_labels)]
    pub labels: Option<BTreeMap<String, String>>,
}

fn template_labels(schema: &mut Schema) {
    set(schema, json!({ "maxProperties": 100, "x-kubernetes-map-type": "atomic" }));
    at(schema, &["additionalProperties"], |value| {
        set(value, json!({ "maxLength": 63, "pattern": LABEL_VALUE }))
    });
    let [domain, hostname, aws] = allowed_label("x");
    let pool = ("x != \"karpenter.sh/nodepool\"".to_owned(), "label \"karpenter.sh/nodepool\" is restricted");
    for (rule, message) in [domain, pool, hostname, aws] {
        rule_of(schema, &format!("self.all(x, {rule})"), message);
    }
}

/// What NodeClaims of a pool are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSpec {
    /// Nodes are replaced when they are this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "720h", "pattern" = DURATION_OR_NEVER))]
    pub expire_after: Option<String>,
    /// The node class.
    #[schemars(transform = immutable_class)]
    pub node_class_ref: NodeClassRef,
    /// Which instance types, zones, capacity types and labels are allowed.
    #[schemars(transform = pool_requirements)]
    pub requirements: Vec<Requirement>,
    /// Taints that somebody else removes while a node starts.
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

fn immutable_class(schema: &mut Schema) {
    rules(
        schema,
        &[
            ("self.group == oldSelf.group", "nodeClassRef.group is immutable"),
            ("self.kind == oldSelf.kind", "nodeClassRef.kind is immutable"),
        ],
    );
}

/// As of a NodeClaim; and a pool cannot ask for another pool.
fn pool_requirements(schema: &mut Schema) {
    requirements(schema);
    at(schema, &["items", "properties", "key"], |key| {
        rules(key, &[("self != \"karpenter.sh/nodepool\"", "label \"karpenter.sh/nodepool\" is restricted")]);
    });
}

/// What a pool uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyed_conditions)]
    pub conditions: Option<Vec<Condition>>,
    /// Generation of the node class that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_class_observed_generation: Option<i64>,
    /// Nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = 0))]
    pub nodes: Option<i64>,
    /// Resources of its nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceList>,
}

const READY: &str = ".status.conditions[?(@.type==\"Ready\")].status";
const COLUMNS: [Column; 7] = [
    ("NodeClass", "string", ".spec.template.spec.nodeClassRef.name", false),
    ("Nodes", "string", ".status.nodes", false),
    ("Ready", "string", READY, false),
    ("Age", "date", ".metadata.creationTimestamp", false),
    ("Weight", "integer", ".spec.weight", true),
    ("CPU", "string", ".status.resources.cpu", true),
    ("Memory", "string", ".status.resources.memory", true),
];

/// The definition of [`NodePool`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn node_pool_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "karpenter.sh",
        version: "v1",
        kind: "NodePool",
        plural: "nodepools",
        short: &[],
        category: "karpenter",
    };
    let scale = Some((".spec.replicas", ".status.nodes"));
    definition(&names, &COLUMNS, scale, structural::<NodePoolSpec>(), structural::<NodePoolStatus>(), true)
}
