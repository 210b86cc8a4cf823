//! What one run leaves for the next, so that a batch that arrives later need not start from nothing.
//!
//! Two things are kept. *Prices of room*: for the NodePool, type, zone and capacity type of each undominated offering the
//! price of a unit of every resource there (the dual vector of its knapsack at the best multipliers). A pod nobody has seen
//! is then worth what the least expensive room it could use costs, `min_o y_o . w_g`: without any linear program that is nearly the fluid
//! dual, because groups and offerings are priced as before. And *tables* derived from the catalogue, which are dear to make and the
//! same in every run.
//!
//! A warm state is a hint. The multipliers it suggests are priced, scaled and proved like any others, and where they prove too
//! little the run goes on as if there were none; so a state of another cluster, or of last year, costs time and nothing else.

use crate::blocks::Block;
use crate::core::Core;
use crate::existing::running_requests;
use crate::fluid::homogeneous;
use crate::pricing::{Multipliers, PriceList, full_price};
use crate::problem::Problem;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::quantity::Resources;
use stowage_models::selector::Labels;
use stowage_models::snapshot::Snapshot;

/// Offerings worth less than this share of their price are not remembered: their room has no price of its own.
const NEAR: f64 = 0.9;

/// Places remembered at most: more than a catalogue has undominated offerings in a hundred NodePools.
const PLACES_MAX: usize = 50_000;

/// What one run of the planner leaves for the next; give it to [`crate::plan_warm`]. The default knows nothing.
#[derive(Clone, Default)]
pub struct Warm {
    prices: BTreeMap<Place, Vec<(String, f64)>>,
    tables: Option<Arc<Tables>>,
}

/// NodePool, instance type, zone and capacity type.
type Place = (String, String, String, u32);

/// What is derived from a catalogue alone.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    /// Digest of the catalogue.
    pub(crate) digest: String,
    /// Labels by type.
    pub(crate) labels: Vec<Labels>,
}

/// What a problem needs and another run, or another thread, may have made.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prepared {
    /// Of the catalogue.
    pub(crate) tables: Arc<Tables>,
    /// Digest of the snapshot, once somebody computed it.
    pub(crate) digest: Arc<OnceLock<String>>,
    /// What runs on each node of the snapshot, once somebody added it up.
    running: Arc<OnceLock<BTreeMap<String, Resources>>>,
}

impl Prepared {
    /// For a snapshot with the same nodes and running pods that is not the input: nobody asks for its digest.
    pub(crate) fn for_variant(&self) -> Prepared {
        Prepared { digest: Arc::new(OnceLock::from(String::new())), ..self.clone() }
    }

    /// The digest of the snapshot; waits for whoever computes it already.
    pub(crate) fn digest(&self, snapshot: &Snapshot) -> String {
        self.digest.get_or_init(|| snapshot.digest()).clone()
    }

    /// See [`running_requests`].
    pub(crate) fn running(&self, snapshot: &Snapshot) -> &BTreeMap<String, Resources> {
        self.running.get_or_init(|| running_requests(snapshot))
    }
}

impl std::fmt::Debug for Warm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Warm").field("offerings", &self.prices.len()).finish_non_exhaustive()
    }
}

fn place(problem: &Problem<'_>, offering: usize) -> Place {
    let offering = &problem.offerings[offering];
    let kind = &problem.catalog.types[offering.instance_type as usize];
    let zone = kind.zones[offering.zone as usize].zone.clone();
    (problem.pool(offering).name.clone(), kind.name.clone(), zone, offering.capacity_type)
}

impl Warm {
    /// The tables of a catalogue: the ones kept, if they are its.
    pub(crate) fn prepare(&self, catalog: &Catalog) -> Prepared {
        let digest = catalog.digest();
        let tables = match &self.tables {
            Some(tables) if tables.digest == digest => tables.clone(),
            _ => {
                Arc::new(Tables { digest, labels: catalog.types.iter().map(InstanceType::labels).collect() })
            }
        };
        Prepared { tables, ..Prepared::default() }
    }

    /// What a run with these tables leaves, before anything was priced.
    pub(crate) fn of(prepared: &Prepared) -> Warm {
        Warm { prices: BTreeMap::new(), tables: Some(prepared.tables.clone()) }
    }

    /// Whether there are no prices to go by.
    pub(crate) fn is_cold(&self) -> bool {
        self.prices.is_empty()
    }

    /// Keeps the prices of room of an older state where this one has none.
    pub(crate) fn inherit(&mut self, older: &Warm) {
        for (place, prices) in older.prices.iter().take(PLACES_MAX.saturating_sub(self.prices.len())) {
            self.prices.entry(place.clone()).or_insert_with(|| prices.clone());
        }
    }

    /// Remembers what room costs at the given multipliers.
    pub(crate) fn remember(
        &mut self,
        problem: &Problem<'_>,
        block: &Block,
        multipliers: &Multipliers,
        list: &PriceList,
    ) {
        let core = &block.core;
        let theta = list.theta.max(1e-12);
        for (o, priced) in list.offers.iter().enumerate() {
            if priced.value < NEAR * theta * full_price(core, o, multipliers) {
                continue;
            }
            let names = core.resources.iter().map(|r| problem.resources[*r].clone());
            let prices = names.zip(priced.y.iter().map(|y| y / theta)).collect();
            self.prices.insert(place(problem, core.offers[o].offering), prices);
        }
    }

    /// Multipliers for the groups of a core: each is worth what the cheapest room it may use costs, as remembered; where
    /// nothing is remembered, what a node full of nothing else costs for each.
    pub(crate) fn multipliers(&self, problem: &Problem<'_>, core: &Core) -> Multipliers {
        let mut pi = vec![f64::INFINITY; core.demand.len()];
        let mut alone = vec![f64::INFINITY; core.demand.len()];
        for (o, offer) in core.offers.iter().enumerate() {
            for (g, _) in &offer.items {
                let each = homogeneous(core, *g as usize, o);
                alone[*g as usize] = alone[*g as usize].min(each);
            }
            let Some(prices) = self.prices.get(&place(problem, offer.offering)) else { continue };
            let price = |r: &usize| {
                let known = prices.iter().find(|(name, _)| *name == problem.resources[*r]);
                known.map_or(0.0, |(_, y)| *y)
            };
            let y: Vec<f64> = core.resources.iter().map(price).collect();
            for (g, _) in &offer.items {
                pi[*g as usize] = pi[*g as usize].min(core.worth_of_room(*g as usize, &y));
            }
        }
        let either = |(pi, alone): (f64, &f64)| if pi.is_finite() { pi } else { *alone };
        let pi = pi.into_iter().zip(&alone).map(either).map(|pi| if pi.is_finite() { pi } else { 0.0 });
        Multipliers { pi: pi.collect(), mu: vec![0.0; core.limits.len()], surcharge: Vec::new() }
    }
}
