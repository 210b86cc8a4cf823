//! `PodTopologySpread`: constraints with `DoNotSchedule`.

use super::index::{Index, Profile};
use super::{Rejection, reject};

const PLUGIN: &str = "PodTopologySpread";

/// For every hard constraint: pods of the domain, plus one if the pod counts itself, less the emptiest domain, is at most
/// `maxSkew`. Domains are those of nodes that have all the keys and that the constraint's node policies include.
pub(super) fn pod_topology_spread(
    index: &Index<'_>,
    profile: &Profile,
    place: usize,
) -> Result<(), Rejection> {
    within(index, profile, place, false)
}

/// The same of a pod that is there and counted already: whether it could have come last of all.
pub(super) fn could_come_last(index: &Index<'_>, profile: &Profile, place: usize) -> Result<(), Rejection> {
    within(index, profile, place, true)
}

fn within(index: &Index<'_>, profile: &Profile, place: usize, is_there: bool) -> Result<(), Rejection> {
    for one in &profile.spreads {
        let spread = &index.spreads[one.spread];
        let Some(here) = spread.here(&index.topology, place) else {
            return reject(
                PLUGIN,
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        };
        let (domains, least) = spread.least();
        let few = (domains as i64) < one.min_domains;
        // Without any domain the scheduler's minimum is the largest number there is, and nothing is too much.
        let least = if few { 0 } else { least.unwrap_or(i64::from(i32::MAX)) };
        let counted = is_there && spread.looks_at(place);
        if here + i64::from(one.own && !counted) - least > one.max_skew {
            return reject(PLUGIN, "node(s) didn't match pod topology spread constraints");
        }
    }
    Ok(())
}
