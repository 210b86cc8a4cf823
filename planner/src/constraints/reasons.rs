//! Why constraints between pods keep pods out, in words and as data.

use super::selectors::Spread;
use super::sim::Violation;
use crate::problem::{Blocked, Problem};
use stowage_models::plan::Blocking;
use stowage_models::units::UsdMicros;

/// What is to be said of `pods` pods of a group that its spread constraint keeps out; `full` are domains no bin of which can
/// hold another pod.
pub(crate) fn spread_blocked(
    problem: &Problem<'_>,
    g: usize,
    spread: &Spread,
    full: &[&str],
    pods: i64,
) -> Blocked {
    let group = &problem.groups[g];
    let key = problem.constraints.meanings.keys[spread.term.key as usize];
    let detail = if full.is_empty() {
        format!("DoNotSchedule over {key} with maxSkew {}: its domains cannot take more", spread.max_skew)
    } else {
        format!(
            "DoNotSchedule over {key} with maxSkew {}: no offering and no existing node in {} can hold it",
            spread.max_skew,
            full.join(", ")
        )
    };
    let at = position(problem, g, spread);
    let blocking = Blocking {
        constraint: format!("topologySpreadConstraints[{at}]"),
        detail: detail.clone(),
        price_without: cheapest(problem, g),
    };
    Blocked {
        whole: group.whole.clone(),
        pods,
        message: format!("spec.topologySpreadConstraints[{at}]: {detail}"),
        hint: "raise maxSkew, keep the pod out of these domains with node affinity, or allow types that fit there".to_owned(),
        blocking: vec![blocking],
    }
}

/// Position of a resolved spread constraint among all of the pod's, soft ones included.
fn position(problem: &Problem<'_>, g: usize, spread: &Spread) -> usize {
    let group = &problem.groups[g];
    let rank = group.wants.terms.spreads.iter().position(|other| other == spread).unwrap_or(0);
    let hard = problem.spec(group).topology_spread.iter().enumerate().filter(|(_, spread)| spread.hard);
    hard.map(|(at, _)| at).nth(rank).unwrap_or(0)
}

/// Price of the cheapest bin that static constraints leave to a group: zero on an existing node, `None` if there is none.
pub(crate) fn cheapest(problem: &Problem<'_>, g: usize) -> Option<UsdMicros> {
    let on_existing = problem.existing.iter().any(|bin| bin.cap(g as u32) > 0);
    if on_existing {
        return Some(UsdMicros::ZERO);
    }
    let offerings = problem.offerings.iter().filter(|offering| problem.may_use(g, offering));
    offerings.map(|offering| UsdMicros(offering.price)).min()
}

/// What is to be said of `pods` pods of a group that cannot be bound anywhere, for the violations met in its domains.
pub(crate) fn blocked(
    problem: &Problem<'_>,
    g: usize,
    found: &[(Violation, Option<i64>)],
    pods: i64,
) -> Blocked {
    let group = &problem.groups[g];
    let keys = &problem.constraints.meanings.keys;
    let terms = &group.wants.terms;
    let price_without = cheapest(problem, g);
    let say = |(violation, price): &(Violation, Option<i64>)| -> Blocking {
        let price_without = price.map(UsdMicros);
        let (constraint, detail) = match violation {
            Violation::Affinity => {
                let over: Vec<&str> = terms.affinity.iter().map(|term| keys[term.key as usize]).collect();
                let detail = format!("required, over {}: no domain has a pod it means", over.join(", "));
                ("affinity.podAffinity".to_owned(), detail)
            }
            Violation::Anti(at) => {
                let over = terms.anti.get(*at).map_or("", |term| keys[term.key as usize]);
                let detail = format!("required, over {over}: every domain it may use has a pod it means");
                (format!("affinity.podAntiAffinity[{at}]"), detail)
            }
            Violation::Repelled => (
                "podAntiAffinity of others".to_owned(),
                "required anti-affinity of other pods means it in every domain it may use".to_owned(),
            ),
            Violation::Spread(at) => {
                let spread = &terms.spreads[*at];
                let key = keys[spread.term.key as usize];
                let detail = format!(
                    "DoNotSchedule over {key} with maxSkew {}: no domain may take another pod",
                    spread.max_skew
                );
                (format!("topologySpreadConstraints[{}]", position(problem, g, spread)), detail)
            }
        };
        Blocking { constraint, detail, price_without }
    };
    let mut blocking: Vec<Blocking> = found.iter().map(say).collect();
    if blocking.is_empty() {
        blocking.push(Blocking {
            constraint: "constraints between pods".to_owned(),
            detail: "no node can hold it beside the pods it must be with or apart from".to_owned(),
            price_without,
        });
    }
    Blocked {
        whole: group.whole.clone(),
        pods,
        message: format!("spec.{}: {}", blocking[0].constraint, blocking[0].detail),
        hint: "relax one of the constraints named, or allow nodes in more domains".to_owned(),
        blocking,
    }
}
