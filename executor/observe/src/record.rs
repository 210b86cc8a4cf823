//! A cluster, recorded once.

use crate::kinds::{KINDS, Kind, OURS};
use crate::{Error, buffers, prune};
use kube::Client;
use kube::api::ListParams;
use std::collections::BTreeSet;
use stowage_import::{Imported, Source};

/// Objects asked for at once.
const PAGE: u32 = 500;

/// A recording.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// The snapshot, and what was read.
    pub imported: Imported,
    /// Kinds the cluster does not have.
    pub absent: Vec<&'static str>,
}

/// Lists every kind once, and makes a snapshot of it. Reads only.
///
/// # Errors
/// If a list is refused, or an object cannot be read.
pub async fn record(client: &Client) -> Result<Recorded, Error> {
    let mut items = Vec::new();
    let mut absent = Vec::new();
    let mut shapes = BTreeSet::new();
    for kind in KINDS.iter().filter(|kind| kind.group != OURS) {
        if kind.shape && !shapes.contains(kind.kind) {
            continue;
        }
        match list(client, kind, &mut shapes).await? {
            Some(texts) => items.extend(texts),
            None => absent.push(kind.plural),
        }
    }
    let imported = import("the cluster", &list_of(items.iter().map(String::as_str)))?;
    Ok(Recorded { imported, absent })
}

/// The texts of all objects of a kind, and the kinds that buffers among them refer to; `None` if there is no such kind.
async fn list(
    client: &Client,
    kind: &Kind,
    shapes: &mut BTreeSet<String>,
) -> Result<Option<Vec<String>>, Error> {
    let api = kind.api(client);
    let mut params = ListParams::default().limit(PAGE);
    let mut texts = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(kube::Error::Api(status)) if status.code == 404 && kind.optional => return Ok(None),
            Err(cause) => return Err(refused(kind, cause)),
        };
        if kind.plural == buffers::PLURAL {
            shapes.extend(page.items.iter().filter_map(buffers::reference).map(|(kind, _)| kind));
        }
        texts.extend(page.items.iter().map(|object| prune::text(kind, object)));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(Some(texts)),
        }
    }
}

pub(crate) fn refused(kind: &Kind, cause: kube::Error) -> Error {
    let hint = match &cause {
        kube::Error::Api(status) if status.code == 403 => {
            "recording needs the rights get and list on this kind, in the whole cluster"
        }
        kube::Error::Api(status) if status.code == 401 => "log in, or name another context",
        _ => "does `kubectl get nodes` work with this kubeconfig?",
    };
    Error::Api { kind: kind.plural, cause: Box::new(cause), hint }
}

/// A snapshot of a [`list`][list_of].
pub(crate) fn import(name: &str, list: &str) -> Result<Imported, Error> {
    Ok(stowage_import::import(&[Source { name, bytes: list.as_bytes() }])?)
}

/// One list of objects in JSON. Ten thousand pods are thirty megabytes: they are copied once.
pub(crate) fn list_of<'a>(items: impl Iterator<Item = &'a str> + Clone) -> String {
    const HEAD: &str = "{\"apiVersion\":\"v1\",\"kind\":\"List\",\"items\":[";
    let length: usize = items.clone().map(|item| item.len() + 1).sum();
    let mut list = String::with_capacity(HEAD.len() + length + 2);
    list.push_str(HEAD);
    for (n, item) in items.enumerate() {
        if n > 0 {
            list.push(',');
        }
        list.push_str(item);
    }
    list.push_str("]}");
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::DynamicObject;
    use serde_json::{Value, json};
    use stowage_models::departure::NoticeKind;

    /// Goal: what makes nodes leave (notices, bad conditions, age, drift) reads the same live and from kubectl's output, which is not cut.
    #[test]
    fn reasons_to_leave_are_the_same_live_and_from_files() {
        let condition = |kind: &str, status: &str| {
            json!({
                "type": kind, "status": status, "lastTransitionTime": "2026-11-01T10:00:00Z",
                "lastHeartbeatTime": "2026-11-22T04:00:00Z", "reason": "Because", "message": "x".repeat(900),
            })
        };
        let conditions = ["Ready", "StorageReady", "NetworkingReady", "KernelReady", "DiskPressure"];
        let node = |n: usize| {
            let status = ["True", "False", "Unknown"][n % 3];
            json!({
                "apiVersion": "v1", "kind": "Node",
                "metadata": {
                    "name": format!("node-{n}"), "creationTimestamp": "2026-11-01T09:00:00Z",
                    "annotations": { "long": "x".repeat(4000) }, "managedFields": [{ "manager": "kubelet" }],
                },
                "spec": { "providerID": format!("aws:///a/i-{n}") },
                "status": {
                    "conditions": conditions.map(|kind| condition(kind, status)), "capacity": { "cpu": "4" },
                    "allocatable": { "cpu": "3900m" }, "images": [{ "names": ["a"] }], "nodeInfo": {},
                },
            })
        };
        let claim = |n: usize| {
            json!({
                "apiVersion": "karpenter.sh/v1", "kind": "NodeClaim",
                "metadata": {
                    "name": format!("claim-{n}"), "creationTimestamp": format!("2026-11-0{n}T09:00:00Z"),
                    "annotations": {
                        "stowage.dev/notices": "SpotInterruption@2026-11-22T04:02:00Z,RebalanceRecommendation",
                        "stowage.dev/launch-request": "x".repeat(4000),
                    },
                },
                "spec": { "expireAfter": "720h", "terminationGracePeriod": "1h" },
                "status": { "nodeName": format!("node-{n}"), "conditions": [condition("Drifted", "True")] },
            })
        };
        let all: Vec<(&str, Value)> =
            (1..=6).flat_map(|n| [("Node", node(n)), ("NodeClaim", claim(n))]).collect();
        let raw: Vec<String> = all.iter().map(|(_, object)| object.to_string()).collect();
        let kept = all.into_iter().map(|(kind, object)| {
            let kind = KINDS.iter().find(|one| one.kind == kind).expect("a kind that is looked at");
            let object: DynamicObject = serde_json::from_value(object).expect("an object");
            prune::text(kind, &object)
        });
        let kept: Vec<String> = kept.collect();
        let read = |texts: &[String]| {
            import("a", &list_of(texts.iter().map(String::as_str))).expect("a snapshot").snapshot
        };
        let (live, file) = (read(&kept), read(&raw));
        assert_eq!(live, file);
        assert!(kept.concat().len() < raw.concat().len() / 2, "it was cut");
        // And it is there at all.
        assert_eq!(live.notices.len(), 12);
        assert!(live.is_interrupted("node-3") && live.notices[0].kind == NoticeKind::SpotInterruption);
        let sick: usize = live.nodes.iter().map(|node| node.symptoms.len()).sum();
        assert_eq!(sick, 2 * 4 + 2, "four kinds that are False, and Ready that is Unknown");
        let one = &live.node_claims[0];
        assert_eq!(
            (one.created.as_deref(), one.expire_after.as_deref()),
            (Some("2026-11-01T09:00:00Z"), Some("720h"))
        );
        assert_eq!(one.conditions, ["Drifted"]);
    }
}
