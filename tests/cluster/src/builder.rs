//! Which programs to start, and with what.

use crate::cluster::Cluster;
use crate::error::Error;
use std::collections::BTreeMap;

/// The programs of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store; always runs.
    Etcd,
    /// The API server; always runs.
    ApiServer,
    /// The controllers: jobs, service accounts, disruption budgets, node lifecycle, garbage collection and more.
    ControllerManager,
    /// Binds pods to nodes.
    Scheduler,
}

impl Program {
    /// The name of its binary.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Program::Etcd => "etcd",
            Program::ApiServer => "kube-apiserver",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
        }
    }
}

/// What a test wants of its control plane. By default it is an API server and its store.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    pub(crate) controller_manager: bool,
    pub(crate) scheduler: bool,
    pub(crate) audit: bool,
    pub(crate) arguments: BTreeMap<Program, Vec<String>>,
}

impl Builder {
    /// Whether to run kube-controller-manager. Without it nobody creates service accounts or takes taints off nodes that
    /// became ready; so the API server then neither asks for the ones nor sets the others.
    #[must_use]
    pub fn controller_manager(mut self, wanted: bool) -> Builder {
        self.controller_manager = wanted;
        self
    }

    /// Whether to run kube-scheduler.
    #[must_use]
    pub fn scheduler(mut self, wanted: bool) -> Builder {
        self.scheduler = wanted;
        self
    }

    /// Whether the API server writes down every request that changes something, for [`Cluster::audit`].
    #[must_use]
    pub fn audit(mut self, wanted: bool) -> Builder {
        self.audit = wanted;
        self
    }

    /// One more command-line argument for a program, after those of this crate (a later flag wins).
    #[must_use]
    pub fn argument(mut self, program: Program, argument: impl Into<String>) -> Builder {
        self.arguments.entry(program).or_default().push(argument.into());
        self
    }

    /// Starts everything and waits until the API server is ready and pods can be created in the namespace `default`.
    ///
    /// # Errors
    /// If binaries are missing, a program ends by itself, or the cluster does not become ready within two minutes.
    pub async fn start(self) -> Result<Cluster, Error> {
        Cluster::start(&self).await
    }
}
