//! The independent referee. It knows the models and nothing of the planner, and uses exact integers only.
//!
//! [`check`] derives the problem from the snapshot with its own code (`docs/formulation.md`) and then believes nothing:
//! every pod, node, price, sum, limit and reason of the plan is recomputed, and the bound is proved again from the
//! multipliers of the certificate. Texts for people (notes, messages, hints) are not judged.
//!
//! It never panics, whatever the plan says, and its findings come in a fixed order.

#![forbid(unsafe_code)]

mod alternates;
mod between;
mod binding;
mod branching;
mod cases;
mod certificate;
mod consolidation;
mod diversity;
mod existing;
mod figures;
pub mod filters;
mod finding;
mod form;
mod groups;
mod identity;
mod launches;
mod ledger;
mod limits;
mod matching;
mod min_values;
mod nodes;
mod offerings;
mod overlays;
mod parts;
mod preferences;
mod problem;
mod request;
mod reviewed;
mod splits;
mod storage;
mod tables;
#[cfg(test)]
mod tests;
mod variants;
mod wishes;

pub use consolidation::{Leaving, LeavingPod, Obstacle, check_removals, check_waves};
pub use finding::{Finding, code};
pub use matching::{accepts, tolerates};
pub use request::effective_request;
pub use reviewed::check_launches;
pub use variants::VARIANTS_MAX;

use finding::Findings;
use problem::{Asked, Problem};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;

/// Judges a plan. No findings: everything the plan claims is true.
#[must_use]
pub fn check(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan) -> Vec<Finding> {
    let mut findings = Findings::default();
    identity::check(snapshot, catalog, plan, &mut findings);
    identity::check_names(snapshot, &mut findings);
    if findings.0.iter().any(|finding| finding.code == code::SNAPSHOT) {
        return findings.0;
    }
    match (&plan.policy.consolidation, &plan.consolidation) {
        (Some(policy), Some(stated)) => {
            consolidation::check(snapshot, catalog, (plan, policy, stated), &mut findings);
        }
        (None, None) => judge(snapshot, catalog, plan, &mut findings),
        (policy, _) => {
            let (has, says) = if policy.is_some() { ("has", "nothing") } else { ("has no", "something") };
            let message = format!("the policy {has} consolidation, the plan says {says} about it");
            findings.add(code::CONSOLIDATION, message);
        }
    }
    findings.0
}

/// Judges where pods go and what is launched.
fn judge(snapshot: &Snapshot, catalog: &Catalog, plan: &Plan, findings: &mut Findings) {
    // A slack out of range is a finding already; the rest is judged at the nearest one that means anything.
    let slack = plan.policy.slack.0.clamp(0, Ppm::ONE);
    let without_weights =
        plan.certificate_without_weights.iter().flat_map(|certificate| &certificate.resources);
    let named: Vec<String> = plan.certificate.resources.iter().chain(without_weights).cloned().collect();
    let problem = Problem::new(snapshot, catalog, slack, &named, Asked::of(plan));
    let mut ledger = ledger::read(&problem, plan, findings);
    launches::check(&problem, plan, &mut ledger, findings);
    existing::check(&problem, catalog, plan, &mut ledger, findings);
    binding::check(&problem, plan, &ledger, findings);
    limits::check(&problem, plan, &ledger, findings);
    diversity::check(snapshot, catalog, plan, findings);
    figures::check(&problem, catalog, plan, &ledger, findings);
    figures::check_progress(plan, findings);
    certificate::check_all(&problem, plan, &ledger, findings);
}
