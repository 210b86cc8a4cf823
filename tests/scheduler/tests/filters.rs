//! The checker's filters and the real kube-scheduler agree, case by case.
//!
//! `STOWAGE_SCHEDULER_CASES` says how many random cases (default 300), `STOWAGE_SCHEDULER_SEED` where they begin.

use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::time::Instant;
use stowage_checker::filters::FILTERS;
use stowage_import::{Encoding, Source, import, write_snapshot};
use stowage_scheduler_tests::real::Arena;
use stowage_scheduler_tests::shrink::shrink;
use stowage_scheduler_tests::{Case, Decision, disagreement, generate, notices, verdict};

/// Cases on the API server at once.
const BATCH: usize = 50;
/// Disagreements made small and shown; the rest is counted.
const SHOWN: usize = 5;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| {
        text.parse().unwrap_or_else(|_| panic!("{variable} is `{text}`, which is no number"))
    })
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Disagreements of the past.
fn kept() -> Result<Vec<Case>> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder())?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |path: &PathBuf| -> Result<Case> {
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a file name")?.to_owned();
        let bytes = std::fs::read(path)?;
        let snapshot = import(&[Source { name: &name, bytes: &bytes }])?.snapshot;
        Ok(Case { name, snapshot })
    };
    files.iter().map(read).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checker_reads_pods_as_the_scheduler_does() -> Result<()> {
    let first = number("STOWAGE_SCHEDULER_SEED", 0);
    let count = number("STOWAGE_SCHEDULER_CASES", 300);
    let mut cases = kept()?;
    cases.extend((first..first + count).map(generate::case));
    let arena = Arena::start().await?;
    let start = Instant::now();
    let (mut bound, mut nowhere, mut wrong) = (0, 0, Vec::new());
    let mut noticed = [0; FILTERS.len()];
    for batch in cases.chunks(BATCH) {
        let decisions = arena.decide(batch).await?;
        for case in batch {
            let decision = &decisions[&case.name];
            match decision {
                Decision::Node(_) => bound += 1,
                Decision::Nowhere(_) => nowhere += 1,
            }
            if let Some(what) = disagreement(case, decision) {
                wrong.push((case.clone(), what));
            }
            for (plugin, noticed) in FILTERS.into_iter().zip(&mut noticed) {
                *noticed += usize::from(notices(case, decision, plugin));
            }
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{} cases: {bound} bound, {nowhere} nowhere, {} disagreements; {:.0} cases per second",
        cases.len(),
        wrong.len(),
        cases.len() as f64 / seconds
    );
    for (plugin, noticed) in FILTERS.iter().zip(noticed) {
        println!("without {plugin}: {noticed} disagreements");
    }
    for (case, what) in wrong.iter().take(SHOWN) {
        let small = shrink(&arena, case.clone()).await?;
        let text = write_snapshot(&small.snapshot, Encoding::Json);
        println!(
            "case {}: {what}\n{}\nverdict {:#?}",
            case.name,
            String::from_utf8_lossy(&text),
            verdict(&small)
        );
    }
    ensure!(
        wrong.is_empty(),
        "{} disagreements; keep the small cases above in {}",
        wrong.len(),
        folder().display()
    );
    // A generator whose pods all fit, or never, would prove little.
    // Nor would cases that a plug-in does not matter to. Some matter seldom.
    let unseen: Vec<&str> = FILTERS
        .into_iter()
        .zip(noticed)
        .filter(|(_, noticed)| *noticed == 0)
        .map(|(plugin, _)| plugin)
        .collect();
    ensure!(count < 300 || unseen.is_empty(), "no case would notice that {unseen:?} is missing");
    ensure!(bound * 5 > cases.len() && nowhere * 5 > cases.len(), "{bound} bound, {nowhere} nowhere");
    Ok(())
}
