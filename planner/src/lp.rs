//! A thin safe wrapper around HiGHS: grow a linear program by rows and columns, run, read the solution.
//!
//! This is the only module with `unsafe` in Stowage. Two rules make it safe to *believe nothing*: every number that
//! leaves is checked for NaN, and every status other than optimal is a [`Fault`] the caller must survive with what it
//! already has. Bounds are never taken from here; they are recomputed from the duals in integers (`certificate.rs`).
#![expect(unsafe_code, reason = "HiGHS is a C library; all of its calls are in this file")]

use crate::faults::{self, Injected};
use std::ffi::{CStr, c_void};

/// Why a run gave nothing usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// HiGHS ended with another status than optimal (see `HighsModelStatus`), or refused the call.
    #[error("HiGHS ended with status {0}")]
    Status(i32),
    /// A NaN or an infinity in the solution.
    #[error("HiGHS returned a value that is not finite")]
    NotFinite,
    /// Sifting did not end.
    #[error("columns and rows kept coming in")]
    Cycle,
}

/// Columns to add: column-wise sparse, as HiGHS wants them.
#[derive(Default)]
pub(crate) struct Columns {
    cost: Vec<f64>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    start: Vec<i32>,
    index: Vec<i32>,
    value: Vec<f64>,
}

impl Columns {
    /// Appends a column with bounds `[0, upper]`. Entries are (row, coefficient).
    pub(crate) fn push(&mut self, cost: f64, upper: f64, entries: impl IntoIterator<Item = (usize, f64)>) {
        self.cost.push(cost);
        self.lower.push(0.0);
        self.upper.push(upper);
        self.start.push(int(self.index.len()));
        for (row, value) in entries {
            self.index.push(int(row));
            self.value.push(value);
        }
    }

    /// Number of columns.
    pub(crate) fn len(&self) -> usize {
        self.cost.len()
    }
}

/// A solution: primal values by column and duals by row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Solution {
    /// Objective value.
    pub(crate) objective: f64,
    /// Value of each column.
    pub(crate) primal: Vec<f64>,
    /// Dual of each row (for a minimisation, positive on a binding `>=` row).
    pub(crate) dual: Vec<f64>,
}

/// Where columns and rows stand, each a [`Stands`].
#[derive(Clone, Debug)]
pub(crate) struct Basis {
    columns: Vec<i32>,
    rows: Vec<i32>,
}

/// Where a column or row stands in a basis, by HiGHS's numbers (`HighsBasisStatus`).
#[derive(Clone, Copy)]
pub(crate) enum Stands {
    /// Nonbasic at the lower bound.
    Lower = 0,
    /// Basic.
    Basic = 1,
    /// Nonbasic at the upper bound.
    Upper = 2,
}

impl Basis {
    /// All columns at their lower bounds, all rows slack.
    pub(crate) fn slack(program: &Program) -> Basis {
        Basis {
            columns: vec![Stands::Lower as i32; program.columns],
            rows: vec![Stands::Basic as i32; program.rows],
        }
    }

    /// Says where a column stands.
    pub(crate) fn set_column(&mut self, column: usize, stands: Stands) {
        self.columns[column] = stands as i32;
    }

    /// Says where a row stands.
    pub(crate) fn set_row(&mut self, row: usize, stands: Stands) {
        self.rows[row] = stands as i32;
    }

    /// Whether a column is basic.
    pub(crate) fn is_basic_column(&self, column: usize) -> bool {
        self.columns[column] == Stands::Basic as i32
    }

    /// Whether a row is basic: slack, but for degeneracy.
    pub(crate) fn is_basic_row(&self, row: usize) -> bool {
        self.rows[row] == Stands::Basic as i32
    }

    /// Where these columns and rows stand: the basis of a program that has only them, in this order.
    pub(crate) fn of(&self, columns: &[usize], rows: &[usize]) -> Basis {
        Basis {
            columns: columns.iter().map(|column| self.columns[*column]).collect(),
            rows: rows.iter().map(|row| self.rows[*row]).collect(),
        }
    }
}

/// A linear (or small integer) program inside HiGHS.
pub(crate) struct Program {
    raw: *mut c_void,
    columns: usize,
    rows: usize,
    iterations: u64,
    /// Seconds that a run may take.
    seconds: f64,
}

// SAFETY: a HiGHS object may be used from any one thread at a time, and `Program` is neither Sync nor Clone.
unsafe impl Send for Program {}

/// HiGHS counts in 32-bit integers; models here have at most some 10^5 entries.
fn int(n: usize) -> i32 {
    i32::try_from(n).expect("a linear program has fewer than 2^31 entries")
}

/// Simplex variants. Primal continues after columns were added, dual after right-hand sides changed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simplex {
    /// `simplex_strategy = 1`.
    Dual = 1,
    /// `simplex_strategy = 4`.
    Primal = 4,
}

/// Iterations after which a program is taken to go in circles: well above the most that one took which did not (1,455 for 165 to 200 rows,
/// counted once over the cases of `stowage-bench targets`).
const ITERATIONS_MIN: usize = 2_000;
/// The same for each row.
const ITERATIONS_PER_ROW: usize = 10;
/// `HighsModelStatus::kIterationLimit`.
const ITERATION_LIMIT: i32 = 14;

impl Program {
    /// An empty minimisation: one thread, no presolve (it would drop the basis), no output.
    pub(crate) fn new() -> Program {
        // SAFETY: Highs_create takes nothing and returns an owned object, freed in Drop.
        let raw = unsafe { highs_sys::Highs_create() };
        assert!(!raw.is_null(), "HiGHS could not allocate its object");
        let mut program = Program { raw, columns: 0, rows: 0, iterations: 0, seconds: f64::INFINITY };
        program.set_bool(c"output_flag", false);
        program.set_int(c"threads", 1);
        program.set_int(c"random_seed", 0);
        program.set_text(c"parallel", c"off");
        program.set_text(c"presolve", c"off");
        program.set_text(c"solver", c"simplex");
        program.perturb(false);
        program
    }

    fn set_bool(&mut self, name: &CStr, value: bool) {
        // SAFETY: self.raw is live; name is NUL-terminated.
        unsafe { highs_sys::Highs_setBoolOptionValue(self.raw, name.as_ptr(), i32::from(value)) };
    }

    fn set_int(&mut self, name: &CStr, value: i32) {
        // SAFETY: as above.
        unsafe { highs_sys::Highs_setIntOptionValue(self.raw, name.as_ptr(), value) };
    }

    fn set_double(&mut self, name: &CStr, value: f64) {
        // SAFETY: as above.
        unsafe { highs_sys::Highs_setDoubleOptionValue(self.raw, name.as_ptr(), value) };
    }

    fn set_text(&mut self, name: &CStr, value: &CStr) {
        // SAFETY: as above; both strings are NUL-terminated.
        unsafe { highs_sys::Highs_setStringOptionValue(self.raw, name.as_ptr(), value.as_ptr()) };
    }

    /// Time for each of the next runs. HiGHS adds up its clock over runs, so [`Program::run`] zeroes it.
    pub(crate) fn set_time_limit(&mut self, seconds: f64) {
        self.seconds = seconds;
        self.set_double(c"time_limit", seconds);
    }

    /// Seconds that each of the next runs may take.
    pub(crate) fn time_limit(&self) -> f64 {
        self.seconds
    }

    /// Columns so far.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// Simplex iterations since creation.
    pub(crate) fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Adds empty rows `lower <= row <= upper`; returns the index of the first.
    pub(crate) fn add_rows(&mut self, bounds: &[(f64, f64)]) -> usize {
        let first = self.rows;
        let lower: Vec<f64> = bounds.iter().map(|b| b.0).collect();
        let upper: Vec<f64> = bounds.iter().map(|b| b.1).collect();
        // SAFETY: arrays have the stated lengths; with no entries the three last pointers are not read.
        unsafe {
            highs_sys::Highs_addRows(
                self.raw,
                int(bounds.len()),
                lower.as_ptr(),
                upper.as_ptr(),
                0,
                std::ptr::null(),
                std::ptr::null(),
                std::ptr::null(),
            )
        };
        self.rows += bounds.len();
        first
    }

    /// Adds a row `lower <= row <= upper` over existing columns; returns its index. Entries are (column, coefficient).
    pub(crate) fn add_row(&mut self, lower: f64, upper: f64, entries: &[(usize, f64)]) -> usize {
        let columns: Vec<i32> = entries.iter().map(|(column, _)| int(*column)).collect();
        let values: Vec<f64> = entries.iter().map(|(_, value)| *value).collect();
        assert!(entries.iter().all(|(column, _)| *column < self.columns));
        // SAFETY: both arrays have the stated length; all columns exist.
        unsafe {
            highs_sys::Highs_addRow(
                self.raw,
                lower,
                upper,
                int(entries.len()),
                columns.as_ptr(),
                values.as_ptr(),
            )
        };
        self.rows += 1;
        self.rows - 1
    }

    /// Adds columns; returns the index of the first.
    pub(crate) fn add_columns(&mut self, columns: &Columns) -> usize {
        let first = self.columns;
        debug_assert!(columns.index.iter().all(|row| (*row as usize) < self.rows));
        // SAFETY: all arrays are as long as stated; row indices are below self.rows.
        unsafe {
            highs_sys::Highs_addCols(
                self.raw,
                int(columns.len()),
                columns.cost.as_ptr(),
                columns.lower.as_ptr(),
                columns.upper.as_ptr(),
                int(columns.index.len()),
                columns.start.as_ptr(),
                columns.index.as_ptr(),
                columns.value.as_ptr(),
            )
        };
        self.columns += columns.len();
        first
    }

    /// The basis of the last run.
    pub(crate) fn basis(&self) -> Basis {
        let mut basis = Basis { columns: vec![0; self.columns], rows: vec![0; self.rows] };
        // SAFETY: both arrays are as long as the program has columns and rows.
        unsafe { highs_sys::Highs_getBasis(self.raw, basis.columns.as_mut_ptr(), basis.rows.as_mut_ptr()) };
        basis
    }

    /// Continues from a basis of this program, which may have grown since: new columns stand at zero, new rows are slack.
    pub(crate) fn set_basis(&mut self, basis: &Basis) {
        let mut columns = basis.columns.clone();
        let mut rows = basis.rows.clone();
        columns.resize(self.columns, Stands::Lower as i32);
        rows.resize(self.rows, Stands::Basic as i32);
        // SAFETY: both arrays are as long as the program has columns and rows.
        unsafe { highs_sys::Highs_setBasis(self.raw, columns.as_ptr(), rows.as_ptr()) };
    }

    /// Changes the bounds of a column.
    pub(crate) fn set_column(&mut self, column: usize, lower: f64, upper: f64) {
        assert!(column < self.columns, "column {column} of {}", self.columns);
        // SAFETY: the column exists.
        unsafe { highs_sys::Highs_changeColBounds(self.raw, int(column), lower, upper) };
    }

    /// Changes the bounds of a row.
    pub(crate) fn set_row(&mut self, row: usize, lower: f64, upper: f64) {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: the row exists.
        unsafe { highs_sys::Highs_changeRowBounds(self.raw, int(row), lower, upper) };
    }

    /// Makes every column integer and limits the search; used for tiny restricted problems only.
    pub(crate) fn make_integer(&mut self, branches_max: i32, seconds_max: f64) {
        self.set_text(c"presolve", c"on");
        self.set_text(c"solver", c"choose");
        self.set_int(c"mip_max_nodes", branches_max);
        self.set_double(c"time_limit", seconds_max);
        self.set_double(c"mip_rel_gap", 0.0);
        self.set_double(c"mip_abs_gap", 1e-9);
        let kinds = vec![1_i32; self.columns];
        if let Some(last) = self.columns.checked_sub(1) {
            // SAFETY: the range is that of all columns and `kinds` has one entry each.
            unsafe { highs_sys::Highs_changeColsIntegralityByRange(self.raw, 0, int(last), kinds.as_ptr()) };
        }
    }

    /// Iterations that a solution takes at most if it does not go in circles: ten for each row and some more.
    fn usual(&self) -> i32 {
        int(ITERATIONS_MIN + ITERATIONS_PER_ROW * self.rows)
    }

    /// Solves and reads the solution.
    pub(crate) fn run(&mut self, simplex: Simplex) -> Result<Solution, Fault> {
        let injected = faults::next();
        if injected == Some(Injected::LostBasis) {
            // SAFETY: self.raw is live.
            unsafe { highs_sys::Highs_clearSolver(self.raw) };
        }
        self.set_int(c"simplex_strategy", simplex as i32);
        let usual = if injected == Some(Injected::Circles) { 0 } else { self.usual() };
        self.set_int(c"simplex_iteration_limit", usual);
        let mut ended = self.solve();
        if ended.1 == ITERATION_LIMIT {
            // It goes in circles, or nearly.
            // SAFETY: self.raw is live.
            let spent = unsafe { highs_sys::Highs_getRunTime(self.raw) };
            self.set_double(c"time_limit", (self.seconds - spent).max(0.0));
            self.perturb(true);
            self.set_int(c"simplex_iteration_limit", i32::MAX);
            ended = self.solve();
            self.perturb(false);
            self.set_double(c"time_limit", self.seconds);
        }
        let (code, status) = ended;
        if let Some(Injected::Status(status)) = injected {
            return Err(Fault::Status(status));
        }
        // 7 = optimal.
        if code < 0 || status != 7 {
            return Err(Fault::Status(status));
        }
        self.read(injected)
    }

    /// Runs HiGHS and counts its iterations: the code it returns and the status of the model.
    fn solve(&mut self) -> (i32, i32) {
        let mut count = 0;
        // SAFETY: self.raw is live; the out-pointer is valid for the call.
        let ended = unsafe {
            highs_sys::Highs_zeroAllClocks(self.raw);
            let ended = (highs_sys::Highs_run(self.raw), highs_sys::Highs_getModelStatus(self.raw));
            highs_sys::Highs_getIntInfoValue(self.raw, c"simplex_iteration_count".as_ptr(), &raw mut count);
            ended
        };
        self.iterations += u64::try_from(count).unwrap_or(0);
        ended
    }

    /// Perturbed costs and bounds avoid going in circles in hard programs. Ours are small and solved again and again from nearby bases, and
    /// undoing the perturbation takes as many iterations as the solution: only where there is need.
    fn perturb(&mut self, perturb: bool) {
        let multiplier = if perturb { 1.0 } else { 0.0 };
        self.set_double(c"dual_simplex_cost_perturbation_multiplier", multiplier);
        self.set_double(c"primal_simplex_bound_perturbation_multiplier", multiplier);
    }

    /// Runs an integer program (after [`Program::make_integer`]). A limit that ends the search early still leaves the best
    /// point found, so any status with a finite point is an answer; the caller verifies it.
    pub(crate) fn run_integer(&mut self) -> Result<Solution, Fault> {
        // SAFETY: self.raw is live.
        let (code, status) =
            unsafe { (highs_sys::Highs_run(self.raw), highs_sys::Highs_getModelStatus(self.raw)) };
        // 7 = optimal, 13 to 16 = a limit was reached.
        if code < 0 || !(status == 7 || (13..=16).contains(&status)) {
            return Err(Fault::Status(status));
        }
        self.read(None)
    }

    fn read(&self, injected: Option<Injected>) -> Result<Solution, Fault> {
        let mut solution =
            Solution { objective: 0.0, primal: vec![0.0; self.columns], dual: vec![0.0; self.rows] };
        let mut column_dual = vec![0.0; self.columns];
        let mut row_value = vec![0.0; self.rows];
        // SAFETY: the four arrays have one entry per column, column, row and row.
        unsafe {
            highs_sys::Highs_getSolution(
                self.raw,
                solution.primal.as_mut_ptr(),
                column_dual.as_mut_ptr(),
                row_value.as_mut_ptr(),
                solution.dual.as_mut_ptr(),
            );
            highs_sys::Highs_getDoubleInfoValue(
                self.raw,
                c"objective_function_value".as_ptr(),
                &raw mut solution.objective,
            );
        }
        match injected {
            Some(Injected::NotANumber) => solution.dual.iter_mut().for_each(|dual| *dual = f64::NAN),
            Some(Injected::WrongOptimum) => {
                let wrong = |(k, value): (usize, &mut f64)| *value = 3.0 * *value + 0.01 * (k % 7) as f64;
                solution.dual.iter_mut().enumerate().for_each(wrong);
                solution.primal.iter_mut().enumerate().for_each(wrong);
            }
            _ => {}
        }
        let finite = solution.objective.is_finite()
            && solution.primal.iter().chain(&solution.dual).all(|value| value.is_finite());
        if finite { Ok(solution) } else { Err(Fault::NotFinite) }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created in `new`, destroyed once.
        unsafe { highs_sys::Highs_destroy(self.raw) };
    }
}

/// An upper bound HiGHS reads as infinite.
pub(crate) const INFINITY: f64 = f64::INFINITY;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_columns_and_keeps_duals() {
        // min 3x + 2y, x + y >= 4, then a cheaper column z = (1) at cost 1 takes over.
        let mut program = Program::new();
        program.add_rows(&[(4.0, INFINITY)]);
        let mut columns = Columns::default();
        columns.push(3.0, INFINITY, [(0, 1.0)]);
        columns.push(2.0, INFINITY, [(0, 1.0)]);
        program.add_columns(&columns);
        let first = program.run(Simplex::Primal).expect("feasible and bounded");
        assert!((first.objective - 8.0).abs() < 1e-9 && (first.dual[0] - 2.0).abs() < 1e-9);
        let mut more = Columns::default();
        more.push(1.0, INFINITY, [(0, 1.0)]);
        program.add_columns(&more);
        let second = program.run(Simplex::Primal).expect("feasible and bounded");
        assert!((second.objective - 4.0).abs() < 1e-9);
    }

    #[test]
    fn what_goes_in_circles_is_solved_once_more() {
        let mut program = Program::new();
        program.add_rows(&[(4.0, INFINITY), (2.0, INFINITY)]);
        let mut columns = Columns::default();
        columns.push(3.0, INFINITY, [(0, 1.0), (1, 1.0)]);
        columns.push(2.0, INFINITY, [(0, 1.0)]);
        program.add_columns(&columns);
        let (solved, _) = faults::with(|_| Some(Injected::Circles), || program.run(Simplex::Primal));
        assert!((solved.expect("a second try").objective - 10.0).abs() < 1e-9);
    }

    #[test]
    fn infeasible_and_interrupted_runs_are_faults() {
        let mut program = Program::new();
        program.add_rows(&[(1.0, INFINITY)]);
        let mut columns = Columns::default();
        columns.push(1.0, 0.5, [(0, 1.0)]);
        program.add_columns(&columns);
        assert!(matches!(program.run(Simplex::Dual), Err(Fault::Status(_))));
    }
}
