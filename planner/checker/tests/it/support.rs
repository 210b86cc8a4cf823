//! A naive maker of small plans that are right, bound and all. Written without a look at the referee's code.
//!
//! [`snapshots`] has the problems, [`offers`] what may be launched, [`place`] puts pods somewhere, [`between`] knows constraints between
//! pods, [`proof`] writes certificate and bound, [`write`] the plan.

mod between;
mod offers;
mod place;
mod proof;
mod snapshots;
mod write;

pub(crate) use snapshots::*;
pub(crate) use write::restate;

use std::collections::{BTreeMap, BTreeSet};
use stowage_checker::{Finding, check};
use stowage_models::catalog::{Catalog, InstanceType, Price};
use stowage_models::objects::{NodePool, PodRef, PodSpec};
use stowage_models::plan::{Plan, Policy, UnplacedReason};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// A snapshot, a catalogue and a plan for them.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) snapshot: Snapshot,
    pub(crate) catalog: Catalog,
    pub(crate) plan: Plan,
}

impl Case {
    pub(crate) fn new(snapshot: Snapshot, rule: Rule) -> Case {
        let catalog = small_catalog();
        let plan = make_plan(&snapshot, &catalog, rule);
        Case { snapshot, catalog, plan }
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        check(&self.snapshot, &self.catalog, &self.plan)
    }

    /// The codes found after the plan got a fresh id.
    pub(crate) fn codes(&mut self) -> BTreeSet<&'static str> {
        self.plan.id = self.plan.compute_id();
        self.findings().into_iter().map(|finding| finding.code).collect()
    }
}

/// How the maker proves its bound.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A price of cpu that no offering beats, and pods at that price.
    Cpu,
    /// No price of resources; every pod worth the cheapest node over all it could hold.
    Zero,
}

struct Offer<'a> {
    pool: &'a NodePool,
    instance: &'a InstanceType,
    zone: String,
    capacity_type: &'static str,
    variant: Labels,
    price: Price,
    labels: Labels,
    capacity: Resources,
    allocatable: Resources,
    daemon_sets: Resources,
    /// What is left; `None` if DaemonSets do not fit.
    room: Option<Resources>,
}

struct Group {
    labels: Labels,
    spec: PodSpec,
    request: Resources,
    pods: Vec<PodRef>,
    placed: u64,
    /// Lowest weight of a pool one of its pods went to.
    weight: Option<i32>,
}

/// Pods with their groups.
type Placed = Vec<(usize, PodRef)>;

struct Maker<'a> {
    snapshot: &'a Snapshot,
    offers: Vec<Offer<'a>>,
    groups: Vec<Group>,
    unsupported: Vec<PodRef>,
    /// By node: what it has left, `None` if it takes nothing.
    free: BTreeMap<&'a str, Resources>,
    start: BTreeMap<&'a str, Resources>,
    on_node: BTreeMap<&'a str, Placed>,
    launches: Vec<(usize, Resources, Placed)>,
    left_out: BTreeMap<UnplacedReason, Vec<PodRef>>,
    limited: BTreeSet<usize>,
}

/// A right plan for a small problem.
pub(crate) fn make_plan(snapshot: &Snapshot, catalog: &Catalog, rule: Rule) -> Plan {
    // The maker does not look at preferences.
    let policy = Policy { preferences: None, ..Policy::default() };
    let mut maker = Maker {
        snapshot,
        offers: offers::offers(snapshot, catalog, policy.slack),
        groups: Vec::new(),
        unsupported: Vec::new(),
        free: BTreeMap::new(),
        start: BTreeMap::new(),
        on_node: BTreeMap::new(),
        launches: Vec::new(),
        left_out: BTreeMap::new(),
        limited: BTreeSet::new(),
    };
    maker.sort_pods();
    maker.measure_nodes(policy.slack);
    maker.place();
    maker.write(catalog, policy, rule)
}
