//! What is printed, word for word, and that no line is wider than a terminal.

mod support;

use stowage_cli::args::PlanFormat;
use stowage_cli::difference::Difference;
use stowage_cli::explanation;
use stowage_cli::render::{self, Subject, diff, document, explain, grid, markdown, table};
use stowage_cli::style::Palette;
use stowage_models::consolidation::{Consolidation, ConsolidationSummary, NodeDecision, NodeReason, Wave};
use stowage_models::departure::{Departure, DepartureReason};
use stowage_models::objects::{Container, Pod, PodRef, PodSpec};
use stowage_models::plan::Plan;
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

fn subject(plan: &Plan) -> Subject<'_> {
    Subject { plan, report: None, checked: true }
}

fn shown(plan: &Plan) -> String {
    table::render(&subject(plan), Palette::PLAIN)
}

fn assert_narrow(text: &str) {
    for line in text.lines() {
        assert!(line.chars().count() <= grid::WIDTH_MAX, "{} columns: {line}", line.chars().count());
        assert_eq!(line, line.trim_end(), "no trailing blanks");
    }
}

/// The short plan, planned again with other prices and one node less.
fn replanned() -> Plan {
    let mut plan = support::short();
    let gone = plan.launches.remove(0);
    plan.launches[0].pods.extend(gone.pods[..2].iter().cloned());
    plan.unplaced[0].pods.extend(gone.pods[2..].iter().cloned());
    plan.launches[1].instance_type = "m7g.4xlarge".to_owned();
    let moved = plan.existing[0].pods.remove(0);
    plan.existing[1].pods.push(moved);
    plan.summary.pods_unplaced += gone.pods[2..].len() as u64;
    plan.summary.nodes_launched -= 1;
    plan.summary.launch_cost = plan.launches.iter().map(|launch| launch.price).sum();
    plan.summary.launch_bound = UsdMicros(plan.summary.launch_cost.0 * 99 / 100);
    plan.summary.gap = Ppm::gap(plan.summary.launch_cost, plan.summary.launch_bound);
    plan.policy.gap = Ppm(5_000);
    plan.id = plan.compute_id();
    plan
}

#[test]
fn table_of_a_short_plan() {
    insta::assert_snapshot!(shown(&support::short()));
}

#[test]
fn table_of_a_realistic_plan() {
    insta::assert_snapshot!(shown(&support::realistic()));
}

#[test]
fn table_of_nothing_to_do() {
    insta::assert_snapshot!(shown(&Plan::default()));
}

#[test]
fn markdown_of_a_short_plan() {
    insta::assert_snapshot!(markdown::render(&subject(&support::short())));
}

#[test]
fn json_is_readable() {
    insta::assert_snapshot!(document::json(&support::plan(1, 1, 15)));
}

#[test]
fn diff_of_two_plans() {
    let difference = Difference::new(&support::short(), &replanned());
    insta::assert_snapshot!("diff_table", diff::table(&difference, false, Palette::PLAIN));
    insta::assert_snapshot!("diff_markdown", diff::markdown(&difference, false));
    insta::assert_snapshot!("diff_json", document::json(&difference));
}

/// A plan in which nodes have to go: one does, one is held, one goes for its cost.
fn departing() -> Plan {
    let mut plan = support::short();
    let decide = |node: &str, reason, message: &str, departure| NodeDecision {
        node: node.to_owned(),
        reason,
        pod: None,
        budget: None,
        departure,
        message: message.to_owned(),
        price: Some(UsdMicros(96_000)),
    };
    let due = |reason, deadline: Option<&str>, forced| {
        Some(Departure { reason, deadline: deadline.map(str::to_owned), forced })
    };
    let end = Some("2026-09-01T12:00:00Z");
    plan.consolidation = Some(Consolidation {
        summary: ConsolidationSummary {
            cost_before: UsdMicros(384_000),
            cost_after: UsdMicros(400_000),
            nodes_removed: 3,
            pods_moved: 9,
            disruption_cost: UsdMicros(75_000),
            disruption_rate: UsdMicros(3_125),
            cost_fixed: UsdMicros(96_000),
            bound: UsdMicros(400_000),
            left: UsdMicros(3_125),
            left_share: Ppm(8_139),
        },
        nodes: vec![
            decide("a", NodeReason::Underutilized, "4 pods move", None),
            decide(
                "b",
                NodeReason::Budget,
                "the disruption budgets of NodePool general allow none now",
                due(DepartureReason::Expired, end, false),
            ),
            decide(
                "c",
                NodeReason::Interrupted,
                "5 pods move",
                due(DepartureReason::Interrupted, Some("2026-08-31T12:02:00Z"), true),
            ),
            decide("d", NodeReason::Drifted, "0 pods move", due(DepartureReason::Drifted, None, false)),
        ],
        waves: vec![Wave {
            removals: vec!["a".to_owned(), "c".to_owned(), "d".to_owned()],
            ..Wave::default()
        }],
        ..Consolidation::default()
    });
    plan.id = plan.compute_id();
    plan
}

#[test]
fn nodes_that_have_to_go() {
    let plan = departing();
    insta::assert_snapshot!("departing_table", shown(&plan));
    insta::assert_snapshot!("departing_markdown", markdown::render(&subject(&plan)));
    let mut other = plan.clone();
    let stated = other.consolidation.as_mut().unwrap();
    stated.nodes[0].reason = NodeReason::Worth;
    stated.nodes[1].reason = NodeReason::Expired;
    let difference = Difference::new(&plan, &other);
    insta::assert_snapshot!("departing_diff", diff::table(&difference, false, Palette::PLAIN));
    let written = diff::markdown(&difference, false);
    assert!(written.contains("- `+` `a` removed, underutilized → stays, worth its price"), "{written}");
}

#[test]
fn diff_of_a_plan_with_itself_is_empty() {
    let difference = Difference::new(&support::short(), &support::short());
    assert!(!difference.is_change());
    insta::assert_snapshot!(diff::table(&difference, false, Palette::PLAIN));
}

#[test]
fn renamed_slots_are_no_change() {
    let mut plan = support::short();
    plan.launches.reverse();
    for (at, launch) in plan.launches.iter_mut().enumerate() {
        launch.slot = format!("new-{:04}", at + 1);
    }
    assert!(!Difference::new(&support::short(), &plan).is_change());
}

#[test]
fn explanations() {
    let plan = support::short();
    let told = |told: Result<explanation::Explanation, _>| {
        explain::table(&told.expect("the plan knows it"), Palette::PLAIN)
    };
    let on_new = plan.launches[0].pods[0].0.clone();
    let on_existing = plan.existing[0].pods[0].0.clone();
    let left_out = plan.unplaced[1].pods[0].0.clone();
    insta::assert_snapshot!("explain_pod_on_new", told(explanation::pod(&plan, None, &on_new)));
    insta::assert_snapshot!("explain_pod_on_existing", told(explanation::pod(&plan, None, &on_existing)));
    insta::assert_snapshot!("explain_pod_left_out", told(explanation::pod(&plan, None, &left_out)));
    insta::assert_snapshot!("explain_new_node", told(explanation::node(&plan, "new-0001")));
    insta::assert_snapshot!("explain_existing_node", told(explanation::node(&plan, &plan.existing[0].name)));
    assert!(explanation::pod(&plan, None, "default/unknown").is_err());
    assert!(explanation::node(&plan, "unknown").is_err());
}

/// Half of the price goes by cpu and half by memory, so the shares of a node's pods sum up to its price.
#[test]
fn price_shares_sum_up_to_the_price() {
    let mut plan = support::short();
    plan.launches.truncate(1);
    let launch = &mut plan.launches[0];
    launch.price = UsdMicros(1_000_000);
    launch.pods = vec![PodRef("a/one".to_owned()), PodRef("a/two".to_owned())];
    launch.requested = Resources::from([(CPU, 4_000), (MEMORY, 8 << 30)]);
    let pod = |name: &str, cpu, memory| Pod {
        namespace: "a".to_owned(),
        name: name.to_owned(),
        spec: PodSpec {
            containers: vec![Container {
                requests: Resources::from([(CPU, cpu), (MEMORY, memory)]),
                ..Container::default()
            }],
            ..PodSpec::default()
        }
        .into(),
        ..Pod::default()
    };
    let snapshot = Snapshot {
        pods: vec![pod("one", 3_000, 2 << 30), pod("two", 1_000, 6 << 30)],
        ..Snapshot::default()
    };
    let share = |name| explanation::pod(&plan, Some(&snapshot), name).expect("known").price_share;
    assert_eq!(share("a/one"), Some(UsdMicros(375_000 + 125_000)));
    assert_eq!(share("a/two"), Some(UsdMicros(125_000 + 375_000)));
}

#[test]
fn every_text_fits_a_terminal() {
    let mut wide = support::plan(400, 120, 9_000);
    wide.launches[0].node_pool = "p".repeat(253);
    wide.launches[1].instance_type = "u7inh-32tb.480xlarge-and-then-some".to_owned();
    wide.launches[2].zone = "us-east-1-lax-1a-and-a-very-long-local-zone".to_owned();
    wide.existing[0].name = "n".repeat(253);
    wide.unplaced[0].message = "m".repeat(500);
    wide.unplaced[0].pods[0].0 = format!("{}/{}", "s".repeat(63), "p".repeat(253));
    wide.launches[0].pods[0].0 = format!("{}/{}", "s".repeat(63), "p".repeat(253));
    wide.summary.launch_cost = UsdMicros(123_456_789_012);
    let mut plans = vec![support::short(), support::realistic(), replanned(), Plan::default(), wide];
    let mut unproven = support::short();
    unproven.summary.gap = Ppm::UNBOUNDED;
    plans.push(unproven);
    for plan in &plans {
        assert_narrow(&shown(plan));
        assert_narrow(&diff::table(&Difference::new(&plans[0], plan), true, Palette::PLAIN));
        for launch in plan.launches.iter().take(3) {
            let told = explanation::node(plan, &launch.slot).expect("known");
            assert_narrow(&explain::table(&told, Palette::PLAIN));
            let told = explanation::pod(plan, None, &launch.pods[0].0).expect("known");
            assert_narrow(&explain::table(&told, Palette::PLAIN));
        }
    }
}

#[test]
fn documents_give_the_plan_back() {
    for plan in [support::short(), support::realistic(), Plan::default()] {
        let json = render::plan(&subject(&plan), PlanFormat::Json, Palette::PLAIN);
        assert_eq!(serde_json::from_str::<Plan>(&json).expect("JSON"), plan);
        let yaml = render::plan(&subject(&plan), PlanFormat::Yaml, Palette::PLAIN);
        assert_eq!(serde_saphyr::from_str::<Plan>(&yaml).expect("YAML"), plan);
    }
}
