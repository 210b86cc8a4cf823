//! Static NodePools (`replicas`): as many nodes as they say, needed or not.
//!
//! For the planner a node that is missing is a pod that asks for a node of the pool to itself, and the pool launches for nobody else: its label
//! and its taint for that are in plans only. What is launched so is counted here, not matched with pods. A pool with too many nodes gives some
//! back as Karpenter does: machines that never came first, then empty nodes, then those with the fewest pods; they are drained like any
//! other, so PodDisruptionBudgets hold.

use crate::claims;
use crate::renewals;
use crate::request::{Key, Reason, Request, Verb};
use crate::returns;
use crate::settings::Mode;
use crate::state::State;
use crate::view::{Claim, Drain, Observation};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::consolidation::NodeReason;
use stowage_models::labels;
use stowage_models::objects::{Container, NodePool, Pod, PodRef, PodSpec, Taint, TaintEffect, Toleration};
use stowage_models::snapshot::Snapshot;

/// Label and taint, in plans only, of nodes that a static pool launches.
pub const STATIC_POOL: &str = "stowage.dev/static-pool";
/// Namespace of pods that stand for missing nodes: no namespace can be called so.
const NOWHERE: &str = "stowage.dev";
/// Nodes of a pool launched by one plan at most.
const LAUNCHES_MAX: i64 = 1_000;

/// What stands for a pool where it is remembered when it is worth planning again.
pub(crate) fn key(pool: &str) -> String {
    format!("static/{pool}")
}

/// Whether it is one of these.
pub(crate) fn is_key(uid: &str) -> bool {
    uid.starts_with("static/")
}

/// Nodes of a pool that are there or on their way and do not go. While a machine starts, nothing tells whether a node without a claim is its
/// own: such nodes are counted where more of them are launched if they are not (`generous`), and left out where others are given back.
fn present(state: &State, seen: &Observation, pool: &str, generous: bool) -> i64 {
    let claims = || seen.claims.values().filter(|claim| claim.pool == pool);
    let unclear = !generous && claims().any(|claim| claim.instance.is_none());
    let claimed: BTreeSet<&str> = claims().filter_map(|claim| claim.instance.as_deref()).collect();
    let bare = seen.nodes.values().filter(|node| {
        !unclear
            && node.labels.get(labels::NODEPOOL).is_some_and(|name| name == pool)
            && !node.deleting
            // One that has just joined is that of a claim, which is counted; and so is one of which nobody knows the machine yet.
            && node.taints.iter().all(|taint| taint.key != labels::TAINT_UNREGISTERED)
            && node.instance.as_deref().is_some_and(|instance| !claimed.contains(instance))
    });
    let drafts = state.drafts.values().filter(|(draft, _)| draft.intent.pool == pool);
    let count = claims().filter(|claim| !claim.deleting).count() + bare.count() + drafts.count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether machines of a pool were asked for and are not there yet.
pub(crate) fn are_coming(state: &State, seen: &Observation, pool: &str) -> bool {
    state.drafts.values().any(|(draft, _)| draft.intent.pool == pool)
        || seen.claims.values().any(|claim| claim.pool == pool && !claim.deleting && claim.instance.is_none())
}

/// Nodes that static pools lack, by pool.
pub(crate) fn missing(state: &State, seen: &Observation) -> BTreeMap<String, i64> {
    let lack = |(pool, replicas): (&String, &i64)| {
        let missing = lacking(state, seen, pool, *replicas, 0);
        (missing > 0).then(|| (pool.clone(), missing))
    };
    seen.statics.iter().filter_map(lack).collect()
}

/// The same with what is to be proposed, and the nodes that are to be given back in its stead, by claim.
pub(crate) fn wanted(
    state: &State,
    seen: &Observation,
) -> (BTreeMap<String, i64>, BTreeMap<String, NodeReason>) {
    returns::proposed(state, seen, missing(state, seen))
}

/// Nodes that a pool lacks, with so many more in the place of others.
pub(crate) fn lacking(state: &State, seen: &Observation, pool: &str, replicas: i64, instead: i64) -> i64 {
    let wanted = replicas.saturating_add(renewals::extra(state, seen, pool)).saturating_add(instead);
    wanted.saturating_sub(present(state, seen, pool, true)).clamp(0, LAUNCHES_MAX)
}

pub(crate) fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

/// Gives nodes back that static pools have too many of.
pub(crate) fn trim(state: &mut State, seen: &Observation, requests: &mut Vec<Request>) {
    let review = state.settings.mode == Mode::Review;
    // What is taken away is drained while there is time, and lacks from now on. In review, too: what goes by force waits for nobody there,
    // unless the rules say so.
    let may_force = !review || !state.settings.review.forced;
    for claim in seen.claims.values().filter(|claim| may_force && seen.statics.contains_key(&claim.pool)) {
        if claim.ours && !claim.deleting && claim.notices.is_final() {
            claims::give_up(state, seen, &claim.name, Reason::Interrupted, requests);
        }
    }
    for (pool, replicas) in &seen.statics {
        renew(state, seen, pool, *replicas, requests);
    }
    let asks = review && state.settings.review.removals;
    let approved: BTreeSet<String> = returns::approved(state, seen).into_iter().map(str::to_owned).collect();
    for (pool, replicas) in &seen.statics {
        for name in over(state, seen, pool, *replicas, |claim| !asks || approved.contains(&claim.name)) {
            claims::give_up(state, seen, &name, Reason::StaticScaleDown, requests);
        }
    }
}

/// Claims of nodes that a pool has too many of, of those that may go.
fn over(
    state: &State,
    seen: &Observation,
    pool: &str,
    replicas: i64,
    may: impl Fn(&Claim) -> bool,
) -> Vec<String> {
    // What is replaced, or is to be, goes before others do.
    let wanted = replicas.saturating_add(renewals::count(state, seen, pool));
    let surplus = present(state, seen, pool, false).saturating_sub(wanted);
    let ours = seen.claims.values().filter(|claim| claim.pool == pool && claim.ours && !claim.deleting);
    let told = |claim: &&Claim| {
        state.is_under_way(&Key { verb: Verb::DeleteClaim, object: claim.name.clone() }, seen.now)
    };
    // The view may be behind: who was told to go goes, and nobody in its place.
    let (going, ours): (Vec<&Claim>, Vec<&Claim>) = ours.partition(told);
    let surplus = usize::try_from(surplus).unwrap_or(0).saturating_sub(going.len());
    let mut candidates: Vec<(Rank, &Claim)> =
        ours.into_iter().filter(|claim| may(claim)).map(|claim| (rank(seen, claim), claim)).collect();
    candidates.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.name.cmp(&other.name)));
    candidates.into_iter().take(surplus).map(|(_, claim)| claim.name.clone()).collect()
}

/// Those of a pool that are too many and that nobody has approved to go.
pub(crate) fn surplus<'a>(state: &State, seen: &'a Observation, pool: &str, replicas: i64) -> Vec<&'a Claim> {
    let approved = returns::approved(state, seen);
    let all = over(state, seen, pool, replicas, |_| true).len();
    let pending = seen.claims.values().filter(|claim| claim.pool == pool && !claim.deleting);
    let pending = pending.filter(|claim| approved.contains(claim.name.as_str())).count();
    let names = over(state, seen, pool, replicas, |claim| !approved.contains(claim.name.as_str()));
    let names = names.iter().take(all.saturating_sub(pending));
    names.filter_map(|name| seen.claims.get(name)).collect()
}

/// Gives back what has to go and is replaced.
fn renew(state: &mut State, seen: &Observation, pool: &str, replicas: i64, requests: &mut Vec<Request>) {
    let told = |state: &State, name: &String| {
        state.is_under_way(&Key { verb: Verb::DeleteClaim, object: name.clone() }, seen.now)
    };
    let going = seen.claims.values().filter(|claim| claim.pool == pool && !claim.deleting);
    // The view may be behind: who was told to go is not ready for anything.
    let going = going.filter(|claim| told(state, &claim.name)).count();
    let going = i64::try_from(going).unwrap_or(i64::MAX);
    let due: Vec<(String, Reason)> = renewals::replaced(state, seen, pool, replicas.saturating_add(going))
        .into_iter()
        .map(|one| (one.claim.name.clone(), one.why))
        .collect();
    for (claim, why) in due {
        claims::give_up(state, seen, &claim, why, requests);
    }
}

/// Without a machine, without pods, without protected pods, few pods; the youngest first.
type Rank = (bool, bool, bool, usize, i64);

fn rank(seen: &Observation, claim: &Claim) -> Rank {
    let pods = drained(seen, claim);
    let protected = is_any_protected(seen, &pods);
    (claim.instance.is_some(), !pods.is_empty(), protected, pods.len(), -claim.created.0)
}

/// Whether pods would have to leave the node of a claim.
pub(crate) fn has_pods(seen: &Observation, claim: &Claim) -> bool {
    !drained(seen, claim).is_empty()
}

/// Whether a pod on the node of a claim must not be disrupted.
pub(crate) fn has_protected_pods(seen: &Observation, claim: &Claim) -> bool {
    is_any_protected(seen, &drained(seen, claim))
}

fn is_any_protected(seen: &Observation, pods: &[&Drain]) -> bool {
    pods.iter().any(|drain| drain.protected.is_some_and(|until| until > seen.now))
}

/// Pods that would have to leave the node of a claim.
fn drained<'a>(seen: &'a Observation, claim: &Claim) -> Vec<&'a Drain> {
    let node = claims::node_of(seen, claim.instance.as_deref().unwrap_or_default());
    let here = seen
        .pods
        .values()
        .filter(|pod| node.is_some_and(|node| pod.node.as_deref() == Some(&node.name)))
        .filter_map(|pod| pod.drain.as_ref())
        // Pods of DaemonSets make no node busy.
        .filter(|drain| drain.tier == 0 || drain.tier == 2);
    here.collect()
}

/// Pools that lack nodes as the planner sees them, with a pod for each node.
pub(crate) fn expand(snapshot: &mut Snapshot, missing: &BTreeMap<String, i64>) {
    for (name, missing) in missing {
        let there: BTreeSet<&str> = snapshot.nodes.iter().map(|node| node.name.as_str()).collect();
        let of_pool = |set: &stowage_models::selector::Labels| set.get(labels::NODEPOOL) == Some(name);
        let nodes = snapshot.nodes.iter().filter(|node| of_pool(&node.labels)).count();
        let claims = snapshot.node_claims.iter().filter(|claim| {
            of_pool(&claim.labels) && claim.node.as_deref().is_none_or(|node| !there.contains(node))
        });
        let used = i64::try_from(nodes + claims.count()).unwrap_or(i64::MAX);
        let pools = snapshot.node_pools.iter_mut();
        let Some(pool) = pools.filter(|pool| !pool.deleting).find(|pool| pool.name == *name) else {
            continue;
        };
        if pool.replicas.take().is_none() {
            continue;
        }
        let most = used.saturating_add(*missing);
        let limit = pool.limits.0.get("nodes").map_or(most, |limit| most.min(*limit));
        pool.limits.0.insert("nodes".to_owned(), limit);
        pool.labels.insert(STATIC_POOL.to_owned(), name.clone());
        let (key, value) = (STATIC_POOL.to_owned(), name.clone());
        pool.taints.push(Taint { key, value, effect: TaintEffect::NoSchedule });
        snapshot.pods.extend((1..=*missing).map(|number| node_wanted(name, number)));
    }
}

/// Whether a pod of a plan stands for a node of a static pool; its uid, then.
#[must_use]
pub fn stand_in(pod: &PodRef, pool: &str) -> Option<String> {
    pod.0.split_once('/').is_some_and(|(namespace, _)| namespace == NOWHERE).then(|| key(pool))
}

/// A pool as it is written.
#[must_use]
pub fn as_written(pool: &NodePool) -> Cow<'_, NodePool> {
    if !pool.labels.contains_key(STATIC_POOL) {
        return Cow::Borrowed(pool);
    }
    let mut pool = pool.clone();
    pool.labels.remove(STATIC_POOL);
    pool.taints.retain(|taint| taint.key != STATIC_POOL);
    Cow::Owned(pool)
}

/// A pod that stands for a node.
fn node_wanted(pool: &str, number: i64) -> Pod {
    let tolerates = |key: &str| Toleration {
        key: key.to_owned(),
        operator: "Exists".to_owned(),
        ..Toleration::default()
    };
    // No container has port 0, so nobody else is in its way, and no two of them share a node.
    let alone = Container { host_ports: vec!["TCP/0.0.0.0/0".to_owned()], ..Container::default() };
    Pod {
        namespace: NOWHERE.to_owned(),
        name: format!("{pool}-{number}"),
        annotations: [(labels::BUFFER_POD.to_owned(), "true".to_owned())].into(),
        spec: PodSpec {
            containers: vec![alone],
            node_selector: [(STATIC_POOL.to_owned(), pool.to_owned())].into(),
            tolerations: vec![tolerates(STATIC_POOL), tolerates("")],
            priority: i32::MIN,
            ..PodSpec::default()
        }
        .into(),
        ..Pod::default()
    }
}

#[cfg(test)]
#[path = "statics_tests.rs"]
mod tests;
