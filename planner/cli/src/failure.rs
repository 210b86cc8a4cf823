//! What can go wrong, and the exit code it ends in.

use stowage_checker::{Finding, code};
use stowage_import::ImportError;
use stowage_planner::PlanError;

/// Exit codes, the same for all commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; with `--detailed-exitcode` also: nothing would change.
    Ok,
    /// It could not be done. Usage errors end here too.
    Error,
    /// Only with `--detailed-exitcode`: done, and something would change.
    Changes,
    /// The plan was made for another snapshot or catalogue.
    Stale,
    /// The referee refused the plan.
    Refused,
}

impl Exit {
    /// The number the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Exit::Ok => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::Stale => 3,
            Exit::Refused => 4,
        }
    }
}

/// Why a command ended early. Prints as `error: place: message` and `hint: ...`.
#[derive(Debug)]
pub enum Failure {
    /// Input, output or arguments: correct what `place` names.
    Plain {
        /// File, flag or object.
        place: String,
        /// What is wrong.
        message: String,
        /// What to do about it; may be empty.
        hint: String,
    },
    /// The referee found something: report it, do not use the plan.
    Refused {
        /// The plan meant, for people.
        place: String,
        /// What it found; not empty.
        findings: Vec<Finding>,
    },
    /// The reader of stdout went away. Nothing is printed.
    Closed,
}

impl Failure {
    /// A failure with place, message and hint.
    pub fn new(place: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Failure {
        Failure::Plain { place: place.into(), message: message.into(), hint: hint.into() }
    }

    /// How the process ends.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Plain { .. } => Exit::Error,
            Failure::Refused { findings, .. } if is_stale(findings) => Exit::Stale,
            Failure::Refused { .. } => Exit::Refused,
            Failure::Closed => Exit::Ok,
        }
    }
}

/// Whether findings say that the plan belongs to other input. Whatever else was found then says nothing about the
/// plan, which was judged against the wrong cluster or the wrong prices; unless the plan contradicts itself.
fn is_stale(findings: &[Finding]) -> bool {
    let any = |codes: &[&str]| findings.iter().any(|finding| codes.contains(&finding.code));
    any(&[code::STALE_SNAPSHOT, code::STALE_CATALOG])
        && !any(&[code::ID, code::KIND, code::VERSION, code::SNAPSHOT])
}

impl From<ImportError> for Failure {
    fn from(refused: ImportError) -> Failure {
        Failure::new(refused.place, refused.message, refused.hint)
    }
}

impl From<PlanError> for Failure {
    fn from(refused: PlanError) -> Failure {
        let (place, message) = match &refused {
            PlanError::Policy(message) => ("policy", message),
            PlanError::TooLarge(message) => ("snapshot", message),
            PlanError::NoOrder => {
                return Failure::new("snapshot", refused.to_string(), "raise spec.limits of their NodePools");
            }
            PlanError::Threads { .. } => {
                return Failure::new("--threads", refused.to_string(), "pass a smaller number");
            }
        };
        Failure::new(place, message, "see `stowage plan --help` for the accepted ranges")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_wins_unless_the_plan_contradicts_itself() {
        let finding = |code| Finding { code, message: String::new() };
        let exit = |findings| Failure::Refused { place: String::new(), findings }.exit();
        assert_eq!(exit(vec![finding("bound")]), Exit::Refused);
        assert_eq!(exit(vec![finding("bound"), finding("stale-snapshot")]), Exit::Stale);
    }
}
