//! PersistentVolumeClaims, PersistentVolumes, StorageClasses and CSINodes.

use crate::meta::{BETA_STORAGE_CLASS, DEFAULT_CLASS, Meta, RawNodeSelector};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stowage_models::labels::{REGION, ZONE, normalise};
use stowage_models::objects::{NodeSelectorTerm, StorageClass, Volume, VolumeClaim};
use stowage_models::selector::{Labels, Operator, Requirement};

/// A PersistentVolumeClaim.
#[derive(Deserialize)]
pub(crate) struct RawClaim {
    metadata: Meta,
    spec: Option<RawClaimSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawClaimSpec {
    volume_name: Option<String>,
    storage_class_name: Option<String>,
    access_modes: Option<Vec<String>>,
}

impl RawClaim {
    pub(crate) fn convert(self) -> VolumeClaim {
        let spec = self.spec.unwrap_or_default();
        let from_annotation = || self.metadata.annotation(BETA_STORAGE_CLASS).map(str::to_owned);
        VolumeClaim {
            namespace: self.metadata.namespace(),
            storage_class: spec.storage_class_name.or_else(from_annotation),
            volume: spec.volume_name.filter(|name| !name.is_empty()),
            read_write_once_pod: spec.access_modes.is_some_and(|modes| modes == ["ReadWriteOncePod"]),
            name: self.metadata.name,
        }
    }
}

/// A PersistentVolume.
#[derive(Deserialize)]
pub(crate) struct RawVolume {
    metadata: Meta,
    spec: Option<RawVolumeSpec>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawVolumeSpec {
    csi: Option<Csi>,
    node_affinity: Option<RawVolumeAffinity>,
}

#[derive(Deserialize)]
struct Csi {
    driver: String,
}

#[derive(Deserialize)]
struct RawVolumeAffinity {
    required: Option<RawNodeSelector>,
}

impl RawVolume {
    pub(crate) fn convert(self) -> Volume {
        let spec = self.spec.unwrap_or_default();
        let stated = spec.node_affinity.and_then(|affinity| affinity.required).map(RawNodeSelector::terms);
        let from_labels = || zone_labels(self.metadata.labels.as_ref()?);
        Volume {
            driver: spec.csi.map(|csi| csi.driver),
            node_affinity: stated.or_else(from_labels),
            name: self.metadata.name,
        }
    }
}

/// Old volumes say where they are by label, several zones joined by `__` (the scheduler's VolumeZone plug-in).
fn zone_labels(labels: &Labels) -> Option<Vec<NodeSelectorTerm>> {
    let mut term = NodeSelectorTerm::default();
    for (key, value) in labels {
        let key = normalise(key);
        if key == ZONE || key == REGION {
            let mut values: Vec<&str> = value.split("__").collect();
            values.sort_unstable();
            values.dedup();
            term.match_expressions.push(Requirement::new(key, Operator::In, &values));
        }
    }
    term.match_expressions.sort();
    term.match_expressions.dedup();
    (!term.match_expressions.is_empty()).then(|| vec![term])
}

/// The attach limits of a node.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct CsiNode {
    /// Name of the node.
    pub(crate) name: String,
    /// Volumes at most, by driver.
    pub(crate) limits: BTreeMap<String, i64>,
}

/// A CSINode.
#[derive(Deserialize)]
pub(crate) struct RawCsiNode {
    metadata: Meta,
    spec: Option<RawCsiNodeSpec>,
}

#[derive(Default, Deserialize)]
struct RawCsiNodeSpec {
    drivers: Option<Vec<RawCsiDriver>>,
}

#[derive(Deserialize)]
struct RawCsiDriver {
    name: String,
    allocatable: Option<RawCount>,
}

#[derive(Deserialize)]
struct RawCount {
    count: Option<i64>,
}

impl RawCsiNode {
    /// A driver that states no limit has none.
    pub(crate) fn convert(self) -> CsiNode {
        let drivers = self.spec.unwrap_or_default().drivers.unwrap_or_default().into_iter();
        let limits = drivers.filter_map(|driver| Some((driver.name, driver.allocatable?.count?))).collect();
        CsiNode { name: self.metadata.name, limits }
    }
}

/// A StorageClass.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawStorageClass {
    metadata: Meta,
    #[serde(default)]
    provisioner: String,
    volume_binding_mode: Option<String>,
    allowed_topologies: Option<Vec<RawTopology>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTopology {
    match_label_expressions: Option<Vec<TopologyRequirement>>,
}

#[derive(Deserialize)]
struct TopologyRequirement {
    key: String,
    values: Vec<String>,
}

impl RawStorageClass {
    pub(crate) fn convert(self) -> StorageClass {
        let is_default = DEFAULT_CLASS.iter().any(|key| self.metadata.annotation(key) == Some("true"));
        let topologies = self.allowed_topologies.unwrap_or_default().into_iter();
        StorageClass {
            name: self.metadata.name,
            provisioner: self.provisioner,
            wait_for_first_consumer: self.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"),
            is_default,
            allowed_topologies: topologies.map(RawTopology::term).collect(),
        }
    }
}

impl RawTopology {
    fn term(self) -> NodeSelectorTerm {
        let expressions =
            self.match_label_expressions.unwrap_or_default().into_iter().map(|mut expression| {
                expression.values.sort();
                expression.values.dedup();
                Requirement {
                    key: normalise(&expression.key).to_owned(),
                    operator: Operator::In,
                    values: expression.values,
                    min_values: None,
                }
            });
        NodeSelectorTerm { match_expressions: expressions.collect(), match_fields: Vec::new() }
    }
}
