//! Nodes that run nothing.

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{Node, NodeSpec as ApiNodeSpec, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds after which a lease that nobody renews has run out; the kubelet's default.
const LEASE_SECONDS: i32 = 40;

/// The pods a node takes if nothing else is said; the kubelet's default.
const PODS: &str = "110";

/// The reasons the node lifecycle controller gives for a condition that it has set to `Unknown`.
const LOST: [&str; 2] = ["NodeStatusUnknown", "NodeStatusNeverUpdated"];

/// A node to register.
#[derive(Clone, Debug)]
pub struct NodeSpec {
    pub(crate) name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    capacity: BTreeMap<String, String>,
    allocatable: BTreeMap<String, String>,
    provider_id: Option<String>,
    /// `None`: never.
    pub(crate) ready_after: Option<Duration>,
    /// Whether it is by now.
    pub(crate) is_ready: bool,
}

impl NodeSpec {
    /// A node that is ready at once, holds 110 pods and has the labels that every kubelet sets: host name, operating system,
    /// architecture (amd64).
    #[must_use]
    pub fn new(name: impl Into<String>) -> NodeSpec {
        let name = name.into();
        let labels = [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ];
        NodeSpec {
            labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
            taints: Vec::new(),
            capacity: BTreeMap::from([("pods".to_owned(), PODS.to_owned())]),
            allocatable: BTreeMap::new(),
            provider_id: None,
            ready_after: Some(Duration::ZERO),
            is_ready: false,
            name,
        }
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> NodeSpec {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Adds a taint that the node registers with.
    #[must_use]
    pub fn taint(mut self, key: &str, value: &str, effect: &str) -> NodeSpec {
        let value = Some(value.to_owned()).filter(|value| !value.is_empty());
        self.taints.push(Taint { key: key.to_owned(), value, effect: effect.to_owned(), ..Taint::default() });
        self
    }

    /// Capacity of a resource as a Kubernetes quantity, and its allocatable unless [`NodeSpec::allocatable`] says otherwise.
    #[must_use]
    pub fn resource(mut self, name: &str, quantity: impl Into<String>) -> NodeSpec {
        self.capacity.insert(name.to_owned(), quantity.into());
        self
    }

    /// Allocatable of a resource, where it is less than the capacity.
    #[must_use]
    pub fn allocatable(mut self, name: &str, quantity: impl Into<String>) -> NodeSpec {
        self.allocatable.insert(name.to_owned(), quantity.into());
        self
    }

    /// The cloud's name for the machine, for example `aws:///us-east-1a/i-0123456789abcdef0`.
    #[must_use]
    pub fn provider_id(mut self, id: impl Into<String>) -> NodeSpec {
        self.provider_id = Some(id.into());
        self
    }

    /// The node registers at once and becomes ready later.
    #[must_use]
    pub fn ready_after(mut self, delay: Duration) -> NodeSpec {
        self.ready_after = Some(delay);
        self
    }

    /// The node registers and never becomes ready.
    #[must_use]
    pub fn never_ready(mut self) -> NodeSpec {
        self.ready_after = None;
        self
    }

    /// The object to create. Like a kubelet's it comes with a status, and that says not ready: a node without conditions
    /// would be freed of its not-ready taint by the node lifecycle controller.
    pub(crate) fn object(&self) -> Node {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(self.labels.clone()),
            ..ObjectMeta::default()
        };
        let spec = ApiNodeSpec {
            provider_id: self.provider_id.clone(),
            taints: Some(self.taints.clone()).filter(|taints| !taints.is_empty()),
            ..ApiNodeSpec::default()
        };
        let status = serde_json::from_value(self.status()["status"].take()).expect("a status of a node");
        Node { metadata, spec: Some(spec), status: Some(status) }
    }

    /// The status to report.
    pub(crate) fn status(&self) -> Value {
        let now = Timestamp::now();
        let ready = self.is_ready;
        let condition = |kind: &str, holds: bool, reason: &str| {
            let status = if holds { "True" } else { "False" };
            json!({
                "type": kind, "status": status, "reason": reason, "message": "reported by a fake kubelet",
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        let mut allocatable = self.capacity.clone();
        allocatable.extend(self.allocatable.clone());
        json!({ "status": {
            "capacity": self.capacity,
            "allocatable": allocatable,
            "conditions": [
                condition("Ready", ready, if ready { "KubeletReady" } else { "KubeletNotReady" }),
                condition("MemoryPressure", false, "KubeletHasSufficientMemory"),
                condition("DiskPressure", false, "KubeletHasNoDiskPressure"),
                condition("PIDPressure", false, "KubeletHasSufficientPID"),
            ],
            "addresses": [{ "type": "Hostname", "address": self.name }],
        }})
    }

    /// The heartbeat.
    pub(crate) fn lease(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
        let spec = LeaseSpec {
            holder_identity: Some(self.name.clone()),
            lease_duration_seconds: Some(LEASE_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

/// Whether the node lifecycle controller has missed its heartbeats.
pub(crate) fn is_taken_for_lost(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|one| {
        let reason = one.reason.as_deref().unwrap_or_default();
        one.type_ == "Ready" && one.status == "Unknown" && LOST.contains(&reason)
    })
}
