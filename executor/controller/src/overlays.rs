//! NodeOverlays: whether each counts, written into its status.

use crate::act::Ports;
use crate::classes::merged;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use stowage_api::NodeOverlay;
use stowage_models::catalog::Catalog;
use stowage_observe::View;
use stowage_planner::Overlays;

const PLURAL: &str = "nodeoverlays";

/// Writes what has changed.
pub(crate) async fn look(ports: &Ports, view: &View, built_in: &Catalog) {
    if view.count(PLURAL) == 0 {
        return;
    }
    let Ok(snapshot) = view.snapshot() else { return };
    let live = ports.cloud.catalog();
    let overlays = Overlays::new(&snapshot, live.as_deref().unwrap_or(built_in));
    let ignored: BTreeMap<&str, &str> = overlays.ignored().collect();
    let api: Api<NodeOverlay> = Api::all(ports.client.clone());
    for overlay in &snapshot.node_overlays {
        let name = &overlay.name;
        let Some(old) = view.object(PLURAL, name).and_then(|text| serde_json::from_str::<Value>(&text).ok())
        else {
            continue;
        };
        let said = status(ignored.get(name.as_str()).copied());
        let Some(new) = merged(&old, &said.to_string()).filter(|new| *new != old["status"]) else { continue };
        let (params, patch) = (PatchParams::default(), Patch::Merge(json!({ "status": new })));
        if let Err(error) = ports.leadership.write(api.patch_status(name, &params, &patch)).await {
            tracing::warn!(nodeoverlay = name, error, "its status is not written");
        }
    }
}

/// What the status of an overlay says; conditions without times. Reasons are Karpenter's.
fn status(ignored: Option<&str>) -> Value {
    let reason = match ignored {
        None => "ValidationSucceeded",
        Some(why) if why.starts_with("conflict") => "Conflict",
        Some(_) => "RuntimeValidation",
    };
    let holds = if ignored.is_none() { "True" } else { "False" };
    let (ready, why) = match ignored {
        None => ("Ready", ""),
        Some(_) => ("UnhealthyDependents", "ValidationSucceeded=False"),
    };
    json!({ "conditions": [
        { "type": "ValidationSucceeded", "status": holds, "reason": reason, "message": ignored.unwrap_or_default() },
        { "type": "Ready", "status": holds, "reason": ready, "message": why },
    ] })
}

#[cfg(test)]
mod tests {
    use super::status;

    #[test]
    fn an_overlay_says_whether_it_counts_and_why_not() {
        let told = |ignored: Option<&str>| {
            let status = status(ignored);
            let one = &status["conditions"][0];
            [&one["status"], &one["reason"], &one["message"], &status["conditions"][1]["status"]]
                .map(|text| text.as_str().unwrap_or_default().to_owned())
        };
        assert_eq!(told(None), ["True", "ValidationSucceeded", "", "True"]);
        let conflict = "conflict with another overlay: a";
        assert_eq!(told(Some(conflict)), ["False", "Conflict", conflict, "False"]);
        assert_eq!(told(Some("spec.price: no"))[..2], ["False", "RuntimeValidation"]);
    }
}
