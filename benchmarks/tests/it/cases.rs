//! Goal: proofs by cases hold where no single vector proves as much, and the checker believes nothing else.

use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::trial::accepted;
use stowage_checker::check;
use stowage_models::catalog::Catalog;
use stowage_models::plan::{Certificate, Plan, Policy};
use stowage_models::units::Ppm;

/// The offerings' vectors with each number changed.
fn renumbered(certificate: &Certificate, number: impl Fn(usize) -> usize) -> String {
    let run = |run: &str| {
        let (index, count) = run.split_once('*').unwrap_or((run, "1"));
        format!("{}*{count}", number(index.parse().expect("an index")))
    };
    certificate.offering_vectors.split(',').map(run).collect::<Vec<_>>().join(",")
}

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
    // One side of the first case for all of it: the vector that prices it does not price the other.
    for side in [0, 1] {
        let codes = found(&|plan| {
            let certificate = &mut plan.certificate;
            let vectors = certificate.vectors.len();
            let fork = certificate.cases[0].clone();
            let vector = if side == 0 { fork.fewer } else { fork.more };
            let number = |index: usize| if index == vectors { vector as usize } else { index };
            certificate.offering_vectors = renumbered(certificate, number);
            for fork in &mut certificate.cases[1..] {
                for side in [&mut fork.fewer, &mut fork.more] {
                    *side = number(*side as usize) as u32;
                }
            }
            // Nothing may be unused; that an offering should need it is what is tried.
            certificate.cases[0].fewer = vector;
            certificate.cases[0].more = vector;
        });
        assert!(!codes.is_empty(), "side {side}");
    }
    // Both sides for pods of another number: what lies between is in neither.
    let codes = found(&|plan| {
        for fork in &mut plan.certificate.cases {
            std::mem::swap(&mut fork.fewer, &mut fork.more);
        }
    });
    assert!(codes.contains(&"cert-value"), "{codes:?}");
}
