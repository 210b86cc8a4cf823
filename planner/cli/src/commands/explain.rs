//! `stowage explain`.

use super::question::changed;
use crate::args::{ExplainArgs, ExplainFormat, Subject};
use crate::explanation;
use crate::failure::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::Console;
use crate::render::{document, explain};
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Plan;
use stowage_models::snapshot::Snapshot;

/// Explains a pod or a node of a plan.
///
/// # Errors
/// When the plan cannot be read or does not know the name, or the snapshot is another one.
pub fn run(args: &ExplainArgs, console: &Console) -> Result<Exit, Failure> {
    let plan = input::read_plan(&args.plan)?;
    let snapshot = read_snapshot(args, &plan)?;
    let told = match args.subject {
        Subject::Pod => explanation::pod(&plan, snapshot.as_ref(), &args.name),
        Subject::Node => explanation::node(&plan, &args.name),
    }?;
    let text = match args.output {
        ExplainFormat::Table => explain::table(&told, console.stdout),
        ExplainFormat::Json => document::json(&told),
    };
    console.print(&text)?;
    Ok(Exit::Ok)
}

/// The snapshot, which must be the one the plan was made for: another one would explain another plan.
fn read_snapshot(args: &ExplainArgs, plan: &Plan) -> Result<Option<Snapshot>, Failure> {
    if args.snapshot.is_empty() {
        return Ok(None);
    }
    let inputs = input::read_all(&args.snapshot)?;
    let sources: Vec<Source<'_>> = inputs.iter().map(Input::source).collect();
    let snapshot = stowage_import::import(&sources)?.snapshot;
    let snapshot = changed(&plan.what_if, &snapshot, Catalog::embedded()).0.into_owned();
    if snapshot.digest() != plan.snapshot.digest {
        let finding = stowage_checker::Finding {
            code: stowage_checker::code::STALE_SNAPSHOT,
            message: format!("the plan was made for snapshot {}", plan.snapshot.digest),
        };
        return Err(Failure::Refused { place: args.plan.display().to_string(), findings: vec![finding] });
    }
    Ok(Some(snapshot))
}
