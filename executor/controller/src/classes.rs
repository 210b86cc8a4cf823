//! Node classes: what they select, written into their status, where the planner finds their zones.

use crate::act::Ports;
use jiff::Timestamp;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use stowage_api::Ec2NodeClass;
use stowage_observe::View;

/// A look may take this long.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// What was found when they were last looked at.
#[derive(Debug, Default)]
pub(crate) struct Classes(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    looking: bool,
    /// Classes that cannot be launched; `None` until they were looked at.
    unready: Option<BTreeSet<String>>,
}

impl Classes {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Classes that are not ready; `None` until somebody has looked.
    pub(crate) fn unready(&self) -> Option<BTreeSet<String>> {
        self.found().unready.clone()
    }

    /// Whether nobody looks; then somebody does.
    pub(crate) fn begin(&self) -> bool {
        !std::mem::replace(&mut self.found().looking, true)
    }

    /// Looks at all of them, and writes what has changed.
    pub(crate) async fn look(&self, ports: &Ports, view: &View) {
        let mut unready = BTreeSet::new();
        for name in view.names("ec2nodeclasses") {
            let Some(text) = view.object("ec2nodeclasses", &name) else { continue };
            let asked = tokio::time::timeout(DEADLINE, ports.cloud.class_status(&text)).await;
            let status = match asked {
                Ok(Ok(Some(status))) => status,
                Ok(Ok(None)) => continue,
                Ok(Err(error)) => {
                    tracing::warn!(ec2nodeclass = name, %error, "not looked up");
                    continue;
                }
                Err(_) => {
                    tracing::warn!(ec2nodeclass = name, "no answer in time");
                    continue;
                }
            };
            let old: Value = serde_json::from_str(&text).unwrap_or_default();
            let Some(new) = merged(&old, &status) else { continue };
            let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            if !new["conditions"].as_array().is_some_and(|all| all.iter().any(ready)) {
                unready.insert(name.clone());
            }
            if new != old["status"] {
                let api: Api<Ec2NodeClass> = Api::all(ports.client.clone());
                let (params, patch) = (PatchParams::default(), Patch::Merge(json!({ "status": new })));
                if let Err(error) = ports.leadership.write(api.patch_status(&name, &params, &patch)).await {
                    tracing::warn!(ec2nodeclass = name, error, "its status is not written");
                }
            }
        }
        let mut found = self.found();
        found.looking = false;
        found.unready = Some(unready);
    }
}

/// The status with conditions that know when they changed.
pub(crate) fn merged(old: &Value, status: &str) -> Option<Value> {
    let mut new: Value = serde_json::from_str(status).ok()?;
    let generation = old["metadata"]["generation"].clone();
    let before = old["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = Timestamp::now();
    let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    for condition in new["conditions"].as_array_mut()? {
        let same = before
            .iter()
            .find(|one| one["type"] == condition["type"] && one["status"] == condition["status"]);
        condition["lastTransitionTime"] =
            same.map_or_else(|| now.clone().into(), |one| one["lastTransitionTime"].clone());
        condition["observedGeneration"] = generation.clone();
    }
    // Conditions and fields of others stay.
    let kinds: Vec<Value> =
        new["conditions"].as_array().into_iter().flatten().map(|one| one["type"].clone()).collect();
    let others = before.into_iter().filter(|one| !kinds.contains(&one["type"]));
    if let Some(conditions) = new["conditions"].as_array_mut() {
        conditions.extend(others);
    }
    let mut all = old["status"].as_object().cloned().unwrap_or_default();
    all.extend(new.as_object()?.clone());
    Some(Value::Object(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_their_time_until_they_change_and_others_stay() {
        let old = json!({ "metadata": { "generation": 3 }, "status": { "instanceProfile": "p", "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": "SubnetsReady", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            { "type": "Foreign", "status": "True" },
        ] } });
        let new = json!({ "subnets": [], "conditions": [
            { "type": "Ready", "status": "False" }, { "type": "SubnetsReady", "status": "True" },
        ] });
        let merged = merged(&old, &new.to_string()).expect("a status");
        let conditions = merged["conditions"].as_array().expect("conditions");
        assert_eq!(conditions.len(), 3);
        assert_ne!(conditions[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(conditions[1]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(
            (&merged["instanceProfile"], &conditions[0]["observedGeneration"]),
            (&"p".into(), &3.into())
        );
    }
}
