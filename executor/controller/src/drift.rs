//! Looks whether machines are still what would be launched, and writes it on their claims: the condition `Drifted`, which plans read, and the
//! stamp that a later look compares with. What is judged, and how, is in `stowage_executor::judge_drift`.

use crate::act::Ports;
use crate::events::{About, Weight};
use crate::metrics::Family;
use crate::run::Options;
use jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use stowage_executor::{Answer, ClassFacts, DriftInput, DriftVerdict, Instance, STAMP, judge_drift};
use stowage_models::catalog::Catalog;
use stowage_models::labels;
use stowage_models::objects::NodePool;
use stowage_models::selector::Labels;
use stowage_observe::{KINDS, TOKEN, View, instance_id};
use tokio::task::JoinHandle;

/// How often claims are looked at (Karpenter: five minutes); and at once when a NodePool or node class has changed.
const EVERY: Duration = Duration::from_secs(60);
/// From a change of a NodePool or node class to the look: its status is written first.
const SETTLE: Duration = Duration::from_secs(5);
/// Claims that are written in one look; the rest waits for the next. A first look over a cluster of others stamps all of them.
const WRITES_MAX: usize = 200;
/// A look-up of an image may take this long.
const DEADLINE: Duration = Duration::from_secs(30);
/// Type of the condition.
const DRIFTED: &str = "Drifted";

const DRIFTS: Family = Family {
    name: "stowage_nodeclaims_drifted",
    help: "NodeClaims whose machine is not what would be launched, by reason.",
};

/// A claim as it is seen.
#[derive(Debug, Default)]
struct Seen {
    name: String,
    uid: String,
    pool: String,
    class: String,
    kind: String,
    labels: Labels,
    image: String,
    instance: String,
    stamp: Option<String>,
    ours: bool,
    /// Reason of the condition, if it is true.
    drifted: Option<String>,
}

/// Looks at all claims.
async fn look(
    ports: &Ports,
    view: &View,
    machines: &BTreeMap<String, Instance>,
    built_in: &Catalog,
) -> Result<(), String> {
    let snapshot = view.snapshot().map_err(|error| error.to_string())?;
    let pools: BTreeMap<&str, &NodePool> =
        snapshot.node_pools.iter().map(|pool| (pool.name.as_str(), pool)).collect();
    let nodes: BTreeMap<&str, &Labels> =
        snapshot.nodes.iter().map(|node| (node.name.as_str(), &node.labels)).collect();
    let mut claims = Vec::new();
    view.each("nodeclaims", |_, text| claims.extend(read(text, &nodes)));
    let live = ports.cloud.catalog();
    let catalog = live.as_deref().unwrap_or(built_in);
    let classes = classes(view, &claims);
    let images = images(ports, &classes, &claims).await;
    let mut drifts: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut writes = 0;
    for claim in &claims {
        let input = DriftInput {
            pool: pools.get(claim.pool.as_str()).copied(),
            class: classes.get(&claim.class).map(|(_, facts)| facts),
            image: images.get(&(claim.class.clone(), claim.kind.clone())).map(String::as_str),
            labels: claim.labels.clone(),
            own_image: Some(claim.image.as_str()).filter(|image| !image.is_empty()),
            machine: machines.get(&claim.instance),
            stamp: claim.stamp.as_deref(),
            ours: claim.ours,
            drifted: claim.drifted.as_deref(),
        };
        let verdict = judge_drift(&input, catalog);
        let reason = match &verdict {
            Some(verdict) => verdict.drifted.as_ref().map(|(reason, _)| reason.clone()),
            None => claim.drifted.clone(),
        };
        if let Some(reason) = reason {
            *drifts.entry((claim.pool.clone(), reason)).or_default() += 1_000_000;
        }
        let Some(verdict) = verdict else { continue };
        let same = verdict.drifted.as_ref().map(|(reason, _)| reason) == claim.drifted.as_ref();
        if (same && verdict.stamp.is_none()) || writes >= WRITES_MAX {
            continue;
        }
        writes += 1;
        if let Err(error) = ports.leadership.write(write(ports, claim, &verdict, same)).await {
            tracing::warn!(claim = claim.name, error, "drift is not written");
        }
    }
    let labels = drifts.iter().map(|((pool, reason), count)| {
        (vec![("nodepool", pool.as_str()), ("reason", reason.as_str())], *count)
    });
    ports.metrics.set_all(DRIFTS, labels.collect());
    Ok(())
}

/// A claim with a node; others have no labels yet to be judged by.
fn read(text: &str, nodes: &BTreeMap<&str, &Labels>) -> Option<Seen> {
    let claim: Value = serde_json::from_str(text).ok()?;
    let (metadata, status) = (&claim["metadata"], &claim["status"]);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let own = nodes.get(status["nodeName"].as_str()?)?;
    if !metadata["deletionTimestamp"].is_null() {
        return None;
    }
    let mut all: Labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
    all.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
    let annotations = &metadata["annotations"];
    let conditions = status["conditions"].as_array();
    let drifted =
        conditions.into_iter().flatten().find(|one| one["type"] == DRIFTED && one["status"] == "True");
    Some(Seen {
        name: text(&metadata["name"]),
        uid: text(&metadata["uid"]),
        pool: all.get(labels::NODEPOOL).cloned().unwrap_or_default(),
        class: text(&claim["spec"]["nodeClassRef"]["name"]),
        kind: all.get(labels::INSTANCE_TYPE).cloned().unwrap_or_default(),
        labels: all,
        image: text(&status["imageID"]),
        instance: status["providerID"].as_str().and_then(instance_id)?,
        stamp: annotations[STAMP].as_str().map(str::to_owned),
        ours: annotations[TOKEN].is_string(),
        drifted: drifted.map(|one| text(&one["reason"])),
    })
}

/// Node classes of claims: as text, and what they stand for.
fn classes(view: &View, claims: &[Seen]) -> BTreeMap<String, (String, ClassFacts)> {
    let names: BTreeSet<&String> = claims.iter().map(|claim| &claim.class).collect();
    let found = names.into_iter().filter_map(|name| {
        let text = view.object("ec2nodeclasses", name)?;
        let class: Value = serde_json::from_str(&text).ok()?;
        Some((name.clone(), (text, ClassFacts::of(&class))))
    });
    found.collect()
}

/// Images that would be launched, by class and type. What cannot be looked up is not known.
async fn images(
    ports: &Ports,
    classes: &BTreeMap<String, (String, ClassFacts)>,
    claims: &[Seen],
) -> BTreeMap<(String, String), String> {
    let wanted: BTreeSet<(&String, &String)> =
        claims.iter().map(|claim| (&claim.class, &claim.kind)).collect();
    let mut images = BTreeMap::new();
    for (class, kind) in wanted {
        let Some((text, _)) = classes.get(class) else { continue };
        match tokio::time::timeout(DEADLINE, ports.cloud.image(text, kind)).await {
            Ok(Ok(Some(image))) => drop(images.insert((class.clone(), kind.clone()), image)),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => tracing::debug!(ec2nodeclass = class, kind, %error, "its image is not known"),
            Err(_) => tracing::debug!(ec2nodeclass = class, kind, "its image is not known in time"),
        }
    }
    images
}

/// Writes stamp and condition. The version of the claim is checked: what others wrote meanwhile is looked at first.
async fn write(ports: &Ports, claim: &Seen, verdict: &DriftVerdict, same: bool) -> Result<(), String> {
    let kind = KINDS.iter().find(|one| one.kind == "NodeClaim").ok_or("NodeClaims are not looked at")?;
    let claims = kind.api(&ports.client);
    let Some(found) = claims.get_opt(&claim.name).await.map_err(|error| error.to_string())? else {
        return Ok(());
    };
    if found.metadata.uid.as_deref() != Some(&claim.uid) {
        return Ok(());
    }
    let mut version = found.metadata.resource_version.clone();
    let params = PatchParams::default();
    if let Some(stamp) = &verdict.stamp {
        let change = json!({ "metadata": {
            "annotations": { STAMP: stamp.to_string() }, "resourceVersion": version,
        } });
        let after = claims.patch_metadata(&claim.name, &params, &Patch::Merge(change)).await;
        version = after.map_err(|error| error.to_string())?.metadata.resource_version;
    }
    if same {
        return Ok(());
    }
    let before = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let after = conditions(&before, verdict.drifted.as_ref(), found.metadata.generation, &now);
    let change = json!({ "metadata": { "resourceVersion": version }, "status": { "conditions": after } });
    claims
        .patch_status(&claim.name, &params, &Patch::Merge(change))
        .await
        .map_err(|error| error.to_string())?;
    if let Some((reason, message)) = &verdict.drifted {
        tracing::info!(claim = claim.name, reason, message, "drifted");
        let note = format!(
            "Status condition transitioned, Type: Drifted, Status: Unknown -> True, Reason: {reason}, Message: {message}"
        );
        ports.events.tell(About::claim(&claim.name, &claim.uid), Weight::Normal, DRIFTED, &note);
    } else {
        tracing::info!(claim = claim.name, "drifted no more");
    }
    Ok(())
}

/// The conditions with this verdict; those of others stay. One that has not drifted has no such condition, as with Karpenter.
fn conditions(
    before: &[Value],
    drifted: Option<&(String, String)>,
    generation: Option<i64>,
    now: &str,
) -> Vec<Value> {
    let is_it = |one: &&Value| one["type"] == DRIFTED;
    let old = before.iter().find(is_it).filter(|one| one["status"] == "True");
    let mut after: Vec<Value> = before.iter().filter(|one| !is_it(one)).cloned().collect();
    if let Some((reason, message)) = drifted {
        let since = old.map_or_else(|| now.into(), |one| one["lastTransitionTime"].clone());
        after.push(json!({
            "type": DRIFTED, "status": "True", "reason": reason, "message": message,
            "lastTransitionTime": since, "observedGeneration": generation,
        }));
    }
    after
}

/// When to look, and at which machines.
pub(crate) struct Watch {
    due: Instant,
    task: Option<JoinHandle<()>>,
    machines: Arc<BTreeMap<String, Instance>>,
}

impl Watch {
    pub(crate) fn new() -> Watch {
        Watch { due: Instant::now(), task: None, machines: Arc::default() }
    }

    /// Takes in what was listed.
    pub(crate) fn listed(&mut self, answers: &[Answer]) {
        for answer in answers {
            if let Answer::Listed(listing) = answer {
                self.machines = Arc::new(listing.instances.clone());
            }
        }
    }

    /// NodePools or node classes have changed. Statuses follow within seconds.
    pub(crate) fn hurry(&mut self) {
        self.due = self.due.min(Instant::now() + SETTLE);
    }

    /// Begins a look if one is due and none is under way.
    pub(crate) fn tend(&mut self, ports: &Arc<Ports>, view: &Arc<View>, options: &Arc<Options>) {
        if Instant::now() < self.due || self.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        self.due = Instant::now() + EVERY;
        let (ports, view, machines) = (ports.clone(), view.clone(), self.machines.clone());
        let options = options.clone();
        self.task = Some(tokio::spawn(async move {
            if let Err(error) = look(&ports, &view, &machines, &options.catalog).await {
                tracing::warn!(error, "drift is not looked for");
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_comes_changes_and_goes_and_others_stay() {
        let ready = json!({ "type": "Ready", "status": "True" });
        let drift = |reason: &str| (reason.to_owned(), "why".to_owned());
        let one = conditions(std::slice::from_ref(&ready), Some(&drift("AMIDrift")), Some(1), "1");
        assert_eq!((one.len(), &one[0], &one[1]["reason"]), (2, &ready, &json!("AMIDrift")));
        let two = conditions(&one, Some(&drift("SubnetDrift")), Some(1), "2");
        assert_eq!((&two[1]["reason"], &two[1]["lastTransitionTime"]), (&json!("SubnetDrift"), &json!("1")));
        assert_eq!(conditions(&two, None, Some(1), "3"), [ready]);
        let was = [json!({ "type": DRIFTED, "status": "False", "lastTransitionTime": "0" })];
        assert_eq!(conditions(&was, Some(&drift("AMIDrift")), None, "4")[0]["lastTransitionTime"], "4");
    }

    #[test]
    fn claims_without_a_node_or_on_their_way_out_are_not_judged() {
        let labels: Labels = [("a", "node"), ("node.kubernetes.io/instance-type", "m5.large")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let nodes = BTreeMap::from([("node", &labels)]);
        let claim = |change: fn(&mut Value)| {
            let mut claim = json!({
                "metadata": { "name": "c", "uid": "u", "labels": { "karpenter.sh/nodepool": "p", "a": "claim" },
                    "annotations": { STAMP: "v1 before=x", TOKEN: "t" } },
                "spec": { "nodeClassRef": { "name": "class" } },
                "status": { "nodeName": "node", "providerID": "aws:///a/i-1", "imageID": "ami-1",
                    "conditions": [{ "type": "Drifted", "status": "True", "reason": "AMIDrift" }] },
            });
            change(&mut claim);
            read(&claim.to_string(), &nodes)
        };
        let seen = claim(|_| {}).expect("a claim");
        assert_eq!(
            (&*seen.pool, &*seen.class, &*seen.kind, &*seen.instance),
            ("p", "class", "m5.large", "i-1")
        );
        assert_eq!(
            (seen.drifted.as_deref(), seen.labels["a"].as_str(), seen.ours),
            (Some("AMIDrift"), "node", true)
        );
        assert!(claim(|claim| claim["status"]["nodeName"] = json!("other")).is_none());
        assert!(claim(|claim| claim["status"]["providerID"] = Value::Null).is_none());
        assert!(
            claim(|claim| claim["metadata"]["deletionTimestamp"] = json!("2026-11-22T04:00:00Z")).is_none()
        );
    }
}
