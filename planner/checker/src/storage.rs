//! What a pod's volumes ask of a node (formulation, section 1.4).

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{NodeSelectorTerm, Pod, PodVolume, StorageClass, Volume, VolumeClaim};
use stowage_models::snapshot::Snapshot;

/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// What stands for "no limit": more volumes than any node has, and small enough for products in 128 bits.
pub(crate) const UNLIMITED: i64 = 1 << 40;

/// The resource that counts the volumes of a CSI driver on a node.
pub(crate) const ATTACHABLE: &str = "attachable-volumes-csi-";

/// What volumes ask of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Needs<'a> {
    /// Node selector terms, one list of alternatives for each volume that has any.
    pub(crate) terms: Vec<&'a Vec<NodeSelectorTerm>>,
    /// Distinct claims by driver.
    pub(crate) attaches: BTreeMap<&'a str, i64>,
}

/// Volumes, claims (namespace, name) and classes by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Named<'a> {
    pub(crate) claims: BTreeMap<(&'a str, &'a str), &'a VolumeClaim>,
    pub(crate) volumes: BTreeMap<&'a str, &'a Volume>,
    pub(crate) classes: BTreeMap<&'a str, &'a StorageClass>,
}

impl<'a> Named<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Named<'a> {
        let claims = snapshot.volume_claims.iter();
        Named {
            claims: claims.map(|claim| ((claim.namespace.as_str(), claim.name.as_str()), claim)).collect(),
            volumes: snapshot.volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect(),
            classes: snapshot.storage_classes.iter().map(|class| (class.name.as_str(), class)).collect(),
        }
    }
}

/// What volumes ask of nodes, and which claims are taken.
#[derive(Debug)]
pub(crate) struct Storage<'a> {
    named: Named<'a>,
    default: Option<&'a StorageClass>,
    /// `ReadWriteOncePod` claims that a pod on a node uses.
    in_use: BTreeSet<(&'a str, &'a str)>,
}

/// What a claim, or an ephemeral volume's claim to come, is bound to.
enum Binding<'a> {
    Bound(&'a Volume),
    Waits(&'a StorageClass),
}

impl<'a> Storage<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot) -> Storage<'a> {
        let mut storage = Storage { named: Named::new(snapshot), default: None, in_use: BTreeSet::new() };
        storage.default = storage.named.classes.values().find(|class| class.is_default).copied();
        for pod in snapshot.pods.iter().filter(|pod| pod.seat().is_some() && !pod.is_terminal()) {
            for volume in &pod.spec.volumes {
                if let PodVolume::Claim(name) = volume {
                    let key = (pod.namespace.as_str(), name.as_str());
                    if storage.named.claims.get(&key).is_some_and(|claim| claim.read_write_once_pod) {
                        storage.in_use.insert(key);
                    }
                }
            }
        }
        storage
    }

    /// What the volumes of a pod ask for.
    ///
    /// # Errors
    /// Why no node can take the pod, for now.
    pub(crate) fn needs(&self, pod: &'a Pod) -> Result<Needs<'a>, String> {
        let mut needs = Needs::default();
        let mut claims = BTreeSet::new();
        for volume in &pod.spec.volumes {
            let (name, binding) = self.binding(pod, volume)?;
            if self.in_use.contains(&(pod.namespace.as_str(), name.as_str())) {
                return Err(format!(
                    "PersistentVolumeClaim {name} is for one pod at a time, and one uses it"
                ));
            }
            let (driver, terms) = match binding {
                Binding::Bound(volume) => (volume.driver.as_deref(), volume.node_affinity.as_ref()),
                Binding::Waits(class) => {
                    let terms = (!class.allowed_topologies.is_empty()).then_some(&class.allowed_topologies);
                    (Some(class.provisioner.as_str()), terms)
                }
            };
            needs.terms.extend(terms);
            if let Some(driver) = driver.filter(|_| claims.insert(name)) {
                *needs.attaches.entry(driver).or_default() += 1;
            }
        }
        Ok(needs)
    }

    fn binding(&self, pod: &'a Pod, volume: &'a PodVolume) -> Result<(String, Binding<'a>), String> {
        let (name, ephemeral) = match volume {
            PodVolume::Claim(name) => (name.clone(), None),
            PodVolume::Ephemeral { name, storage_class } => {
                (format!("{}-{name}", pod.name), Some(storage_class.as_deref()))
            }
            PodVolume::Other(kind) => return Err(format!("volumes of kind {kind} are not understood")),
        };
        let class = |name: &str| {
            let class = self.named.classes.get(name).copied();
            class.ok_or_else(|| format!("StorageClass {name} does not exist"))
        };
        let waits = match (self.named.claims.get(&(pod.namespace.as_str(), name.as_str())), ephemeral) {
            (Some(claim), _) => match (&claim.volume, &claim.storage_class) {
                (Some(volume), _) => {
                    let volume = self.named.volumes.get(volume.as_str());
                    let volume = volume.ok_or_else(|| {
                        format!("the volume of PersistentVolumeClaim {name} does not exist")
                    })?;
                    return Ok((name, Binding::Bound(volume)));
                }
                (None, Some(stated)) => class(stated)?,
                (None, None) => {
                    return Err(format!("PersistentVolumeClaim {name} is unbound and has no class"));
                }
            },
            (None, None) => return Err(format!("PersistentVolumeClaim {name} does not exist")),
            (None, Some(Some(stated))) => class(stated)?,
            (None, Some(None)) => self
                .default
                .ok_or_else(|| format!("volume {name} has no StorageClass, and none is the default"))?,
        };
        if !waits.wait_for_first_consumer || waits.provisioner == NO_PROVISIONER {
            return Err(format!("PersistentVolumeClaim {name} is not bound, and no node would change that"));
        }
        Ok((name, Binding::Waits(waits)))
    }

    /// Distinct claims of the pods given, by driver.
    pub(crate) fn attached(&self, pods: impl Iterator<Item = &'a Pod>) -> BTreeMap<&'a str, i64> {
        let mut seen = BTreeSet::new();
        let mut attached = BTreeMap::new();
        for (pod, volume) in pods.flat_map(|pod| pod.spec.volumes.iter().map(move |volume| (pod, volume))) {
            let Ok((name, binding)) = self.binding(pod, volume) else { continue };
            let driver = match binding {
                Binding::Bound(volume) => volume.driver.as_deref(),
                Binding::Waits(class) => Some(class.provisioner.as_str()),
            };
            if let Some(driver) = driver.filter(|_| seen.insert((pod.namespace.as_str(), name))) {
                *attached.entry(driver).or_default() += 1;
            }
        }
        attached
    }

    /// The claims of ephemeral volumes that their controller has still to make, for a pod that waits.
    pub(crate) fn claims_to_come(&self, pod: &Pod) -> Vec<VolumeClaim> {
        let claim = |volume: &PodVolume| {
            let PodVolume::Ephemeral { name, storage_class } = volume else { return None };
            let name = format!("{}-{name}", pod.name);
            let default = || self.default.map(|class| class.name.clone());
            let there = self.named.claims.contains_key(&(pod.namespace.as_str(), name.as_str()));
            (!there).then(|| VolumeClaim {
                namespace: pod.namespace.clone(),
                name,
                storage_class: storage_class.clone().or_else(default),
                ..VolumeClaim::default()
            })
        };
        pod.spec.volumes.iter().filter_map(claim).collect()
    }
}
