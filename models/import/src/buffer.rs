//! CapacityBuffers (`autoscaling.x-k8s.io/v1beta1`): room that is kept free, as pods that nobody runs.
//!
//! A buffer becomes so many *virtual* pods of the shape it refers to. They wait like others and are the least important of all. Real pods must
//! not rely on them, because no scheduler ever sees them: they have none of the labels of their shape, and what their shape asks of pods
//! like itself is asked of the virtual pods of the buffer besides.

use crate::cluster::RawTemplate;
use crate::meta::Meta;
use crate::quantities::IntOrString;
use serde::Deserialize;
use std::collections::BTreeMap;
use stowage_models::digest;
use stowage_models::labels::{BUFFER_NAME, BUFFER_NAMESPACE, BUFFER_POD};
use stowage_models::objects::{Pod, PodAffinityTerm, PodRef, PodSpec, PodVolume};
use stowage_models::quantity::{Resources, parse_quantity};
use stowage_models::selector::{LabelSelector, Labels};
use stowage_models::shared::Shared;

/// Virtual pods of a buffer at most: more is a slip, and the snapshot must fit the memory.
const PODS_MAX: i64 = 5_000;
/// Virtual pods of all buffers at most, for the same reason: whoever may make buffers may make many.
pub(crate) const PODS_OF_ALL_MAX: usize = 50_000;
/// The only strategy there is: room is launched when it is missing.
const ACTIVE: &str = "buffer.x-k8s.io/active-capacity";

/// How names of virtual pods begin.
pub(crate) const NAME_PREFIX: &str = "capacity-buffer-";

/// Kinds a buffer may refer to.
pub(crate) const SHAPES: [&str; 4] = ["PodTemplate", "Deployment", "StatefulSet", "ReplicaSet"];

/// Objects a buffer may refer to, as text, by kind, namespace and name.
pub(crate) type Shapes = BTreeMap<(String, String, String), String>;

/// What became of a buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it comes to.
    pub outcome: Result<Room, Unresolved>,
    /// Its virtual pods, with their uids, if the input had them.
    pub pods: Vec<(PodRef, Option<String>)>,
}

/// The room that a buffer asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Pods.
    pub replicas: i64,
    /// It would be more without its limits.
    pub limited: bool,
    /// Name and generation of the PodTemplate, if it is one that it refers to.
    pub template: Option<(String, Option<i64>)>,
}

/// Why a buffer keeps no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    /// Karpenter's word for it.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// A CapacityBuffer.
#[derive(Deserialize, Debug)]
pub(crate) struct RawBuffer {
    metadata: Meta,
    #[serde(default)]
    spec: RawSpec,
}

#[derive(Default, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    pod_template_ref: Option<Reference>,
    scalable_ref: Option<Reference>,
    replicas: Option<i64>,
    percentage: Option<i64>,
    limits: Option<BTreeMap<String, IntOrString>>,
    provisioning_strategy: Option<String>,
}

#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Reference {
    api_group: Option<String>,
    kind: Option<String>,
    #[serde(default)]
    name: String,
}

/// What a buffer may refer to.
#[derive(Deserialize)]
struct RawShape {
    metadata: Option<ShapeMeta>,
    template: Option<RawTemplate>,
    spec: Option<ShapeSpec>,
}

#[derive(Deserialize)]
struct ShapeMeta {
    generation: Option<i64>,
}

#[derive(Deserialize)]
struct ShapeSpec {
    replicas: Option<i64>,
    template: Option<RawTemplate>,
}

pub(crate) fn unresolved(reason: &'static str, message: impl Into<String>) -> Unresolved {
    Unresolved { reason, message: message.into() }
}

impl RawBuffer {
    /// What the buffer comes to, and its virtual pods.
    pub(crate) fn resolve(self, shapes: &Shapes) -> (Buffer, Vec<Pod>) {
        let (namespace, name) = (self.metadata.namespace(), self.metadata.name.clone());
        let found = self.room(&namespace, shapes);
        let (outcome, pods) = match found {
            Ok((room, labels, spec)) => {
                let pods = virtual_pods(&self.metadata, room.replicas, &labels, spec);
                (Ok(room), pods)
            }
            Err(why) => (Err(why), Vec::new()),
        };
        let listed = pods.iter().map(|pod| (pod.id(), pod.uid.clone())).collect();
        (Buffer { namespace, name, outcome, pods: listed }, pods)
    }

    /// The room it asks for, with labels and spec of its shape.
    fn room(&self, namespace: &str, shapes: &Shapes) -> Result<(Room, Labels, PodSpec), Unresolved> {
        let spec = &self.spec;
        let strategy = spec.provisioning_strategy.as_deref().unwrap_or(ACTIVE);
        if strategy != ACTIVE && !strategy.is_empty() {
            return Err(unresolved("ResolutionFailed", format!("strategy {strategy} is not carried out")));
        }
        if self.metadata.is_deleting() {
            return Err(unresolved("ResolutionFailed", "it is being deleted"));
        }
        let (kind, reference, missing) = match (&spec.pod_template_ref, &spec.scalable_ref) {
            (Some(reference), _) => ("PodTemplate", reference, "PodTemplateNotFound"),
            (None, Some(reference)) => {
                let group = reference.api_group.as_deref().unwrap_or_default();
                let kind = reference.kind.as_deref().unwrap_or_default();
                if !["", "apps"].contains(&group) || !SHAPES[1..].contains(&kind) {
                    let message = format!("a {kind} of group `{group}` is nothing it can refer to");
                    return Err(unresolved("ResolutionFailed", message));
                }
                (kind, reference, "ScalableRefNotFound")
            }
            (None, None) => {
                let message = "Neither podTemplateRef nor scalableRef is set";
                return Err(unresolved("ResolutionFailed", message));
            }
        };
        let key = (kind.to_owned(), namespace.to_owned(), reference.name.clone());
        let text = shapes.get(&key);
        let text =
            text.ok_or_else(|| unresolved(missing, format!("there is no {kind} {}", reference.name)))?;
        let shape: RawShape = serde_json::from_str(text).map_err(|error| {
            unresolved("ResolutionFailed", format!("{kind} {} cannot be read: {error}", reference.name))
        })?;
        let generation = shape.metadata.and_then(|metadata| metadata.generation);
        let of = shape.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let template = shape.template.or_else(|| shape.spec.and_then(|spec| spec.template));
        let template = template.ok_or_else(|| {
            unresolved("ResolutionFailed", format!("{kind} {} has no template", reference.name))
        })?;
        let is_template = kind == "PodTemplate";
        let (labels, pod) = template.convert();
        let of = (!is_template).then_some(of);
        let (replicas, limited) = self.replicas(of, &pod)?;
        let template = is_template.then(|| (reference.name.clone(), generation));
        Ok((Room { replicas, limited, template }, labels, pod))
    }

    /// How many pods, and whether limits make them fewer: the larger of replicas and percentage, at most what limits hold.
    fn replicas(&self, of: Option<i64>, pod: &PodSpec) -> Result<(i64, bool), Unresolved> {
        let share = self.spec.percentage.zip(of).filter(|(_, of)| *of > 0);
        // Rounded up, so that a share above nothing of something is at least one.
        let share = share.map(|(share, of)| {
            let pods = (i128::from(share.max(0)) * i128::from(of) + 99) / 100;
            i64::try_from(pods).unwrap_or(i64::MAX)
        });
        let wanted = share.into_iter().chain(self.spec.replicas.map(|count| count.max(0))).max();
        let requests = requests(pod);
        let mut room: Option<i64> = None;
        for (name, limit) in self.spec.limits.iter().flatten() {
            let limit = parse_quantity(name, &limit.0);
            let limit = limit
                .map_err(|error| unresolved("ResolutionFailed", format!("spec.limits.{name}: {error}")))?;
            let request = requests.get(name);
            if request > 0 {
                let fits = limit.max(0) / request;
                room = Some(room.map_or(fits, |least| least.min(fits)));
            }
        }
        let pods = match (wanted, room) {
            (Some(wanted), Some(room)) => wanted.min(room),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => 0,
        };
        if pods > PODS_MAX {
            let message = format!("{pods} pods; room is kept for at most {PODS_MAX} of a buffer");
            return Err(unresolved("ResolutionFailed", message));
        }
        Ok((pods, wanted.is_some_and(|wanted| wanted > pods)))
    }
}

/// What a pod requests (KEP-753), as far as limits of buffers look at it.
fn requests(pod: &PodSpec) -> Resources {
    let mut sum = Resources::default();
    pod.containers.iter().for_each(|one| sum.add(&one.requests));
    let (mut sidecars, mut most) = (Resources::default(), Resources::default());
    for one in &pod.init_containers {
        if one.sidecar {
            sidecars.add(&one.requests);
        } else {
            let mut alone = one.requests.clone();
            alone.add(&sidecars);
            most.raise_to(&alone);
        }
    }
    sum.add(&sidecars);
    sum.raise_to(&most);
    for (name, amount) in &pod.pod_requests.0 {
        sum.set(name, *amount);
    }
    sum.add(&pod.overhead);
    sum
}

fn virtual_pods(buffer: &Meta, count: i64, labels: &Labels, spec: PodSpec) -> Vec<Pod> {
    let spec = alone(spec, labels, &buffer.name);
    // Another shape is another pod: what was said of the old one is not true of it.
    let shape = digest::of_json(&spec);
    let shape = digest::short(&shape, 8).to_owned();
    let namespace = buffer.namespace();
    let annotations = [(BUFFER_POD, "true"), (BUFFER_NAME, &buffer.name), (BUFFER_NAMESPACE, &namespace)];
    let annotations: Labels =
        annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let (spec, marked) =
        (Shared::from(spec), Shared::<Labels>::from([(BUFFER_NAME.to_owned(), buffer.name.clone())]));
    (1..=count)
        .map(|number| Pod {
            namespace: namespace.clone(),
            name: format!("{NAME_PREFIX}{}-{number}", buffer.name),
            uid: buffer.uid.as_ref().map(|uid| format!("{uid}-{number}-{shape}")),
            labels: marked.clone(),
            annotations: annotations.clone(),
            spec: spec.clone(),
            ..Pod::default()
        })
        .collect()
}

/// The spec of virtual pods.
fn alone(mut spec: PodSpec, own: &Labels, buffer: &str) -> PodSpec {
    spec.priority = i32::MIN;
    spec.scheduler_name = None;
    spec.local_storage = false;
    // There are no claims for them, and never will be.
    spec.volumes.retain(|volume| matches!(volume, PodVolume::Other(_)));
    let means_itself =
        |selector: &Option<LabelSelector>| selector.as_ref().is_some_and(|one| one.matches(own));
    let each_other = Some(LabelSelector {
        match_labels: [(BUFFER_NAME.to_owned(), buffer.to_owned())].into(),
        match_expressions: Vec::new(),
    });
    let affinity = &mut spec.affinity;
    affinity.pod_preferred.clear();
    affinity.anti_preferred.clear();
    // The first pod of its kind may be anywhere.
    affinity.pod_required.retain(|term| !means_itself(&term.label_selector));
    let repelled: Vec<PodAffinityTerm> = affinity.anti_required.clone();
    for term in repelled.into_iter().filter(|term| means_itself(&term.label_selector)) {
        affinity.anti_required.push(PodAffinityTerm {
            label_selector: each_other.clone(),
            topology_key: term.topology_key,
            ..PodAffinityTerm::default()
        });
    }
    spec.topology_spread.retain(|spread| spread.hard);
    let spread: Vec<_> =
        spec.topology_spread.iter().filter(|spread| means_itself(&spread.label_selector)).cloned().collect();
    for mut one in spread {
        one.label_selector.clone_from(&each_other);
        one.match_label_keys.clear();
        spec.topology_spread.push(one);
    }
    spec
}
