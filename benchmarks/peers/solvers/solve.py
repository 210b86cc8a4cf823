"""A general solver on the naive slot model: `solve.py cp-sat|highs|scip < input.json > answer.json`.

The protocol is in ../README.md, the model in slot_model.py.
"""

import json
import math
import os
import sys
import threading
import time

NAMES = ("cp-sat", "highs", "scip")
# Kept of the time for reading the solution out of the solver.
READ_OUT_SECONDS = 1.0
# A solver that has not stopped so long after its time is left behind.
GRACE_SECONDS = 5.0
# For the check that the bound holds with any number of slots; it takes a fraction of a second and is not counted.
BOUND_CHECK_SECONDS = 20.0


class BadInput(Exception):
    """The document on standard input is not what the protocol says."""


def main(arguments):
    if len(arguments) != 1 or arguments[0] not in NAMES:
        raise BadInput(f"usage: solve.py {'|'.join(NAMES)} < input.json")
    try:
        document = json.load(sys.stdin)
    except ValueError as error:
        raise BadInput(f"standard input is no JSON document: {error}") from error
    say(answer(arguments[0], document, leave=leave))


def say(made):
    json.dump(made, sys.stdout, indent=1)
    sys.stdout.write("\n")
    sys.stdout.flush()


def leave(made):
    """Answers and ends the process, whatever other threads do."""
    say(made)
    os._exit(0)


def answer(name, document, leave=None, clock=time.monotonic):
    """The answer to an input document. `leave` is called with an answer if the solver does not stop in time."""
    # Imports are start-up, not deciding.
    import backends
    import slot_model

    made = empty(name, backends.version(name), document)
    if document["task"] != "provision" or "aggregate" not in document:
        return made | {"message": f"the slot model has no form for the task {document['task']!r}"}
    aggregate = document["aggregate"]
    began = clock()
    try:
        problem = slot_model.Problem.read(aggregate)
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"aggregate is not of the format: {error!r}") from error
    start = slot_model.greedy(problem)
    slots = slot_model.slots_for(start)
    details = made["details"]
    details |= {"groups": len(problem.count), "offerings": len(problem.price), "slots": slots}
    details |= {"startCost": start.cost(problem), "startNodes": len(start.launches)}
    greedy_seconds = clock() - began
    try:
        model = slot_model.build(problem, start.unplaced, slots)
    except slot_model.TooBig as error:
        return made | {"message": str(error), "seconds": round(clock() - began, 3)}
    model_seconds = clock() - began - greedy_seconds
    details |= {"variables": len(model.cost), "rows": len(model.row_low), "coefficients": len(model.column)}
    details |= {"startSeconds": round(greedy_seconds, 3)}

    # The best solution so far, for the case that the solver does not come back.
    best = [model.values(start)]

    def left_behind():
        late = made | {"outcome": "timeout", "seconds": round(clock() - began, 3)}
        late["message"] = f"{name} did not stop at its time limit; this is the best it had found"
        leave(with_packing(late, problem, aggregate, model.packing(best[0])))

    watchdog = None
    if leave is not None:
        watchdog = threading.Timer(document["secondsMax"] - (clock() - began) + GRACE_SECONDS, left_behind)
        watchdog.daemon = True
        watchdog.start()
    task = backends.Task(
        model=model,
        start=best[0],
        seconds=document["secondsMax"] - (clock() - began) - READ_OUT_SECONDS,
        threads=document["threads"],
        seed=document["seed"],
        found=lambda values: best.__setitem__(0, values),
        clock=clock,
    )
    result = backends.SOLVERS[name](task)
    if watchdog is not None:
        watchdog.cancel()
    made["seconds"] = round(clock() - began, 3)
    details["buildSeconds"] = round(model_seconds + result.build_seconds, 3)
    details["status"] = result.status
    made["outcome"] = "complete" if result.finished else "timeout"
    if result.values is None:
        # CP-SAT sometimes has not looked at its hint when time is up.
        made["message"] = f"{name} found nothing ({result.status}); this is the start it was given"
        return with_packing(made, problem, aggregate, start)
    packing = model.packing(result.values)
    made = with_packing(made, problem, aggregate, packing)
    if made["outcome"] != "failed" and result.bound is not None:
        began = clock()
        beyond = beyond_in_child(problem, start.unplaced, slots)
        details["boundCheckSeconds"] = round(clock() - began, 3)
        state_bound(made, result.bound, beyond)
    return made


def empty(name, version, document):
    """An answer without a decision. Raises BadInput if the document is not of the format."""
    if not isinstance(document, dict) or document.get("format") != "stowage-peer-input/1":
        raise BadInput("the document on standard input is not of the format stowage-peer-input/1")
    wanted = ("snapshotDigest", "catalogDigest", "task", "secondsMax", "threads", "seed")
    missing = [key for key in wanted if key not in document]
    if missing:
        raise BadInput(f"the document on standard input lacks {', '.join(missing)}")
    return {
        "format": "stowage-peer-answer/1",
        "peer": name,
        "version": version,
        "snapshotDigest": document["snapshotDigest"],
        "catalogDigest": document["catalogDigest"],
        "outcome": "skipped",
        "message": "",
        "seconds": 0.0,
        "launches": [],
        "existing": [],
        "unplaced": [],
        "bound": None,
        "details": {},
    }


def state_bound(made, bound, beyond):
    """Makes the solver's bound, which holds for so many slots, one for any number of nodes: no solution costs less than
    the bound or, with more nodes than slots, than `beyond`."""
    details = made["details"]
    whole = lambda number: max(0, math.floor(number))
    details["boundOfRestrictedModel"] = whole(bound)
    details["boundIsOfRestrictedModel"] = beyond is None
    if beyond is None:
        return
    details["boundWithMoreSlots"] = None if math.isinf(beyond) else whole(beyond)
    # HiGHS is exact to a relative 1e-7 or so; this leaves room for it.
    made["bound"] = whole(min(bound, beyond * (1 - 1e-6)))


def beyond_in_child(problem, left_out, slots):
    """slot_model.bound_beyond in a process of its own: OR-tools brings a HiGHS that highspy cannot be loaded beside."""
    import multiprocessing

    import slot_model

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(slot_model.bound_beyond, (problem, left_out, slots, BOUND_CHECK_SECONDS))


def with_packing(made, problem, aggregate, packing):
    """The answer with a packing in it, or failed if the packing is wrong in exact integers."""
    fault = packing.fault(problem)
    if fault is not None:
        return made | {"outcome": "failed", "message": f"the solver's solution is wrong in integers: {fault}"}
    made["details"]["cost"] = packing.cost(problem)
    write(made, aggregate, packing)
    return made


def write(made, aggregate, packing):
    """Fills in launches, existing and unplaced: groups become pods again."""
    names = [iter(group["pods"]) for group in aggregate["groups"]]
    take = lambda pods: [next(names[g]) for g, count in sorted(pods.items()) for _ in range(count)]
    keys = ("nodePool", "instanceType", "zone", "capacityType", "labels", "price")
    for index, pods in packing.launches:
        offering = aggregate["offerings"][index]
        made["launches"].append({key: offering[key] for key in keys} | {"pods": take(pods)})
    for index, pods in sorted(packing.existing.items()):
        made["existing"].append({"node": aggregate["nodes"][index]["name"], "pods": take(pods)})
    made["unplaced"] = [{"pod": pod, "reason": "the limits leave no room"} for pod in take(packing.unplaced)]


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except BadInput as error:
        print(f"solve.py: {error}", file=sys.stderr)
        sys.exit(1)
    except ImportError as error:
        print(f"solve.py: {error}; run pip install --require-hashes -r requirements.txt", file=sys.stderr)
        sys.exit(1)
    except Exception as error:  # One line for the table instead of a page; the kind of error says where to look.
        print(f"solve.py: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
