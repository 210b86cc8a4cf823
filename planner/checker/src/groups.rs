//! Pending pods and their groups (formulation, section 1.5).

use crate::filters::host_ports;
use crate::filters::scope::{Namespaces, Scope, Watch};
use crate::request::effective_request;
use crate::storage::{ATTACHABLE, Needs, Storage};
use crate::wishes::{self, Wish};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{
    Node, NodeSelectorTerm, Pod, PodRef, PodSpec, PodVolume, PreferredNodeTerm, Toleration,
};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// A host port: protocol, address, number.
pub(crate) type Port<'a> = (&'a str, &'a str, &'a str);

/// A required term: topology key, and the scope by its number in [`Pods::watch`].
pub(crate) type Term<'a> = (&'a str, usize);

/// A `DoNotSchedule` topology spread constraint.
#[derive(Clone, Debug)]
pub(crate) struct Spread<'a> {
    pub(crate) key: &'a str,
    pub(crate) scope: usize,
    pub(crate) max_skew: i64,
    pub(crate) min_domains: i64,
    pub(crate) honors_affinity: bool,
    pub(crate) honors_taints: bool,
    /// It counts no pod at all: the scheduler's reading of an empty selector.
    pub(crate) counts_none: bool,
}

/// A class of pods that are equal to the planner.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    /// Its first pod by `namespace/name`.
    pub(crate) first: PodRef,
    /// The template of that pod, for its constraints.
    pub(crate) spec: &'a PodSpec,
    /// Effective request, volumes to attach included.
    pub(crate) request: Resources,
    /// Node selector terms of its volumes.
    pub(crate) terms: Vec<&'a Vec<NodeSelectorTerm>>,
    pub(crate) ports: BTreeSet<Port<'a>>,
    pub(crate) affinity: Vec<Term<'a>>,
    pub(crate) anti: Vec<Term<'a>>,
    pub(crate) spreads: Vec<Spread<'a>>,
    /// Class of its pods in [`Pods::watch`].
    pub(crate) class: usize,
    /// What it prefers about other pods, where that has a price.
    pub(crate) wishes: Vec<Wish<'a>>,
    /// Class of its pods in [`Pods::wishes`].
    pub(crate) wish_class: usize,
    /// Some pod of it uses a claim that one pod at a time may use.
    pub(crate) exclusive: bool,
}

/// What a pending pod is to the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pending {
    /// A problem pod: index of its group.
    Group(usize),
    /// Left out for the constraint named.
    Unsupported(&'static str),
    /// Its volumes let no node take it.
    Stuck(String),
}

/// All pending pods by reference.
pub(crate) type PendingPods = BTreeMap<PodRef, Pending>;

/// Pending pods, their groups, and the scopes of all constraints between pods.
#[derive(Debug)]
pub(crate) struct Pods<'a> {
    pub(crate) pending: PendingPods,
    /// In the order of their first pods.
    pub(crate) groups: Vec<Group<'a>>,
    pub(crate) watch: Watch<'a>,
    /// Scopes of preferences about other pods; none where they have no price.
    pub(crate) wishes: Watch<'a>,
    /// Pods on nodes, where wishes have a price: node, class in [`Pods::wishes`], and whether it is being deleted.
    pub(crate) beside: Vec<(&'a Node, usize, bool)>,
}

/// What makes two pods equal. Lists compare as written: the order of tolerations or terms counts.
type Identity<'a> =
    (Resources, &'a Labels, NodeTerms<'a>, &'a Vec<Toleration>, i32, Stated<'a>, (Vec<Wish<'a>>, Vec<bool>));

/// Required node affinity, and preferred where that counts.
type NodeTerms<'a> = (Option<&'a Vec<NodeSelectorTerm>>, &'a [PreferredNodeTerm]);

/// The part of it that is about other pods, volumes and ports.
type Stated<'a> = (
    Vec<&'a Vec<NodeSelectorTerm>>,
    BTreeSet<Port<'a>>,
    Vec<Term<'a>>,
    Vec<Term<'a>>,
    Vec<(&'a str, usize, i32, Option<i32>, bool, bool)>,
    Vec<bool>,
);

fn anti_scopes<'a>(pod: &'a Pod) -> impl Iterator<Item = Scope<'a>> {
    pod.spec.affinity.anti_required.iter().map(|term| Scope::of_term(term, pod))
}

/// Every scope a pod may be asked about: of all constraints of pods that wait, and of required anti-affinity of pods on nodes.
fn scopes(snapshot: &Snapshot) -> BTreeSet<Scope<'_>> {
    let mut scopes = BTreeSet::new();
    for pod in &snapshot.pods {
        if pod.is_pending() {
            let spreads = pod.spec.topology_spread.iter().filter(|one| one.hard);
            scopes.extend(spreads.map(|one| Scope::of_spread(one, pod)));
            scopes.extend(pod.spec.affinity.pod_required.iter().map(|term| Scope::of_term(term, pod)));
            scopes.extend(anti_scopes(pod));
        } else if pod.seat().is_some() && !pod.is_terminal() {
            scopes.extend(anti_scopes(pod));
        }
    }
    scopes
}

/// Sorts the pending pods into groups, themselves in the order of their first pods.
pub(crate) fn collect<'a>(snapshot: &'a Snapshot, storage: &Storage<'a>, preferences: bool) -> Pods<'a> {
    let watch = Watch::new(Namespaces::new(&snapshot.namespaces), scopes(snapshot));
    let wished = if preferences { wishes::scopes(snapshot) } else { BTreeSet::new() };
    let wishes = Watch::new(Namespaces::new(&snapshot.namespaces), wished);
    let mut result =
        Pods { pending: PendingPods::new(), groups: Vec::new(), watch, wishes, beside: Vec::new() };
    // By reference, so that the first pod of a group is the first in that order whatever the snapshot's is.
    let pods: BTreeMap<PodRef, _> =
        snapshot.pods.iter().filter(|pod| pod.is_pending()).map(|pod| (pod.id(), pod)).collect();
    let exclusive: BTreeSet<(&str, &str)> = snapshot
        .volume_claims
        .iter()
        .filter(|claim| claim.read_write_once_pod)
        .map(|claim| (claim.namespace.as_str(), claim.name.as_str()))
        .collect();
    let mut index: BTreeMap<Identity<'a>, usize> = BTreeMap::new();
    for (id, pod) in pods {
        if pod.spec.unreadable.is_some() {
            result.pending.insert(id, Pending::Unsupported("a constraint that cannot be read"));
            continue;
        }
        if pod.spec.volumes.iter().any(|volume| matches!(volume, PodVolume::Other(_))) {
            result.pending.insert(id, Pending::Unsupported("a volume of a kind nobody models"));
            continue;
        }
        let needs = match storage.needs(pod) {
            Ok(needs) => needs,
            Err(why) => {
                result.pending.insert(id, Pending::Stuck(why));
                continue;
            }
        };
        let mut group = group(&mut result.watch, &id, pod, needs);
        if preferences {
            group.wishes = wishes::stated(&result.wishes, pod);
            group.wish_class = result.wishes.class(pod);
        }
        let identity = identity(&result, pod, &group, preferences);
        let groups = &mut result.groups;
        let group = *index.entry(identity).or_insert_with(|| {
            groups.push(group);
            groups.len() - 1
        });
        let claims = pod.spec.volumes.iter().filter_map(|volume| match volume {
            PodVolume::Claim(name) => Some((pod.namespace.as_str(), name.as_str())),
            _ => None,
        });
        groups[group].exclusive |= claims.into_iter().any(|claim| exclusive.contains(&claim));
        result.pending.insert(id, Pending::Group(group));
    }
    if preferences {
        let nodes: BTreeMap<&str, &Node> =
            snapshot.nodes.iter().map(|node| (node.name.as_str(), node)).collect();
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            if let Some(node) = pod.seat().and_then(|name| nodes.get(name)) {
                let class = result.wishes.class(pod);
                result.beside.push((node, class, pod.deleting));
            }
        }
    }
    result
}

/// A group of this one pod.
fn group<'a>(watch: &mut Watch<'a>, id: &PodRef, pod: &'a Pod, needs: Needs<'a>) -> Group<'a> {
    let spec = &pod.spec;
    let mut request = effective_request(spec);
    for (driver, count) in &needs.attaches {
        request.set(&format!("{ATTACHABLE}{driver}"), *count);
    }
    let class = watch.class(pod);
    let number = |scope: &Scope<'a>| watch.scope(scope).expect("all scopes of pods that wait were collected");
    let terms = |terms: &'a [stowage_models::objects::PodAffinityTerm]| {
        let term = |term| number(&Scope::of_term(term, pod));
        terms.iter().map(|one| (one.topology_key.as_str(), term(one))).collect::<Vec<_>>()
    };
    let spreads = spec.topology_spread.iter().filter(|one| one.hard).map(|one| {
        let scope = Scope::of_spread(one, pod);
        Spread {
            key: &one.topology_key,
            scope: number(&scope),
            max_skew: i64::from(one.max_skew),
            min_domains: i64::from(one.min_domains.unwrap_or(1)),
            honors_affinity: one.honor_affinity,
            honors_taints: one.honor_taints,
            counts_none: scope.counts_none(),
        }
    });
    Group {
        first: id.clone(),
        spec,
        request,
        terms: needs.terms,
        ports: host_ports(spec).collect(),
        affinity: terms(&spec.affinity.pod_required),
        anti: terms(&spec.affinity.anti_required),
        spreads: spreads.collect(),
        class,
        wishes: Vec::new(),
        wish_class: 0,
        exclusive: false,
    }
}

fn identity<'a>(pods: &Pods<'a>, pod: &'a Pod, group: &Group<'a>, preferences: bool) -> Identity<'a> {
    let (spec, watch) = (&pod.spec, &pods.watch);
    let stated = spec.topology_spread.iter().filter(|one| one.hard).zip(&group.spreads);
    let spreads = stated
        .map(|(one, spread)| {
            let policies = (one.honor_affinity, one.honor_taints);
            (spread.key, spread.scope, one.max_skew, one.min_domains, policies.0, policies.1)
        })
        .collect();
    let between = (
        group.terms.clone(),
        group.ports.clone(),
        group.affinity.clone(),
        group.anti.clone(),
        spreads,
        watch.means(group.class).to_vec(),
    );
    let preferred = if preferences { &spec.affinity.node_preferred[..] } else { &[] };
    let required = (spec.affinity.node_required.as_ref(), preferred);
    let meant = if preferences { pods.wishes.means(group.wish_class).to_vec() } else { Vec::new() };
    let wishes = (group.wishes.clone(), meant);
    (group.request.clone(), &spec.node_selector, required, &spec.tolerations, spec.priority, between, wishes)
}

impl Group<'_> {
    /// The scopes of its constraints on other pods.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = usize> {
        let terms = self.affinity.iter().chain(&self.anti).map(|(_, scope)| *scope);
        terms.chain(self.spreads.iter().map(|spread| spread.scope))
    }

    /// Whether it states a constraint on other pods, ports or volumes.
    pub(crate) fn states_any(&self) -> bool {
        let on_pods = self.affinity.len() + self.anti.len() + self.spreads.len();
        on_pods > 0
            || !self.ports.is_empty()
            || !self.terms.is_empty()
            || self.exclusive
            || !self.spec.volumes.is_empty()
    }
}
