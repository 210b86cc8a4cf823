//! Proofs by cases: their form, and what they prove.

use crate::findings::{expect, rich, simple};
use stowage_checker::code::*;
use stowage_models::plan::{CaseFork, Plan};

/// A fork on the first row with the first vector on both sides, which proves what that vector does.
fn with_case(plan: &mut Plan) {
    let vectors = u32::try_from(plan.certificate.vectors.len()).unwrap();
    plan.certificate.cases.push(CaseFork { row: 0, most: 0, fewer: 0, more: 0 });
    let runs = plan.certificate.offering_vectors.split(',');
    let runs =
        runs.map(|run| run.strip_prefix("0*").map_or(run.to_owned(), |count| format!("{vectors}*{count}")));
    plan.certificate.offering_vectors = runs.collect::<Vec<_>>().join(",");
}

/// Goal: proofs by cases are believed where each case is proved, and have a form.
#[test]
fn cases_are_proved_and_well_formed() {
    for most in [0, 1, 7, u32::MAX] {
        expect(simple(), &[], |plan| {
            with_case(plan);
            plan.certificate.cases[0].most = most;
        });
        expect(rich(), &[], |plan| {
            with_case(plan);
            plan.certificate.cases[0].most = most;
        });
    }
    // Seven forks, each of which has the one before on both sides, have 128 ends.
    expect(simple(), &[CERT_VALUE], |plan| {
        with_case(plan);
        let vectors = u32::try_from(plan.certificate.vectors.len()).unwrap();
        for most in 1..7 {
            let before = vectors + most - 1;
            plan.certificate.cases.push(CaseFork { row: 0, most, fewer: before, more: before });
        }
        let text = plan
            .certificate
            .offering_vectors
            .split(',')
            .map(|run| run.replacen("2*", "8*", usize::from(run.starts_with("2*"))))
            .collect::<Vec<_>>()
            .join(",");
        plan.certificate.offering_vectors = text;
    });
    let wrong: [fn(&mut CaseFork); 4] =
        [|fork| fork.row = 99, |fork| fork.fewer = 2, |fork| fork.more = 2, |fork| fork.more = u32::MAX];
    for damage in wrong {
        expect(simple(), &[CERT_VECTORS], |plan| {
            with_case(plan);
            damage(&mut plan.certificate.cases[0]);
        });
    }
    expect(simple(), &[CERT_VECTORS], |plan| {
        plan.certificate.cases.push(CaseFork { row: 0, most: 0, fewer: 0, more: 0 });
    });
    expect(simple(), &[CERT_VECTORS], |plan| {
        with_case(plan);
        let twice = plan.certificate.cases[0].clone();
        plan.certificate.cases.push(twice);
        plan.certificate.offering_vectors = plan.certificate.offering_vectors.replacen("2*", "3*", 1);
    });
}
