//! EC2NodeClasses, reduced to what decides what a node has.

use crate::objects::is_default;
use crate::quantity::Resources;
use serde::{Deserialize, Serialize};

/// An EC2NodeClass (`karpenter.k8s.aws/v1`), reduced to what changes a node's zones and allocatable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ec2NodeClass {
    /// Name.
    pub name: String,
    /// Zones of its subnets (`status.subnets[].zone`); empty = unknown, every zone is allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
    /// `kubelet.maxPods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_pods: Option<i64>,
    /// `kubelet.podsPerCore`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pods_per_core: Option<i64>,
    /// `kubelet.kubeReserved`; replaces the computed value of each resource named.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub kube_reserved: Resources,
    /// `kubelet.systemReserved`.
    #[serde(default, skip_serializing_if = "Resources::is_empty")]
    pub system_reserved: Resources,
    /// `kubelet.evictionHard["memory.available"]`, as written (quantity or percentage).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eviction_memory: Option<String>,
    /// Size of the root volume in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_volume_bytes: Option<i64>,
    /// `instanceStorePolicy: RAID0`: ephemeral storage is the sum of local disks.
    #[serde(default, skip_serializing_if = "is_default")]
    pub instance_store_raid0: bool,
    /// Active capacity reservations it may launch into (`status.capacityReservations`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capacity_reservations: Vec<CapacityReservation>,
}

/// A capacity reservation: so many nodes of a type in a zone that are paid for whether they run or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapacityReservation {
    /// Id, e.g. `cr-0123456789abcdef0`.
    pub id: String,
    /// Instance type.
    pub instance_type: String,
    /// Zone.
    pub zone: String,
    /// Nodes it has left; absent if the class does not say, and then none is planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available: Option<i64>,
    /// `default` or `capacity-block`, as written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reservation_type: String,
    /// When it ends, RFC 3339; `None`: it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<String>,
}
