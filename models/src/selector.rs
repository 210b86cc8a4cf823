//! Label requirements, evaluated on a concrete label map exactly as kube-scheduler evaluates them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels by key, sorted.
pub type Labels = BTreeMap<String, String>;

/// Operators of node selector and NodePool requirements. `Gte` and `Lte` exist in NodePools only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Operator {
    /// The label exists and its value is listed.
    In,
    /// The label is absent or its value is not listed.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer above the single value.
    Gt,
    /// The label is an integer below the single value.
    Lt,
    /// The label is an integer at or above the single value.
    Gte,
    /// The label is an integer at or below the single value.
    Lte,
}

/// One requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Label key, in its modern spelling (importers normalise).
    pub key: String,
    /// Operator.
    pub operator: Operator,
    /// Values; one integer for the comparisons, none for (non-)existence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// NodePools only: at least this many distinct values must stay launchable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_values: Option<u32>,
}

impl Requirement {
    /// A requirement without `minValues`.
    #[must_use]
    pub fn new(key: &str, operator: Operator, values: &[&str]) -> Requirement {
        Requirement {
            key: key.to_owned(),
            operator,
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            min_values: None,
        }
    }

    /// Whether a node whose label `self.key` has `value` (`None`: absent) satisfies this requirement.
    ///
    /// As in kube-scheduler, a comparison with anything that is not an integer is false.
    #[must_use]
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let compare = |test: fn(i64, i64) -> bool| {
            let bound = self.values.first().and_then(|text| text.parse::<i64>().ok());
            let have = value.and_then(|text| text.parse::<i64>().ok());
            matches!((have, bound), (Some(have), Some(bound)) if test(have, bound))
        };
        match self.operator {
            Operator::In => value.is_some_and(|have| self.values.iter().any(|want| want == have)),
            Operator::NotIn => value.is_none_or(|have| self.values.iter().all(|want| want != have)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Gt => compare(|have, bound| have > bound),
            Operator::Lt => compare(|have, bound| have < bound),
            Operator::Gte => compare(|have, bound| have >= bound),
            Operator::Lte => compare(|have, bound| have <= bound),
        }
    }

    /// Whether `labels` satisfy this requirement.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.accepts(labels.get(&self.key).map(String::as_str))
    }
}

/// A Kubernetes label selector (`matchLabels` and `matchExpressions`, all of which must hold).
///
/// An empty selector matches everything; a *missing* selector, which matches nothing, is `None` at its place of use.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Exact matches.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: Labels,
    /// Set-based matches (`In`, `NotIn`, `Exists`, `DoesNotExist`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

impl LabelSelector {
    /// Whether `labels` satisfy every part.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.match_expressions.iter().all(|requirement| requirement.matches(labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_labels_satisfy_only_negative_operators() {
        for (operator, want) in [
            (Operator::In, false),
            (Operator::NotIn, true),
            (Operator::Exists, false),
            (Operator::DoesNotExist, true),
            (Operator::Gt, false),
            (Operator::Lt, false),
            (Operator::Gte, false),
            (Operator::Lte, false),
        ] {
            assert_eq!(Requirement::new("k", operator, &["4"]).accepts(None), want, "{operator:?}");
        }
    }

    #[test]
    fn comparisons_are_on_integers() {
        let gt = Requirement::new("k", Operator::Gt, &["4"]);
        assert!(gt.accepts(Some("5")) && !gt.accepts(Some("4")) && !gt.accepts(Some("five")));
        let lte = Requirement::new("k", Operator::Lte, &["4"]);
        assert!(lte.accepts(Some("4")) && lte.accepts(Some("-9")) && !lte.accepts(Some("5")));
    }
}
