//! Plans that meet what pods prefer about others.
//!
//! Where the plan that knows only those in the model leaves too much unmet, one is made as if there were none, and the others are
//! tried as if they were required: those over domains first, then those about single nodes where there are nodes enough. Each plan is priced with what it
//! leaves unmet, and the cheapest is taken. The bound is that of the model, because no price of a preference is below zero.

use super::{Kind, Wish};
use crate::Moment;
use crate::adopt::{self, Foreign};
use crate::certificate::row_names;
use crate::engine::{self, Found, Run};
use crate::extract;
use crate::placement::Placement;
use crate::problem::{Group, Problem};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{PodRef, PodSpec};
use stowage_models::plan::Certificate;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// What the plan with the wishes in the model may take of the time.
const MODEL_SHARE: f64 = 0.6;
/// Attempts to require preferences: pods that find no place so are spared in the next.
const TRIES: usize = 2;

/// A plan, and the problem as it left it.
struct Candidate<'a> {
    problem: Problem<'a>,
    found: Found,
    /// Pods without a place, then price of nodes and of everything unmet.
    rank: (i64, i64),
}

impl<'a> Candidate<'a> {
    fn new(problem: Problem<'a>, found: Found) -> Candidate<'a> {
        let blocked: i64 = problem.blocked.iter().map(|blocked| blocked.pods).sum();
        let left: i64 = found.placement.left.iter().sum();
        let rank = (left + blocked, problem.whole_cost(&found.placement));
        Candidate { problem, found, rank }
    }

    fn is_good_enough(&self) -> bool {
        let (left, cost) = self.rank;
        left == 0 && Ppm::gap(UsdMicros(cost), self.found.bound) <= self.problem.policy.gap
    }
}

/// Plans a problem, preferences about other pods included.
pub(crate) fn plan(problem: &mut Problem<'_>, run: &mut Run<'_>) -> Found {
    if problem.wished.is_empty() {
        return engine::plan(problem, run);
    }
    let mut plain = problem.clone();
    run.time = run.limits.time.mul_f64(MODEL_SHARE);
    let found = engine::plan(&mut plain, run);
    run.time = run.limits.time;
    let mut best = Candidate::new(plain, found);
    for attempt in [Attempt::Plain, Attempt::Domains, Attempt::Nodes] {
        if best.is_good_enough() || run.stopped().is_some() {
            break;
        }
        let wanted = attempt.required(problem, &best.found.placement);
        if wanted.is_empty() && attempt != Attempt::Plain {
            continue;
        }
        if let Some(candidate) =
            granted(problem, attempt, wanted, &best, run).filter(|one| one.rank < best.rank)
        {
            best = candidate;
        }
    }
    let Candidate { problem: chosen, found, rank } = best;
    *problem = chosen;
    run.note("preferences", Some(rank.1), found.bound.0 as f64 / 1e6);
    found
}

/// What is required of the pods of a group, by the first of them and the wish's position.
type Required = BTreeSet<(u32, usize)>;

/// The proof of a plan for another one that places the same pods, all of them: only how split groups are split differs, and the
/// bound is about all splits.
fn proof_of(found: &Found, before: &Problem<'_>, after: &Problem<'_>) -> Option<Certificate> {
    let weights =
        |problem: &Problem<'_>| -> Vec<i32> { problem.groups.iter().map(|group| group.min_weight).collect() };
    if weights(before) != weights(after) {
        return None;
    }
    let demand = after.groups.iter().map(|group| group.demand);
    let pods: BTreeMap<_, i64> = row_names(after).into_iter().zip(demand).collect();
    let mut certificate = found.certificate.clone();
    for row in &mut certificate.rows {
        row.pods = u64::try_from(*pods.get(&(row.pod.clone(), row.domain.clone()))?).ok()?;
    }
    Some(certificate)
}

/// What is tried beside the model's own plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// Nobody wishes anything: a split may cost small groups more nodes than the model's prices for single pods say.
    Plain,
    /// Wishes over domains are required.
    Domains,
    /// Those over hostnames, too.
    Nodes,
}

impl Attempt {
    /// The wishes to require.
    fn required(self, problem: &Problem<'_>, placement: &Placement) -> Required {
        let bins = (placement.launches.len() + placement.existing.len()) as i64;
        let mut required = Required::new();
        for group in problem.groups.iter().filter(|_| self != Attempt::Plain) {
            for (at, wish) in group.wishes.list.iter().enumerate() {
                let each = match wish.kind {
                    Kind::Near => i64::MAX,
                    Kind::Apart => 1,
                    Kind::Level { max_skew } => max_skew.max(0),
                };
                // Where there are too few nodes to be apart on, more of them would cost more than the wish is worth.
                let room = self == Attempt::Nodes && bins.saturating_mul(each) >= group.whole.len() as i64;
                let is_hostname = problem.wished.key(wish) == labels::HOSTNAME;
                if group.wish_split != Some(at) && (!is_hostname || room) {
                    required.insert((group.whole[0], at));
                }
            }
        }
        required
    }
}

/// A plan that meets what is required, as far as that leaves no pod without a place.
fn granted<'a>(
    problem: &Problem<'a>,
    attempt: Attempt,
    mut wanted: Required,
    best: &Candidate<'a>,
    run: &mut Run<'_>,
) -> Option<Candidate<'a>> {
    for _ in 0..TRIES {
        let snapshot = hardened(problem, attempt, &wanted);
        let mut quiet = |_: &Moment| {};
        let mut inner = Run::new(run.limits, &mut quiet);
        inner.time = run.limits.time.saturating_sub(run.elapsed()) / 2;
        let prepared = problem.prepared.for_variant();
        let pool = problem.pool.clone();
        let hard = Problem::prepared(&snapshot, problem.catalog, problem.policy, pool, prepared);
        let mut hard = hard.ok()?;
        let found = engine::plan(&mut hard, &mut inner);
        run.iterations += inner.iterations;
        run.faults.append(&mut inner.faults);
        let plan = extract::plan(&hard, &found, &[]);
        let left: BTreeSet<&PodRef> = plan.unplaced.iter().flat_map(|entry| &entry.pods).collect();
        let stuck: BTreeSet<u32> = problem
            .groups
            .iter()
            .filter(|group| group.whole.iter().any(|pod| left.contains(&problem.pod_ref(*pod))))
            .map(|group| group.whole[0])
            .collect();
        if stuck.is_empty() {
            let mut own = problem.clone();
            let placement = adopt::place(&mut own, &Foreign::of(&plan)).ok()?;
            own.open_weights(&placement);
            let known = (best.rank.0 == 0).then(|| proof_of(&best.found, &best.problem, &own)).flatten();
            let found = match known {
                Some(certificate) => Found {
                    placement,
                    certificate,
                    bound: best.found.bound,
                    undominated: best.found.undominated,
                    stop: best.found.stop,
                },
                None => engine::certify_fixed(&own, placement, run),
            };
            return Some(Candidate::new(own, found));
        }
        let before = wanted.len();
        wanted.retain(|(first, _)| !stuck.contains(first));
        if wanted.len() == before {
            break;
        }
    }
    None
}

/// The snapshot with some wishes as requirements, and without the others but those in the model, as the attempt says.
fn hardened(problem: &Problem<'_>, attempt: Attempt, wanted: &Required) -> Snapshot {
    let mut snapshot = problem.snapshot.clone();
    // A group that is split over domains is several with the same pods.
    let whole: BTreeMap<u32, &Group<'_>> =
        problem.groups.iter().map(|group| (group.whole[0], group)).collect();
    for (first, group) in whole {
        let kept = group.wish_split.filter(|_| attempt != Attempt::Plain);
        let kept = kept.map(|at| group.wishes.list[at].at);
        let granted: Vec<&Wish> =
            wanted.range((first, 0)..=(first, usize::MAX)).map(|(_, at)| &group.wishes.list[*at]).collect();
        for pod in group.whole.iter() {
            let PodSpec { affinity, topology_spread, .. } = &mut *snapshot.pods[*pod as usize].spec;
            for wish in &granted {
                match wish.kind {
                    Kind::Near => affinity.pod_required.push(affinity.pod_preferred[wish.at].term.clone()),
                    Kind::Apart => affinity.anti_required.push(affinity.anti_preferred[wish.at].term.clone()),
                    Kind::Level { .. } => topology_spread[wish.at].hard = true,
                }
            }
            affinity.pod_preferred.clear();
            affinity.anti_preferred.clear();
            let mut at = 0..;
            topology_spread.retain(|spread| at.next() == kept || spread.hard);
        }
    }
    snapshot
}
