//! Affinity and node selectors of the API to those of the model.

use crate::meta::{RawNodeSelector, RawTerm};
use crate::requirement::RawSelector;
use serde::Deserialize;
use stowage_models::labels::normalise;
use stowage_models::objects::{
    Affinity, NodeSelectorTerm, PodAffinityTerm, PreferredNodeTerm, PreferredPodTerm,
};
use stowage_models::selector::{Labels, Operator, Requirement};

/// Affinity of all kinds.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawAffinity {
    node_affinity: Option<RawNodeAffinity>,
    pod_affinity: Option<RawPodAffinity>,
    pod_anti_affinity: Option<RawPodAffinity>,
}

#[derive(Default, Deserialize)]
struct RawNodeAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<RawNodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Option<Vec<RawPreferredNode>>,
}

#[derive(Deserialize)]
struct RawPreferredNode {
    weight: i32,
    preference: RawTerm,
}

#[derive(Default, Deserialize)]
struct RawPodAffinity {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    required: Option<Vec<RawPodTerm>>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    preferred: Option<Vec<RawPreferredPod>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPreferredPod {
    weight: i32,
    pod_affinity_term: RawPodTerm,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPodTerm {
    label_selector: Option<RawSelector>,
    namespaces: Option<Vec<String>>,
    namespace_selector: Option<RawSelector>,
    topology_key: String,
    match_label_keys: Option<Vec<String>>,
    mismatch_label_keys: Option<Vec<String>>,
}

impl RawAffinity {
    pub(crate) fn convert(self) -> Affinity {
        let node = self.node_affinity.unwrap_or_default();
        let pod = self.pod_affinity.unwrap_or_default();
        let anti = self.pod_anti_affinity.unwrap_or_default();
        let required = |terms: Option<Vec<RawPodTerm>>| -> Vec<PodAffinityTerm> {
            terms.unwrap_or_default().into_iter().map(RawPodTerm::convert).collect()
        };
        let preferred = |terms: Option<Vec<RawPreferredPod>>| -> Vec<PreferredPodTerm> {
            let terms = terms.unwrap_or_default().into_iter();
            terms
                .map(|term| PreferredPodTerm { weight: term.weight, term: term.pod_affinity_term.convert() })
                .collect()
        };
        let node_preferred = node.preferred.unwrap_or_default().into_iter();
        Affinity {
            node_required: node.required.map(RawNodeSelector::terms),
            node_preferred: node_preferred
                .map(|term| PreferredNodeTerm { weight: term.weight, preference: term.preference.term() })
                .collect(),
            pod_required: required(pod.required),
            pod_preferred: preferred(pod.preferred),
            anti_required: required(anti.required),
            anti_preferred: preferred(anti.preferred),
        }
    }
}

impl RawPodTerm {
    fn convert(self) -> PodAffinityTerm {
        let mut namespaces = self.namespaces.unwrap_or_default();
        namespaces.sort();
        namespaces.dedup();
        PodAffinityTerm {
            label_selector: self.label_selector.map(Into::into),
            namespaces,
            namespace_selector: self.namespace_selector.map(Into::into),
            topology_key: normalise(&self.topology_key).to_owned(),
            match_label_keys: self.match_label_keys.unwrap_or_default(),
            mismatch_label_keys: self.mismatch_label_keys.unwrap_or_default(),
        }
    }
}

/// The node selector with keys in their modern spelling. If an old and a new key ask for different values, the second
/// one becomes required affinity, so that the contradiction is kept instead of one half of it.
pub(crate) fn node_selector(raw: Option<Labels>, affinity: &mut Affinity) -> Labels {
    let mut selector = Labels::new();
    // Modern keys first: they win the place in the map whatever the order of the input.
    let (modern, old): (Vec<_>, Vec<_>) =
        raw.unwrap_or_default().into_iter().partition(|(key, _)| normalise(key) == key);
    for (key, value) in modern.into_iter().chain(old) {
        let key = normalise(&key).to_owned();
        match selector.get(&key) {
            None => {
                selector.insert(key, value);
            }
            Some(have) if *have == value => {}
            Some(_) => require(affinity, Requirement::new(&key, Operator::In, &[&value])),
        }
    }
    selector
}

/// Adds a requirement to every alternative. Empty terms match nothing and stay that way.
fn require(affinity: &mut Affinity, requirement: Requirement) {
    let Some(terms) = &mut affinity.node_required else {
        let term = NodeSelectorTerm { match_expressions: vec![requirement], match_fields: Vec::new() };
        affinity.node_required = Some(vec![term]);
        return;
    };
    for term in terms.iter_mut().filter(|term| **term != NodeSelectorTerm::default()) {
        term.match_expressions.push(requirement.clone());
    }
}
