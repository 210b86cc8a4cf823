//! For tests: a real Kubernetes control plane on loopback, and a fake kubelet.
//!
//! [`Cluster`] starts kube-apiserver and etcd, and on wish kube-controller-manager and kube-scheduler, on free ports of
//! 127.0.0.1 with all their files in a temporary directory. Nothing of it outlives the value, nor the test process,
//! however that ends. [`Kubelet`] is the missing half of a cluster: it registers nodes that run nothing, keeps them
//! ready and reports what their pods would do.
//!
//! Set `STOWAGE_KEEP_CLUSTER=1` to keep that directory, with the logs of all programs, for a look after a failure.
//!
//! The binaries come from `.ci/kubernetes`, which builds pinned Go modules once; see [`binaries`].
//!
//! ```no_run
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! use k8s_openapi::api::core::v1::Pod;
//! use stowage_cluster::{Cluster, Kubelet, NodeSpec};
//!
//! let cluster = Cluster::builder().controller_manager(true).scheduler(true).start().await?;
//! let kubelet = Kubelet::start(cluster.client());
//! kubelet.add(NodeSpec::new("node-a").resource("cpu", "4").resource("memory", "16Gi")).await?;
//! let pods: kube::Api<Pod> = kube::Api::namespaced(cluster.client(), "default");
//! # Ok(())
//! # }
//! ```
//!
//! Starting takes about 5 seconds on a free machine and 500 MB of memory: tests of one file should share a cluster, each
//! in a namespace of its own ([`Cluster::create_namespace`]).

mod arguments;
pub mod binaries;
mod builder;
mod chart;
mod cluster;
mod component;
mod error;
mod keys;
mod kubelet;
pub mod objects;
mod processes;
mod supervisor;
mod wait;

pub use builder::{Builder, Program};
pub use cluster::Cluster;
pub use error::Error;
pub use kubelet::{Behaviour, Kubelet, KubeletBuilder, NodeSpec};
pub use wait::eventually;
