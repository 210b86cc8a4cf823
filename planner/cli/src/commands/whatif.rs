//! `stowage whatif`.

use super::question::{Question, cancel_on_interrupt, wanted};
use crate::args::{WhatIfFormat, WhatIfTableArgs};
use crate::failure::{Exit, Failure};
use crate::input;
use crate::output::Console;
use crate::progress::Progress;
use crate::render::document;
use crate::render::whatif::{self, Answers, NotPlanned, Row};
use crate::style::Palette;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use stowage_models::catalog::Catalog;
use stowage_models::consolidation::ConsolidationPolicy;
use stowage_models::labels;
use stowage_models::objects::NodePool;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::Ppm;
use stowage_models::whatif::WhatIf;

/// Spot prices of the row that asks what dearer spot would cost.
const DEARER_SPOT: Ppm = Ppm(1_300_000);

/// A variant of the question, or why it is the same question.
struct Variant {
    name: String,
    what_if: WhatIf,
    /// Without PodDisruptionBudgets.
    ignore_pdbs: bool,
    /// Budgets of all NodePools.
    budget: Option<String>,
    /// Why it changes nothing; `None`: it may.
    same: Option<&'static str>,
}

impl Variant {
    fn new(name: impl Into<String>, what_if: WhatIf) -> Variant {
        Variant { name: name.into(), what_if, ignore_pdbs: false, budget: None, same: None }
    }

    fn or_same(self, changes: bool, why: &'static str) -> Variant {
        Variant { same: (!changes).then_some(why), ..self }
    }

    fn policy(&self, wanted: Option<&ConsolidationPolicy>) -> Option<ConsolidationPolicy> {
        wanted.map(|wanted| ConsolidationPolicy {
            ignore_pdbs: wanted.ignore_pdbs || self.ignore_pdbs,
            budget: self.budget.clone().or_else(|| wanted.budget.clone()),
            ..wanted.clone()
        })
    }
}

/// Plans the question and its variants, and prints what they cost.
///
/// # Errors
/// When input cannot be read, the referee refuses a plan, or output cannot be written.
pub fn run(args: &WhatIfTableArgs, console: &Console) -> Result<Exit, Failure> {
    let outputs: Vec<&Path> = args.target.out.as_deref().into_iter().collect();
    let read: Vec<PathBuf> = args.inputs.iter().chain(&args.effort.catalog).cloned().collect();
    input::keep_apart(&read, &outputs)?;
    let mut question = Question::read(&args.inputs, &args.effort, &args.what_if)?;
    let wanted = wanted(&args.consolidation);
    let asked = question.what_if.clone();
    let (snapshot, _) = asked.apply(&question.snapshot, &question.catalog);
    let variants = if args.variant.is_empty() {
        usual(&snapshot, &question.catalog, wanted.as_ref())
    } else {
        args.variant.iter().map(|one| Variant::new(one.describe().join("; "), one.clone())).collect()
    };
    for variant in &variants {
        question.assert_sense(&variant.what_if)?;
    }
    let cancel = cancel_on_interrupt();
    let progress = Progress::start();
    let as_is = Variant::new("as it is", WhatIf::default());
    let mut rows = Vec::new();
    let mut not_planned = Vec::new();
    for variant in std::iter::once(&as_is).chain(&variants) {
        if let Some(reason) = variant.same {
            not_planned.push(NotPlanned { name: variant.name.clone(), reason });
            continue;
        }
        // A table whose rows had no time would compare nothing.
        if cancel.load(Ordering::Relaxed) {
            break;
        }
        question.what_if = asked.and(&variant.what_if);
        let answer =
            question.answer(variant.policy(wanted.as_ref()), &cancel, &mut |moment| progress.show(moment));
        rows.push(Row::new(&variant.name, &question.what_if, &answer?.plan));
    }
    progress.finish();
    let is_whole = !cancel.load(Ordering::Relaxed);
    if rows.iter().all(|row| row.pods_pending == 0) && wanted.is_none() {
        console.remark("note: no pod waits and nodes stay without --consolidate, so nothing can change");
    }
    if !is_whole {
        console.remark("note: interrupted; the last row had less time, and the others are missing");
    }
    let answers = Answers::new(rows, not_planned);
    let palette = if args.target.out.is_some() { Palette::PLAIN } else { console.stdout };
    let text = match args.output {
        WhatIfFormat::Table => whatif::table(&answers, palette),
        WhatIfFormat::Json => document::json(&answers),
    };
    console.deliver(text.as_bytes(), args.target.out.as_deref())?;
    Ok(Exit::Ok)
}

/// The variants people ask for.
fn usual(snapshot: &Snapshot, catalog: &Catalog, wanted: Option<&ConsolidationPolicy>) -> Vec<Variant> {
    let pools: Vec<&NodePool> =
        snapshot.node_pools.iter().filter(|pool| pool.replicas.is_none() && !pool.deleting).collect();
    let refuses = |key: &str, value: &str| {
        let requirements = pools.iter().flat_map(|pool| &pool.requirements);
        requirements.into_iter().any(|one| one.key == key && !one.accepts(Some(value)))
    };
    let values =
        |key: &str, value: &str| BTreeMap::from([(key.to_owned(), BTreeSet::from([value.to_owned()]))]);
    let allow = |key: &str, value: &str| WhatIf { allow: values(key, value), ..WhatIf::default() };
    let is_spot = pools.iter().any(|pool| {
        let mut on_spot = pool.requirements.iter().filter(|one| one.key == labels::CAPACITY_TYPE);
        on_spot.all(|one| one.accepts(Some("spot")))
    });
    let everywhere = "every NodePool allows it already";
    let mut variants = vec![
        Variant::new("with arm64", allow(labels::ARCH, "arm64"))
            .or_same(refuses(labels::ARCH, "arm64"), everywhere),
        Variant::new("with spot", allow(labels::CAPACITY_TYPE, "spot"))
            .or_same(refuses(labels::CAPACITY_TYPE, "spot"), everywhere),
    ];
    let zones: BTreeSet<&str> =
        catalog.types.iter().flat_map(|kind| &kind.zones).map(|offer| offer.zone.as_str()).collect();
    let closed = |zone: &str| {
        let mut classes = snapshot.node_classes.iter().filter(|class| !class.zones.is_empty());
        refuses(labels::ZONE, zone) || classes.any(|class| !class.zones.iter().any(|one| one == zone))
    };
    let closed: Vec<&str> = zones.into_iter().filter(|zone| closed(zone)).collect();
    variants.extend(
        closed.iter().map(|zone| Variant::new(format!("with zone {zone}"), allow(labels::ZONE, zone))),
    );
    if closed.is_empty() {
        variants.push(
            Variant::new("with one more zone", WhatIf::default())
                .or_same(false, "all zones are allowed already"),
        );
    }
    let no_spot = "no NodePool allows spot";
    let only = WhatIf { forbid: values(labels::CAPACITY_TYPE, "spot"), ..WhatIf::default() };
    variants.push(Variant::new("on demand only", only).or_same(is_spot, no_spot));
    let dearer = WhatIf { price_factors: [("spot".to_owned(), DEARER_SPOT)].into(), ..WhatIf::default() };
    variants.push(Variant::new("spot 30 % dearer", dearer).or_same(is_spot, no_spot));
    if let Some(wanted) = wanted {
        let has_budgets = !snapshot.pod_disruption_budgets.is_empty() && !wanted.ignore_pdbs;
        variants.push(
            Variant { ignore_pdbs: true, ..Variant::new("without PDBs", WhatIf::default()) }
                .or_same(has_budgets, "there is none, or it is ignored already"),
        );
        variants.push(
            Variant {
                budget: Some("100%".to_owned()),
                ..Variant::new("with all budgets open", WhatIf::default())
            }
            .or_same(wanted.budget.as_deref() != Some("100%"), "they are open already"),
        );
    }
    variants
}
