//! Days of a cluster's life: pods come and go by seed, the planner launches for those that wait and consolidates what is settled, and
//! time costs money.
//!
//! Nodes are ready at once and plans are carried out whole; what is measured is what the plans decide, not how long machines boot.

use super::apply::{applied, node_name};
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

/// Minutes between looks at the cluster. Pods that wait are planned for at each; what is settled is consolidated.
const STEP_MINUTES: u64 = 10;
/// Minutes between bounds: a cluster of the same pods from nothing, nothing that exists counted.
const BOUND_MINUTES: u64 = 6 * 60;
/// The NodePool's `consolidateAfter`, minutes.
const CONSOLIDATE_AFTER_MINUTES: u64 = 15;
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
}

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
}

struct World {
    snapshot: Snapshot,
    rng: Random,
    life: Life,
    minute: u64,
    /// When pods end, by name.
    ends: BTreeMap<String, u64>,
    /// When nodes were launched.
    births: BTreeMap<String, u64>,
    /// Nodes launched since pods changed last.
    fresh: BTreeSet<String>,
    /// Whether a plan at rest saw the cluster as it is, and no node was young.
    at_rest: bool,
}

/// Lives so many days.
///
/// # Errors
/// When a plan is refused by the referee.
pub fn live(days: u64, seed: u64, keeper: Keeper) -> Result<Life> {
    ensure!((1..=30).contains(&days), "one to thirty days, not {days}");
    let policy = if keeper == Keeper::Joint { "WhenEmptyOrUnderutilized" } else { "WhenEmpty" };
    let pool = NodePool {
        name: "general".to_owned(),
        requirements: vec![
            Requirement::new("karpenter.k8s.aws/instance-category", Operator::In, &["c", "m", "r"]),
            Requirement::new("karpenter.k8s.aws/instance-cpu", Operator::In, &["2", "4", "8", "16"]),
            Requirement::new(labels::ZONE, Operator::In, &["us-east-1a", "us-east-1b"]),
        ],
        consolidation_policy: Some(policy.to_owned()),
        consolidate_after: Some(format!("{CONSOLIDATE_AFTER_MINUTES}m")),
        budgets: vec![Budget { nodes: "20%".to_owned(), ..Budget::default() }],
        ..NodePool::default()
    };
    let mut world = World {
        snapshot: Snapshot {
            node_pools: vec![pool],
            origin: format!("{days} days, seed {seed}"),
            ..Snapshot::default()
        },
        rng: Random::new(seed),
        life: Life { days, seed, ..Life::default() },
        minute: 0,
        ends: BTreeMap::new(),
        births: BTreeMap::new(),
        fresh: BTreeSet::new(),
        at_rest: false,
    };
    while world.minute < days * 24 * 60 {
        world.step()?;
    }
    Ok(world.life)
}

/// The time as Kubernetes writes it; thirty days have September.
fn instant(minute: u64) -> String {
    format!("2026-09-{:02}T{:02}:{:02}:00Z", 1 + minute / 1_440, minute / 60 % 24, minute % 60)
}

impl World {
    fn step(&mut self) -> Result<()> {
        self.snapshot.taken_at = Some(instant(self.minute));
        if self.change() {
            self.fresh.clear();
            self.at_rest = false;
        }
        if !self.at_rest {
            // One plan for the pods that wait and for the nodes that exist.
            let plan = self.plan()?;
            let stated = plan.consolidation.as_ref();
            let is_empty = stated.is_none_or(|stated| stated.summary.nodes_removed == 0);
            let is_young = stated.is_some_and(|stated| {
                let young = stowage_models::consolidation::NodeReason::Young;
                stated.nodes.iter().any(|one| one.reason == young)
            });
            self.at_rest = is_empty && !is_young;
            self.carry_out(&plan);
        }
        let price: i64 = self.snapshot.nodes.iter().filter_map(price_of).sum();
        self.life.dollars.0 += price * i64::try_from(STEP_MINUTES).unwrap_or(0) / 60;
        if self.minute.is_multiple_of(BOUND_MINUTES) {
            self.life.dollars_bound.0 += self.bound()? * i64::try_from(BOUND_MINUTES).unwrap_or(0) / 60;
        }
        self.minute += STEP_MINUTES;
        Ok(())
    }

    /// Pods end and come; whether any did. More come by day than by night.
    fn change(&mut self) -> bool {
        let now = self.minute;
        let ended: BTreeSet<String> =
            self.ends.iter().filter(|(_, end)| **end <= now).map(|(name, _)| name.clone()).collect();
        self.ends.retain(|_, end| *end > now);
        self.snapshot.pods.retain(|pod| !ended.contains(&pod.name));
        let hour = now / 60 % 24;
        let likely = if (8..20).contains(&hour) { 14 } else { 4 };
        let comes = self.rng.chance(likely) || now == 0;
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
                    labels: Labels::from([("app".to_owned(), app.clone())]),
                    owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: app.clone() }),
                    created: self.snapshot.taken_at.clone(),
                    ..Pod::default()
                };
                pod.spec.containers = vec![Container { requests, ..Container::default() }];
                self.snapshot.pods.push(pod);
                self.ends.insert(name, now + hours * 60 / 2 + self.rng.below(hours * 60));
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

    fn plan(&self) -> Result<Plan> {
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
        ensure!(findings.is_empty(), "minute {}: the referee refuses the plan: {findings:?}", self.minute);
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
            self.life.removed_young += u64::from(self.minute - born < 60);
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
            self.births.insert(name.clone(), self.minute);
            self.fresh.insert(name);
        }
        self.at_rest = false;
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
    let mut text = "| keeper | days | seed | pods | $ | $ bound | over the bound | plans | launched | removed | within an hour | moved | undone |\n\
                    |---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (keeper, life) in lives {
        text.push_str(&format!(
            "| {keeper} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
            life.days,
            life.seed,
            life.pods,
            life.dollars,
            life.dollars_bound,
            Ppm::gap(life.dollars, life.dollars_bound),
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
