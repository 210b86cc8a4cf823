//! What has been read so far, and how it becomes one snapshot.

use crate::buffer::{NAME_PREFIX, PODS_OF_ALL_MAX, RawBuffer, Shapes, unresolved};
use crate::cluster::PriorityClass;
use crate::error::EXPORT_HINT;
use crate::merge::{Entries, Named};
use crate::pod::PriorityFrom;
use crate::storage::CsiNode;
use crate::{ImportError, Imported, complete, printable};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::departure::Notice;
use stowage_models::objects::{
    DaemonSet, Ec2NodeClass, Namespace, Node, NodeClaim, NodePool, Pod, PodDisruptionBudget, PodRef,
    StorageClass, Volume, VolumeClaim,
};
use stowage_models::overlay::NodeOverlay;
use stowage_models::pod::Common;
use stowage_models::snapshot::{KIND, Settings, Snapshot};

/// The two classes every cluster has (Kubernetes API, `scheduling.k8s.io`), which exports often leave out.
const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// Objects by kind.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) node_pools: Entries<NodePool>,
    pub(crate) node_classes: Entries<Ec2NodeClass>,
    pub(crate) node_overlays: Entries<NodeOverlay>,
    pub(crate) node_claims: Entries<NodeClaim>,
    pub(crate) nodes: Entries<Node>,
    pods: Entries<Pod>,
    daemon_sets: Entries<DaemonSet>,
    pub(crate) pod_disruption_budgets: Entries<PodDisruptionBudget>,
    pub(crate) volume_claims: Entries<VolumeClaim>,
    pub(crate) volumes: Entries<Volume>,
    pub(crate) storage_classes: Entries<StorageClass>,
    pub(crate) namespaces: Entries<Namespace>,
    pub(crate) priority_classes: Entries<PriorityClass>,
    pub(crate) csi_nodes: Entries<CsiNode>,
}

/// The part of a snapshot document that is not a list.
#[derive(Debug)]
struct Header {
    source: String,
    taken_at: Option<String>,
    origin: String,
    seed: u64,
    settings: Settings,
}

/// Gathers objects from all sources.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    sources: Vec<String>,
    pub(crate) lists: Lists,
    common: Common,
    /// Pods, by index, whose priority depends on a PriorityClass that may still come.
    pod_priorities: Vec<(usize, PriorityFrom)>,
    daemon_set_priorities: Vec<(usize, PriorityFrom)>,
    header: Option<Header>,
    notes: Vec<String>,
    notices: Vec<Notice>,
    pub(crate) buffers: Vec<RawBuffer>,
    pub(crate) shapes: Shapes,
    read: BTreeMap<String, usize>,
    skipped: BTreeMap<String, usize>,
}

impl Collector {
    /// Everything pushed from here on is of this source.
    pub(crate) fn begin_source(&mut self, name: &str) {
        let index = self.sources.len();
        self.sources.push(name.to_owned());
        let lists = &mut self.lists;
        lists.node_pools.set_source(index);
        lists.node_classes.set_source(index);
        lists.node_overlays.set_source(index);
        lists.node_claims.set_source(index);
        lists.nodes.set_source(index);
        lists.pods.set_source(index);
        lists.daemon_sets.set_source(index);
        lists.pod_disruption_budgets.set_source(index);
        lists.volume_claims.set_source(index);
        lists.volumes.set_source(index);
        lists.storage_classes.set_source(index);
        lists.namespaces.set_source(index);
        lists.priority_classes.set_source(index);
        lists.csi_nodes.set_source(index);
    }

    pub(crate) fn count(&mut self, kind: &str) {
        *self.read.entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn skip(&mut self, kind: String) {
        *self.skipped.entry(kind).or_default() += 1;
    }

    pub(crate) fn push_pod(&mut self, mut pod: Pod, priority: PriorityFrom) {
        self.common.share(&mut pod);
        if priority != PriorityFrom::Spec {
            self.pod_priorities.push((self.lists.pods.len(), priority));
        }
        self.lists.pods.push(pod);
    }

    pub(crate) fn push_daemon_set(&mut self, daemon_set: DaemonSet, priority: PriorityFrom) {
        if priority != PriorityFrom::Spec {
            self.daemon_set_priorities.push((self.lists.daemon_sets.len(), priority));
        }
        self.lists.daemon_sets.push(daemon_set);
    }

    pub(crate) fn push_notices(&mut self, notices: Vec<Notice>) {
        self.notices.extend(notices);
    }

    /// Adds a snapshot document.
    pub(crate) fn push_snapshot(&mut self, snapshot: Snapshot, file: &str) -> Result<(), ImportError> {
        let Snapshot {
            kind: _,
            format_version: _,
            taken_at,
            origin,
            seed,
            settings,
            notes,
            node_pools,
            node_classes,
            node_overlays,
            node_claims,
            nodes,
            pods,
            daemon_sets,
            pod_disruption_budgets,
            volume_claims,
            volumes,
            storage_classes,
            namespaces,
            notices,
        } = snapshot;
        self.merge_header(Header { source: file.to_owned(), taken_at, origin, seed, settings })?;
        self.notes.extend(notes);
        self.lists.node_pools.extend(node_pools);
        self.lists.node_classes.extend(node_classes);
        self.lists.node_overlays.extend(node_overlays);
        self.lists.node_claims.extend(node_claims);
        self.lists.nodes.extend(nodes);
        self.lists.pods.extend(pods);
        self.lists.daemon_sets.extend(daemon_sets);
        self.lists.pod_disruption_budgets.extend(pod_disruption_budgets);
        self.lists.volume_claims.extend(volume_claims);
        self.lists.volumes.extend(volumes);
        self.lists.storage_classes.extend(storage_classes);
        self.lists.namespaces.extend(namespaces);
        self.notices.extend(notices);
        self.count(KIND);
        Ok(())
    }

    /// Several snapshot documents must agree on settings and seed; the latest time and every origin are kept.
    fn merge_header(&mut self, new: Header) -> Result<(), ImportError> {
        let Some(old) = &mut self.header else {
            self.header = Some(new);
            return Ok(());
        };
        let field = if old.settings != new.settings {
            "settings"
        } else if old.seed != new.seed {
            "seed"
        } else {
            old.taken_at = new.taken_at.max(old.taken_at.take());
            let mut origins: Vec<&str> = old.origin.split("; ").chain(new.origin.split("; ")).collect();
            origins.retain(|origin| !origin.is_empty());
            origins.sort_unstable();
            origins.dedup();
            old.origin = origins.join("; ");
            return Ok(());
        };
        Err(ImportError::new(
            &format!("{} and {}: StowageSnapshot: {field}", old.source, new.source),
            "the snapshot documents disagree",
            "merge only snapshots of one cluster and moment, or edit one of the two",
        ))
    }

    /// Resolves, merges and completes what was read.
    pub(crate) fn finish(mut self) -> Result<Imported, ImportError> {
        if self.read.is_empty() && !self.skipped.is_empty() {
            let kinds: Vec<&str> = self.skipped.keys().map(String::as_str).collect();
            let message = format!("no object here matters to a plan, only of kind {}", kinds.join(", "));
            return Err(ImportError::new(&self.sources.join(", "), message, EXPORT_HINT));
        }
        self.resolve_priorities()?;
        let (mut buffers, mut notes) = (Vec::new(), Vec::new());
        let like_ours = |pod: &&Pod| pod.name.starts_with(NAME_PREFIX);
        let taken: BTreeSet<PodRef> = match self.buffers.is_empty() {
            true => BTreeSet::new(),
            false => self.lists.pods.iter().filter(like_ours).map(Pod::id).collect(),
        };
        let mut left = PODS_OF_ALL_MAX;
        for raw in std::mem::take(&mut self.buffers) {
            let (mut buffer, mut pods) = raw.resolve(&self.shapes);
            if pods.len() > left {
                let message = format!(
                    "all buffers together ask for more than {PODS_OF_ALL_MAX} pods; those read before it count"
                );
                (pods, buffer.pods) = (Vec::new(), Vec::new());
                buffer.outcome = Err(unresolved("ResolutionFailed", message));
            }
            left -= pods.len();
            if let Err(why) = &buffer.outcome {
                notes.push(format!(
                    "CapacityBuffer {}/{} keeps no room: {}",
                    buffer.namespace, buffer.name, why.message
                ));
            }
            // A real pod of that name takes the place of the one nobody runs.
            let pods = pods.into_iter().filter(|pod| !taken.contains(&pod.id())).collect();
            self.lists.pods.extend(pods);
            buffers.push(buffer);
        }
        self.notes.extend(notes);
        buffers.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
        buffers.dedup();
        let names = &self.sources;
        let lists = self.lists;
        let mut snapshot = Snapshot {
            node_pools: lists.node_pools.merge(names)?,
            node_classes: lists.node_classes.merge(names)?,
            node_overlays: lists.node_overlays.merge(names)?,
            node_claims: lists.node_claims.merge(names)?,
            nodes: lists.nodes.merge(names)?,
            pods: lists.pods.merge(names)?,
            daemon_sets: lists.daemon_sets.merge(names)?,
            pod_disruption_budgets: lists.pod_disruption_budgets.merge(names)?,
            volume_claims: lists.volume_claims.merge(names)?,
            volumes: lists.volumes.merge(names)?,
            storage_classes: lists.storage_classes.merge(names)?,
            namespaces: lists.namespaces.merge(names)?,
            notes: self.notes,
            notices: self.notices,
            ..Snapshot::default()
        };
        for csi_node in lists.csi_nodes.merge(names)? {
            if let Some(node) = snapshot.nodes.iter_mut().find(|node| node.name == csi_node.name) {
                node.volume_limits = csi_node.limits;
            }
        }
        let only_documents = self.read.keys().all(|kind| kind == KIND) && self.header.is_some();
        if let Some(header) = self.header {
            snapshot.taken_at = header.taken_at;
            snapshot.origin = header.origin;
            snapshot.seed = header.seed;
            snapshot.settings = header.settings;
        }
        if !only_documents {
            complete::complete(&mut snapshot);
        }
        snapshot.normalise();
        printable::check(&snapshot, &self.sources)?;
        Ok(Imported { snapshot, read: self.read, skipped: self.skipped, buffers })
    }

    fn resolve_priorities(&mut self) -> Result<(), ImportError> {
        let classes = std::mem::take(&mut self.lists.priority_classes).merge(&self.sources)?;
        // Kubernetes takes the lowest if several claim to be the default.
        let default = classes.iter().filter(|class| class.global_default).map(|class| class.value).min();
        let mut values: BTreeMap<&str, i32> = SYSTEM_CLASSES.into_iter().collect();
        values.extend(classes.iter().map(|class| (class.name.as_str(), class.value)));
        let mut unknown: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut resolve = |from: PriorityFrom, id: String| match from {
            PriorityFrom::Spec => None,
            PriorityFrom::Default => default,
            PriorityFrom::Class(name) => {
                let value = values.get(name.as_str()).copied();
                if value.is_none() {
                    unknown.entry(name).or_default().push(id);
                }
                value
            }
        };
        for (index, from) in std::mem::take(&mut self.pod_priorities) {
            if let Some(pod) = self.lists.pods.get_mut(index) {
                pod.spec.priority = resolve(from, format!("Pod {}", pod.id())).unwrap_or(0);
                self.common.share(pod);
            }
        }
        for (index, from) in std::mem::take(&mut self.daemon_set_priorities) {
            if let Some(set) = self.lists.daemon_sets.get_mut(index) {
                set.spec.priority = resolve(from, format!("DaemonSet {}", set.id())).unwrap_or(0);
            }
        }
        for (class, mut users) in unknown {
            users.sort();
            users.dedup();
            self.notes.push(format!(
                "PriorityClass `{class}` is not in the input: priority 0 assumed for {} (kubectl get priorityclasses).",
                complete::listed(&users)
            ));
        }
        Ok(())
    }
}
