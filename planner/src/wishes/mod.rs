//! What it costs when pods are not beside the pods they prefer (`docs/formulation.md` section 1.10).
//!
//! ScheduleAnyway over zones that counts the pods of one group is part of the model: the group is split over the zones, and
//! pods beyond the skew pay a fine. The rest depends on where everything else is and is no part of the bound: a plan is priced
//! with it when it is finished, and [`grant`] looks for plans that meet it.

pub(crate) mod grant;

use crate::constraints::Constraints;
use crate::constraints::selectors::{Meanings, Term};
use crate::constraints::split::Split;
use crate::existing::lasting_taints;
use crate::matching::{selects, tolerates_all};
use crate::placement::Placement;
use crate::preferences::{share_of_worth, worth};
use crate::problem::{Bits, Group, Problem};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Pod, PodSpec};
use stowage_models::plan::{PREFERENCE_BESIDE_DIVISOR, PREFERENCE_SPREAD_WEIGHT, PREFERENCE_WEIGHT_MAX};
use stowage_models::snapshot::Snapshot;

/// What a pod prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Another pod that the term means is in the domain.
    Near,
    /// None is.
    Apart,
    /// The domain has at most so many more of them than the emptiest.
    Level { max_skew: i64 },
}

/// A preference about other pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    kind: Kind,
    /// Its position in the pod's list of such wishes; for [`Kind::Level`] among all spread constraints.
    at: usize,
    term: Term,
    /// What counts of its weight.
    weight: i64,
}

/// What a pod prefers about others, and what others say of it. Equal pods have equal wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wishes {
    list: Vec<Wish>,
    /// Selectors of wishes that mean the pod.
    meant: Bits,
}

/// Whether a pod prefers anything about others.
pub(crate) fn wishes_any(spec: &PodSpec) -> bool {
    !spec.affinity.pod_preferred.is_empty()
        || !spec.affinity.anti_preferred.is_empty()
        || spec.topology_spread.iter().any(|spread| !spread.hard)
}

/// Whether a pod that waits prefers anything about others.
pub(crate) fn are_stated(snapshot: &Snapshot) -> bool {
    snapshot.pods.iter().any(|pod| pod.is_pending() && wishes_any(&pod.spec))
}

/// All wishes of a snapshot, and the pods on nodes that they mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wished<'a> {
    meanings: Meanings<'a>,
    /// Pods on nodes that count, by selector and node.
    running: BTreeMap<u32, BTreeMap<usize, i64>>,
}

impl<'a> Wished<'a> {
    /// Reads the wishes of all pods that wait.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Wished<'a> {
        let mut wished = Wished { meanings: Meanings::of_nobody(snapshot), running: BTreeMap::new() };
        for pod in snapshot.pods.iter().filter(|pod| pod.is_pending() && wishes_any(&pod.spec)) {
            wished.list(pod);
        }
        let nodes: BTreeMap<&str, usize> =
            snapshot.nodes.iter().enumerate().map(|(at, node)| (node.name.as_str(), at)).collect();
        for pod in snapshot.pods.iter().filter(|pod| !pod.is_terminal()) {
            if wished.is_empty() {
                break;
            }
            let Some(node) = pod.seat().and_then(|name| nodes.get(name)) else { continue };
            for selector in wished.meanings.meant(&pod.namespace, &pod.labels).iter() {
                if !pod.deleting || !wished.meanings.selectors[selector].is_of_spread() {
                    let on_nodes = wished.running.entry(selector as u32).or_default();
                    *on_nodes.entry(*node).or_default() += 1;
                }
            }
        }
        wished
    }

    /// The topology key of a wish.
    fn key(&self, wish: &Wish) -> &'a str {
        self.meanings.keys[wish.term.key as usize]
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.meanings.selectors.is_empty()
    }

    /// What a pod that waits prefers, and who prefers what about it.
    pub(crate) fn of(&mut self, pod: &'a Pod) -> Wishes {
        let list = if wishes_any(&pod.spec) { self.list(pod) } else { Vec::new() };
        Wishes { list, meant: self.meanings.meant(&pod.namespace, &pod.labels) }
    }

    fn list(&mut self, pod: &'a Pod) -> Vec<Wish> {
        let affinity = &pod.spec.affinity;
        let mut list = Vec::new();
        let mut left = PREFERENCE_WEIGHT_MAX;
        let mut add = |kind: Kind, at: usize, term: Term, weight: i64| {
            let weight = weight.clamp(0, left);
            left -= weight;
            if weight > 0 {
                list.push(Wish { kind, at, term, weight });
            }
        };
        for (at, one) in affinity.pod_preferred.iter().enumerate() {
            add(Kind::Near, at, self.meanings.term(&one.term, pod), one.weight.into());
        }
        for (at, one) in affinity.anti_preferred.iter().enumerate() {
            add(Kind::Apart, at, self.meanings.term(&one.term, pod), one.weight.into());
        }
        for (at, one) in pod.spec.topology_spread.iter().enumerate().filter(|(_, one)| !one.hard) {
            if Meanings::counts_any(one, pod) {
                let term = self.meanings.spread_term(one, pod);
                add(Kind::Level { max_skew: one.max_skew.into() }, at, term, PREFERENCE_SPREAD_WEIGHT);
            }
        }
        list
    }
}

/// What a wish costs where it is not met, in micro-dollars per hour and pod.
fn fine(problem: &Problem<'_>, group: &Group<'_>, wish: &Wish) -> i64 {
    let share = share_of_worth(worth(problem, group), wish.weight);
    let over_domains =
        matches!(wish.kind, Kind::Level { .. }) && problem.wished.key(wish) != labels::HOSTNAME;
    if over_domains { share } else { share / PREFERENCE_BESIDE_DIVISOR }
}

/// Notes for each group the first preferred spread over zones that counts its own pods and those of no other group, if nothing
/// else is said of its zones and every bin has one: the one by which the bound splits it.
pub(crate) fn find_splits<'a>(
    snapshot: &'a Snapshot,
    wished: &Wished<'a>,
    constraints: &mut Constraints<'a>,
    groups: &mut [Group<'_>],
) {
    let zoned = snapshot.nodes.iter().all(|node| node.labels.contains_key(labels::ZONE));
    // A group that is split might use a NodePool of less weight in some zones.
    let weights: BTreeSet<i32> = snapshot.node_pools.iter().map(|pool| pool.weight).collect();
    if wished.is_empty() || !zoned || weights.len() > 1 {
        return;
    }
    let hostname = constraints.meanings.key_number(labels::HOSTNAME);
    let far = |term: &&Term| Some(term.key) != hostname;
    let mut looked: BTreeSet<u32> = constraints.bound.repelled_beyond(hostname).collect();
    let mut meant = vec![0_usize; wished.meanings.selectors.len()];
    for group in groups.iter() {
        looked.extend(group.wants.terms.all().filter(far).map(|term| term.selector));
        group.wishes.meant.iter().for_each(|selector| meant[selector] += 1);
    }
    let private = |wishes: &Wishes| {
        wishes.list.iter().position(|wish| {
            let selector = wish.term.selector as usize;
            matches!(wish.kind, Kind::Level { .. })
                && wished.key(wish) == labels::ZONE
                && wishes.meant.has(selector)
                && meant[selector] == 1
        })
    };
    let mut any = false;
    for group in groups {
        let terms = &group.wants.terms;
        let free =
            !terms.all().any(|term| far(&term)) && !looked.iter().any(|one| terms.meant.has(*one as usize));
        group.wish_split = private(&group.wishes).filter(|_| free);
        any |= group.wish_split.is_some();
    }
    if any {
        constraints.meanings.key(labels::ZONE);
    }
}

/// The place of a bin in the domains of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Domain<'p> {
    /// Nodes with this value.
    Value(&'p str),
    /// The hostname of a launch, by its position.
    Launch(usize),
}

/// Pods that a selector means, by domain of a key.
type Counts<'p> = BTreeMap<Domain<'p>, i64>;

impl<'a> Problem<'a> {
    /// Topology keys that pods of groups name in their wishes.
    pub(crate) fn wish_keys(&self) -> BTreeSet<&'a str> {
        let wishes = self.groups.iter().flat_map(|group| &group.wishes.list);
        wishes.map(|wish| self.wished.key(wish)).collect()
    }

    /// Price of what pods prefer about others and a placement does not give them, in micro-dollars per hour.
    pub(crate) fn unwished(&self, placement: &Placement) -> i64 {
        if self.wished.is_empty() {
            return 0;
        }
        let wishes = self.groups.iter().flat_map(|group| &group.wishes.list);
        let asked: BTreeSet<(u32, u32)> = wishes.map(|wish| (wish.term.selector, wish.term.key)).collect();
        let mut planned: BTreeMap<(u32, u32), Counts<'_>> = BTreeMap::new();
        // Pods of a whole group by domain, for each of its wishes: `None` where the key is missing.
        let mut there: BTreeMap<(u32, usize), BTreeMap<Option<Domain<'_>>, i64>> = BTreeMap::new();
        let mut whole: BTreeMap<u32, &Group<'_>> = BTreeMap::new();
        for (bin, g, pods) in self.bins(placement) {
            let group = &self.groups[g as usize];
            whole.insert(group.whole[0], group);
            for (selector, key) in asked.iter().filter(|one| group.wishes.meant.has(one.0 as usize)) {
                if let Some(domain) = self.domain(bin, *key) {
                    *planned.entry((*selector, *key)).or_default().entry(domain).or_default() += pods;
                }
            }
            for (at, wish) in group.wishes.list.iter().enumerate() {
                let domain = self.domain(bin, wish.term.key);
                *there.entry((group.whole[0], at)).or_default().entry(domain).or_default() += pods;
            }
        }
        let none = Counts::new();
        let mut total = 0_i64;
        for ((first, at), domains) in there {
            let group = whole[&first];
            let wish = &group.wishes.list[at];
            let planned = planned.get(&(wish.term.selector, wish.term.key)).unwrap_or(&none);
            let running = self.running(group, wish);
            let own = i64::from(group.wishes.meant.has(wish.term.selector as usize));
            let meant = |domain: &Domain<'_>| {
                planned.get(domain).copied().unwrap_or(0) + running.get(domain).copied().unwrap_or(0)
            };
            // A new node is always an empty one.
            let level = if self.wished.key(wish) == labels::HOSTNAME {
                None
            } else {
                running.keys().map(meant).min()
            };
            let unmet = |(domain, pods): (Option<Domain<'_>>, i64)| match (wish.kind, domain) {
                (Kind::Apart, None) => 0,
                (_, None) => pods,
                (Kind::Near, Some(domain)) => {
                    if meant(&domain) > own {
                        0
                    } else {
                        pods
                    }
                }
                (Kind::Apart, Some(domain)) => {
                    if meant(&domain) > own {
                        pods
                    } else {
                        0
                    }
                }
                (Kind::Level { max_skew }, Some(domain)) => {
                    (meant(&domain) - level.unwrap_or(0) - max_skew).clamp(0, pods)
                }
            };
            let unmet: i64 = domains.into_iter().map(unmet).sum();
            total = total.saturating_add(fine(self, group, wish).saturating_mul(unmet));
        }
        total
    }

    /// Price of the launches of a placement and of everything it leaves unmet, in micro-dollars per hour.
    pub(crate) fn whole_cost(&self, placement: &Placement) -> i64 {
        let known = placement.price(self).saturating_add(placement.missed(self));
        known.saturating_add(self.unwished(placement))
    }

    /// Pods on nodes that a wish counts, by domain. Of one for level domains other than hostnames: all the domains, those of
    /// nodes and offerings that select the pods and whose taints they tolerate, and no others.
    fn running(&self, group: &Group<'_>, wish: &Wish) -> Counts<'_> {
        let name = self.wished.key(wish);
        let spec = self.spec(group);
        let all = matches!(wish.kind, Kind::Level { .. }) && name != labels::HOSTNAME;
        let on_nodes = self.wished.running.get(&wish.term.selector);
        let mut counts = Counts::new();
        for (at, node) in self.snapshot.nodes.iter().enumerate() {
            let Some(value) = node.labels.get(name) else { continue };
            let label = |key: &str| node.labels.get(key).map(String::as_str);
            let counts_here = !all
                || selects(spec, &label, Some(&node.name))
                    && tolerates_all(&spec.tolerations, &lasting_taints(self.snapshot, node));
            let pods = on_nodes.and_then(|on_nodes| on_nodes.get(&at)).copied().unwrap_or(0);
            if counts_here && (all || pods > 0) {
                *counts.entry(Domain::Value(value)).or_default() += pods;
            }
        }
        for (at, signature) in self.signatures.iter().enumerate().filter(|_| all) {
            let Some(value) = self.label_of(at, name) else { continue };
            let label = |key: &str| self.label_of(at, key);
            let taints = &self.snapshot.node_pools[signature.pool as usize].taints;
            if !counts.contains_key(&Domain::Value(value))
                && selects(spec, &label, None)
                && tolerates_all(&spec.tolerations, taints)
            {
                counts.insert(Domain::Value(value), 0);
            }
        }
        counts
    }

    /// How a group is split over zones by a wish: the zones, the split, and pods for each.
    pub(crate) fn wish_split(&self, g: usize, at: usize) -> (Vec<String>, Split, Vec<i64>) {
        let group = &self.groups[g];
        let wish = &group.wishes.list[at];
        let Kind::Level { max_skew } = wish.kind else { unreachable!("only spreads split a group") };
        let key = self.constraints.meanings.key_number(labels::ZONE).unwrap_or_default();
        let running = self.running(group, wish);
        let zones: Vec<String> = running
            .keys()
            .map(|domain| match domain {
                Domain::Value(zone) => (*zone).to_owned(),
                Domain::Launch(_) => String::new(),
            })
            .collect();
        let split = Split {
            running: running.into_values().collect(),
            max_skew,
            min_domains: 1,
            fine: Some(fine(self, group, wish)),
        };
        let places: Vec<(i64, f64)> = zones.iter().map(|zone| self.place(g, key, zone)).collect();
        let room: Vec<i64> = places.iter().map(|(room, _)| *room).collect();
        let prices: Vec<f64> = places.iter().map(|(_, price)| price / 1e6).collect();
        let most = room.iter().copied().fold(0, i64::saturating_add).min(group.demand);
        let mut quotas = split.cheapest(most, &room, &prices).unwrap_or_else(|| vec![0; zones.len()]);
        // What has no room is left out like pods of other groups.
        let rest = group.demand - quotas.iter().sum::<i64>();
        if let Some(first) = quotas.first_mut() {
            *first += rest;
        }
        (zones, split, quotas)
    }

    /// Bins of a placement with the groups on them.
    fn bins<'p>(&self, placement: &'p Placement) -> impl Iterator<Item = (Bin, u32, i64)> + use<'p, '_, 'a> {
        let new = placement.launches.iter().enumerate().flat_map(move |(at, (offering, pattern))| {
            let bin = Bin::New { at, signature: self.offerings[*offering].signature as usize };
            pattern.iter().map(move |(g, pods)| (bin, *g, *pods))
        });
        let old = placement.existing.iter().flat_map(move |(bin, pattern)| {
            let bin = Bin::Old(self.existing[*bin].node);
            pattern.iter().map(move |(g, pods)| (bin, *g, *pods))
        });
        new.chain(old)
    }

    fn domain(&self, bin: Bin, key: u32) -> Option<Domain<'_>> {
        let name = self.wished.meanings.keys[key as usize];
        match bin {
            Bin::New { at, .. } if name == labels::HOSTNAME => Some(Domain::Launch(at)),
            Bin::New { signature, .. } => self.label_of(signature, name).map(Domain::Value),
            Bin::Old(node) => self.snapshot.nodes[node].labels.get(name).map(|value| Domain::Value(value)),
        }
    }

    /// Value of a label on the nodes of a signature.
    fn label_of(&self, signature: usize, name: &str) -> Option<&str> {
        let at = self.label_keys.binary_search_by(|have| have.as_str().cmp(name)).ok()?;
        self.signatures[signature].values[at].as_deref()
    }
}

/// A bin of a placement.
#[derive(Clone, Copy, Debug)]
enum Bin {
    New { at: usize, signature: usize },
    Old(usize),
}
