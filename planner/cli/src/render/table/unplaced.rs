//! Who is left out, and why.

use super::tinted;
use crate::render::figures::{per_hour, pods};
use crate::render::grid;
use crate::style::Palette;
use stowage_models::plan::{Blocking, Plan, Unplaced, UnplacedReason};
use stowage_models::units::UsdMicros;

/// Pods named per reason.
const NAMES_MAX: usize = 3;

/// Pods left out, with reasons and hints.
pub(super) fn section(plan: &Plan, palette: Palette) -> String {
    if plan.unplaced.is_empty() {
        return String::new();
    }
    let title = format!("Left out {}", pods(plan.summary.pods_unplaced));
    let mut text = format!("{}\n", palette.strong(&title));
    for entry in &plan.unplaced {
        text.push_str(&unplaced_entry(entry, palette));
    }
    text
}

fn unplaced_entry(entry: &Unplaced, palette: Palette) -> String {
    let reason = reason_name(entry.reason);
    let first =
        grid::wrap("  ! ", &format!("{}, {reason}: {}", pods(entry.pods.len() as u64), entry.message));
    let mut text = tinted(&first, '!', |sign| palette.notable(sign));
    if !entry.hint.is_empty() {
        text.push_str(&grid::wrap("    hint: ", &entry.hint));
    }
    if let Some(nearest) = &entry.nearest {
        text.push_str(&grid::wrap("    nearest: ", nearest));
    }
    for one in &entry.blocking {
        text.push_str(&grid::wrap("    in the way: ", &in_the_way(one)));
    }
    text.push_str(&grid::wrap("    pods: ", &some_names(entry)));
    text
}

/// A blocking constraint, and what dropping it would take.
#[must_use]
pub fn in_the_way(blocking: &Blocking) -> String {
    let Blocking { constraint, detail, price_without } = blocking;
    let without = match price_without {
        None => String::new(),
        Some(UsdMicros::ZERO) => "; without it a node that exists would hold the pod".to_owned(),
        Some(price) => format!("; without it a node for {} would hold the pod", per_hour(*price)),
    };
    format!("{constraint}: {detail}{without}")
}

/// The first pods of an entry and how many more there are.
#[must_use]
pub fn some_names(entry: &Unplaced) -> String {
    let names: Vec<&str> = entry.pods.iter().take(NAMES_MAX).map(|pod| pod.0.as_str()).collect();
    let more = entry.pods.len().saturating_sub(NAMES_MAX);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}

/// The reason as the plan file spells it.
#[must_use]
pub fn reason_name(reason: UnplacedReason) -> &'static str {
    match reason {
        UnplacedReason::Unsupported => "Unsupported",
        UnplacedReason::NoFit => "NoFit",
        UnplacedReason::Limits => "Limits",
        UnplacedReason::Constraint => "Constraint",
    }
}
