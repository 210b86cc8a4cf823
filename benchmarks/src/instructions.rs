//! Instructions that kernels take, counted by valgrind: unlike times the same on a busy machine, so that small changes show.
//!
//! A kernel is run some times in a process of its own under `callgrind`, and more times in another: the difference, divided, is what
//! one run takes, without reading the problem and starting.

use crate::compose::Composition;
use anyhow::{Context as _, Result, bail};
use std::hint::black_box;
use std::process::Command;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_planner::kernels::Kernels;

/// The problem: 10,000 pods in 200 groups.
pub const SUBJECT: &str = "mixed-10k";
/// The fewer and the more runs of each kernel. More than one, so that what is made once for all is made in both.
const RUNS: [usize; 2] = [2, 12];

/// A kernel by name; its argument counts its runs.
type Kernel = (&'static str, fn(&Kernels, usize));

/// All kernels.
pub const KERNELS: [Kernel; 5] = [
    ("price one offering", |kernels, run| {
        black_box(kernels.price_one(run));
    }),
    ("price one offering by tables", |kernels, run| {
        black_box(kernels.price_integer(run));
    }),
    ("price all offerings", |kernels, _| {
        black_box(kernels.price_all());
    }),
    ("fluid program", |kernels, _| {
        black_box(kernels.fluid());
    }),
    ("pack all pods", |kernels, _| {
        black_box(kernels.pack());
    }),
];

/// Runs a kernel some times.
///
/// # Errors
/// If there is none of that name.
pub fn repeat(name: &str, times: usize) -> Result<()> {
    let Some((_, kernel)) = KERNELS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = KERNELS.iter().map(|(name, _)| *name).collect();
        bail!("there is no kernel `{name}`; there are {}", names.join(", "));
    };
    let composition = Composition::named(SUBJECT)?;
    let snapshot = composition.snapshot(composition.seed);
    let kernels = Kernels::new(&snapshot, Catalog::embedded(), &Policy::default(), 1)?;
    (0..times).for_each(|run| kernel(&kernels, run));
    Ok(())
}

/// Instructions of one run of a kernel.
///
/// # Errors
/// If valgrind is missing or fails.
pub fn count(name: &str) -> Result<u64> {
    let [few, many] = RUNS.map(|times| collected(name, times));
    let (few, many) = (few?, many?);
    Ok(many.saturating_sub(few) / (RUNS[1] - RUNS[0]) as u64)
}

/// Instructions of a process that runs a kernel some times.
fn collected(name: &str, times: usize) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().context("cannot find this program")?);
    command.args(["instructions", "--kernel", name, "--times", &times.to_string()]);
    let output = command.output().context("cannot start valgrind; install it (apt-get install valgrind)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}: {}", output.status, said.lines().last().unwrap_or_default());
    }
    total(&said).with_context(|| format!("valgrind told no total for `{name}`"))
}

/// The total in what callgrind says at its end: `==1== Collected : 123456`.
fn total(said: &str) -> Option<u64> {
    let (_, figure) = said.lines().find_map(|line| line.split_once("Collected :"))?;
    figure.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_off_what_callgrind_says() {
        let said = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(total(said), Some(1_234_567));
        assert_eq!(total("==7== killed"), None);
    }

    #[test]
    fn a_wrong_name_tells_the_right_ones() {
        let told = repeat("sorting", 1).unwrap_err().to_string();
        assert!(KERNELS.iter().all(|(name, _)| told.contains(name)), "{told}");
    }
}
