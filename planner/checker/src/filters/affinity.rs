//! `InterPodAffinity`: required pod affinity and anti-affinity, also that of pods that run already.

use super::index::{Index, Profile};
use super::{Rejection, reject};

const PLUGIN: &str = "InterPodAffinity";

/// Pod affinity, then the pod's own anti-affinity, then that of the pods that are there.
pub(super) fn inter_pod_affinity(
    index: &mut Index<'_>,
    profile: &Profile,
    place: usize,
) -> Result<(), Rejection> {
    if !satisfies_affinity(index, profile, place) {
        return reject(PLUGIN, "node(s) didn't match pod affinity rules");
    }
    if profile.anti.iter().any(|term| index.meant[*term].near(&index.topology, 0, place)) {
        return reject(PLUGIN, "node(s) didn't match pod anti-affinity rules");
    }
    if index.keeps_away(profile.class, place) {
        return reject(PLUGIN, "node(s) didn't satisfy existing pods anti-affinity rules");
    }
    Ok(())
}

/// For every term some pod that all terms mean is in the node's domain. The first of a series that means itself may go
/// anywhere, as long as no pod that all terms mean runs in any domain yet.
fn satisfies_affinity(index: &Index<'_>, profile: &Profile, place: usize) -> bool {
    let Some((meant, terms)) = profile.affinity else {
        return true;
    };
    let meant = &index.meant[meant];
    if (0..terms).any(|term| !meant.has_key(&index.topology, term, place)) {
        return false;
    }
    (0..terms).all(|term| meant.near(&index.topology, term, place))
        || (meant.anywhere == 0 && profile.means_itself)
}
