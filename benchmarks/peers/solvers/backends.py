"""The three solvers behind one function: Task -> Result.

Every one is used as its manual says, with its defaults but for time, threads, seed and a gap of zero, and is given the
greedy packing as a start.
"""

from dataclasses import dataclass
from typing import Callable, Optional

import numpy

from slot_model import Model

MICROS = 1_000_000
# What SCIP may take; it has no other idea of how much there is.
SCIP_MEMORY_MB = 8192


@dataclass
class Task:
    """What a solver is asked. `seconds` includes the time for handing it the model; `found` is told better solutions as
    they are found, from whatever thread; `clock` gives seconds."""

    model: Model
    start: numpy.ndarray
    seconds: float
    threads: int
    seed: int
    found: Callable
    clock: Callable


@dataclass
class Result:
    """What came of it. `bound` is in micro-dollars and holds for the model's number of slots."""

    values: Optional[numpy.ndarray]
    bound: Optional[float]
    status: str
    finished: bool
    build_seconds: float


def version(name):
    """The solver's version, for the answer."""
    if name == "cp-sat":
        import ortools

        return ortools.__version__
    if name == "highs":
        import highspy

        return highspy.Highs().version()
    import pyscipopt

    return f"{pyscipopt.Model().version()} (pyscipopt {pyscipopt.__version__})"


def cp_sat(task):
    from ortools.sat.python import cp_model

    model, began = task.model, task.clock()
    sat = cp_model.CpModel()
    variables = [sat.new_int_var(0, int(upper), "") for upper in model.upper]
    for low, high, columns, coefficients in rows(model):
        expression = cp_model.LinearExpr.weighted_sum([variables[j] for j in columns], coefficients)
        if low is None:
            sat.add(expression <= high)
        else:
            sat.add(expression == high)
    costly = numpy.flatnonzero(model.cost)
    sat.minimize(
        cp_model.LinearExpr.weighted_sum([variables[j] for j in costly.tolist()], model.cost[costly].tolist())
    )
    for variable, value in zip(variables, task.start.tolist()):
        sat.add_hint(variable, value)
    built = task.clock() - began
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = max(0.1, task.seconds - built)
    solver.parameters.num_workers = task.threads
    solver.parameters.random_seed = task.seed & 0x7FFF_FFFF

    class Best(cp_model.CpSolverSolutionCallback):
        def on_solution_callback(self):
            task.found(numpy.array([self.value(variable) for variable in variables], dtype=numpy.int64))

    status = solver.solve(sat, Best())
    values = None
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        values = numpy.array([solver.value(variable) for variable in variables], dtype=numpy.int64)
    name = solver.status_name(status)
    if status == cp_model.MODEL_INVALID:
        raise RuntimeError(f"CP-SAT refuses the model: {sat.validate()}")
    return Result(values, solver.best_objective_bound, name, status == cp_model.OPTIMAL, built)


def highs(task):
    import highspy

    model, began = task.model, task.clock()
    count, row_count = len(model.cost), len(model.row_low)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = count, row_count
    lp.col_cost_ = model.cost / MICROS
    lp.col_lower_ = numpy.zeros(count)
    lp.col_upper_ = model.upper.astype(numpy.float64)
    lp.row_lower_ = numpy.array([-highspy.kHighsInf if low is None else low for low in model.row_low], dtype=float)
    lp.row_upper_ = numpy.array(model.row_high, dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = count, row_count
    lp.a_matrix_.start_ = model.row_start
    lp.a_matrix_.index_ = model.column
    lp.a_matrix_.value_ = model.coefficient.astype(numpy.float64)
    lp.integrality_ = [highspy.HighsVarType.kInteger] * count
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("threads", task.threads)
    solver.setOptionValue("random_seed", task.seed & 0x7FFF_FFFF)
    solver.setOptionValue("mip_rel_gap", 0.0)
    # Prices are whole micro-dollars: half of one is no gap.
    solver.setOptionValue("mip_abs_gap", 0.5 / MICROS)
    if solver.passModel(lp) == highspy.HighsStatus.kError:
        raise RuntimeError("HiGHS refuses the model")
    solution = highspy.HighsSolution()
    solution.col_value = task.start.astype(numpy.float64).tolist()
    solver.setSolution(solution)
    built = task.clock() - began
    solver.setOptionValue("time_limit", max(0.1, task.seconds - built))
    solver.cbMipImprovingSolution.subscribe(lambda event: task.found(numpy.array(event.data_out.mip_solution)))
    solver.run()
    status = solver.getModelStatus()
    info = solver.getInfo()
    values = None
    if info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible:
        values = numpy.array(solver.getSolution().col_value)
    bound = info.mip_dual_bound * MICROS if abs(info.mip_dual_bound) < highspy.kHighsInf else None
    name = solver.modelStatusToString(status)
    return Result(values, bound, name, status == highspy.HighsModelStatus.kOptimal, built)


def scip(task):
    import pyscipopt

    class Best(pyscipopt.Eventhdlr):
        def eventinit(self):
            self.model.catchEvent(pyscipopt.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexit(self):
            self.model.dropEvent(pyscipopt.SCIP_EVENTTYPE.BESTSOLFOUND, self)

        def eventexec(self, event):
            best = self.model.getBestSol()
            task.found(numpy.array([self.model.getSolVal(best, variable) for variable in variables]))

    # SCIP itself uses one thread; its concurrent mode races settings and is not what people run.
    model, began = task.model, task.clock()
    solver = pyscipopt.Model()
    solver.hideOutput()
    solver.setParam("randomization/randomseedshift", task.seed & 0x7FFF_FFFF)
    costs = (model.cost / MICROS).tolist()
    variables = [
        solver.addVar(vtype="B" if upper == 1 else "I", lb=0, ub=upper, obj=cost)
        for upper, cost in zip(model.upper.tolist(), costs)
    ]
    for low, high, columns, coefficients in rows(model):
        empty = pyscipopt.Expr() <= high if low is None else pyscipopt.Expr() == high
        constraint = solver.addCons(empty)
        for j, coefficient in zip(columns, coefficients):
            solver.addConsCoeff(constraint, variables[j], coefficient)
    solution = solver.createSol()
    for j in numpy.flatnonzero(task.start).tolist():
        solver.setSolVal(solution, variables[j], int(task.start[j]))
    solver.addSol(solution)
    built = task.clock() - began
    solver.setParam("limits/memory", SCIP_MEMORY_MB)
    solver.setParam("limits/time", max(0.1, task.seconds - built))
    solver.includeEventhdlr(Best(), "best", "tells better solutions")
    # Without the interpreter's lock, so that the watchdog runs: SCIP does not look at the clock inside an LP.
    solver.optimizeNogil()
    values = None
    if solver.getNSols() > 0:
        best = solver.getBestSol()
        values = numpy.array([solver.getSolVal(best, variable) for variable in variables])
    bound = solver.getDualbound()
    bound = bound * MICROS if abs(bound) < solver.infinity() else None
    return Result(values, bound, solver.getStatus(), solver.getStatus() == "optimal", built)


def rows(model):
    """The rows as (low or None, high, columns, coefficients), plain Python numbers."""
    starts = model.row_start.tolist()
    columns, coefficients = model.column.tolist(), model.coefficient.tolist()
    for row, (low, high) in enumerate(zip(model.row_low, model.row_high)):
        first, last = starts[row], starts[row + 1]
        yield low, high, columns[first:last], coefficients[first:last]


SOLVERS = {"cp-sat": cp_sat, "highs": highs, "scip": scip}
