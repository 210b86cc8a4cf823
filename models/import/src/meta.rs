//! `metadata`, reduced to what is kept, and the pieces several kinds share.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;
use stowage_models::departure::{NOTICES, REPAIRS, Symptom};
use stowage_models::labels::{BUFFER_NAME, BUFFER_NAMESPACE, BUFFER_POD, DO_NOT_DISRUPT};
use stowage_models::objects::{NodeSelectorTerm, Owner, Taint, TaintEffect};
use stowage_models::selector::{Labels, Requirement};

/// Annotation with which a ReplicaSet ranks its pods for removal.
const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Annotation the kubelet puts on the API's copy of a static pod.
pub(crate) const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Annotations that mark the default StorageClass.
pub(crate) const DEFAULT_CLASS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// Annotation that named the StorageClass of a claim before there was a field.
pub(crate) const BETA_STORAGE_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Annotations that may enter a snapshot; everything else may hold secrets and is dropped.
const KEPT: [&str; 5] = [DO_NOT_DISRUPT, POD_DELETION_COST, BUFFER_POD, BUFFER_NAME, BUFFER_NAMESPACE];

/// What [`DO_NOT_DISRUPT`] was called before Karpenter v1; kept under the new name, which wins where both are there.
const DO_NOT_EVICT: &str = "karpenter.sh/do-not-evict";

/// Annotations that are read but not kept.
const READ: [&str; 6] =
    [DO_NOT_EVICT, MIRROR_POD, DEFAULT_CLASS[0], DEFAULT_CLASS[1], BETA_STORAGE_CLASS, NOTICES];

/// Object metadata. The name has been checked before an object is read into its type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Meta {
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) uid: Option<String>,
    pub(crate) labels: Option<Labels>,
    pub(crate) annotations: Option<Annotations>,
    pub(crate) creation_timestamp: Option<String>,
    deletion_timestamp: Option<IgnoredAny>,
    owner_references: Option<Vec<OwnerReference>>,
}

#[derive(Debug, Deserialize)]
struct OwnerReference {
    kind: String,
    name: String,
    controller: Option<bool>,
}

impl Meta {
    /// The namespace; kubectl leaves it out of manifests that mean `default`.
    pub(crate) fn namespace(&self) -> String {
        match self.namespace.as_deref() {
            None | Some("") => "default".to_owned(),
            Some(namespace) => namespace.to_owned(),
        }
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.deletion_timestamp.is_some()
    }

    /// The controlling owner.
    pub(crate) fn controller(&self) -> Option<Owner> {
        let owner = self.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))?;
        Some(Owner { kind: owner.kind.clone(), name: owner.name.clone() })
    }

    pub(crate) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.0.get(key).map(String::as_str)
    }

    /// The annotations of the allow-list.
    pub(crate) fn kept_annotations(&self) -> Labels {
        let all = self.annotations.iter().flat_map(|annotations| &annotations.0);
        let mut kept: Labels = all
            .filter(|(key, _)| KEPT.contains(&key.as_str()))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if let Some(value) = self.annotation(DO_NOT_EVICT) {
            kept.entry(DO_NOT_DISRUPT.to_owned()).or_insert_with(|| value.to_owned());
        }
        kept
    }
}

/// Annotations this crate looks at; the values of others are never copied.
#[derive(Debug, Default)]
pub(crate) struct Annotations(Labels);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Annotations, D::Error> {
        struct Chosen;
        impl<'de> Visitor<'de> for Chosen {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of annotations")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Annotations, A::Error> {
                let mut kept = Labels::new();
                while let Some(key) = entries.next_key::<String>()? {
                    if KEPT.contains(&key.as_str()) || READ.contains(&key.as_str()) {
                        kept.insert(key, entries.next_value()?);
                    } else {
                        entries.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Annotations(kept))
            }
        }
        deserializer.deserialize_map(Chosen)
    }
}

/// A taint; the API may write `value: null`.
#[derive(Debug, Deserialize)]
pub(crate) struct RawTaint {
    key: String,
    value: Option<String>,
    effect: TaintEffect,
}

/// Taints in a fixed order: it has no meaning, and two spellings of one set should be equal.
pub(crate) fn taints(raw: Option<Vec<RawTaint>>) -> Vec<Taint> {
    let raw = raw.unwrap_or_default().into_iter();
    let mut taints: Vec<Taint> = raw
        .map(|RawTaint { key, value, effect }| Taint { key, value: value.unwrap_or_default(), effect })
        .collect();
    taints.sort();
    taints.dedup();
    taints
}

/// A status condition.
#[derive(Debug, Deserialize)]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    reason: Option<String>,
    message: Option<String>,
    #[serde(rename = "lastTransitionTime")]
    since: Option<String>,
}

/// Conditions for which nodes are repaired, as far as they are bad; sorted.
pub(crate) fn symptoms(conditions: &[Condition]) -> Vec<Symptom> {
    let is_bad =
        |one: &&Condition| REPAIRS.iter().any(|(kind, status, _)| *kind == one.kind && *status == one.status);
    let mut found: Vec<Symptom> = conditions
        .iter()
        .filter(is_bad)
        .map(|one| Symptom {
            condition: one.kind.clone(),
            status: one.status.clone(),
            since: one.since.clone(),
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// What the Ready condition says, if there is one and it is not True.
pub(crate) fn not_ready(conditions: Option<Vec<Condition>>) -> Option<String> {
    let ready = conditions.unwrap_or_default().into_iter().find(|condition| condition.kind == "Ready")?;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let why =
        given(ready.message).or(given(ready.reason)).unwrap_or_else(|| format!("Ready is {}", ready.status));
    (ready.status != "True").then_some(why)
}

/// Types of the conditions that are True, sorted.
pub(crate) fn true_conditions(conditions: Option<Vec<Condition>>) -> Vec<String> {
    let conditions = conditions.unwrap_or_default().into_iter();
    let mut kinds: Vec<String> = conditions.filter(|c| c.status == "True").map(|c| c.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// A node selector (`nodeSelectorTerms`), of pods and of PersistentVolumes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawNodeSelector {
    node_selector_terms: Option<Vec<RawTerm>>,
}

impl RawNodeSelector {
    pub(crate) fn terms(self) -> Vec<NodeSelectorTerm> {
        self.node_selector_terms.unwrap_or_default().into_iter().map(RawTerm::term).collect()
    }
}

/// A node selector term.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawTerm {
    match_expressions: Option<Vec<crate::requirement::NodeRequirement>>,
    match_fields: Option<Vec<crate::requirement::NodeRequirement>>,
}

impl RawTerm {
    pub(crate) fn term(self) -> NodeSelectorTerm {
        let plain = |list: Option<Vec<crate::requirement::NodeRequirement>>| -> Vec<Requirement> {
            list.unwrap_or_default().into_iter().map(|requirement| requirement.0).collect()
        };
        NodeSelectorTerm {
            match_expressions: plain(self.match_expressions),
            match_fields: plain(self.match_fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(annotations: &str) -> Labels {
        let meta: Meta =
            serde_json::from_str(&format!("{{\"name\": \"a\", \"annotations\": {annotations}}}")).unwrap();
        meta.kept_annotations()
    }

    #[test]
    fn the_old_name_of_do_not_disrupt_is_understood() {
        let of = |value: &str| Labels::from([(DO_NOT_DISRUPT.to_owned(), value.to_owned())]);
        assert_eq!(kept(r#"{"karpenter.sh/do-not-evict": "true", "secret": "x"}"#), of("true"));
        let both = r#"{"karpenter.sh/do-not-evict": "true", "karpenter.sh/do-not-disrupt": "1h"}"#;
        assert_eq!(kept(both), of("1h"));
        assert_eq!(kept("{}"), Labels::new());
    }
}
