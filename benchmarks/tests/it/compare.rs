//! The comparison: everybody is judged alike, and nothing that goes wrong is lost.

use serde_json::Value;
use stowage_bench::compare::report::{Setting, markdown};
use stowage_bench::compare::row::{Row, Run};
use stowage_bench::compare::{figures, history};
use stowage_bench::compose::Composition;
use stowage_bench::oracle::{Case, Problem};
use stowage_bench::peers::input::{Allowance, question};
use stowage_bench::peers::judge::{Verdict, judge};
use stowage_bench::peers::{Answer, Outcome, Peer, Task, ours, plain};
use stowage_import::{Source, import};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

const PLAIN: [Peer; 3] = [Peer::FirstFitDecreasing, Peer::BestFitByPrice, Peer::Greedy];

fn without_slack() -> Policy {
    Policy { slack: Ppm(0), ..Policy::default() }
}

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).unwrap();
    composition.snapshot(composition.seed)
}

fn plain_answer(peer: Peer, snapshot: &Snapshot, catalog: &Catalog) -> Answer {
    let numbers = stowage_planner::numbers(snapshot, catalog, &without_slack()).unwrap();
    plain::solve(peer, &numbers, (&snapshot.digest(), &catalog.digest())).unwrap()
}

/// Findings but for the order of NodePool weights, which is no number that a heuristic could read.
fn findings(verdict: &Verdict) -> Vec<&stowage_bench::peers::judge::Finding> {
    verdict.findings.iter().filter(|finding| finding.code != "min-weight").collect()
}

#[test]
fn heuristics_are_valid_and_never_below_the_optimum() {
    let mut above = 0;
    for seed in 0..100 {
        let case = Case::random(seed);
        let optimum = Problem::new(&case.snapshot, &case.catalog, &without_slack()).by_enumeration();
        for peer in PLAIN {
            let answer = plain_answer(peer, &case.snapshot, &case.catalog);
            let verdict = judge(&case.snapshot, &case.catalog, Task::Provision, &answer);
            assert_eq!(
                (findings(&verdict), &verdict.unjudged),
                (Vec::new(), &None),
                "case {seed}, {}",
                peer.name()
            );
            assert_eq!(verdict.cost, Some(answer.cost()), "case {seed}, {}", peer.name());
            // The optimum is about all pods that fit somewhere; so is an answer that leaves out only those that do not.
            if let Some(optimum) = optimum.filter(|_| {
                verdict.findings.is_empty()
                    && answer.unplaced.iter().all(|left| left.reason == "fits nowhere")
            }) {
                assert!(
                    answer.cost() >= optimum,
                    "case {seed}, {}: {} < {optimum}",
                    peer.name(),
                    answer.cost()
                );
                above += usize::from(answer.cost() > optimum);
            }
        }
    }
    // They are heuristics: if none ever missed the optimum the cases would prove nothing.
    assert!(above > 0);
}

#[test]
fn composed_snapshots_are_judged_and_ours_is_never_dearer_than_a_heuristic() {
    for name in ["small", "web-1k", "mixed-1k"] {
        let snapshot = composed(name);
        let ours = ours::solve(Peer::Stowage, &snapshot, Catalog::embedded(), Task::Provision, 2).unwrap();
        let own = judge(&snapshot, Catalog::embedded(), Task::Provision, &ours);
        assert_eq!((own.findings, own.unjudged, own.cost), (Vec::new(), None, Some(ours.cost())), "{name}");
        assert!(own.bound <= own.cost);
        for peer in PLAIN {
            let answer = plain_answer(peer, &snapshot, Catalog::embedded());
            let verdict = judge(&snapshot, Catalog::embedded(), Task::Provision, &answer);
            assert_eq!(
                (findings(&verdict), &verdict.unjudged),
                (Vec::new(), &None),
                "{name}, {}",
                peer.name()
            );
            assert!(verdict.placed <= ours.placed(), "{name}, {}", peer.name());
            assert!(
                verdict.placed < ours.placed()
                    || !verdict.findings.is_empty()
                    || answer.cost() >= ours.cost(),
                "{name}, {}",
                peer.name()
            );
        }
    }
}

#[test]
fn wrong_answers_are_found_out() {
    let snapshot = composed("web-1k");
    let catalog = Catalog::embedded();
    let good = plain_answer(Peer::Greedy, &snapshot, catalog);
    let verdict = |answer: &Answer| judge(&snapshot, catalog, Task::Provision, answer);
    assert_eq!(verdict(&good).findings, Vec::new());

    let mut crowded = good.clone();
    let moved: Vec<_> =
        crowded.launches.iter_mut().skip(1).flat_map(|launch| launch.pods.drain(..)).collect();
    crowded.launches[0].pods.extend(moved);
    assert!(!verdict(&crowded).findings.is_empty(), "all pods on one node must not fit");

    let mut twice = good.clone();
    let again = twice.launches[0].pods[0].clone();
    twice.launches[1].pods.push(again);
    assert!(verdict(&twice).unjudged.unwrap().contains("placed twice"));

    let mut elsewhere = good.clone();
    elsewhere.launches[0].zone = "eu-west-1a".to_owned();
    assert!(verdict(&elsewhere).unjudged.unwrap().contains("no NodePool of the snapshot offers it"));

    let mut unknown = good.clone();
    unknown.existing.push(stowage_bench::peers::AnswerNode {
        node: "nowhere".to_owned(),
        pods: vec![good.launches[0].pods[0].clone()],
    });
    unknown.launches[0].pods.remove(0);
    assert!(verdict(&unknown).unjudged.unwrap().contains("nowhere"));

    // A peer may claim any price; the catalogue's counts.
    let mut cheap = good.clone();
    cheap.launches.iter_mut().for_each(|launch| launch.price = UsdMicros(1));
    assert_eq!(verdict(&cheap).cost, verdict(&good).cost);
}

#[test]
fn a_question_holds_the_snapshot_and_the_offerings_of_the_planner() {
    let snapshot = composed("small");
    let catalog = Catalog::embedded();
    let allowance = Allowance { seconds: 1, threads: 1 };
    let question = question("small", &snapshot, catalog, Task::Provision, allowance).unwrap();
    let items: Vec<&Value> =
        question["objects"].as_object().unwrap().values().flat_map(|list| list.as_array().unwrap()).collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let back = import(&[Source { name: "objects", bytes: list.as_bytes() }]).unwrap().snapshot;
    assert_eq!(back.pods, snapshot.pods);
    assert_eq!(back.node_pools, snapshot.node_pools);
    // Every offering of the aggregate is for sale at this price in the list of types of its NodePool.
    let offerings = question["aggregate"]["offerings"].as_array().unwrap();
    assert!(!offerings.is_empty());
    for offering in offerings {
        let types = question["instanceTypes"][offering["nodePool"].as_str().unwrap()].as_array().unwrap();
        let it = types.iter().find(|it| it["name"] == offering["instanceType"]).unwrap();
        let sold = it["offerings"]
            .as_array()
            .unwrap()
            .iter()
            .any(|sold| ["zone", "capacityType", "price"].iter().all(|key| sold[*key] == offering[*key]));
        assert!(sold, "{offering}");
    }
}

/// A row made of one answer.
fn row(snapshot: &str, peer: Peer, answer: Answer, cost: Option<i64>, placed: usize) -> Row {
    let verdict = Verdict {
        cost: cost.map(UsdMicros),
        bound: cost.map(|cost| UsdMicros(cost * 9 / 10)),
        placed,
        findings: Vec::new(),
        unjudged: None,
    };
    Row::new(snapshot, Task::Provision, peer, (10, 60), None, vec![Run { answer, verdict }])
}

#[test]
fn failures_are_rows_and_fewer_pods_are_not_cheaper() {
    let digests = ("sha256:a", "sha256:b");
    let mut ours = Answer::new(Peer::Stowage, "1", digests);
    ours.seconds = 0.5;
    let mut theirs = Answer::new(Peer::Karpenter, "v1", digests);
    theirs.seconds = 5.0;
    let broken = Answer::without(Peer::Scip, digests, Outcome::Failed, "out of | memory".to_owned());
    let rows = [
        row("one", Peer::Stowage, ours.clone(), Some(1_000_000), 10),
        row("one", Peer::Karpenter, theirs.clone(), Some(1_200_000), 10),
        row("one", Peer::Scip, broken, None, 0),
        row("two", Peer::Stowage, ours, Some(1_000_000), 10),
        row("two", Peer::Karpenter, theirs, Some(500_000), 7),
        Row::missing("three", "skipped: not here"),
    ];
    let text = markdown(&Setting::default(), &rows);
    assert!(text.contains("| scip | | | | | | | | out of / memory |"), "{text}");
    assert!(text.contains("+20.0 %") && text.contains("10 x"), "{text}");
    assert!(text.contains("places 3 fewer pods"), "{text}");
    assert!(text.contains("Over the 1 snapshots"), "{text}");
    assert!(text.contains("Skipped: skipped: not here"), "{text}");
    let figures = figures::all(&rows).unwrap();
    assert!(figures.iter().all(|(_, svg)| svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>")));
    let entries = history::entries(&rows);
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].faster, entries[1].faster), (Some(10.0), None));
}

#[test]
fn constraints_between_pods_are_judged_by_the_filters_of_the_scheduler() {
    use stowage_models::objects::TopologySpread;
    use stowage_models::selector::LabelSelector;

    let mut snapshot = composed("mixed-100");
    let answer = plain_answer(Peer::FirstFitDecreasing, &snapshot, Catalog::embedded());
    let verdict = |snapshot: &Snapshot| judge(snapshot, Catalog::embedded(), Task::Provision, &answer);
    assert_eq!(verdict(&snapshot).findings, Vec::new());
    // Now every pod of the fullest node must not share a node with another one of its namespace.
    let fullest = answer.launches.iter().max_by_key(|launch| launch.pods.len()).unwrap();
    let namespace = fullest.pods[0].0.split('/').next().unwrap().to_owned();
    let together = fullest.pods.iter().filter(|pod| pod.0.starts_with(&format!("{namespace}/"))).count();
    assert!(together > 1, "the case needs two pods of one namespace on a node");
    for pod in snapshot.pods.iter_mut().filter(|pod| pod.namespace == namespace) {
        pod.labels.insert("alone".to_owned(), "yes".to_owned());
        let selector = LabelSelector {
            match_labels: [("alone".to_owned(), "yes".to_owned())].into(),
            ..LabelSelector::default()
        };
        pod.spec.topology_spread = vec![TopologySpread {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            hard: true,
            min_domains: Some(1000),
            label_selector: Some(selector),
            honor_affinity: true,
            ..TopologySpread::default()
        }];
    }
    let verdict = verdict(&snapshot);
    let finding = verdict.findings.iter().find(|finding| finding.code == "PodTopologySpread").unwrap();
    assert!(finding.count >= together - 1, "{finding:?}");
    // The bound stays: it is about the problem without the constraint, which costs no more.
    assert!(verdict.bound.is_some() && verdict.bound <= verdict.cost);
}

#[test]
fn a_cluster_left_as_it_is_is_judged_by_what_its_nodes_report() {
    use stowage_bench::peers::AnswerNode;
    use stowage_models::quantity::MEMORY;

    let mut snapshot = composed("scaledown-30");
    let catalog = Catalog::embedded();
    // One pod takes all the memory a node has left, which is more than the catalogue promises of its type.
    let pod =
        snapshot.pods.iter().position(|pod| pod.node.is_some() && !pod.is_owned_by("DaemonSet")).unwrap();
    let name = snapshot.pods[pod].node.clone().unwrap();
    let node = snapshot.nodes.iter().find(|node| node.name == name).unwrap();
    let on_node = snapshot.pods.iter().filter(|pod| pod.node.as_ref() == Some(&name));
    let used: i64 = on_node.map(|pod| stowage_checker::effective_request(&pod.spec).get(MEMORY)).sum();
    let left = node.allocatable.get(MEMORY) - used;
    let it = catalog.get(&node.labels["node.kubernetes.io/instance-type"]).unwrap();
    let promised = it.allocatable(&snapshot.settings, &snapshot.node_classes[0]).get(MEMORY);
    assert!(promised < node.allocatable.get(MEMORY), "the case needs a node above the promise");
    let requests = &mut snapshot.pods[pod].spec.containers[0].requests;
    requests.set(MEMORY, requests.get(MEMORY) + left);
    let mut answer = Answer::new(Peer::Karpenter, "test", (&snapshot.digest(), &catalog.digest()));
    answer.outcome = Outcome::Complete;
    let stays = |node: &stowage_models::objects::Node| AnswerNode {
        node: node.name.clone(),
        pods: snapshot
            .pods
            .iter()
            .filter(|pod| pod.node.as_ref() == Some(&node.name))
            .map(|p| p.id())
            .collect(),
    };
    answer.existing = snapshot.nodes.iter().map(stays).collect();
    let verdict = judge(&snapshot, catalog, Task::Consolidate, &answer);
    assert_eq!((&verdict.findings, &verdict.unjudged), (&Vec::new(), &None));
    assert!(verdict.bound <= verdict.cost);
    // A byte more, and the filters reject it.
    let requests = &mut snapshot.pods[pod].spec.containers[0].requests;
    requests.set(MEMORY, requests.get(MEMORY) + 1);
    let verdict = judge(&snapshot, catalog, Task::Consolidate, &answer);
    assert!(verdict.findings.iter().any(|finding| finding.code == "NodeResourcesFit"), "{verdict:?}");
}

/// Needs Go, which the project's test command installs; elsewhere it says that it did nothing.
#[test]
fn karpenter_answers_and_is_judged() {
    use stowage_bench::compare::{Effort, Subject, compare};

    let subject =
        Subject { name: "mixed-100".to_owned(), snapshot: Ok(composed("mixed-100")), optimum: None };
    let effort = Effort {
        peers: vec![Peer::Karpenter, Peer::BestFitByPrice],
        allowance: Allowance { seconds: 60, threads: 2 },
        consolidation_seconds: 60,
        runs: 1,
    };
    let mut rows = Vec::new();
    compare(std::iter::once(subject), &effort, |row| {
        rows.push(row);
        Ok(())
    })
    .unwrap();
    let [karpenter, plain] = rows.as_slice() else { panic!("two rows expected: {rows:?}") };
    assert_eq!((plain.placed, plain.findings.len()), (100, 0));
    if karpenter.outcome == Outcome::Skipped {
        assert!(karpenter.message.contains("not installed"), "{}", karpenter.message);
        eprintln!("NOT TESTED: {}", karpenter.message);
        return;
    }
    assert_eq!((karpenter.outcome, karpenter.placed), (Outcome::Complete, 100), "{}", karpenter.message);
    assert_eq!((&karpenter.findings, &karpenter.unjudged), (&Vec::new(), &None));
    assert!(karpenter.cost >= plain.bound, "nobody is below the bound");
}
