//! A kubelet for any number of nodes that runs nothing and reports everything.
//!
//! It registers nodes, renews their leases, and for pods bound to them reports what a kubelet would: running and ready, or
//! ended. A pod that is being deleted it ends and removes, as the real one does when all containers are gone. It does not
//! start containers, probe, mount, restart, or evict.
//!
//! When heartbeats are late, the node lifecycle controller takes a node for lost and its pods for not ready, and never says otherwise by itself. Of
//! nodes that are alive the kubelet then reports again what it knows. A test that wants a node to look unwell gives the node's condition a reason of
//! its own; that is left alone. Pods that run are always reported again.

mod agent;
mod node;
mod pod;

pub use node::NodeSpec;

use crate::error::Error;
use crate::wait::eventually;
use agent::{Agent, gone};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use std::sync::Arc;
use std::time::Duration;

/// How long registering may have to wait for the namespace of leases, which the API server makes just after it is ready.
const LEASES: Duration = Duration::from_secs(60);

/// What a pod does once it is bound to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Starts and runs until it is deleted or [`Kubelet::finish`] is called.
    Run,
    /// Starts, and ends by itself: code 0 makes the pod `Succeeded`, any other `Failed`.
    Exit {
        /// How long it runs.
        after: Duration,
        /// With what its containers end.
        code: i32,
    },
    /// Never starts, like a pod whose image cannot be pulled. It stays `Pending`.
    Stuck,
}

type Behave = dyn Fn(&Pod) -> Behaviour + Send + Sync;
type Terminate = dyn Fn(&Pod) -> Option<Duration> + Send + Sync;

/// How pods behave on the nodes of a [`Kubelet`].
pub struct KubeletBuilder {
    behave: Box<Behave>,
    terminate: Box<Terminate>,
    heartbeat: Duration,
}

impl Default for KubeletBuilder {
    /// Pods run, end at once when they are deleted, and nodes send a heartbeat every 10 s (the kubelet's own default).
    fn default() -> KubeletBuilder {
        KubeletBuilder {
            behave: Box::new(|_| Behaviour::Run),
            terminate: Box::new(|_| Some(Duration::ZERO)),
            heartbeat: Duration::from_secs(10),
        }
    }
}

impl KubeletBuilder {
    /// What each pod does; asked once, when it is bound.
    #[must_use]
    pub fn behaviour(mut self, behave: impl Fn(&Pod) -> Behaviour + Send + Sync + 'static) -> KubeletBuilder {
        self.behave = Box::new(behave);
        self
    }

    /// How long a pod takes to end once it is deleted; `None` for one that hangs forever.
    #[must_use]
    pub fn termination(
        mut self,
        terminate: impl Fn(&Pod) -> Option<Duration> + Send + Sync + 'static,
    ) -> KubeletBuilder {
        self.terminate = Box::new(terminate);
        self
    }

    /// The pause between heartbeats.
    #[must_use]
    pub fn heartbeat(mut self, pause: Duration) -> KubeletBuilder {
        self.heartbeat = pause;
        self
    }

    /// Starts it, without nodes.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(self, client: Client) -> Kubelet {
        Kubelet { agent: Agent::start(client, self) }
    }
}

/// The fake kubelet; it stops, without a word to the API server, when it is dropped or its runtime ends.
pub struct Kubelet {
    agent: Arc<Agent>,
}

impl Kubelet {
    /// One whose pods run until they are deleted.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    #[must_use]
    pub fn start(client: Client) -> Kubelet {
        Kubelet::builder().start(client)
    }

    /// To say how pods behave.
    #[must_use]
    pub fn builder() -> KubeletBuilder {
        KubeletBuilder::default()
    }

    /// Registers a node. Unless it is to become ready later, its status says `Ready` on return; controllers then take
    /// the not-ready taint off within moments.
    ///
    /// # Errors
    /// If the API server refuses, for example because there is a node of this name.
    pub async fn add(&self, node: NodeSpec) -> Result<(), Error> {
        let agent = &self.agent;
        let name = node.name.clone();
        let action = format!("register the node {name}");
        let nodes: Api<Node> = Api::all(agent.client.clone());
        nodes.create(&PostParams::default(), &node.object()).await.map_err(Error::api(action.clone()))?;
        let leased = || async { agent.renew(&node).await.map_err(|error| error.to_string()) };
        eventually(&format!("lease of the node {name}"), LEASES, leased).await?;
        agent.nodes().insert(name.clone(), node.clone());
        if node.ready_after == Some(Duration::ZERO) {
            agent.report_ready(&name).await.map_err(Error::api(action.clone()))?;
        } else if let Some(delay) = node.ready_after {
            agent.ready_later(name.clone(), delay);
        }
        // Pods may have been bound to the name before there was a node.
        let bound = ListParams::default().fields(&format!("spec.nodeName={name}"));
        let pods: Api<Pod> = Api::all(agent.client.clone());
        for pod in pods.list(&bound).await.map_err(Error::api(action))? {
            agent.attend(&pod);
        }
        Ok(())
    }

    /// The machine is gone without a word: no more heartbeats, and nobody attends to its pods. The node stays registered;
    /// the node lifecycle controller will notice.
    pub fn silence(&self, node: &str) {
        self.agent.nodes().remove(node);
    }

    /// Takes the node out of the cluster: silence, then its Node and Lease are deleted. Its pods are left to the garbage
    /// collector of pods.
    ///
    /// # Errors
    /// If the API server refuses; that the node is gone already is fine.
    pub async fn remove(&self, node: &str) -> Result<(), Error> {
        self.silence(node);
        let action = format!("remove the node {node}");
        let nodes: Api<Node> = Api::all(self.agent.client.clone());
        gone(nodes.delete(node, &DeleteParams::default()).await).map_err(Error::api(action.clone()))?;
        let leases = self.agent.leases();
        gone(leases.delete(node, &DeleteParams::default()).await).map_err(Error::api(action))
    }

    /// Ends a pod's containers with `code`, whatever its [`Behaviour`]: 0 makes it `Succeeded`, any other `Failed`.
    ///
    /// # Errors
    /// If the API server refuses.
    pub async fn finish(&self, pod: &Pod, code: i32) -> Result<(), Error> {
        let action = format!("end the pod {}", pod.name_any());
        self.agent.report(pod, &pod::ended(pod, code)).await.map_err(Error::api(action))
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.agent.stop();
    }
}
