//! Which pods a constraint means.

use crate::matching::accepts;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{Namespace, Pod, PodAffinityTerm, TopologySpread};
use stowage_models::selector::{LabelSelector, Labels};

/// The label that names a namespace, which every namespace has.
const NAME: &str = "kubernetes.io/metadata.name";

/// Labels of namespaces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Namespaces<'a>(BTreeMap<&'a str, &'a Labels>);

impl<'a> Namespaces<'a> {
    pub(crate) fn new(list: &'a [Namespace]) -> Namespaces<'a> {
        Namespaces(list.iter().map(|one| (one.name.as_str(), &one.labels)).collect())
    }

    /// A label of a namespace; one that is not recorded has the label every namespace has.
    fn label<'n>(&'n self, name: &'n str, key: &str) -> Option<&'n str> {
        let stated = self.0.get(name).and_then(|labels| labels.get(key)).map(String::as_str);
        stated.or_else(|| (key == NAME).then_some(name))
    }
}

/// The pods a constraint means, resolved: what its own pod contributes (namespace, values of `matchLabelKeys` and
/// `mismatchLabelKeys`) is put in, so that two pods that mean the same have equal scopes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scope<'a> {
    namespaces: Vec<&'a str>,
    by_label: Option<&'a LabelSelector>,
    /// `None` means no pod.
    selector: Option<&'a LabelSelector>,
    equal: Vec<(&'a str, &'a str)>,
    unequal: Vec<(&'a str, &'a str)>,
}

/// The pod's own values of some keys, sorted; keys it lacks drop out.
fn own<'a>(keys: &'a [String], pod: &'a Pod) -> Vec<(&'a str, &'a str)> {
    let own: BTreeSet<(&str, &str)> =
        keys.iter().filter_map(|key| Some((key.as_str(), pod.labels.get(key)?.as_str()))).collect();
    own.into_iter().collect()
}

impl<'a> Scope<'a> {
    /// A term of pod affinity. Listed namespaces and selected ones add up; a term that says neither means its own pod's.
    pub(crate) fn of_term(term: &'a PodAffinityTerm, of: &'a Pod) -> Scope<'a> {
        let mut namespaces: Vec<&str> = term.namespaces.iter().map(String::as_str).collect();
        if namespaces.is_empty() && term.namespace_selector.is_none() {
            namespaces.push(&of.namespace);
        }
        Scope {
            namespaces,
            by_label: term.namespace_selector.as_ref(),
            selector: term.label_selector.as_ref(),
            equal: own(&term.match_label_keys, of),
            unequal: own(&term.mismatch_label_keys, of),
        }
    }

    /// A topology spread constraint counts pods of its own pod's namespace.
    pub(crate) fn of_spread(spread: &'a TopologySpread, of: &'a Pod) -> Scope<'a> {
        Scope {
            namespaces: vec![&of.namespace],
            by_label: None,
            selector: spread.label_selector.as_ref(),
            equal: own(&spread.match_label_keys, of),
            unequal: Vec::new(),
        }
    }

    /// An empty selector of a spread constraint is satisfied by every pod and yet counts none on nodes: so the scheduler
    /// does it.
    pub(crate) fn counts_none(&self) -> bool {
        self.equal.is_empty()
            && self.selector.is_none_or(|selector| {
                selector.match_labels.is_empty() && selector.match_expressions.is_empty()
            })
    }

    /// The label keys it asks pods about.
    fn keys(&self) -> impl Iterator<Item = &'a str> {
        let selector = self.selector.into_iter().flat_map(|selector| {
            let expressions = selector.match_expressions.iter().map(|one| one.key.as_str());
            selector.match_labels.keys().map(String::as_str).chain(expressions)
        });
        let own: Vec<&'a str> = self.equal.iter().chain(&self.unequal).map(|(key, _)| *key).collect();
        selector.chain(own)
    }

    /// Whether it means pods of a namespace with these labels.
    fn means<'l>(
        &self,
        namespaces: &Namespaces<'_>,
        namespace: &str,
        label: impl Fn(&str) -> Option<&'l str>,
    ) -> bool {
        let Some(selector) = self.selector else { return false };
        let here = self.namespaces.contains(&namespace)
            || self
                .by_label
                .is_some_and(|by_label| selected(by_label, |key| namespaces.label(namespace, key)));
        here && selected(selector, &label)
            && self.equal.iter().all(|(key, value)| label(key) == Some(value))
            && self.unequal.iter().all(|(key, value)| label(key) != Some(value))
    }
}

/// Whether labels satisfy a Kubernetes label selector; the empty one is satisfied by all.
fn selected<'l>(selector: &LabelSelector, label: impl Fn(&str) -> Option<&'l str>) -> bool {
    selector.match_labels.iter().all(|(key, value)| label(key) == Some(value))
        && selector.match_expressions.iter().all(|one| accepts(one, label(&one.key)))
}

/// Scopes of all pods that are ever looked at, and the classes of these pods: for those who look at the same pods again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known<'a> {
    watch: Watch<'a>,
    /// By the address of the pod, which stays where it is as long as this lives.
    class_of: BTreeMap<usize, usize>,
}

impl<'a> Known<'a> {
    /// What these pods say of each other.
    pub(crate) fn new(
        namespaces: Namespaces<'a>,
        scopes: BTreeSet<Scope<'a>>,
        pods: &[&'a Pod],
    ) -> Known<'a> {
        let mut watch = Watch::new(namespaces, scopes);
        let class_of = pods.iter().map(|pod| (std::ptr::from_ref(*pod).addr(), watch.class(pod))).collect();
        Known { watch, class_of }
    }

    /// Its scopes and classes, if all of these scopes are among them.
    pub(crate) fn watch(&self, scopes: &BTreeSet<Scope<'a>>) -> Option<Watch<'a>> {
        scopes.iter().all(|scope| self.watch.scope(scope).is_some()).then(|| self.watch.clone())
    }

    /// The class of a pod that is known.
    pub(crate) fn class(&self, pod: &Pod) -> Option<usize> {
        self.class_of.get(&std::ptr::from_ref(pod).addr()).copied()
    }
}

/// A set of scopes, and the pods met so far in classes that no scope tells apart: thousands of pods share a handful.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch<'a> {
    namespaces: Namespaces<'a>,
    /// Sorted.
    scopes: Vec<Scope<'a>>,
    /// Label keys the scopes ask about, sorted.
    keys: Vec<&'a str>,
    classes: BTreeMap<(&'a str, Vec<Option<&'a str>>), usize>,
    /// By class and scope.
    means: Vec<Vec<bool>>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(namespaces: Namespaces<'a>, scopes: BTreeSet<Scope<'a>>) -> Watch<'a> {
        let keys: BTreeSet<&str> = scopes.iter().flat_map(Scope::keys).collect();
        Watch {
            namespaces,
            scopes: scopes.into_iter().collect(),
            keys: keys.into_iter().collect(),
            ..Watch::default()
        }
    }

    /// Index of a scope of the set; `None` if it is not one of them.
    pub(crate) fn scope(&self, scope: &Scope<'a>) -> Option<usize> {
        self.scopes.binary_search(scope).ok()
    }

    /// How many scopes there are.
    pub(crate) fn count(&self) -> usize {
        self.scopes.len()
    }

    /// The class of a pod.
    pub(crate) fn class(&mut self, pod: &'a Pod) -> usize {
        if self.scopes.is_empty() {
            if self.means.is_empty() {
                self.means.push(Vec::new());
            }
            return 0;
        }
        let values: Vec<Option<&str>> =
            self.keys.iter().map(|key| pod.labels.get(*key).map(String::as_str)).collect();
        let key = (pod.namespace.as_str(), values);
        if let Some(class) = self.classes.get(&key) {
            return *class;
        }
        let label = |name: &str| self.keys.binary_search(&name).ok().and_then(|at| key.1[at]);
        let means = self.scopes.iter().map(|scope| scope.means(&self.namespaces, key.0, label)).collect();
        self.means.push(means);
        self.classes.insert(key, self.means.len() - 1);
        self.means.len() - 1
    }

    /// For each scope whether it means the pods of a class.
    pub(crate) fn means(&self, class: usize) -> &[bool] {
        &self.means[class]
    }
}
