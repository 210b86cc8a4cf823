//! Consolidation: which nodes to keep, which to remove, and what to launch in their stead, decided for all of them at once
//! (`docs/formulation.md` section 5).
//!
//! ```text
//! rules and budgets -> what may go          (rules, budgets)
//! every pod that may move also waits        (states, model)
//! fluid relaxation -> prices of pods        (relaxed)
//! local search over sets of nodes           (search, state)
//! given the removals, an ordinary plan      (the engine)
//! certificate of the whole, order in waves  (prove, waves, order)
//! ```

mod budgets;
mod departures;
mod model;
mod near;
mod order;
mod prove;
mod refine;
mod relaxed;
mod report;
mod rules;
mod search;
mod spot;
mod state;
mod states;
mod waves;

use crate::adopt::{Foreign, ForeignLaunch, adopt};
use crate::offerings::CAPACITY_TYPES;
use crate::problem::Problem;
use crate::{Limits, Moment, PlanError, Planned, check_policy, plan, plan_until, threads};
use budgets::{Allowances, Ledger};
use model::{Model, Removable};
use order::{Route, Way};
use rayon::ThreadPool;
use rules::{Kept, Verdict};
use search::Search;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::{Consolidation, ConsolidationPolicy, Move, NodeReason, Wave};
use stowage_models::objects::PodRef;
use stowage_models::plan::{Plan, Policy};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;
use waves::Schedule;

/// Share of the time the search over removals may take; the rest is for the plan of the launches and the proof.
const SEARCH_SHARE: f64 = 0.5;

/// Plans without removals that are in the way of others, or replace spot by spot with too few types to choose from, at most: then nothing goes
/// for its cost.
const ROUNDS_MAX: usize = 12;

/// An order for what goes for its cost is looked for until so many times the time is over: to be a little late is better than to keep all.
const ORDER_TIMES: u32 = 2;

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
    if !wanted.is_sound() {
        return Err(PlanError::Policy("what age and restarts of pods weigh is between 0 and 10".to_owned()));
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
    /// What all nodes, launches and one-off costs come to at most in a plan that is near enough to the bound.
    near_enough: i64,
    pool: &'a Arc<ThreadPool>,
}

impl Scene<'_> {
    /// Pods of these nodes that have to move: indices into the snapshot's pods.
    fn moving(&self, nodes: &BTreeSet<usize>) -> impl Iterator<Item = u32> {
        nodes.iter().flat_map(|node| self.verdicts[*node].moving.iter().copied())
    }

    /// What the launches come to at most in a plan without these nodes that is near enough to the bound.
    fn launches_enough(&self, model: &Model, removed: &BTreeSet<usize>) -> i64 {
        let rest = |one: &Removable| if removed.contains(&one.node) { one.leaving } else { one.price };
        self.near_enough - model.fixed - model.departing - model.removable.iter().map(rest).sum::<i64>()
    }
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
    /// Pods of these nodes are in the way of each other.
    InTheWay(BTreeSet<usize>),
    /// Limits and budgets leave no order in which all of them can go.
    NoOrder,
}

/// Moves and waves.
type Order = (Vec<Move>, Vec<Wave>);

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
        let mut waits: BTreeMap<usize, String> = BTreeMap::new();
        loop {
            let mut verdicts = fresh.clone();
            for (node, message) in &waits {
                verdicts[*node].kept = Some(Kept::new(NodeReason::Deferred, message.clone()));
            }
            let going = defer(&mut verdicts, deferred);
            let is_last = going == 0;
            match self.attempt(&pool, &mut verdicts, &ledger, observer)? {
                Attempt::Planned(planned) => return Ok(*planned),
                // They alone wait, not whoever has to go beside them.
                Attempt::NoPlace(nodes) => waits.extend(
                    nodes
                        .into_iter()
                        .map(|(node, pod)| (node, format!("it can go when pod {pod} has another place"))),
                ),
                Attempt::InTheWay(nodes) => {
                    let message = "what its pods ask of others leaves no order in which it can go with the others that have to";
                    waits.extend(nodes.into_iter().map(|node| (node, message.to_owned())));
                }
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
        let demand: Vec<i64> = problem.groups.iter().map(|group| group.whole.len() as i64).collect();
        let prove =
            |demand: Vec<i64>| prove::prove(self.snapshot, &problem, &model, demand, &relaxed.multipliers);
        let (mut certificate, mut bound) = prove(demand.clone());
        let share = i128::from(bound) * i128::from(self.policy.gap.0) / i128::from(Ppm::ONE);
        let near_enough = bound.saturating_add(i64::try_from(share).unwrap_or(i64::MAX));
        let departing: BTreeSet<usize> =
            (0..verdicts.len()).filter(|node| verdicts[*node].departs()).collect();
        let allowances = Allowances::new(self.snapshot, self.wanted.ignore_pdbs);
        let scene =
            Scene { verdicts, ledger, allowances: &allowances, departing: &departing, near_enough, pool };
        let mut chosen = None;
        // The search knows nothing of constraints between pods; where its choice comes to nothing for them, pods with such
        // constraints stay where they are.
        let any_tied = model.removable.iter().any(|one| verdicts[one.node].tied);
        for ties_stay in if any_tied { &[false, true][..] } else { &[false][..] } {
            let Some(choice) = self.choose(&problem, &model, verdicts, &relaxed, *ties_stay) else {
                continue;
            };
            chosen = self.removal(&scene, &model, choice, observer)?;
            if chosen.is_some() {
                break;
            }
        }
        if chosen.is_none() {
            let after = states::without(self.snapshot, verdicts, &BTreeSet::new());
            let mut planned = plan(&after, self.catalog, self.policy, &self.rest(0.2), observer)?;
            near::keep_zones(self.snapshot, scene.moving(&departing), &mut planned.plan);
            match self.carry_out(&scene, &departing, &planned.plan, &|| false)? {
                Ok((moves, waves)) => chosen = Some((departing, planned, moves, waves)),
                Err(mut nodes) => {
                    let homeless = self.without_place(&departing, verdicts, &planned.plan);
                    if !homeless.is_empty() {
                        return Ok(Attempt::NoPlace(homeless));
                    }
                    nodes.retain(|node| verdicts[*node].departs() && !verdicts[*node].is_forced());
                    if !nodes.is_empty() {
                        return Ok(Attempt::InTheWay(nodes));
                    }
                }
            }
        }
        let Some((removed, mut planned, moves, waves)) = chosen else { return Ok(Attempt::NoOrder) };
        // The bound is about the pods that are placed.
        let placed = self.demand(&problem, &model, &planned.plan);
        if placed != demand {
            (certificate, bound) = prove(placed);
        }
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
        observer: &mut dyn FnMut(&Moment),
    ) -> Result<Option<Candidate>, PlanError> {
        // The search knows nothing of constraints between pods. Where some of those that wait or move have such, the engine says what
        // places for all of them cost with these nodes and without.
        let bare = states::without(self.snapshot, scene.verdicts, &BTreeSet::new());
        let mut whole = None;
        if choice.removed.iter().any(|node| scene.verdicts[*node].tied)
            || bare.pods.iter().any(|pod| pod.is_pending() && states::is_tied(pod))
        {
            let stay = plan(&bare, self.catalog, self.policy, &self.rest(0.2), observer)?.plan;
            let prices: i64 = model.removable.iter().map(|one| one.price).sum();
            choice.baseline = prices + stay.summary.launch_cost.0;
            whole = Some(stay.summary.pods_unplaced);
        }
        // Pods with constraints may need more than the search bought.
        let is_tied = choice.removed.iter().any(|node| scene.verdicts[*node].tied);
        let mut refined =
            if is_tied { Some(self.refine(scene, model, &mut choice.removed, observer)?) } else { None };
        for round in 0..ROUNDS_MAX {
            if choice.removed.is_empty() {
                return Ok(None);
            }
            let after = states::without(self.snapshot, scene.verdicts, &choice.removed);
            let removed: BTreeSet<usize> = choice.removed.union(scene.departing).copied().collect();
            let mut in_the_way = BTreeSet::new();
            let mut carry_out = |mut planned: Planned| -> Result<Option<Candidate>, PlanError> {
                near::keep_zones(self.snapshot, scene.moving(&removed), &mut planned.plan);
                let is_over = || self.elapsed() >= self.limits.time * ORDER_TIMES;
                Ok(match self.carry_out(scene, &removed, &planned.plan, &is_over)? {
                    Ok((moves, waves)) => Some((removed.clone(), planned, moves, waves)),
                    Err(nodes) => {
                        in_the_way = nodes;
                        None
                    }
                })
            };
            // The engine's plan for the launches, unless the search has a cheaper one or its order is not allowed.
            let engine = match refined.take() {
                Some(engine) => engine,
                None => {
                    let (limits, enough) = (self.rest(0.3), scene.launches_enough(model, &choice.removed));
                    plan_until(&after, self.catalog, self.policy, &limits, enough, observer)?
                }
            };
            let mut chosen = None;
            if round > 0 || whole.is_some() || engine.plan.summary.launch_cost.0 <= choice.launch_cost {
                chosen = carry_out(engine)?;
            }
            if round == 0 && whole.is_none() && chosen.is_none() {
                let own = adopt(&after, self.catalog, self.policy, &self.rest(0.2), &choice.foreign);
                // What the search over removals chose knows nothing of minValues.
                let covered =
                    |planned: &Planned| crate::min_values::is_met(&after, self.catalog, &planned.plan);
                if let Some(own) = own.ok().filter(covered) {
                    chosen = carry_out(own)?;
                }
            }
            in_the_way.retain(|node| choice.removed.contains(node));
            let Some(candidate) = chosen else {
                if in_the_way.is_empty() || self.elapsed() >= self.limits.time * ORDER_TIMES {
                    return Ok(None);
                }
                // These stay, and the rest is planned anew.
                choice.removed.retain(|node| !in_the_way.contains(node));
                continue;
            };
            let launch_cost = candidate.1.plan.summary.launch_cost.0;
            let (mut kept, mut rate, mut regret) = (0, 0, 0);
            for one in &model.removable {
                if choice.removed.contains(&one.node) {
                    rate += one.leaving;
                    regret += one.regret;
                } else {
                    kept += one.price;
                }
            }
            // A plan that is adopted may have become dearer on the way.
            let is_judged = round > 0 || whole.is_some() || launch_cost > choice.launch_cost;
            let is_worth = self.is_worth(model, rate, choice.baseline - kept - rate - regret - launch_cost);
            let leaves_out = whole.is_some_and(|most| candidate.1.plan.summary.pods_unplaced > most);
            if leaves_out || (is_judged && !is_worth) {
                return Ok(None);
            }
            let rigid = spot::rigid(self.snapshot, &after, &candidate, scene.verdicts, |after| {
                Problem::new(after, self.catalog, self.policy, scene.pool.clone())
            })?;
            if rigid.is_empty() {
                return Ok(Some(candidate));
            }
            choice.removed = choice.removed.difference(&rigid).copied().collect();
        }
        Ok(None)
    }

    /// The best removals found, if they are worth it; with `ties_stay` of nodes whose pods have no constraints towards others.
    fn choose(
        &self,
        problem: &Problem<'_>,
        model: &Model,
        verdicts: &[Verdict],
        relaxed: &relaxed::Relaxed,
        ties_stay: bool,
    ) -> Option<Choice> {
        let begun = self.elapsed();
        let deadline = begun + self.limits.time.saturating_sub(begun).mul_f64(SEARCH_SHARE);
        let stopped = || {
            let cancelled = self
                .limits
                .cancel
                .as_ref()
                .is_some_and(|flag| flag.load(std::sync::atomic::Ordering::Relaxed));
            cancelled || self.elapsed() >= deadline
        };
        let seed = self.snapshot.seed ^ self.policy.seed;
        let open = model.removable.iter().map(|one| !(ties_stay && verdicts[one.node].tied)).collect();
        let mut search = Search::new(model, &relaxed.multipliers, open, seed, &stopped);
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

    /// Moves and waves of a plan, if there is an order and every pod of the removed nodes has a place; else the nodes that are in the way of
    /// each other, as far as they are known. Nodes that go by force do not ask whether their pods have a place.
    fn carry_out(
        &self,
        scene: &Scene<'_>,
        removed: &BTreeSet<usize>,
        plan: &Plan,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Result<Order, BTreeSet<usize>>, PlanError> {
        let (verdicts, ledger, allowances) = (scene.verdicts, scene.ledger, scene.allowances);
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
                    None => return Ok(Err(BTreeSet::new())),
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
        if !removed.iter().any(|node| verdicts[*node].tied) {
            return Ok(schedule.waves(None, stopped).map(|waves| (moves.clone(), waves)));
        }
        let (snapshot, catalog) = (self.snapshot, self.catalog);
        let route = Route { snapshot, catalog, verdicts, plan, moves: &moves };
        let whole = route.whole();
        let problem = Problem::new(&whole, self.catalog, self.policy, scene.pool.clone())?;
        Ok(schedule.waves(Some(Way::new(route, &problem)), stopped).map(|waves| (moves.clone(), waves)))
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
