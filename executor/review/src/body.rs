//! What is carried out, and the spec that people read.

use crate::summary;
use crate::waves::{self, Wave};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use stowage_api::{Action, PlanSpec};
use stowage_models::digest;
use stowage_models::objects::PodRef;
use stowage_models::plan::{Launch, Plan, Policy};
use stowage_models::units::UsdMicros;

/// Bytes of a spec at most; the API server takes objects of a megabyte and a half. Plans of 20,000 pods are smaller.
const SPEC_MAX: usize = 1_400_000;
/// Bytes of a body at most: three times what fits a spec. Whoever may write plans must not be able to use up the controller's memory.
const BODY_MAX: u64 = 12 << 20;
/// Micro-dollars per hour of a plan at most: a billion dollars.
const PRICE_MAX: i64 = 1_000_000_000_000_000;
/// Level of compression.
const LEVEL: i32 = 9;

/// What is carried out once it is approved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Body {
    /// Policy the launches were planned under.
    pub policy: Policy,
    /// Launches.
    pub launches: Vec<Launch>,
    /// What is done in order, where nodes are removed; each launch is in one of them then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Wave>,
    /// It is about static NodePools: its nodes are given back once as many are ready as their pools say, with whatever pods are on them, and not
    /// wave by wave.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub statics: bool,
    /// Pods that the same plan places on nodes that exist, by node: launches may rely on them being there.
    pub existing: BTreeMap<String, Vec<PodRef>>,
    /// What it relies on.
    pub reads: Reads,
}

/// Objects that a plan relies on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reads {
    /// Uids of pods that launches are for, and of those that leave nodes.
    pub pods: BTreeMap<PodRef, String>,
    /// Uid and generation (`uid@generation`) of NodePools and node classes of launches, uids of nodes that pods of the plan are placed on or
    /// that it removes; by `Kind/name`.
    pub versions: BTreeMap<String, String>,
}

/// The name of a plan's object.
#[must_use]
pub fn name(digest: &str) -> String {
    format!("plan-{}", digest::short(digest, 16))
}

/// The digest of a spec: of all its other fields.
#[must_use]
pub fn digest(spec: &PlanSpec) -> String {
    digest::of_json(&PlanSpec { digest: String::new(), ..spec.clone() })
}

fn sealed(mut spec: PlanSpec) -> PlanSpec {
    spec.digest = digest(&spec);
    spec
}

/// The spec of a plan that nobody approves, and that does this in waves.
#[must_use]
pub fn published(plan: &Plan, mode: &str, waves: &[Wave]) -> PlanSpec {
    sealed(bare(plan, mode, waves))
}

/// The spec of a plan that is to be approved before `expires` (RFC 3339).
///
/// # Errors
/// If it is too large for an object of the API.
pub fn proposal(plan: &Plan, reads: Reads, waves: Vec<Wave>, expires: &str) -> Result<PlanSpec, String> {
    let statics = crate::waves::of(plan).is_none() && !waves.is_empty();
    let placed = plan.existing.iter().filter(|node| !node.pods.is_empty());
    let body = Body {
        policy: plan.policy.clone(),
        launches: plan.launches.clone(),
        waves,
        statics,
        existing: placed.map(|node| (node.name.clone(), node.pods.clone())).collect(),
        reads,
    };
    let mut spec = bare(plan, "review", &body.waves);
    spec.expires = Some(expires.to_owned());
    spec.summary = Some(summary(plan, &body.waves));
    spec.body = Some(pack(&body)?);
    let spec = sealed(spec);
    let size = serde_json::to_vec(&spec).map_err(|error| error.to_string())?.len();
    if size > SPEC_MAX {
        let (launches, pods) = (body.launches.len(), body.reads.pods.len());
        return Err(format!(
            "{launches} launches for {pods} pods are {size} bytes, an object to approve may have {SPEC_MAX}\n  hint: let plans be carried \
             out without approval until fewer pods wait, or apply plans of a part of them"
        ));
    }
    Ok(spec)
}

/// What is to be carried out of a spec, if it is as its digest says and people read what the body says.
///
/// # Errors
/// What is not.
pub fn open(spec: &PlanSpec) -> Result<Body, String> {
    let actual = digest(spec);
    if spec.digest != actual {
        return Err(format!("its digest is {}, that of its content is {actual}", spec.digest));
    }
    let body = unpack(spec.body.as_deref().ok_or("it has no body")?)?;
    let mut slots = BTreeSet::new();
    if let Some(twice) = body.launches.iter().find(|launch| !slots.insert(&launch.slot)) {
        return Err(format!("it has two launches {}", twice.slot));
    }
    // The sums that are compared must not be able to wrap.
    let prices = body.launches.iter().try_fold(0_i64, |sum, launch| sum.checked_add(launch.price.0));
    if body.launches.iter().any(|launch| launch.price.0 < 0) || prices.is_none_or(|sum| sum > PRICE_MAX) {
        return Err("the prices of its launches are no prices".to_owned());
    }
    if body.statics && body.waves.iter().flat_map(|wave| &wave.removals).any(|one| !one.pods.is_empty()) {
        return Err("it says where pods of static NodePools go, which nobody sees to".to_owned());
    }
    if let Some(wrong) = waves::wrong(&body.waves, &body.launches, &body.reads.pods) {
        return Err(wrong);
    }
    if spec.actions != waves::actions(actions(&body.launches), &body.waves) {
        return Err("its actions are not those of its body".to_owned());
    }
    let cost: UsdMicros = body.launches.iter().map(|launch| launch.price).sum();
    if spec.launch_cost_micros != cost.0
        || spec.monthly != monthly(cost, &body.waves)
        || spec.nodes != nodes(&body.launches, &body.waves)
    {
        return Err("its figures are not those of its body".to_owned());
    }
    if let Some(launch) = body.launches.iter().find(|launch| launch.pods.is_empty()) {
        return Err(format!("launch {} is for no pod", launch.slot));
    }
    let unread = body.launches.iter().flat_map(|launch| &launch.pods);
    if let Some(pod) = unread.into_iter().find(|pod| !body.reads.pods.contains_key(*pod)) {
        return Err(format!("it does not say which pod {pod} is"));
    }
    Ok(body)
}

fn pack(body: &Body) -> Result<String, String> {
    let json = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    let packed = zstd::encode_all(json.as_slice(), LEVEL).map_err(|error| error.to_string())?;
    Ok(STANDARD.encode(packed))
}

fn unpack(text: &str) -> Result<Body, String> {
    let wrong = |error: String| format!("its body cannot be read: {error}");
    let packed = STANDARD.decode(text).map_err(|error| wrong(error.to_string()))?;
    let mut json = Vec::new();
    let decoder = zstd::Decoder::new(packed.as_slice()).map_err(|error| wrong(error.to_string()))?;
    decoder.take(BODY_MAX + 1).read_to_end(&mut json).map_err(|error| wrong(error.to_string()))?;
    if u64::try_from(json.len()).unwrap_or(u64::MAX) > BODY_MAX {
        return Err(wrong(format!("it is larger than {BODY_MAX} bytes")));
    }
    serde_json::from_slice(&json).map_err(|error| wrong(error.to_string()))
}

fn actions(launches: &[Launch]) -> Vec<Action> {
    let action = |launch: &Launch| Action {
        id: format!("launch/{}", launch.slot),
        kind: "Launch".to_owned(),
        node_pool: launch.node_pool.clone(),
        instance_type: launch.instance_type.clone(),
        zone: launch.zone.clone(),
        capacity_type: launch.capacity_type.clone(),
        price_micros: launch.price.0,
        alternates: i32::try_from(launch.alternates.len()).unwrap_or(i32::MAX),
        pods: launch.pods.iter().map(|pod| pod.0.clone()).collect(),
        ..Action::default()
    };
    launches.iter().map(action).collect()
}

fn bare(plan: &Plan, mode: &str, waves: &[Wave]) -> PlanSpec {
    let summary = &plan.summary;
    PlanSpec {
        plan: plan.id.clone(),
        snapshot: plan.snapshot.digest.clone(),
        mode: mode.to_owned(),
        actions: waves::actions(actions(&plan.launches), waves),
        launch_cost_micros: summary.launch_cost.0,
        launch_bound_micros: summary.launch_bound.0.min(summary.launch_cost.0).max(0),
        nodes: nodes(&plan.launches, waves),
        monthly: monthly(summary.launch_cost, waves),
        gap: format!("{} %", percent(summary.gap.0)),
        ..PlanSpec::default()
    }
}

fn nodes(launches: &[Launch], waves: &[Wave]) -> String {
    format!("+{}/-{}", launches.len(), waves::count(waves))
}

fn monthly(cost: UsdMicros, waves: &[Wave]) -> String {
    let change = cost.0.saturating_sub(waves::saved(waves));
    let amount = UsdMicros(change.saturating_abs()).per_month();
    let sign = if change < 0 { '-' } else { '+' };
    format!("{sign}${}.{:02}", amount.0 / 1_000_000, amount.0 % 1_000_000 / 10_000)
}

impl Body {
    /// What it makes of the bill, in micro-dollars per hour: prices of launches less those of nodes that go.
    #[must_use]
    pub fn change(&self) -> i64 {
        let launched = self.launches.iter().map(|launch| launch.price.0).fold(0, i64::saturating_add);
        launched.saturating_sub(waves::saved(&self.waves))
    }
}

/// Parts per million as percent with two decimals.
fn percent(ppm: i64) -> String {
    format!("{}.{:02}", ppm / 10_000, ppm % 10_000 / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::units::Ppm;

    fn plan() -> Plan {
        let launch = Launch {
            slot: "new-0001".to_owned(),
            node_pool: "general".to_owned(),
            instance_type: "m6a.large".to_owned(),
            zone: "us-east-1a".to_owned(),
            capacity_type: "on-demand".to_owned(),
            labels: Default::default(),
            price: UsdMicros(86_400),
            list_price: None,
            price_estimated: false,
            allocatable: Default::default(),
            daemon_sets: Default::default(),
            requested: Default::default(),
            pods: vec![PodRef("default/web-1".to_owned()), PodRef("default/web-2".to_owned())],
            alternates: Vec::new(),
        };
        let mut plan = Plan { launches: vec![launch], ..Plan::default() };
        plan.snapshot.digest = digest::of_bytes(b"snapshot");
        plan.summary.launch_cost = UsdMicros(86_400);
        plan.summary.launch_bound = UsdMicros(86_000);
        plan.summary.gap = Ppm(4_651);
        plan.id = plan.compute_id();
        plan
    }

    fn good() -> PlanSpec {
        let uid = |n: u8| (PodRef(format!("default/web-{n}")), format!("uid-{n}"));
        let reads = Reads {
            pods: [uid(1), uid(2)].into(),
            versions: [("NodePool/general".to_owned(), "uid@3".to_owned())].into(),
        };
        proposal(&plan(), reads, Vec::new(), "2026-11-22T00:15:00Z").expect("it fits")
    }

    #[test]
    fn what_was_put_in_comes_out() {
        let spec = good();
        let body = open(&spec).expect("it is as it was made");
        assert_eq!(body.launches, plan().launches);
        assert_eq!(body.reads.versions["NodePool/general"], "uid@3");
        // And after a journey through the API.
        let text = serde_json::to_string(&spec).expect("JSON");
        let again: PlanSpec = serde_json::from_str(&text).expect("a spec");
        assert_eq!(open(&again), Ok(body));
        assert_eq!(name(&spec.digest).len(), 21);
    }

    #[test]
    fn any_change_is_found() {
        let spec = good();
        let text = serde_json::to_value(&spec).expect("JSON");
        let mut changed = 0;
        for (field, value) in text.as_object().expect("fields") {
            let mut other = text.clone();
            other[field] = match value {
                serde_json::Value::String(text) if field == "body" => {
                    // One letter of it.
                    let letter = if text.as_bytes()[40] == b'A' { "B" } else { "A" };
                    format!("{}{letter}{}", &text[..40], &text[41..]).into()
                }
                serde_json::Value::String(text) => format!("{text}0").into(),
                serde_json::Value::Number(number) => (number.as_i64().expect("whole") + 1).into(),
                _ => serde_json::json!([]),
            };
            let other: PlanSpec = serde_json::from_value(other).expect("a spec");
            assert!(open(&other).expect_err(field).contains("digest"), "{field}");
            changed += 1;
        }
        assert!(changed >= 11, "{changed}");
    }

    #[test]
    fn a_new_digest_does_not_make_lies_true() {
        let sealed_again = |change: &dyn Fn(&mut PlanSpec)| {
            let mut spec = good();
            change(&mut spec);
            open(&sealed(spec)).expect_err("it lies")
        };
        assert!(
            sealed_again(&|spec| spec.actions[0].instance_type = "m6a.48xlarge".to_owned())
                .contains("actions")
        );
        assert!(sealed_again(&|spec| drop(spec.actions[0].pods.pop())).contains("actions"));
        assert!(sealed_again(&|spec| spec.launch_cost_micros = 1).contains("figures"));
        assert!(sealed_again(&|spec| spec.monthly = "+$1.00".to_owned()).contains("figures"));
        assert!(sealed_again(&|spec| spec.body = None).contains("no body"));
        assert!(sealed_again(&|spec| spec.body = Some("AAAA".to_owned())).contains("cannot be read"));
        let without_uids =
            proposal(&plan(), Reads::default(), Vec::new(), "2026-11-22T00:15:00Z").expect("it fits");
        assert!(open(&without_uids).expect_err("no uids").contains("which pod"));
    }

    #[test]
    fn a_plan_that_is_too_large_is_said_to_be() {
        let mut plan = plan();
        // Names that do not compress.
        let pod = |n: u32| PodRef(digest::of_bytes(&n.to_le_bytes()));
        plan.launches[0].pods = (0..20_000).map(pod).collect();
        let error =
            proposal(&plan, Reads::default(), Vec::new(), "2026-11-22T00:15:00Z").expect_err("too large");
        assert!(error.contains("1 launches") && error.contains("hint"), "{error}");
    }
}
