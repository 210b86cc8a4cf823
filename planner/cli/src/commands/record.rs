//! `stowage record`: the program `stowage-record`, which is a program of its own so that this one needs no Kubernetes client.

use crate::args::RecordArgs;
use crate::failure::{Exit, Failure};
use std::path::PathBuf;
use std::process::Command;

const PROGRAM: &str = "stowage-record";

/// Beside this program, where `cargo install` and packages put both; else wherever the PATH leads.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(PROGRAM));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(PROGRAM))
}

/// Runs it with the same arguments, input and output.
///
/// # Errors
/// If it is not installed.
pub fn run(args: &RecordArgs) -> Result<Exit, Failure> {
    let program = program();
    let status = Command::new(&program).args(&args.arguments).status().map_err(|error| {
        let hint = "cargo install --locked --path executor/observe";
        Failure::new(PROGRAM, format!("cannot run {}: {error}", program.display()), hint)
    })?;
    // It has said itself what went wrong.
    Ok(if status.success() { Exit::Ok } else { Exit::Error })
}
