//! Claims, volumes and their classes, reduced to what decides where a pod may go.

use crate::objects::{NodeSelectorTerm, is_default};
use serde::{Deserialize, Serialize};

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeClaim {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The volume it is bound to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// StorageClass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class: Option<String>,
    /// Its access mode is `ReadWriteOncePod`: one pod at a time uses it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read_write_once_pod: bool,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Name.
    pub name: String,
    /// CSI driver, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Required node affinity (terms are alternatives).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_affinity: Option<Vec<NodeSelectorTerm>>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageClass {
    /// Name.
    pub name: String,
    /// Provisioner (CSI driver).
    pub provisioner: String,
    /// `WaitForFirstConsumer` (true) or `Immediate`.
    pub wait_for_first_consumer: bool,
    /// Is the cluster's default class.
    #[serde(default, skip_serializing_if = "is_default")]
    pub is_default: bool,
    /// `allowedTopologies`, alternatives.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_topologies: Vec<NodeSelectorTerm>,
}
