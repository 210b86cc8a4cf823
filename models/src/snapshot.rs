//! The snapshot: everything a planning run may know, as one versioned value.

use crate::departure::Notice;
use crate::objects::{
    DaemonSet, Ec2NodeClass, Namespace, Node, NodeClaim, NodePool, Pod, PodDisruptionBudget, StorageClass,
    Volume, VolumeClaim,
};
use crate::overlay::NodeOverlay;
use crate::units::Ppm;
use serde::{Deserialize, Serialize};

/// The newest format. Readers accept any minor of the same major; a snapshot says the oldest format that has all it says, so that what
/// older readers understand stays what it was, byte for byte. 1.1 added `nodeOverlays`, `ends` of capacity
/// reservations and `restarts` of pods.
pub const FORMAT_VERSION: &str = "1.1";

/// The format of a snapshot without anything that came later.
const FORMAT_FIRST: &str = "1.0";

/// The `kind` of a snapshot document, which tells it from a Kubernetes `List`.
pub const KIND: &str = "StowageSnapshot";

/// Facts about the cluster that no API object states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// Share of an instance's memory the hypervisor keeps: Karpenter's `VM_MEMORY_OVERHEAD_PERCENT`, 7.5 % by default.
    pub vm_memory_overhead: Ppm,
    /// The VPC CNI hands out /28 prefixes, so that ENIs do not limit pods (EKS then sets 110, or 250 from 30 vCPU).
    pub prefix_delegation: bool,
    /// ENIs not usable for pods: Karpenter's `RESERVED_ENIS`.
    pub reserved_enis: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { vm_memory_overhead: Ppm(75_000), prefix_delegation: false, reserved_enis: 0 }
    }
}

/// A recorded cluster. All lists are sorted by namespace and name; importers see to it ([`Snapshot::normalise`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Always [`KIND`].
    pub kind: String,
    /// See [`FORMAT_VERSION`].
    pub format_version: String,
    /// When the cluster was observed, RFC 3339; `None` if the input did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<String>,
    /// Where the data is from, for people ("composed, seed 7", "openb default").
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Seed of every random choice.
    #[serde(default)]
    pub seed: u64,
    /// Cluster settings.
    #[serde(default)]
    pub settings: Settings,
    /// What the importer had to assume or leave out, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// NodePools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_pools: Vec<NodePool>,
    /// EC2NodeClasses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_classes: Vec<Ec2NodeClass>,
    /// NodeOverlays.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_overlays: Vec<NodeOverlay>,
    /// NodeClaims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_claims: Vec<NodeClaim>,
    /// Nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// Pods. Those that are read from one document share equal specs, labels and owners.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::pod::shared")]
    pub pods: Vec<Pod>,
    /// DaemonSets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub daemon_sets: Vec<DaemonSet>,
    /// PodDisruptionBudgets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pod_disruption_budgets: Vec<PodDisruptionBudget>,
    /// PersistentVolumeClaims.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume_claims: Vec<VolumeClaim>,
    /// PersistentVolumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// StorageClasses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub storage_classes: Vec<StorageClass>,
    /// Namespaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<Namespace>,
    /// Messages about machines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<Notice>,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot {
            kind: KIND.to_owned(),
            format_version: FORMAT_FIRST.to_owned(),
            taken_at: None,
            origin: String::new(),
            seed: 0,
            settings: Settings::default(),
            notes: Vec::new(),
            node_pools: Vec::new(),
            node_classes: Vec::new(),
            node_overlays: Vec::new(),
            node_claims: Vec::new(),
            nodes: Vec::new(),
            pods: Vec::new(),
            daemon_sets: Vec::new(),
            pod_disruption_budgets: Vec::new(),
            volume_claims: Vec::new(),
            volumes: Vec::new(),
            storage_classes: Vec::new(),
            namespaces: Vec::new(),
            notices: Vec::new(),
        }
    }
}

impl Snapshot {
    /// Sorts every list by namespace and name, so that the order of the input does not matter, and states the format.
    pub fn normalise(&mut self) {
        let reservations = || self.node_classes.iter().flat_map(|class| &class.capacity_reservations);
        let is_old = self.node_overlays.is_empty()
            && reservations().all(|one| one.ends.is_none())
            && self.pods.iter().all(|pod| pod.restarts == 0);
        self.format_version = if is_old { FORMAT_FIRST } else { FORMAT_VERSION }.to_owned();
        self.node_pools.sort_by(|a, b| a.name.cmp(&b.name));
        self.node_classes.sort_by(|a, b| a.name.cmp(&b.name));
        self.node_overlays.sort_by(|a, b| a.name.cmp(&b.name));
        self.node_claims.sort_by(|a, b| a.name.cmp(&b.name));
        self.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        self.pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.daemon_sets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.pod_disruption_budgets.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.volume_claims.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        self.volumes.sort_by(|a, b| a.name.cmp(&b.name));
        self.storage_classes.sort_by(|a, b| a.name.cmp(&b.name));
        self.namespaces.sort_by(|a, b| a.name.cmp(&b.name));
        self.notices.sort();
        self.notices.dedup();
        self.notes.sort();
        self.notes.dedup();
    }

    /// Whether a node's machine is taken away.
    #[must_use]
    pub fn is_interrupted(&self, node: &str) -> bool {
        self.notices.iter().any(|notice| notice.node == node && notice.is_final())
    }

    /// The digest plans refer to.
    #[must_use]
    pub fn digest(&self) -> String {
        crate::digest::of_json(self)
    }
}
