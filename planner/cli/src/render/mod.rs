//! From plans to text. Nothing here decides anything, and nothing here does I/O.
//!
//! One module per form: [`table`] and [`diff`] and [`explain`] for the terminal, [`markdown`] for pull requests,
//! [`html`] for the report, [`document`] for the plan itself. [`figures`], [`groups`] and [`grid`] are what they share.

pub mod diff;
pub mod document;
pub mod explain;
pub mod figures;
pub mod grid;
pub mod groups;
pub mod html;
pub mod leaving;
pub mod markdown;
pub mod table;
pub mod whatif;

use crate::args::PlanFormat;
use crate::style::Palette;
use stowage_models::plan::Plan;
use stowage_planner::{Report, Stop};

/// A plan on its way out, with what is known about the run that made it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// How it was found; absent for a plan read from a file.
    pub report: Option<&'a Report>,
    /// The referee accepted it just now.
    pub checked: bool,
}

/// Renders a plan.
#[must_use]
pub fn plan(subject: &Subject<'_>, format: PlanFormat, palette: Palette) -> String {
    match format {
        PlanFormat::Table => table::render(subject, palette),
        PlanFormat::Json => document::json(subject.plan),
        PlanFormat::Yaml => document::yaml(subject.plan),
        PlanFormat::Markdown => markdown::render(subject),
        PlanFormat::Html => html::render(subject),
    }
}

/// Why the search ended, in words.
#[must_use]
pub fn stop_reason(stop: Stop) -> &'static str {
    match stop {
        Stop::GapReached => "gap reached",
        Stop::WorkDone => "work budget used up",
        Stop::TimeLimit => "time limit",
        Stop::Cancelled => "cancelled",
    }
}
