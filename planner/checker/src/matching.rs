//! Which pods a node's labels and taints admit (formulation, section 1: *Matching*, *Toleration*).
//!
//! Thousands of offerings differ only in labels that no pod asks about. So the constraints of all groups and DaemonSets
//! are collected once ([`Rules`]), nodes are reduced to the label keys these mention, and equal reductions share a result.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{NodeSelectorTerm, PodSpec, PreferredNodeTerm, Taint, TaintEffect, Toleration};
use stowage_models::plan::PREFERENCE_TAINT_WEIGHT;
use stowage_models::selector::{Labels, Operator, Requirement};

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

/// The part of a pod template that decides which nodes match it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Constraint<'a> {
    selector: &'a Labels,
    required: Option<&'a Vec<NodeSelectorTerm>>,
    tolerations: &'a Vec<Toleration>,
    /// Lists of alternatives, one for each volume that has any.
    volumes: Vec<&'a Vec<NodeSelectorTerm>>,
    /// Preferences, where they count.
    preferred: Option<&'a Vec<PreferredNodeTerm>>,
}

impl<'a> Constraint<'a> {
    /// That of a template, and of the volumes its pods have.
    pub(crate) fn new(spec: &'a PodSpec, volumes: Vec<&'a Vec<NodeSelectorTerm>>) -> Constraint<'a> {
        Constraint {
            selector: &spec.node_selector,
            required: spec.affinity.node_required.as_ref(),
            tolerations: &spec.tolerations,
            volumes,
            preferred: None,
        }
    }

    /// The same, with what the template prefers.
    pub(crate) fn with_preferences(self, spec: &'a PodSpec) -> Constraint<'a> {
        Constraint { preferred: Some(&spec.affinity.node_preferred), ..self }
    }

    fn terms(&self) -> impl Iterator<Item = &'a NodeSelectorTerm> {
        let preferred = self.preferred.into_iter().flatten().map(|one| &one.preference);
        self.required.into_iter().chain(self.volumes.clone()).flatten().chain(preferred)
    }
}

/// What a node's labels and taints are to a [`Constraint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Node selector and required node affinity select it.
    pub(crate) selected: bool,
    /// All taints that keep pods away are tolerated.
    pub(crate) tolerated: bool,
    /// Volumes can be had there.
    pub(crate) reachable: bool,
    /// Sum of the weights of preferences it leaves unmet.
    pub(crate) unmet: i64,
}

impl Match {
    /// Whether pods may go there.
    pub(crate) fn holds(self) -> bool {
        self.selected && self.tolerated && self.reachable
    }
}

/// A [`Constraint`] with label keys replaced by their index in [`Rules::keys`].
#[derive(Debug)]
struct Rule<'a> {
    selector: Vec<(usize, &'a str)>,
    terms: Option<Vec<Term<'a>>>,
    volumes: Vec<Vec<Term<'a>>>,
    tolerations: &'a [Toleration],
    /// Weights and terms preferred, where preferences count.
    preferred: Option<Vec<(i64, Term<'a>)>>,
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
    /// Those among them that make domains, sorted.
    pub(crate) topology: Vec<&'a str>,
    rules: Vec<Rule<'a>>,
}

impl<'a> Rules<'a> {
    /// Collects constraints; the second result is the rule index of each, in order. Nodes are told apart by `topology`, too:
    /// sorted keys whose values are domains.
    pub(crate) fn new(constraints: &[Constraint<'a>], topology: Vec<&'a str>) -> (Rules<'a>, Vec<usize>) {
        let distinct: BTreeSet<&Constraint<'a>> = constraints.iter().collect();
        let mut keys: BTreeSet<&str> = topology.iter().copied().collect();
        for constraint in &distinct {
            keys.extend(constraint.selector.keys().map(String::as_str));
            let terms = constraint.terms();
            keys.extend(terms.flat_map(|term| term.match_expressions.iter().map(|one| one.key.as_str())));
        }
        let keys: Vec<&str> = keys.into_iter().collect();
        let index: BTreeMap<&Constraint<'a>, usize> = distinct.iter().copied().zip(0..).collect();
        let rules = distinct.iter().map(|constraint| compile(constraint, &keys)).collect();
        let of_spec = constraints.iter().map(|constraint| index[constraint]).collect();
        (Rules { keys, topology, rules }, of_spec)
    }

    /// The domains of a node with these values of `keys`, in the order of `topology`.
    pub(crate) fn domains(&self, values: &[Option<&str>]) -> Vec<Option<String>> {
        let value = |key: &&str| self.keys.binary_search(key).ok().and_then(|at| values[at]);
        self.topology.iter().map(|key| value(key).map(str::to_owned)).collect()
    }

    /// Which rules a node satisfies. `values` are its labels in the order of `keys`; a planned node has no name.
    pub(crate) fn evaluate(
        &self,
        values: &[Option<&str>],
        name: Option<&str>,
        taints: &[Taint],
    ) -> Vec<Match> {
        let (soft, hard): (Vec<&Taint>, Vec<&Taint>) =
            taints.iter().partition(|taint| taint.effect == TaintEffect::PreferNoSchedule);
        self.rules
            .iter()
            .map(|rule| {
                let any = |terms: &Vec<Term<'_>>| terms.iter().any(|term| term.holds(values, name));
                Match {
                    selected: rule.selector.iter().all(|(key, want)| values[*key] == Some(*want))
                        && rule.terms.as_ref().is_none_or(any),
                    tolerated: hard.iter().all(|taint| tolerates(rule.tolerations, taint)),
                    reachable: rule.volumes.iter().all(any),
                    unmet: rule.preferred.as_ref().map_or(0, |preferred| {
                        let terms = preferred.iter().filter(|(_, term)| !term.holds(values, name));
                        let taints = soft.iter().filter(|taint| !tolerates(rule.tolerations, taint)).count();
                        let taints = i64::try_from(taints).unwrap_or(i64::MAX);
                        let terms: i64 = terms.map(|(weight, _)| weight).sum();
                        taints.saturating_mul(PREFERENCE_TAINT_WEIGHT).saturating_add(terms)
                    }),
                }
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

fn compile<'a>(constraint: &Constraint<'a>, keys: &[&'a str]) -> Rule<'a> {
    let key = |name: &str| keys.binary_search(&name).expect("every key was collected from these constraints");
    let term = |term: &'a NodeSelectorTerm| Term {
        labels: term.match_expressions.iter().map(|one| (key(&one.key), one)).collect(),
        fields: &term.match_fields,
    };
    // An empty preferred term asks for nothing, unlike a required one, and weights below one do not exist.
    let asks = |one: &&PreferredNodeTerm| {
        let NodeSelectorTerm { match_expressions, match_fields } = &one.preference;
        one.weight > 0 && !(match_expressions.is_empty() && match_fields.is_empty())
    };
    let weighted = |one: &'a PreferredNodeTerm| (i64::from(one.weight), term(&one.preference));
    Rule {
        preferred: constraint.preferred.map(|list| list.iter().filter(asks).map(weighted).collect()),
        selector: constraint.selector.iter().map(|(name, value)| (key(name), value.as_str())).collect(),
        terms: constraint.required.map(|terms| terms.iter().map(term).collect()),
        volumes: constraint.volumes.iter().map(|terms| terms.iter().map(term).collect()).collect(),
        tolerations: constraint.tolerations,
    }
}
