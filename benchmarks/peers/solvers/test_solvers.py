"""python3 -m unittest, in this folder, with the packages of requirements.txt.

Solvers run through solve.py in processes of their own, as in the comparison (and because OR-tools and highspy cannot be
loaded together).
"""

import importlib.util
import itertools
import json
import pathlib
import random
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).parent
NAMES = ("cp-sat", "highs", "scip")
PACKAGES = {"cp-sat": "ortools", "highs": "highspy", "scip": "pyscipopt"}
MISSING = [package for package in PACKAGES.values() if importlib.util.find_spec(package) is None]
MIB = 1 << 20


def document(groups, offerings, classes, nodes=(), limits=(), seconds=30):
    """An input. groups: (count, cpu, MiB); offerings: (price, cpu, MiB, pods, class); nodes: (cpu, MiB, pods, groups);
    limits: (remaining, use of each offering)."""
    return {
        "format": "stowage-peer-input/1",
        "name": "tiny",
        "snapshotDigest": "sha256:s",
        "catalogDigest": "sha256:c",
        "task": "provision",
        "secondsMax": seconds,
        "threads": 1,
        "seed": 1,
        "objects": {},
        "aggregate": {
            "resources": ["cpu", "memory", "pods", "nvidia.com/gpu"],
            "groups": [
                {"pods": [f"default/g{g}-{n}" for n in range(count)], "request": [cpu, memory * MIB, 1, 0]}
                for g, (count, cpu, memory) in enumerate(groups)
            ],
            "classes": classes,
            "offerings": [
                {
                    "nodePool": "default",
                    "instanceType": f"t{o}",
                    "zone": "us-east-1a",
                    "capacityType": "spot",
                    "labels": {},
                    "price": price,
                    "capacity": [cpu, memory * MIB + 5, pods, 0],
                    "class": kind,
                }
                for o, (price, cpu, memory, pods, kind) in enumerate(offerings)
            ],
            "nodes": [
                {"name": f"node-{i}", "free": [cpu, memory * MIB, pods, 0], "groups": allowed}
                for i, (cpu, memory, pods, allowed) in enumerate(nodes)
            ],
            "limits": [
                {"nodePool": "default", "resource": "cpu", "remaining": remaining, "capacity": use}
                for remaining, use in limits
            ],
        },
    }


def run(name, text):
    return subprocess.run(
        [sys.executable, str(HERE / "solve.py"), name], input=text, capture_output=True, text=True, timeout=120
    )


def answer(name, given):
    done = run(name, json.dumps(given))
    if done.returncode != 0:
        raise AssertionError(f"{name}: {done.stderr}")
    return json.loads(done.stdout)


def cost(made):
    return sum(launch["price"] for launch in made["launches"])


def random_document(seed):
    """Small enough that every solver finishes, with two kinds of offerings, a node and every other time a limit."""
    draw = random.Random(seed)
    groups = [(draw.randint(1, 4), draw.choice([250, 500, 900]), draw.choice([512, 1000, 2048])) for _ in range(4)]
    classes = [[0, 1, 2, 3], [0, 1, 2]]
    offerings = [(draw.randint(90, 110) * 1000 * size, 1900 * size, 3500 * size, 8, kind)
                 for size in (1, 2) for kind in (0, 1)]
    limits = [(12_000, [2000, 2000, 4000, 4000])] if seed % 2 else []
    return document(groups, offerings, classes, nodes=[(1000, 2048, 5, [0, 1])], limits=limits)


def cheapest(problem):
    """The optimum, by trying every multiset of at most four nodes and packing pods one by one, exhaustively."""
    pods = sorted((g for g, n in enumerate(problem.count) for _ in range(n)), key=lambda g: -problem.request[g, 0])

    def packs(rooms, allowed, index):
        if index == len(pods):
            return True
        g, tried = pods[index], set()
        for b, room in enumerate(rooms):
            key = (tuple(room), tuple(allowed[b]))
            if allowed[b][g] and (room >= problem.request[g]).all() and key not in tried:
                tried.add(key)
                rooms[b] = room - problem.request[g]
                if packs(rooms, allowed, index + 1):
                    return True
                rooms[b] = room
        return False

    best = None
    for size in range(5):
        for chosen in itertools.combinations_with_replacement(range(len(problem.price)), size):
            price = int(sum(problem.price[o] for o in chosen))
            used = [sum(int(use[o]) for o in chosen) for use in problem.use]
            if (best is not None and price >= best) or any(u > r for u, r in zip(used, problem.remaining)):
                continue
            rooms = [room.copy() for room in problem.free] + [problem.capacity[o].copy() for o in chosen]
            allowed = list(problem.node_allowed) + [problem.allowed[problem.offering_class[o]] for o in chosen]
            if packs(rooms, allowed, 0):
                best = price
    return best


@unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
class Model(unittest.TestCase):
    def setUp(self):
        sys.path.insert(0, str(HERE))
        import slot_model

        self.slot_model = slot_model

    def problem(self, given):
        return self.slot_model.Problem.read(given["aggregate"])

    def test_amounts_are_exact_in_units_of_the_divisor(self):
        problem = self.problem(document([(2, 250, 512), (1, 750, 1536)], [(10, 999, 2047, 5, 0)], [[0, 1]]))
        self.assertEqual(problem.resources, ["cpu", "memory", "pods"])
        self.assertEqual(problem.divisor.tolist(), [250, 512 * MIB, 1])
        self.assertEqual(problem.request.tolist(), [[1, 1, 1], [3, 3, 1]])
        self.assertEqual(problem.capacity.tolist(), [[3, 3, 5]])

    def test_classes_that_differ_in_what_fits_are_one_kind(self):
        offerings = [(10, 500, 600, 5, 0), (20, 2000, 2048, 5, 1), (15, 2000, 2048, 5, 2)]
        problem = self.problem(document([(1, 250, 512), (1, 1000, 1024)], offerings, [[0], [0, 1], [1]]))
        kind_of, admits = problem.kinds()
        self.assertEqual(kind_of[0], kind_of[1])
        self.assertNotEqual(kind_of[1], kind_of[2])
        self.assertEqual(admits[kind_of[2]].tolist(), [False, True])

    def test_the_greedy_packing_is_right_and_survives_the_model(self):
        for seed in range(20):
            problem = self.problem(random_document(seed))
            start = self.slot_model.greedy(problem)
            self.assertIsNone(start.fault(problem), seed)
            model = self.slot_model.build(problem, start.unplaced, self.slot_model.slots_for(start))
            again = model.packing(model.values(start))
            self.assertEqual((again.cost(problem), again.fault(problem)), (start.cost(problem), None))

    def test_wrong_packings_are_named(self):
        given = document([(2, 1000, 512), (1, 500, 512)], [(10, 1900, 2048, 5, 0)], [[0]], limits=[(2000, [2000])])
        problem, packing = self.problem(given), self.slot_model.Packing
        for wrong, word in [
            (packing(launches=[(0, {0: 2})], unplaced={1: 1}), "too much"),
            (packing(launches=[(0, {1: 1})], unplaced={0: 2}), "not allowed"),
            (packing(launches=[(0, {0: 1})], unplaced={1: 1}), "accounted for"),
            (packing(launches=[(0, {0: 1}), (0, {0: 1})], unplaced={1: 1}), "limit 0"),
        ]:
            self.assertIn(word, wrong.fault(problem))

    def test_bound_for_more_nodes_than_slots(self):
        # Four halves of a node: two nodes, or at least three at 10 each.
        problem = self.problem(document([(4, 950, 100)], [(10_000_000, 1900, 2048, 5, 0)], [[0]]))
        self.assertAlmostEqual(self.slot_model.bound_beyond(problem, {}, 1, 10), 20e6, delta=1)
        self.assertAlmostEqual(self.slot_model.bound_beyond(problem, {}, 2, 10), 30e6, delta=1)

    def test_a_model_too_big_is_refused_before_it_is_built(self):
        problem = self.problem(random_document(0))
        with self.assertRaisesRegex(self.slot_model.TooBig, "too big to build: .* variables"):
            self.slot_model.build(problem, {}, 1_000_000)


@unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
class Solvers(unittest.TestCase):
    def test_all_three_find_the_optimum(self):
        sys.path.insert(0, str(HERE))
        import slot_model

        for seed in (1, 2, 3):
            given = random_document(seed)
            problem = slot_model.Problem.read(given["aggregate"])
            self.assertEqual(slot_model.greedy(problem).left_out(), 0, "the seeds leave no pod out")
            best = cheapest(problem)
            for name in NAMES:
                made = answer(name, given)
                self.assertEqual((made["outcome"], cost(made)), ("complete", best), (name, seed, made["message"]))
                self.assertLessEqual(made["bound"], best)
                self.assertGreaterEqual(made["details"]["boundOfRestrictedModel"], best - 1)
                placed = [pod for part in ("launches", "existing") for entry in made[part] for pod in entry["pods"]]
                wanted = [pod for group in given["aggregate"]["groups"] for pod in group["pods"]]
                self.assertEqual(sorted(placed), sorted(wanted))
                self.assertEqual((made["snapshotDigest"], made["peer"], made["unplaced"]), ("sha256:s", name, []))

    def test_pods_beyond_a_limit_are_left_out(self):
        given = document([(3, 1500, 512)], [(10, 1900, 2048, 5, 0)], [[0]], limits=[(4000, [2000])])
        for name in NAMES:
            made = answer(name, given)
            self.assertEqual((cost(made), len(made["unplaced"])), (20, 1), name)
            self.assertEqual(made["unplaced"][0]["reason"], "the limits leave no room")

    def test_a_solver_that_finds_nothing_answers_with_its_start(self):
        sys.path.insert(0, str(HERE))
        from unittest import mock

        import backends
        import solve

        nothing = {"scip": lambda task: backends.Result(None, None, "timelimit", False, 0.0)}
        with mock.patch.dict(backends.SOLVERS, nothing):
            made = solve.answer("scip", random_document(1))
        self.assertEqual((made["outcome"], made["bound"]), ("timeout", None))
        self.assertIn("this is the start", made["message"])
        self.assertEqual(cost(made), made["details"]["startCost"])

    def test_a_solver_that_does_not_stop_is_left_behind(self):
        sys.path.insert(0, str(HERE))
        import threading
        from unittest import mock

        import backends
        import solve

        left, late = threading.Event(), []

        def stubborn(task):
            task.found(task.start)
            left.wait(20)
            return backends.Result(None, None, "late", False, 0.0)

        def leave(made):
            late.append(made)
            left.set()

        with mock.patch.dict(backends.SOLVERS, {"scip": stubborn}), mock.patch.object(solve, "GRACE_SECONDS", 0.2):
            solve.answer("scip", random_document(1) | {"secondsMax": 0.3}, leave=leave)
        self.assertEqual((len(late), late[0]["outcome"]), (1, "timeout"))
        self.assertIn("did not stop", late[0]["message"])
        self.assertTrue(late[0]["launches"])

    def test_nothing_to_do(self):
        for name in NAMES:
            made = answer(name, document([], [(10, 1900, 2048, 5, 0)], [[]]))
            self.assertEqual((made["outcome"], made["launches"]), ("complete", []), name)

    def test_consolidation_is_skipped(self):
        made = answer("scip", document([], [], []) | {"task": "consolidate"})
        self.assertEqual(made["outcome"], "skipped")
        self.assertIn("consolidate", made["message"])

    def test_bad_input_is_one_line_that_says_what(self):
        lacking = document([], [], [])
        del lacking["threads"]
        broken = document([], [], [])
        del broken["aggregate"]["limits"]
        for text, word in [("{", "JSON"), ("{}", "stowage-peer-input/1"), (json.dumps(lacking), "threads"),
                           (json.dumps(broken), "limits")]:
            done = run("highs", text)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(word, done.stderr)
        self.assertIn("usage", run("gurobi", "{}").stderr)


if __name__ == "__main__":
    unittest.main()
