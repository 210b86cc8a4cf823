//! `PodTopologySpread`: constraints with `DoNotSchedule`.

use super::{Place, Rejection, World, is_selected, reject, tolerates_all};
use crate::matching::selects;
use std::collections::BTreeMap;
use stowage_models::objects::{Pod, TopologySpread};
use stowage_models::selector::{LabelSelector, Labels};

const PLUGIN: &str = "PodTopologySpread";

/// What a constraint counts: the selector with the pod's own values of `matchLabelKeys` added.
struct Counted<'s> {
    selector: Option<&'s LabelSelector>,
    own: Vec<(&'s str, &'s str)>,
}

impl<'s> Counted<'s> {
    fn new(spread: &'s TopologySpread, pod: &'s Pod) -> Counted<'s> {
        let value = |key: &'s String| Some((key.as_str(), pod.labels.get(key)?.as_str()));
        Counted {
            selector: spread.label_selector.as_ref(),
            own: spread.match_label_keys.iter().filter_map(value).collect(),
        }
    }

    /// No selector counts nothing.
    fn selects(&self, labels: &Labels) -> bool {
        self.selector.is_some_and(|selector| selects(selector, labels))
            && self.own.iter().all(|(key, value)| labels.get(*key).is_some_and(|have| have == value))
    }

    /// An empty selector is satisfied by every pod and yet counts none on nodes: so the scheduler does it.
    fn counts_none(&self) -> bool {
        self.own.is_empty()
            && self.selector.is_some_and(|selector| {
                selector.match_labels.is_empty() && selector.match_expressions.is_empty()
            })
    }
}

/// For every hard constraint: pods of the domain, plus one if the pod counts itself, less the emptiest domain, is at most
/// `maxSkew`. Domains are those of nodes that have all the keys and that the constraint's node policies include.
pub(super) fn pod_topology_spread(world: &World<'_>, pod: &Pod, node: &Place<'_>) -> Result<(), Rejection> {
    let hard: Vec<&TopologySpread> = pod.spec.topology_spread.iter().filter(|spread| spread.hard).collect();
    if hard.is_empty() {
        return Ok(());
    }
    let has_keys =
        |place: &Place<'_>| hard.iter().all(|spread| place.labels.contains_key(&spread.topology_key));
    let counts: Vec<BTreeMap<&str, i64>> = hard
        .iter()
        .map(|spread| {
            let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
            for place in world.places.iter().filter(|place| has_keys(place)) {
                if (spread.honor_affinity && !is_selected(&pod.spec, place))
                    || (spread.honor_taints && !tolerates_all(&pod.spec.tolerations, place))
                {
                    continue;
                }
                let domain = place.labels[&spread.topology_key].as_str();
                *counts.entry(domain).or_default() += matching(&Counted::new(spread, pod), pod, place);
            }
            counts
        })
        .collect();
    for (spread, counts) in hard.iter().zip(&counts) {
        let Some(domain) = node.labels.get(&spread.topology_key) else {
            return reject(
                PLUGIN,
                "node(s) didn't match pod topology spread constraints (missing required label)",
            );
        };
        let few = (counts.len() as i64) < i64::from(spread.min_domains.unwrap_or(1));
        // Without any domain the scheduler's minimum is the largest number there is, and nothing is too much.
        let least = if few { 0 } else { counts.values().copied().min().unwrap_or(i64::from(i32::MAX)) };
        let own = i64::from(Counted::new(spread, pod).selects(&pod.labels));
        let here = counts.get(domain.as_str()).copied().unwrap_or(0);
        if here + own - least > i64::from(spread.max_skew) {
            return reject(PLUGIN, "node(s) didn't match pod topology spread constraints");
        }
    }
    Ok(())
}

/// Pods on a node that a constraint counts: of the pod's namespace, not being deleted.
fn matching(counted: &Counted<'_>, pod: &Pod, place: &Place<'_>) -> i64 {
    if counted.counts_none() {
        return 0;
    }
    let counts =
        |other: &&&Pod| !other.deleting && other.namespace == pod.namespace && counted.selects(&other.labels);
    place.pods.iter().filter(counts).count() as i64
}
