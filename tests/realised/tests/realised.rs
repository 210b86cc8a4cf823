//! Every pod of a plan ends up on its planned node, and no further node is needed.
//!
//! `STOWAGE_REALISED_PLANS` says how many random clusters (default 2), `STOWAGE_REALISED_SEED` where they begin. With
//! `STOWAGE_REALISED_COMPARE=1` each is also left to the scheduler, with 0, 1 and 3 per cent of slack, for the table of
//! `docs/realisation.md`:
//!
//! ```text
//! STOWAGE_REALISED_PLANS=30 STOWAGE_REALISED_COMPARE=1 cargo test --release --locked --workspace --test realised -- --nocapture
//! ```

use anyhow::{Context as _, Result, ensure};
use stowage_models::units::Ppm;
use stowage_realised_tests::carry::{Outcome, Way, realise};
use stowage_realised_tests::generate;
use stowage_realised_tests::stage::Stage;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, which is no number"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn planned_pods_end_up_on_their_planned_nodes() -> Result<()> {
    let first = number("STOWAGE_REALISED_SEED", 0);
    let count = number("STOWAGE_REALISED_PLANS", 2);
    let compare = number("STOWAGE_REALISED_COMPARE", 0) > 0;
    let stage = Stage::start().await?;
    let arms = [
        ("steered, slack 0 %", Way::Steered, Ppm(0)),
        ("left alone, slack 0 %", Way::Unsteered, Ppm(0)),
        ("left alone, slack 1 %", Way::Unsteered, Ppm(10_000)),
        ("left alone, slack 3 %", Way::Unsteered, Ppm(30_000)),
    ];
    let arms = &arms[..if compare { arms.len() } else { 1 }];
    let mut sums = vec![Outcome::default(); arms.len()];
    let mut wrong = Vec::new();
    for seed in first..first + count {
        let snapshot = generate::snapshot(seed);
        for ((name, way, slack), sum) in arms.iter().zip(&mut sums) {
            let outcome = realise(&stage, &snapshot, *slack, *way).await;
            let outcome =
                outcome.with_context(|| format!("seed {seed}, {name}; logs in {}", stage.directory()))?;
            let Outcome { planned, there, elsewhere, unbound, nodes, extra, time, .. } = &outcome;
            println!(
                "seed {seed}, {name}: {planned} pods on {nodes} nodes: {there} there, {elsewhere} elsewhere, {unbound} unbound, {extra} extra nodes, {:.1} s",
                time.as_secs_f64()
            );
            if *way == Way::Steered {
                wrong.extend(outcome.wrong.iter().map(|what| format!("seed {seed}: {what}")));
            }
            sum.planned += planned;
            sum.there += there;
            sum.elsewhere += elsewhere;
            sum.unbound += unbound;
            sum.nodes += nodes;
            sum.extra += extra;
            sum.time += *time;
        }
    }
    for ((name, ..), sum) in arms.iter().zip(&sums) {
        let Outcome { planned, there, elsewhere, unbound, nodes, extra, time, .. } = sum;
        let bound = (there + elsewhere) as f64;
        println!(
            "{name}: {planned} pods on {nodes} nodes: {there} there, {elsewhere} elsewhere, {unbound} unbound, {extra} extra nodes; {:.0} pods per second",
            bound / time.as_secs_f64()
        );
    }
    ensure!(sums[0].planned > 0, "no pod was planned: these plans show nothing");
    ensure!(wrong.is_empty(), "{} pods are not where the plan puts them: {wrong:#?}", wrong.len());
    Ok(())
}
