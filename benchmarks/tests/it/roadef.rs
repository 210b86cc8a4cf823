//! Goal: a file of the ROADEF/EURO challenge becomes the snapshot its numbers say, and a wrong one an error that says where.

use std::time::Duration;
use stowage_bench::compose::document;
use stowage_bench::roadef::{NEIGHBOURHOOD, convert, names, read};
use stowage_bench::trial::by_work;
use stowage_import::{Source, import};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;

/// Two resources, the second transient; three machines in two locations and two neighbourhoods; two services, of which the
/// second depends on the first; four processes; one balance objective.
const MODEL: &str = "2
0 100
1 10
3
0 0 30 400 16 80 0 1 4
0 1 10 240 8 160 1 0 3
1 1 15 100 12 80 4 3 0
2
2 0
1 1 0
4
0 12 10 1000
0 10 20 100
0 3 20 100
1 6 200 1
1
0 1 20 10
1 10 100
";
const ASSIGNMENT: &str = "0 1 2 0\n";

#[test]
fn numbers_become_objects() {
    let converted = convert("tiny", MODEL, ASSIGNMENT, Some("1234\n")).expect("the format");
    assert_eq!(converted.lower_bound, Some(1234));
    let snapshot = &converted.snapshot;
    assert_eq!((snapshot.nodes.len(), snapshot.pods.len()), (3, 4));

    let node = &snapshot.nodes[2];
    assert_eq!((node.name.as_str(), node.ready, node.nodepool()), ("machine-0002", true, None));
    assert_eq!(node.labels["topology.kubernetes.io/zone"], "location-1");
    assert_eq!(node.labels[NEIGHBOURHOOD], "neighbourhood-1");
    let amount = |name: &str| node.allocatable.get(name);
    assert_eq!((amount("roadef.org/r0"), amount("roadef.org/r1"), amount("pods")), (15, 100, 4));

    let machines: Vec<_> = snapshot.pods.iter().filter_map(|pod| pod.node.as_deref()).collect();
    assert_eq!(machines, ["machine-0000", "machine-0001", "machine-0002", "machine-0000"]);
    let (first, last) = (&snapshot.pods[0], &snapshot.pods[3]);
    assert_eq!((first.name.as_str(), first.labels["app"].as_str()), ("process-00000", "service-0000"));
    let requests = &last.spec.containers[0].requests;
    assert_eq!((requests.get("roadef.org/r0"), requests.get("roadef.org/r1")), (6, 200));

    // Conflict: one process of a service per machine.
    let conflict = &first.spec.affinity.anti_required[0];
    assert_eq!(conflict.topology_key, "kubernetes.io/hostname");
    assert_eq!(conflict.label_selector.as_ref().expect("a selector").match_labels["app"], "service-0000");
    // Dependency of the second service on the first.
    assert!(first.spec.affinity.pod_required.is_empty());
    let dependency = &last.spec.affinity.pod_required[0];
    assert_eq!(dependency.topology_key, NEIGHBOURHOOD);
    assert_eq!(dependency.label_selector.as_ref().expect("a selector").match_labels["app"], "service-0000");
    // Three processes in at least two locations: not all in one. A skew of two forces that, three would not.
    assert_eq!(first.spec.topology_spread[0].max_skew, 2);
    assert!(first.spec.topology_spread[0].hard && last.spec.topology_spread.is_empty());
}

#[test]
fn what_is_lost_is_listed() {
    let converted = convert("tiny", MODEL, ASSIGNMENT, None).expect("the format");
    let said = converted.not_expressed.join("\n");
    for word in [
        "no price",
        "safety",
        "1 of 2 resources are transient",
        "1 balance",
        "spread over locations of 1 services",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let mut notes = converted.not_expressed.clone();
    notes.sort();
    assert_eq!((converted.snapshot.notes, converted.lower_bound), (notes, None));
}

#[test]
fn the_snapshot_imports_unchanged_and_nothing_waits() {
    let snapshot = convert("tiny", MODEL, ASSIGNMENT, None).expect("the format").snapshot;
    let bytes = document(&snapshot);
    let imported = import(&[Source { name: "tiny", bytes: &bytes }]).expect("a snapshot document").snapshot;
    assert!(document(&imported) == bytes);
    let limits = by_work(Duration::from_millis(100), 1);
    let catalog = Catalog::embedded();
    let plan = stowage_planner::plan(&snapshot, catalog, &Policy::default(), &limits, &mut |_| {});
    let plan = plan.expect("a plan").plan;
    assert!(plan.is_empty() && plan.summary.nodes_before == 3);
    assert_eq!(stowage_checker::check(&snapshot, catalog, &plan), Vec::new());
}

#[test]
fn errors_say_which_number_is_wrong() {
    let message = |model: &str, assignment: &str, bound: Option<&str>| {
        format!("{:#}", convert("tiny", model, assignment, bound).expect_err("it is refused"))
    };
    let cut = MODEL.rsplit_once("10 100").expect("the last line").0;
    for (model, assignment, bound, want) in [
        (MODEL, "0 1 2 3", None, "assignment_tiny.txt: the machine of a process is 3, but there are only 3"),
        (MODEL, "0 1 2", None, "assignment_tiny.txt: the file ends where the machine of a process should be"),
        (
            MODEL,
            "0 1 2 0 0",
            None,
            "assignment_tiny.txt: the file should end after 4 numbers, but goes on with `0`",
        ),
        (
            MODEL,
            ASSIGNMENT,
            Some("12.5"),
            "lb_tiny.txt: number 1 is the lower bound, but `12.5` is no whole number",
        ),
        (cut, ASSIGNMENT, None, "model_tiny.txt: the file ends where the weight of service moves should be"),
        ("2\n0 100\n7 1", ASSIGNMENT, None, "model_tiny.txt: the transient flag (0 or 1) is 7"),
        ("-1", ASSIGNMENT, None, "model_tiny.txt: number 1 is the number of resources, but `-1`"),
        ("99999999999", ASSIGNMENT, None, "model_tiny.txt: the file ends where the transient flag"),
    ] {
        let have = message(model, assignment, bound);
        assert!(have.starts_with(want), "{have}");
    }
}

#[test]
fn a_folder_of_instances_is_read() {
    let folder = std::env::temp_dir().join(format!("stowage-roadef-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    for (file, text) in [
        ("model_b_01.txt", MODEL),
        ("assignment_b_01.txt", ASSIGNMENT),
        ("lb_b_01.txt", "7"),
        ("model_a1_1.txt", MODEL),
        ("assignment_a1_1.txt", ASSIGNMENT),
        ("model_lonely.txt", MODEL),
    ] {
        std::fs::write(folder.join(file), text).expect("a temporary file");
    }
    let found = names(&folder).expect("a folder");
    let bounds: Vec<_> =
        found.iter().map(|name| read(&folder, name).expect("an instance").lower_bound).collect();
    let missing = format!("{:#}", read(&folder, "b_02").expect_err("there is none"));
    std::fs::remove_dir_all(&folder).expect("it was made above");
    assert_eq!(found, ["a1_1", "b_01"]);
    assert_eq!(bounds, [None, Some(7)]);
    assert!(missing.contains("model_b_02.txt"), "{missing}");
}
