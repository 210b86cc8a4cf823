//! Goal: proofs by cases hold where no single vector proves as much, and the checker believes nothing else.

use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial::accepted;
use stowage_checker::check;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Plan, Policy};
use stowage_models::units::Ppm;

/// Forks that are damaged one by one.
const FORKS_TRIED: usize = 12;

/// 78 pods need six cores and 51 of the 59 GiB of a node. Without cases, the memory of nodes that hold none of them counts for those that do.
#[test]
fn cases_prove_what_no_vector_does() {
    let snapshot = Composition::named("upto-16").expect("a composition").snapshot(22);
    let catalog = Catalog::embedded();
    let policy = Policy { gap: Ppm(3_000), ..Policy::default() };
    let plan = accepted(&snapshot, catalog, &policy, Duration::from_secs(1));
    let certificate = &plan.certificate;
    assert!(plan.summary.gap <= Ppm(10_000), "{}", plan.summary.gap);
    assert!(!certificate.cases.is_empty());

    let found = |damage: &dyn Fn(&mut Plan)| {
        let mut plan = plan.clone();
        damage(&mut plan);
        plan.id = plan.compute_id();
        let findings = check(&snapshot, catalog, &plan);
        findings.into_iter().map(|finding| finding.code).collect::<Vec<_>>()
    };
    // One side of a fork for both, where the vector or fork left out has other uses, or that alone would be found.
    let uses = |side: u32| {
        let sides = certificate.cases.iter().flat_map(|fork| [fork.fewer, fork.more]);
        sides.filter(|one| *one == side).count()
    };
    let forks = certificate.cases.iter().enumerate().take(FORKS_TRIED);
    let sides =
        forks.flat_map(|(index, fork)| [(index, fork.fewer, fork.more), (index, fork.more, fork.fewer)]);
    let spare = sides.filter(|(_, _, left_out)| uses(*left_out) > 1);
    let codes = spare.map(|(index, kept, _)| {
        found(&|plan| {
            let fork = &mut plan.certificate.cases[index];
            (fork.fewer, fork.more) = (kept, kept);
        })
    });
    assert!(codes.into_iter().any(|codes| codes == ["cert-value"]));
    // Both sides for pods of another number: what lies between is in neither.
    let codes = found(&|plan| {
        for fork in &mut plan.certificate.cases {
            std::mem::swap(&mut fork.fewer, &mut fork.more);
        }
    });
    assert!(codes.contains(&"cert-value"), "{codes:?}");
}
