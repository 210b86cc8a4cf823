//! Requirements and selectors as the API writes them, checked where they stand.

use serde::Deserialize;
use std::collections::BTreeMap;
use stowage_models::labels;
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};

/// A requirement before its operator and values have been checked against each other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawRequirement {
    key: String,
    operator: String,
    values: Option<Vec<String>>,
    min_values: Option<u32>,
}

/// Operators of label selectors.
const SELECTOR_OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];

/// Further operators of node affinity.
const NODE_OPERATORS: [(&str, Operator); 2] = [("Gt", Operator::Gt), ("Lt", Operator::Lt)];

/// Further operators of NodePools.
const POOL_OPERATORS: [(&str, Operator); 2] = [("Gte", Operator::Gte), ("Lte", Operator::Lte)];

impl RawRequirement {
    fn check(self, more: &[&[(&str, Operator)]]) -> Result<Requirement, String> {
        let known = || SELECTOR_OPERATORS.iter().chain(more.iter().copied().flatten());
        let Some((_, operator)) = known().find(|(name, _)| *name == self.operator) else {
            let names: Vec<&str> = known().map(|(name, _)| *name).collect();
            return Err(format!(
                "unknown operator `{}` on {}; expected one of {}",
                self.operator,
                self.key,
                names.join(", ")
            ));
        };
        let mut values = self.values.unwrap_or_default();
        let wrong = |takes: &str| {
            let listed = if values.is_empty() {
                "none".to_owned()
            } else {
                format!("{} ({})", values.len(), values.join(", "))
            };
            Err(format!("operator {} on {} takes {takes}, found {listed}", self.operator, self.key))
        };
        match operator {
            Operator::In if values.is_empty() => return wrong("at least one value"),
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => return wrong("no values"),
            Operator::Gt | Operator::Lt | Operator::Gte | Operator::Lte
                if values.len() != 1 || values[0].parse::<i64>().is_err() =>
            {
                return wrong("exactly one integer value");
            }
            _ => {}
        }
        // A set: two spellings of one requirement should be equal.
        values.sort();
        values.dedup();
        Ok(Requirement { key: self.key, operator: *operator, values, min_values: self.min_values })
    }

    fn check_node(self, more: &[&[(&str, Operator)]]) -> Result<Requirement, String> {
        let mut requirement = self.check(more)?;
        requirement.key = labels::normalise(&requirement.key).to_owned();
        Ok(requirement)
    }
}

/// A requirement of a label selector. Its key names a label of pods or namespaces and is left as written.
#[derive(Deserialize)]
#[serde(try_from = "RawRequirement")]
pub(crate) struct SelectorRequirement(pub(crate) Requirement);

impl TryFrom<RawRequirement> for SelectorRequirement {
    type Error = String;

    fn try_from(raw: RawRequirement) -> Result<SelectorRequirement, String> {
        raw.check(&[]).map(SelectorRequirement)
    }
}

/// A requirement of node affinity, key in its modern spelling.
#[derive(Deserialize)]
#[serde(try_from = "RawRequirement")]
pub(crate) struct NodeRequirement(pub(crate) Requirement);

impl TryFrom<RawRequirement> for NodeRequirement {
    type Error = String;

    fn try_from(raw: RawRequirement) -> Result<NodeRequirement, String> {
        raw.check_node(&[&NODE_OPERATORS]).map(NodeRequirement)
    }
}

/// A requirement of a NodePool, key in its modern spelling.
#[derive(Deserialize)]
#[serde(try_from = "RawRequirement")]
pub(crate) struct PoolRequirement(pub(crate) Requirement);

impl TryFrom<RawRequirement> for PoolRequirement {
    type Error = String;

    fn try_from(raw: RawRequirement) -> Result<PoolRequirement, String> {
        raw.check_node(&[&NODE_OPERATORS, &POOL_OPERATORS]).map(PoolRequirement)
    }
}

impl RawRequirement {
    /// A requirement of a NodeOverlay, which takes the operators of a NodePool.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of_overlay(self) -> Result<Requirement, String> {
        self.check_node(&[&NODE_OPERATORS, &POOL_OPERATORS])
    }
}

/// A label selector.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RawSelector {
    match_labels: Option<BTreeMap<String, String>>,
    match_expressions: Option<Vec<SelectorRequirement>>,
}

impl From<RawSelector> for LabelSelector {
    fn from(raw: RawSelector) -> LabelSelector {
        LabelSelector {
            match_labels: raw.match_labels.unwrap_or_default(),
            match_expressions: raw.match_expressions.unwrap_or_default().into_iter().map(|r| r.0).collect(),
        }
    }
}

/// Adds the modern spelling beside each old key, as the kubelet and Karpenter do on nodes they register.
pub(crate) fn modernise(labels: Option<Labels>) -> Labels {
    let mut labels = labels.unwrap_or_default();
    for (old, new) in labels::ALIASES {
        if let Some(value) = labels.get(old).cloned() {
            labels.entry(new.to_owned()).or_insert(value);
        }
    }
    labels
}
