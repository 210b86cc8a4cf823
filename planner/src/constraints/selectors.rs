//! What terms mean, once the pod that states them is known: namespaces, own values of `matchLabelKeys`, selectors.
//!
//! Every distinct meaning is interned, so that "which pods does it mean" is asked once per kind of pod and not once per pair.

use crate::problem::Bits;
use std::collections::BTreeMap;
use stowage_models::objects::{Pod, PodAffinityTerm, PodSpec, TopologySpread};
use stowage_models::selector::{LabelSelector, Labels};
use stowage_models::snapshot::Snapshot;

/// The label every namespace has.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// The pods a term means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector<'a> {
    namespaces: Vec<&'a str>,
    namespace_selector: Option<&'a LabelSelector>,
    labels: Option<&'a LabelSelector>,
    /// Labels the pod meant must have with these values.
    own: Vec<(&'a str, &'a str)>,
    /// Labels it must not have with these values.
    other: Vec<(&'a str, &'a str)>,
    /// Of a spread constraint: pods being deleted do not count, and an empty selector counts none.
    spread: bool,
}

impl<'a> Selector<'a> {
    fn of_term(term: &'a PodAffinityTerm, pod: &'a Pod) -> Selector<'a> {
        let mut namespaces: Vec<&str> = term.namespaces.iter().map(String::as_str).collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(&pod.namespace);
        }
        Selector {
            namespaces,
            namespace_selector: term.namespace_selector.as_ref(),
            labels: term.label_selector.as_ref(),
            own: own_values(&term.match_label_keys, pod),
            other: own_values(&term.mismatch_label_keys, pod),
            spread: false,
        }
    }

    fn of_spread(spread: &'a TopologySpread, pod: &'a Pod) -> Selector<'a> {
        Selector {
            namespaces: vec![&pod.namespace],
            namespace_selector: None,
            labels: spread.label_selector.as_ref(),
            own: own_values(&spread.match_label_keys, pod),
            other: Vec::new(),
            spread: true,
        }
    }

    /// Whether a pod of this namespace with these labels is meant.
    fn means(&self, namespaces: &BTreeMap<&str, &Labels>, namespace: &str, labels: &Labels) -> bool {
        let selected = |selector: &LabelSelector| {
            let mut labels = namespaces.get(namespace).map(|labels| (*labels).clone()).unwrap_or_default();
            labels.entry(NAMESPACE_NAME.to_owned()).or_insert_with(|| namespace.to_owned());
            selector.matches(&labels)
        };
        self.labels.is_some_and(|selector| selector.matches(labels))
            && self.own.iter().all(|(key, value)| labels.get(*key).is_some_and(|have| have == value))
            && self.other.iter().all(|(key, value)| labels.get(*key).is_none_or(|have| have != value))
            && (self.namespaces.contains(&namespace) || self.namespace_selector.is_some_and(selected))
    }

    /// It is that of a spread constraint.
    pub(crate) fn is_of_spread(&self) -> bool {
        self.spread
    }

    /// An empty selector of a spread constraint is satisfied by every pod and yet counts none on nodes.
    fn counts_none(&self) -> bool {
        let empty =
            |labels: &LabelSelector| labels.match_labels.is_empty() && labels.match_expressions.is_empty();
        self.spread && self.own.is_empty() && self.labels.is_some_and(empty)
    }
}

fn own_values<'a>(keys: &'a [String], pod: &'a Pod) -> Vec<(&'a str, &'a str)> {
    let value = |key: &'a String| Some((key.as_str(), pod.labels.get(key)?.as_str()));
    let mut own: Vec<(&str, &str)> = keys.iter().filter_map(value).collect();
    own.sort_unstable();
    own.dedup();
    own
}

/// Pods meant within a domain of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Term {
    /// Index into [`Meanings::selectors`].
    pub(crate) selector: u32,
    /// Index into [`Meanings::keys`].
    pub(crate) key: u32,
}

/// A `DoNotSchedule` spread constraint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spread {
    /// The pods counted, and the label whose values make domains.
    pub(crate) term: Term,
    /// Largest difference between domains.
    pub(crate) max_skew: i64,
    /// With fewer domains than this the smallest counts as empty.
    pub(crate) min_domains: i64,
    /// Only nodes that node selector and required node affinity accept make domains.
    pub(crate) honor_affinity: bool,
    /// Only nodes whose taints are tolerated make domains.
    pub(crate) honor_taints: bool,
    /// Its selector matches the pod itself.
    pub(crate) own: bool,
}

/// Terms of one pod, resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Terms {
    /// Required affinity.
    pub(crate) affinity: Vec<Term>,
    /// Required anti-affinity.
    pub(crate) anti: Vec<Term>,
    /// `DoNotSchedule` spread.
    pub(crate) spreads: Vec<Spread>,
    /// Which selectors mean the pod.
    pub(crate) meant: Bits,
}

impl Terms {
    /// Every term it states about other pods.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Term> {
        self.affinity.iter().chain(&self.anti).chain(self.spreads.iter().map(|spread| &spread.term))
    }
}

/// All selectors and topology keys that terms of a snapshot use, interned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meanings<'a> {
    /// Selectors.
    pub(crate) selectors: Vec<Selector<'a>>,
    /// Topology keys.
    pub(crate) keys: Vec<&'a str>,
    selector_numbers: BTreeMap<Selector<'a>, u32>,
    key_numbers: BTreeMap<&'a str, u32>,
    namespaces: BTreeMap<&'a str, &'a Labels>,
    memo: BTreeMap<(&'a str, &'a Labels), Bits>,
}

fn has_terms(spec: &PodSpec) -> bool {
    !spec.affinity.pod_required.is_empty()
        || !spec.affinity.anti_required.is_empty()
        || spec.topology_spread.iter().any(|spread| spread.hard)
}

impl<'a> Meanings<'a> {
    /// Interns the terms of all pods that wait, and the required anti-affinity of those on nodes.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Meanings<'a> {
        let mut meanings = Meanings::of_nobody(snapshot);
        for pod in &snapshot.pods {
            if pod.is_pending() && has_terms(&pod.spec) {
                meanings.intern(pod);
            } else if pod.seat().is_some() && !pod.is_terminal() {
                for term in &pod.spec.affinity.anti_required {
                    meanings.term(term, pod);
                }
            }
        }
        meanings
    }

    /// Knows the namespaces of a snapshot and no term yet.
    pub(crate) fn of_nobody(snapshot: &'a Snapshot) -> Meanings<'a> {
        Meanings {
            namespaces: snapshot.namespaces.iter().map(|one| (one.name.as_str(), &one.labels)).collect(),
            ..Meanings::default()
        }
    }

    /// The number of a topology key, which it gets if it has none.
    pub(crate) fn key(&mut self, key: &'a str) -> u32 {
        let next = u32::try_from(self.keys.len()).expect("keys fit 32 bits");
        let number = *self.key_numbers.entry(key).or_insert(next);
        if number == next {
            self.keys.push(key);
        }
        number
    }

    fn selector(&mut self, selector: Selector<'a>) -> u32 {
        if let Some(number) = self.selector_numbers.get(&selector) {
            return *number;
        }
        let number = u32::try_from(self.selectors.len()).expect("selectors fit 32 bits");
        self.selectors.push(selector.clone());
        self.selector_numbers.insert(selector, number);
        number
    }

    /// The number of a term as `pod` states it.
    pub(crate) fn term(&mut self, term: &'a PodAffinityTerm, pod: &'a Pod) -> Term {
        Term { selector: self.selector(Selector::of_term(term, pod)), key: self.key(&term.topology_key) }
    }

    /// Whether a spread constraint counts any pod, as `pod` states it: one without a selector, or with an empty one, does not.
    pub(crate) fn counts_any(spread: &'a TopologySpread, pod: &'a Pod) -> bool {
        let selector = Selector::of_spread(spread, pod);
        !selector.own.is_empty() || selector.labels.is_some() && !selector.counts_none()
    }

    /// The number of the pods a spread constraint counts and of its key, as `pod` states it.
    pub(crate) fn spread_term(&mut self, spread: &'a TopologySpread, pod: &'a Pod) -> Term {
        Term {
            selector: self.selector(Selector::of_spread(spread, pod)),
            key: self.key(&spread.topology_key),
        }
    }

    fn intern(&mut self, pod: &'a Pod) -> Terms {
        let affinity = &pod.spec.affinity;
        let mut terms = Terms {
            affinity: affinity.pod_required.iter().map(|term| self.term(term, pod)).collect(),
            anti: affinity.anti_required.iter().map(|term| self.term(term, pod)).collect(),
            ..Terms::default()
        };
        for spread in pod.spec.topology_spread.iter().filter(|spread| spread.hard) {
            let term = self.spread_term(spread, pod);
            let selector = &self.selectors[term.selector as usize];
            let own = selector.means(&self.namespaces, &pod.namespace, &pod.labels);
            terms.spreads.push(Spread {
                term,
                max_skew: i64::from(spread.max_skew),
                min_domains: i64::from(spread.min_domains.unwrap_or(1)),
                honor_affinity: spread.honor_affinity,
                honor_taints: spread.honor_taints,
                own,
            });
        }
        terms
    }

    /// The terms of a pod that waits.
    pub(crate) fn terms(&mut self, pod: &'a Pod) -> Terms {
        let mut terms = if has_terms(&pod.spec) { self.intern(pod) } else { Terms::default() };
        terms.meant = self.meant(&pod.namespace, &pod.labels);
        terms
    }

    /// Which selectors mean a pod of this namespace with these labels.
    pub(crate) fn meant(&mut self, namespace: &'a str, labels: &'a Labels) -> Bits {
        if self.selectors.is_empty() {
            return Bits::default();
        }
        if let Some(known) = self.memo.get(&(namespace, labels)) {
            return known.clone();
        }
        let mut meant = Bits::new(self.selectors.len());
        for (number, selector) in self.selectors.iter().enumerate() {
            if selector.means(&self.namespaces, namespace, labels) {
                meant.insert(number);
            }
        }
        self.memo.insert((namespace, labels), meant.clone());
        meant
    }

    /// Whether a selector is one that matches pods and yet counts none.
    pub(crate) fn counts_none(&self, selector: u32) -> bool {
        self.selectors[selector as usize].counts_none()
    }

    /// The number of a topology key, if some term uses it.
    pub(crate) fn key_number(&self, key: &str) -> Option<u32> {
        self.key_numbers.get(key).copied()
    }
}
