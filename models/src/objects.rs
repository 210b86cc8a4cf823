//! Kubernetes and Karpenter objects, reduced to what planning may look at, with quantities as integers.
//!
//! Field names follow the Kubernetes API. Environment variables, arguments, images, secrets and annotations outside
//! [`crate::labels::DO_NOT_DISRUPT`] and `controller.kubernetes.io/pod-deletion-cost` are dropped on import.

pub use crate::node_class::{CapacityReservation, Ec2NodeClass};
pub use crate::storage::{StorageClass, Volume, VolumeClaim};

use crate::departure::Symptom;
use crate::quantity::Resources;
use crate::selector::{LabelSelector, Labels, Requirement};
use crate::shared::Shared;
use serde::{Deserialize, Serialize};

/// `namespace/name` of a pod, the way plans and certificates refer to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PodRef(pub String);

impl std::fmt::Display for PodRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// For `skip_serializing_if`: what a missing field means is not written.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A container, or an init container.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Resource requests (limits stand in for absent requests, as the API server's defaulting does).
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub requests: Resources,
    /// An init container with `restartPolicy: Always`, which keeps running (a sidecar).
    #[serde(default, skip_serializing_if = "is_default")]
    pub sidecar: bool,
    /// Host ports as `protocol/hostIP/port`, e.g. `TCP/0.0.0.0/8080`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<String>,
}

/// A term of required node affinity: all of its requirements must hold. An empty term matches nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelectorTerm {
    /// Requirements on labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
    /// Requirements on fields (`metadata.name`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_fields: Vec<Requirement>,
}

/// A preferred node affinity term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferredNodeTerm {
    /// Weight, 1 to 100.
    pub weight: i32,
    /// The term.
    pub preference: NodeSelectorTerm,
}

/// A pod (anti-)affinity term.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodAffinityTerm {
    /// The pods meant; `None` matches no pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Namespaces; empty together with a missing `namespace_selector` means the pod's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// Namespaces by label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<LabelSelector>,
    /// The label whose value makes a topology domain.
    pub topology_key: String,
    /// Label keys whose value of the incoming pod is added to the selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_label_keys: Vec<String>,
    /// Label keys whose value of the incoming pod must differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mismatch_label_keys: Vec<String>,
}

/// A preferred pod (anti-)affinity term.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferredPodTerm {
    /// Weight, 1 to 100.
    pub weight: i32,
    /// The term.
    pub term: PodAffinityTerm,
}

/// Affinity of all kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Affinity {
    /// Required node affinity: `None` = no constraint; otherwise at least one term must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_required: Option<Vec<NodeSelectorTerm>>,
    /// Preferred node affinity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_preferred: Vec<PreferredNodeTerm>,
    /// Required pod affinity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_required: Vec<PodAffinityTerm>,
    /// Preferred pod affinity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_preferred: Vec<PreferredPodTerm>,
    /// Required pod anti-affinity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anti_required: Vec<PodAffinityTerm>,
    /// Preferred pod anti-affinity.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anti_preferred: Vec<PreferredPodTerm>,
}

/// Effects of a taint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum TaintEffect {
    /// Keeps new pods away.
    NoSchedule,
    /// Keeps new pods away if there is another place.
    PreferNoSchedule,
    /// Keeps new pods away and evicts running ones.
    NoExecute,
}

/// A node taint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value, empty if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect.
    pub effect: TaintEffect,
}

/// A toleration. `operator` is `Equal` (also when absent in the API), `Exists`, or the newer `Lt` and `Gt`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// Key; empty with `Exists` tolerates every taint.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// `Equal` or `Exists`; any other operator tolerates nothing.
    pub operator: String,
    /// Value.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// Effect; `None` tolerates every effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
}

/// A topology spread constraint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TopologySpread {
    /// Largest allowed difference between domains.
    pub max_skew: i32,
    /// The label whose value makes a domain.
    pub topology_key: String,
    /// `DoNotSchedule` (true) or `ScheduleAnyway` (false).
    pub hard: bool,
    /// The pods counted; `None` counts none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Least number of domains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_domains: Option<i32>,
    /// `nodeAffinityPolicy: Honor` (the default).
    pub honor_affinity: bool,
    /// `nodeTaintsPolicy: Honor` (the default is Ignore).
    pub honor_taints: bool,
    /// Label keys whose value of the incoming pod is added to the selector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_label_keys: Vec<String>,
}

/// A volume that may restrict where a pod runs; all other kinds are dropped on import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PodVolume {
    /// A PersistentVolumeClaim of the pod's namespace, by name.
    Claim(String),
    /// A generic ephemeral volume; the claim is named `<pod>-<volume>`, its StorageClass is given.
    Ephemeral {
        /// Volume name.
        name: String,
        /// StorageClass; `None` = the cluster's default class.
        storage_class: Option<String>,
    },
    /// Any other volume kind that a scheduler plug-in looks at (for example `awsElasticBlockStore`), by kind.
    Other(String),
}

/// Phases of a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PodPhase {
    /// Not all containers have started; not bound, or bound and starting.
    #[default]
    Pending,
    /// Bound and running.
    Running,
    /// Ended; holds no resources.
    Succeeded,
    /// Ended; holds no resources.
    Failed,
    /// State could not be read; counted as running.
    Unknown,
}

/// The controlling owner of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// Kind, e.g. `ReplicaSet`, `DaemonSet`, `Node` (static pods).
    pub kind: String,
    /// Name.
    pub name: String,
}

/// The scheduling facts of a pod template; shared by [`Pod`] and [`DaemonSet`].
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Containers.
    pub containers: Vec<Container>,
    /// Init containers in order; sidecars marked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_containers: Vec<Container>,
    /// Pod-level requests (`spec.resources.requests`), which override the containers' sum for the resources named.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub pod_requests: Resources,
    /// RuntimeClass overhead.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub overhead: Resources,
    /// Node selector.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub node_selector: Labels,
    /// Affinity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub affinity: Affinity,
    /// Tolerations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// Topology spread constraints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topology_spread: Vec<TopologySpread>,
    /// Volumes that matter.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<PodVolume>,
    /// It stores data on the node that ends with it: a hostPath, or an emptyDir that is not in memory.
    #[serde(default, skip_serializing_if = "is_default")]
    pub local_storage: bool,
    /// Resolved priority.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// Scheduler, if not `default-scheduler`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_name: Option<String>,
    /// What the input says about where it may run and nobody can read, as field and fault. Whoever has it is not planned for: what is
    /// said above is then not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pod {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// UID, if the input had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Shared<Labels>,
    /// Allow-listed annotations (see the module text).
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Controlling owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Shared<Owner>>,
    /// Creation time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Phase.
    pub phase: PodPhase,
    /// The node it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `status.nominatedNodeName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominated_node: Option<String>,
    /// Has a deletion timestamp.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleting: bool,
    /// How often its containers were started again, in all.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts: u32,
    /// Names of scheduling gates not yet lifted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scheduling_gates: Vec<String>,
    /// What the scheduler looks at.
    pub spec: Shared<PodSpec>,
}

/// A node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Name.
    pub name: String,
    /// Labels, old keys already doubled by their modern spelling.
    pub labels: Labels,
    /// Allow-listed annotations.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub annotations: Labels,
    /// Taints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Cordoned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unschedulable: bool,
    /// `spec.providerID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// Creation time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// What the hardware has.
    pub capacity: Resources,
    /// What pods may request.
    pub allocatable: Resources,
    /// Volumes at most by CSI driver (its CSINode's `spec.drivers[].allocatable.count`); no entry: no limit.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub volume_limits: std::collections::BTreeMap<String, i64>,
    /// Condition Ready is True.
    pub ready: bool,
    /// Conditions for which nodes are repaired, as far as they are bad; sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symptoms: Vec<Symptom>,
    /// Has a deletion timestamp.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleting: bool,
}

impl Node {
    /// The NodePool it belongs to; `None` for nodes Stowage does not manage.
    #[must_use]
    pub fn nodepool(&self) -> Option<&str> {
        self.labels.get(crate::labels::NODEPOOL).map(String::as_str)
    }
}

/// A disruption budget of a NodePool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// A count or a percentage (rounded up), as written.
    pub nodes: String,
    /// Reasons it applies to; empty = all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Cron schedule (UTC) of the window; needs `duration`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// Length of the window, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
}

/// A NodePool (`karpenter.sh/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodePool {
    /// Name.
    pub name: String,
    /// Labels of its nodes (`spec.template.metadata.labels`).
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// Requirements (`spec.template.spec.requirements`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requirements: Vec<Requirement>,
    /// Taints of its nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Taints that other agents remove before the node counts as initialised; ignored in placement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub startup_taints: Vec<Taint>,
    /// Name of the EC2NodeClass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node_class: String,
    /// Limits on the sum of node *capacity* in the pool; `nodes` limits their number.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub limits: Resources,
    /// Strict precedence, higher first; 0 if unset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weight: i32,
    /// A static pool keeps this many nodes and takes part in no planning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<i64>,
    /// `expireAfter`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<String>,
    /// `terminationGracePeriod`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<String>,
    /// `WhenEmpty`, `WhenEmptyOrUnderutilized` or `Balanced`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidation_policy: Option<String>,
    /// `consolidateAfter`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consolidate_after: Option<String>,
    /// Disruption budgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<Budget>,
    /// Has a deletion timestamp: launches nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleting: bool,
    /// What its Ready condition says if that is not True (its EC2NodeClass is missing, say): launches nothing. `None` if it
    /// is ready, or nobody has looked yet, as in a manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready: Option<String>,
}

/// A NodeClaim (`karpenter.sh/v1`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeClaim {
    /// Name.
    pub name: String,
    /// Labels (NodePool, instance type, zone, capacity type once launched).
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// `status.nodeName`; `None` while in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// `status.providerID`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<String>,
    /// `status.capacity`.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub capacity: Resources,
    /// `status.allocatable`.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub allocatable: Resources,
    /// Taints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
    /// Conditions that are True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<String>,
    /// Creation time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// `spec.expireAfter`, as written: so long after its creation it goes, whatever stands against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_after: Option<String>,
    /// `spec.terminationGracePeriod`, as written: draining takes no longer than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub termination_grace_period: Option<String>,
    /// Has a deletion timestamp.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deleting: bool,
}

/// A DaemonSet: every new node that its template matches carries one of its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DaemonSet {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Labels of its pods.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
    /// What the scheduler looks at.
    pub spec: PodSpec,
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDisruptionBudget {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Pods covered; `None` covers none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// `minAvailable`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_available: Option<String>,
    /// `maxUnavailable`, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_unavailable: Option<String>,
    /// `unhealthyPodEvictionPolicy: AlwaysAllow`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub always_allow_unhealthy: bool,
    /// `status.disruptionsAllowed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disruptions_allowed: Option<i64>,
}

/// A namespace with its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels.
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub labels: Labels,
}
