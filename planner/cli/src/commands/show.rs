//! `stowage show`.

use super::exit_of;
use crate::args::ShowArgs;
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::Console;
use crate::render::{self, Subject};
use crate::style::Palette;

/// Renders a plan file. It is shown as it claims to be: only `check` can judge it, with the snapshot.
///
/// # Errors
/// When the plan cannot be read or the output not be written.
pub fn run(args: &ShowArgs, console: &Console) -> Result<Exit, Failure> {
    let plan = input::read_plan(&args.plan)?;
    let subject = Subject { plan: &plan, report: None, checked: false };
    let palette = if args.target.out.is_some() { Palette::PLAIN } else { console.stdout };
    let text = render::plan(&subject, args.output, palette);
    console.deliver(text.as_bytes(), args.target.out.as_deref())?;
    Ok(exit_of(!plan.is_empty(), args.detailed_exitcode))
}
