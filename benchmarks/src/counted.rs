//! The command line of `instructions`.

use anyhow::Result;
use stowage_bench::instructions::{KERNELS, SUBJECT, count, repeat};

/// What to count; or, for the process whose instructions are counted, what to run.
#[derive(Debug, clap::Args)]
pub(crate) struct InstructionsArguments {
    /// Kernel to run.
    #[arg(long, hide = true)]
    kernel: Option<String>,
    /// How often.
    #[arg(long, hide = true, default_value_t = 1)]
    times: usize,
}

/// Prints a table of all kernels, or runs one.
pub(crate) fn print(arguments: &InstructionsArguments) -> Result<()> {
    if let Some(kernel) = &arguments.kernel {
        return repeat(kernel, arguments.times);
    }
    println!("| kernel, on {SUBJECT} | instructions |\n|---|---:|");
    for (name, _) in &KERNELS {
        println!("| {name} | {} |", count(name)?);
    }
    Ok(())
}
