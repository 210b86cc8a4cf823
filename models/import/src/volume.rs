//! Volumes of a pod: those a scheduler plug-in looks at are kept, the rest (configMap, secret, emptyDir ...) dropped.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use stowage_models::objects::PodVolume;

/// In-tree volume kinds bound to a place or counted per node by the scheduler's volume plug-ins
/// (VolumeRestrictions, NodeVolumeLimits, VolumeZone; Kubernetes 1.36).
const PLACED_KINDS: [&str; 12] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cinder",
    "fc",
    "flexVolume",
    "gcePersistentDisk",
    "iscsi",
    "photonPersistentDisk",
    "portworxVolume",
    "rbd",
    "scaleIO",
    "vsphereVolume",
];

/// A volume, reduced to the part that restricts where its pod may run.
pub(crate) struct RawVolume {
    placed: Option<PodVolume>,
    /// Data on the node.
    is_local: bool,
}

/// Whether one of the volumes is data on the node: a hostPath, or an emptyDir that is not in memory.
pub(crate) fn any_local(volumes: Option<&[RawVolume]>) -> bool {
    volumes.unwrap_or_default().iter().any(|volume| volume.is_local)
}

#[derive(Deserialize)]
struct EmptyDir {
    medium: Option<String>,
}

/// The volumes that matter, sorted: their order has no meaning.
pub(crate) fn placed(volumes: Option<Vec<RawVolume>>) -> Vec<PodVolume> {
    let mut volumes: Vec<PodVolume> =
        volumes.unwrap_or_default().into_iter().filter_map(|volume| volume.placed).collect();
    volumes.sort();
    volumes.dedup();
    volumes
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimSource {
    claim_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EphemeralSource {
    volume_claim_template: Option<ClaimTemplate>,
}

#[derive(Deserialize)]
struct ClaimTemplate {
    spec: Option<ClaimTemplateSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaimTemplateSpec {
    storage_class_name: Option<String>,
}

impl<'de> Deserialize<'de> for RawVolume {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RawVolume, D::Error> {
        deserializer.deserialize_map(VolumeVisitor)
    }
}

struct VolumeVisitor;

impl<'de> Visitor<'de> for VolumeVisitor {
    type Value = RawVolume;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a volume")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<RawVolume, A::Error> {
        let mut volume_name = String::new();
        let (mut placed, mut is_local) = (None, false);
        while let Some(key) = entries.next_key::<String>()? {
            match key.as_str() {
                "name" => volume_name = entries.next_value::<Option<String>>()?.unwrap_or_default(),
                "persistentVolumeClaim" => {
                    let source: Option<ClaimSource> = entries.next_value()?;
                    placed = source.map(|source| PodVolume::Claim(source.claim_name)).or(placed);
                }
                "ephemeral" => {
                    let source: Option<EphemeralSource> = entries.next_value()?;
                    let class =
                        |source: EphemeralSource| source.volume_claim_template?.spec?.storage_class_name;
                    // The name may still follow; it is filled in below.
                    placed = source
                        .map(|source| PodVolume::Ephemeral {
                            name: String::new(),
                            storage_class: class(source),
                        })
                        .or(placed);
                }
                "emptyDir" => {
                    let source: Option<EmptyDir> = entries.next_value()?;
                    is_local |= source.is_some_and(|source| source.medium.as_deref() != Some("Memory"));
                }
                "hostPath" => is_local |= entries.next_value::<Option<IgnoredAny>>()?.is_some(),
                kind if PLACED_KINDS.contains(&kind) => {
                    let source: Option<IgnoredAny> = entries.next_value()?;
                    placed = source.map(|_| PodVolume::Other(key)).or(placed);
                }
                _ => {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        if let Some(PodVolume::Ephemeral { name, .. }) = &mut placed {
            *name = volume_name;
        }
        Ok(RawVolume { placed, is_local })
    }
}
