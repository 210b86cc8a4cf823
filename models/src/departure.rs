//! Reasons for which a node has to go whatever it costs: what the cluster says of it, and what a plan makes of that
//! (`docs/formulation.md` section 5.5).

use serde::{Deserialize, Serialize};

/// What a message about a machine says, in the kinds Karpenter tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NoticeKind {
    /// EC2 takes the spot machine back, two minutes after the message.
    SpotInterruption,
    /// EC2 thinks that it may. Information only: as in Karpenter, no reason to leave.
    RebalanceRecommendation,
    /// AWS Health has scheduled a change (retirement, reboot) of the machine.
    ScheduledChange,
    /// The machine stops, or ends.
    StateChange,
    /// A status check of the machine or its host fails.
    InstanceStatus,
    /// The capacity reservation it runs in ends.
    CapacityReservation,
}

/// A message about a node's machine. Whoever listens to the queue fills these in; no Kubernetes object states them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// Node name.
    pub node: String,
    /// What it says.
    pub kind: NoticeKind,
    /// When the machine goes, RFC 3339, if the message says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
}

impl Notice {
    /// Whether the node has to go.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.kind != NoticeKind::RebalanceRecommendation
    }
}

/// A condition of a node that is as bad as one of [`REPAIRS`] says, whether or not for long.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Symptom {
    /// Type of the condition.
    pub condition: String,
    /// `False` or `Unknown`, as written.
    pub status: String,
    /// `lastTransitionTime`, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
}

/// Conditions that make a node unhealthy: type, status, and for how many minutes that is borne. Karpenter's AWS provider v1.14
/// (`RepairPolicies`).
pub const REPAIRS: [(&str, &str, i64); 7] = [
    ("Ready", "False", 30),
    ("Ready", "Unknown", 30),
    ("AcceleratedHardwareReady", "False", 10),
    ("StorageReady", "False", 30),
    ("NetworkingReady", "False", 30),
    ("KernelReady", "False", 30),
    ("ContainerRuntimeReady", "False", 30),
];

/// No node is repaired while more than this percentage of its NodePool (rounded up) is unhealthy: then it is not the nodes. As Karpenter.
pub const UNHEALTHY_POOL_PERCENT: i64 = 20;

/// No node is repaired while more than this percentage of all nodes (rounded up) is unhealthy.
pub const UNHEALTHY_CLUSTER_PERCENT: i64 = 45;

/// Why a node has to go, the most pressing reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum DepartureReason {
    /// Its machine is taken away.
    Interrupted,
    /// It has been unhealthy for longer than is borne.
    Unhealthy,
    /// `expireAfter` has passed, or does so soon.
    Expired,
    /// It is not what its NodePool would launch today.
    Drifted,
}

/// That a node has to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Departure {
    /// Why.
    pub reason: DepartureReason,
    /// Until when, RFC 3339, if there is such a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// It goes now, whatever budgets, PodDisruptionBudgets and marks say. Otherwise it goes as soon as they allow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}
