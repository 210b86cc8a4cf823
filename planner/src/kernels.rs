//! The inner loops one by one, for benchmarks. Not part of the interface.

use crate::core::Core;
use crate::fill::Filler;
use crate::fluid::Fluid;
use crate::knapsack::Knapsack;
use crate::pack::{Guide, Packing, complete, fill_spares};
use crate::pricing::{Multipliers, PriceList, items, price_all};
use crate::problem::Problem;
use crate::tables;
use crate::{PlanError, check_policy, threads};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;

/// A problem with the multipliers of its fluid optimum: what every kernel starts from.
pub struct Kernels {
    core: Core,
    multipliers: Multipliers,
    list: PriceList,
}

impl Kernels {
    /// Reads a snapshot and solves its fluid program.
    ///
    /// # Errors
    /// [`PlanError`] when the input cannot be planned at all.
    pub fn new(
        snapshot: &Snapshot,
        catalog: &Catalog,
        policy: &Policy,
        wanted: usize,
    ) -> Result<Kernels, PlanError> {
        check_policy(policy)?;
        let problem = Problem::new(snapshot, catalog, policy, threads(wanted)?)?;
        let demand = problem.groups.iter().map(|group| group.demand).collect();
        let limits: Vec<i64> = problem.limits.iter().map(|limit| limit.remaining).collect();
        let core = Core::new(&problem, demand, &limits, true);
        let mut fluid = Fluid::new(&core);
        let (multipliers, list) = match fluid.solve(&|| 60.0) {
            Ok((point, list)) => (point.multipliers, list),
            Err(_) => {
                let multipliers = fluid.homogeneous_multipliers();
                let list = price_all(&core, &multipliers);
                (multipliers, list)
            }
        };
        Ok(Kernels { core, multipliers, list })
    }

    /// Undominated offerings.
    #[must_use]
    pub fn offerings(&self) -> usize {
        self.core.offers.len()
    }

    /// Prices one offering: the knapsack program over all groups it may take. Returns its value, dollars per hour.
    #[must_use]
    pub fn price_one(&self, offering: usize) -> f64 {
        let offer = &self.core.offers[offering % self.core.offers.len()];
        Knapsack::default().solve(
            &items(&offer.items, &offer.fines, &self.multipliers.pi),
            &self.core.w,
            &offer.cap,
        )
    }

    /// Prices one offering by tables: the best integer pattern. Returns what none is worth more than, dollars per hour.
    #[must_use]
    pub fn price_integer(&self, offering: usize) -> f64 {
        let at = offering % self.core.offers.len();
        let offer = &self.core.offers[at];
        let pi: Vec<i64> = self.multipliers.pi.iter().map(|pi| tables::scaled(*pi)).collect();
        let room = tables::Room { capacity: &offer.capacity, items: &offer.items, fines: &offer.fines };
        let y = self.list.offers[at].y.clone();
        let threshold = (tables::scaled(offer.cost), tables::scaled(offer.cost * 1e-4));
        let priced = tables::price(&self.core, room, &pi, y, threshold);
        priced.map_or(self.list.offers[at].value, |priced| priced.upper as f64 / tables::scaled(1.0) as f64)
    }

    /// Prices everything. Returns the bound it shows, dollars per hour.
    #[must_use]
    pub fn price_all(&self) -> f64 {
        price_all(&self.core, &self.multipliers).bound
    }

    /// Solves the fluid program from nothing. Returns its bound, dollars per hour.
    #[must_use]
    pub fn fluid(&self) -> f64 {
        Fluid::new(&self.core).solve(&|| 60.0).map_or(0.0, |(_, list)| list.bound)
    }

    /// Packs everything greedily by the multipliers. Returns the cost in micro-dollars per hour.
    #[must_use]
    pub fn pack(&self) -> i64 {
        let guide = Guide::new(&self.core, &self.multipliers, &self.list);
        let mut packing = Packing::empty(&self.core);
        let mut filler = Filler::default();
        fill_spares(&self.core, &guide, &mut packing, &mut filler);
        let bias = vec![1.0; self.core.demand.len()];
        complete(&self.core, &guide, &mut packing, &guide.near, &bias, &mut filler);
        packing.cost(&self.core)
    }
}
