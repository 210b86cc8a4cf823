//! Drift: whether a machine is still what its NodePool and node class would launch today. Pure: what is known comes in, a verdict and what
//! to write on the NodeClaim go out.
//!
//! # Nothing drifts by surprise
//! What cannot be compared field by field (a label that was taken out of a template leaves no trace on a node) is compared by digests that are
//! written on the claim, the [`Stamp`]. It is ours, not Karpenter's, and says which [`VERSION`] of digests it is of. A claim without one, or with
//! one of another version, is stamped with what holds now and has not drifted: so neither a cluster that comes from Karpenter nor a new version
//! of this program drifts anything. What had drifted before stays so ([`Stamp::before`]): nobody can tell any more what it was.
//!
//! What is unknown is no reason: a class whose status is not of its spec, an image that cannot be looked up, a machine that is not listed.

use crate::view::Instance;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::catalog::Catalog;
use stowage_models::digest;
use stowage_models::labels;
use stowage_models::objects::{NodePool, Taint, TaintEffect};
use stowage_models::schedule;
use stowage_models::selector::{Labels, Operator, Requirement};

/// Annotation of a NodeClaim: its [`Stamp`].
pub const STAMP: &str = "stowage.dev/drift";

/// Version of digests. Whatever changes what [`pool_hash`] or [`class_hash`] give for the same objects raises it; a test holds both.
const VERSION: &str = "v1";

/// Fields of a node class that a machine has from its launch on and that nothing else shows. Selectors are compared by what they select. A field
/// that is added here makes a new [`VERSION`].
const FIELDS: [&str; 17] = [
    "amiFamily",
    "associatePublicIPAddress",
    "blockDeviceMappings",
    "connectionTracking",
    "context",
    "cpuOptions",
    "detailedMonitoring",
    "instanceProfile",
    "instanceStorePolicy",
    "ipPrefixCount",
    "kubelet",
    "metadataOptions",
    "networkInterfaces",
    "placementGroupSelector",
    "role",
    "tags",
    "userData",
];

/// Labels by type that the catalogue does not always have.
const PATCHY: [&str; 2] = [
    "karpenter.k8s.aws/instance-encryption-in-transit-supported",
    "karpenter.k8s.aws/instance-ebs-bandwidth",
];
/// Labels that follow from the type.
const BY_TYPE: &str = "karpenter.k8s.aws/instance-";

/// Why a machine has drifted: Karpenter's reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DriftReason {
    /// Its NodePool's template has changed.
    NodePool,
    /// Its labels are not what the NodePool requires.
    Requirements,
    /// Its node class has changed.
    NodeClass,
    /// Another image would be launched.
    Image,
    /// It is in a subnet that is not selected.
    Subnet,
    /// Its security groups are not those selected.
    SecurityGroup,
    /// Its capacity reservation is not selected.
    CapacityReservation,
}

impl DriftReason {
    /// As conditions say it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DriftReason::NodePool => "NodePoolDrifted",
            DriftReason::Requirements => "RequirementsDrifted",
            DriftReason::NodeClass => "NodeClassDrift",
            DriftReason::Image => "AMIDrift",
            DriftReason::Subnet => "SubnetDrift",
            DriftReason::SecurityGroup => "SecurityGroupDrift",
            DriftReason::CapacityReservation => "CapacityReservationDrift",
        }
    }
}

/// What a claim was launched from, as far as nothing else shows it.
///
/// As text: the version, then words `key=value`: `v1 pool=sha256:... class=sha256:...`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// [`pool_hash`].
    pub pool: String,
    /// [`class_hash`].
    pub class: String,
    /// For a machine that others launched: the image that would have been launched when it was stamped. Its own may have been chosen
    /// otherwise than we would.
    pub image: Option<String>,
    /// It had drifted when it was stamped, for this reason; nothing else of it is known.
    pub before: Option<String>,
}

impl Stamp {
    /// Reads a stamp of this version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Stamp> {
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let mut stamp = Stamp::default();
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "pool" => value.clone_into(&mut stamp.pool),
                "class" => value.clone_into(&mut stamp.class),
                "image" => stamp.image = Some(value.to_owned()),
                "before" => stamp.before = Some(value.to_owned()),
                _ => {}
            }
        }
        // One that somebody has cut or emptied proves nothing.
        let whole = stamp.before.is_some() || !(stamp.pool.is_empty() || stamp.class.is_empty());
        whole.then_some(stamp)
    }
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(VERSION)?;
        match &self.before {
            Some(before) => write!(f, " before={before}"),
            None => {
                write!(f, " pool={} class={}", self.pool, self.class)?;
                self.image.as_ref().map_or(Ok(()), |image| write!(f, " image={image}"))
            }
        }
    }
}

/// Digest of a NodePool's template but for its requirements, which are compared with labels.
#[must_use]
pub fn pool_hash(pool: &NodePool) -> String {
    // Spelt out: how the model writes a taint may change.
    let taints = |taints: &[Taint]| -> Vec<Value> {
        let one = |taint: &Taint| {
            let effect = match taint.effect {
                TaintEffect::NoSchedule => "NoSchedule",
                TaintEffect::PreferNoSchedule => "PreferNoSchedule",
                TaintEffect::NoExecute => "NoExecute",
            };
            json!({ "key": taint.key, "value": taint.value, "effect": effect })
        };
        taints.iter().map(one).collect()
    };
    // `720h` is `720h0m0s`.
    let time = |text: &Option<String>| {
        let text = text.as_deref()?;
        Some(schedule::duration(text).map_or_else(|| text.to_owned(), |seconds| seconds.to_string()))
    };
    let content = json!({
        "labels": pool.labels,
        "taints": taints(&pool.taints),
        "startupTaints": taints(&pool.startup_taints),
        "nodeClass": pool.node_class,
        "expireAfter": time(&pool.expire_after),
        "terminationGracePeriod": time(&pool.termination_grace_period),
    });
    digest_of("pool", &content)
}

/// Digest of a value in its fixed form: without what says nothing, fields by name, lists without their order.
fn digest_of(what: &str, value: &Value) -> String {
    let text = canonical(value).unwrap_or_default();
    digest::of_bytes(format!("stowage {what} {VERSION}\n{text}").as_bytes())
}

/// Digest of a node class's spec, as the API server has it: its [`FIELDS`].
#[must_use]
pub fn class_hash(spec: &Value) -> String {
    let field = |name: &&str| Some(((*name).to_owned(), spec.get(*name)?.clone()));
    let mut content: Map<String, Value> = FIELDS.iter().filter_map(field).collect();
    // The API server writes these where nothing is said, and machines have them either way.
    let defaults = [
        ("httpEndpoint", json!("enabled")),
        ("httpProtocolIPv6", json!("disabled")),
        ("httpPutResponseHopLimit", json!(1)),
        ("httpTokens", json!("required")),
    ];
    let said = content.remove("metadataOptions");
    let mut options = said.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in defaults {
        if options.get(key).is_none_or(Value::is_null) {
            options.insert(key.to_owned(), value);
        }
    }
    content.insert("metadataOptions".to_owned(), Value::Object(options));
    digest_of("class", &Value::Object(content))
}

/// The fixed form of a value; nothing if it says nothing. Fields are put in order here: how JSON keeps them is not ours to decide.
fn canonical(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| Some((json!(key).to_string(), canonical(value)?));
            let kept: BTreeMap<String, String> = fields.iter().filter_map(field).collect();
            let kept: Vec<String> = kept.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
            (!kept.is_empty()).then(|| format!("{{{}}}", kept.join(",")))
        }
        Value::Array(items) => {
            let kept: BTreeSet<String> = items.iter().filter_map(canonical).collect();
            let kept: Vec<String> = kept.into_iter().collect();
            (!kept.is_empty()).then(|| format!("[{}]", kept.join(",")))
        }
        other => Some(other.to_string()),
    }
}

/// What a node class stands for now; `None` where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassFacts {
    /// [`class_hash`].
    pub hash: String,
    /// Ids of its subnets.
    pub subnets: Option<BTreeSet<String>>,
    /// Ids of its security groups.
    pub groups: Option<BTreeSet<String>>,
    /// Ids of its capacity reservations.
    pub reservations: Option<BTreeSet<String>>,
}

impl ClassFacts {
    /// Of the object as JSON. What a status says counts where a condition says that it is good, and that it is of this spec.
    #[must_use]
    pub fn of(class: &Value) -> ClassFacts {
        let generation = &class["metadata"]["generation"];
        let good = |kind: &str| {
            let all = class["status"]["conditions"].as_array();
            all.is_some_and(|all| {
                all.iter().any(|one| {
                    let of_spec =
                        one["observedGeneration"].is_i64() && one["observedGeneration"] == *generation;
                    one["type"] == kind && one["status"] == "True" && of_spec
                })
            })
        };
        let ids = |field: &str| -> BTreeSet<String> {
            let all = class["status"][field].as_array().into_iter().flatten();
            all.filter_map(|one| one["id"].as_str()).map(str::to_owned).collect()
        };
        let selected = |kind: &str, field: &str| Some(ids(field)).filter(|all| good(kind) && !all.is_empty());
        let terms = class["spec"]["capacityReservationSelectorTerms"].as_array();
        ClassFacts {
            hash: class_hash(&class["spec"]),
            subnets: selected("SubnetsReady", "subnets"),
            groups: selected("SecurityGroupsReady", "securityGroups"),
            reservations: match terms.is_none_or(Vec::is_empty) {
                true => Some(BTreeSet::new()),
                false => good("CapacityReservationsReady").then(|| ids("capacityReservations")),
            },
        }
    }
}

/// What is known of a claim and its machine.
#[derive(Clone, Debug, Default)]
pub struct DriftInput<'a> {
    /// Its NodePool.
    pub pool: Option<&'a NodePool>,
    /// Its node class.
    pub class: Option<&'a ClassFacts>,
    /// The image that would be launched for its type today.
    pub image: Option<&'a str>,
    /// Labels of the claim and its node; the node's come before.
    pub labels: Labels,
    /// Image of its machine.
    pub own_image: Option<&'a str>,
    /// Its machine, if it was listed.
    pub machine: Option<&'a Instance>,
    /// Annotation [`STAMP`].
    pub stamp: Option<&'a str>,
    /// Launched by Stowage.
    pub ours: bool,
    /// Reason of its condition `Drifted`, if that is true.
    pub drifted: Option<&'a str>,
}

/// What to say of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriftVerdict {
    /// Reason and message; `None`: it has not drifted.
    pub drifted: Option<(String, String)>,
    /// A stamp to write.
    pub stamp: Option<Stamp>,
}

/// Judges a claim; `None`: nothing can be said, and what was said stays.
#[must_use]
pub fn judge_drift(input: &DriftInput<'_>, catalog: &Catalog) -> Option<DriftVerdict> {
    let (pool, class) = (input.pool?, input.class?);
    let Some(stamp) = input.stamp.and_then(Stamp::parse) else {
        let mut stamp = Stamp { pool: pool_hash(pool), class: class.hash.clone(), ..Stamp::default() };
        match input.drifted {
            Some(reason) => stamp.before = Some(reason.to_owned()),
            // Without the image the next one would not be noticed.
            None if !input.ours => stamp.image = Some(input.image?.to_owned()),
            None => {}
        }
        let before = stamp.before.clone();
        return Some(DriftVerdict { drifted: before.map(had_drifted), stamp: Some(stamp) });
    };
    if let Some(before) = stamp.before {
        return Some(DriftVerdict { drifted: Some(had_drifted(before)), stamp: None });
    }
    let found = of_pool(input, pool, &stamp, catalog).or_else(|| of_class(input, class, &stamp));
    let drifted = found.map(|(reason, message)| (reason.as_str().to_owned(), message));
    Some(DriftVerdict { drifted, stamp: None })
}

fn had_drifted(reason: String) -> (String, String) {
    (reason, "it had drifted before this version looked at it".to_owned())
}

type Found = Option<(DriftReason, String)>;

fn of_pool(input: &DriftInput<'_>, pool: &NodePool, stamp: &Stamp, catalog: &Catalog) -> Found {
    if stamp.pool != pool_hash(pool) {
        let text = format!("the template of NodePool {} has changed since it was launched", pool.name);
        return Some((DriftReason::NodePool, text));
    }
    let kind = input.labels.get(labels::INSTANCE_TYPE).and_then(|name| catalog.get(name));
    let derived = kind.map(|kind| kind.labels());
    let violated = pool.requirements.iter().find(|one| !holds(one, &input.labels, derived.as_ref()))?;
    let value = input.labels.get(&violated.key).or_else(|| derived.as_ref()?.get(&violated.key));
    let value = value.map_or_else(|| "no such label".to_owned(), |value| format!("the value {value}"));
    let text = format!("NodePool {} has a requirement on {}, and it has {value}", pool.name, violated.key);
    Some((DriftReason::Requirements, text))
}

/// Whether a requirement holds, as far as is known. Labels of our own domains that are absent may only not have been written.
fn holds(requirement: &Requirement, own: &Labels, derived: Option<&Labels>) -> bool {
    let key = requirement.key.as_str();
    if let Some(value) = own.get(key).or_else(|| derived?.get(key)) {
        return requirement.accepts(Some(value));
    }
    let by_type = key.starts_with(BY_TYPE) && derived.is_some() && !PATCHY.contains(&key);
    let unknown = labels::OFFERING_KEYS.contains(&key) && !by_type;
    let negative = matches!(requirement.operator, Operator::NotIn | Operator::DoesNotExist);
    unknown || negative || requirement.accepts(None)
}

fn of_class(input: &DriftInput<'_>, class: &ClassFacts, stamp: &Stamp) -> Found {
    if stamp.class != class.hash {
        return Some((
            DriftReason::NodeClass,
            "its EC2NodeClass has changed since it was launched".to_owned(),
        ));
    }
    // A machine of others has not drifted by how they had chosen, but by what is chosen since.
    let own = stamp.image.as_deref().or(input.own_image).filter(|image| !image.is_empty());
    if let (Some(own), Some(image)) = (own, input.image)
        && own != image
        && input.own_image != Some(image)
    {
        return Some((DriftReason::Image, format!("{image} would be launched today instead of {own}")));
    }
    let machine = input.machine?.placed.as_deref()?;
    if let Some(subnets) = &class.subnets
        && !machine.subnet.is_empty()
        && !subnets.contains(&machine.subnet)
    {
        return Some((DriftReason::Subnet, format!("{} is not selected any more", machine.subnet)));
    }
    if let Some(groups) = &class.groups
        && !machine.groups.is_empty()
        && *groups != machine.groups
    {
        let list = |all: &BTreeSet<String>| all.iter().cloned().collect::<Vec<_>>().join(", ");
        let text = format!("it has {}, and {} are selected", list(&machine.groups), list(groups));
        return Some((DriftReason::SecurityGroup, text));
    }
    let reserved = input.labels.get(labels::CAPACITY_TYPE).is_some_and(|one| one == labels::RESERVED);
    if let (true, Some(own), Some(all)) = (reserved, &machine.reservation, &class.reservations)
        && !all.contains(own)
    {
        return Some((DriftReason::CapacityReservation, format!("{own} is not selected any more")));
    }
    None
}

#[cfg(test)]
#[path = "drift_tests.rs"]
mod tests;
