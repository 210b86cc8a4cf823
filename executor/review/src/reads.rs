//! What the plan of a file relies on, as it is in the cluster now.

use crate::Reads;
use crate::cluster::{Failure, refused};
use crate::waves::{Known, Wave, of, waves};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client};
use std::collections::{BTreeMap, BTreeSet};
use stowage_api::{Ec2NodeClass, NodeClaim, NodePool};
use stowage_models::objects::{Node as PlannedNode, PodRef};
use stowage_models::plan::Plan;

fn gone(what: String) -> Failure {
    Failure {
        code: 3,
        text: format!("{what}\n  hint: record the cluster and plan anew: `stowage record`, `stowage plan`"),
    }
}

/// What the plan of a file relies on, as it is now, and what it does in waves. A file names objects; from here on they are these and no others.
///
/// # Errors
/// See [`Failure`]; code 3 if something is gone.
pub(crate) async fn reads(client: &Client, plan: &Plan) -> Result<(Reads, Vec<Wave>), Failure> {
    let consolidation = of(plan);
    let leaving = consolidation.into_iter().flat_map(|one| &one.waves).flat_map(|wave| &wave.evictions);
    let leaving: BTreeSet<&PodRef> = leaving.collect();
    let mut wanted: BTreeSet<&PodRef> = plan.launches.iter().flat_map(|launch| &launch.pods).collect();
    wanted.extend(&leaving);
    let found = find_pods(client, &wanted).await?;
    if let Some(pod) = wanted.iter().find(|pod| !found.contains_key(**pod)) {
        return Err(gone(format!("there is no pod {pod}")));
    }
    let mut versions = classes(client, plan).await?;
    let mut known = Known::default();
    let removed = consolidation.into_iter().flat_map(|one| &one.waves).flat_map(|wave| &wave.removals);
    let removed: BTreeSet<&String> = removed.collect();
    let placed = plan.existing.iter().filter(|node| !node.pods.is_empty()).map(|node| &node.name);
    let claims = if removed.is_empty() { BTreeMap::new() } else { claims(client).await? };
    let mut nodes = Vec::new();
    for name in placed.chain(removed.iter().copied()).collect::<BTreeSet<_>>() {
        let found = Api::<Node>::all(client.clone()).get_opt(name).await.map_err(refused)?;
        let found = found.ok_or_else(|| gone(format!("there is no node {name}")))?;
        let uid = found.metadata.uid.unwrap_or_default();
        versions.insert(format!("Node/{name}"), uid.clone());
        if removed.contains(name) {
            let claim = claims.get(name).ok_or_else(|| gone(format!("node {name} has no NodeClaim")))?;
            known.claims.insert(name.clone(), (uid, claim.clone()));
            let labels = found.metadata.labels.unwrap_or_default();
            nodes.push(PlannedNode { name: name.clone(), labels, ..PlannedNode::default() });
        }
    }
    for (pod, (uid, node)) in &found {
        if let (true, Some(node)) = (leaving.contains(pod), node) {
            known.pods.insert(pod.clone(), (uid.clone(), node.clone()));
        }
    }
    let waves = waves(plan, &nodes, &known).map_err(gone)?;
    let pods = found.into_iter().map(|(pod, (uid, _))| (pod, uid)).collect();
    Ok((Reads { pods, versions }, waves))
}

/// Uids and nodes of those of these pods that there are.
async fn find_pods(
    client: &Client,
    wanted: &BTreeSet<&PodRef>,
) -> Result<BTreeMap<PodRef, (String, Option<String>)>, Failure> {
    let spaces: BTreeSet<&str> = wanted.iter().filter_map(|pod| Some(pod.0.split_once('/')?.0)).collect();
    let mut pods = BTreeMap::new();
    for space in spaces {
        let api: Api<Pod> = Api::namespaced(client.clone(), space);
        for pod in api.list(&ListParams::default()).await.map_err(refused)?.items {
            let (name, uid) = (pod.metadata.name.unwrap_or_default(), pod.metadata.uid.unwrap_or_default());
            let id = PodRef(format!("{space}/{name}"));
            if wanted.contains(&id) {
                pods.insert(id, (uid, pod.spec.and_then(|spec| spec.node_name)));
            }
        }
    }
    Ok(pods)
}

/// Versions of the NodePools and node classes of launches.
async fn classes(client: &Client, plan: &Plan) -> Result<BTreeMap<String, String>, Failure> {
    let mut versions = BTreeMap::new();
    let text = |metadata: &kube::api::ObjectMeta| {
        format!("{}@{}", metadata.uid.as_deref().unwrap_or_default(), metadata.generation.unwrap_or_default())
    };
    let pools: BTreeSet<&str> = plan.launches.iter().map(|launch| launch.node_pool.as_str()).collect();
    for pool in pools {
        let found = Api::<NodePool>::all(client.clone()).get_opt(pool).await.map_err(refused)?;
        let found = found.ok_or_else(|| gone(format!("there is no NodePool {pool}")))?;
        versions.insert(format!("NodePool/{pool}"), text(&found.metadata));
        let class = &found.spec.template.spec.node_class_ref.name;
        let of = Api::<Ec2NodeClass>::all(client.clone()).get_opt(class).await.map_err(refused)?;
        let of = of.ok_or_else(|| gone(format!("there is no EC2NodeClass {class}")))?;
        versions.insert(format!("EC2NodeClass/{class}"), text(&of.metadata));
    }
    Ok(versions)
}

/// NodeClaims by the names of their nodes.
async fn claims(client: &Client) -> Result<BTreeMap<String, String>, Failure> {
    let found = Api::<NodeClaim>::all(client.clone()).list(&ListParams::default()).await.map_err(refused)?;
    let named = |claim: NodeClaim| Some((claim.status?.node_name?, claim.metadata.name?));
    Ok(found.items.into_iter().filter_map(named).collect())
}
