//! The openb trace as a running cluster: its nodes as the EC2 types nearest to them, its pods that run on these.
//!
//! The trace does not say which node a pod ran on. Pods go, in the order of the list, to the first node of the list that has room,
//! as the trace's own scheduler is not known. Nodes that stay empty are there, too: so was the machine.

use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use stowage_import::Source;
use stowage_models::catalog::{Catalog, InstanceType};
use stowage_models::labels;
use stowage_models::objects::{Budget, Ec2NodeClass, Node, Owner, PodPhase};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::selector::Requirement;
use stowage_models::snapshot::{Settings, Snapshot};

/// Resource name of NVIDIA GPUs.
const GPU: &str = "nvidia.com/gpu";
/// Label with the GPU model of an instance type.
const GPU_NAME: &str = "karpenter.k8s.aws/instance-gpu-name";
/// Where the nodes stand, in turn.
const ZONES: [&str; 2] = ["us-east-1a", "us-east-1b"];

/// The rows of the pod list whose phase is Running, with the header.
fn running(list: &str) -> Result<String> {
    let header = list.lines().next().unwrap_or_default();
    let phase = header.split(',').position(|column| column.trim() == "pod_phase");
    let phase = phase.context("the pod list has no column pod_phase; take openb_pod_list_default.csv")?;
    let is_running = |line: &&str| line.split(',').nth(phase).map(str::trim) == Some("Running");
    let rows = list.lines().skip(1).filter(is_running);
    Ok(std::iter::once(header).chain(rows).map(|line| format!("{line}\n")).collect())
}

/// The cheapest type on demand in every zone with what the node has: as much of everything, and the same GPU where EC2 has it.
fn nearest<'c>(catalog: &'c Catalog, node: &Node, settings: &Settings) -> Option<&'c InstanceType> {
    let class = Ec2NodeClass::default();
    let gpu = node.labels.get(GPU_NAME).filter(|_| node.capacity.get(GPU) > 0);
    let has = |kind: &InstanceType, name: &str, share: i64| {
        // EC2 keeps some memory for itself: nine tenths of the machine's are as much.
        kind.capacity(settings, &class).get(name) * 10 >= node.capacity.get(name) * share
    };
    let fits = |kind: &&InstanceType| {
        let labels = kind.labels();
        labels.get(labels::ARCH).map(String::as_str) == Some("amd64")
            && ZONES.iter().all(|zone| kind.price(zone, "on-demand").is_some())
            && has(kind, CPU, 10)
            && has(kind, MEMORY, 9)
            && has(kind, GPU, 10)
            && (kind.capacity(settings, &class).get(GPU) > 0) == (node.capacity.get(GPU) > 0)
    };
    let price = |kind: &&InstanceType| kind.on_demand.map_or(i64::MAX, |price| price.0);
    let of_model = |kind: &&InstanceType| kind.labels().get(GPU_NAME) == gpu;
    let same =
        catalog.types.iter().filter(fits).filter(of_model).min_by_key(|kind| (price(kind), &kind.name));
    same.or_else(|| catalog.types.iter().filter(fits).min_by_key(|kind| (price(kind), &kind.name)))
}

/// The cluster, on demand; and how many pods of the list had no room.
///
/// # Errors
/// When a list cannot be read.
pub fn cluster(catalog: &Catalog, pods: &str, nodes: &str) -> Result<(Snapshot, usize)> {
    let pods = running(pods)?;
    let imported = stowage_import::openb::convert(
        Source { name: "openb pods", bytes: pods.as_bytes() },
        Some(Source { name: "openb nodes", bytes: nodes.as_bytes() }),
    )?;
    let mut snapshot = imported.snapshot;
    ensure!(snapshot.node_pools.len() == 1, "the importer makes one NodePool");
    let pool = &mut snapshot.node_pools[0];
    pool.requirements.push(Requirement::new(
        labels::CAPACITY_TYPE,
        stowage_models::selector::Operator::In,
        &["on-demand"],
    ));
    pool.budgets = vec![Budget { nodes: "100%".to_owned(), ..Budget::default() }];
    let pool = pool.name.clone();
    let class = Ec2NodeClass::default();
    // Many nodes are alike.
    let mut known: BTreeMap<(Resources, Option<String>), Option<&InstanceType>> = BTreeMap::new();
    let mut there = Vec::new();
    for (index, node) in std::mem::take(&mut snapshot.nodes).into_iter().enumerate() {
        let key = (node.capacity.clone(), node.labels.get(GPU_NAME).cloned());
        let kind = *known.entry(key).or_insert_with(|| nearest(catalog, &node, &snapshot.settings));
        let Some(kind) = kind else { continue };
        let mut own = kind.labels();
        for (name, value) in [
            (labels::ZONE, ZONES[index % ZONES.len()]),
            (labels::CAPACITY_TYPE, "on-demand"),
            (labels::NODEPOOL, &pool),
            (labels::HOSTNAME, &node.name),
            (labels::INITIALIZED, "true"),
        ] {
            own.insert(name.to_owned(), value.to_owned());
        }
        there.push(Node {
            labels: own,
            capacity: kind.capacity(&snapshot.settings, &class),
            allocatable: kind.allocatable(&snapshot.settings, &class),
            ..node
        });
    }
    let mut free: Vec<Resources> = there.iter().map(|node| node.allocatable.clone()).collect();
    let before = snapshot.pods.len();
    snapshot.pods.retain_mut(|pod| {
        let mut request = Resources::from([(PODS, 1)]);
        pod.spec.containers.iter().for_each(|container| request.add(&container.requests));
        let may = |node: &Node| {
            pod.spec.affinity.node_required.as_ref().is_none_or(|terms| {
                terms.iter().any(|term| term.match_expressions.iter().all(|one| one.matches(&node.labels)))
            })
        };
        let fits = |(_, free): &(usize, &Resources)| {
            request.0.iter().all(|(name, amount)| free.get(name) >= *amount)
        };
        let place = free.iter().enumerate().filter(fits).map(|(at, _)| at).find(|at| may(&there[*at]));
        let Some(at) = place else { return false };
        request.0.iter().for_each(|(name, amount)| {
            let left = free[at].get(name) - amount;
            free[at].set(name, left);
        });
        pod.node = Some(there[at].name.clone());
        pod.phase = PodPhase::Running;
        pod.owner = Some(Owner { kind: "ReplicaSet".to_owned(), name: pod.name.clone() }.into());
        true
    });
    let left = before - snapshot.pods.len();
    snapshot.nodes = there;
    snapshot.origin =
        "openb trace (Alibaba cluster-trace-gpu-v2023), pods that run on EC2 types like its nodes".to_owned();
    snapshot
        .notes
        .push(format!("{left} running pods of the trace have no room on these nodes and are left out."));
    snapshot.normalise();
    Ok((snapshot, left))
}
