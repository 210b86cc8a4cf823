//! Certificates: integer multipliers that prove a bound, and the trees of proofs by cases and by branching.

use crate::objects::PodRef;
use crate::units::UsdMicros;
use serde::{Deserialize, Serialize};

/// Bits after the binary point of every multiplier: a stored integer `m` means `m / 2^20`.
pub const MULTIPLIER_BITS: u32 = 20;

/// Amounts of `resource` are divided by `2^unit_bits` before a multiplier applies: bytes count in MiB, the rest as is.
/// This keeps multipliers of all resources within 53 bits at full precision.
#[must_use]
pub fn unit_bits(resource: &str) -> u32 {
    use crate::quantity::{EPHEMERAL_STORAGE, MEMORY};
    if resource == MEMORY || resource == EPHEMERAL_STORAGE || resource.starts_with("hugepages-") {
        20
    } else {
        0
    }
}

/// The multiplier of one group of equal pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The group's first pod in `namespace/name` order, placed or left out for [`UnplacedReason::Limits`](super::UnplacedReason::Limits).
    pub pod: PodRef,
    /// For a group split over the domains of a topology key (`docs/formulation.md` section 2): the domain this row is about. The
    /// group then has one row for each, sorted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// How many pods of the group the plan places (in the domain).
    pub pods: u64,
    /// The group may use NodePools of this weight or more (weights are strict: the highest weight that can hold it,
    /// lower only where limits are exhausted).
    pub min_weight: i32,
    /// Value of one pod in micro-dollars per hour, over `2^20`.
    pub multiplier: i64,
}

/// The multiplier of one NodePool limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitMultiplier {
    /// NodePool; empty for the stock of a capacity reservation.
    pub node_pool: String,
    /// Limited resource (`nodes` for their number), or [`STOCK`](super::STOCK) and the id of a capacity reservation.
    pub resource: String,
    /// Price of one unit (see [`unit_bits`]) in micro-dollars per hour, over `2^20`.
    pub multiplier: i64,
}

/// The knapsack vector of one existing node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeVector {
    /// Node name.
    pub node: String,
    /// Index into [`Certificate::vectors`].
    pub vector: u32,
    /// No set of pods the node can take is worth more than this, in micro-dollars per hour over `2^20`.
    pub value: i64,
}

/// Branches after which a search for a pattern that breaks an inequality gives up (`docs/formulation.md` section 3).
/// Pricing stops at a fraction of it, so that every proof it relies on can be repeated.
pub const PROOF_BRANCHES_MAX: u32 = 50_000;

/// Cells of a table along its fine resource at most (`docs/formulation.md` section 3).
pub const TABLE_CELLS_MAX: i64 = 2048;
/// Units of a resource up to which a table counts them one by one.
pub const TABLE_DEPTH_MAX: i64 = 16;
/// Cells of all layers of a table.
pub const TABLE_SIZE_MAX: usize = 16_000_000;
/// Branches after which a search bounded by tables gives up. Plans rely on a quarter of it, because equal multipliers may be tried in
/// another order.
pub const TABLE_BRANCHES_MAX: u32 = 400_000;

/// Ends of a proof by cases at most (`docs/formulation.md` section 3).
pub const CASES_MAX: u32 = 64;

/// A step of a proof by cases: a bin holds either at most [`CaseFork::most`] pods of a row, or more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaseFork {
    /// Index into [`Certificate::rows`].
    pub row: u32,
    /// Pods of the row at most on the first side; one more at least on the second.
    pub most: u32,
    /// What proves the first side: a vector if below the number of vectors, else, less that number, one of the forks before this.
    pub fewer: u32,
    /// What proves the second side.
    pub more: u32,
}

/// A decision of a branching proof: either at most [`Fork::most`] nodes of the part are launched on undominated offerings
/// priced from `from` to `to` (both included), or more. Every plan does one or the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fork {
    /// Lowest price of the offerings counted.
    pub from: UsdMicros,
    /// Highest price of the offerings counted; absent: no highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UsdMicros>,
    /// Nodes at most on the first side; one more at least on the second.
    pub most: u32,
}

/// An end of a branching proof: multipliers that bound the cost of every plan which decides as the forks above say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Leaf {
    /// Value of one pod of each row of the part, in micro-dollars per hour over `2^20`.
    pub multipliers: Vec<i64>,
    /// Price of one node counted by each fork above, the topmost first, in micro-dollars per hour over `2^20`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub forks: Vec<i64>,
    /// Non-zero limit multipliers, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitMultiplier>,
    /// Vectors, each as long as [`Certificate::resources`]. A bin is priced by the one that shows it to be worth least.
    pub vectors: Vec<Vec<i64>>,
}

/// A node of a branching proof.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// A fork, followed by all steps of its first side and then by all of its second.
    Fork(Fork),
    /// An end.
    Leaf(Leaf),
}

/// A part of the problem that shares no bin with the rest, and the proof of a bound on what its launches cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// Its rows: indices into [`Certificate::rows`], ascending. Their own multipliers are zero.
    pub rows: Vec<u32>,
    /// The tree, each fork before what is below it. The bound is the least of its leaves.
    pub steps: Vec<Step>,
}

/// Integer multipliers that prove [`Summary::launch_bound`](super::Summary::launch_bound), by weak duality (`docs/formulation.md`).
///
/// With `pi_g` the row multipliers, `mu_pr >= 0` the limit multipliers, and for each bin a vector `y >= 0`, let
///
/// ```text
/// value(bin, y) = sum_r y_r * C_r  +  sum_g u_g * max(0, pi_g - sum_r y_r * w_gr)
/// ```
///
/// over the groups `g` that may go into the bin, where `C` is what the bin has left for them, `w_g` the request and
/// `u_g = min(pods of g placed, copies that fit alone)`. If for every offering `o` of pool `p`
/// `value(o, y_o) <= price_o + sum_r mu_pr * capacity_or`, then
///
/// ```text
/// launch cost  >=  sum_g pi_g * pods_g  -  sum_nodes value_i  -  sum_pr mu_pr * (limit_pr - used_pr)
/// ```
///
/// where `value_i >= value(i, y_i)` is stated for each node. Instead of a vector an offering may have cases ([`CaseFork`]), each with a
/// vector of its own. Either inequality may hold for integer patterns only; then a
/// search bounded by [`PROOF_BRANCHES_MAX`] proves it. Prices being integers, the right side may be rounded up.
///
/// Where few nodes are launched, fractions of nodes make this bound too low. Then [`Certificate::parts`] bound the cost of
/// parts of the problem by branching on numbers of nodes, and the rest above is about the rows that are in no part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Coordinates of the vectors. Resources not listed have multiplier zero.
    pub resources: Vec<String>,
    /// One row per group (and domain, where it is split over domains), sorted by pod and domain.
    pub rows: Vec<Row>,
    /// Non-zero limit multipliers, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitMultiplier>,
    /// Distinct knapsack vectors, each as long as `resources`.
    pub vectors: Vec<Vec<i64>>,
    /// Forks of proofs by cases, each used by an offering or a later one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cases: Vec<CaseFork>,
    /// Vector of each offering (or, from the number of vectors on, its first fork), run-length encoded (`index*count` or `index`, comma-separated) over all offerings
    /// sorted by NodePool, instance type, zone, capacity type, labels.
    pub offering_vectors: String,
    /// Vectors and values of existing nodes that can take at least one pod, sorted by node. Every such node is listed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_vectors: Vec<NodeVector>,
    /// Parts proved by branching, by their first row. Their bounds add to what the multipliers above prove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part>,
}
