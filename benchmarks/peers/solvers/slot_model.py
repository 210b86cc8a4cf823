"""The naive slot model: what anybody writes down first for "which machines, and which pods on them".

A slot may become one new node. For groups g of equal pods, slots s, existing nodes i, offerings o, kinds of offerings c, resources r:

    min   sum price_o y_so
          sum_o y_so <= 1                                       each slot
          sum_g w_gr x_gsc <= sum_{o in c} capacity_or y_so     each slot, kind and resource
          sum_g w_gr x_gi <= free_ir                            each existing node and resource
          sum_sc x_gsc + sum_i x_gi = count_g - left_g          each group
          sum_so use_lo y_so <= remaining_l                     each limit
          x integer >= 0, y binary

A kind is a set of offerings that admit the same groups; x_gsc exists where c admits g. (One x_gs for all kinds, held to the
chosen kind by x_gs <= u_g sum_o y_so, is a smaller model with a far worse relaxation: on web-1k it proves half as much.)

left_g, pods that limits leave no room for, is what the greedy packing could not place; without limits it is zero. (As a
variable with a penalty it would be most of the objective, and the bound on the cost would be worth nothing.) Slots are
interchangeable, and nothing here tells a solver so.

Amounts of a resource are divided by the greatest common divisor of all requests for it; capacities are rounded down, which
changes nothing, because every sum of requests is a multiple of that divisor. So all coefficients are small exact integers.
"""

import math
from dataclasses import dataclass, field

import numpy

# A larger model takes more memory than people have: SCIP needs 14 KB for each variable of mixed-10k-od, CP-SAT 6 KB.
VARIABLES_MAX = 1_000_000


class TooBig(Exception):
    """The model would have more than VARIABLES_MAX variables."""


@dataclass
class Problem:
    """`aggregate` of the input as arrays; amounts in units of `divisor`."""

    resources: list
    divisor: numpy.ndarray  # [resource]
    count: numpy.ndarray  # [group]
    request: numpy.ndarray  # [group, resource]
    price: numpy.ndarray  # [offering]
    capacity: numpy.ndarray  # [offering, resource]
    offering_class: numpy.ndarray  # [offering]
    allowed: numpy.ndarray  # [class, group], bool
    free: numpy.ndarray  # [node, resource]
    node_allowed: numpy.ndarray  # [node, group], bool
    remaining: numpy.ndarray  # [limit]
    use: numpy.ndarray  # [limit, offering]

    @staticmethod
    def read(aggregate):
        """Raises KeyError, TypeError or ValueError if the document is not of the format."""
        groups, offerings, nodes = aggregate["groups"], aggregate["offerings"], aggregate["nodes"]
        resources = list(aggregate["resources"])
        table = lambda rows, width: numpy.array(rows, dtype=numpy.int64).reshape(len(rows), width)
        request = table([group["request"] for group in groups], len(resources))
        # A resource nobody asks for limits nothing.
        asked = [r for r in range(len(resources)) if request[:, r].any()]
        divisor = numpy.array([math.gcd(*request[:, r].tolist()) for r in asked], dtype=numpy.int64)
        scaled = lambda rows: table(rows, len(resources))[:, asked] // divisor
        members = lambda sets: numpy.array([[g in s for g in range(len(groups))] for s in map(set, sets)], dtype=bool)
        limits = aggregate["limits"]
        return Problem(
            resources=[resources[r] for r in asked],
            divisor=divisor,
            count=numpy.array([len(group["pods"]) for group in groups], dtype=numpy.int64),
            request=scaled([group["request"] for group in groups]),
            price=numpy.array([offering["price"] for offering in offerings], dtype=numpy.int64),
            capacity=scaled([offering["capacity"] for offering in offerings]),
            offering_class=numpy.array([offering["class"] for offering in offerings], dtype=numpy.int64),
            allowed=members(aggregate["classes"]).reshape(len(aggregate["classes"]), len(groups)),
            free=scaled([node["free"] for node in nodes]),
            node_allowed=members([node["groups"] for node in nodes]).reshape(len(nodes), len(groups)),
            remaining=numpy.array([limit["remaining"] for limit in limits], dtype=numpy.int64),
            use=table([limit["capacity"] for limit in limits], len(offerings)),
        )

    def kinds(self):
        """Merges classes that differ only in what fits: (kind of each offering, groups each kind admits).

        The input's classes tell groups that do not fit from those that do; then nearly every size is a class of its
        own. Where the capacity row alone keeps a group out, admitting it changes nothing, so offerings are put
        together as long as they agree on every group that would fit.
        """
        fits = self.copies(self.capacity) > 0
        kind_of = numpy.zeros(len(self.price), dtype=numpy.int64)
        admitted, known = [], []
        # Those that hold the most say the most.
        for o in numpy.argsort(-fits.sum(axis=1), kind="stable"):
            own = self.allowed[self.offering_class[o]]
            for kind, (admits, knows) in enumerate(zip(admitted, known)):
                if not (fits[o] & knows & (own != admits)).any():
                    break
            else:
                kind = len(admitted)
                admitted.append(numpy.ones(len(self.count), dtype=bool))
                known.append(numpy.zeros(len(self.count), dtype=bool))
            kind_of[o] = kind
            admitted[kind][fits[o]] = own[fits[o]]
            known[kind] |= fits[o]
        return kind_of, numpy.array(admitted, dtype=bool).reshape(len(admitted), len(self.count))

    def places(self):
        """Where pods may be: (kind of each offering, pairs of kind and group, most pods of that group on one node)."""
        kind_of, admits = self.kinds()
        fits = self.copies(self.capacity)
        most = numpy.zeros(admits.shape, dtype=numpy.int64)
        for o, kind in enumerate(kind_of):
            most[kind] = numpy.maximum(most[kind], fits[o])
        pairs = numpy.argwhere(admits & (most > 0))
        return kind_of, pairs, most[pairs[:, 0], pairs[:, 1]]

    def node_copies(self):
        """How many pods of each group fit into each existing node, alone: [node, group]."""
        return numpy.where(self.node_allowed, self.copies(self.free), 0)

    def copies(self, room):
        """How many pods of each group fit into each row of `room`, alone: [row, group]."""
        fits = numpy.repeat(self.count[None, :], len(room), axis=0)
        for r in range(len(self.resources)):
            wants = self.request[:, r] > 0
            fits[:, wants] = numpy.minimum(fits[:, wants], room[:, r, None] // self.request[None, wants, r])
        return fits


@dataclass
class Packing:
    """A solution: nodes to launch as (offering, {group: pods}), pods on existing nodes, pods left out."""

    launches: list = field(default_factory=list)
    existing: dict = field(default_factory=dict)  # node -> {group: pods}
    unplaced: dict = field(default_factory=dict)  # group -> pods

    def cost(self, problem):
        return sum(int(problem.price[offering]) for offering, _ in self.launches)

    def left_out(self):
        return sum(self.unplaced.values())

    def fault(self, problem):
        """What is wrong with it in exact integers, or None."""
        placed = numpy.zeros_like(problem.count)
        allowed = lambda offering: problem.allowed[problem.offering_class[offering]]
        bins = [(f"a node of offering {o}", problem.capacity[o], allowed(o), pods) for o, pods in self.launches]
        bins += [(f"node {i}", problem.free[i], problem.node_allowed[i], pods) for i, pods in self.existing.items()]
        for name, room, allowed, pods in bins:
            load = sum((count * problem.request[g] for g, count in pods.items()), numpy.zeros_like(room))
            if (load > room).any():
                r = int(numpy.argmax(load - room))
                return f"{name} holds {load[r]} of {problem.resources[r]}, which is {load[r] - room[r]} units too much"
            for g, count in pods.items():
                if count < 0 or not allowed[g]:
                    return f"{name} holds {count} pods of group {g}, which is not allowed there"
                placed[g] += count
        for g, count in self.unplaced.items():
            placed[g] += count
        if (placed != problem.count).any():
            g = int(numpy.argmax(placed != problem.count))
            return f"{placed[g]} of {problem.count[g]} pods of group {g} are accounted for"
        for limit, use in enumerate(problem.use):
            used = sum(int(use[offering]) for offering, _ in self.launches)
            if used > problem.remaining[limit]:
                return f"limit {limit} has {problem.remaining[limit]} left, {used} is used"
        return None


def greedy(problem):
    """The upper bound the number of slots is taken from, and the start every solver is given.

    Existing nodes are filled first. Then, again and again: fill one node of every offering with what is left, the most
    valuable pods first, take the offering that holds most value per dollar (of those within 10 % of it the one that holds
    most, because fewer nodes make a smaller model), and launch as many of it as can be filled in exactly this way. A
    pod is worth its requests at the lowest price any offering has for a unit of each resource.
    """
    unit_price = numpy.zeros(len(problem.resources))
    for r in range(len(problem.resources)):
        offered = problem.capacity[:, r] > 0
        unit_price[r] = (problem.price[offered] / problem.capacity[offered, r]).min(initial=numpy.inf)
    value = (problem.request * numpy.where(numpy.isfinite(unit_price), unit_price, 0)).sum(axis=1)
    order = numpy.argsort(-value, kind="stable")
    left = problem.count.copy()
    packing = Packing()

    def fill(room, allowed):
        """Largest first into each row of `room`: how many of each group, [row, group]."""
        room = room.copy()
        taken = numpy.zeros((len(room), len(left)), dtype=numpy.int64)
        for g in order:
            if left[g] == 0:
                continue
            fit = numpy.where(allowed[:, g], left[g], 0)
            for r in numpy.flatnonzero(problem.request[g]):
                fit = numpy.minimum(fit, room[:, r] // problem.request[g, r])
            taken[:, g] = fit
            room -= fit[:, None] * problem.request[g]
        return taken

    for i in range(len(problem.free)):
        taken = fill(problem.free[i : i + 1], problem.node_allowed[i : i + 1])[0]
        if taken.any():
            packing.existing[i] = {int(g): int(taken[g]) for g in numpy.flatnonzero(taken)}
            left -= taken
    remaining = problem.remaining.copy()
    while left.any() and len(problem.price):
        within = (problem.use <= remaining[:, None]).all(axis=0)
        taken = fill(problem.capacity, problem.allowed[problem.offering_class] & within[:, None])
        held = taken @ value
        score = held / numpy.maximum(problem.price, 1)
        if score.max() <= 0:
            break
        best = int(numpy.argmax(numpy.where(score >= 0.9 * score.max(), held, -1)))
        pods = taken[best]
        times = min(int(left[g] // pods[g]) for g in numpy.flatnonzero(pods))
        for limit in numpy.flatnonzero(problem.use[:, best]):
            times = min(times, int(remaining[limit] // problem.use[limit, best]))
        node = {int(g): int(pods[g]) for g in numpy.flatnonzero(pods)}
        packing.launches += [(best, node)] * times
        left -= times * pods
        remaining -= times * problem.use[:, best]
    packing.unplaced = {int(g): int(left[g]) for g in numpy.flatnonzero(left)}
    return packing


def slots_for(packing):
    """As many slots as the greedy packing has nodes, a quarter and three more."""
    return len(packing.launches) + len(packing.launches) // 4 + 3


def bound_beyond(problem, left_out, slots, seconds):
    """A lower bound (micro-dollars) for solutions with *more* nodes than slots, infinite if there are none; None if it
    could not be found.

    The model says nothing about these. Were pods divisible, they would cost at least the optimum of this linear program,
    in which n_o nodes of offering o, more than `slots` in total, carry f_gc of group g on kind c:

        min  sum price_o n_o
             sum_c f_gc + sum_i f_gi = count_g - left_g
             sum_g w_gr f_gc <= sum_{o in c} capacity_or n_o,  sum_g w_gr f_gi <= free_ir
             sum_o use_lo n_o <= remaining_l,  sum_o n_o >= slots + 1
    """
    import highspy

    offerings = len(problem.price)
    kind_of, places, _ = problem.places()
    node_places = numpy.argwhere(problem.node_copies() > 0)
    n, f = numpy.arange(offerings), offerings + numpy.arange(len(places))
    f_node = offerings + len(places) + numpy.arange(len(node_places))
    rows = Rows()
    for g in range(len(problem.count)):
        placed = int(problem.count[g]) - left_out.get(g, 0)
        everywhere = numpy.append(f[places[:, 1] == g], f_node[node_places[:, 1] == g])
        rows.add(placed, placed, everywhere, numpy.ones(len(everywhere)))
    for r in range(len(problem.resources)):
        for c in range(kind_of.max(initial=-1) + 1):
            own, of_kind = numpy.flatnonzero(places[:, 0] == c), numpy.flatnonzero(kind_of == c)
            request = problem.request[places[own, 1], r]
            rows.add(None, 0, numpy.append(f[own], n[of_kind]), numpy.append(request, -problem.capacity[of_kind, r]))
        for i in range(len(problem.free)):
            own = numpy.flatnonzero(node_places[:, 0] == i)
            rows.add(None, int(problem.free[i, r]), f_node[own], problem.request[node_places[own, 1], r])
    for limit, use in enumerate(problem.use):
        rows.add(None, int(problem.remaining[limit]), n, use)
    rows.add(None, -(slots + 1), n, -numpy.ones(offerings))
    columns = offerings + len(places) + len(node_places)
    no_limit = highspy.kHighsInf
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns, len(rows.low)
    lp.col_cost_ = numpy.append(problem.price / 1e6, numpy.zeros(columns - offerings))
    lp.col_lower_, lp.col_upper_ = numpy.zeros(columns), numpy.full(columns, no_limit)
    lp.row_lower_ = numpy.array([-no_limit if low is None else low for low in rows.low], dtype=float)
    lp.row_upper_ = numpy.array(rows.high, dtype=float)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.num_col_, lp.a_matrix_.num_row_ = columns, len(rows.low)
    lp.a_matrix_.start_ = numpy.array(rows.start)
    lp.a_matrix_.index_ = numpy.concatenate(rows.columns)
    lp.a_matrix_.value_ = numpy.concatenate(rows.coefficients).astype(float)
    solver = highspy.Highs()
    solver.silent()
    solver.setOptionValue("time_limit", float(seconds))
    if solver.passModel(lp) == highspy.HighsStatus.kError:
        return None
    solver.run()
    status = solver.getModelStatus()
    if status == highspy.HighsModelStatus.kInfeasible:
        return math.inf
    if status != highspy.HighsModelStatus.kOptimal:
        return None
    return solver.getInfo().objective_function_value * 1e6


@dataclass
class Model:
    """Integer variables with bounds and cost, and rows `low <= sum coefficient * variable <= high`, in compressed form.
    A row without `low` has None there, in the others both are equal."""

    problem: Problem
    slots: int
    left_out: dict  # group -> pods
    cost: numpy.ndarray
    upper: numpy.ndarray
    row_start: numpy.ndarray
    row_low: list
    row_high: list
    column: numpy.ndarray
    coefficient: numpy.ndarray
    kind_of: numpy.ndarray  # [offering]
    y: numpy.ndarray  # [slot, offering] -> variable
    x: dict  # (group, slot, kind) -> variable
    x_node: dict  # (group, node) -> variable

    def packing(self, values):
        """The packing of an assignment of (nearly) integer values. Nodes without pods are dropped."""
        value = numpy.rint(numpy.asarray(values)).astype(numpy.int64)
        loads = [{} for _ in range(self.slots)]
        made = Packing(unplaced=dict(self.left_out))
        for (g, s, _), variable in self.x.items():
            if value[variable]:
                loads[s][g] = loads[s].get(g, 0) + int(value[variable])
        for (g, i), variable in self.x_node.items():
            if value[variable]:
                made.existing.setdefault(i, {})[g] = int(value[variable])
        for s, pods in enumerate(loads):
            chosen = numpy.flatnonzero(value[self.y[s]])
            if pods and len(chosen) == 1:
                made.launches.append((int(chosen[0]), pods))
        return made

    def values(self, packing):
        """The assignment of a packing: the reverse of `packing`."""
        value = numpy.zeros(len(self.cost), dtype=numpy.int64)
        for s, (offering, pods) in enumerate(packing.launches):
            value[self.y[s, offering]] = 1
            for g, count in pods.items():
                value[self.x[g, s, self.kind_of[offering]]] = count
        for i, pods in packing.existing.items():
            for g, count in pods.items():
                value[self.x_node[g, i]] = count
        return value


def build(problem, left_out, slots):
    """Writes the model down. Raises TooBig before it takes the memory."""
    groups, offerings = len(problem.count), len(problem.price)
    kind_of, places, most = problem.places()
    node_fits = problem.node_copies()
    node_places = numpy.argwhere(node_fits > 0)  # rows of (node, group)
    variables = slots * (len(places) + offerings) + len(node_places)
    if variables > VARIABLES_MAX:
        raise TooBig(f"too big to build: {variables} variables in {slots} slots")

    y = numpy.arange(slots * offerings).reshape(slots, offerings)
    x = y.size + numpy.arange(slots * len(places)).reshape(slots, len(places))
    x_node = y.size + x.size + numpy.arange(len(node_places))
    upper = numpy.concatenate(
        [
            numpy.ones(y.size, dtype=numpy.int64),
            numpy.tile(most, slots),
            node_fits[node_places[:, 0], node_places[:, 1]],
        ]
    )
    cost = numpy.zeros(len(upper), dtype=numpy.int64)
    cost[: y.size] = numpy.tile(problem.price, slots)

    rows = Rows()
    of_kind = [numpy.flatnonzero(kind_of == c) for c in range(kind_of.max(initial=-1) + 1)]
    for s in range(slots):
        rows.add(None, 1, y[s], numpy.ones(offerings))
        for c in range(len(of_kind)):
            for r in range(len(problem.resources)):
                wants = numpy.flatnonzero((places[:, 0] == c) & (problem.request[places[:, 1], r] > 0))
                request, capacity = problem.request[places[wants, 1], r], problem.capacity[of_kind[c], r]
                rows.add(None, 0, numpy.append(x[s, wants], y[s, of_kind[c]]), numpy.append(request, -capacity))
    for i in range(len(problem.free)):
        for r in range(len(problem.resources)):
            wants = numpy.flatnonzero((node_places[:, 0] == i) & (problem.request[node_places[:, 1], r] > 0))
            rows.add(None, int(problem.free[i, r]), x_node[wants], problem.request[node_places[wants, 1], r])
    for g in range(groups):
        everywhere = numpy.append(x[:, places[:, 1] == g].ravel(), x_node[node_places[:, 1] == g])
        placed = int(problem.count[g]) - left_out.get(g, 0)
        rows.add(placed, placed, everywhere, numpy.ones(len(everywhere)))
    for limit, use in enumerate(problem.use):
        limited = numpy.flatnonzero(use)
        rows.add(None, int(problem.remaining[limit]), y[:, limited].ravel(), numpy.tile(use[limited], slots))
    return Model(
        problem=problem,
        slots=slots,
        left_out=left_out,
        cost=cost,
        upper=upper,
        row_start=numpy.array(rows.start, dtype=numpy.int64),
        row_low=rows.low,
        row_high=rows.high,
        column=numpy.concatenate(rows.columns),
        coefficient=numpy.concatenate(rows.coefficients),
        kind_of=kind_of,
        y=y,
        x={(int(g), s, int(c)): int(x[s, n]) for s in range(slots) for n, (c, g) in enumerate(places)},
        x_node={(int(g), int(i)): int(x_node[n]) for n, (i, g) in enumerate(node_places)},
    )


class Rows:
    """Rows while they are written."""

    def __init__(self):
        self.start, self.low, self.high = [0], [], []
        self.columns, self.coefficients = [numpy.zeros(0, dtype=numpy.int64)], [numpy.zeros(0, dtype=numpy.int64)]

    def add(self, low, high, columns, coefficients):
        if len(columns) == 0 and (low is None or low <= 0) and high >= 0:
            return
        self.low.append(low)
        self.high.append(high)
        self.columns.append(numpy.asarray(columns, dtype=numpy.int64))
        self.coefficients.append(numpy.asarray(coefficients, dtype=numpy.int64))
        self.start.append(self.start[-1] + len(columns))
