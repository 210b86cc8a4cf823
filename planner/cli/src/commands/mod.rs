//! One module per command: read, call the crates below, render, deliver.

pub mod catalog;
pub mod check;
pub mod diff;
pub mod explain;
pub mod import;
pub mod manual;
pub mod plan;
mod question;
pub mod record;
pub mod show;
pub mod whatif;

use crate::args::{Cli, Command};
use crate::failure::{Exit, Failure};
use crate::output::Console;

/// Runs the command.
///
/// # Errors
/// Whatever stopped it.
pub fn run(cli: &Cli, console: &Console) -> Result<Exit, Failure> {
    match &cli.command {
        Command::Plan(args) => plan::run(args, console),
        Command::WhatIf(args) => whatif::run(args, console),
        Command::Check(args) => check::run(args, console),
        Command::Show(args) => show::run(args, console),
        Command::Diff(args) => diff::run(args, console),
        Command::Explain(args) => explain::run(args, console),
        Command::Import(args) => import::run(args, console),
        Command::Record(args) => record::run(args),
        Command::Catalog(command) => catalog::run(command, console),
        Command::Completion(args) => manual::completion(args, console),
        Command::Man(args) => manual::man(args, console),
    }
}

/// The exit code of a command that shows changes.
fn exit_of(changes: bool, detailed: bool) -> Exit {
    if detailed && changes { Exit::Changes } else { Exit::Ok }
}
