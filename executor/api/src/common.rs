//! Types that several resources share.

use crate::schema::{LABEL_VALUE, QUALIFIED_NAME, QUANTITY, rules, set};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A Kubernetes quantity as written: a number or text such as `100m` or `4Gi`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// A whole number.
    Number(i64),
    /// Text.
    Text(String),
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "anyOf": [{ "type": "integer" }, { "type": "string" }],
            "pattern": QUANTITY,
            "x-kubernetes-int-or-string": true,
        })
    }
}

impl std::fmt::Display for Quantity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Quantity::Number(number) => write!(f, "{number}"),
            Quantity::Text(text) => f.write_str(text),
        }
    }
}

/// Quantities by resource name.
pub type ResourceList = BTreeMap<String, Quantity>;

/// A taint that nodes get.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = closed_object)]
pub struct Taint {
    /// What happens to pods that do not tolerate it.
    #[schemars(transform = taint_effect)]
    pub effect: String,
    /// Key.
    #[schemars(transform = taint_key)]
    pub key: String,
    /// When it was added; only for NoExecute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub time_added: Option<String>,
    /// Value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = QUALIFIED_NAME))]
    pub value: Option<String>,
}

/// Objects of the API forbid nothing: unknown fields are pruned.
pub(crate) fn closed_object(schema: &mut Schema) {
    schema.remove("additionalProperties");
}

fn taint_effect(schema: &mut Schema) {
    set(schema, json!({ "enum": ["NoSchedule", "PreferNoSchedule", "NoExecute"] }));
}

fn taint_key(schema: &mut Schema) {
    set(schema, json!({ "minLength": 1, "pattern": QUALIFIED_NAME }));
}

/// A list that is replaced as a whole.
pub(crate) fn atomic_list(schema: &mut Schema) {
    set(schema, json!({ "x-kubernetes-list-type": "atomic" }));
}

/// Which node class describes the machines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NodeClassRef {
    /// API group, for example `karpenter.k8s.aws`.
    #[schemars(transform = class_group)]
    pub group: String,
    /// Kind, for example `EC2NodeClass`.
    #[schemars(transform = class_kind)]
    pub kind: String,
    /// Name.
    #[schemars(transform = class_name)]
    pub name: String,
}

fn class_group(schema: &mut Schema) {
    set(schema, json!({ "pattern": "^[^/]*$" }));
    rules(schema, &[("self != ''", "group may not be empty")]);
}

fn class_kind(schema: &mut Schema) {
    rules(schema, &[("self != ''", "kind may not be empty")]);
}

fn class_name(schema: &mut Schema) {
    rules(schema, &[("self != ''", "name may not be empty")]);
}

/// A requirement on a label of nodes, which may ask for a number of distinct values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Label key.
    #[schemars(transform = requirement_key)]
    pub key: String,
    /// At least this many distinct values must remain possible.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = min_values)]
    pub min_values: Option<i64>,
    /// How the label relates to the values.
    #[schemars(transform = operator)]
    pub operator: String,
    /// Values.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = requirement_values)]
    pub values: Option<Vec<String>>,
}

fn min_values(schema: &mut Schema) {
    schema.remove("format");
    set(schema, json!({ "minimum": 1, "maximum": 50 }));
}

pub(crate) fn operator(schema: &mut Schema) {
    let operators = ["Gte", "Lte", "In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"];
    set(schema, json!({ "enum": operators }));
}

pub(crate) fn requirement_values(schema: &mut Schema) {
    set(schema, json!({ "maxLength": 63, "pattern": LABEL_VALUE }));
    atomic_list(schema);
}

/// Labels under `karpenter.k8s.aws` that a user may ask for.
const AWS_LABELS: [&str; 28] = [
    "instance-tenancy",
    "capacity-reservation-type",
    "capacity-reservation-id",
    "capacity-reservation-interruptible",
    "ec2nodeclass",
    "instance-encryption-in-transit-supported",
    "instance-category",
    "instance-hypervisor",
    "instance-family",
    "instance-generation",
    "instance-local-nvme",
    "instance-size",
    "instance-cpu",
    "instance-cpu-manufacturer",
    "instance-cpu-sustained-clock-speed-mhz",
    "instance-memory",
    "instance-ebs-bandwidth",
    "instance-network-bandwidth",
    "instance-gpu-name",
    "instance-gpu-manufacturer",
    "instance-gpu-count",
    "instance-gpu-memory",
    "instance-accelerator-name",
    "instance-accelerator-manufacturer",
    "instance-accelerator-count",
    "instance-capability-flex",
    "placement-group-id",
    "placement-group-partition",
];

/// The condition, in CEL, that the label key `name` is one a user may set.
pub(crate) fn allowed_label(name: &str) -> [(String, &'static str); 3] {
    allowed_among(name, &AWS_LABELS)
}

/// The same where fewer labels of AWS are known.
fn allowed_among(name: &str, aws: &[&str]) -> [(String, &'static str); 3] {
    let aws: Vec<String> = aws.iter().map(|label| format!("\"karpenter.k8s.aws/{label}\"")).collect();
    [
        (
            format!(
                "{name} in [\"karpenter.sh/capacity-type\", \"karpenter.sh/nodepool\"] || \
                 !{name}.find(\"^([^/]+)\").endsWith(\"karpenter.sh\")"
            ),
            "label domain \"karpenter.sh\" is restricted",
        ),
        (format!("{name} != \"kubernetes.io/hostname\""), "label \"kubernetes.io/hostname\" is restricted"),
        (
            format!(
                "{name} in [{}] || !{name}.find(\"^([^/]+)\").endsWith(\"karpenter.k8s.aws\")",
                aws.join(", ")
            ),
            "label domain \"karpenter.k8s.aws\" is restricted",
        ),
    ]
}

fn requirement_key(schema: &mut Schema) {
    set(schema, json!({ "maxLength": 316, "pattern": QUALIFIED_NAME }));
    for (rule, message) in allowed_label("self") {
        rule_of(schema, &rule, message);
    }
}

/// The key of a requirement of a NodeOverlay: labels of reservations, tenancy and placement groups are none of its business.
pub(crate) fn overlay_key(schema: &mut Schema) {
    set(schema, json!({ "maxLength": 316, "pattern": QUALIFIED_NAME }));
    for (rule, message) in allowed_among("self", &AWS_LABELS[4..26]) {
        rule_of(schema, &rule, message);
    }
}

/// Adds one CEL rule that is put together.
pub(crate) fn rule_of(schema: &mut Schema, rule: &str, message: &str) {
    let object = schema.ensure_object();
    let list = object.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let serde_json::Value::Array(list) = list {
        list.push(json!({ "message": message, "rule": rule }));
    }
}

/// The list of requirements of a NodePool's template or a NodeClaim.
pub(crate) fn requirements(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 100 }));
    atomic_list(schema);
    rules(
        schema,
        &[
            (
                "self.all(x, x.operator == 'In' ? x.values.size() != 0 : true)",
                "requirements with operator 'In' must have a value defined",
            ),
            (
                "self.all(x, (x.operator == 'Gt' || x.operator == 'Lt' || x.operator == 'Gte' || x.operator == \
                 'Lte') ? (x.values.size() == 1 && int(x.values[0]) >= 0) : true)",
                "requirements operator 'Gt', 'Lt', 'Gte', or 'Lte' must have a single positive integer value",
            ),
            (
                "self.all(x, (x.operator == 'In' && has(x.minValues)) ? x.values.size() >= x.minValues : true)",
                "requirements with 'minValues' must have at least that many values specified in the 'values' field",
            ),
        ],
    );
}

/// A condition of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// When the status changed last.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// For people.
    #[serde(default)]
    #[schemars(transform = condition_message)]
    pub message: String,
    /// `metadata.generation` that was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub observed_generation: Option<i64>,
    /// For programs.
    #[serde(default)]
    #[schemars(transform = condition_reason)]
    pub reason: String,
    /// True, False or Unknown.
    #[schemars(transform = condition_status)]
    pub status: String,
    /// What it is about.
    #[serde(rename = "type")]
    #[schemars(transform = condition_type)]
    pub type_: String,
}

fn condition_message(schema: &mut Schema) {
    schema.remove("default");
    set(schema, json!({ "maxLength": 32768 }));
}

fn condition_reason(schema: &mut Schema) {
    schema.remove("default");
    set(
        schema,
        json!({ "maxLength": 1024, "minLength": 1, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$" }),
    );
}

fn condition_status(schema: &mut Schema) {
    set(schema, json!({ "enum": ["True", "False", "Unknown"] }));
}

fn condition_type(schema: &mut Schema) {
    let pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";
    set(schema, json!({ "maxLength": 316, "pattern": pattern }));
}

/// Conditions whose reason and message are always given.
pub(crate) fn conditions(schema: &mut Schema) {
    crate::schema::at(schema, &["items"], |item| {
        set(item, json!({ "required": ["lastTransitionTime", "message", "reason", "status", "type"] }));
    });
}

/// The same as a list keyed by type.
pub(crate) fn keyed_conditions(schema: &mut Schema) {
    conditions(schema);
    set(schema, json!({ "x-kubernetes-list-map-keys": ["type"], "x-kubernetes-list-type": "map" }));
}
