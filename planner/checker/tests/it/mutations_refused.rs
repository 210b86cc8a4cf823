//! No random damage to a right plan goes unnoticed.

use crate::mutations::{mutate, run};
use crate::support::*;
use proptest::prelude::*;
use std::sync::OnceLock;
use stowage_checker::check;
use stowage_models::plan::Plan;
use stowage_models::random::Random;

fn cases() -> &'static [Case] {
    static CASES: OnceLock<Vec<Case>> = OnceLock::new();
    CASES.get_or_init(|| {
        let both = [Rule::Cpu, Rule::Zero].into_iter();
        both.flat_map(|rule| [simple_snapshot(), rich_snapshot()].map(|snapshot| Case::new(snapshot, rule)))
            .collect()
    })
}

/// Rounds per plan; four plans.
const ROUNDS: usize = 2_500;

#[test]
fn without_a_new_id_everything_is_refused() {
    for (seed, case) in cases().iter().enumerate() {
        let outcome = run(&case.snapshot, &case.catalog, &case.plan, (ROUNDS, seed as u64, false));
        assert!(outcome.holes.is_empty(), "{outcome:#?}");
        assert!(outcome.refused > ROUNDS / 2, "{outcome:?}");
    }
}

#[test]
fn with_a_new_id_every_other_claim_is_refused() {
    for (seed, case) in cases().iter().enumerate() {
        let outcome = run(&case.snapshot, &case.catalog, &case.plan, (ROUNDS, 100 + seed as u64, true));
        println!("{} harmless, {} refused of {ROUNDS}", outcome.harmless, outcome.refused);
        assert!(outcome.holes.is_empty(), "{outcome:#?}");
        assert!(outcome.refused > ROUNDS / 2, "{outcome:?}");
    }
}

/// Goal: whoever adapts the figures to other decisions gets no better bound. A plan that is accepted and places the same
/// pods shows what they cost at most, and no accepted proof may be above that.
#[test]
fn no_accepted_bound_exceeds_a_known_cost() {
    for (seed, case) in cases().iter().enumerate() {
        let mut random = Random::new(200 + seed as u64);
        let original = serde_json::to_value(&case.plan).unwrap();
        for _ in 0..ROUNDS {
            let mut mutant = original.clone();
            let what: Vec<String> =
                (0..1 + random.index(3)).map(|_| mutate(&mut mutant, &case.catalog, &mut random)).collect();
            let Ok(mut mutant) = serde_json::from_value::<Plan>(mutant) else {
                continue;
            };
            // Sums of absurd prices overflow in the helper, not in the referee.
            if mutant.launches.iter().any(|launch| launch.price.0.unsigned_abs() > 1 << 40)
                || mutant
                    .existing
                    .iter()
                    .any(|node| node.price.is_some_and(|price| price.0.unsigned_abs() > 1 << 40))
            {
                continue;
            }
            restate(&mut mutant);
            if check(&case.snapshot, &case.catalog, &mutant).is_empty()
                && mutant.summary.pods_unplaced == case.plan.summary.pods_unplaced
            {
                assert!(mutant.summary.launch_bound <= case.plan.summary.launch_cost, "{what:?}");
                assert!(mutant.summary.launch_bound <= mutant.summary.launch_cost, "{what:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Goal: whatever a plan says, the referee answers.
    #[test]
    fn no_plan_makes_it_panic(seed: u64, count in 1_usize..40, index in 0_usize..4) {
        let case = &cases()[index];
        let mut random = Random::new(seed);
        let mut mutant = serde_json::to_value(&case.plan).unwrap();
        for _ in 0..count {
            let before = mutant.clone();
            let _ = mutate(&mut mutant, &case.catalog, &mut random);
            // Only what can still be read gets to the referee at all.
            if serde_json::from_value::<Plan>(mutant.clone()).is_err() {
                mutant = before;
            }
        }
        let mut plan: Plan = serde_json::from_value(mutant).unwrap();
        let _ = check(&case.snapshot, &case.catalog, &plan);
        plan.id = plan.compute_id();
        let _ = check(&case.snapshot, &case.catalog, &plan);
    }

    /// Goal: the same for snapshots.
    #[test]
    fn no_snapshot_makes_it_panic(seed: u64, count in 1_usize..20, index in 0_usize..4) {
        let case = &cases()[index];
        let mut random = Random::new(seed);
        let mut mutant = serde_json::to_value(&case.snapshot).unwrap();
        for _ in 0..count {
            let before = mutant.clone();
            let _ = mutate(&mut mutant, &case.catalog, &mut random);
            if serde_json::from_value::<stowage_models::snapshot::Snapshot>(mutant.clone()).is_err() {
                mutant = before;
            }
        }
        let snapshot = serde_json::from_value(mutant).unwrap();
        let _ = check(&snapshot, &case.catalog, &case.plan);
    }
}
