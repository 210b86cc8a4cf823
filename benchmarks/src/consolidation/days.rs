//! Days of a cluster's life: pods come and go by seed, the planner launches for those that wait and consolidates what is settled, and
//! time costs money.
//!
//! The cluster is looked at every ten seconds if anything happened since: pods came or went, or a node has become old enough to go. Nodes
//! are ready at once and plans are carried out whole; what is measured is what the plans decide, not how long machines boot.

use super::apply::{applied, node_name};
use super::baselines::{Strategy, fix_point};
use crate::trial::by_clock;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::labels;
use stowage_models::objects::{Budget, Container, NodePool, Owner, Pod};
use stowage_models::plan::{Plan, Policy};
use stowage_models::quantity::Resources;
use stowage_models::random::Random;
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::Limits;

/// Seconds between looks at the cluster, if anything happened.
const STEP: u64 = 10;
/// Seconds in which at most one application comes.
const ARRIVALS: u64 = 10 * 60;
/// Seconds between bounds: a cluster of the same pods from nothing, nothing that exists counted.
const BOUND: u64 = 6 * HOUR;
/// The NodePool's `consolidateAfter`, seconds.
const CONSOLIDATE_AFTER: u64 = 15 * 60;
const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;
/// Requests of an application's pods: millicores and MiB, with how often applications are of the kind.
const SHAPES: [(i64, i64, u64); 6] =
    [(100, 256, 6), (250, 512, 8), (500, 1_024, 6), (1_000, 4_096, 3), (2_000, 4_096, 2), (500, 6_144, 2)];

/// Who looks after the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// The joint plan, nodes underutilized or empty.
    Joint,
    /// Only empty nodes are removed.
    WhenEmpty,
    /// Launches as the planner says, then a plain strategy removes nodes until it finds nothing any more.
    Plain(Strategy),
}

/// All of them, with names.
pub const KEEPERS: [(&str, Keeper); 4] = [
    ("joint plans", Keeper::Joint),
    ("one node at a time", Keeper::Plain(Strategy::Single)),
    ("prefix, then one", Keeper::Plain(Strategy::Prefix)),
    ("empty nodes only", Keeper::WhenEmpty),
];

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Days.
    pub days: u64,
    /// Seed.
    pub seed: u64,
    /// Paid for nodes.
    pub dollars: UsdMicros,
    /// No placement of the same pods costs less, by bounds every six hours (each counts until the next).
    pub dollars_bound: UsdMicros,
    /// Plans that did something.
    pub plans: u64,
    /// Nodes launched.
    pub launched: u64,
    /// Nodes removed.
    pub removed: u64,
    /// Of these, within an hour of their launch.
    pub removed_young: u64,
    /// Pods moved.
    pub moved: u64,
    /// Nodes that one plan launched and the next removed, with no change of pods in between.
    pub undone: u64,
    /// Pods that came.
    pub pods: u64,
    /// Looks at the cluster: plans, whether they did something or not.
    pub looks: u64,
}

struct World {
    snapshot: Snapshot,
    keeper: Keeper,
    rng: Random,
    life: Life,
    /// Seconds since the beginning.
    now: u64,
    /// Paid, micro-dollars times seconds over an hour.
    paid: i128,
    /// The same for the bound.
    bound: i128,
    /// When something happens.
    events: BTreeSet<u64>,
    /// When the next application comes.
    arrival: Option<u64>,
    /// When pods end, by name.
    ends: BTreeMap<String, u64>,
    /// When nodes were launched.
    births: BTreeMap<String, u64>,
    /// Nodes launched since pods changed last.
    fresh: BTreeSet<String>,
}

/// Lives so many days.
///
/// # Errors
/// When a plan is refused by the referee.
pub fn live(days: u64, seed: u64, keeper: Keeper) -> Result<Life> {
    ensure!((1..=30).contains(&days), "one to thirty days, not {days}");
    let policy = if keeper == Keeper::WhenEmpty { "WhenEmpty" } else { "WhenEmptyOrUnderutilized" };
    let pool = NodePool {
        name: "general".to_owned(),
        requirements: vec![
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["c", "m", "r"]),
            Requirement::new("karpenter.k8s.aws/instance-cpu", Operator::In, &["2", "4", "8", "16"]),
            Requirement::new(labels::ZONE, Operator::In, &["us-east-1a", "us-east-1b"]),
        ],
        consolidation_policy: Some(policy.to_owned()),
        consolidate_after: Some(format!("{CONSOLIDATE_AFTER}s")),
        budgets: vec![Budget { nodes: "20%".to_owned(), ..Budget::default() }],
        ..NodePool::default()
    };
    let mut world = World {
        snapshot: Snapshot {
            node_pools: vec![pool],
            origin: format!("{days} days, seed {seed}"),
            ..Snapshot::default()
        },
        keeper,
        rng: Random::new(seed),
        life: Life { days, seed, ..Life::default() },
        now: 0,
        paid: 0,
        bound: 0,
        events: BTreeSet::from([0]),
        arrival: Some(0),
        ends: BTreeMap::new(),
        births: BTreeMap::new(),
        fresh: BTreeSet::new(),
    };
    let (end, mut bound_until, mut bound) = (days * DAY, 0, 0);
    while let Some(now) = world.events.pop_first().filter(|now| *now < end) {
        world.now = now;
        world.look()?;
        if now >= bound_until {
            bound = world.bound()?;
            bound_until = (now / BOUND + 1) * BOUND;
            world.events.insert(bound_until);
        }
        let until = world.events.first().map_or(end, |next| end.min(*next));
        let price: i64 = world.snapshot.nodes.iter().filter_map(price_of).sum();
        world.paid += i128::from(price) * i128::from(until - now);
        world.bound += i128::from(bound) * i128::from(until - now);
    }
    let dollars = |paid: i128| UsdMicros(i64::try_from(paid / i128::from(HOUR)).unwrap_or(i64::MAX));
    Ok(Life { dollars: dollars(world.paid), dollars_bound: dollars(world.bound), ..world.life })
}

/// The time as Kubernetes writes it; thirty days have September.
fn instant(second: u64) -> String {
    let (day, hour, minute) = (1 + second / DAY, second / HOUR % 24, second / 60 % 60);
    format!("2026-09-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

impl World {
    /// Somebody looks again after so many seconds.
    fn wake(&mut self, seconds: u64) {
        self.events.insert((self.now + seconds).next_multiple_of(STEP));
    }

    fn look(&mut self) -> Result<()> {
        self.snapshot.taken_at = Some(instant(self.now));
        if self.change() {
            self.fresh.clear();
            // Nodes with pods that came are settled by then.
            self.wake(CONSOLIDATE_AFTER);
        }
        if let Keeper::Plain(strategy) = self.keeper {
            return self.plain(strategy);
        }
        // One plan for the pods that wait and for the nodes that exist.
        let plan = self.plan()?;
        self.carry_out(&plan);
        Ok(())
    }

    /// Pods end and come; whether any did. More come by day than by night.
    fn change(&mut self) -> bool {
        let now = self.now;
        let ended: BTreeSet<String> =
            self.ends.iter().filter(|(_, end)| **end <= now).map(|(name, _)| name.clone()).collect();
        self.ends.retain(|_, end| *end > now);
        self.snapshot.pods.retain(|pod| !ended.contains(&pod.name));
        let comes = self.arrival == Some(now);
        if now.is_multiple_of(ARRIVALS) {
            let hour = now / HOUR % 24;
            let likely = if (8..20).contains(&hour) { 14 } else { 4 };
            let at = now + STEP + self.rng.below(ARRIVALS / STEP - 1) * STEP;
            self.events.insert(now + ARRIVALS);
            if self.rng.chance(likely) {
                self.arrival = Some(at);
                self.events.insert(at);
            }
        }
        if comes {
            let weights: Vec<(usize, u64)> =
                SHAPES.iter().enumerate().map(|(at, shape)| (at, shape.2)).collect();
            let (cpu, memory, _) = SHAPES[self.rng.weighted(&weights)];
            let app = format!("app-{now}");
            // Most live for hours, some for days.
            let hours = [2, 6, 12, 48, 120][self.rng.weighted(&[(0, 3), (1, 4), (2, 4), (3, 2), (4, 1)])];
            for number in 0..=self.rng.below(12) {
                let name = format!("{app}-{number}");
                let mut requests = Resources::default();
                requests.set("cpu", cpu);
                requests.set("memory", memory << 20);
                let mut pod = Pod {
                    namespace: "default".to_owned(),
                    name: name.clone(),
                    labels: Labels::from([("app".to_owned(), app.clone())]).into(),
                    owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: app.clone() }.into()),
                    created: self.snapshot.taken_at.clone(),
                    ..Pod::default()
                };
                pod.spec.containers = vec![Container { requests, ..Container::default() }];
                self.snapshot.pods.push(pod);
                let end = (now + hours * HOUR / 2 + self.rng.below(hours * HOUR)).next_multiple_of(STEP);
                self.events.insert(end);
                self.ends.insert(name, end);
                self.life.pods += 1;
            }
        }
        self.snapshot.normalise();
        comes || !ended.is_empty()
    }

    fn limits(&self) -> Limits {
        // Generous: the work is counted, and the same on every machine.
        by_clock(Duration::from_secs(30), 1)
    }

    fn plan(&mut self) -> Result<Plan> {
        self.life.looks += 1;
        let policy = Policy { consolidation: Some(ConsolidationPolicy::default()), ..Policy::default() };
        let plan = stowage_planner::consolidate(
            &self.snapshot,
            Catalog::embedded(),
            &policy,
            &self.limits(),
            &mut |_| {},
        )?
        .plan;
        let findings = stowage_checker::check(&self.snapshot, Catalog::embedded(), &plan);
        ensure!(findings.is_empty(), "{}: the referee refuses the plan: {findings:?}", instant(self.now));
        Ok(plan)
    }

    /// What the pods that run would cost at least, on nodes of any number and kind.
    fn bound(&self) -> Result<i64> {
        let mut alone = self.snapshot.clone();
        alone.nodes.clear();
        alone.node_claims.clear();
        for pod in &mut alone.pods {
            pod.node = None;
            pod.phase = stowage_models::objects::PodPhase::Pending;
        }
        let planned = stowage_planner::plan(
            &alone,
            Catalog::embedded(),
            &Policy::default(),
            &self.limits(),
            &mut |_| {},
        )?;
        Ok(planned.plan.summary.launch_bound.0)
    }

    fn carry_out(&mut self, plan: &Plan) {
        let nodes = plan.consolidation.iter().flat_map(|stated| &stated.nodes);
        let gone: Vec<&str> =
            nodes.filter(|one| one.reason.is_removal()).map(|one| one.node.as_str()).collect();
        if gone.is_empty()
            && plan.launches.is_empty()
            && plan.existing.iter().all(|node| node.pods.is_empty())
        {
            return;
        }
        self.life.plans += 1;
        self.life.launched += plan.launches.len() as u64;
        self.life.removed += gone.len() as u64;
        for node in gone {
            let born = self.births.remove(node).unwrap_or(0);
            self.life.removed_young += u64::from(self.now - born < HOUR);
            self.life.undone += u64::from(self.fresh.contains(node));
        }
        let moved: BTreeSet<&str> = plan
            .consolidation
            .iter()
            .flat_map(|stated| &stated.moves)
            .map(|one| one.pod.0.as_str())
            .collect();
        self.life.moved += moved.len() as u64;
        self.snapshot = applied(&self.snapshot, Catalog::embedded(), plan);
        // A pod that moves is a new pod.
        for pod in self.snapshot.pods.iter_mut().filter(|pod| moved.contains(pod.id().0.as_str())) {
            pod.created = self.snapshot.taken_at.clone();
        }
        // `consolidateAfter` is judged by times.
        for claim in &mut self.snapshot.node_claims {
            claim.conditions.retain(|condition| condition != "Consolidatable");
        }
        for launch in &plan.launches {
            let name = node_name(plan, &launch.slot);
            self.births.insert(name.clone(), self.now);
            self.fresh.insert(name);
        }
        // What came is settled, and old enough, by then.
        self.wake(STEP);
        self.wake(CONSOLIDATE_AFTER);
        self.wake(60 * u64::from(ConsolidationPolicy::default().min_node_age_minutes));
    }

    /// Launches for the pods that wait; then the strategy removes nodes, at first those that `consolidateAfter` has passed for, until it finds
    /// nothing. No budget holds it, nor the age of nodes, and what it launches and fills on the way may go at once: kinder to its cost than
    /// to its pods.
    fn plain(&mut self, strategy: Strategy) -> Result<()> {
        self.life.looks += 1;
        if self.snapshot.pods.iter().any(Pod::is_pending) {
            let (policy, limits) = (Policy::default(), self.limits());
            let catalog = Catalog::embedded();
            let plan = stowage_planner::plan(&self.snapshot, catalog, &policy, &limits, &mut |_| {})?.plan;
            self.carry_out(&plan);
        }
        let settled = instant(self.now.saturating_sub(CONSOLIDATE_AFTER));
        let is_late = |time: Option<&String>| time.is_some_and(|time| *time > settled);
        let pods = self.snapshot.pods.iter().filter(|pod| is_late(pod.created.as_ref()));
        let unsettled: BTreeSet<&str> = pods.filter_map(|pod| pod.node.as_deref()).collect();
        let nodes = || self.snapshot.nodes.iter();
        let may_go: BTreeSet<&str> = nodes()
            .filter(|node| !is_late(node.created.as_ref()) && !unsettled.contains(node.name.as_str()))
            .map(|node| node.name.as_str())
            .collect();
        if may_go.is_empty() {
            return Ok(());
        }
        let prices: BTreeMap<&str, i64> =
            nodes().filter_map(|node| Some((node.name.as_str(), price_of(node)?))).collect();
        let (catalog, policy) = (Catalog::embedded(), Policy::default());
        let rest = fix_point(&self.snapshot, catalog, &policy, &may_go, &prices, strategy)?;
        if rest.commands == 0 {
            return Ok(());
        }
        let gone: BTreeSet<String> = rest.gone.iter().cloned().collect();
        // The cluster without them, where their pods wait; and their places.
        let mut after = self.snapshot.clone();
        after.nodes.retain(|node| !gone.contains(&node.name));
        after.node_claims.retain(|claim| claim.node.as_ref().is_none_or(|node| !gone.contains(node)));
        let mut moved: BTreeSet<String> = BTreeSet::new();
        for pod in
            after.pods.iter_mut().filter(|pod| pod.node.as_ref().is_some_and(|node| gone.contains(node)))
        {
            moved.insert(pod.id().0);
            pod.node = None;
            pod.phase = stowage_models::objects::PodPhase::Pending;
            // A pod that moves is a new pod.
            pod.created.clone_from(&self.snapshot.taken_at);
        }
        let adopted = stowage_planner::adopt(&after, catalog, &policy, &self.limits(), &rest.places)?.plan;
        let findings = stowage_checker::check(&after, catalog, &adopted);
        ensure!(findings.is_empty(), "{}: the referee refuses: {findings:?}", instant(self.now));
        ensure!(adopted.summary.pods_unplaced == 0, "{}: the strategy left pods out", instant(self.now));
        // With what came and went on the way.
        self.life.removed += rest.nodes_removed;
        self.life.launched += rest.nodes_launched.saturating_sub(adopted.launches.len() as u64);
        for node in &gone {
            let born = self.births.remove(node).unwrap_or(0);
            self.life.removed_young += u64::from(self.now - born < HOUR);
            self.life.undone += u64::from(self.fresh.contains(node));
        }
        self.life.moved += rest.pods_moved;
        self.snapshot = after;
        self.carry_out(&adopted);
        Ok(())
    }
}

/// What a node costs, micro-dollars per hour.
fn price_of(node: &stowage_models::objects::Node) -> Option<i64> {
    let label = |key: &str| node.labels.get(key).map(String::as_str);
    let kind = Catalog::embedded().get(label(labels::INSTANCE_TYPE)?)?;
    Some(kind.price(label(labels::ZONE)?, label(labels::CAPACITY_TYPE)?)?.usd.0)
}

/// Lives as a table.
#[must_use]
pub fn markdown(lives: &[(&str, Life)]) -> String {
    let mut text = "| keeper | days | seed | pods | $ | $ bound | over the bound | looks | plans | launched | removed | within an hour | moved | undone |\n\
                    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (keeper, life) in lives {
        text.push_str(&format!(
            "| {keeper} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            life.days,
            life.seed,
            life.pods,
            life.dollars,
            life.dollars_bound,
            Ppm::gap(life.dollars, life.dollars_bound),
            life.looks,
            life.plans,
            life.launched,
            life.removed,
            life.removed_young,
            life.moved,
            life.undone,
        ));
    }
    text
}
