//! `NodeVolumeLimits`: volumes a CSI driver attaches to one node at once.

use super::{Place, Rejection, World, reject};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{Pod, PodVolume};

const PLUGIN: &str = "NodeVolumeLimits";

/// A volume the scheduler counts: by the volume a claim is bound to, or by the claim.
type Attached<'w> = (&'w str, String);

impl World<'_> {
    /// The volumes of a pod that a CSI driver attaches, by driver. Claims that are not there, or of no driver, attach nothing.
    fn attached(&self, pod: &Pod) -> BTreeSet<Attached<'_>> {
        let claim = |volume: &PodVolume| {
            let name = match volume {
                PodVolume::Claim(name) => name.clone(),
                PodVolume::Ephemeral { name, .. } => format!("{}-{name}", pod.name),
                PodVolume::Other(_) => return None,
            };
            let claim = self.named.claims.get(&(pod.namespace.as_str(), name.as_str()))?;
            match claim.volume.as_deref().and_then(|volume| self.named.volumes.get(volume)) {
                Some(volume) => Some((volume.driver.as_deref()?, format!("volume {}", volume.name))),
                None => {
                    let class = self.named.classes.get(claim.storage_class.as_deref()?)?;
                    Some((class.provisioner.as_str(), format!("claim {}/{name}", pod.namespace)))
                }
            }
        };
        pod.spec.volumes.iter().filter_map(claim).collect()
    }
}

/// For every driver with a limit: what is attached already and what the pod adds is at most that. A driver that the pod adds
/// nothing of does not matter, however many volumes are attached.
pub(super) fn node_volume_limits(world: &World<'_>, pod: &Pod, node: &Place<'_>) -> Result<(), Rejection> {
    if pod.spec.volumes.is_empty() || node.volume_limits.is_empty() {
        return Ok(());
    }
    let there: BTreeSet<Attached<'_>> = node.pods.iter().flat_map(|other| world.attached(other)).collect();
    let mut adds: BTreeMap<&str, i64> = BTreeMap::new();
    for (driver, _) in world.attached(pod).difference(&there) {
        *adds.entry(driver).or_default() += 1;
    }
    for (driver, adds) in adds {
        let Some(limit) = node.volume_limits.get(driver) else { continue };
        let attached = there.iter().filter(|(other, _)| *other == driver).count() as i64;
        if attached + adds > *limit {
            return reject(PLUGIN, "node(s) exceed max volume count");
        }
    }
    Ok(())
}
