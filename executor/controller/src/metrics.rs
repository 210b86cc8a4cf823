//! Numbers for Prometheus. Where Karpenter's dashboards look for a number, it has Karpenter's name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Upper ends of histogram buckets in milliseconds.
const BUCKETS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000, 60_000];

/// A family of series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Family {
    /// Name.
    pub name: &'static str,
    /// What it says, and its unit.
    pub help: &'static str,
}

/// A value.
#[derive(Clone, Debug)]
enum Value {
    /// Millionths.
    Gauge(i64),
    Counter(u64),
    Histogram {
        buckets: [u64; BUCKETS.len()],
        count: u64,
        sum: Duration,
    },
}

/// Series by family and labels.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<BTreeMap<Family, BTreeMap<String, Value>>>);

/// Labels as they are written.
fn labels(pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    let all: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}=\"{}\"", escape(value))).collect();
    all.join(",")
}

impl Metrics {
    fn series(&self) -> MutexGuard<'_, BTreeMap<Family, BTreeMap<String, Value>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts.
    pub fn count(&self, family: Family, pairs: &[(&str, &str)], by: u64) {
        let mut series = self.series();
        let value = series.entry(family).or_default().entry(labels(pairs)).or_insert(Value::Counter(0));
        if let Value::Counter(count) = value {
            *count = count.saturating_add(by);
        }
    }

    /// Sets a number, in millionths.
    pub fn set(&self, family: Family, pairs: &[(&str, &str)], millionths: i64) {
        self.series().entry(family).or_default().insert(labels(pairs), Value::Gauge(millionths));
    }

    /// Sets all series of a family; those that are not named go.
    pub fn set_all(&self, family: Family, all: Vec<(Vec<(&str, &str)>, i64)>) {
        let all = all.iter().map(|(pairs, millionths)| (labels(pairs), Value::Gauge(*millionths))).collect();
        self.series().insert(family, all);
    }

    /// Adds a duration to a histogram of seconds.
    pub fn observe(&self, family: Family, pairs: &[(&str, &str)], took: Duration) {
        let empty = Value::Histogram { buckets: [0; BUCKETS.len()], count: 0, sum: Duration::ZERO };
        let mut series = self.series();
        let value = series.entry(family).or_default().entry(labels(pairs)).or_insert(empty);
        if let Value::Histogram { buckets, count, sum } = value {
            let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            for (end, bucket) in BUCKETS.iter().zip(buckets) {
                *bucket += u64::from(milliseconds <= *end);
            }
            *count += 1;
            *sum += took;
        }
    }

    /// The text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (family, series) in &*self.series() {
            let kind = match series.values().next() {
                Some(Value::Gauge(_)) => "gauge",
                Some(Value::Counter(_)) => "counter",
                Some(Value::Histogram { .. }) => "histogram",
                None => continue,
            };
            let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} {kind}", family.name, family.help);
            for (labels, value) in series {
                line(&mut text, family.name, labels, value);
            }
        }
        text
    }
}

fn line(text: &mut String, name: &str, labels: &str, value: &Value) {
    let braced = |labels: &str| if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
    let _ = match value {
        Value::Gauge(millionths) => writeln!(text, "{name}{} {}", braced(labels), decimal(*millionths)),
        Value::Counter(count) => writeln!(text, "{name}{} {count}", braced(labels)),
        Value::Histogram { buckets, count, sum } => {
            let comma = if labels.is_empty() { "" } else { "," };
            for (end, bucket) in BUCKETS.iter().zip(buckets) {
                let end = decimal(i64::try_from(*end).unwrap_or(i64::MAX).saturating_mul(1000));
                let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{end}\"}} {bucket}");
            }
            let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
            let sum = decimal(i64::try_from(sum.as_micros()).unwrap_or(i64::MAX));
            writeln!(text, "{name}_sum{0} {sum}\n{name}_count{0} {count}", braced(labels))
        }
    };
}

/// Millionths as a decimal number.
fn decimal(millionths: i64) -> String {
    let sign = if millionths < 0 { "-" } else { "" };
    let amount = millionths.unsigned_abs();
    let text = format!("{sign}{}.{:06}", amount / 1_000_000, amount % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: Family = Family { name: "a_total", help: "Counts." };
    const GAUGE: Family = Family { name: "b", help: "Says." };
    const HISTOGRAM: Family = Family { name: "c_seconds", help: "Takes." };

    #[test]
    fn the_text_is_that_of_prometheus() {
        let metrics = Metrics::default();
        metrics.count(COUNTER, &[("pool", "a\"b")], 2);
        metrics.count(COUNTER, &[("pool", "a\"b")], 1);
        metrics.set(GAUGE, &[], -1_500_000);
        metrics.observe(HISTOGRAM, &[("m", "x")], Duration::from_millis(30));
        let text = metrics.render();
        assert!(
            text.contains("# HELP a_total Counts.\n# TYPE a_total counter\na_total{pool=\"a\\\"b\"} 3\n"),
            "{text}"
        );
        assert!(text.contains("# TYPE b gauge\nb -1.5\n"), "{text}");
        assert!(
            text.contains(
                "c_seconds_bucket{m=\"x\",le=\"0.025\"} 0\nc_seconds_bucket{m=\"x\",le=\"0.05\"} 1\n"
            ),
            "{text}"
        );
        assert!(text.contains("c_seconds_bucket{m=\"x\",le=\"+Inf\"} 1\nc_seconds_sum{m=\"x\"} 0.03\nc_seconds_count{m=\"x\"} 1\n"), "{text}");
        metrics.set_all(GAUGE, vec![(vec![("x", "1")], 2_000_000)]);
        assert!(metrics.render().contains("b{x=\"1\"} 2\n") && !metrics.render().contains("b -1.5"));
    }
}
