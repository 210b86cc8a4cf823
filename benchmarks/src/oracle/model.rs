//! The assignment model, as one would write it on a whiteboard.

use super::Problem;
use good_lp::solvers::highs::{HighsParallelType, highs};
use good_lp::{
    Expression, ProblemVariables, ResolutionError, Solution as _, SolverModel as _, Variable, constraint,
    variable, variables,
};
use stowage_models::quantity::{MEMORY, Resources};
use stowage_models::units::UsdMicros;

/// Variables of the model. There are as many slots as pods: no optimum launches more.
struct Assignment {
    /// `x[p][s]`: pod `p` is in slot `s`. Only `s <= p`: slots are interchangeable, so pod 0 may take slot 0, pod 1 slot 0
    /// or 1 and so on, and no optimum is lost.
    x: Vec<Vec<Variable>>,
    /// `y[s][o]`: slot `s` is a node of offering `o`.
    y: Vec<Vec<Variable>>,
    /// `z[p][i]`: pod `p` is on existing node `i`.
    z: Vec<Vec<Variable>>,
}

impl Problem {
    /// Cost of the cheapest set of launches by the assignment model, or `None` if the pods cannot all be placed:
    ///
    /// ```text
    /// min   sum_so price_o y_so
    /// (place)     sum_s x_ps + sum_i z_pi = 1                       each pod p
    /// (one)       sum_o y_so <= 1                                   each slot s
    /// (capacity)  sum_p w_pr x_ps <= sum_o C_or y_so                each slot s, resource r
    /// (allowed)   x_ps <= sum_{o: p may use o} y_so                 each pod p, slot s
    /// (existing)  sum_p w_pr z_pi <= C_ir,  z_pi = 0 if p may not   each node i, resource r
    /// x, y, z binary
    /// ```
    ///
    /// Memory counts in MiB, so that all coefficients are integers a float holds exactly. The cost is recomputed from
    /// the rounded variables, which must satisfy every row exactly.
    ///
    /// # Panics
    /// If HiGHS fails, or returns a point that is not feasible in integers.
    #[must_use]
    pub fn by_model(&self) -> Option<UsdMicros> {
        if self.pods.is_empty() {
            // HiGHS calls a model without rows an error.
            return Some(UsdMicros::ZERO);
        }
        let mut all = variables!();
        let vars = self.variables(&mut all);
        let mut objective = Expression::default();
        for row in &vars.y {
            for (offering, y) in self.offerings.iter().zip(row) {
                objective += exact(offering.price.0) * *y;
            }
        }
        let mut model =
            all.minimise(objective).using(highs).set_parallel(HighsParallelType::Off).set_threads(1);
        model =
            model.set_mip_abs_gap(0.0).and_then(|model| model.set_mip_rel_gap(0.0)).expect("zero is a gap");
        for row in self.rows(&vars) {
            model.add_constraint(row);
        }
        match model.solve() {
            Ok(solution) => Some(self.verified(&vars, &|variable| solution.value(variable).round() >= 1.0)),
            Err(ResolutionError::Infeasible) => None,
            Err(error) => panic!("HiGHS failed on a model of {} pods: {error}", self.pods.len()),
        }
    }

    fn variables(&self, all: &mut ProblemVariables) -> Assignment {
        let pods = self.pods.len();
        let mut row =
            |count: usize| -> Vec<Variable> { (0..count).map(|_| all.add(variable().binary())).collect() };
        Assignment {
            x: (0..pods).map(|pod| row(pod + 1)).collect(),
            y: (0..pods).map(|_| row(self.offerings.len())).collect(),
            z: (0..pods).map(|_| row(self.nodes.len())).collect(),
        }
    }

    fn rows(&self, vars: &Assignment) -> Vec<good_lp::Constraint> {
        let mut rows = Vec::new();
        for pod in 0..self.pods.len() {
            let places: Expression = vars.x[pod].iter().chain(&vars.z[pod]).sum();
            rows.push(constraint!(places == 1));
            for (slot, x) in vars.x[pod].iter().enumerate() {
                let allowed = vars.y[slot].iter().zip(&self.pod_offering[pod]).filter(|(_, may)| **may);
                let allowed: Expression = allowed.map(|(y, _)| *y).sum();
                rows.push(constraint!(*x <= allowed));
            }
            for (z, may) in vars.z[pod].iter().zip(&self.pod_node[pod]) {
                rows.push(constraint!(*z <= if *may { 1.0 } else { 0.0 }));
            }
        }
        for (slot, y) in vars.y.iter().enumerate() {
            rows.push(constraint!(y.iter().sum::<Expression>() <= 1));
            for name in self.resources() {
                let used = self.used(name, &|pod| vars.x[pod].get(slot).copied());
                let capacity: Expression = y
                    .iter()
                    .zip(&self.offerings)
                    .map(|(y, offering)| whole(name, &offering.capacity) * *y)
                    .sum();
                rows.push(constraint!(used <= capacity));
            }
        }
        for (index, node) in self.nodes.iter().enumerate() {
            for name in self.resources() {
                let used = self.used(name, &|pod| Some(vars.z[pod][index]));
                rows.push(constraint!(used <= whole(name, node)));
            }
        }
        rows
    }

    /// Names of all requested resources.
    fn resources(&self) -> std::collections::BTreeSet<&str> {
        self.pods.iter().flat_map(|request| request.0.keys().map(String::as_str)).collect()
    }

    /// `sum_p w_pr v_p` over the pods that have a variable.
    fn used(&self, name: &str, of: &dyn Fn(usize) -> Option<Variable>) -> Expression {
        let terms = self.pods.iter().enumerate();
        terms.filter_map(|(pod, request)| Some(whole(name, request) * of(pod)?)).sum()
    }

    /// The cost of the point, after checking in integers that it places every pod once and overloads nothing.
    fn verified(&self, vars: &Assignment, chosen: &dyn Fn(Variable) -> bool) -> UsdMicros {
        let load = |column: &dyn Fn(usize) -> Option<Variable>| {
            let mut sum = Resources::default();
            for (pod, request) in self.pods.iter().enumerate() {
                if column(pod).is_some_and(chosen) {
                    sum.add(request);
                }
            }
            sum
        };
        let mut cost = UsdMicros::ZERO;
        for (slot, row) in vars.y.iter().enumerate() {
            let bought =
                row.iter().zip(&self.offerings).find(|(y, _)| chosen(**y)).map(|(_, offering)| offering);
            let used = load(&|pod| vars.x[pod].get(slot).copied());
            assert!(used.is_empty() || bought.is_some_and(|offering| used.fits(&offering.capacity)));
            cost += bought.map_or(UsdMicros::ZERO, |offering| offering.price);
        }
        for (index, node) in self.nodes.iter().enumerate() {
            assert!(load(&|pod| Some(vars.z[pod][index])).fits(node), "an existing node is overloaded");
        }
        for pod in 0..self.pods.len() {
            assert_eq!(
                vars.x[pod].iter().chain(&vars.z[pod]).filter(|v| chosen(**v)).count(),
                1,
                "placed once"
            );
        }
        cost
    }
}

/// An integer as a float; all integers of the oracle's cases are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "checked to be exact")]
fn exact(value: i64) -> f64 {
    assert!(value.unsigned_abs() < 1 << 53, "{value} has no exact float");
    value as f64
}

/// An amount of a resource in the model's unit. Capacities are rounded down to whole MiB; requests are whole MiB.
fn whole(name: &str, resources: &Resources) -> f64 {
    let amount = resources.get(name);
    exact(if name == MEMORY { amount >> 20 } else { amount })
}
