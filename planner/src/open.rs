//! Values of labels a NodePool leaves open, as many as it takes to meet whatever pods ask for (`docs/formulation.md` section 1.3).

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::PodSpec;
use stowage_models::selector::{Operator, Requirement};

/// The word that stands for all words nobody names.
pub(crate) const ANY_WORD: &str = "stowage";

/// Different requirements that pods have on each key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked(BTreeMap<String, Vec<Requirement>>);

impl Asked {
    /// Takes up what a pod requires of its node's labels.
    pub(crate) fn add(&mut self, spec: &PodSpec) {
        let selected =
            spec.node_selector.iter().map(|(key, value)| Requirement::new(key, Operator::In, &[value]));
        let terms = spec.affinity.node_required.iter().flatten();
        for requirement in selected.chain(terms.flat_map(|term| term.match_expressions.iter().cloned())) {
            let known = self.0.entry(requirement.key.clone()).or_default();
            if !known.contains(&requirement) {
                known.push(requirement);
            }
        }
    }

    /// Adds to the values a key may take those that satisfy more of what pods require. `own` are the pool's requirements
    /// on the key.
    pub(crate) fn complete(&self, key: &str, own: &[&Requirement], candidates: &mut Vec<Option<String>>) {
        let nothing = Vec::new();
        let asked = self.0.get(key).unwrap_or(&nothing);
        let mut words = BTreeSet::from([ANY_WORD.to_owned()]);
        for value in own.iter().copied().chain(asked).flat_map(|requirement| &requirement.values) {
            let Ok(number) = value.parse::<i64>() else {
                words.insert(value.clone());
                continue;
            };
            words.extend(
                [Some(number), number.checked_sub(1), number.checked_add(1)]
                    .into_iter()
                    .flatten()
                    .map(|number| number.to_string()),
            );
        }
        let answers =
            |value: Option<&str>| -> Vec<bool> { asked.iter().map(|one| one.accepts(value)).collect() };
        let mut known: Vec<Vec<bool>> = candidates.iter().map(|value| answers(value.as_deref())).collect();
        for word in words {
            if !own.iter().all(|one| one.accepts(Some(&word))) {
                continue;
            }
            let answer = answers(Some(&word));
            let at_least = |other: &Vec<bool>| answer.iter().zip(other).all(|(one, other)| *other || !one);
            if !known.iter().any(at_least) {
                known.push(answer);
                candidates.push(Some(word));
            }
        }
        candidates.sort();
    }
}
