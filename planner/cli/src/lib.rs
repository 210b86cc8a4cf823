//! The command line of Stowage: `plan`, `check`, `show`, `diff`, `explain`, `import`, `catalog`.
//!
//! Data goes to stdout and everything else to stderr. This crate does the I/O (files, terminal, clock) that the crates
//! below it must not do, and renders; it decides nothing. Every plan passes the referee before it leaves.

pub mod args;
pub mod commands;
pub mod difference;
pub mod explanation;
pub mod failure;
pub mod input;
pub mod output;
pub mod progress;
pub mod render;
pub mod style;
pub mod values;

use crate::args::Cli;
use crate::failure::{Exit, Failure};
use crate::output::Console;
use clap::Parser as _;
use std::ffi::OsString;

/// Parses the arguments, runs the command, prints what went wrong and says how to exit.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(refused) => return usage(&refused),
    };
    let console = Console::new(cli.color);
    match commands::run(&cli, &console) {
        Ok(exit) => exit,
        // A reader that has seen enough (`stowage show plan.json | head`) is no fault of ours.
        Err(Failure::Closed) => Exit::Ok,
        Err(failure) => {
            console.report(&failure);
            failure.exit()
        }
    }
}

/// Help and version are data (stdout, exit 0). A usage error exits 1 and not clap's 2, which means "changes" here.
fn usage(refused: &clap::Error) -> Exit {
    // A closed terminal leaves nobody to tell.
    let _ = refused.print();
    if refused.use_stderr() { Exit::Error } else { Exit::Ok }
}
