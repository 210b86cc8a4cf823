//! What constraints between pods need to know about the pods on nodes, counted once and kept up to date.
//!
//! A filter asks the index alone. [`World::may_go`] builds one for a single pod, [`super::realise`] one for all pods it
//! binds: both read the same code.

use super::scope::{Known, Scope, Watch};
use super::topology::Topology;
use super::{World, is_selected, tolerates_all};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use stowage_models::objects::{NodeSelectorTerm, Pod, Toleration, TopologySpread};
use stowage_models::selector::Labels;

/// Pods that several scopes mean at once, by domain of some keys.
#[derive(Debug)]
pub(super) struct Meant {
    scopes: Vec<usize>,
    keys: Vec<usize>,
    /// By position in `keys` and domain.
    in_domain: Vec<Vec<u32>>,
    /// Those on places with at least one of the keys.
    pub(super) anywhere: u32,
}

impl Meant {
    /// Whether a place has the key at `position`.
    pub(super) fn has_key(&self, topology: &Topology<'_>, position: usize, place: usize) -> bool {
        topology.domain(self.keys[position], place).is_some()
    }

    /// Whether there is one in the domain of a place, by the key at `position`; none without the key.
    pub(super) fn near(&self, topology: &Topology<'_>, position: usize, place: usize) -> bool {
        let domain = topology.domain(self.keys[position], place);
        domain.is_some_and(|domain| self.in_domain[position][domain] > 0)
    }
}

/// Pods that state a term of required anti-affinity, by domain.
#[derive(Debug)]
struct Stated {
    key: usize,
    scope: usize,
    in_domain: Vec<u32>,
}

/// What decides what a spread constraint counts: two pods with equal ones share the counts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct SpreadKey<'a> {
    key: &'a str,
    scope: Scope<'a>,
    /// Topology keys a node must have to count.
    keys: BTreeSet<&'a str>,
    selected_by: Option<(&'a Labels, Option<&'a Vec<NodeSelectorTerm>>)>,
    tolerations: Option<&'a Vec<Toleration>>,
}

/// Pods by domain, of those nodes a spread constraint looks at.
#[derive(Debug)]
pub(super) struct Spread {
    key: usize,
    scope: usize,
    counts_none: bool,
    /// By place.
    looks_at: Vec<bool>,
    /// By domain; `None`: no node of it is looked at.
    in_domain: Vec<Option<i64>>,
}

impl Spread {
    /// Domains and the pods of the emptiest; `None` without any domain.
    pub(super) fn least(&self) -> (usize, Option<i64>) {
        let present = self.in_domain.iter().flatten();
        (present.clone().count(), present.min().copied())
    }

    /// Whether pods on a place count.
    pub(super) fn looks_at(&self, place: usize) -> bool {
        self.looks_at[place]
    }

    /// Pods in the domain of a place; `None` if the place lacks the key.
    pub(super) fn here(&self, topology: &Topology<'_>, place: usize) -> Option<i64> {
        let domain = topology.domain(self.key, place)?;
        Some(self.in_domain[domain].unwrap_or(0))
    }
}

/// A hard spread constraint of a pod.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpreadOf {
    /// Position in [`Index::spreads`].
    pub(super) spread: usize,
    pub(super) max_skew: i64,
    pub(super) min_domains: i64,
    /// It counts the pod itself.
    pub(super) own: bool,
}

/// What a pod states, looked up.
#[derive(Clone, Debug, Default)]
pub(super) struct Profile {
    pub(super) class: usize,
    /// Its required affinity: position in [`Index::meant`], and how many terms.
    pub(super) affinity: Option<(usize, usize)>,
    /// All terms of that mean itself.
    pub(super) means_itself: bool,
    /// Its required anti-affinity: positions in [`Index::meant`], one key each.
    pub(super) anti: Vec<usize>,
    pub(super) spreads: Vec<SpreadOf>,
    /// Terms of anti-affinity it brings along: positions in `stated`.
    brings: Vec<usize>,
}

/// What pods of a class change.
#[derive(Debug, Default)]
struct Effect {
    meant: Vec<usize>,
    spreads: Vec<usize>,
    /// Terms that keep it away: positions in `stated`.
    kept_away_by: Vec<usize>,
}

/// Counts of the pods on all nodes, for the constraints of some pods.
#[derive(Debug)]
pub(super) struct Index<'a> {
    pub(super) topology: Topology<'a>,
    watch: Watch<'a>,
    /// Classes of pods, where they are known.
    known: Option<Arc<Known<'a>>>,
    pub(super) meant: Vec<Meant>,
    stated: Vec<Stated>,
    pub(super) spreads: Vec<Spread>,
    effects: Vec<Effect>,
}

/// What is known of a pod before anything is counted.
struct Wanted<'a> {
    affinity: Option<(Vec<Scope<'a>>, Vec<&'a str>)>,
    anti: Vec<(&'a str, Scope<'a>)>,
    spreads: Vec<(SpreadKey<'a>, &'a TopologySpread)>,
}

fn anti<'a>(pod: &'a Pod) -> impl Iterator<Item = (&'a str, Scope<'a>)> {
    let terms = pod.spec.affinity.anti_required.iter();
    terms.map(|term| (term.topology_key.as_str(), Scope::of_term(term, pod)))
}

/// What the pods of a world, and others that may come, say of each other, worked out once.
pub(super) fn known<'a>(world: &World<'a>, others: impl Iterator<Item = &'a Pod>) -> Known<'a> {
    let bound = world.places.iter().flat_map(|place| place.pods.iter().copied());
    let pods: Vec<&'a Pod> = bound.chain(others).collect();
    let mut scopes: BTreeSet<Scope<'a>> = BTreeSet::new();
    for pod in &pods {
        let Wanted { affinity, anti, spreads } = Wanted::of(pod);
        scopes.extend(affinity.into_iter().flat_map(|(scopes, _)| scopes));
        scopes.extend(anti.into_iter().map(|(_, scope)| scope));
        scopes.extend(spreads.into_iter().map(|(key, _)| key.scope));
    }
    Known::new(world.namespaces.clone(), scopes, &pods)
}

impl<'a> Wanted<'a> {
    fn of(pod: &'a Pod) -> Wanted<'a> {
        let spec = &pod.spec;
        let required = &spec.affinity.pod_required;
        let affinity = (!required.is_empty()).then(|| {
            let scopes = required.iter().map(|term| Scope::of_term(term, pod)).collect();
            (scopes, required.iter().map(|term| term.topology_key.as_str()).collect())
        });
        let hard: Vec<&TopologySpread> = spec.topology_spread.iter().filter(|one| one.hard).collect();
        let keys: BTreeSet<&str> = hard.iter().map(|one| one.topology_key.as_str()).collect();
        let spread = |one: &'a TopologySpread| SpreadKey {
            key: &one.topology_key,
            scope: Scope::of_spread(one, pod),
            keys: keys.clone(),
            selected_by: one
                .honor_affinity
                .then_some((&spec.node_selector, spec.affinity.node_required.as_ref())),
            tolerations: one.honor_taints.then_some(&spec.tolerations),
        };
        Wanted {
            affinity,
            anti: anti(pod).collect(),
            spreads: hard.into_iter().map(|one| (spread(one), one)).collect(),
        }
    }
}

impl<'a> Index<'a> {
    /// Counts the pods of a world for the constraints of `pods`; the second result belongs to these, in order.
    pub(super) fn build<'w: 'a>(world: &World<'w>, pods: &[&'a Pod]) -> (Index<'a>, Vec<Profile>) {
        let wanted: Vec<Wanted<'a>> = pods.iter().map(|pod| Wanted::of(pod)).collect();
        let bound = || world.places.iter().flat_map(|place| place.pods.iter().copied());
        let mut scopes: BTreeSet<Scope<'a>> = bound().flat_map(anti).map(|(_, scope)| scope).collect();
        let mut keys: BTreeSet<&'a str> = bound().flat_map(anti).map(|(key, _)| key).collect();
        for one in &wanted {
            scopes.extend(one.affinity.iter().flat_map(|(scopes, _)| scopes.iter().cloned()));
            scopes.extend(one.anti.iter().map(|(_, scope)| scope.clone()));
            scopes.extend(one.spreads.iter().map(|(key, _)| key.scope.clone()));
            keys.extend(one.affinity.iter().flat_map(|(_, keys)| keys));
            keys.extend(one.anti.iter().map(|(key, _)| *key));
            keys.extend(one.spreads.iter().map(|(key, _)| key.key));
        }
        let known = world.known.as_ref().and_then(|known| Some((known.watch(&scopes)?, known.clone())));
        let (watch, known) = match known {
            Some((watch, known)) => (watch, Some(known)),
            None => (Watch::new(world.namespaces.clone(), scopes), None),
        };
        let mut index = Index {
            topology: Topology::new(&world.places, keys),
            watch,
            known,
            meant: Vec::new(),
            stated: Vec::new(),
            spreads: Vec::new(),
            effects: Vec::new(),
        };
        let mut maker = Maker { meant: BTreeMap::new(), stated: BTreeMap::new(), spreads: BTreeMap::new() };
        let mut profiles: Vec<Profile> = pods
            .iter()
            .zip(&wanted)
            .map(|(pod, wanted)| maker.profile(&mut index, world, pod, wanted))
            .collect();
        let there: Vec<(usize, &'a Pod, Vec<usize>)> = world
            .places
            .iter()
            .enumerate()
            .flat_map(|(place, node)| node.pods.iter().map(move |pod| (place, *pod)))
            .map(|(place, pod)| (place, pod, maker.brings(&mut index, anti(pod))))
            .collect();
        for (place, pod, brings) in there {
            let class = index.class(pod);
            index.add(&Profile { class, brings, ..Profile::default() }, pod, place);
        }
        for (profile, pod) in profiles.iter_mut().zip(pods) {
            profile.class = index.class(pod);
        }
        (index, profiles)
    }

    fn class(&mut self, pod: &'a Pod) -> usize {
        let known = self.known.as_ref().and_then(|known| known.class(pod));
        known.unwrap_or_else(|| self.watch.class(pod))
    }

    /// Counts a pod at its new place.
    pub(super) fn add(&mut self, profile: &Profile, pod: &Pod, place: usize) {
        let effect = self.effect(profile.class);
        let (meant, spreads) = (std::mem::take(&mut effect.meant), std::mem::take(&mut effect.spreads));
        for one in &meant {
            let one = &mut self.meant[*one];
            let mut somewhere = false;
            for (key, in_domain) in one.keys.iter().zip(&mut one.in_domain) {
                if let Some(domain) = self.topology.domain(*key, place) {
                    in_domain[domain] += 1;
                    somewhere = true;
                }
            }
            one.anywhere += u32::from(somewhere);
        }
        // Pods that are being deleted do not count towards a spread.
        for one in spreads.iter().filter(|_| !pod.deleting) {
            let one = &mut self.spreads[*one];
            if let (true, Some(domain)) = (one.looks_at[place], self.topology.domain(one.key, place)) {
                *one.in_domain[domain].get_or_insert(0) += 1;
            }
        }
        for one in &profile.brings {
            let one = &mut self.stated[*one];
            if let Some(domain) = self.topology.domain(one.key, place) {
                one.in_domain[domain] += 1;
            }
        }
        let effect = self.effect(profile.class);
        (effect.meant, effect.spreads) = (meant, spreads);
    }

    /// Whether anti-affinity of a pod that is there keeps pods of a class away from a place.
    pub(super) fn keeps_away(&mut self, class: usize, place: usize) -> bool {
        let terms = std::mem::take(&mut self.effect(class).kept_away_by);
        let kept = terms
            .iter()
            .map(|one| &self.stated[*one])
            .any(|one| self.topology.domain(one.key, place).is_some_and(|domain| one.in_domain[domain] > 0));
        self.effect(class).kept_away_by = terms;
        kept
    }

    /// What pods of a class change; worked out when the first of them comes.
    fn effect(&mut self, class: usize) -> &mut Effect {
        while self.effects.len() <= class {
            let means = self.watch.means(self.effects.len());
            let all = |scopes: &[usize]| scopes.iter().all(|scope| means[*scope]);
            let positions =
                |len: usize, test: &dyn Fn(usize) -> bool| (0..len).filter(|one| test(*one)).collect();
            let effect = Effect {
                meant: positions(self.meant.len(), &|one| all(&self.meant[one].scopes)),
                spreads: positions(self.spreads.len(), &|one| {
                    let spread = &self.spreads[one];
                    means[spread.scope] && !spread.counts_none
                }),
                kept_away_by: positions(self.stated.len(), &|one| means[self.stated[one].scope]),
            };
            self.effects.push(effect);
        }
        &mut self.effects[class]
    }
}

/// Finds what was made before.
struct Maker<'a> {
    meant: BTreeMap<(Vec<Scope<'a>>, Vec<&'a str>), usize>,
    stated: BTreeMap<(&'a str, Scope<'a>), usize>,
    spreads: BTreeMap<SpreadKey<'a>, usize>,
}

impl<'a> Maker<'a> {
    fn profile(
        &mut self,
        index: &mut Index<'a>,
        world: &World<'_>,
        pod: &'a Pod,
        wanted: &Wanted<'a>,
    ) -> Profile {
        let class = index.class(pod);
        let affinity =
            wanted.affinity.as_ref().map(|(scopes, keys)| (self.meant(index, scopes, keys), keys.len()));
        let anti = wanted.anti.iter();
        let anti = anti.map(|(key, scope)| self.meant(index, std::slice::from_ref(scope), &[*key])).collect();
        let spreads: Vec<(usize, &TopologySpread)> =
            wanted.spreads.iter().map(|(key, one)| (self.spread(index, world, pod, key), *one)).collect();
        let brings = self.brings(index, wanted.anti.iter().cloned());
        let means = index.watch.means(class);
        let means_itself = affinity.is_some_and(|(meant, _): (usize, usize)| {
            index.meant[meant].scopes.iter().all(|scope| means[*scope])
        });
        let spread_of = |(spread, one): (usize, &TopologySpread)| SpreadOf {
            spread,
            max_skew: i64::from(one.max_skew),
            min_domains: i64::from(one.min_domains.unwrap_or(1)),
            own: means[index.spreads[spread].scope],
        };
        let spreads = spreads.into_iter().map(spread_of).collect();
        Profile { class, affinity, means_itself, anti, spreads, brings }
    }

    fn meant(&mut self, index: &mut Index<'a>, scopes: &[Scope<'a>], keys: &[&'a str]) -> usize {
        let next = index.meant.len();
        let found = *self.meant.entry((scopes.to_vec(), keys.to_vec())).or_insert(next);
        if found == next {
            let keys: Vec<usize> = keys.iter().map(|key| index.topology.key(key)).collect();
            let in_domain = keys.iter().map(|key| vec![0; index.topology.domains(*key)]).collect();
            let scopes = scopes.iter().map(|scope| number(index, scope)).collect();
            index.meant.push(Meant { scopes, keys, in_domain, anywhere: 0 });
        }
        found
    }

    fn brings(
        &mut self,
        index: &mut Index<'a>,
        terms: impl Iterator<Item = (&'a str, Scope<'a>)>,
    ) -> Vec<usize> {
        let mut brings = Vec::new();
        for (key, scope) in terms {
            let next = index.stated.len();
            let (number_of_key, number_of_scope) = (index.topology.key(key), number(index, &scope));
            let found = *self.stated.entry((key, scope)).or_insert(next);
            if found == next {
                let in_domain = vec![0; index.topology.domains(number_of_key)];
                index.stated.push(Stated { key: number_of_key, scope: number_of_scope, in_domain });
            }
            brings.push(found);
        }
        brings
    }

    fn spread(
        &mut self,
        index: &mut Index<'a>,
        world: &World<'_>,
        pod: &Pod,
        wanted: &SpreadKey<'a>,
    ) -> usize {
        if let Some(found) = self.spreads.get(wanted) {
            return *found;
        }
        let looks_at: Vec<bool> = world
            .places
            .iter()
            .map(|place| {
                wanted.keys.iter().all(|key| place.labels.contains_key(*key))
                    && (wanted.selected_by.is_none() || is_selected(&pod.spec, place))
                    && wanted.tolerations.is_none_or(|tolerations| tolerates_all(tolerations, place))
            })
            .collect();
        let key = index.topology.key(wanted.key);
        let mut in_domain = vec![None; index.topology.domains(key)];
        for place in (0..looks_at.len()).filter(|place| looks_at[*place]) {
            if let Some(domain) = index.topology.domain(key, place) {
                in_domain[domain] = Some(0);
            }
        }
        let scope = number(index, &wanted.scope);
        let counts_none = wanted.scope.counts_none();
        index.spreads.push(Spread { key, scope, counts_none, looks_at, in_domain });
        self.spreads.insert(wanted.clone(), index.spreads.len() - 1);
        index.spreads.len() - 1
    }
}

fn number<'a>(index: &Index<'a>, scope: &Scope<'a>) -> usize {
    index.watch.scope(scope).expect("all scopes of the constraints were collected")
}
