//! Objects as they are written.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use stowage_executor::{Draft, STAMP, Stamp};
use stowage_models::labels;
use stowage_models::objects::{Taint, TaintEffect};
use stowage_models::quantity::{CPU, Resources};
use stowage_observe as observe;

pub(crate) const FINALIZER: &str = "karpenter.sh/termination";

/// Amounts as quantities.
pub(crate) fn quantities(resources: &Resources) -> BTreeMap<String, String> {
    let text = |name: &str, amount: i64| if name == CPU { format!("{amount}m") } else { amount.to_string() };
    resources.0.iter().map(|(name, amount)| (name.clone(), text(name, *amount))).collect()
}

pub(crate) fn taint(taint: &Taint) -> Value {
    let effect = match taint.effect {
        TaintEffect::NoSchedule => "NoSchedule",
        TaintEffect::PreferNoSchedule => "PreferNoSchedule",
        TaintEffect::NoExecute => "NoExecute",
    };
    let mut value = json!({ "key": taint.key, "effect": effect });
    if !taint.value.is_empty() {
        value["value"] = taint.value.clone().into();
    }
    value
}

/// A NodeClaim, with everything written in it that must outlive this process.
pub(crate) fn claim(draft: &Draft) -> Value {
    let intent = &draft.intent;
    let one_of = |key: &str, values: Vec<&str>| {
        let values: std::collections::BTreeSet<&str> = values.into_iter().collect();
        json!({ "key": key, "operator": "In", "values": values })
    };
    let all = &intent.offerings;
    let promise =
        observe::Promise { capacity: intent.capacity.clone(), allocatable: intent.allocatable.clone() };
    let pods = serde_json::to_string(&intent.pods).unwrap_or_default();
    let mut spec = json!({
        "nodeClassRef": { "group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": intent.class },
        "requirements": [
            one_of(labels::INSTANCE_TYPE, all.iter().map(|one| one.instance_type.as_str()).collect()),
            one_of(labels::ZONE, all.iter().map(|one| one.zone.as_str()).collect()),
            one_of(labels::CAPACITY_TYPE, all.iter().map(|one| one.capacity_type.as_str()).collect()),
        ],
        "resources": { "requests": quantities(&intent.requests) },
        "taints": intent.taints.iter().map(taint).collect::<Vec<_>>(),
        "startupTaints": intent.startup_taints.iter().map(taint).collect::<Vec<_>>(),
    });
    if let Some(after) = &intent.expire_after {
        spec["expireAfter"] = after.clone().into();
    }
    if let Some(period) = &intent.termination_grace_period {
        spec["terminationGracePeriod"] = period.clone().into();
    }
    let mut object = json!({
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodeClaim",
        "metadata": {
            "name": draft.name,
            "finalizers": [FINALIZER],
            "labels": intent.labels,
            "annotations": {
                observe::PLAN: draft.plan,
                observe::ACTION: intent.action,
                observe::SLOT: draft.slot,
                observe::TOKEN: draft.token,
                observe::BODY: draft.body,
                observe::PODS: pods,
                observe::PROMISE: promise.to_text(),
            },
        },
        "spec": spec,
    });
    let overlaid = [("price", intent.price_overlay), ("capacity", intent.capacity_overlay)]
        .into_iter()
        .filter(|one| one.1);
    for (what, _) in overlaid {
        object["metadata"]["annotations"][format!("karpenter.sh/{what}-overlay-applied")] = "true".into();
    }
    // What it is launched from, so that a later change is noticed.
    if !intent.pool_hash.is_empty() && !draft.class_hash.is_empty() {
        let (pool, class) = (intent.pool_hash.clone(), draft.class_hash.clone());
        let stamp = Stamp { pool, class, ..Stamp::default() };
        object["metadata"]["annotations"][STAMP] = stamp.to_string().into();
    }
    object
}
