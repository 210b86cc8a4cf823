//! `VolumeRestrictions` for `ReadWriteOncePod` claims, and `VolumeBinding` (and `VolumeZone`, which the importer expresses as node affinity of the volume).

use super::{Place, Rejection, World, reject, term_selects};
use stowage_models::objects::{Pod, PodVolume, StorageClass};

const PLUGIN: &str = "VolumeBinding";
/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A claim that one pod at a time may use must not be used by a pod on any node.
pub(super) fn volume_restrictions(world: &World<'_>, pod: &Pod) -> Result<(), Rejection> {
    let exclusive: Vec<&str> = claims(pod)
        .filter(|name| {
            let claim = world.named.claims.get(&(pod.namespace.as_str(), *name));
            claim.is_some_and(|claim| claim.read_write_once_pod)
        })
        .collect();
    if exclusive.is_empty() {
        return Ok(());
    }
    let uses = |other: &&Pod| {
        other.namespace == pod.namespace && claims(other).any(|name| exclusive.contains(&name))
    };
    if world.places.iter().any(|place| place.pods.iter().any(uses)) {
        return reject(
            "VolumeRestrictions",
            "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",
        );
    }
    Ok(())
}

/// The claims a pod names; those of ephemeral volumes are its own.
fn claims(pod: &Pod) -> impl Iterator<Item = &str> {
    pod.spec.volumes.iter().filter_map(|volume| match volume {
        PodVolume::Claim(name) => Some(name.as_str()),
        PodVolume::Ephemeral { .. } | PodVolume::Other(_) => None,
    })
}

/// Bound claims must be reachable from the node; claims that wait for their first consumer must be provisionable there;
/// anything else keeps the pod waiting everywhere.
pub(super) fn volume_binding(world: &World<'_>, pod: &Pod, node: &Place<'_>) -> Result<(), Rejection> {
    for volume in &pod.spec.volumes {
        let name = match volume {
            PodVolume::Claim(name) => name.clone(),
            PodVolume::Ephemeral { name, .. } => format!("{}-{name}", pod.name),
            PodVolume::Other(kind) => {
                return Err(Rejection {
                    plugin: PLUGIN,
                    message: format!("volumes of kind {kind} are not understood"),
                });
            }
        };
        let Some(claim) = world.named.claims.get(&(pod.namespace.as_str(), name.as_str())) else {
            return Err(Rejection {
                plugin: PLUGIN,
                message: format!("persistentvolumeclaim \"{name}\" not found"),
            });
        };
        match &claim.volume {
            Some(volume) => {
                let Some(volume) = world.named.volumes.get(volume.as_str()) else {
                    return reject(
                        PLUGIN,
                        "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
                    );
                };
                let near = volume
                    .node_affinity
                    .as_ref()
                    .is_none_or(|terms| terms.iter().any(|term| term_selects(term, node)));
                if !near {
                    return reject(PLUGIN, "node(s) didn't match PersistentVolume's node affinity");
                }
            }
            None => {
                let class = claim.storage_class.as_deref().and_then(|class| world.named.classes.get(class));
                provisionable(class.copied(), node)?;
            }
        }
    }
    Ok(())
}

fn provisionable(class: Option<&StorageClass>, node: &Place<'_>) -> Result<(), Rejection> {
    let Some(class) = class.filter(|class| class.wait_for_first_consumer) else {
        return reject(PLUGIN, "pod has unbound immediate PersistentVolumeClaims");
    };
    let here = class.allowed_topologies.is_empty()
        || class.allowed_topologies.iter().any(|term| term_selects(term, node));
    if class.provisioner == NO_PROVISIONER || !here {
        return reject(PLUGIN, "node(s) didn't find available persistent volumes to bind");
    }
    Ok(())
}
