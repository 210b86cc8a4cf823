//! NodePools and NodeClaims (`karpenter.sh/v1`) and EC2NodeClasses (`karpenter.k8s.aws/v1`).

use crate::meta::{Condition, Meta, RawTaint, not_ready, taints, true_conditions};
use crate::quantities::{Bytes, IntOrString, Quantities, Weight, nonzero, stated};
use crate::requirement::{PoolRequirement, modernise};
use serde::Deserialize;
use std::collections::BTreeMap;
use stowage_models::departure::{NOTICES, Notice, Notices};
use stowage_models::objects::{Budget, CapacityReservation, Ec2NodeClass, NodeClaim, NodePool};
use stowage_models::selector::Labels;

/// A NodePool.
#[derive(Deserialize)]
pub(crate) struct RawNodePool {
    metadata: Meta,
    spec: RawPoolSpec,
    status: Option<RawPoolStatus>,
}

#[derive(Deserialize)]
struct RawPoolStatus {
    conditions: Option<Vec<Condition>>,
}

#[derive(Deserialize)]
struct RawPoolSpec {
    #[serde(default)]
    template: RawTemplate,
    disruption: Option<RawDisruption>,
    limits: Option<Quantities>,
    weight: Option<Weight>,
    replicas: Option<i64>,
}

#[derive(Default, Deserialize)]
struct RawTemplate {
    metadata: Option<TemplateMeta>,
    spec: Option<RawTemplateSpec>,
}

#[derive(Deserialize)]
struct TemplateMeta {
    labels: Option<Labels>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTemplateSpec {
    requirements: Option<Vec<PoolRequirement>>,
    taints: Option<Vec<RawTaint>>,
    startup_taints: Option<Vec<RawTaint>>,
    node_class_ref: Option<ClassRef>,
    expire_after: Option<String>,
    termination_grace_period: Option<String>,
}

#[derive(Deserialize)]
struct ClassRef {
    name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDisruption {
    consolidation_policy: Option<String>,
    consolidate_after: Option<String>,
    budgets: Option<Vec<RawBudget>>,
}

#[derive(Deserialize)]
struct RawBudget {
    nodes: Option<IntOrString>,
    reasons: Option<Vec<String>>,
    schedule: Option<String>,
    duration: Option<String>,
}

impl RawNodePool {
    pub(crate) fn convert(self) -> NodePool {
        let template = self.spec.template;
        let spec = template.spec.unwrap_or_default();
        let disruption = self.spec.disruption.unwrap_or_default();
        NodePool {
            deleting: self.metadata.is_deleting(),
            not_ready: self.status.and_then(|status| not_ready(status.conditions)),
            name: self.metadata.name,
            labels: modernise(template.metadata.and_then(|metadata| metadata.labels)),
            // The order of a pool's requirements is kept: the first comparison on a custom key decides its label.
            requirements: spec.requirements.unwrap_or_default().into_iter().map(|r| r.0).collect(),
            taints: taints(spec.taints),
            startup_taints: taints(spec.startup_taints),
            node_class: spec.node_class_ref.and_then(|class| class.name).unwrap_or_default(),
            limits: stated(self.spec.limits),
            weight: self.spec.weight.map_or(0, |weight| weight.0),
            replicas: self.spec.replicas,
            expire_after: spec.expire_after,
            termination_grace_period: spec.termination_grace_period,
            consolidation_policy: disruption.consolidation_policy,
            consolidate_after: disruption.consolidate_after,
            budgets: disruption.budgets.unwrap_or_default().into_iter().map(RawBudget::convert).collect(),
        }
    }
}

impl RawBudget {
    fn convert(self) -> Budget {
        let mut reasons = self.reasons.unwrap_or_default();
        reasons.sort();
        reasons.dedup();
        Budget {
            // As written, even if no controller would accept it; 10% is the CRD's default.
            nodes: self.nodes.map_or_else(|| "10%".to_owned(), |nodes| nodes.0),
            reasons,
            schedule: self.schedule,
            duration: self.duration,
        }
    }
}

/// A NodeClaim.
#[derive(Deserialize)]
pub(crate) struct RawNodeClaim {
    metadata: Meta,
    spec: Option<RawClaimSpec>,
    status: Option<RawClaimStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaimSpec {
    taints: Option<Vec<RawTaint>>,
    expire_after: Option<String>,
    termination_grace_period: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaimStatus {
    node_name: Option<String>,
    #[serde(rename = "providerID")]
    provider_id: Option<String>,
    capacity: Option<Quantities>,
    allocatable: Option<Quantities>,
    conditions: Option<Vec<Condition>>,
}

impl RawNodeClaim {
    /// The claim, and what messages say of its node.
    pub(crate) fn convert(self) -> (NodeClaim, Vec<Notice>) {
        let spec = self.spec.unwrap_or_default();
        let status = self.status.unwrap_or_default();
        let notices = self.metadata.annotation(NOTICES).map(Notices::parse).unwrap_or_default();
        let claim = NodeClaim {
            created: self.metadata.creation_timestamp.clone(),
            expire_after: spec.expire_after,
            termination_grace_period: spec.termination_grace_period,
            deleting: self.metadata.is_deleting(),
            name: self.metadata.name,
            labels: modernise(self.metadata.labels),
            node: status.node_name.filter(|name| !name.is_empty()),
            provider_id: status.provider_id.filter(|id| !id.is_empty()),
            capacity: nonzero(status.capacity),
            allocatable: nonzero(status.allocatable),
            taints: taints(spec.taints),
            conditions: true_conditions(status.conditions),
        };
        // A machine without a node yet has no pods that would have to leave.
        let notices = claim.node.as_deref().map(|node| notices.about(node)).unwrap_or_default();
        (claim, notices)
    }
}

/// An EC2NodeClass.
#[derive(Deserialize)]
pub(crate) struct RawNodeClass {
    metadata: Meta,
    #[serde(default)]
    spec: RawClassSpec,
    status: Option<RawClassStatus>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClassSpec {
    kubelet: Option<RawKubelet>,
    ami_family: Option<String>,
    ami_selector_terms: Option<Vec<AmiTerm>>,
    block_device_mappings: Option<Vec<BlockDevice>>,
    instance_store_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawKubelet {
    max_pods: Option<i64>,
    pods_per_core: Option<i64>,
    kube_reserved: Option<Quantities>,
    system_reserved: Option<Quantities>,
    eviction_hard: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct AmiTerm {
    alias: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BlockDevice {
    device_name: Option<String>,
    root_volume: Option<bool>,
    ebs: Option<Ebs>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ebs {
    volume_size: Option<Bytes>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClassStatus {
    subnets: Option<Vec<Subnet>>,
    capacity_reservations: Option<Vec<RawReservation>>,
}

#[derive(Deserialize)]
struct Subnet {
    zone: Option<String>,
}

/// A capacity reservation as the class' status lists it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReservation {
    id: Option<String>,
    instance_type: Option<String>,
    availability_zone: Option<String>,
    available_instance_count: Option<i64>,
    reservation_type: Option<String>,
    state: Option<String>,
    end_time: Option<String>,
}

impl RawNodeClass {
    pub(crate) fn convert(self) -> Ec2NodeClass {
        let root_volume_bytes = self.spec.root_volume_bytes();
        let kubelet = self.spec.kubelet.unwrap_or_default();
        let status = self.status.unwrap_or_default();
        let reservations = status.capacity_reservations.unwrap_or_default();
        let active =
            reservations.into_iter().filter(|one| one.state.as_deref().is_none_or(|s| s == "active"));
        let mut capacity_reservations: Vec<CapacityReservation> = active
            .filter_map(|one| {
                Some(CapacityReservation {
                    id: one.id?,
                    instance_type: one.instance_type?,
                    zone: one.availability_zone?,
                    available: one.available_instance_count,
                    ends: one.end_time,
                    reservation_type: one.reservation_type.unwrap_or_else(|| "default".to_owned()),
                })
            })
            .collect();
        capacity_reservations.sort_by(|a, b| a.id.cmp(&b.id));
        let subnets = status.subnets.unwrap_or_default();
        let mut zones: Vec<String> = subnets.into_iter().filter_map(|subnet| subnet.zone).collect();
        zones.sort();
        zones.dedup();
        Ec2NodeClass {
            name: self.metadata.name,
            zones,
            max_pods: kubelet.max_pods,
            pods_per_core: kubelet.pods_per_core,
            kube_reserved: stated(kubelet.kube_reserved),
            system_reserved: stated(kubelet.system_reserved),
            eviction_memory: kubelet.eviction_hard.and_then(|mut signals| signals.remove("memory.available")),
            root_volume_bytes,
            instance_store_raid0: self.spec.instance_store_policy.as_deref() == Some("RAID0"),
            capacity_reservations,
        }
    }
}

impl RawClassSpec {
    /// The volume that carries pods' ephemeral storage, found as Karpenter finds it: the mapping marked as root volume,
    /// else for custom images the last mapping, else the one with the image family's device name.
    fn root_volume_bytes(&self) -> Option<i64> {
        let mappings = self.block_device_mappings.as_deref()?;
        let size = |mapping: &BlockDevice| Some(mapping.ebs.as_ref()?.volume_size?.0);
        let marked = mappings.iter().find(|mapping| mapping.root_volume == Some(true)).and_then(size);
        if marked.is_some() {
            return marked;
        }
        let device = match self.image_family().as_str() {
            "custom" => return mappings.last().and_then(size),
            "bottlerocket" => "/dev/xvdb",
            family if family.starts_with("windows") => "/dev/sda1",
            _ => "/dev/xvda",
        };
        mappings.iter().filter(|mapping| mapping.device_name.as_deref() == Some(device)).find_map(size)
    }

    /// `amiFamily`, or the family of an alias such as `al2023@latest`; in lower case.
    fn image_family(&self) -> String {
        let aliases = self.ami_selector_terms.iter().flatten().filter_map(|term| term.alias.as_deref());
        let alias_family = aliases.filter_map(|alias| alias.split('@').next()).next();
        self.ami_family.as_deref().or(alias_family).unwrap_or("custom").to_lowercase()
    }
}
