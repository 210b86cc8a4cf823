//! Constraints between pods, and on host ports, as far as they reach the bound (formulation, sections 1.5 and 2.1): bins they
//! rule out, caps per node, and splits over domains.

use crate::filters::scope::Watch;
use crate::groups::{Group, Pods, Port, Spread};
use crate::matching::Match;
use crate::nodes::NodeBin;
use crate::offerings::Offerings;
use crate::problem::Pool;
use crate::splits::Split;
use crate::wishes::{About, Wish};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels::{HOSTNAME, ZONE};
use stowage_models::objects::Pod;

/// What constraints between pods make of a group.
#[derive(Debug)]
pub(crate) struct Reach {
    /// By node: pods of the group at most. `None`: no node has a cap, or is ruled out.
    nodes: Option<Vec<u64>>,
    /// By class of offerings: whether it may be used. `None`: all.
    classes: Option<Vec<bool>>,
    /// Pods of the group on one new node at most.
    pub(crate) cap: u64,
    pub(crate) split: Option<Split>,
    /// Some constraint of a pod that waits, or required anti-affinity of one on a node, is stated by it or means it.
    pub(crate) concerned: bool,
}

impl Reach {
    /// Pods of the group at most on a node.
    pub(crate) fn node(&self, index: usize) -> u64 {
        self.nodes.as_ref().map_or(u64::MAX, |nodes| nodes[index])
    }

    /// Whether offerings of a class may be used.
    pub(crate) fn class(&self, class: usize) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes[class])
    }
}

/// What is there: nodes with their pods, offerings, and the domains of both.
pub(crate) struct Scene<'s, 'a> {
    pub(crate) nodes: &'s [NodeBin<'a>],
    pub(crate) offerings: &'s Offerings<'a>,
    /// Sorted.
    pub(crate) topology: &'s [&'a str],
    /// Pods on nodes that exist, by class of [`Pods::watch`], with the node.
    bound: Vec<(usize, usize, &'a Pod)>,
    /// Required anti-affinity of these: topology key and scope, with the domains of the pods that state it.
    keeps_away: BTreeMap<(&'a str, usize), BTreeSet<&'a str>>,
    /// By scope: whether a constraint over another key than hostname looks for its pods.
    looked_far: Vec<bool>,
    /// No NodePool comes before another.
    even_weights: bool,
}

impl<'s, 'a> Scene<'s, 'a> {
    pub(crate) fn new(
        pods: &mut Pods<'a>,
        pools: &[Pool<'a>],
        nodes: &'s [NodeBin<'a>],
        offerings: &'s Offerings<'a>,
        topology: &'s [&'a str],
    ) -> Scene<'s, 'a> {
        let mut scene = Scene {
            nodes,
            offerings,
            topology,
            bound: Vec::new(),
            keeps_away: BTreeMap::new(),
            looked_far: Vec::new(),
            even_weights: false,
        };
        for node in nodes {
            for pod in &node.pods {
                scene.bound.push((pods.watch.class(pod), node.index, pod));
                for term in &pod.spec.affinity.anti_required {
                    let scope = crate::filters::scope::Scope::of_term(term, pod);
                    let domain = node.node.labels.get(&term.topology_key);
                    if let (Some(scope), Some(domain)) = (pods.watch.scope(&scope), domain) {
                        let key = (term.topology_key.as_str(), scope);
                        scene.keeps_away.entry(key).or_default().insert(domain);
                    }
                }
            }
        }
        let mut looked = vec![false; pods.watch.count()];
        for group in &pods.groups {
            let terms = group.affinity.iter().chain(&group.anti).copied();
            let terms = terms.chain(group.spreads.iter().map(|spread| (spread.key, spread.scope)));
            terms.filter(|(key, _)| *key != HOSTNAME).for_each(|(_, scope)| looked[scope] = true);
        }
        let bound = scene.keeps_away.keys().filter(|(key, _)| *key != HOSTNAME);
        bound.for_each(|(_, scope)| looked[*scope] = true);
        scene.looked_far = looked;
        let weights: BTreeSet<i32> = pools.iter().map(|pool| pool.pool.weight).collect();
        scene.even_weights = weights.len() <= 1;
        scene
    }

    /// Scopes of required anti-affinity of pods on nodes.
    pub(crate) fn bound_scopes(&self) -> BTreeSet<usize> {
        self.keeps_away.keys().map(|(_, scope)| *scope).collect()
    }

    /// What constraints make of a group. `rule` is its rule; `means` says for each group what the scopes say of it.
    pub(crate) fn reach(&self, pods: &Pods<'a>, group: usize, rule: usize) -> Reach {
        let one = &pods.groups[group];
        let means = pods.watch.means(one.class);
        let banned = self.banned(&pods.watch, one);
        let nodes = self.caps_of_nodes(&pods.watch, one, &banned);
        let classes = self.open_classes(one, &banned);
        let own = |spread: &&Spread<'_>| spread.key == HOSTNAME && means[spread.scope] && !spread.counts_none;
        let spreads = one.spreads.iter().filter(own).map(|one| u64::try_from(one.max_skew).unwrap_or(0));
        let alone =
            !one.ports.is_empty() || one.anti.iter().any(|(key, scope)| *key == HOSTNAME && means[*scope]);
        let cap = spreads.chain(alone.then_some(1)).min().unwrap_or(u64::MAX);
        let stated = !(one.affinity.is_empty() && one.anti.is_empty() && one.spreads.is_empty());
        let split = self.split(pods, group, rule).or_else(|| self.wished_split(pods, group, rule));
        let concerned = stated || !one.ports.is_empty() || means.contains(&true);
        Reach { nodes, classes, cap, split, concerned }
    }

    /// Domains no pod of the group may enter: those of pods it keeps away from, and of pods that keep it away.
    fn banned(&self, watch: &Watch<'a>, group: &Group<'a>) -> BTreeSet<(&'a str, &'a str)> {
        let means = watch.means(group.class);
        let mut banned = BTreeSet::new();
        for (key, scope) in &group.anti {
            for (class, node, _) in &self.bound {
                if watch.means(*class)[*scope]
                    && let Some(domain) = self.nodes[*node].node.labels.get(*key)
                {
                    banned.insert((*key, domain.as_str()));
                }
            }
        }
        for ((key, scope), domains) in &self.keeps_away {
            if means[*scope] {
                banned.extend(domains.iter().map(|domain| (*key, *domain)));
            }
        }
        banned
    }

    fn caps_of_nodes(
        &self,
        watch: &Watch<'a>,
        group: &Group<'a>,
        banned: &BTreeSet<(&'a str, &'a str)>,
    ) -> Option<Vec<u64>> {
        let means = watch.means(group.class);
        let mut caps = vec![u64::MAX; self.nodes.len()];
        let banned_keys: BTreeSet<&str> = banned.iter().map(|(key, _)| *key).collect();
        let mut changed = false;
        for (cap, bin) in caps.iter_mut().zip(self.nodes) {
            let label = |key: &str| bin.node.labels.get(key).map(String::as_str);
            let near = |key: &&str| label(key).is_some_and(|domain| banned.contains(&(*key, domain)));
            let alone = group.anti.iter().any(|(key, scope)| *key == HOSTNAME && means[*scope]);
            if banned_keys.iter().any(near) || clash(&group.ports, &bin.ports) {
                *cap = 0;
            } else if !group.ports.is_empty() || (alone && label(HOSTNAME).is_some()) {
                *cap = 1;
            }
            changed |= *cap < u64::MAX;
        }
        for spread in group.spreads.iter().filter(|one| one.key == HOSTNAME && means[one.scope]) {
            if spread.counts_none {
                continue;
            }
            let mut there = vec![0_i64; self.nodes.len()];
            for (class, node, pod) in &self.bound {
                there[*node] += i64::from(watch.means(*class)[spread.scope] && !pod.deleting);
            }
            for (bin, there) in self.nodes.iter().zip(there) {
                if bin.node.labels.contains_key(HOSTNAME) {
                    let left = u64::try_from(spread.max_skew - there).unwrap_or(0);
                    caps[bin.index] = caps[bin.index].min(left);
                    changed = true;
                }
            }
        }
        changed.then_some(caps)
    }

    fn open_classes(&self, group: &Group<'a>, banned: &BTreeSet<(&'a str, &'a str)>) -> Option<Vec<bool>> {
        let classes = &self.offerings.classes;
        let is_open = |class: &crate::offerings::Class<'a>| {
            let near = self.topology.iter().zip(&class.domains).any(|(key, domain)| {
                domain.as_ref().is_some_and(|domain| banned.contains(&(*key, domain.as_str())))
            });
            !near && !clash(&group.ports, &class.ports)
        };
        let open: Vec<bool> = classes.iter().map(is_open).collect();
        open.contains(&false).then_some(open)
    }

    /// The split of a group: its first spread constraint by another key than hostname, if that counts pods of this group and
    /// of no other.
    fn split(&self, pods: &Pods<'a>, group: usize, rule: usize) -> Option<Split> {
        let one = &pods.groups[group];
        let means = |group: &Group<'_>, scope: usize| pods.watch.means(group.class)[scope];
        let is_private = |spread: &Spread<'_>| {
            pods.groups.iter().enumerate().all(|(at, other)| (at == group) == means(other, spread.scope))
        };
        let private =
            |spread: &&Spread<'a>| spread.key != HOSTNAME && !spread.counts_none && is_private(spread);
        let spread = one.spreads.iter().find(private)?;
        let key = self.topology.binary_search(&spread.key).ok()?;
        let eligible = |found: Match| {
            (!spread.honors_affinity || found.selected) && (!spread.honors_taints || found.tolerated)
        };
        let all_keys: BTreeSet<&str> = one.spreads.iter().map(|one| one.key).collect();
        let mut domains: BTreeMap<&str, u64> = BTreeMap::new();
        let mut looks_at = vec![false; self.nodes.len()];
        for bin in self.nodes.iter().filter(|bin| eligible(bin.matches[rule])) {
            if all_keys.iter().all(|key| bin.node.labels.contains_key(*key)) {
                looks_at[bin.index] = true;
                domains.entry(&bin.node.labels[spread.key]).or_default();
            }
        }
        for (class, node, pod) in self.bound.iter().filter(|(_, node, _)| looks_at[*node]) {
            if pods.watch.means(*class)[spread.scope] && !pod.deleting {
                *domains.entry(&self.nodes[*node].node.labels[spread.key]).or_default() += 1;
            }
        }
        for class in self.offerings.classes.iter().filter(|class| eligible(class.matches[rule])) {
            // Every new node has a hostname.
            let has = |key: &&str| {
                *key == HOSTNAME
                    || self.topology.binary_search(key).is_ok_and(|at| class.domains[at].is_some())
            };
            if let (true, Some(domain)) = (all_keys.iter().all(has), &class.domains[key]) {
                domains.entry(domain).or_default();
            }
        }
        let few = (domains.len() as i64) < spread.min_domains;
        let (domains, existing) = domains.into_iter().map(|(name, count)| (name.to_owned(), count)).unzip();
        Some(Split { key, domains, existing, max_skew: spread.max_skew, few, fine: None })
    }

    /// The domains of a preferred spread, with the pods there that it counts: of nodes and offerings that select the group's pods
    /// and whose taints they tolerate.
    pub(crate) fn level_domains(&self, pods: &Pods<'a>, wish: &Wish<'a>, rule: usize) -> BTreeMap<&str, u64> {
        let suits = |found: Match| found.selected && found.tolerated;
        let mut domains: BTreeMap<&str, u64> = BTreeMap::new();
        let mut looks_at: BTreeSet<&str> = BTreeSet::new();
        for bin in self.nodes.iter().filter(|bin| suits(bin.matches[rule])) {
            if let Some(domain) = bin.node.labels.get(wish.key) {
                looks_at.insert(&bin.node.name);
                domains.entry(domain).or_default();
            }
        }
        for (node, class, leaving) in &pods.beside {
            if !leaving && looks_at.contains(node.name.as_str()) && pods.wishes.means(*class)[wish.scope] {
                *domains.entry(&node.labels[wish.key]).or_default() += 1;
            }
        }
        let Ok(key) = self.topology.binary_search(&wish.key) else { return domains };
        for class in self.offerings.classes.iter().filter(|class| suits(class.matches[rule])) {
            if let Some(domain) = &class.domains[key] {
                domains.entry(domain).or_default();
            }
        }
        domains
    }

    /// The split of a group by what it prefers: its first wish for level zones that counts pods of this group and of no other.
    /// None where zones matter for something else, too, where a node has no zone, or where NodePools differ in weight.
    fn wished_split(&self, pods: &Pods<'a>, group: usize, rule: usize) -> Option<Split> {
        let one = &pods.groups[group];
        let means = |group: &Group<'_>, scope: usize| pods.wishes.means(group.wish_class)[scope];
        let wish = one.wishes.iter().find(|wish| {
            wish.key == ZONE
                && matches!(wish.about, About::Level(_))
                && pods.groups.iter().enumerate().all(|(at, other)| (at == group) == means(other, wish.scope))
        })?;
        let About::Level(max_skew) = wish.about else { return None };
        let own = one.affinity.iter().chain(&one.anti).map(|(key, _)| *key);
        let far = own.chain(one.spreads.iter().map(|spread| spread.key)).any(|key| key != HOSTNAME);
        if far || pods.watch.means(one.class).iter().zip(&self.looked_far).any(|(means, far)| *means && *far)
        {
            return None;
        }
        let zoned = self.nodes.iter().all(|bin| bin.node.labels.contains_key(ZONE));
        if !zoned || !self.even_weights {
            return None;
        }
        let key = self.topology.binary_search(&ZONE).ok()?;
        let (domains, existing) = self
            .level_domains(pods, wish, rule)
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count))
            .unzip();
        let fine = Some(wish.fine(&one.request));
        Some(Split { key, domains, existing, max_skew: max_skew.into(), few: false, fine })
    }
}

/// Whether two sets of host ports cannot be on one node.
fn clash(one: &BTreeSet<Port<'_>>, other: &BTreeSet<Port<'_>>) -> bool {
    const EVERY: &str = "0.0.0.0";
    one.iter().any(|(protocol, address, port)| {
        other.iter().any(|(other, at, number)| {
            (other, number) == (protocol, port) && (at == address || *at == EVERY || *address == EVERY)
        })
    })
}

/// The keys, hostname aside, that preferences about other pods name, where they have a price.
pub(crate) fn wished<'a>(groups: &[Group<'a>]) -> impl Iterator<Item = &'a str> {
    groups.iter().flat_map(|group| &group.wishes).map(|wish| wish.key).filter(|key| *key != HOSTNAME)
}

/// The keys, hostname aside, that constraints between pods name.
pub(crate) fn topology<'a>(
    groups: &[Group<'a>],
    nodes_pods: impl Iterator<Item = &'a Pod>,
) -> BTreeSet<&'a str> {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for group in groups {
        keys.extend(group.affinity.iter().chain(&group.anti).map(|(key, _)| *key));
        keys.extend(group.spreads.iter().map(|spread| spread.key));
    }
    for pod in nodes_pods {
        keys.extend(pod.spec.affinity.anti_required.iter().map(|term| term.topology_key.as_str()));
    }
    keys.remove(HOSTNAME);
    keys
}
