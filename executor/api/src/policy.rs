//! `stowage.dev/v1alpha1` PlanPolicy: what the controller may do by itself.

use crate::common::{Condition, keyed_conditions};
use crate::resource::{Column, Names, definition, resource};
use crate::schema::{DURATION, rules, set, structural};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::json;

resource!(
    /// The policy of a cluster. There is one, named `default`.
    PlanPolicy, PlanPolicySpec, PlanPolicyStatus, "stowage.dev", "v1alpha1", "PlanPolicy", "planpolicies"
);

/// What the controller may do by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = spec_rules)]
pub struct PlanPolicySpec {
    /// `shadow` plans and writes nothing but plans, `review` waits for approval, `auto` acts; without, what the controller was started
    /// with, which it never goes beyond.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = mode)]
    pub mode: Option<String>,
    /// Stops everything within seconds: nothing is launched, drained or removed. Machines launched before still become nodes, open to all
    /// pods. The annotation `stowage.dev/stop` on this object does the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<bool>,
    /// What needs approval in `review`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub review: Option<ReviewRules>,
    /// Which nodes go, in `auto` and `review`, and when; NodePools say it too, by `spec.disruption`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consolidation: Option<ConsolidationRules>,
    /// A batch ends when no pod has come for this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1s", "pattern" = DURATION))]
    pub batch_idle_duration: Option<String>,
    /// A batch ends after this long in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "10s", "pattern" = DURATION))]
    pub batch_max_duration: Option<String>,
    /// Zones nothing is launched in, by name: those that something is wrong with, say. Nodes that are there stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = zones)]
    pub unavailable_zones: Option<Vec<String>>,
    /// Share of cpu and memory kept free on every node, in parts per million.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 500_000), extend("default" = 10_000))]
    pub slack_ppm: Option<i64>,
    /// Gap at which the planner stops, in parts per million.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0), extend("default" = 10_000))]
    pub gap_ppm: Option<i64>,
    /// No instance type in a zone has more than this share of a NodePool's spot capacity where another would do, in parts per million;
    /// without, the cheapest are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub spot_share_max_ppm: Option<i64>,
    /// How long a plan may take; it is made with what was found by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "2s", "pattern" = DURATION))]
    pub time_limit: Option<String>,
    /// Whether planned pods get a toleration for the node they are planned on, which is what makes a plan exact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = true))]
    pub steer_pods: Option<bool>,
}

fn zones(schema: &mut Schema) {
    set(schema, json!({ "maxItems": 100, "x-kubernetes-list-type": "set" }));
}

/// What needs approval in `review`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = review_rules)]
pub struct ReviewRules {
    /// Whether plans that launch need approval (`approve`), or are carried out (`auto`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = launches)]
    pub launches: Option<String>,
    /// Only plans whose launches cost more than this need approval, in dollars per hour, such as `"2.50"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DOLLARS))]
    pub above_dollars_per_hour: Option<String>,
    /// Whether plans that remove nodes need approval (`approve`), or are carried out (`auto`). A plan waits as a whole: one that launches, too,
    /// also where launches need approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = launches)]
    pub removals: Option<String>,
    /// Whether nodes that go by force (their machines are taken away, say) wait for approval (`approve`), or go, with what takes their place,
    /// whatever else needs approval (`auto`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = forced)]
    pub forced_removals: Option<String>,
    /// How long a plan may be approved and begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "15m", "pattern" = DURATION))]
    pub expire_after: Option<String>,
}

/// Which nodes go, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = consolidation_rules)]
pub struct ConsolidationRules {
    /// `auto`: nodes go for their cost, as NodePools allow; `off`: only those that have to (drifted, expired, interrupted, unhealthy). In
    /// `shadow` none goes in any case, in `review` as `spec.review` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = consolidation_mode)]
    pub mode: Option<String>,
    /// How long a cluster is expected to stay as planned: one-off costs are spread over it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "24h", "pattern" = DURATION))]
    pub horizon: Option<String>,
    /// Nodes go for their cost only where that saves this share of the bill at least, in parts per million.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000), extend("default" = 10_000))]
    pub savings_threshold_ppm: Option<i64>,
    /// Nodes go for their cost only where that pays its one-off costs back within this time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = DURATION))]
    pub payback_within: Option<String>,
    /// What moving a pod costs once, in dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "0.005", "pattern" = DOLLARS))]
    pub eviction_cost_dollars: Option<String>,
    /// What a pod's eviction cost gains by each day since its creation, in millionths of the cost of a pod of ordinary priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000), extend("default" = 0))]
    pub age_weight_ppm: Option<i64>,
    /// What a pod's eviction cost loses by each restart of its containers, in the same unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000), extend("default" = 0))]
    pub restart_weight_ppm: Option<i64>,
    /// What removing a node costs once, in dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "0.01", "pattern" = DOLLARS))]
    pub removal_cost_dollars: Option<String>,
    /// Nodes with pods do not go for their cost before they are this old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1h", "pattern" = DURATION))]
    pub min_node_age: Option<String>,
    /// How often nodes that could go are looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = "1m", "pattern" = DURATION))]
    pub every: Option<String>,
    /// Whether unhealthy nodes are replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub repair: Option<bool>,
    /// Whether pods with local storage stay, and their nodes with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = false))]
    pub keep_local_storage: Option<bool>,
    /// What happens to pods that come in the place of evicted ones. `gate`: they wait, for a moment, until the controller has said where the plan
    /// wants them; needs Kubernetes 1.36, without it as `none`. `none`: they go where there is room.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = successors)]
    pub successors: Option<String>,
}

fn successors(schema: &mut Schema) {
    set(schema, json!({ "enum": ["gate", "none"], "default": "gate" }));
}

fn consolidation_mode(schema: &mut Schema) {
    set(schema, json!({ "enum": ["off", "auto"], "default": "auto" }));
}

fn consolidation_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            ("duration(self.horizon) >= duration('1m')", "horizon must be a minute at least"),
            ("duration(self.every) >= duration('5s')", "every must be five seconds at least"),
        ],
    );
}

/// Dollars with at most micro-dollars.
const DOLLARS: &str = r"^[0-9]{1,9}(\.[0-9]{1,6})?$";

fn review_rules(schema: &mut Schema) {
    rules(
        schema,
        &[
            (
                "!has(self.aboveDollarsPerHour) || self.launches == 'approve'",
                "aboveDollarsPerHour needs launches: approve",
            ),
            ("duration(self.expireAfter) >= duration('1m')", "expireAfter must be a minute at least"),
        ],
    );
}

fn launches(schema: &mut Schema) {
    set(schema, json!({ "enum": ["auto", "approve"], "default": "approve" }));
}

fn forced(schema: &mut Schema) {
    set(schema, json!({ "enum": ["auto", "approve"], "default": "auto" }));
}

fn spec_rules(schema: &mut Schema) {
    rules(
        schema,
        &[(
            "!has(self.batchIdleDuration) || !has(self.batchMaxDuration) || duration(self.batchIdleDuration) <= \
             duration(self.batchMaxDuration)",
            "batchIdleDuration cannot be longer than batchMaxDuration",
        )],
    );
}

fn mode(schema: &mut Schema) {
    set(schema, json!({ "enum": ["shadow", "review", "auto"] }));
}

/// Whether it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlanPolicyStatus {
    /// Conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(transform = keyed_conditions)]
    pub conditions: Option<Vec<Condition>>,
}

const COLUMNS: [Column; 4] = [
    ("Mode", "string", ".spec.mode", false),
    ("Stop", "boolean", ".spec.stop", false),
    ("Stopped", "string", ".status.conditions[?(@.type==\"Stopped\")].status", true),
    ("Age", "date", ".metadata.creationTimestamp", false),
];

/// The definition of [`PlanPolicy`].
///
/// # Errors
/// Never, as far as the tests know: the schema is a constant.
pub fn plan_policy_definition() -> Result<CustomResourceDefinition, serde_json::Error> {
    let names = Names {
        group: "stowage.dev",
        version: "v1alpha1",
        kind: "PlanPolicy",
        plural: "planpolicies",
        short: &[],
        category: "stowage",
    };
    let (spec, status) = (structural::<PlanPolicySpec>(), structural::<PlanPolicyStatus>());
    definition(&names, &COLUMNS, None, spec, status, true)
}
