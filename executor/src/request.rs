//! What a step asks for.

use crate::removal::{Moving, Removal};
use crate::time::Time;
use crate::view::{Offering, PlannedBatch, PlannedPod};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::NodeReason;
use stowage_models::digest;
use stowage_models::objects::{PodRef, Taint};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;

/// A launch of a plan: everything that is needed, nothing to choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intent {
    /// Name of the action in the plan.
    pub action: String,
    /// NodePool.
    pub pool: String,
    /// Node class.
    pub class: String,
    /// The planned offering, then its substitutes in order.
    pub offerings: Vec<Offering>,
    /// Pods.
    pub pods: Vec<PlannedPod>,
    /// Labels of the node.
    pub labels: Labels,
    /// Taints of the node.
    pub taints: Vec<Taint>,
    /// Taints others remove while it starts.
    pub startup_taints: Vec<Taint>,
    /// Requests of its pods and of DaemonSets.
    pub requests: Resources,
    /// Capacity of the planned offering.
    pub capacity: Resources,
    /// Allocatable of the planned offering.
    pub allocatable: Resources,
    /// `expireAfter` of the NodePool.
    pub expire_after: Option<String>,
    /// `terminationGracePeriod` of the NodePool.
    pub termination_grace_period: Option<String>,
    /// NodeOverlays have changed the price of an offering of it.
    pub price_overlay: bool,
    /// NodeOverlays have changed what an offering of it has.
    pub capacity_overlay: bool,
    /// Digest of the NodePool's template as it was planned with ([`crate::pool_hash`]).
    pub pool_hash: String,
}

/// What is sent to the cloud. Stored as text with the claim and sent again as that text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchBody {
    /// Claim; the machine is tagged with it.
    pub claim: String,
    /// Plan.
    pub plan: String,
    /// Action.
    pub action: String,
    /// NodePool.
    pub pool: String,
    /// Node class.
    pub class: String,
    /// The planned offering, then its substitutes in order.
    pub offerings: Vec<Offering>,
    /// Labels the node registers with.
    pub labels: Labels,
    /// Taints the node registers with, beside that of unregistered nodes.
    pub taints: Vec<Taint>,
}

impl LaunchBody {
    /// Reads what [`Draft::body`] holds.
    ///
    /// # Errors
    /// If it is something else.
    pub fn parse(text: &str) -> Result<LaunchBody, String> {
        serde_json::from_str(text).map_err(|error| format!("not a launch request: {error}"))
    }
}

/// A NodeClaim to create.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Name: the same for the same action, so that it cannot be created twice.
    pub name: String,
    /// Plan.
    pub plan: String,
    /// The launch.
    pub intent: Intent,
    /// Value of the slot's taint; empty without steering.
    pub slot: String,
    /// Client token.
    pub token: String,
    /// Launch request.
    pub body: String,
    /// It was approved as it is: it is created for all of its pods or not at all.
    pub exact: bool,
    /// Digest of the node class as the launch was prepared with it ([`crate::class_hash`]); empty before.
    pub class_hash: String,
}

/// The client token of an action: at most one machine is ever launched under it. 64 characters, as EC2 allows.
#[must_use]
pub fn client_token(plan: &str, action: &str) -> String {
    let digest = digest::of_bytes(format!("stowage launch\n{plan}\n{action}").as_bytes());
    digest::short(&digest, 64).to_owned()
}

/// The name of the claim of an action.
#[must_use]
pub fn claim_name(pool: &str, token: &str) -> String {
    // Names have at most 63 characters where they become labels.
    let pool: String = pool.chars().take(50).collect();
    format!("{pool}-{}", &token[..token.len().min(10)])
}

/// Why a claim is given up, or an instance ended. The names are Karpenter's where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No offering of the launch has capacity.
    InsufficientCapacity,
    /// The request can never succeed.
    LaunchFailed,
    /// Not launched in time.
    LaunchTimeout,
    /// Not registered in time.
    RegistrationTimeout,
    /// The instance has ended.
    InstanceGone,
    /// The instance is taken away before its node has registered.
    Interrupted,
    /// Its claim is being deleted.
    ClaimDeleted,
    /// Its static NodePool has more nodes than it says.
    StaticScaleDown,
    /// What it was launched from has changed.
    Drifted,
    /// Its time has come.
    Expired,
    /// Nobody claims it.
    Orphan,
}

impl Reason {
    /// For events and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::InsufficientCapacity => "InsufficientCapacityError",
            Reason::LaunchFailed => "LaunchFailed",
            Reason::LaunchTimeout => "LaunchTimeout",
            Reason::RegistrationTimeout => "RegistrationTimeout",
            Reason::InstanceGone => "InstanceGone",
            Reason::Interrupted => "TerminatingOnInterruption",
            Reason::ClaimDeleted => "ClaimDeleted",
            Reason::StaticScaleDown => "StaticScaleDown",
            Reason::Drifted => "Drifted",
            Reason::Expired => "Expired",
            Reason::Orphan => "Orphan",
        }
    }
}

/// Why there is no machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// None of the offerings has capacity; those the cloud named.
    Capacity(Vec<(String, String, String)>),
    /// Too many requests, or the cloud is in trouble: later.
    Later(String),
    /// The request can never succeed: told to the user, planned again.
    Never(String),
}

/// A machine that is being launched, for the planner: a node that will be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InFlight {
    /// Claim.
    pub claim: String,
    /// NodePool.
    pub pool: String,
    /// Labels of the node to come.
    pub labels: Labels,
    /// Taints of the node to come.
    pub taints: Vec<Taint>,
    /// Capacity.
    pub capacity: Resources,
    /// Allocatable.
    pub allocatable: Resources,
    /// Its pods.
    pub pods: Vec<PlannedPod>,
    /// The node, if there is one already: its pods are on the way.
    pub node: Option<String>,
}

/// What the planner must know beside the snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanInput {
    /// Machines that are being launched, and ready nodes still kept for their pods.
    pub in_flight: Vec<InFlight>,
    /// Offerings (type, zone, capacity type) that had no capacity a while ago.
    pub missing: BTreeSet<(String, String, String)>,
    /// Allocatable of instance types, by node class and type, where nodes turned out smaller than the catalogue says.
    pub smaller: BTreeMap<(String, String), Resources>,
    /// Pods that are not planned again, with the reason.
    pub hopeless: BTreeMap<PodRef, String>,
    /// Nodes that static NodePools lack, by pool.
    pub statics: BTreeMap<String, i64>,
    /// Claims of nodes that static NodePools give back once that is approved, with the reason. Where there are any, the plan is about static
    /// pools alone, and no pod that waits is looked at.
    pub returns: BTreeMap<String, NodeReason>,
    /// Nodes that are to go: they take no pods, whether or not they say so yet.
    pub leaving: BTreeSet<String>,
    /// Pods that are still on such nodes, by the node or claim where they are to go: their room there is spoken for.
    pub moving: Vec<Moving>,
    /// Nodes go by force: a good plan now is worth more than the best one later.
    pub urgent: bool,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verb {
    /// See [`Request::Plan`].
    Plan,
    /// See [`Request::Verify`].
    Verify,
    /// See [`Request::Judge`].
    Judge,
    /// See [`Request::CreateClaim`].
    CreateClaim,
    /// See [`Request::Launch`].
    Launch,
    /// See [`Request::RecordLaunch`].
    RecordLaunch,
    /// See [`Request::Register`].
    Register,
    /// See [`Request::Initialize`].
    Initialize,
    /// See [`Request::Tolerate`].
    Tolerate,
    /// See [`Request::Bind`].
    Bind,
    /// See [`Request::Intend`].
    Intend,
    /// See [`Request::Recheck`].
    Recheck,
    /// See [`Request::Leave`].
    Leave,
    /// See [`Request::Keep`].
    Keep,
    /// See [`Request::Disrupt`].
    Disrupt,
    /// See [`Request::Evict`].
    Evict,
    /// See [`Request::DeletePod`].
    DeletePod,
    /// See [`Request::Expect`].
    Expect,
    /// See [`Request::Ungate`].
    Ungate,
    /// See [`Request::OpenNode`].
    OpenNode,
    /// See [`Request::DeleteClaim`].
    DeleteClaim,
    /// See [`Request::Terminate`].
    Terminate,
    /// See [`Request::DeleteNode`].
    DeleteNode,
    /// See [`Request::ReleaseClaim`].
    ReleaseClaim,
    /// See [`Request::List`].
    List,
}

/// What tells requests apart: only one of a key is under way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// What is done.
    pub verb: Verb,
    /// To what.
    pub object: String,
}

/// What a step asks for. Each may be repeated, and each can be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Plan the pods that wait. Answer: [`crate::Answer::Planned`] with this ticket.
    Plan {
        /// Ticket.
        ticket: u64,
        /// What to know beside the snapshot.
        input: Box<PlanInput>,
        /// Together with nodes that may go. If none does, nothing is launched.
        removals: bool,
    },
    /// Have the referee judge whether these actions of a plan in review are possible now. Answer: [`crate::Answer::Verified`].
    Verify {
        /// Digest of the plan.
        plan: String,
        /// Names of actions.
        actions: Vec<String>,
        /// What to know beside the snapshot.
        input: Box<PlanInput>,
    },
    /// Write what becomes of a plan in review.
    Judge {
        /// Digest of the plan.
        plan: String,
        /// What.
        verdict: crate::review::Verdict,
    },
    /// In shadow mode: show what would be done.
    Show(Box<PlannedBatch>),
    /// Create a NodeClaim. That it exists already is success.
    CreateClaim(Box<Draft>),
    /// Launch under a token.
    Launch {
        /// Claim.
        claim: String,
        /// Token.
        token: String,
        /// The stored request.
        body: String,
    },
    /// Write provider id, labels, condition `Launched` to the claim.
    RecordLaunch {
        /// Claim.
        claim: String,
        /// The machine.
        instance: crate::view::Instance,
    },
    /// Sync labels and taints to the node, remove the taint of unregistered nodes, set condition `Registered`.
    Register {
        /// Claim.
        claim: String,
        /// Node.
        node: String,
    },
    /// Set condition `Initialized` and the node's label.
    Initialize {
        /// Claim.
        claim: String,
        /// Node.
        node: String,
    },
    /// Let a pod tolerate the taint of its slot, if it has this uid.
    Tolerate {
        /// Pod.
        pod: PlannedPod,
        /// Slot.
        slot: String,
    },
    /// Bind a pod to the node that is kept for it, if it has this uid and no node. Nobody checks whether it has room there: only for
    /// planned pods, and only on a node that carries the slot's taint and is as large as promised.
    Bind {
        /// Pod.
        pod: PlannedPod,
        /// Node.
        node: String,
    },
    /// Remove the taint of the slot from a node, so that any pod may come.
    OpenNode {
        /// Node.
        node: String,
        /// Slot.
        slot: String,
    },
    /// Write on a NodeClaim that its node is to go, and why, before anything is done about it.
    Intend(Box<Removal>),
    /// Have the referee, and the API server itself, say whether nodes may still go. Answer: [`crate::Answer::Rechecked`].
    Recheck {
        /// Those it is about.
        removals: Vec<Removal>,
        /// What to know beside the snapshot; nothing of these.
        input: Box<PlanInput>,
    },
    /// Delete the claim of a node that is to go, if it still is, by this plan, and its node is closed: it is drained, and its machine ends.
    Leave {
        /// Claim.
        claim: String,
        /// Plan.
        plan: String,
        /// Why.
        why: NodeReason,
    },
    /// Let a node stay after all: open it again, then take away from its claim what says otherwise. Not if the claim is being deleted.
    Keep {
        /// Claim.
        claim: String,
        /// Node, if there is one.
        node: Option<String>,
        /// The plan by which it was to go; `None`: nothing says that it was.
        plan: Option<String>,
        /// Why, for people.
        why: String,
    },
    /// Taint a node that goes, so that nothing comes any more, and take it from load balancers.
    Disrupt {
        /// Node.
        node: String,
    },
    /// Evict a pod, if it has this uid and its disruption budgets let it go.
    Evict {
        /// Pod.
        pod: PlannedPod,
    },
    /// Delete a pod, if it has this uid, whatever its disruption budgets say: its node is out of time.
    DeletePod {
        /// Pod.
        pod: PlannedPod,
        /// How long it may take to end, in milliseconds.
        grace: i64,
    },
    /// Have new pods of these owners wait until they are let go of ([`crate::SUCCESSOR_GATE`]); of nobody else. Without the API for it, nothing.
    Expect {
        /// Uids of owners.
        owners: BTreeSet<String>,
        /// Pods that are created later do not wait, whatever has become of whoever said this.
        until: Time,
    },
    /// Let go of a pod, if it has this uid: kube-scheduler binds it to this node if it fits there, else to any.
    Ungate {
        /// Pod.
        pod: PlannedPod,
        /// Where it is to run, if that is known.
        node: Option<String>,
    },
    /// Delete a claim; it stays until it is released.
    DeleteClaim {
        /// Claim.
        claim: String,
        /// Why.
        why: Reason,
    },
    /// End an instance.
    Terminate {
        /// Instance.
        instance: String,
        /// Why.
        why: Reason,
        /// Its node, if that must have been emptied: the API server is asked once more, because the view may be old.
        empty: Option<String>,
        /// Volumes of pods that were drained must be detached from it first.
        detached: bool,
    },
    /// Delete the Node object of an instance that has ended.
    DeleteNode {
        /// Node.
        node: String,
        /// Its uid.
        uid: String,
    },
    /// Remove our finalizer from a claim whose instance has ended or never was.
    ReleaseClaim {
        /// Claim.
        claim: String,
    },
    /// List instances, then NodeClaims.
    List,
}

impl Request {
    /// What tells it from others.
    #[must_use]
    pub fn key(&self) -> Option<Key> {
        let key = |verb, object: &str| Some(Key { verb, object: object.to_owned() });
        match self {
            Request::Plan { .. } => key(Verb::Plan, ""),
            Request::Verify { plan, .. } => key(Verb::Verify, plan),
            Request::Judge { plan, .. } => key(Verb::Judge, plan),
            Request::Show(_) => None,
            Request::CreateClaim(draft) => key(Verb::CreateClaim, &draft.name),
            Request::Launch { claim, .. } => key(Verb::Launch, claim),
            Request::RecordLaunch { claim, .. } => key(Verb::RecordLaunch, claim),
            Request::Register { claim, .. } => key(Verb::Register, claim),
            Request::Initialize { claim, .. } => key(Verb::Initialize, claim),
            Request::Tolerate { pod, .. } => key(Verb::Tolerate, &pod.uid),
            Request::Bind { pod, .. } => key(Verb::Bind, &pod.uid),
            Request::OpenNode { node, .. } => key(Verb::OpenNode, node),
            Request::Intend(removal) => key(Verb::Intend, &removal.claim),
            Request::Recheck { .. } => key(Verb::Recheck, ""),
            Request::Leave { claim, .. } => key(Verb::Leave, claim),
            Request::Keep { claim, .. } => key(Verb::Keep, claim),
            Request::Disrupt { node } => key(Verb::Disrupt, node),
            Request::Evict { pod } => key(Verb::Evict, &pod.uid),
            Request::DeletePod { pod, .. } => key(Verb::DeletePod, &pod.uid),
            Request::Expect { .. } => key(Verb::Expect, ""),
            Request::Ungate { pod, .. } => key(Verb::Ungate, &pod.uid),
            Request::DeleteClaim { claim, .. } => key(Verb::DeleteClaim, claim),
            Request::Terminate { instance, .. } => key(Verb::Terminate, instance),
            Request::DeleteNode { node, .. } => key(Verb::DeleteNode, node),
            Request::ReleaseClaim { claim } => key(Verb::ReleaseClaim, claim),
            Request::List => key(Verb::List, ""),
        }
    }

    /// Whether it is carried out though everything is stopped: what turns a machine that was launched into a node that any pod may use,
    /// lets one stay that was to go, or lets go of pods.
    #[must_use]
    pub fn finishes(&self) -> bool {
        matches!(
            self,
            Request::RecordLaunch { .. }
                | Request::Register { .. }
                | Request::Initialize { .. }
                | Request::OpenNode { .. }
                | Request::Keep { .. }
                | Request::Expect { .. }
                | Request::Ungate { .. }
        )
    }

    /// Whether it changes anything outside.
    #[must_use]
    pub fn is_write(&self) -> bool {
        use Request::{List, Plan, Recheck, Show, Verify};
        !matches!(self, Plan { .. } | Verify { .. } | Recheck { .. } | Show(_) | List)
    }
}
