//! `stowage diff`.

use super::exit_of;
use crate::args::{DiffArgs, DiffFormat};
use crate::difference::Difference;
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::Console;
use crate::render::{diff, document};
use crate::style::Palette;

/// Compares two plan files.
///
/// # Errors
/// When a plan cannot be read or the output not be written.
pub fn run(args: &DiffArgs, console: &Console) -> Result<Exit, Failure> {
    let mut inputs = input::read_all(&[args.before.clone(), args.after.clone()])?.into_iter();
    let mut next = || inputs.next().map(|input| input::unaltered(&input)).expect("two plans were read");
    let (before, after) = (next()?, next()?);
    let difference = Difference::new(&before, &after);
    let palette = if args.target.out.is_some() { Palette::PLAIN } else { console.stdout };
    let text = match args.output {
        DiffFormat::Table => diff::table(&difference, args.all, palette),
        DiffFormat::Json => document::json(&difference),
        DiffFormat::Markdown => diff::markdown(&difference, args.all),
    };
    console.deliver(text.as_bytes(), args.target.out.as_deref())?;
    Ok(exit_of(difference.is_change(), args.detailed_exitcode))
}
