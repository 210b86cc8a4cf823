//! Whether the scheduler can carry a plan out: each pod bound where it is meant to go, one after the other.

use super::{Rejection, World};
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
    let mut waiting: Vec<usize> = (0..assignments.len()).collect();
    loop {
        let before = waiting.len();
        let mut stuck = Vec::new();
        waiting.retain(|index| {
            let (pod, place) = assignments[*index];
            match world.may_go(pod, place) {
                Ok(()) => {
                    world.places[place].bind(pod);
                    false
                }
                Err(rejection) => {
                    stuck.push(Stuck { assignment: *index, rejection });
                    true
                }
            }
        });
        if waiting.is_empty() || waiting.len() == before {
            return stuck;
        }
    }
}
