//! Conditions of NodeClaims, with the reasons that Karpenter's users know.

use serde_json::{Value, json};

/// Those that make a claim ready, in their order.
const PARTS: [&str; 3] = ["Launched", "Registered", "Initialized"];
const READY: &str = "Ready";

/// A change of a condition's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) kind: &'static str,
    pub(crate) note: String,
}

/// How far a claim is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// A launch was refused, with the reason; it may succeed yet.
    NotLaunched(&'a str),
    Launched,
    Registered,
    Initialized,
}

/// The conditions of a claim that is that far, and what has changed. What was true stays so.
pub(crate) fn conditions(
    before: &[Value],
    step: Step<'_>,
    generation: Option<i64>,
    now: &str,
) -> (Vec<Value>, Vec<Transition>) {
    let done = match step {
        Step::NotLaunched(_) => 0,
        Step::Launched => 1,
        Step::Registered => 2,
        Step::Initialized => 3,
    };
    let mut all = before.to_vec();
    let mut transitions = Vec::new();
    let mut lacking = Vec::new();
    for (n, kind) in PARTS.into_iter().enumerate() {
        let (reason, message) = match (step, kind) {
            (Step::NotLaunched(why), "Launched") => ("LaunchFailed", why),
            (Step::NotLaunched(_), _) => ("AwaitingReconciliation", "object is awaiting reconciliation"),
            (Step::Registered, _) => ("NodeNotReady", "Node status is NotReady"),
            _ => ("NodeNotFound", "Node not registered with cluster"),
        };
        let wanted = if n < done { ("True", kind, "") } else { ("Unknown", reason, message) };
        if !set(&mut all, &mut transitions, kind, wanted, generation, now) {
            lacking.push(format!("{kind}=Unknown"));
        }
    }
    let message = lacking.join(", ");
    let ready = if lacking.is_empty() {
        ("True", READY, "")
    } else {
        ("Unknown", "ReconcilingDependents", &*message)
    };
    set(&mut all, &mut transitions, READY, ready, generation, now);
    (all, transitions)
}

/// Sets one, unless it is true already; whether it is true now.
fn set(
    all: &mut Vec<Value>,
    transitions: &mut Vec<Transition>,
    kind: &'static str,
    (status, reason, message): (&str, &str, &str),
    generation: Option<i64>,
    now: &str,
) -> bool {
    let found = all.iter().position(|one| one["type"] == kind);
    let old = found.map(|at| all[at]["status"].as_str().unwrap_or("Unknown").to_owned());
    if old.as_deref() == Some("True") {
        return true;
    }
    let since = match (&old, found) {
        (Some(old), Some(at)) if old == status => all[at]["lastTransitionTime"].clone(),
        _ => now.into(),
    };
    let condition = json!({
        "type": kind, "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since, "observedGeneration": generation,
    });
    match found {
        Some(at) => all[at] = condition,
        None => all.push(condition),
    }
    let old = old.as_deref().unwrap_or("Unknown");
    if old != status {
        let note = format!(
            "Status condition transitioned, Type: {kind}, Status: {old} -> {status}, Reason: {reason}"
        );
        transitions.push(Transition { kind, note });
    }
    status == "True"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(all: &'a [Value], kind: &str) -> &'a Value {
        all.iter().find(|one| one["type"] == kind).expect("the condition")
    }

    #[test]
    fn a_claim_gets_ready_step_by_step() {
        let foreign = json!({ "type": "Drifted", "status": "True" });
        let (all, told) = conditions(&[foreign], Step::NotLaunched("no capacity"), Some(1), "1");
        assert_eq!(told, []);
        assert_eq!(all.len(), 5, "those of others stay");
        assert_eq!(
            (&of(&all, "Launched")["status"], &of(&all, "Launched")["message"]),
            (&"Unknown".into(), &"no capacity".into())
        );
        let (all, told) = conditions(&all, Step::Launched, Some(1), "2");
        assert_eq!(told.len(), 1);
        assert_eq!(
            told[0].note,
            "Status condition transitioned, Type: Launched, Status: Unknown -> True, Reason: Launched"
        );
        assert_eq!(of(&all, "Registered")["reason"], "NodeNotFound");
        assert_eq!(of(&all, "Registered")["lastTransitionTime"], "1", "it was unknown before");
        assert_eq!(of(&all, "Ready")["message"], "Registered=Unknown, Initialized=Unknown");
        // A step back is none.
        let (same, told) = conditions(&all, Step::NotLaunched("late"), Some(1), "3");
        assert_eq!((of(&same, "Launched"), told.len()), (of(&all, "Launched"), 0));
        let (all, _) = conditions(&all, Step::Registered, Some(1), "4");
        assert_eq!(of(&all, "Initialized")["reason"], "NodeNotReady");
        let (all, told) = conditions(&all, Step::Initialized, Some(1), "5");
        assert_eq!(told.iter().map(|one| one.kind).collect::<Vec<_>>(), ["Initialized", "Ready"]);
        assert!(PARTS.iter().chain(&[READY]).all(|kind| of(&all, kind)["status"] == "True"));
    }
}
