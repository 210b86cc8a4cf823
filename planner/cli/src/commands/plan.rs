//! `stowage plan`.

use super::exit_of;
use super::question::{Question, cancel_on_interrupt, wanted};
use crate::args::{PlanArgs, PlanFormat};
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::{self, Console};
use crate::progress::Progress;
use crate::render::{self, Subject};
use crate::style::Palette;
use std::path::{Path, PathBuf};

/// Reads, plans, has the plan checked, and only then prints it.
///
/// # Errors
/// When input cannot be read, the referee refuses the plan, or output cannot be written.
pub fn run(args: &PlanArgs, console: &Console) -> Result<Exit, Failure> {
    let outputs: Vec<&Path> = args.target.out.as_deref().into_iter().chain(args.report.as_deref()).collect();
    let read: Vec<PathBuf> = args.inputs.iter().chain(&args.effort.catalog).cloned().collect();
    input::keep_apart(&read, &outputs)?;
    let question = Question::read(&args.inputs, &args.effort, &args.what_if)?;
    let progress = Progress::start();
    let wanted = wanted(&args.consolidation);
    let planned = question.answer(wanted, &cancel_on_interrupt(), &mut |moment| progress.show(moment));
    progress.finish();
    let planned = planned?;
    for fault in &planned.report.faults {
        console.remark(&format!("{} solver: {fault}", console.stderr.notable("note:")));
    }
    let subject = Subject { plan: &planned.plan, report: Some(&planned.report), checked: true };
    if let Some(path) = &args.report {
        let report = render::plan(&subject, PlanFormat::Html, Palette::PLAIN);
        output::write_file(path, report.as_bytes())?;
    }
    let palette = if args.target.out.is_some() { Palette::PLAIN } else { console.stdout };
    let text = render::plan(&subject, args.output, palette);
    console.deliver(text.as_bytes(), args.target.out.as_deref())?;
    Ok(exit_of(!planned.plan.is_empty(), args.detailed_exitcode))
}
