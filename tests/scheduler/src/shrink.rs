//! Makes a disagreement smaller: whatever can be taken away without ending it goes.

use crate::real::Arena;
use crate::{Case, disagreement};
use anyhow::Result;
use stowage_models::objects::PodSpec;
use stowage_models::snapshot::Snapshot;

/// A step that takes something away; `false` if there was nothing to take.
type Step = Box<dyn Fn(&mut Snapshot) -> bool>;

/// The smallest case this finds on which checker and scheduler still disagree.
///
/// # Errors
/// If the scheduler cannot be asked.
pub async fn shrink(arena: &Arena, case: Case) -> Result<Case> {
    let mut smallest = case;
    let mut attempt = 0;
    'again: loop {
        for step in steps(&smallest.snapshot) {
            let mut smaller = smallest.clone();
            if !step(&mut smaller.snapshot) || smaller == smallest {
                continue;
            }
            attempt += 1;
            let decisions = arena.decide(std::slice::from_ref(&smaller)).await?;
            if disagreement(&smaller, &decisions[&smaller.name]).is_some() {
                smallest = smaller;
                continue 'again;
            }
        }
        eprintln!("shrunk in {attempt} attempts");
        return Ok(smallest);
    }
}

fn steps(snapshot: &Snapshot) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for index in 0..snapshot.pods.len() {
        if snapshot.pods[index].node.is_some() {
            steps.push(Box::new(move |snapshot| {
                snapshot.pods.remove(index);
                true
            }));
        }
    }
    for index in 0..snapshot.nodes.len() {
        steps.push(Box::new(move |snapshot| {
            let gone = snapshot.nodes.remove(index).name;
            snapshot.pods.retain(|pod| pod.node.as_ref() != Some(&gone));
            !snapshot.nodes.is_empty()
        }));
        steps.push(Box::new(move |snapshot| !std::mem::take(&mut snapshot.nodes[index].taints).is_empty()));
    }
    for index in 0..snapshot.pods.len() {
        for simplify in SIMPLIFICATIONS {
            steps.push(Box::new(move |snapshot| {
                let spec = &mut snapshot.pods[index].spec;
                let before = spec.clone();
                simplify(spec);
                *spec != before
            }));
        }
    }
    steps
}

/// Parts of a pod's spec, one by one.
const SIMPLIFICATIONS: [fn(&mut PodSpec); 16] = [
    |spec| spec.topology_spread.truncate(spec.topology_spread.len().saturating_sub(1)),
    |spec| drop((!spec.topology_spread.is_empty()).then(|| spec.topology_spread.remove(0))),
    |spec| spec.affinity.pod_required.truncate(spec.affinity.pod_required.len().saturating_sub(1)),
    |spec| drop((!spec.affinity.pod_required.is_empty()).then(|| spec.affinity.pod_required.remove(0))),
    |spec| spec.affinity.anti_required.truncate(spec.affinity.anti_required.len().saturating_sub(1)),
    |spec| drop((!spec.affinity.anti_required.is_empty()).then(|| spec.affinity.anti_required.remove(0))),
    |spec| spec.affinity.node_required = None,
    |spec| spec.node_selector.retain(|key, _| key.starts_with("of.")),
    |spec| spec.tolerations.clear(),
    |spec| spec.init_containers.clear(),
    |spec| spec.containers.truncate(1),
    |spec| spec.containers.iter_mut().for_each(|container| container.host_ports.clear()),
    |spec| spec.containers.iter_mut().for_each(|container| container.requests.0.clear()),
    |spec| spec.volumes.clear(),
    |spec| spec.topology_spread.iter_mut().for_each(|spread| spread.match_label_keys.clear()),
    |spec| {
        for term in spec.affinity.pod_required.iter_mut().chain(&mut spec.affinity.anti_required) {
            term.match_label_keys.clear();
            term.mismatch_label_keys.clear();
        }
    },
];
