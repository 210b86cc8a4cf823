//! A question to the planner: input, changes to it, effort. What `plan` and `whatif` share.

use crate::args::{ConsolidationArgs, EffortArgs, MinValuesArg, PreferencesArg, WhatIfArgs};
use crate::failure::Failure;
use crate::input::{self, Input};
use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::plan::{MinValues, Policy, Preferences};
use stowage_models::snapshot::Snapshot;
use stowage_models::whatif::WhatIf;
use stowage_planner::{Limits, Moment, Planned};

/// Time for pods that wait.
const TIME_FOR_PODS: Duration = Duration::from_secs(1);
/// Time for consolidation, at least, and for each node that exists: 1,000 nodes take some 8 s of work on two cores. The search counts its
/// steps, so most runs end earlier.
const TIME_TO_CONSOLIDATE: Duration = Duration::from_secs(2);
const TIME_PER_NODE: Duration = Duration::from_millis(10);

/// Input, read, with the changes to it.
pub(super) struct Question<'a> {
    /// As it is.
    pub(super) snapshot: Snapshot,
    /// As it is.
    pub(super) catalog: Cow<'static, Catalog>,
    /// Changes to both.
    pub(super) what_if: WhatIf,
    effort: &'a EffortArgs,
}

impl<'a> Question<'a> {
    /// Reads the input.
    ///
    /// # Errors
    /// When it cannot be read, or a change means nothing.
    pub(super) fn read(
        inputs: &[PathBuf],
        effort: &'a EffortArgs,
        what_if: &WhatIfArgs,
    ) -> Result<Question<'a>, Failure> {
        let inputs = input::read_all(inputs)?;
        let catalog = input::read_catalog(effort.catalog.as_deref())?;
        let sources: Vec<Source<'_>> = inputs.iter().map(Input::source).collect();
        let snapshot = stowage_import::import(&sources)?.snapshot;
        let question = Question { snapshot, catalog, what_if: changes(what_if), effort };
        question.assert_sense(&question.what_if)?;
        Ok(question)
    }

    /// Refuses changes that mean nothing.
    ///
    /// # Errors
    /// With what would mean something.
    pub(super) fn assert_sense(&self, what_if: &WhatIf) -> Result<(), Failure> {
        match what_if.nonsense(&self.catalog) {
            None => Ok(()),
            Some(message) => {
                Err(Failure::new("what if", message, "`stowage catalog show` lists types and prices"))
            }
        }
    }

    /// Plans the question, and has the plan checked.
    ///
    /// # Errors
    /// When it cannot be planned, or the referee refuses the plan.
    pub(super) fn answer(
        &self,
        wanted: Option<ConsolidationPolicy>,
        cancel: &Arc<AtomicBool>,
        observer: &mut dyn FnMut(&Moment),
    ) -> Result<Planned, Failure> {
        let (snapshot, catalog) = changed(&self.what_if, &self.snapshot, &self.catalog);
        let effort = self.effort;
        let policy = Policy {
            slack: effort.slack,
            gap: effort.gap,
            seed: effort.seed,
            preferences: Some(match effort.preferences {
                PreferencesArg::Respect => Preferences::Respect,
                PreferencesArg::Ignore => Preferences::Ignore,
            }),
            min_values: Some(match effort.min_values {
                MinValuesArg::Strict => MinValues::Strict,
                MinValuesArg::BestEffort => MinValues::BestEffort,
            }),
            spot_share_max: effort.spot_share,
            consolidation: wanted,
        };
        let is_consolidation = policy.consolidation.is_some();
        let threads = effort.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            usize::from,
        );
        let start = Instant::now();
        let limits = Limits {
            time: effort.time_limit.unwrap_or_else(|| time_for(&snapshot, is_consolidation)),
            threads,
            clock: Arc::new(move || start.elapsed()),
            cancel: Some(cancel.clone()),
        };
        let make = if is_consolidation { stowage_planner::consolidate } else { stowage_planner::plan };
        let mut planned = make(&snapshot, &catalog, &policy, &limits, observer)?;
        if !self.what_if.is_empty() {
            let changes = self.what_if.describe().join("; ");
            planned
                .plan
                .notes
                .insert(0, format!("what if: {changes}; this plan is not about the cluster as it is"));
            planned.plan.what_if = self.what_if.clone();
            planned.plan.id = planned.plan.compute_id();
        }
        accept(&snapshot, &catalog, &planned)?;
        Ok(planned)
    }
}

/// The input with the changes a plan was made with; borrowed where there are none.
pub(super) fn changed<'a>(
    what_if: &WhatIf,
    snapshot: &'a Snapshot,
    catalog: &'a Catalog,
) -> (Cow<'a, Snapshot>, Cow<'a, Catalog>) {
    if what_if.is_empty() {
        return (Cow::Borrowed(snapshot), Cow::Borrowed(catalog));
    }
    let (snapshot, catalog) = what_if.apply(snapshot, catalog);
    (Cow::Owned(snapshot), Cow::Owned(catalog))
}

/// The default time limit: what the work normally takes, with room.
fn time_for(snapshot: &Snapshot, is_consolidation: bool) -> Duration {
    if !is_consolidation {
        return TIME_FOR_PODS;
    }
    let nodes = u32::try_from(snapshot.nodes.len()).unwrap_or(u32::MAX);
    TIME_TO_CONSOLIDATE.saturating_add(TIME_PER_NODE.saturating_mul(nodes))
}

/// The changes asked for.
fn changes(args: &WhatIfArgs) -> WhatIf {
    let mut what_if =
        WhatIf { exclude_types: args.exclude_type.iter().cloned().collect(), ..WhatIf::default() };
    for (name, factor) in &args.price_factor {
        let one = WhatIf { price_factors: [(name.clone(), *factor)].into(), ..WhatIf::default() };
        what_if = what_if.and(&one);
    }
    for (of, values) in [(&mut what_if.allow, &args.allow), (&mut what_if.forbid, &args.forbid)] {
        for (key, value) in values {
            of.entry(key.clone()).or_default().insert(value.clone());
        }
    }
    what_if
}

/// What is to be done about nodes that exist.
pub(super) fn wanted(args: &ConsolidationArgs) -> Option<ConsolidationPolicy> {
    args.consolidate.then(|| ConsolidationPolicy {
        horizon_minutes: args.horizon,
        eviction_cost: args.eviction_cost,
        removal_cost: args.removal_cost,
        savings_threshold: args.savings_threshold,
        payback_minutes: args.payback,
        ignore_pdbs: args.ignore_pdb,
        budget: args.budget.clone(),
        node_pools: args.only_nodepool.clone(),
        min_node_age_minutes: args.min_node_age,
        expiry_lead_minutes: args.expiry_lead,
        repair: args.repair,
        keep_local_storage: args.keep_local_storage,
        spot_types_min: args.spot_types,
        age_weight: args.age_weight,
        restart_weight: args.restart_weight,
    })
}

/// A flag that Ctrl-C sets: the search then ends with the best plan so far. A second Ctrl-C ends the program at once.
pub(super) fn cancel_on_interrupt() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    // A handler that cannot be set leaves the system's own, which ends the program: nothing is lost but the comfort.
    let _ = ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    flag
}

/// No plan leaves unchecked.
fn accept(snapshot: &Snapshot, catalog: &Catalog, planned: &Planned) -> Result<(), Failure> {
    let findings = stowage_checker::check(snapshot, catalog, &planned.plan);
    if findings.is_empty() {
        return Ok(());
    }
    Err(Failure::Refused {
        place: "the new plan (nothing was written; please report this)".to_owned(),
        findings,
    })
}
