//! What a step is told.

use crate::time::Time;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::departure::Notices;
use stowage_models::objects::{Budget, PodRef, Taint};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::units::UsdMicros;

/// A type in a zone at a capacity type, with the price it was planned at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offering {
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Price per hour.
    pub price: UsdMicros,
}

/// A pod of a slot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PlannedPod {
    /// `namespace/name`.
    pub id: PodRef,
    /// The uid it had when it was planned; another is another pod.
    pub uid: String,
    /// Bound to its node by the executor: kube-scheduler would not count the nodes of other slots for it (docs/realisation.md).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub direct: bool,
}

/// A NodeClaim as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// When it was created.
    pub created: Time,
    /// NodePool.
    pub pool: String,
    /// Ours: has the annotations of a [`crate::Draft`]. Others are left alone.
    pub ours: bool,
    /// Plan.
    pub plan: String,
    /// Slot: value of the taint of its node.
    pub slot: String,
    /// Client token of its launch.
    pub token: String,
    /// Launch request, byte for byte.
    pub body: String,
    /// Pods it is for.
    pub pods: Vec<PlannedPod>,
    /// Capacity of the offering planned.
    pub capacity: Resources,
    /// Allocatable promised.
    pub allocatable: Resources,
    /// Labels of the node to come.
    pub labels: Labels,
    /// Taints of the node to come, those of start-up left out.
    pub taints: Vec<Taint>,
    /// Taints others remove while it starts.
    pub startup_taints: Vec<Taint>,
    /// Instance id from the provider id; `None` until launched.
    pub instance: Option<String>,
    /// When it was launched.
    pub launched: Option<Time>,
    /// When its node registered.
    pub registered: Option<Time>,
    /// When its node was initialised.
    pub initialized: Option<Time>,
    /// Has a deletion timestamp.
    pub deleting: bool,
    /// The deletion timestamp.
    pub deleted: Option<Time>,
    /// `terminationGracePeriod`, in milliseconds.
    pub grace: Option<i64>,
    /// Has our finalizer.
    pub finalizer: bool,
    /// It has drifted, as its condition says.
    pub drifted: bool,
    /// `expireAfter`, in milliseconds.
    pub life: Option<i64>,
    /// Its node is to go, as a plan says.
    pub removal: Option<crate::removal::Removal>,
    /// What messages say of its machine.
    pub notices: Notices,
}

/// A node as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// Instance id from the provider id; `None` until it has one. Nothing else tells which machine it is.
    pub instance: Option<String>,
    /// Ready.
    pub ready: bool,
    /// Labels.
    pub labels: Labels,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Capacity.
    pub capacity: Resources,
    /// Allocatable.
    pub allocatable: Resources,
    /// Has our finalizer.
    pub finalizer: bool,
    /// Has a deletion timestamp.
    pub deleting: bool,
}

/// A pod as the API server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Uid.
    pub uid: String,
    /// Waits for a place (`stowage_models::objects::Pod::is_pending`).
    pub pending: bool,
    /// It stands for room that a CapacityBuffer keeps free: nobody will ever bind it.
    pub is_virtual: bool,
    /// Node it is bound to.
    pub node: Option<String>,
    /// Slots whose taint it tolerates.
    pub slots: BTreeSet<String>,
    /// It has the gate of successors ([`crate::SUCCESSOR_GATE`]), and waits for somebody to take it off.
    pub gated: bool,
    /// Uid of what made it and makes another when it goes.
    pub owner: Option<String>,
    /// What draining its node takes; nothing for pods that have ended, static pods, and those that tolerate the taint of nodes that go.
    pub drain: Option<Drain>,
}

/// What draining takes of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drain {
    /// When it is its turn: 0 pods, 1 of DaemonSets, 2 critical pods, 3 of DaemonSets.
    pub tier: u8,
    /// Until when `karpenter.sh/do-not-disrupt` holds.
    pub protected: Option<Time>,
    /// It is being deleted, and should have ended by then.
    pub going: Option<Time>,
    /// Its grace period, in milliseconds.
    pub grace: i64,
}

/// States of an instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// Starts.
    #[default]
    Pending,
    /// Runs.
    Running,
    /// Ends, or has ended: it will not come back.
    Ended,
}

/// An instance as the cloud has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Id.
    pub id: String,
    /// NodeClaim it is tagged with.
    pub claim: String,
    /// Tagged as this cluster's and as managed by Stowage.
    pub ours: bool,
    /// State.
    pub state: InstanceState,
    /// When it was launched.
    pub launched: Time,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Capacity type.
    pub capacity_type: String,
    /// Image.
    pub image: String,
    /// Where it was put, if that is known.
    pub placed: Option<Box<Placed>>,
}

/// Where an instance was put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// Subnet; empty if it is not known.
    pub subnet: String,
    /// Security groups; empty if they are not known.
    pub groups: BTreeSet<String>,
    /// The capacity reservation it runs in.
    pub reservation: Option<String>,
}

/// Instances of this cluster, and the claims there were after they had been listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// When the listing of instances was begun.
    pub begun: Time,
    /// Instances by id.
    pub instances: BTreeMap<String, Instance>,
    /// Names of all NodeClaims, listed from the API server itself after the last page of instances had come.
    pub claims: BTreeSet<String>,
}

/// A plan, as far as it is to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Digest of the plan.
    pub plan: String,
    /// Launches.
    pub launches: Vec<crate::request::Intent>,
    /// Pods that were looked at and need no launch: they have a place, or can have none.
    pub settled: Vec<PlannedPod>,
    /// What is done in order, where nodes are removed; all launches are in here then.
    pub waves: Vec<crate::removal::PlannedWave>,
    /// Claims of nodes that static pools would give back: never without approval.
    pub returns: Vec<String>,
}

impl PlannedBatch {
    /// Launches and removals.
    #[must_use]
    pub fn actions(&self) -> usize {
        let waves: usize = self.waves.iter().map(|wave| wave.launches.len() + wave.removals.len()).sum();
        self.launches.len() + waves
    }

    /// Price per hour of its launches.
    #[must_use]
    pub fn cost(&self) -> UsdMicros {
        let launches = self.waves.iter().flat_map(|wave| &wave.launches).chain(&self.launches);
        launches.filter_map(|launch| launch.offerings.first()).map(|one| one.price).sum()
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A plan. The ticket is that of the request.
    Planned(u64, Box<PlannedBatch>),
    /// No plan, with the reason.
    NotPlanned(u64, String),
    /// No plan, because nodes that go by force do not wait for it ([`crate::State::presses`]): what it was about is planned with them.
    GivenUp(u64),
    /// Actions of a plan in review: what to launch for them, or what is in the way.
    Verified {
        /// Digest of the plan.
        plan: String,
        /// Launches of the actions that were asked about.
        outcome: Result<Box<PlannedBatch>, crate::review::Unmet>,
    },
    /// A machine, new or the one that was launched under this token before.
    Launched {
        /// Claim.
        claim: String,
        /// The machine, and what had no capacity before it.
        launched: crate::ports::Launched,
    },
    /// A launch could not be prepared; its claim was not created.
    NotPrepared {
        /// Claim.
        claim: String,
        /// Why.
        why: crate::request::Failure,
    },
    /// No machine.
    NotLaunched {
        /// Claim.
        claim: String,
        /// Why.
        why: crate::request::Failure,
    },
    /// Machines.
    Listed(Listing),
    /// What stands against nodes that are to go, by claim; one of the verdicts for each that was asked about.
    Rechecked(BTreeMap<String, Result<(), crate::removal::Hindrance>>),
    /// Any other request was carried out.
    Done(crate::request::Key),
    /// Any other request was not carried out.
    Failed(crate::request::Key, String),
}

/// What a step is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Now.
    pub now: Time,
    /// The view is complete and not stale. Nothing is done without.
    pub synced: bool,
    /// The lease is held, and will be for as long as a write may take.
    pub leader: bool,
    /// Digest of NodePools and node classes: when it changes, all pods are worth another look.
    pub inputs: String,
    /// Uid and generation (`uid@generation`) of NodePools and node classes, uids of nodes, by `Kind/name`.
    pub versions: BTreeMap<String, String>,
    /// Nodes that have to go by force: their machines are taken away, say.
    pub urgent: BTreeSet<String>,
    /// Nodes that static NodePools are to have, by pool; pools being deleted left out.
    pub statics: BTreeMap<String, i64>,
    /// Disruption budgets of these.
    pub budgets: BTreeMap<String, Vec<Budget>>,
    /// Plans in review, by digest.
    pub proposals: BTreeMap<String, crate::review::Proposal>,
    /// Plans that were approved, begun, and are not over, by digest.
    pub executing: BTreeMap<String, crate::review::Proposal>,
    /// NodeClaims by name.
    pub claims: BTreeMap<String, Claim>,
    /// Nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Pods by `namespace/name`.
    pub pods: BTreeMap<PodRef, Pod>,
    /// Answers since the last step.
    pub answers: Vec<Answer>,
}
