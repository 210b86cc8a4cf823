//! Proofs by branching: right ones are accepted, and whatever would make one prove more than it may is found.
//!
//! The proof is made by hand: at most two nodes, and the flat multipliers hold; or three or more, and each costs at least what
//! the cheapest does.

use crate::support::*;
use std::collections::BTreeSet;
use stowage_checker::code::{self, *};
use stowage_models::plan::{Fork, Leaf, LimitMultiplier, Part, Plan, Step};
use stowage_models::units::UsdMicros;

/// The simple plan, all of it proved by a part.
fn branched() -> Case {
    let mut case = Case::new(simple_snapshot(), Rule::Cpu);
    let cheapest = case.catalog.types.iter().flat_map(|one| &one.zones).flat_map(|zone| &zone.spot);
    let cheapest = cheapest.map(|price| price.usd.0).chain(case.plan.launches.iter().map(|one| one.price.0));
    let least = cheapest.min().expect("there are launches") / 2;
    let certificate = &mut case.plan.certificate;
    let vectors = certificate.vectors.clone();
    let multipliers: Vec<i64> = certificate.rows.iter().map(|row| row.multiplier).collect();
    certificate.rows.iter_mut().for_each(|row| row.multiplier = 0);
    let few = Leaf { multipliers: multipliers.clone(), forks: vec![0], limits: Vec::new(), vectors };
    let many = Leaf {
        multipliers: vec![0; multipliers.len()],
        forks: vec![least << 20],
        limits: Vec::new(),
        vectors: vec![vec![0, 0]],
    };
    let most = u32::try_from(case.plan.summary.launch_bound.0 / least).expect("few nodes");
    let fork = Fork { from: UsdMicros(0), to: None, most };
    let rows = (0..multipliers.len()).map(|row| u32::try_from(row).expect("few rows")).collect();
    let steps = vec![Step::Fork(fork), Step::Leaf(few), Step::Leaf(many)];
    certificate.parts = vec![Part { rows, steps }];
    case
}

fn leaf(plan: &mut Plan, step: usize) -> &mut Leaf {
    match &mut plan.certificate.parts[0].steps[step] {
        Step::Leaf(leaf) => leaf,
        Step::Fork(_) => panic!("step {step} is a fork"),
    }
}

#[track_caller]
fn expect(wanted: &[&'static str], damage: impl FnOnce(&mut Plan)) {
    let mut case = branched();
    damage(&mut case.plan);
    let found = case.codes();
    assert_eq!(found, wanted.iter().copied().collect::<BTreeSet<_>>(), "{:#?}", case.findings());
}

#[test]
fn a_right_tree_is_accepted() {
    let case = branched();
    assert!(case.plan.summary.launch_bound.0 > 0);
    expect(&[], |_| {});
    // A tree of one leaf is a flat proof.
    expect(&[], |plan| {
        leaf(plan, 1).forks.clear();
        plan.certificate.parts[0].steps.truncate(2);
        plan.certificate.parts[0].steps.remove(0);
    });
}

#[test]
fn a_tree_ends_where_it_should() {
    expect(&[CERT_PARTS], |plan| drop(plan.certificate.parts[0].steps.pop()));
    expect(&[CERT_PARTS], |plan| drop(plan.certificate.parts[0].steps.remove(0)));
    expect(&[CERT_PARTS], |plan| plan.certificate.parts[0].steps.clear());
    expect(&[CERT_PARTS], |plan| {
        let again = plan.certificate.parts[0].steps[2].clone();
        plan.certificate.parts[0].steps.push(again);
    });
    expect(&[CERT_PARTS], |plan| leaf(plan, 1).forks.push(0));
    expect(&[CERT_PARTS], |plan| leaf(plan, 2).multipliers.truncate(1));
    expect(&[CERT_PARTS], |plan| leaf(plan, 2).vectors.clear());
    expect(&[CERT_PARTS], |plan| leaf(plan, 2).vectors[0].push(0));
    for value in [-1, i64::MIN] {
        expect(&[CERT_PARTS], |plan| leaf(plan, 2).forks[0] = value);
        expect(&[CERT_PARTS], |plan| leaf(plan, 1).multipliers[0] = value);
        expect(&[CERT_PARTS], |plan| leaf(plan, 1).vectors[0][0] = value);
    }
}

#[test]
fn rows_belong_to_one_part() {
    expect(&[CERT_PARTS], |plan| plan.certificate.rows[0].multiplier = 1);
    expect(&[CERT_PARTS], |plan| plan.certificate.parts[0].rows.swap(0, 1));
    expect(&[CERT_PARTS], |plan| plan.certificate.parts[0].rows[1] = 7);
    expect(&[CERT_PARTS], |plan| {
        let twice = plan.certificate.parts[0].clone();
        plan.certificate.parts.push(twice);
    });
    // Both groups fit the same nodes: alone, neither can be bounded.
    expect(&[CERT_VALUE], |plan| {
        plan.certificate.parts[0].rows.truncate(1);
        leaf(plan, 1).multipliers.truncate(1);
        leaf(plan, 2).multipliers.truncate(1);
    });
}

#[test]
fn a_leaf_proves_no_more_than_it_may() {
    // The sides in the wrong order: few nodes at a price each lower the bound.
    expect(&[BOUND], |plan| plan.certificate.parts[0].steps.swap(1, 2));
    // Each of many nodes costs more than the cheapest does.
    expect(&[CERT_VALUE], |plan| leaf(plan, 2).forks[0] *= 40);
    // With few nodes, a price on each would let offerings carry more than they cost, and the bound falls by as much.
    expect(&[BOUND], |plan| leaf(plan, 1).forks[0] = 1 << 40);
    expect(&[CERT_VALUE], |plan| leaf(plan, 1).multipliers[0] *= 3);
    expect(&[BOUND], |plan| leaf(plan, 1).multipliers[0] /= 2);
    // A threshold further down: three nodes, say, cost less than the other leaf proves.
    expect(&[BOUND], |plan| {
        if let Step::Fork(fork) = &mut plan.certificate.parts[0].steps[0] {
            fork.most = 0;
        }
    });
    // No offering is counted: a least number of nodes at any price would be free money.
    expect(&[], |plan| {
        if let Step::Fork(fork) = &mut plan.certificate.parts[0].steps[0] {
            fork.to = Some(UsdMicros(-1));
        }
    });
    for (resource, multiplier, code) in [("cpu", 1, code::CERT_LIMITS), ("nodes", 0, code::CERT_LIMITS)] {
        let mut case = branched();
        let limit = LimitMultiplier { node_pool: "general".into(), resource: resource.into(), multiplier };
        leaf(&mut case.plan, 1).limits.push(limit);
        assert!(case.codes().contains(code), "a limit that is none");
    }
}

#[test]
fn numbers_beyond_the_range_are_found() {
    expect(&[CERT_RANGE], |plan| {
        leaf(plan, 1).multipliers[0] = i64::MAX;
        leaf(plan, 1).vectors = vec![vec![i64::MAX, i64::MAX]];
    });
}
