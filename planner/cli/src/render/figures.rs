//! How figures are written: the same everywhere, exact integers until the last character.

use std::time::Duration;
use stowage_models::digest;
use stowage_models::plan::Plan;
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources, display_amount};
use stowage_models::units::{Ppm, UsdMicros};

/// `$1,234.56`: dollars and cents, rounded half away from zero.
#[must_use]
pub fn cents(amount: UsdMicros) -> String {
    let sign = if amount.0 < 0 { "-" } else { "" };
    let cents = (amount.0.unsigned_abs() + 5_000) / 10_000;
    format!("{sign}${}.{:02}", thousands(cents / 100), cents % 100)
}

/// `$1,235`: whole dollars, rounded half away from zero, where cents would be noise.
#[must_use]
pub fn dollars(amount: UsdMicros) -> String {
    let sign = if amount.0 < 0 { "-" } else { "" };
    format!("{sign}${}", thousands((amount.0.unsigned_abs() + 500_000) / 1_000_000))
}

/// `$3,147.76/month` of an hourly price.
#[must_use]
pub fn per_month(hourly: UsdMicros) -> String {
    format!("{}/month", cents(hourly.per_month()))
}

/// `$4.3120/h`.
#[must_use]
pub fn per_hour(hourly: UsdMicros) -> String {
    format!("{hourly}/h")
}

/// A difference with its sign: `+$0.0120/h`.
#[must_use]
pub fn signed_per_hour(hourly: UsdMicros) -> String {
    if hourly.0 > 0 { format!("+{hourly}/h") } else { format!("{hourly}/h") }
}

/// What a substitute costs more: `+$0.0120/h`, or `same price`.
#[must_use]
pub fn dearer_by(hourly: UsdMicros) -> String {
    if hourly == UsdMicros::ZERO { "same price".to_owned() } else { signed_per_hour(hourly) }
}

/// `12,345`.
#[must_use]
pub fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 node`, `2 nodes`.
#[must_use]
pub fn count(number: u64, singular: &str, plural: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { singular } else { plural })
}

/// `3 pods`.
#[must_use]
pub fn pods(number: u64) -> String {
    count(number, "pod", "pods")
}

/// `3 nodes`.
#[must_use]
pub fn nodes(number: u64) -> String {
    count(number, "node", "nodes")
}

/// A change against a base, in per cent with one decimal: `+12.3 %`. `None` without a base.
#[must_use]
pub fn change(before: UsdMicros, after: UsdMicros) -> Option<String> {
    if before.0 <= 0 {
        return None;
    }
    let permille = (i128::from(after.0) - i128::from(before.0)) * 1_000 / i128::from(before.0);
    let sign = if permille < 0 { "-" } else { "+" };
    let size = permille.unsigned_abs();
    Some(format!("{sign}{}.{} %", size / 10, size % 10))
}

/// Seconds for people: `0.84 s`.
#[must_use]
pub fn seconds(time: Duration) -> String {
    let hundredths = (time.as_millis() + 5) / 10;
    format!("{}.{:02} s", hundredths / 100, hundredths % 100)
}

/// The first twelve hex digits of a digest: enough to tell plans apart by eye.
#[must_use]
pub fn short_digest(digest: &str) -> &str {
    digest::short(digest, 12)
}

/// How full something is, in parts per million, rounded down; a positive use of nothing is full.
#[must_use]
pub fn fill(used: i64, of: i64) -> Ppm {
    if of <= 0 {
        return Ppm(if used > 0 { Ppm::ONE } else { 0 });
    }
    let ppm = i128::from(used.max(0)) * i128::from(Ppm::ONE) / i128::from(of);
    Ppm(i64::try_from(ppm).unwrap_or(i64::MAX))
}

/// A fill in whole per cent, rounded down, so that 100 % means full: `98 %`.
#[must_use]
pub fn whole_per_cent(share: Ppm) -> String {
    format!("{} %", share.0 / (Ppm::ONE / 100))
}

/// Used and available, of one resource: `14.2/15.89`.
#[must_use]
pub fn of(resource: &str, used: &Resources, available: &Resources) -> String {
    format!(
        "{}/{}",
        display_amount(resource, used.get(resource)),
        display_amount(resource, available.get(resource))
    )
}

/// All resources on one line: `cpu 500m, memory 1Gi`; `pods` is left out.
#[must_use]
pub fn resources(amounts: &Resources) -> String {
    let name_first = |name: &str| match name {
        CPU => 0,
        MEMORY => 1,
        _ => 2,
    };
    let mut listed: Vec<_> = amounts.0.iter().filter(|(name, _)| *name != PODS).collect();
    listed.sort_by_key(|(name, _)| name_first(name));
    let written: Vec<String> =
        listed.iter().map(|(name, amount)| format!("{name} {}", display_amount(name, **amount))).collect();
    if written.is_empty() { "nothing".to_owned() } else { written.join(", ") }
}

/// Price of the nodes that exist and those to launch, without those removed.
#[must_use]
pub fn cost_after(plan: &Plan) -> UsdMicros {
    if let Some(stated) = &plan.consolidation {
        return stated.summary.cost_after;
    }
    plan.summary.cost_before + plan.summary.launch_cost
}

/// What could at most still be saved: cost, unmet preferences included, less bound.
#[must_use]
pub fn left_to_save(plan: &Plan) -> UsdMicros {
    UsdMicros((plan.summary.total_cost() - plan.summary.launch_bound).0.max(0))
}

/// Part of the launch cost that rests on estimated prices.
#[must_use]
pub fn estimated_share(plan: &Plan) -> Ppm {
    fill(plan.summary.estimated_cost.0, plan.summary.launch_cost.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_well() {
        assert_eq!(cents(UsdMicros(1_234_564_999)), "$1,234.56");
        assert_eq!(cents(UsdMicros(-5_000)), "-$0.01");
        assert_eq!(dollars(UsdMicros(1_234_500_000)), "$1,235");
        assert_eq!(per_month(UsdMicros(4_312_000)), "$3,147.76/month");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(thousands(123), "123");
    }

    #[test]
    fn fills_never_flatter() {
        assert_eq!(whole_per_cent(fill(999, 1000)), "99 %");
        assert_eq!(whole_per_cent(fill(1000, 1000)), "100 %");
        assert_eq!(fill(1, 0), Ppm(Ppm::ONE));
        assert_eq!(fill(0, 0), Ppm(0));
    }

    #[test]
    fn changes_have_a_sign() {
        assert_eq!(change(UsdMicros(1000), UsdMicros(716)), Some("-28.4 %".to_owned()));
        assert_eq!(change(UsdMicros(1000), UsdMicros(1123)), Some("+12.3 %".to_owned()));
        assert_eq!(change(UsdMicros(0), UsdMicros(1)), None);
    }
}
