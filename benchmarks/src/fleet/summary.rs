//! What came out of a fleet of snapshots, for people.

use super::row::{Figures, Outcome, Row};
use crate::table::{dollars, quantile, seconds};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use stowage_models::units::{Ppm, UsdMicros};

/// Rows of the tables of the worst and of failures.
const ROWS_MAX: usize = 10;

/// A plan and where it is from.
type Planned<'a> = (&'a str, &'a Figures);

/// The summary as markdown.
#[must_use]
pub fn markdown(rows: &[Row]) -> String {
    let planned: Vec<Planned<'_>> = rows
        .iter()
        .filter_map(|row| match &row.outcome {
            Outcome::Planned(figures) => Some((row.path.as_str(), figures.as_ref())),
            Outcome::Failed(_) => None,
        })
        .collect();
    let mut text = String::new();
    totals(&mut text, rows, &planned);
    spread(&mut text, &planned);
    worst(&mut text, &planned);
    failures(&mut text, rows);
    text
}

fn totals(text: &mut String, rows: &[Row], planned: &[Planned<'_>]) {
    let total = |figure: fn(&Figures) -> u64| planned.iter().map(|(_, figures)| figure(figures)).sum::<u64>();
    let money = |figure: fn(&Figures) -> UsdMicros| {
        planned.iter().fold(0_i64, |sum, (_, figures)| sum.saturating_add(figure(figures).0))
    };
    let (cost, bound) = (money(|figures| figures.cost), money(|figures| figures.bound));
    let refused = planned.iter().filter(|(_, figures)| figures.findings > 0).count();
    let mut line = |what: &str, value: String| {
        let _ = writeln!(text, "| {what} | {value} |");
    };
    line("snapshots", rows.len().to_string());
    line("---", "--:".to_owned());
    line("failed", (rows.len() - planned.len()).to_string());
    line("refused by the checker", refused.to_string());
    line("pods pending", total(|figures| figures.pods).to_string());
    line("pods left out", total(|figures| figures.pods_unplaced).to_string());
    line("nodes before", total(|figures| figures.nodes).to_string());
    line("nodes to launch", total(|figures| figures.launches).to_string());
    line("cost $/h", dollars(cost));
    line("bound $/h", dollars(bound));
    line("gap of the sums", Ppm::gap(UsdMicros(cost), UsdMicros(bound)).to_string());
    let mut stops: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, figures) in planned {
        *stops.entry(figures.stop.as_str()).or_default() += 1;
    }
    let stops: Vec<String> = stops.iter().map(|(stop, count)| format!("{stop} {count}")).collect();
    line("searches ended by", stops.join(", "));
}

fn spread(text: &mut String, planned: &[Planned<'_>]) {
    let _ = write!(text, "\n| per snapshot | p50 | p99 | most |\n|---|--:|--:|--:|\n");
    let mut line = |what: &str, values: &[Option<u64>], show: &dyn Fn(Option<u64>) -> String| {
        let at = |percent| show(quantile(values.to_vec(), percent));
        let _ = writeln!(text, "| {what} | {} | {} | {} |", at(50), at(99), at(100));
    };
    let gaps: Vec<_> = planned.iter().map(|(_, figures)| u64::try_from(figures.gap.0).ok()).collect();
    let times: Vec<_> = planned.iter().map(|(_, figures)| Some(figures.wall_ms)).collect();
    line("gap", &gaps, &|gap| {
        gap.map_or_else(|| "-".to_owned(), |gap| Ppm(i64::try_from(gap).unwrap_or(i64::MAX)).to_string())
    });
    line("time s", &times, &seconds);
}

fn worst(text: &mut String, planned: &[Planned<'_>]) {
    let mut worst = planned.to_vec();
    worst.sort_by(|(a_path, a), (b_path, b)| {
        (b.gap, b.findings).cmp(&(a.gap, a.findings)).then_with(|| a_path.cmp(b_path))
    });
    let _ = write!(
        text,
        "\n| largest gaps | pods | left out | launches | cost $/h | bound $/h | gap | time s | ended by |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|---|\n"
    );
    for (path, figures) in worst.iter().take(ROWS_MAX) {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(path),
            figures.pods,
            figures.pods_unplaced,
            figures.launches,
            dollars(figures.cost.0),
            dollars(figures.bound.0),
            figures.gap,
            seconds(Some(figures.wall_ms)),
            figures.stop,
        );
    }
}

fn failures(text: &mut String, rows: &[Row]) {
    let bad: Vec<&Row> = rows.iter().filter(|row| !row.is_good()).collect();
    if bad.is_empty() {
        return;
    }
    let _ = write!(text, "\n| failed or refused | why |\n|---|---|\n");
    for row in bad.iter().take(ROWS_MAX) {
        let why = match &row.outcome {
            Outcome::Failed(why) => why.clone(),
            Outcome::Planned(figures) => {
                let first = figures.first_finding.as_deref().unwrap_or_default();
                format!("{} findings, the first: {first}", figures.findings)
            }
        };
        let _ = writeln!(text, "| {} | {} |", cell(&row.path), cell(&why));
    }
    if let Some(more) = bad.len().checked_sub(ROWS_MAX + 1) {
        let _ = writeln!(text, "| and {} more | |", more + 1);
    }
}

/// Text that cannot break out of its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::row::Settings;
    use std::time::Duration;

    fn row(path: &str, outcome: Outcome) -> Row {
        let settings = Settings::new(Duration::from_secs(5), Ppm(10_000));
        Row { path: path.to_owned(), file: None, catalog: String::new(), settings, outcome }
    }

    fn planned(path: &str, cost: i64, bound: i64, findings: u64) -> Row {
        let figures = Figures {
            snapshot: String::new(),
            plan: String::new(),
            pods: 10,
            pods_unplaced: 1,
            nodes: 3,
            launches: 2,
            cost: UsdMicros(cost),
            bound: UsdMicros(bound),
            gap: Ppm::gap(UsdMicros(cost), UsdMicros(bound)),
            findings,
            first_finding: (findings > 0).then(|| "price: wrong".to_owned()),
            stop: "GapReached".to_owned(),
            wall_ms: 1_500,
        };
        row(path, Outcome::Planned(Box::new(figures)))
    }

    #[test]
    fn the_gap_of_the_sums_weighs_by_cost() {
        // A gap of 100 % on a cent and of 1 % on a hundred dollars.
        let rows = [planned("a", 20_000, 10_000, 0), planned("b", 101_000_000, 100_000_000, 0)];
        let text = markdown(&rows);
        assert!(text.contains("| gap of the sums | 1.01 % |"), "{text}");
        assert!(text.contains("| gap | 1.00 % | 100.00 % | 100.00 % |"), "{text}");
        assert!(text.contains("| time s | 1.50 | 1.50 | 1.50 |"), "{text}");
        assert!(text.contains("| pods left out | 2 |") && text.contains("| nodes to launch | 4 |"), "{text}");
        let place = |path: &str| text.find(&format!("\n| {path} |")).expect(path);
        assert!(place("a") < place("b"), "the worst comes first: {text}");
        assert!(!text.contains("failed or refused"), "{text}");
    }

    #[test]
    fn failures_are_told_and_counted() {
        let failed = |number| row(&format!("bad-{number:02}"), Outcome::Failed("a | b\nc".to_owned()));
        let mut rows: Vec<Row> = (0..12).map(failed).collect();
        rows.insert(0, planned("also", 2, 1, 3));
        let text = markdown(&rows);
        assert!(
            text.contains("| failed | 12 |") && text.contains("| refused by the checker | 1 |"),
            "{text}"
        );
        assert!(text.contains("| also | 3 findings, the first: price: wrong |"), "{text}");
        assert!(text.contains("| bad-00 | a \\| b c |"), "{text}");
        assert!(text.contains("| and 3 more | |") && !text.contains("bad-09"), "{text}");
    }

    #[test]
    fn nothing_planned_is_no_panic() {
        let text = markdown(&[row("bad", Outcome::Failed("why".to_owned()))]);
        assert!(text.contains("| gap | - | - | - |"), "{text}");
    }
}
