//! Alternates of a launch: other offerings of its pool and labels that hold the same pods, cheapest first.

use crate::finding::{Findings, code};
use crate::ledger::{Counts, Ledger, leave};
use crate::min_values;
use crate::offerings::Kind;
use crate::problem::Problem;
use stowage_models::plan::{ALTERNATES_MAX, Alternate, Launch};

/// Checks the list of alternates of one launch. `load` is its kind, its pods and what they ask for.
pub(crate) fn check(
    (problem, ledger): (&Problem<'_>, &Ledger),
    launch: &Launch,
    load: (Option<usize>, &Counts, &[i128]),
    findings: &mut Findings,
) {
    let (slot, count) = (&launch.slot, launch.alternates.len());
    let most = ALTERNATES_MAX + min_values::extra(problem, launch);
    if count > most {
        findings.add(code::ALTERNATE_COUNT, format!("slot {slot}: {count} alternates, at most {most}"));
    }
    min_values::check(problem, launch, findings);
    for pair in launch.alternates.windows(2) {
        let (one, next) = (rank(&pair[0]), rank(&pair[1]));
        if one >= next {
            findings.add(code::ALTERNATE_ORDER, format!("slot {slot}: {one:?} comes before {next:?}"));
        }
    }
    for alternate in &launch.alternates {
        if let Err((code, why)) = judge((problem, ledger), launch, alternate, load) {
            let Alternate { instance_type, zone, capacity_type, .. } = alternate;
            let name = format!("slot {slot}: alternate {instance_type} {zone} {capacity_type}");
            findings.add(code, format!("{name}: {why}"));
        }
    }
}

/// Cheapest first, then by name.
fn rank(one: &Alternate) -> (i64, &str, &str, &str) {
    (one.price.0, &one.instance_type, &one.zone, &one.capacity_type)
}

/// What is wrong with an alternate, if anything is.
fn judge(
    (problem, ledger): (&Problem<'_>, &Ledger),
    launch: &Launch,
    alternate: &Alternate,
    (own, counts, demand): (Option<usize>, &Counts, &[i128]),
) -> Result<(), (&'static str, String)> {
    let names = (alternate.instance_type.as_str(), alternate.zone.as_str(), alternate.capacity_type.as_str());
    if names == (&launch.instance_type, &launch.zone, &launch.capacity_type) {
        return Err((code::ALTERNATE_OFFERING, "it is the launch itself".to_owned()));
    }
    let key = (launch.node_pool.as_str(), names.0, names.1, names.2, &launch.labels);
    let Some(offering) = problem.offerings.find(&problem.pools, key) else {
        return Err((code::ALTERNATE_OFFERING, format!("it is no offering of {}", launch.node_pool)));
    };
    let offering = &problem.offerings.list[offering];
    let (stated, price) = (alternate.price.0, offering.price.usd.0);
    let kind = &problem.offerings.kinds[offering.kind];
    if let Some(group) = counts.keys().find(|group| !problem.kind_matches(kind, **group)) {
        let first = &problem.pods.groups[*group].first;
        return Err((code::ALTERNATE_FIT, format!("it does not match pods like {first}")));
    }
    // What other pods may do depends on the domains of pods they mean, so these must not change.
    if counts.keys().any(|group| ledger.is_watched(problem, *group))
        && let Some(own) = own
    {
        let domains = |kind: &Kind| &problem.offerings.classes[kind.class].domains;
        let changed = domains(&problem.offerings.kinds[own]).iter().zip(domains(kind));
        let mut changed = problem.topology.iter().zip(changed).filter(|(_, (own, other))| own != other);
        if let Some((key, (_, domain))) = changed.find(|(key, _)| problem.binding.contains(*key)) {
            let why =
                format!("its {key} is {domain:?}, and pods are there that constraints between pods concern");
            return Err((code::ALTERNATE_FIT, why));
        }
    }
    leave(problem, kind.room.as_deref(), demand).map_err(|why| (code::ALTERNATE_FIT, why))?;
    // Last, because a launch that is approved may have become cheaper, and must fit all the same.
    if stated != price {
        return Err((code::ALTERNATE_PRICE, format!("its price is {price}, the plan says {stated}")));
    }
    Ok(())
}
