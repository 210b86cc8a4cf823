//! Which pods a node's labels and taints admit (formulation, section 1: *Matching*, *Toleration*).
//!
//! Thousands of offerings differ only in labels that no pod asks about. So the constraints of all groups and DaemonSets
//! are collected once ([`Rules`]), nodes are reduced to the label keys these mention, and equal reductions share a result.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{NodeSelectorTerm, PodSpec, Taint, TaintEffect, Toleration};
use stowage_models::selector::{LabelSelector, Labels, Operator, Requirement};

/// The only field that `matchFields` may name.
const FIELD_NAME: &str = "metadata.name";

/// Whether a label (or field) that has `value`, `None` if it is absent, satisfies a requirement.
#[must_use]
pub fn accepts(requirement: &Requirement, value: Option<&str>) -> bool {
    let listed = |have: &str| requirement.values.iter().any(|want| want == have);
    match requirement.operator {
        Operator::In => value.is_some_and(listed),
        Operator::NotIn => !value.is_some_and(listed),
        Operator::Exists => value.is_some(),
        Operator::DoesNotExist => value.is_none(),
        Operator::Gt | Operator::Lt | Operator::Gte | Operator::Lte => {
            let number = |text: &str| text.parse::<i64>().ok();
            let bound = requirement.values.first().and_then(|text| number(text));
            let (Some(have), Some(bound)) = (value.and_then(number), bound) else {
                return false;
            };
            match requirement.operator {
                Operator::Gt => have > bound,
                Operator::Lt => have < bound,
                Operator::Gte => have >= bound,
                _ => have <= bound,
            }
        }
    }
}

/// Whether one of the tolerations covers the taint.
#[must_use]
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let exists = toleration.operator == "Exists";
        let effect = toleration.effect.is_none_or(|effect| effect == taint.effect);
        let key = toleration.key == taint.key || (toleration.key.is_empty() && exists);
        let value = exists || (toleration.operator == "Equal" && toleration.value == taint.value);
        effect && key && value
    })
}

/// Whether labels satisfy a Kubernetes label selector; the empty one is satisfied by all.
#[must_use]
pub(crate) fn selects(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value))
        && selector
            .match_expressions
            .iter()
            .all(|requirement| accepts(requirement, labels.get(&requirement.key).map(String::as_str)))
}

/// The part of a pod template that decides which nodes match it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Constraint<'a> {
    selector: &'a Labels,
    required: Option<&'a Vec<NodeSelectorTerm>>,
    tolerations: &'a Vec<Toleration>,
}

/// A [`Constraint`] with label keys replaced by their index in [`Rules::keys`].
#[derive(Debug)]
struct Rule<'a> {
    selector: Vec<(usize, &'a str)>,
    terms: Option<Vec<Term<'a>>>,
    tolerations: &'a [Toleration],
}

#[derive(Debug)]
struct Term<'a> {
    labels: Vec<(usize, &'a Requirement)>,
    fields: &'a [Requirement],
}

/// The distinct constraints of a problem and the label keys they mention.
#[derive(Debug)]
pub(crate) struct Rules<'a> {
    /// Sorted.
    pub(crate) keys: Vec<&'a str>,
    rules: Vec<Rule<'a>>,
}

impl<'a> Rules<'a> {
    /// Collects the constraints of `specs`; the second result is the rule index of each, in order.
    pub(crate) fn new(specs: &[&'a PodSpec]) -> (Rules<'a>, Vec<usize>) {
        let constraints: Vec<Constraint<'a>> = specs
            .iter()
            .map(|spec| Constraint {
                selector: &spec.node_selector,
                required: spec.affinity.node_required.as_ref(),
                tolerations: &spec.tolerations,
            })
            .collect();
        let distinct: BTreeSet<Constraint<'a>> = constraints.iter().copied().collect();
        let mut keys = BTreeSet::new();
        for constraint in &distinct {
            keys.extend(constraint.selector.keys().map(String::as_str));
            let terms = constraint.required.into_iter().flatten();
            keys.extend(terms.flat_map(|term| term.match_expressions.iter().map(|one| one.key.as_str())));
        }
        let keys: Vec<&str> = keys.into_iter().collect();
        let index: BTreeMap<Constraint<'a>, usize> = distinct.iter().copied().zip(0..).collect();
        let rules = distinct.iter().map(|constraint| compile(*constraint, &keys)).collect();
        let of_spec = constraints.iter().map(|constraint| index[constraint]).collect();
        (Rules { keys, rules }, of_spec)
    }

    /// Which rules a node satisfies. `values` are its labels in the order of `keys`; a planned node has no name.
    pub(crate) fn evaluate(
        &self,
        values: &[Option<&str>],
        name: Option<&str>,
        taints: &[Taint],
    ) -> Vec<bool> {
        let hard: Vec<&Taint> =
            taints.iter().filter(|taint| taint.effect != TaintEffect::PreferNoSchedule).collect();
        self.rules
            .iter()
            .map(|rule| {
                rule.selector.iter().all(|(key, want)| values[*key] == Some(*want))
                    && rule
                        .terms
                        .as_ref()
                        .is_none_or(|terms| terms.iter().any(|term| term.holds(values, name)))
                    && hard.iter().all(|taint| tolerates(rule.tolerations, taint))
            })
            .collect()
    }
}

impl Term<'_> {
    /// A term without any requirement matches nothing.
    fn holds(&self, values: &[Option<&str>], name: Option<&str>) -> bool {
        let field = |key: &str| if key == FIELD_NAME { name } else { None };
        !(self.labels.is_empty() && self.fields.is_empty())
            && self.labels.iter().all(|(key, requirement)| accepts(requirement, values[*key]))
            && self.fields.iter().all(|requirement| accepts(requirement, field(&requirement.key)))
    }
}

fn compile<'a>(constraint: Constraint<'a>, keys: &[&'a str]) -> Rule<'a> {
    let key = |name: &str| keys.binary_search(&name).expect("every key was collected from these constraints");
    let term = |term: &'a NodeSelectorTerm| Term {
        labels: term.match_expressions.iter().map(|one| (key(&one.key), one)).collect(),
        fields: &term.match_fields,
    };
    Rule {
        selector: constraint.selector.iter().map(|(name, value)| (key(name), value.as_str())).collect(),
        terms: constraint.required.map(|terms| terms.iter().map(term).collect()),
        tolerations: constraint.tolerations,
    }
}
