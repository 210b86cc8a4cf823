//! Consolidation: which nodes to keep, which to remove, and what to launch in their stead, decided for all of them at once
//! (`docs/formulation.md` section 5).
//!
//! ```text
//! rules and budgets -> what may go          (rules, budgets)
//! every pod that may move also waits        (states, model)
//! fluid relaxation -> prices of pods        (relaxed)
//! local search over sets of nodes           (search, state)
//! given the removals, an ordinary plan      (the engine)
//! certificate of the whole, order in waves  (prove, waves)
//! ```

mod budgets;
mod departures;
mod model;
mod prove;
mod relaxed;
mod rules;
mod search;
mod spot;
mod state;
mod states;
mod waves;

use crate::adopt::{Foreign, ForeignLaunch, adopt};
use crate::offerings::CAPACITY_TYPES;
use crate::problem::Problem;
use crate::{Limits, Moment, PlanError, Planned, check_policy, plan, threads};
use budgets::{Allowances, Ledger};
use model::Model;
use rayon::ThreadPool;
use rules::{Kept, Verdict, pod_weight};
use search::Search;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{
    Consolidation, ConsolidationPolicy, ConsolidationSummary, Move, NodeDecision, NodeReason, WEIGHT_ONE,
    Wave,
};
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, Policy, SnapshotRef};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use waves::Schedule;

/// Share of the time the search over removals may take; the rest is for the plan of the launches and the proof.
const SEARCH_SHARE: f64 = 0.5;

/// Plans without the removals that replace spot by spot with too few types to choose from, at most: then nothing goes for its cost.
const SPOT_ROUNDS_MAX: usize = 4;

/// Plans the pods that wait and consolidates the nodes that exist, as `policy.consolidation` says (by default, if it is absent).
///
/// `observer` is called while the launches are planned, on the calling thread.
///
/// # Errors
/// [`PlanError`] when the input cannot be planned at all.
pub fn consolidate(
    snapshot: &Snapshot,
    catalog: &Catalog,
    policy: &Policy,
    limits: &Limits,
    observer: &mut dyn FnMut(&Moment),
) -> Result<Planned, PlanError> {
    check_policy(policy)?;
    let wanted = policy.consolidation.clone().unwrap_or_default();
    check_wanted(snapshot, &wanted)?;
    let policy = Policy { consolidation: Some(wanted.clone()), ..policy.clone() };
    let mut job =
        Job { snapshot, catalog, policy: &policy, wanted: &wanted, limits, start: (limits.clock)() };
    job.run(observer)
}

fn check_wanted(snapshot: &Snapshot, wanted: &ConsolidationPolicy) -> Result<(), PlanError> {
    if wanted.horizon_minutes == 0 {
        return Err(PlanError::Policy(
            "the horizon of consolidation is zero; it is at least a minute".to_owned(),
        ));
    }
    if wanted.eviction_cost.0 < 0 || wanted.removal_cost.0 < 0 || wanted.savings_threshold.0 < 0 {
        return Err(PlanError::Policy("costs and threshold of consolidation are not negative".to_owned()));
    }
    if let Some(name) =
        wanted.node_pools.iter().find(|name| snapshot.node_pools.iter().all(|p| p.name != **name))
    {
        let names: Vec<&str> = snapshot.node_pools.iter().map(|pool| pool.name.as_str()).collect();
        return Err(PlanError::Policy(format!(
            "there is no NodePool {name} to consolidate; the snapshot has: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        )));
    }
    Ok(())
}

/// One run.
struct Job<'a> {
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
    policy: &'a Policy,
    wanted: &'a ConsolidationPolicy,
    limits: &'a Limits,
    start: Duration,
}

/// What is known before it.
struct Scene<'a> {
    verdicts: &'a [Verdict],
    ledger: &'a Ledger,
    allowances: &'a Allowances<'a>,
    /// Nodes that have to go and do.
    departing: &'a BTreeSet<usize>,
}

/// What is known after the search over removals.
struct Choice {
    removed: BTreeSet<usize>,
    /// Launches and places of it, for [`adopt`].
    foreign: Foreign,
    /// Price of its launches.
    launch_cost: i64,
    /// What all that is decided here costs if nothing is removed for its cost.
    baseline: i64,
}

/// What came of planning with all nodes gone that have to go.
enum Attempt {
    /// It can be carried out.
    Planned(Box<Planned>),
    /// Pods of these nodes have no other place.
    NoPlace(BTreeMap<usize, PodRef>),
    /// Limits and budgets leave no order in which all of them can go.
    NoOrder,
}

/// Removals, the plan, moves and waves.
type Candidate = (BTreeSet<usize>, Planned, Vec<Move>, Vec<Wave>);

impl Job<'_> {
    fn elapsed(&self) -> Duration {
        (self.limits.clock)().saturating_sub(self.start)
    }

    /// Limits for a part of the work, with what is left of the time but at least `least`.
    fn rest(&self, least: f64) -> Limits {
        let left = self.limits.time.saturating_sub(self.elapsed());
        Limits { time: left.max(self.limits.time.mul_f64(least)), ..self.limits.clone() }
    }

    fn run(&mut self, observer: &mut dyn FnMut(&Moment)) -> Result<Planned, PlanError> {
        let pool = threads(self.limits.threads)?;
        let (fresh, ledger) = rules::assess(self.snapshot, self.catalog, self.wanted);
        let mut deferred = 0;
        let mut without_place: BTreeMap<usize, PodRef> = BTreeMap::new();
        loop {
            let mut verdicts = fresh.clone();
            for (node, pod) in &without_place {
                let message = format!("it can go when pod {pod} has another place");
                verdicts[*node].kept = Some(Kept::new(NodeReason::Deferred, message));
            }
            let going = defer(&mut verdicts, deferred);
            let is_last = going == 0;
            match self.attempt(&pool, &mut verdicts, &ledger, observer)? {
                Attempt::Planned(planned) => return Ok(*planned),
                // They alone wait, not whoever has to go beside them.
                Attempt::NoPlace(nodes) => without_place.extend(nodes),
                // Those that go by force alone are too many: the rules forbid what they ask for.
                Attempt::NoOrder if is_last => return Err(PlanError::NoOrder),
                // There is no order in which all of these can go: the most pressing half alone, then.
                Attempt::NoOrder => deferred += going - going / 2,
            }
        }
    }

    /// A plan in which the nodes go that have to, or why there is none.
    fn attempt(
        &self,
        pool: &Arc<ThreadPool>,
        verdicts: &mut [Verdict],
        ledger: &Ledger,
        observer: &mut dyn FnMut(&Moment),
    ) -> Result<Attempt, PlanError> {
        let twins = model::settle(self.snapshot, self.catalog, self.policy, pool, verdicts)?;
        let verdicts = &*verdicts;
        let mut problem = Problem::new(&twins, self.catalog, self.policy, pool.clone())?;
        let model = Model::new(self.snapshot, &mut problem, self.wanted, verdicts);
        // The solver's clock is the wall's: where ours stands still, it has no say.
        let seconds_left = || match self.elapsed() {
            Duration::ZERO => f64::INFINITY,
            elapsed => self.limits.time.saturating_sub(elapsed).as_secs_f64().max(0.05),
        };
        let (relaxed, fault) = match relaxed::solve(&model, &seconds_left) {
            Ok(relaxed) => (relaxed, None),
            Err(fault) => {
                let kept = vec![1.0; model.removable.len()];
                let multipliers = crate::pricing::Multipliers::zero(&model.core);
                (relaxed::Relaxed { multipliers, kept, iterations: 0 }, Some(fault.to_string()))
            }
        };
        let departing: BTreeSet<usize> =
            (0..verdicts.len()).filter(|node| verdicts[*node].departs()).collect();
        let choice = self.choose(&problem, &model, verdicts, &relaxed);
        let allowances = Allowances::new(self.snapshot, self.wanted.ignore_pdbs);
        let scene = Scene { verdicts, ledger, allowances: &allowances, departing: &departing };
        let mut chosen = match choice {
            Some(choice) => self.removal(&scene, &model, choice, pool, observer)?,
            None => None,
        };
        if chosen.is_none() {
            let after = states::without(self.snapshot, verdicts, &BTreeSet::new());
            let planned = plan(&after, self.catalog, self.policy, &self.rest(0.2), observer)?;
            let order = self.carry_out(&departing, &planned.plan, verdicts, ledger, &allowances);
            if order.is_none() {
                let homeless = self.without_place(&departing, verdicts, &planned.plan);
                if !homeless.is_empty() {
                    return Ok(Attempt::NoPlace(homeless));
                }
            }
            chosen = order.map(|(moves, waves)| (departing, planned, moves, waves));
        }
        let Some((removed, mut planned, moves, waves)) = chosen else { return Ok(Attempt::NoOrder) };
        let demand = self.demand(&problem, &model, &planned.plan);
        let (certificate, bound) =
            prove::prove(self.snapshot, &problem, &model, demand, &relaxed.multipliers);
        let summary = self.summary(&planned.plan, verdicts, &removed, &moves, bound);
        let nodes = self.decisions(verdicts, &removed, &model, &relaxed.multipliers.pi);
        self.finish(&mut planned.plan, verdicts);
        planned.plan.consolidation = Some(Consolidation { summary, nodes, moves, waves, certificate });
        planned.plan.id = planned.plan.compute_id();
        planned.report.elapsed = self.elapsed();
        planned.report.simplex_iterations += relaxed.iterations;
        planned.report.faults.extend(fault);
        Ok(Attempt::Planned(Box::new(planned)))
    }

    /// Nodes that may wait, of those that are to go, with the first of their pods that the plan leaves out.
    fn without_place(
        &self,
        departing: &BTreeSet<usize>,
        verdicts: &[Verdict],
        plan: &Plan,
    ) -> BTreeMap<usize, PodRef> {
        let left: BTreeSet<&PodRef> = plan.unplaced.iter().flat_map(|entry| &entry.pods).collect();
        let first = |node: &usize| {
            let pods = verdicts[*node].moving.iter().map(|pod| self.snapshot.pods[*pod as usize].id());
            Some((*node, pods.filter(|pod| left.contains(pod)).min()?))
        };
        departing.iter().filter(|node| !verdicts[**node].is_forced()).filter_map(first).collect()
    }

    /// The plan for a choice. Where spot nodes would be replaced by spot with too few types to choose from, these stay, and the rest
    /// has to be worth it without them.
    fn removal(
        &self,
        scene: &Scene<'_>,
        model: &Model,
        mut choice: Choice,
        pool: &Arc<ThreadPool>,
        observer: &mut dyn FnMut(&Moment),
    ) -> Result<Option<Candidate>, PlanError> {
        // The search knows nothing of pods that wait with constraints of their own. Where there are some, the engine says what places for
        // all of them cost with these nodes and without.
        let bare = states::without(self.snapshot, scene.verdicts, &BTreeSet::new());
        let mut whole = None;
        if bare.pods.iter().any(|pod| pod.is_pending() && states::is_tied(pod)) {
            let stay = plan(&bare, self.catalog, self.policy, &self.rest(0.2), observer)?.plan;
            let prices: i64 = model.removable.iter().map(|one| one.price).sum();
            choice.baseline = prices + stay.summary.launch_cost.0;
            whole = Some(stay.summary.pods_unplaced);
        }
        for round in 0..SPOT_ROUNDS_MAX {
            let after = states::without(self.snapshot, scene.verdicts, &choice.removed);
            let removed: BTreeSet<usize> = choice.removed.union(scene.departing).copied().collect();
            let carry_out = |planned: Planned| -> Option<Candidate> {
                let (moves, waves) =
                    self.carry_out(&removed, &planned.plan, scene.verdicts, scene.ledger, scene.allowances)?;
                Some((removed.clone(), planned, moves, waves))
            };
            // The engine's plan for the launches, unless the search has a cheaper one or its order is not allowed.
            let engine = plan(&after, self.catalog, self.policy, &self.rest(0.3), observer)?;
            let mut chosen = None;
            if round > 0 || whole.is_some() || engine.plan.summary.launch_cost.0 <= choice.launch_cost {
                chosen = carry_out(engine);
            }
            if round == 0 && whole.is_none() && chosen.is_none() {
                let own = adopt(&after, self.catalog, self.policy, &self.rest(0.2), &choice.foreign);
                // What the search over removals chose knows nothing of minValues.
                let covered =
                    |planned: &Planned| crate::min_values::is_met(&after, self.catalog, &planned.plan);
                chosen = own.ok().filter(covered).and_then(carry_out);
            }
            let Some(candidate) = chosen else { return Ok(None) };
            let launch_cost = candidate.1.plan.summary.launch_cost.0;
            let gone = |node: usize| choice.removed.contains(&node);
            let kept: i64 = model.removable.iter().filter(|one| !gone(one.node)).map(|one| one.price).sum();
            let rate: i64 = model.removable.iter().filter(|one| gone(one.node)).map(|one| one.leaving).sum();
            let is_judged = round > 0 || whole.is_some();
            let is_worth = self.is_worth(model, rate, choice.baseline - kept - rate - launch_cost);
            let leaves_out = whole.is_some_and(|most| candidate.1.plan.summary.pods_unplaced > most);
            if leaves_out || (is_judged && !is_worth) {
                return Ok(None);
            }
            let rigid = spot::rigid(self.snapshot, &after, &candidate, scene.verdicts, |after| {
                Problem::new(after, self.catalog, self.policy, pool.clone())
            })?;
            if rigid.is_empty() {
                return Ok(Some(candidate));
            }
            choice.removed = choice.removed.difference(&rigid).copied().collect();
            if choice.removed.is_empty() {
                return Ok(None);
            }
        }
        Ok(None)
    }

    /// The best removals found, if they are worth it.
    fn choose(
        &self,
        problem: &Problem<'_>,
        model: &Model,
        verdicts: &[Verdict],
        relaxed: &relaxed::Relaxed,
    ) -> Option<Choice> {
        let deadline = self.limits.time.mul_f64(SEARCH_SHARE);
        let stopped = || {
            let cancelled = self
                .limits
                .cancel
                .as_ref()
                .is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed));
            cancelled || self.elapsed() >= deadline
        };
        let seed = self.snapshot.seed ^ self.policy.seed;
        let mut search = Search::new(model, &relaxed.multipliers, seed, &stopped);
        let mut state = search.as_is(model);
        let before = (state.homeless.iter().sum::<i64>(), state.cost);
        let rounded = search.rounded(model, &relaxed.kept);
        if cost_of(&rounded) < cost_of(&state) {
            state = rounded;
        }
        search.improve(&mut state);
        let (homeless, cost) = cost_of(&state);
        if homeless > before.0 || !state.kept.contains(&false) {
            return None;
        }
        let gone = model.removable.iter().zip(&state.kept).filter(|(_, kept)| !**kept).map(|(one, _)| one);
        let rate = gone.map(|one| one.leaving).sum();
        self.is_worth(model, rate, before.1 - cost)
            .then(|| Choice { baseline: before.1, ..self.read(problem, model, verdicts, &state) })
    }

    /// Whether the net saving reaches the threshold and the gross saving pays one-off costs, spread as `rate`, back in time.
    fn is_worth(&self, model: &Model, rate: i64, saved: i64) -> bool {
        let threshold = i128::from(model.whole) * i128::from(self.wanted.savings_threshold.0);
        if saved <= 0 || i128::from(saved) * i128::from(Ppm::ONE) < threshold {
            return false;
        }
        let Some(payback) = self.wanted.payback_minutes else { return true };
        // One-off costs are `rate * horizon`; they come back at `saved + rate` an hour.
        i128::from(rate) * i128::from(self.wanted.horizon_minutes)
            <= i128::from(saved + rate) * i128::from(payback)
    }

    /// A state as removals and a placement by name.
    fn read(&self, problem: &Problem<'_>, model: &Model, verdicts: &[Verdict], state: &State<'_>) -> Choice {
        let removed: BTreeSet<usize> = model
            .removable
            .iter()
            .zip(&state.kept)
            .filter(|(_, kept)| !**kept)
            .map(|(one, _)| one.node)
            .collect();
        // Pods that need a place, by group: those that wait and those of the nodes removed.
        let after = states::without(self.snapshot, verdicts, &removed);
        let mut pods: BTreeMap<u32, Vec<PodRef>> = BTreeMap::new();
        for pod in after.pods.iter().filter(|pod| pod.is_pending()) {
            if let Some(group) = model.group_of.get(&pod.id()) {
                pods.entry(*group).or_default().push(pod.id());
            }
        }
        let mut take = |load: &[(u32, i64)]| -> Vec<PodRef> {
            let mut taken = Vec::new();
            for (g, count) in load {
                if let Some(list) = pods.get_mut(g) {
                    let count = usize::try_from(*count).unwrap_or(0).min(list.len());
                    taken.extend(list.drain(..count));
                }
            }
            taken
        };
        let mut foreign = Foreign::default();
        let mut launch_cost = 0;
        for (spare, load) in state.load.iter().enumerate().filter(|(_, load)| !load.is_empty()) {
            let node = problem.existing[state.core.spares[spare].bin].node;
            foreign.existing.push((problem.snapshot.nodes[node].name.clone(), take(load)));
        }
        for launched in state.launches.iter().flatten() {
            let offer = &state.core.offers[launched.offer];
            let offering = &problem.offerings[offer.offering];
            let kind = &problem.catalog.types[offering.instance_type as usize];
            launch_cost += offer.price;
            foreign.launches.push(ForeignLaunch {
                node_pool: problem.pool(offering).name.clone(),
                instance_type: kind.name.clone(),
                zone: kind.zones[offering.zone as usize].zone.clone(),
                capacity_type: CAPACITY_TYPES[offering.capacity_type as usize].to_owned(),
                labels: offering.variant.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
                pods: take(&launched.load),
            });
        }
        Choice { removed, foreign, launch_cost, baseline: 0 }
    }

    /// Moves and waves of a plan, if there is an order and every pod of the removed nodes has a place. Nodes that go by force do not ask
    /// whether their pods have one.
    fn carry_out(
        &self,
        removed: &BTreeSet<usize>,
        plan: &Plan,
        verdicts: &[Verdict],
        ledger: &Ledger,
        allowances: &Allowances<'_>,
    ) -> Option<(Vec<Move>, Vec<Wave>)> {
        let launched = plan.launches.iter().map(|launch| (&launch.slot, &launch.pods));
        let places: BTreeMap<&PodRef, &String> = launched
            .chain(plan.existing.iter().map(|node| (&node.name, &node.pods)))
            .flat_map(|(place, pods)| pods.iter().map(move |pod| (pod, place)))
            .collect();
        let mut moves = Vec::new();
        for node in removed {
            for pod in &verdicts[*node].moving {
                let pod = self.snapshot.pods[*pod as usize].id();
                let to = match places.get(&pod) {
                    Some(place) => (*place).clone(),
                    None if verdicts[*node].is_forced() => continue,
                    None => return None,
                };
                moves.push(Move { pod, from: self.snapshot.nodes[*node].name.clone(), to });
            }
        }
        moves.sort_by(|a, b| a.pod.cmp(&b.pod));
        let schedule = Schedule {
            snapshot: self.snapshot,
            catalog: self.catalog,
            verdicts,
            ledger,
            allowances,
            plan,
            moves: &moves,
            removed,
        };
        let waves = schedule.waves()?;
        Some((moves, waves))
    }

    /// Pods by group that the plan has to place: all that may move, and those that wait and are not left out.
    fn demand(&self, problem: &Problem<'_>, model: &Model, plan: &Plan) -> Vec<i64> {
        let mut demand: Vec<i64> = problem.groups.iter().map(|group| group.whole.len() as i64).collect();
        for pod in plan.unplaced.iter().flat_map(|entry| &entry.pods) {
            if let Some(group) = model.group_of.get(pod) {
                demand[*group as usize] -= 1;
            }
        }
        demand
    }

    fn summary(
        &self,
        plan: &Plan,
        verdicts: &[Verdict],
        removed: &BTreeSet<usize>,
        moves: &[Move],
        bound: i64,
    ) -> ConsolidationSummary {
        let before: i64 = verdicts.iter().filter_map(|verdict| verdict.price).sum();
        let gone: i64 = removed.iter().filter_map(|node| verdicts[*node].price).sum();
        let nodes = removed.len() as i64;
        let (mut once, mut rate) = (self.wanted.removal_cost.0 * nodes, self.wanted.removal_rate().0 * nodes);
        for pod in removed.iter().flat_map(|node| &verdicts[*node].moving) {
            let weight = pod_weight(&self.snapshot.pods[*pod as usize]);
            let cost = i128::from(self.wanted.eviction_cost.0) * i128::from(weight) / i128::from(WEIGHT_ONE);
            once += i64::try_from(cost).unwrap_or(i64::MAX);
            rate += self.wanted.eviction_rate(weight).0;
        }
        let after = before - gone + plan.summary.launch_cost.0;
        let bound = bound.min(after + rate);
        let left = after + rate - bound;
        ConsolidationSummary {
            cost_before: UsdMicros(before),
            cost_after: UsdMicros(after),
            nodes_removed: removed.len() as u64,
            pods_moved: moves.len() as u64,
            disruption_cost: UsdMicros(once),
            disruption_rate: UsdMicros(rate),
            cost_fixed: UsdMicros(verdicts.iter().filter(|v| v.kept.is_some()).filter_map(|v| v.price).sum()),
            bound: UsdMicros(bound),
            left: UsdMicros(left),
            left_share: Ppm::gap(UsdMicros(before + left), UsdMicros(before)),
        }
    }

    fn decisions(
        &self,
        verdicts: &[Verdict],
        removed: &BTreeSet<usize>,
        model: &Model,
        pi: &[f64],
    ) -> Vec<NodeDecision> {
        let mut worth: BTreeMap<usize, (i64, i64)> = BTreeMap::new();
        for one in &model.removable {
            let own: f64 = one.own.iter().map(|(g, count)| pi[*g as usize] * *count as f64).sum();
            worth.insert(one.node, ((own * 1e6) as i64, one.leaving));
        }
        let decide = |(index, verdict): (usize, &Verdict)| {
            let node = self.snapshot.nodes[index].name.clone();
            let price = verdict.price.map(UsdMicros);
            match &verdict.kept {
                Some(kept) => NodeDecision {
                    node,
                    reason: kept.reason,
                    pod: kept.pod.clone(),
                    budget: kept.budget.clone(),
                    departure: verdict.departure().cloned(),
                    message: kept.message.clone(),
                    price,
                },
                None => {
                    let is_gone = removed.contains(&index);
                    let reason = if is_gone { verdict.removal() } else { NodeReason::Worth };
                    let (pods, leaving) = worth.get(&index).copied().unwrap_or((0, 0));
                    let message = if is_gone {
                        format!("{} pods move", verdict.moving.len())
                    } else {
                        format!(
                            "its {} pods would cost {} an hour elsewhere, moving them {} an hour over the horizon",
                            verdict.moving.len(),
                            UsdMicros(pods),
                            UsdMicros(leaving)
                        )
                    };
                    let departure = verdict.departure().cloned();
                    NodeDecision { node, reason, pod: None, budget: None, departure, message, price }
                }
            }
        };
        verdicts.iter().enumerate().map(decide).collect()
    }

    /// The plan was made for the cluster without the removed nodes; what it says about the cluster before is made true.
    fn finish(&self, plan: &mut Plan, verdicts: &[Verdict]) {
        plan.snapshot = SnapshotRef {
            digest: self.snapshot.digest(),
            taken_at: self.snapshot.taken_at.clone(),
            origin: self.snapshot.origin.clone(),
        };
        plan.summary.nodes_before = self.snapshot.nodes.len() as u64;
        plan.summary.cost_before = UsdMicros(verdicts.iter().filter_map(|verdict| verdict.price).sum());
        plan.summary.nodes_unpriced =
            verdicts.iter().filter(|verdict| verdict.price.is_none()).count() as u64;
    }
}

/// Keeps the least pressing nodes, so many, of those that have to go for now; and returns how many still go of those that may wait.
/// Those that go by force never wait: the referee would refuse a plan that keeps one.
fn defer(verdicts: &mut [Verdict], deferred: usize) -> usize {
    let may_wait = |node: &usize| verdicts[*node].departs() && !verdicts[*node].is_forced();
    let mut going: Vec<usize> = (0..verdicts.len()).filter(may_wait).collect();
    going.sort_by(|a, b| verdicts[*a].urgency().cmp(&verdicts[*b].urgency()).then(a.cmp(b)));
    let stay = going.len().saturating_sub(deferred);
    for node in going.drain(stay..) {
        let message = "limits and budgets leave no order in which it can go with the others that have to";
        verdicts[node].kept = Some(Kept::new(NodeReason::Deferred, message));
    }
    going.len()
}

/// Pods without a place first, then money.
fn cost_of(state: &State<'_>) -> (i64, i64) {
    (state.homeless.iter().sum(), state.cost)
}
