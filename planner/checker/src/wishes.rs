//! What pods prefer about other pods, and what it costs them not to get it (formulation, section 1.10).

use crate::filters::scope::{Scope, Watch};
use crate::ledger::{Ledger, count};
use crate::nodes::NodeBin;
use crate::offerings::Kind;
use crate::preferences::share_of_worth;
use crate::problem::Problem;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels::HOSTNAME;
use stowage_models::objects::Pod;
use stowage_models::plan::{
    PREFERENCE_BESIDE_DIVISOR, PREFERENCE_SPREAD_WEIGHT, PREFERENCE_WEIGHT_MAX, Plan,
};
use stowage_models::quantity::Resources;
use stowage_models::snapshot::Snapshot;

/// What is preferred about the pods of a scope within a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    /// That another one is there.
    Near,
    /// That no other one is.
    Apart,
    /// That at most so many more are there than in the emptiest domain.
    Level(i32),
}

/// A preference about other pods.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Wish<'a> {
    pub(crate) key: &'a str,
    pub(crate) about: About,
    pub(crate) scope: usize,
    /// Of its weight what counts: all of a pod together count up to a maximum.
    weight: i64,
}

impl Wish<'_> {
    /// What it costs a pod with this request not to have it, in micro-dollars per hour.
    pub(crate) fn fine(&self, request: &Resources) -> i64 {
        let fine = share_of_worth(request, self.weight);
        let over_domains = matches!(self.about, About::Level(_)) && self.key != HOSTNAME;
        if over_domains { fine } else { fine / PREFERENCE_BESIDE_DIVISOR }
    }
}

/// Every wish of a pod as it is written, with the pods it means.
fn written(pod: &Pod) -> impl Iterator<Item = (About, &str, Scope<'_>, i64)> {
    let affinity = &pod.spec.affinity;
    let near = affinity.pod_preferred.iter().map(|one| (About::Near, one));
    let apart = affinity.anti_preferred.iter().map(|one| (About::Apart, one));
    let terms = near.chain(apart).map(move |(about, one)| {
        (about, one.term.topology_key.as_str(), Scope::of_term(&one.term, pod), i64::from(one.weight))
    });
    let spreads = pod.spec.topology_spread.iter().filter(|one| !one.hard).filter_map(move |one| {
        let scope = Scope::of_spread(one, pod);
        let about = About::Level(one.max_skew);
        (!scope.counts_none()).then_some((about, one.topology_key.as_str(), scope, PREFERENCE_SPREAD_WEIGHT))
    });
    terms.chain(spreads)
}

/// The scopes of all wishes of pods that wait.
pub(crate) fn scopes(snapshot: &Snapshot) -> BTreeSet<Scope<'_>> {
    let waiting = snapshot.pods.iter().filter(|pod| pod.is_pending());
    waiting.flat_map(|pod| written(pod).map(|(_, _, scope, _)| scope)).collect()
}

/// The wishes of a pod that count, with what counts of their weights.
pub(crate) fn stated<'a>(watch: &Watch<'a>, pod: &'a Pod) -> Vec<Wish<'a>> {
    let mut rest = PREFERENCE_WEIGHT_MAX;
    let wishes = written(pod).filter_map(|(about, key, scope, weight)| {
        let weight = weight.clamp(0, rest);
        rest -= weight;
        let scope = watch.scope(&scope)?;
        (weight > 0).then_some(Wish { key, about, scope, weight })
    });
    wishes.collect()
}

/// A domain: a value of the key, or the hostname a launch will have, by its position.
type Domain<'p> = Result<&'p str, usize>;

/// A bin of the plan.
#[derive(Clone, Copy)]
enum Bin<'p> {
    Launch(usize, &'p Kind),
    Node(&'p NodeBin<'p>),
}

fn domain<'p>(problem: &'p Problem<'_>, bin: Bin<'p>, key: &str) -> Option<Domain<'p>> {
    match bin {
        Bin::Launch(at, _) if key == HOSTNAME => Some(Err(at)),
        Bin::Launch(_, kind) => kind_value(problem, kind, key).map(Ok),
        Bin::Node(node) => node.node.labels.get(key).map(|value| Ok(value.as_str())),
    }
}

fn kind_value<'p>(problem: &'p Problem<'_>, kind: &Kind, key: &str) -> Option<&'p str> {
    let at = problem.topology.binary_search(&key).ok()?;
    problem.offerings.classes[kind.class].domains[at].as_deref()
}

/// Pods of the plan of one scope by domain of one key.
fn planned<'p>(
    problem: &'p Problem<'_>,
    bins: &[(Bin<'p>, BTreeMap<usize, u64>)],
    (scope, key): (usize, &str),
) -> BTreeMap<Domain<'p>, i64> {
    let mut planned: BTreeMap<Domain<'p>, i64> = BTreeMap::new();
    let means = |group: usize| problem.pods.wishes.means(problem.pods.groups[group].wish_class)[scope];
    for (bin, counts) in bins {
        let pods: u64 = counts.iter().filter(|(group, _)| means(**group)).map(|(_, pods)| pods).sum();
        if let Some(domain) = domain(problem, *bin, key).filter(|_| pods > 0) {
            *planned.entry(domain).or_default() += i64::try_from(pods).unwrap_or(i64::MAX);
        }
    }
    planned
}

/// Pods on nodes of a scope by value of a key. Spread constraints do not count pods that are being deleted.
fn running<'p>(problem: &'p Problem<'_>, wish: &Wish<'_>) -> BTreeMap<Domain<'p>, i64> {
    let mut running: BTreeMap<Domain<'p>, i64> = BTreeMap::new();
    let all = !matches!(wish.about, About::Level(_));
    for (node, class, leaving) in &problem.pods.beside {
        let counts = problem.pods.wishes.means(*class)[wish.scope] && (all || !leaving);
        if let Some(value) = node.labels.get(wish.key).filter(|_| counts) {
            *running.entry(Ok(value)).or_default() += 1;
        }
    }
    running
}

/// The price of all wishes that the plan leaves unmet, in micro-dollars per hour.
pub(crate) fn price(problem: &Problem<'_>, plan: &Plan, ledger: &Ledger) -> i128 {
    let mut bins: Vec<(Bin<'_>, BTreeMap<usize, u64>)> = Vec::new();
    for (at, (counts, kind)) in ledger.launch_groups.iter().zip(&ledger.launch_kind).enumerate() {
        if let Some(kind) = kind {
            bins.push((Bin::Launch(at, &problem.offerings.kinds[*kind]), counts.clone()));
        }
    }
    for stated in &plan.existing {
        if let Some(node) = problem.node(&stated.name) {
            bins.push((Bin::Node(node), count(problem, &stated.pods)));
        }
    }
    let mut total = 0;
    for (number, group) in problem.pods.groups.iter().enumerate() {
        for (at, wish) in group.wishes.iter().enumerate() {
            let mut own: BTreeMap<Option<Domain<'_>>, i64> = BTreeMap::new();
            for (bin, counts) in &bins {
                if let Some(pods) = counts.get(&number) {
                    let pods = i64::try_from(*pods).unwrap_or(i64::MAX);
                    *own.entry(domain(problem, *bin, wish.key)).or_default() += pods;
                }
            }
            if own.is_empty() {
                continue;
            }
            let planned = planned(problem, &bins, (wish.scope, wish.key));
            let leveled = matches!(wish.about, About::Level(_)) && wish.key != HOSTNAME;
            let running: BTreeMap<Domain<'_>, i64> = if leveled {
                let domains = problem.levels[number][at].iter();
                domains
                    .map(|(name, pods)| (Ok(name.as_str()), i64::try_from(*pods).unwrap_or(i64::MAX)))
                    .collect()
            } else {
                running(problem, wish)
            };
            let count = |domain: &Domain<'_>| {
                planned.get(domain).copied().unwrap_or(0) + running.get(domain).copied().unwrap_or(0)
            };
            // Of hostnames there is always another one.
            let least = if leveled { running.keys().map(count).min().unwrap_or(0) } else { 0 };
            let itself = i64::from(problem.pods.wishes.means(group.wish_class)[wish.scope]);
            let fine = i128::from(wish.fine(&group.request));
            for (domain, pods) in own {
                let unmet = match (wish.about, domain.map(|domain| count(&domain))) {
                    (About::Near, Some(there)) if there > itself => 0,
                    (About::Apart, Some(there)) if there <= itself => 0,
                    (About::Apart, None) => 0,
                    (About::Level(skew), Some(there)) => (there - least - i64::from(skew)).clamp(0, pods),
                    _ => pods,
                };
                total += fine * i128::from(unmet);
            }
        }
    }
    total
}
