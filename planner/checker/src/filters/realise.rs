//! Whether the scheduler can carry a plan out: each pod bound where it is meant to go, one after the other.

use super::index::{Index, Profile};
use super::{Rejection, World, spread};
use std::collections::BTreeMap;
use stowage_models::objects::Pod;

/// A pod that never gets where it is meant to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Position in the list of assignments.
    pub assignment: usize,
    /// Why, when everything else that could be bound is.
    pub rejection: Rejection,
}

/// Binds every pod to its node as soon as the filters let it, in rounds, as a scheduler does that is steered to exactly
/// these nodes and tries again whatever was rejected. The world ends up with everything bound that could be.
///
/// What is left over is stuck: no order of attempts was tried in which it fits, and for constraints that only tighten as
/// pods are added (resources, ports, anti-affinity) there is none.
pub fn realise<'a>(world: &mut World<'a>, assignments: &[(&'a Pod, usize)]) -> Vec<Stuck> {
    bind(world, assignments).0
}

/// [`realise`], and every pod could also come last: nobody tells the scheduler a good order, and pods that nothing holds back
/// are bound at once. A pod that is within its spread's skew only as long as others are not there yet is stuck, too.
///
/// Enough for any order in which rejected pods are tried again, if one constraint is looked at: a pod that is rejected although
/// it could come last is so because another domain is not as full yet as it will be, and what is missing there is not rejected.
pub fn realise_in_any_order<'a>(world: &mut World<'a>, assignments: &[(&'a Pod, usize)]) -> Vec<Stuck> {
    let (mut stuck, index, profiles) = bind(world, assignments);
    if stuck.is_empty() {
        let last = |at: usize| spread::could_come_last(&index, &profiles[at], assignments[at].1).err();
        stuck.extend(
            (0..assignments.len())
                .filter_map(|at| last(at).map(|rejection| Stuck { assignment: at, rejection })),
        );
    }
    stuck
}

fn bind<'a>(
    world: &mut World<'a>,
    assignments: &[(&'a Pod, usize)],
) -> (Vec<Stuck>, Index<'a>, Vec<Profile>) {
    let pods: Vec<&'a Pod> = assignments.iter().map(|(pod, _)| *pod).collect();
    let (mut index, profiles) = Index::build(world, &pods);
    let mut waiting: Vec<usize> = (0..assignments.len()).collect();
    // Which pods are equal, once some of them have to be tried again.
    let mut alike: Vec<usize> = Vec::new();
    loop {
        let before = waiting.len();
        let mut stuck = Vec::new();
        let mut rejected: BTreeMap<(usize, usize), Rejection> = BTreeMap::new();
        waiting.retain(|at| {
            let (pod, place) = assignments[*at];
            // Of equal pods on one node, one that is rejected speaks for the rest of the round. Where nothing was bound in the
            // whole round, which is the last one then, it is right about all of them.
            let same = alike.get(*at).map(|same| (*same, place));
            let known = same.and_then(|same| rejected.get(&same)).cloned();
            let verdict = known.map_or_else(|| world.filter(pod, place, &mut index, &profiles[*at]), Err);
            match verdict {
                Ok(()) => {
                    world.places[place].bind(pod);
                    index.add(&profiles[*at], pod, place);
                    false
                }
                Err(rejection) => {
                    if let Some(same) = same {
                        rejected.insert(same, rejection.clone());
                    }
                    stuck.push(Stuck { assignment: *at, rejection });
                    true
                }
            }
        });
        if waiting.is_empty() || waiting.len() == before {
            return (stuck, index, profiles);
        }
        if alike.is_empty() {
            alike = equals(&pods, &waiting);
        }
    }
}

/// Equal pods by number; those that do not wait are nobody's equal.
fn equals(pods: &[&Pod], waiting: &[usize]) -> Vec<usize> {
    let mut numbers = BTreeMap::new();
    let mut alike: Vec<usize> = (pods.len()..2 * pods.len()).collect();
    for at in waiting {
        let pod = pods[*at];
        let next = numbers.len();
        // Claims of ephemeral volumes are named after the pod.
        let own = (!pod.spec.volumes.is_empty()).then_some(&pod.name);
        alike[*at] = *numbers.entry((&pod.namespace, &pod.labels, &pod.spec, own)).or_insert(next);
    }
    alike
}
