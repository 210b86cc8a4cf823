//! Launches by type, zone, capacity type and NodePool, as bars.

use crate::render::figures;
use serde::Serialize;
use std::collections::BTreeMap;
use stowage_models::plan::{Launch, Plan};
use stowage_models::units::UsdMicros;

/// Bars per panel; types beyond that are summed up in the last one.
const BARS_MAX: usize = 14;

/// A bar: its length is the number of nodes.
#[derive(Debug, Serialize)]
pub(super) struct Bar {
    figure: String,
    name: String,
    nodes: u64,
    nodes_text: String,
    cost: String,
    /// Part of the panel's longest bar, in per cent with decimals, for CSS.
    on_demand: Option<String>,
    spot: Option<String>,
}

#[derive(Default)]
struct Tally {
    spot: u64,
    other: u64,
    cost: UsdMicros,
}

impl Tally {
    fn nodes(&self) -> u64 {
        self.spot + self.other
    }
}

/// The bars of one panel, longest first.
pub(super) fn by(plan: &Plan, panel: &str, key: fn(&Launch) -> &String) -> Vec<Bar> {
    let mut tallies: BTreeMap<&str, Tally> = BTreeMap::new();
    for launch in &plan.launches {
        let tally = tallies.entry(key(launch)).or_default();
        let is_spot = launch.capacity_type == "spot";
        tally.spot += u64::from(is_spot);
        tally.other += u64::from(!is_spot);
        tally.cost += launch.price;
    }
    let mut sorted: Vec<(&str, Tally)> = tallies.into_iter().collect();
    // Stable: equal counts stay in the order of names.
    sorted.sort_by_key(|(_, tally)| std::cmp::Reverse(tally.nodes()));
    if sorted.len() > BARS_MAX {
        let rest = sorted.split_off(BARS_MAX - 1);
        let sum = rest.iter().fold(Tally::default(), |sum, (_, tally)| Tally {
            spot: sum.spot + tally.spot,
            other: sum.other + tally.other,
            cost: sum.cost + tally.cost,
        });
        sorted.push(("all others", sum));
    }
    let longest = sorted.iter().map(|(_, tally)| tally.nodes()).max().unwrap_or(1);
    sorted.iter().map(|(name, tally)| bar(panel, name, tally, longest)).collect()
}

fn bar(panel: &str, name: &str, tally: &Tally, longest: u64) -> Bar {
    let width = |nodes: u64| (nodes > 0).then(|| percent(nodes, longest));
    Bar {
        figure: format!("launches.{panel}.{name}"),
        name: name.to_owned(),
        nodes: tally.nodes(),
        nodes_text: figures::thousands(tally.nodes()),
        cost: format!("{}/mo", figures::dollars(tally.cost.per_month())),
        on_demand: width(tally.other),
        spot: width(tally.spot),
    }
}

/// `part / whole` as a CSS percentage with two decimals.
pub(super) fn percent(part: u64, whole: u64) -> String {
    let hundredths = u128::from(part) * 10_000 / u128::from(whole.max(1));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}
