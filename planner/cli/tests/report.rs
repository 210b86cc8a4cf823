//! The HTML report: the figures in the page, as a browser shows it, are those of the plan.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use stowage_cli::args::PlanFormat;
use stowage_cli::render::{self, Subject, html};
use stowage_cli::style::Palette;
use stowage_models::objects::PodRef;
use stowage_models::plan::Plan;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_planner::{Moment, Report, Stop};

/// The page of a plan, as `show` makes it.
fn page(plan: &Plan) -> String {
    html::render(&Subject { plan, report: None, checked: false })
}

/// All `data-figure` and `data-value` of a page, in order.
fn figures(page: &str) -> BTreeMap<String, Vec<i64>> {
    let mut found: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for part in page.split("data-figure=\"").skip(1) {
        let (name, rest) = part.split_once('"').expect("the attribute ends");
        let rest = rest.trim_start().strip_prefix("data-value=\"").expect("the value follows the name");
        let (value, _) = rest.split_once('"').expect("the attribute ends");
        found.entry(name.to_owned()).or_default().push(value.parse().expect("values are integers"));
    }
    found
}

fn assert_figures(page: &str, plan: &Plan) {
    let found = figures(page);
    let one = |name: &str| match found.get(name).map(Vec::as_slice) {
        Some([value]) => *value,
        other => panic!("figure {name} is there once, not {other:?}"),
    };
    let summary = &plan.summary;
    let unsigned = |value: u64| i64::try_from(value).expect("test figures are small");
    assert_eq!(one("costBefore"), summary.cost_before.0);
    assert_eq!(one("launchCost"), summary.launch_cost.0);
    assert_eq!(one("launchBound"), summary.launch_bound.0);
    assert_eq!(one("costAfter"), summary.cost_before.0 + summary.launch_cost.0);
    assert_eq!(one("gap"), summary.gap.0);
    assert_eq!(one("podsOnNew"), unsigned(summary.pods_on_new));
    assert_eq!(one("podsOnExisting"), unsigned(summary.pods_on_existing));
    assert_eq!(one("podsUnplaced"), unsigned(summary.pods_unplaced));
    assert_eq!(one("podsPending"), unsigned(summary.pods_pending));
    assert_eq!(one("groups"), unsigned(summary.groups));
    assert_eq!(one("offerings"), unsigned(summary.offerings));
    assert_eq!(one("estimatedCost"), summary.estimated_cost.0);
    assert_eq!(one("rows"), plan.certificate.rows.len() as i64);
    assert_eq!(one("vectors"), plan.certificate.vectors.len() as i64);
    let nodes = &found["node.pods"];
    assert_eq!(nodes.len(), plan.launches.len() + plan.existing.len());
    assert_eq!(nodes.iter().sum::<i64>(), unsigned(summary.pods_on_new + summary.pods_on_existing));
    for panel in ["type", "zone", "capacity", "pool"] {
        let prefix = format!("launches.{panel}.");
        let bars = found.iter().filter(|(name, _)| name.starts_with(&prefix)).flat_map(|(_, values)| values);
        assert_eq!(bars.sum::<i64>(), unsigned(summary.nodes_launched), "{panel}");
    }
    assert_eq!(found["unplaced.pods"].iter().sum::<i64>(), unsigned(summary.pods_unplaced));
}

/// What a browser makes of the page, after its script has run.
fn dump(browser: &Path, directory: &Path, url: &str) -> String {
    dump_sized(browser, directory, url, 1280)
}

fn dump_sized(browser: &Path, directory: &Path, url: &str, width: u32) -> String {
    let profile = format!("--user-data-dir={}", directory.join("profile").display());
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args([
            &profile,
            &format!("--window-size={width},1400"),
            "--virtual-time-budget=4000",
            "--dump-dom",
            url,
        ])
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("the page is UTF-8")
}

#[test]
fn figures_in_the_template_are_those_of_the_plan() {
    for plan in [support::realistic(), support::plan(3, 0, 30), Plan::default()] {
        let page = page(&plan);
        if !plan.launches.is_empty() {
            assert_figures(&page, &plan);
        }
        for absent in ["http://", "https://", "//cdn", "<link", "src="] {
            assert!(!page.contains(absent), "the page loads nothing, but has {absent}");
        }
    }
}

#[test]
fn figures_in_a_browser_are_those_of_the_plan() {
    let Some(browser) = support::browser() else {
        println!("skipped: no chromium or google-chrome is installed, so the report was not opened");
        return;
    };
    let plan = support::realistic();
    let directory = support::directory("report");
    let file = directory.join("report.html");
    std::fs::write(&file, page(&plan)).expect("the report can be written");
    let url = format!("file://{}", file.display());

    let dom = dump(&browser, &directory, &url);
    assert!(dom.contains("data-ready=\"1\""), "the script ran to its end");
    assert_figures(&dom, &plan);
    assert!(!dom.contains("class=\"podlist\""), "no pod is an element before its node is opened");

    // The third node, opened by its link: exactly its pods are listed.
    let dom = dump(&browser, &directory, &format!("{url}#n2"));
    let list = dom.split("<ul class=\"podlist\">").nth(1).and_then(|rest| rest.split("</ul>").next());
    let list = list.expect("the linked node is open");
    let shown: Vec<&str> = list.split("<li>").skip(1).map(|item| item.trim_end_matches("</li>")).collect();
    let expected: Vec<&str> = plan.launches[2].pods.iter().map(|pod| pod.0.as_str()).collect();
    assert_eq!(shown, expected);
}

/// Run in the page; writes what it saw into the title.
const BEHAVIOUR: &str = r##"<script>
(async () => {
  const seen = {};
  const wait = (time) => new Promise((done) => setTimeout(done, time));
  const visible = () => [...document.querySelectorAll("#nodes > details")].filter((row) => !row.hidden).length;
  const root = document.documentElement;
  seen.overflow = root.scrollWidth - root.clientWidth;
  const find = document.querySelector("#find");
  find.value = "new-0002";
  find.dispatchEvent(new Event("input"));
  await wait(200);
  seen.byName = visible();
  find.value = "no such thing";
  find.dispatchEvent(new Event("input"));
  await wait(200);
  seen.byNothing = visible();
  find.value = "";
  document.querySelector("input[value=new]").click();
  seen.new = visible();
  document.querySelector("input[value=all]").click();
  const tiles = document.querySelectorAll(".tile");
  tiles[0].focus();
  tiles[0].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  seen.focus = document.activeElement === tiles[1];
  seen.readout = document.querySelector("#readout").textContent.startsWith("new-0002: ");
  document.querySelector("[data-out='0']").open = true;
  await wait(50);
  seen.out = document.querySelectorAll("[data-out='0'] li").length;
  document.title = JSON.stringify(seen);
})();
</script>"##;

#[test]
fn filter_keys_and_phone_width_work() {
    let Some(browser) = support::browser() else {
        println!("skipped: no chromium or google-chrome is installed, so the report was not tried out");
        return;
    };
    let plan = support::realistic();
    let directory = support::directory("behaviour");
    let file = directory.join("report.html");
    std::fs::write(&file, page(&plan).replace("</body>", &format!("{BEHAVIOUR}</body>"))).expect("writable");
    let url = format!("file://{}", file.display());
    for width in [390, 1280] {
        let dom = dump_sized(&browser, &directory, &url, width);
        let title =
            dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
        let seen: serde_json::Value = serde_json::from_str(title).expect("the script wrote what it saw");
        let expected = serde_json::json!({
            "overflow": 0, "byName": 1, "byNothing": 0, "new": 30, "focus": true, "readout": true,
            "out": plan.unplaced[0].pods.len(),
        });
        assert_eq!(seen, expected, "at {width} px");
    }
}

#[test]
fn names_cannot_break_out_of_the_page() {
    let mut plan = support::short();
    let nasty = "</script><script>alert(1)</script>\"'<!--";
    plan.launches[0].pods[0].0 = nasty.to_owned();
    plan.launches[0].node_pool = nasty.to_owned();
    plan.launches[0].slot = nasty.to_owned();
    plan.notes = vec![nasty.to_owned()];
    plan.unplaced[0].message = nasty.to_owned();
    let page = page(&plan);
    assert_eq!(page.matches("<script").count(), 2, "the data block and the script");
    assert!(!page.contains("alert(1)</script>"));
}

/// With the report of a run the chart is over time, and the page says how long it took and that it was checked.
#[test]
fn a_run_is_shown_over_time() {
    let plan = support::realistic();
    let moment = |millis, cost: Option<i64>, bound| Moment {
        elapsed: Duration::from_millis(millis),
        stage: "pricing",
        cost: cost.map(|share| UsdMicros(plan.summary.launch_cost.0 * share / 100)),
        bound: UsdMicros(bound),
    };
    let report = Report {
        timeline: vec![moment(10, None, 0), moment(40, Some(112), 0), moment(300, Some(104), 11_000_000)],
        stop: Stop::GapReached,
        elapsed: Duration::from_millis(840),
        offerings_undominated: 12,
        simplex_iterations: 345,
        faults: Vec::new(),
    };
    let page = html::render(&Subject { plan: &plan, report: Some(&report), checked: true });
    for part in ["0.84 s in all; ended by: gap reached", "Found in</dt><dd>0.84 s", "accepted", "0.42 s"] {
        assert!(page.contains(part), "{part}");
    }
    assert_figures(&page, &plan);
}

#[test]
fn ten_thousand_pods_stay_small() {
    let plan = support::plan(330, 200, 10_000);
    let page = page(&plan);
    assert!(page.len() < 3_000_000, "{} bytes", page.len());
    assert_figures(&page, &plan);
}

/// Writes pages to look at: `STOWAGE_SAMPLES=directory cargo test -p stowage --test report`.
#[test]
fn samples() {
    let Some(directory) = std::env::var_os("STOWAGE_SAMPLES") else {
        return;
    };
    let directory = Path::new(&directory);
    for (name, plan) in [
        ("realistic", support::realistic()),
        ("large", support::plan(330, 200, 10_000)),
        ("short", support::short()),
    ] {
        std::fs::write(directory.join(format!("{name}.html")), page(&plan)).expect("writable");
        let json = stowage_cli::render::document::json(&plan);
        std::fs::write(directory.join(format!("{name}.json")), json).expect("writable");
    }
}

/// A plan that also removes nodes: two of the nodes that exist leave, in two waves.
fn leaving() -> Plan {
    use stowage_models::consolidation::{
        Consolidation, ConsolidationSummary, Move, NodeDecision, NodeReason, Wave,
    };
    let mut plan = support::short();
    let decide = |node: &str, reason, message: &str| NodeDecision {
        node: node.to_owned(),
        reason,
        pod: None,
        budget: None,
        departure: None,
        message: message.to_owned(),
        price: Some(UsdMicros(400_000)),
    };
    let moved = |pod: &str, from: &str| Move {
        pod: PodRef(pod.to_owned()),
        from: from.to_owned(),
        to: plan.launches[0].slot.clone(),
    };
    plan.consolidation = Some(Consolidation {
        summary: ConsolidationSummary {
            cost_before: UsdMicros(2_000_000),
            cost_after: UsdMicros(1_500_000),
            nodes_removed: 2,
            pods_moved: 2,
            disruption_cost: UsdMicros(30_000),
            disruption_rate: UsdMicros(1_250),
            cost_fixed: UsdMicros(400_000),
            bound: UsdMicros(1_480_000),
            left: UsdMicros(21_250),
            left_share: Ppm(10_625),
        },
        nodes: vec![
            decide("a-leaves", NodeReason::Underutilized, "2 pods move"),
            decide("b-leaves", NodeReason::Empty, "0 pods move"),
            decide("c-stays", NodeReason::PodDisruptionBudget, "pod db/pg-0: <pg> allows none"),
        ],
        moves: vec![moved("shop/x-1", "a-leaves"), moved("shop/x-2", "a-leaves")],
        waves: vec![
            Wave { removals: vec!["b-leaves".to_owned()], ..Wave::default() },
            Wave { removals: vec!["a-leaves".to_owned()], ..Wave::default() },
        ],
        ..Consolidation::default()
    });
    plan.id = plan.compute_id();
    plan
}

#[test]
fn nodes_that_leave_and_stay_are_in_every_report() {
    let plan = leaving();
    let page = page(&plan);
    let found = figures(&page);
    assert_eq!(found["leftShare"], [10_625], "the large figure is about all nodes");
    assert!(!found.contains_key("gap"));
    assert_eq!(found["consolidation.saved"], [500_000]);
    assert_eq!(found["consolidation.left"], [21_250]);
    assert_eq!(found["consolidation.nodesRemoved"], [2]);
    assert_eq!(found["consolidation.podsMoved"], [2]);
    for part in ["a-leaves", "2 to new-0001", "stays for a PDB", "&lt;pg&gt; allows none", "1.07"] {
        assert!(page.contains(part), "{part}");
    }
    let markdown = render::plan(
        &Subject { plan: &plan, report: None, checked: true },
        PlanFormat::Markdown,
        Palette::PLAIN,
    );
    for part in [
        "### Stowage: Remove 2 nodes, launch 4: saves $365.00 a month",
        "| removed, underutilized | 1 | $292.00 | a-leaves: 2 pods move |",
        "| stays for a PDB | 1 | $292.00 | c-stays: pod db/pg-0: <pg> allows none |",
        "| 2 | a-leaves | $0.4000 | 2 | 2 to new-0001 |",
    ] {
        assert!(markdown.contains(part), "{part}: {markdown}");
    }
    assert!(
        !self::page(&support::short()).contains("Nodes that leave"),
        "without consolidation there is no section"
    );
}
