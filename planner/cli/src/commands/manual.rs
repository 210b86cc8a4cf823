//! `stowage completion` and `stowage man`.

use crate::args::{Cli, CompletionArgs, ManArgs};
use crate::failure::{Exit, Failure};
use crate::output::{self, Console};
use clap::CommandFactory as _;
use std::path::Path;

/// Prints a completion script.
///
/// # Errors
/// When stdout cannot be written.
pub fn completion(args: &CompletionArgs, console: &Console) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "stowage", &mut script);
    console.print_bytes(&script)?;
    Ok(Exit::Ok)
}

/// Prints the man page, or writes one per command.
///
/// # Errors
/// When stdout or the directory cannot be written.
pub fn man(args: &ManArgs, console: &Console) -> Result<Exit, Failure> {
    let mut command = Cli::command();
    command.build();
    match &args.dir {
        None => console.print_bytes(&page(command)?)?,
        Some(dir) => write_pages(command, dir)?,
    }
    Ok(Exit::Ok)
}

/// Writes `stowage.1`, `stowage-plan.1`, `stowage-catalog-show.1` and so on.
fn write_pages(command: clap::Command, dir: &Path) -> Result<(), Failure> {
    let mut pending = vec![command];
    while let Some(command) = pending.pop() {
        let subcommands = command.get_subcommands().filter(|sub| sub.get_name() != "help").cloned();
        pending.extend(subcommands);
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
        output::write_file(&dir.join(format!("{name}.1")), &page(command)?)?;
    }
    Ok(())
}

fn page(command: clap::Command) -> Result<Vec<u8>, Failure> {
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(command).render(&mut page);
    rendered.map_err(|cause| Failure::new("man page", output::reason(&cause), ""))?;
    Ok(page)
}
