//! The plan and the certificate of its bound.
//!
//! A plan is immutable and complete: whoever carries it out chooses nothing. Its `id` is the digest of everything else
//! in it. It holds no clock reading, so the same snapshot, catalogue and policy give the same bytes.

mod certificate;

use crate::consolidation::{Consolidation, ConsolidationPolicy};
use crate::objects::{PodRef, is_default};
use crate::quantity::Resources;
use crate::selector::Labels;
use crate::units::{Ppm, UsdMicros};
use crate::whatif::WhatIf;
use serde::{Deserialize, Serialize};

pub use certificate::{
    CASES_MAX, CaseFork, Certificate, Fork, Leaf, LimitMultiplier, MULTIPLIER_BITS, NodeVector,
    PROOF_BRANCHES_MAX, Part, Row, Step, TABLE_BRANCHES_MAX, TABLE_CELLS_MAX, TABLE_DEPTH_MAX,
    TABLE_SIZE_MAX, unit_bits,
};

/// The format this crate writes. Readers ignore unknown fields of a higher minor and refuse another major.
///
/// * 1.1: certificates may have [`Certificate::parts`]. A checker of 1.0 that ignores them would miss a part of the bound and
///   refuse the plan, never believe a wrong one.
/// * 1.2: pods left out for [`UnplacedReason::Constraint`], with [`Unplaced::blocking`]; certificates may have a row per domain
///   ([`Row::domain`]). A checker of 1.1 meets rows it does not expect, or a reason it does not know, and refuses the plan.
/// * 1.3: plans may remove nodes ([`Plan::consolidation`], [`Policy::consolidation`]). A checker of 1.2 does not know the policy's
///   field and refuses the plan.
/// * 1.4: unmet preferences have a price ([`Policy::preferences`], [`Summary::preference_cost`]). A checker of 1.3 does not know
///   the policy's field and refuses the plan.
/// * 1.5: plans may answer another question than the input's ([`Plan::what_if`]). A checker of 1.4 meets a snapshot with another digest
///   and calls the plan stale. Nodes may have a least age ([`ConsolidationPolicy::min_node_age_minutes`]); a checker of 1.4 does not know
///   the field and refuses the plan.
/// * 1.6: `minValues` of NodePools count ([`Policy::min_values`]). A checker of 1.5 does not know this field of the policy and
///   refuses the plan.
/// * 1.7: unmet preferences about other pods have a price, too, and a certificate may have a row per zone for a group that only prefers
///   to be spread over them. A checker of 1.6 arrives at another price, or meets rows it does not expect, and refuses the plan.
/// * 1.8: nodes may have to go for other reasons than cost ([`crate::consolidation::NodeDecision::departure`]). A checker of 1.7 does not
///   know these reasons, or the policy's fields, and refuses the plan.
/// * 1.9: spot may have to be of several types and zones ([`Policy::spot_share_max`]), pods with constraints towards others move, and age and
///   restarts may weigh. A checker of 1.8 does not know the fields, and says that nodes of such pods stay; it refuses the plan.
/// * 1.10: offerings may be proved by cases ([`Certificate::cases`]). A checker of 1.9 meets an offering with a vector beyond those stated,
///   and refuses the plan.
pub const FORMAT_VERSION: &str = "1.10";

/// The `kind` of a plan document.
pub const KIND: &str = "StowagePlan";

/// What the operator wants of a plan. Part of the plan: the checker judges against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Share of cpu and memory allocatable kept free on every node (rounded so that less is usable). Default 1 %.
    pub slack: Ppm,
    /// The planner stops as soon as the proven gap is at most this. Default 1 %.
    pub gap: Ppm,
    /// Seed of the search, mixed with the snapshot's.
    pub seed: u64,
    /// What preferences of pods count; absent: nothing (what plans before format 1.4 meant, and what a plan says in which no
    /// preference can count).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferences: Option<Preferences>,
    /// What `minValues` of NodePool requirements count; absent: nothing (what plans before format 1.6 meant, and what a plan says
    /// in which no NodePool asks for several values).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_values: Option<MinValues>,
    /// No instance type in a zone has more than this share of a NodePool's spot capacity (vCPUs, nodes that stay included) where another
    /// would do for its launches, but one node may always be; absent: no such rule (what plans before format 1.9 meant).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spot_share_max: Option<Ppm>,
    /// Consolidate, and how; absent: nodes that exist stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidation: Option<ConsolidationPolicy>,
}

/// What preferences of pods (preferred node and pod affinity, PreferNoSchedule, ScheduleAnyway) count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Preferences {
    /// Each has a price (`docs/formulation.md` sections 1.7 and 1.10), and the plan pays it where something else is worth more.
    Respect,
    /// None.
    Ignore,
}

/// What `minValues` of NodePool requirements count, as Karpenter's setting `MIN_VALUES_POLICY` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MinValues {
    /// A launch and its alternates have at least so many values of the key, or it is none.
    Strict,
    /// As many as there are; a note says where they are too few.
    BestEffort,
}

/// A node in a capacity reservation costs this share of its price on demand, rounded up to whole micro-dollars: so little that
/// reserved nodes come first, and still less for smaller ones.
pub const RESERVED_SHARE: i64 = 10_000;

/// What precedes the id of a capacity reservation where its stock stands in the place of a NodePool's limit
/// ([`LimitMultiplier::resource`], with an empty NodePool).
pub const STOCK: &str = "capacity-reservation/";

/// What a millicore a pod requests is worth where preferences are priced, in micro-dollars per hour: about what the cheapest
/// spot capacity costs.
pub const PREFERENCE_MILLICORE: i64 = 12;

/// What a GiB of memory a pod requests is worth where preferences are priced, in micro-dollars per hour.
pub const PREFERENCE_GIB: i64 = 1_500;

/// What a pod is worth at least where preferences are priced, in micro-dollars per hour: a tenth of a core.
pub const PREFERENCE_POD_MIN: i64 = 1_200;

/// A pod's unmet weights count up to this sum, which is worth as much as the pod. A preference of the greatest weight, 100, is
/// so worth a tenth of its pod: it decides between places that cost nearly the same, and all preferences together never
/// double a bill.
pub const PREFERENCE_WEIGHT_MAX: i64 = 1_000;

/// The weight of a PreferNoSchedule taint that is not tolerated: that of the strongest preference a pod can state.
pub const PREFERENCE_TAINT_WEIGHT: i64 = 100;

/// The weight of a ScheduleAnyway spread constraint that is exceeded: that of the strongest preference a pod can state.
pub const PREFERENCE_SPREAD_WEIGHT: i64 = 100;

/// Preferences about the pods near a pod, and about those on its node, cost this share of what others do: no bound knows them, and
/// a weight of 100 is worth a hundredth of the pod, about the gap a plan may have.
pub const PREFERENCE_BESIDE_DIVISOR: i64 = 10;

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            slack: Ppm(10_000),
            gap: Ppm(10_000),
            seed: 0,
            preferences: Some(Preferences::Respect),
            min_values: Some(MinValues::Strict),
            spot_share_max: None,
            consolidation: None,
        }
    }
}

/// Which snapshot was planned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotRef {
    /// [`crate::snapshot::Snapshot::digest`].
    pub digest: String,
    /// Copied from the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Copied from the snapshot.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
}

/// Which catalogue gave types and prices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatalogRef {
    /// [`crate::catalog::Catalog::digest`].
    pub digest: String,
    /// Region.
    pub region: String,
    /// Date of the on-demand prices, `YYYY-MM-DD`.
    pub on_demand_as_of: String,
    /// Date of the recorded spot prices.
    pub spot_as_of: String,
}

/// The figures of a plan. Every one is recomputed by the checker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Pods that wait for a place.
    pub pods_pending: u64,
    /// Of these, placed on nodes that exist.
    pub pods_on_existing: u64,
    /// Of these, placed on nodes to launch.
    pub pods_on_new: u64,
    /// Of these, left out (see [`Plan::unplaced`]).
    pub pods_unplaced: u64,
    /// Groups of equal pods among those placed (rows of the certificate).
    pub groups: u64,
    /// Offerings that any NodePool may launch (after its requirements, before dominance).
    pub offerings: u64,
    /// Nodes before.
    pub nodes_before: u64,
    /// Nodes to launch.
    pub nodes_launched: u64,
    /// Price of the existing nodes whose type the catalogue knows.
    pub cost_before: UsdMicros,
    /// Price of the nodes to launch.
    pub launch_cost: UsdMicros,
    /// Price of the preferences that placed pods have and the plan does not meet (`docs/formulation.md` sections 1.7 and 1.10).
    #[serde(default, skip_serializing_if = "is_default")]
    pub preference_cost: UsdMicros,
    /// Proven: no set of launches that places these pods costs less, unmet preferences included.
    pub launch_bound: UsdMicros,
    /// `gap(launch_cost + preference_cost, launch_bound)`.
    pub gap: Ppm,
    /// The same bound if NodePool weights were not strict; the difference is what the weights may cost. Absent if
    /// weights restrict nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub launch_bound_without_weights: Option<UsdMicros>,
    /// Part of `launch_cost` that rests on estimated spot prices.
    pub estimated_cost: UsdMicros,
    /// Existing nodes without a price in the catalogue.
    pub nodes_unpriced: u64,
}

impl Summary {
    /// What the bound is about: the price of the nodes to launch and of the preferences that are not met.
    #[must_use]
    pub fn total_cost(&self) -> UsdMicros {
        UsdMicros(self.launch_cost.0.saturating_add(self.preference_cost.0))
    }
}

/// An acceptable substitute for a launch: same NodePool and labels, holds the same pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Alternate {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Price per hour.
    pub price: UsdMicros,
}

/// Alternates listed per launch at most: enough for EC2 to find capacity, few enough to read. Karpenter asks for 15
/// types before it replaces spot by spot. NodePools that ask for several values of a key may add as many as these.
pub const ALTERNATES_MAX: usize = 15;

/// A node to launch, with exactly the pods it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    /// Name of the slot in this plan, `new-0001` upwards.
    pub slot: String,
    /// NodePool.
    pub node_pool: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// `spot`, `on-demand` or `reserved`.
    pub capacity_type: String,
    /// Custom labels that the NodePool's requirements left open and this plan fixed, and those of the capacity reservation.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Price per hour.
    pub price: UsdMicros,
    /// Of a reserved node, which is paid for whether it runs or not: what it costs on demand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_price: Option<UsdMicros>,
    /// The price is an estimate (no recorded spot price).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub price_estimated: bool,
    /// Allocatable of the type in this NodePool.
    pub allocatable: Resources,
    /// Requests of the DaemonSet pods it will carry (their number under `pods`).
    pub daemon_sets: Resources,
    /// Sum of the requests of `pods` (their number under `pods`).
    pub requested: Resources,
    /// The pods, sorted.
    pub pods: Vec<PodRef>,
    /// Substitutes, cheapest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternates: Vec<Alternate>,
}

/// An existing node and what the plan does with it. All existing nodes are listed, sorted by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExistingNode {
    /// Node name.
    pub name: String,
    /// NodePool; absent if not managed by Stowage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_pool: Option<String>,
    /// Instance type, if labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Zone, if labelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Capacity type, if labelled (EKS's own label is understood).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity_type: Option<String>,
    /// Price per hour, if the catalogue knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<UsdMicros>,
    /// Allocatable as the node reports it.
    pub allocatable: Resources,
    /// Requests of the pods already bound to it (their number under `pods`).
    pub running: Resources,
    /// Pending pods this plan places here, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodRef>,
    /// Sum of the requests of `pods` (their number under `pods`).
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub requested: Resources,
}

/// Why pods are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UnplacedReason {
    /// The pod states a constraint this version does not plan for; it is never placed as if it had none.
    Unsupported,
    /// No existing node and no offering of any NodePool satisfies its constraints and holds its requests.
    NoFit,
    /// Something would fit, but NodePool limits leave no room to launch it.
    Limits,
    /// Constraints between pods, or on volumes or host ports, cannot be met; without them something would hold the pod.
    Constraint,
}

/// A constraint in the way of a pod that is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Blocking {
    /// Where the pod states it, as a path in its spec (`topologySpreadConstraints[0]`), or the kind of constraint that another
    /// object puts on it.
    pub constraint: String,
    /// What it asks for and why that cannot be had, in words.
    pub detail: String,
    /// Price per hour of the cheapest bin that would hold the pod without this constraint; zero for an existing node. Absent
    /// if nothing would without this one alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_without: Option<UsdMicros>,
}

/// Pods left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unplaced {
    /// Machine-readable reason.
    pub reason: UnplacedReason,
    /// One sentence that names the tightest cause: field, resource or requirement.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// The offering that comes nearest, as `type zone capacity-type (NodePool)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Minimal sets of constraints in the way. If entries have a
    /// price, each is such a set by itself: if it is dropped for all pods like these, one more finds a place (at price zero on a
    /// node that exists, if nobody else who waits takes it). If none has, all of them together are one: each of them must go.
    /// For [`UnplacedReason::NoFit`] that is about nodes and the pods that run on them, other pods that wait left aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<Blocking>,
    /// The pods, sorted.
    pub pods: Vec<PodRef>,
}

/// A point of the search, by work done. Wall-clock times are kept out of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Stage of the search.
    pub stage: String,
    /// Best plan so far.
    pub cost: UsdMicros,
    /// Best bound so far.
    pub bound: UsdMicros,
}

/// The plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Always [`KIND`].
    pub kind: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: String,
    /// Digest of all the other fields ([`Plan::compute_id`]).
    pub id: String,
    /// Version of the planner that made it.
    pub planner: String,
    /// What was planned.
    pub snapshot: SnapshotRef,
    /// With which prices.
    pub catalog: CatalogRef,
    /// Under which policy.
    pub policy: Policy,
    /// What was changed before planning: `snapshot` and `catalog` are the changed ones. Such a plan is not for carrying out.
    #[serde(default, skip_serializing_if = "WhatIf::is_empty")]
    pub what_if: WhatIf,
    /// Figures.
    pub summary: Summary,
    /// What a reader should know: assumptions, constraints ignored as preferences, defaults used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Nodes to launch, sorted by slot.
    pub launches: Vec<Launch>,
    /// Existing nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing: Vec<ExistingNode>,
    /// Pods left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<Unplaced>,
    /// Nodes to remove and pods to move. [`Plan::existing`] then lists the nodes that stay, `launches` and `existing` place the
    /// pods that move beside those that wait, and certificate and bound of the plan are about the launches, given the removals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidation: Option<Consolidation>,
    /// How the search went.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<Progress>,
    /// Proof of `summary.launchBound`.
    pub certificate: Certificate,
    /// Proof of `summary.launchBoundWithoutWeights`; its rows have the lowest weight there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_without_weights: Option<Certificate>,
}

impl Plan {
    /// The digest of the plan with an empty `id`.
    #[must_use]
    pub fn compute_id(&self) -> String {
        if self.id.is_empty() {
            return crate::digest::of_json(self);
        }
        crate::digest::of_json(&Plan { id: String::new(), ..self.clone() })
    }

    /// True if the plan changes nothing: no launches and no placements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.launches.is_empty()
            && self.existing.iter().all(|node| node.pods.is_empty())
            && self.consolidation.as_ref().is_none_or(|one| one.waves.is_empty())
    }
}
