//! Pod specs on the way back to Kubernetes (see [`crate::export`]).

use crate::export::{effect, put, quantities};
use serde_json::{Map, Value, json};
use stowage_models::objects::{
    Affinity, Container, NodeSelectorTerm, PodAffinityTerm, PodSpec, PodVolume, Toleration, TopologySpread,
};
use stowage_models::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, Resources};
use stowage_models::selector::{LabelSelector, Requirement};

/// The image of every container: it is never pulled where these objects go.
const IMAGE: &str = "pause";

/// `spec` of a pod or of a template.
pub(crate) fn pod_spec(spec: &PodSpec) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("containers".to_owned(), containers(&spec.containers, "container"));
    put(&mut object, "initContainers", containers(&spec.init_containers, "init"));
    if !spec.pod_requests.is_empty() {
        object.insert("resources".to_owned(), json!({"requests": quantities(&spec.pod_requests)}));
    }
    put(&mut object, "overhead", quantities(&spec.overhead));
    put(&mut object, "nodeSelector", json!(spec.node_selector));
    put(&mut object, "affinity", affinity(&spec.affinity));
    put(&mut object, "tolerations", spec.tolerations.iter().map(toleration).collect());
    put(&mut object, "topologySpreadConstraints", spec.topology_spread.iter().map(spread).collect());
    put(&mut object, "volumes", volumes(spec));
    if spec.volumes.iter().any(|volume| matches!(volume, PodVolume::Other(kind) if kind == RESOURCE_CLAIMS)) {
        object.insert("resourceClaims".to_owned(), json!([{"name": "claim"}]));
    }
    object.insert("priority".to_owned(), json!(spec.priority));
    put(&mut object, "schedulerName", json!(spec.scheduler_name));
    object
}

/// The "volume" that stands for dynamic resource allocation.
const RESOURCE_CLAIMS: &str = "resourceClaims";

fn containers(containers: &[Container], prefix: &str) -> Value {
    let one = |(index, container): (usize, &Container)| {
        let mut object = Map::new();
        object.insert("name".to_owned(), json!(format!("{prefix}-{index}")));
        object.insert("image".to_owned(), json!(IMAGE));
        if !container.requests.is_empty() {
            object.insert("resources".to_owned(), resources(&container.requests));
        }
        if container.sidecar {
            object.insert("restartPolicy".to_owned(), json!("Always"));
        }
        put(&mut object, "ports", container.host_ports.iter().filter_map(|port| host_port(port)).collect());
        Value::Object(object)
    };
    containers.iter().enumerate().map(one).collect()
}

/// Requests, with the limits the API server insists on for what cannot be overcommitted.
fn resources(requests: &Resources) -> Value {
    const OVERCOMMITTED: [&str; 3] = [CPU, MEMORY, EPHEMERAL_STORAGE];
    let mut firm = requests.clone();
    firm.0.retain(|name, _| !OVERCOMMITTED.contains(&name.as_str()));
    let mut object = Map::new();
    object.insert("requests".to_owned(), quantities(requests));
    put(&mut object, "limits", quantities(&firm));
    Value::Object(object)
}

/// A port from `protocol/hostIP/port`.
fn host_port(text: &str) -> Option<Value> {
    let (protocol, rest) = text.split_once('/')?;
    let (ip, port) = rest.rsplit_once('/')?;
    let port: u16 = port.parse().ok()?;
    Some(json!({"containerPort": port, "hostPort": port, "hostIP": ip, "protocol": protocol}))
}

fn requirement(requirement: &Requirement) -> Value {
    let mut object = Map::new();
    object.insert("key".to_owned(), json!(requirement.key));
    object.insert("operator".to_owned(), json!(requirement.operator));
    put(&mut object, "values", json!(requirement.values));
    Value::Object(object)
}

/// A node selector term.
pub(crate) fn term(term: &NodeSelectorTerm) -> Value {
    let mut object = Map::new();
    put(&mut object, "matchExpressions", term.match_expressions.iter().map(requirement).collect());
    put(&mut object, "matchFields", term.match_fields.iter().map(requirement).collect());
    Value::Object(object)
}

/// A label selector.
pub(crate) fn selector(selector: &LabelSelector) -> Value {
    let mut object = Map::new();
    put(&mut object, "matchLabels", json!(selector.match_labels));
    put(&mut object, "matchExpressions", selector.match_expressions.iter().map(requirement).collect());
    Value::Object(object)
}

fn affinity(affinity: &Affinity) -> Value {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut node = Map::new();
    if let Some(terms) = &affinity.node_required {
        let terms: Value = terms.iter().map(term).collect();
        node.insert(REQUIRED.to_owned(), json!({"nodeSelectorTerms": terms}));
    }
    let preferred = affinity
        .node_preferred
        .iter()
        .map(|preferred| json!({"weight": preferred.weight, "preference": term(&preferred.preference)}));
    put(&mut node, PREFERRED, preferred.collect());
    let mut object = Map::new();
    put(&mut object, "nodeAffinity", Value::Object(node));
    for (key, required, preferred) in [
        ("podAffinity", &affinity.pod_required, &affinity.pod_preferred),
        ("podAntiAffinity", &affinity.anti_required, &affinity.anti_preferred),
    ] {
        let mut side = Map::new();
        put(&mut side, REQUIRED, required.iter().map(pod_term).collect());
        let preferred = preferred.iter().map(
            |preferred| json!({"weight": preferred.weight, "podAffinityTerm": pod_term(&preferred.term)}),
        );
        put(&mut side, PREFERRED, preferred.collect());
        put(&mut object, key, Value::Object(side));
    }
    Value::Object(object)
}

fn pod_term(term: &PodAffinityTerm) -> Value {
    let mut object = Map::new();
    if let Some(meant) = &term.label_selector {
        object.insert("labelSelector".to_owned(), selector(meant));
    }
    put(&mut object, "namespaces", json!(term.namespaces));
    // An empty namespace selector means every namespace, an absent one the pod's own.
    if let Some(meant) = &term.namespace_selector {
        object.insert("namespaceSelector".to_owned(), selector(meant));
    }
    object.insert("topologyKey".to_owned(), json!(term.topology_key));
    put(&mut object, "matchLabelKeys", json!(term.match_label_keys));
    put(&mut object, "mismatchLabelKeys", json!(term.mismatch_label_keys));
    Value::Object(object)
}

fn toleration(toleration: &Toleration) -> Value {
    let mut object = Map::new();
    put(&mut object, "key", json!(toleration.key));
    object.insert("operator".to_owned(), json!(toleration.operator));
    put(&mut object, "value", json!(toleration.value));
    put(&mut object, "effect", json!(toleration.effect.map(effect)));
    Value::Object(object)
}

fn spread(spread: &TopologySpread) -> Value {
    let mut object = Map::new();
    object.insert("maxSkew".to_owned(), json!(spread.max_skew));
    object.insert("topologyKey".to_owned(), json!(spread.topology_key));
    let otherwise = if spread.hard { "DoNotSchedule" } else { "ScheduleAnyway" };
    object.insert("whenUnsatisfiable".to_owned(), json!(otherwise));
    if let Some(counted) = &spread.label_selector {
        object.insert("labelSelector".to_owned(), selector(counted));
    }
    put(&mut object, "minDomains", json!(spread.min_domains));
    let policy = |honor: bool| if honor { "Honor" } else { "Ignore" };
    object.insert("nodeAffinityPolicy".to_owned(), json!(policy(spread.honor_affinity)));
    object.insert("nodeTaintsPolicy".to_owned(), json!(policy(spread.honor_taints)));
    put(&mut object, "matchLabelKeys", json!(spread.match_label_keys));
    Value::Object(object)
}

fn volumes(spec: &PodSpec) -> Value {
    let mut list = Vec::new();
    if spec.local_storage {
        list.push(json!({"name": "local", "emptyDir": {}}));
    }
    for (index, volume) in spec.volumes.iter().enumerate() {
        match volume {
            PodVolume::Claim(claim) => list.push(json!({
                "name": format!("volume-{index}"), "persistentVolumeClaim": {"claimName": claim},
            })),
            PodVolume::Ephemeral { name, storage_class } => {
                let mut spec = Map::new();
                spec.insert("accessModes".to_owned(), json!(["ReadWriteOnce"]));
                spec.insert("resources".to_owned(), json!({"requests": {"storage": "1Gi"}}));
                if let Some(class) = storage_class {
                    spec.insert("storageClassName".to_owned(), json!(class));
                }
                list.push(json!({"name": name, "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}));
            }
            PodVolume::Other(kind) if kind == RESOURCE_CLAIMS => {}
            PodVolume::Other(kind) => {
                let mut object = Map::new();
                object.insert("name".to_owned(), json!(format!("volume-{index}")));
                object.insert(kind.clone(), json!({"volumeID": format!("vol-{index}")}));
                list.push(Value::Object(object));
            }
        }
    }
    Value::Array(list)
}
