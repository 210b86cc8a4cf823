//! Goal: the direction of dependencies that ARCHITECTURE.md draws. Method: the graph `cargo metadata` resolves.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What each crate of the workspace may use of the workspace, tests left aside. A new edge is a decision: it is written
/// here and in ARCHITECTURE.md.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("stowage-models", &[]),
    ("stowage-import", &["stowage-models"]),
    ("stowage-checker", &["stowage-models"]),
    ("stowage-planner", &["stowage-models"]),
    ("stowage", &["stowage-checker", "stowage-import", "stowage-models", "stowage-planner"]),
    ("stowage-api", &[]),
    // Decides, and does nothing: ports of other crates act.
    ("stowage-executor", &["stowage-models"]),
    ("stowage-observe", &["stowage-executor", "stowage-import", "stowage-models"]),
    (
        "stowage-controller",
        &[
            "stowage-api",
            "stowage-aws",
            "stowage-checker",
            "stowage-executor",
            "stowage-models",
            "stowage-observe",
            "stowage-planner",
            "stowage-review",
        ],
    ),
    // Plans that people approve, and the kubectl plug-in: no planner, no cloud.
    ("stowage-review", &["stowage-api", "stowage-models"]),
    // Alone links the AWS SDK.
    ("stowage-aws", &["stowage-api", "stowage-executor", "stowage-models"]),
    // AWS for tests and labs; knows of Stowage no more than the catalogue.
    ("stowage-fake-cloud", &["stowage-models"]),
    ("stowage-sim", &["stowage-executor", "stowage-models"]),
    ("stowage-bench", &["stowage-checker", "stowage-import", "stowage-models", "stowage-planner"]),
    // Starts programs for tests and knows nothing of planning.
    ("stowage-cluster", &[]),
    // Asks the real scheduler what the checker claims to know.
    ("stowage-scheduler-tests", &["stowage-checker", "stowage-cluster", "stowage-import", "stowage-models"]),
    // Carries plans out on the real scheduler.
    (
        "stowage-realised-tests",
        &["stowage-checker", "stowage-cluster", "stowage-import", "stowage-models", "stowage-planner"],
    ),
    // Puts everything together, for people to try.
    (
        "stowage-lab",
        &[
            "stowage-aws",
            "stowage-cluster",
            "stowage-controller",
            "stowage-executor",
            "stowage-fake-cloud",
            "stowage-models",
        ],
    ),
    ("stowage-tests", &[]),
];

/// Crates whose name starts so do I/O, talk to a cluster or a cloud, or bring a runtime.
const RUNTIMES: [&str; 7] = ["tokio", "kube", "k8s-openapi", "aws-", "hyper", "reqwest", "async-std"];

/// Crates that bring HiGHS.
const SOLVERS: [&str; 3] = ["highs-sys", "highs", "good_lp"];

/// The resolved graph.
struct Graph {
    /// Name by package id.
    names: BTreeMap<String, String>,
    /// Direct dependencies by package id, with whether the edge is for tests only.
    edges: BTreeMap<String, Vec<(String, bool)>>,
    /// Packages of the workspace.
    members: BTreeSet<String>,
}

impl Graph {
    fn read() -> Graph {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--filter-platform",
                "x86_64-unknown-linux-gnu",
            ])
            .current_dir(stowage_tests::root())
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let list = |value: &Value| value.as_array().expect("a list").clone();
        let names = list(&metadata["packages"]).iter().map(|p| (text(&p["id"]), text(&p["name"]))).collect();
        let only_for_tests =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().all(|k| k["kind"] == "dev");
        let edges = list(&metadata["resolve"]["nodes"])
            .iter()
            .map(|node| {
                let to = list(&node["deps"]).iter().map(|d| (text(&d["pkg"]), only_for_tests(d))).collect();
                (text(&node["id"]), to)
            })
            .collect();
        let members = list(&metadata["workspace_members"]).iter().map(text).collect();
        Graph { names, edges, members }
    }

    fn id(&self, name: &str) -> &str {
        let found = self.members.iter().find(|id| self.names[*id] == name);
        found.unwrap_or_else(|| panic!("no crate of the workspace is named {name}"))
    }

    /// Names of direct dependencies; those for tests only if asked for.
    fn direct(&self, id: &str, tests: bool) -> BTreeSet<&str> {
        let wanted = self.edges[id].iter().filter(|(_, only_for_tests)| tests || !only_for_tests);
        wanted.map(|(to, _)| self.names[to].as_str()).collect()
    }

    /// Names of everything a crate brings with it when used, tests left aside.
    fn reachable(&self, id: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut open = vec![id];
        while let Some(next) = open.pop() {
            for (to, only_for_tests) in &self.edges[next] {
                if !only_for_tests && seen.insert(to.as_str()) {
                    open.push(to);
                }
            }
        }
        seen.into_iter().map(|id| self.names[id].as_str()).collect()
    }
}

#[test]
fn crates_use_only_what_the_architecture_allows() {
    let graph = Graph::read();
    let known: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let members: BTreeSet<&str> = graph.members.iter().map(|id| graph.names[id].as_str()).collect();
    assert_eq!(known, members, "MAY_USE lists every crate of the workspace");
    for (name, allowed) in MAY_USE {
        let used: BTreeSet<&str> =
            graph.direct(graph.id(name), false).into_iter().filter(|to| members.contains(to)).collect();
        let allowed: BTreeSet<&str> = allowed.iter().copied().collect();
        assert!(used.is_subset(&allowed), "{name} uses {used:?}, and may use {allowed:?}");
    }
}

#[test]
fn the_tests_of_models_stay_below_everything_too() {
    let graph = Graph::read();
    let used = graph.direct(graph.id("stowage-models"), true);
    assert!(!used.iter().any(|name| name.starts_with("stowage")), "{used:?}");
}

#[test]
fn pure_crates_bring_no_runtime() {
    let graph = Graph::read();
    for name in ["stowage-models", "stowage-import", "stowage-checker", "stowage-planner", "stowage-executor"]
    {
        let brought = graph.reachable(graph.id(name));
        let bad: Vec<&&str> =
            brought.iter().filter(|to| RUNTIMES.iter().any(|prefix| to.starts_with(prefix))).collect();
        assert!(bad.is_empty(), "{name} brings {bad:?}");
    }
}

#[test]
fn what_tests_run_on_is_for_tests_alone() {
    let graph = Graph::read();
    // Those that run on it are crates of their own, and for tests alone themselves.
    const RUN_ON_IT: [&str; 3] = ["stowage-lab", "stowage-realised-tests", "stowage-scheduler-tests"];
    for id in graph.members.iter().filter(|id| !RUN_ON_IT.contains(&graph.names[*id].as_str())) {
        let direct = graph.direct(id, false);
        for only in ["stowage-cluster", "stowage-lab", "stowage-realised-tests", "stowage-scheduler-tests"] {
            assert!(!direct.contains(only), "{} uses {only}", graph.names[id]);
        }
    }
}

#[test]
fn only_one_crate_sees_the_aws_sdk() {
    let graph = Graph::read();
    for id in graph.members.iter().filter(|id| graph.names[*id] != "stowage-aws") {
        let direct = graph.direct(id, true);
        assert!(!direct.iter().any(|name| name.starts_with("aws-")), "{} uses {direct:?}", graph.names[id]);
    }
    // A newcomer's first build compiles none of it.
    let brought = graph.reachable(graph.id("stowage"));
    assert!(!brought.iter().any(|name| name.starts_with("aws-")), "the command line brings the AWS SDK");
}

#[test]
fn only_the_planner_sees_the_solver() {
    let graph = Graph::read();
    for name in ["stowage-models", "stowage-import", "stowage-checker", "stowage-executor"] {
        let brought = graph.reachable(graph.id(name));
        assert!(SOLVERS.iter().all(|solver| !brought.contains(solver)), "{name} brings a solver");
    }
    for id in &graph.members {
        let name = graph.names[id].as_str();
        let direct: Vec<&str> =
            graph.direct(id, true).into_iter().filter(|to| SOLVERS.contains(to)).collect();
        // The oracle of the benchmarks is written in good_lp; tests of the planner may be, too.
        let allowed: &[&str] = match name {
            "stowage-planner" => &["highs-sys", "good_lp"],
            "stowage-bench" => &["good_lp"],
            _ => &[],
        };
        assert!(direct.iter().all(|solver| allowed.contains(solver)), "{name} uses {direct:?}");
    }
    let planner = graph.direct(graph.id("stowage-planner"), false);
    assert!(!planner.contains("good_lp"), "the planner itself does not use good_lp");
}

#[test]
fn there_is_one_highs() {
    let graph = Graph::read();
    let copies = graph.names.values().filter(|name| *name == "highs-sys").count();
    assert_eq!(copies, 1, "good_lp and the planner must agree on the version of highs-sys");
}
