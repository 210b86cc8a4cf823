//! The kinds that are looked at.

use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client};

/// A kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Group; empty for the core.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Plural.
    pub plural: &'static str,
    /// A cluster may be without it: it is a custom resource.
    pub optional: bool,
    /// Where a cluster is without it, nothing is missing: it is one that older definitions lack.
    pub spare: bool,
    /// Only looked at while a CapacityBuffer refers to an object of the kind.
    pub shape: bool,
}

const fn kind(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural, optional: false, spare: false, shape: false }
}

const fn custom(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version: "v1", kind, plural, optional: true, spare: false, shape: false }
}

const fn ours(kind: &'static str, plural: &'static str) -> Kind {
    Kind { group: OURS, version: "v1alpha1", kind, plural, optional: true, spare: false, shape: false }
}

const fn spare(group: &'static str, version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version, kind, plural, optional: true, spare: true, shape: false }
}

const fn shape(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { group, version: "v1", kind, plural, optional: false, spare: false, shape: true }
}

/// The group of our own kinds: no part of a snapshot.
pub(crate) const OURS: &str = "stowage.dev";

/// All of them. Pods come first: whatever else is seen is as new as they are, or newer.
pub const KINDS: [Kind; 20] = [
    kind("", "v1", "Pod", "pods"),
    kind("", "v1", "Node", "nodes"),
    kind("", "v1", "Namespace", "namespaces"),
    kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    kind("", "v1", "PersistentVolume", "persistentvolumes"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("storage.k8s.io", "v1", "StorageClass", "storageclasses"),
    kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses"),
    custom("karpenter.sh", "NodePool", "nodepools"),
    custom("karpenter.sh", "NodeClaim", "nodeclaims"),
    custom("karpenter.k8s.aws", "EC2NodeClass", "ec2nodeclasses"),
    spare("karpenter.sh", "v1alpha1", "NodeOverlay", "nodeoverlays"),
    spare("autoscaling.x-k8s.io", "v1beta1", "CapacityBuffer", "capacitybuffers"),
    // After the buffers, which say whether they are looked at.
    shape("", "PodTemplate", "podtemplates"),
    shape("apps", "Deployment", "deployments"),
    shape("apps", "StatefulSet", "statefulsets"),
    shape("apps", "ReplicaSet", "replicasets"),
    ours("PlanPolicy", "planpolicies"),
    ours("Plan", "plans"),
];

impl Kind {
    /// Access to all objects of the kind.
    #[must_use]
    pub fn api(&self, client: &Client) -> Api<DynamicObject> {
        let kind = GroupVersionKind::gvk(self.group, self.version, self.kind);
        Api::all_with(client.clone(), &ApiResource::from_gvk_with_plural(&kind, self.plural))
    }

    /// `apiVersion`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}
