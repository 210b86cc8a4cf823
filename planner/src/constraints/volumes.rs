//! Volumes as node selector terms: where a bound volume is reachable, where an unbound claim can be provisioned.

use std::collections::{BTreeMap, BTreeSet};
use stowage_models::objects::{NodeSelectorTerm, Pod, PodVolume, StorageClass, Volume, VolumeClaim};
use stowage_models::snapshot::Snapshot;

/// The provisioner of classes whose volumes are made by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// The resource that counts volumes of a CSI driver on a node.
pub(crate) const ATTACHABLE: &str = "attachable-volumes-csi-";
/// Stands for "no limit": more volumes than any node has, and small enough for exact products.
pub(crate) const UNLIMITED: i64 = 1 << 40;

/// Claims, volumes and classes by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Storage<'a> {
    claims: BTreeMap<(&'a str, &'a str), &'a VolumeClaim>,
    volumes: BTreeMap<&'a str, &'a Volume>,
    classes: BTreeMap<&'a str, &'a StorageClass>,
    default_class: Option<&'a StorageClass>,
    /// Claims for one pod at a time that a pod uses, or is planned with.
    in_use: BTreeSet<(&'a str, &'a str)>,
}

/// Why a pod's volumes keep it from every node: in words, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VolumeFault {
    /// The cause.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: String,
}

fn fault(message: String, hint: &str) -> VolumeFault {
    VolumeFault { message: format!("spec.volumes: {message}"), hint: hint.to_owned() }
}

/// What the volumes of a pod ask of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs<'a> {
    /// Alternatives that must hold, one list per volume that restricts the node.
    pub(crate) terms: Vec<&'a [NodeSelectorTerm]>,
    /// Distinct claims by CSI driver.
    pub(crate) attaches: BTreeMap<&'a str, i64>,
}

/// What a claim is bound to, or what will provision it.
enum Binding<'a> {
    Volume(&'a Volume),
    Class(&'a StorageClass),
}

impl<'a> Binding<'a> {
    fn driver(&self) -> Option<&'a str> {
        match self {
            Binding::Volume(volume) => volume.driver.as_deref(),
            Binding::Class(class) => Some(&class.provisioner),
        }
    }

    fn terms(&self) -> Option<&'a [NodeSelectorTerm]> {
        match self {
            Binding::Volume(volume) => volume.node_affinity.as_deref(),
            Binding::Class(class) => {
                (!class.allowed_topologies.is_empty()).then_some(class.allowed_topologies.as_slice())
            }
        }
    }
}

impl<'a> Storage<'a> {
    /// Indexes a snapshot.
    pub(crate) fn new(snapshot: &'a Snapshot) -> Storage<'a> {
        let claim = |claim: &'a VolumeClaim| ((claim.namespace.as_str(), claim.name.as_str()), claim);
        let mut storage = Storage {
            claims: snapshot.volume_claims.iter().map(claim).collect(),
            volumes: snapshot.volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect(),
            classes: snapshot.storage_classes.iter().map(|class| (class.name.as_str(), class)).collect(),
            default_class: None,
            in_use: BTreeSet::new(),
        };
        storage.default_class = storage.classes.values().find(|class| class.is_default).copied();
        for pod in snapshot.pods.iter().filter(|pod| pod.seat().is_some() && !pod.is_terminal()) {
            storage.reserve(pod);
        }
        storage
    }

    fn reserve(&mut self, pod: &'a Pod) {
        for volume in &pod.spec.volumes {
            if let PodVolume::Claim(name) = volume {
                let key = (pod.namespace.as_str(), name.as_str());
                if self.claims.get(&key).is_some_and(|claim| claim.read_write_once_pod) {
                    self.in_use.insert(key);
                }
            }
        }
    }

    /// What the volumes of a pod that is to be planned ask for.
    ///
    /// # Errors
    /// [`VolumeFault`] when no node will do.
    pub(crate) fn needs(&mut self, pod: &'a Pod) -> Result<Needs<'a>, VolumeFault> {
        let mut needs = Needs::default();
        let mut seen = BTreeSet::new();
        for volume in &pod.spec.volumes {
            let (name, binding) = self.binding(pod, volume)?;
            if self.in_use.contains(&(pod.namespace.as_str(), name.as_str())) {
                return Err(fault(
                    format!(
                        "PersistentVolumeClaim {}/{name} is ReadWriteOncePod and another pod uses it",
                        pod.namespace
                    ),
                    "wait for that pod to end, or give each pod a claim of its own",
                ));
            }
            needs.terms.extend(binding.terms());
            if let Some(driver) = binding.driver().filter(|_| seen.insert(name)) {
                *needs.attaches.entry(driver).or_default() += 1;
            }
        }
        self.reserve(pod);
        Ok(needs)
    }

    /// Distinct claims of the given pods, by CSI driver.
    pub(crate) fn attached(&self, pods: &[&'a Pod]) -> BTreeMap<&'a str, i64> {
        let mut seen = BTreeSet::new();
        let mut attached = BTreeMap::new();
        for pod in pods {
            for volume in &pod.spec.volumes {
                let Ok((name, binding)) = self.binding(pod, volume) else { continue };
                if let Some(driver) = binding.driver().filter(|_| seen.insert((pod.namespace.as_str(), name)))
                {
                    *attached.entry(driver).or_default() += 1;
                }
            }
        }
        attached
    }

    /// The name of a volume's claim and what it is bound to.
    fn binding(&self, pod: &'a Pod, volume: &'a PodVolume) -> Result<(String, Binding<'a>), VolumeFault> {
        let (name, ephemeral) = match volume {
            PodVolume::Claim(name) => (name.clone(), None),
            PodVolume::Ephemeral { name, storage_class } => {
                (format!("{}-{name}", pod.name), Some(storage_class.as_deref()))
            }
            PodVolume::Other(kind) => {
                return Err(fault(format!("volumes of kind {kind} are not planned for"), "use a CSI volume"));
            }
        };
        let what = format!("PersistentVolumeClaim {}/{name}", pod.namespace);
        let class = match (self.claims.get(&(pod.namespace.as_str(), name.as_str())), ephemeral) {
            (None, None) => {
                return Err(fault(
                    format!("{what} does not exist"),
                    "create the claim, or correct its name in the pod",
                ));
            }
            (Some(claim), _) => {
                if let Some(volume) = &claim.volume {
                    let Some(volume) = self.volumes.get(volume.as_str()) else {
                        return Err(fault(
                            format!("{what} is bound to PersistentVolume {volume}, which does not exist"),
                            "record the PersistentVolumes in the snapshot, or repair the claim",
                        ));
                    };
                    return Ok((name, Binding::Volume(volume)));
                }
                claim.storage_class.as_deref()
            }
            (None, Some(stated)) => stated.or(self.default_class.map(|class| class.name.as_str())),
        };
        let Some(class) = class.and_then(|class| self.classes.get(class).copied()) else {
            let named = class.map_or("no StorageClass".to_owned(), |name| {
                format!("StorageClass {name}, which does not exist")
            });
            return Err(fault(
                format!("{what} is unbound and has {named}"),
                "name a StorageClass that exists",
            ));
        };
        if !class.wait_for_first_consumer {
            return Err(fault(
                format!("{what} is unbound and its StorageClass {} binds immediately", class.name),
                "wait until the claim is bound, or use volumeBindingMode WaitForFirstConsumer",
            ));
        }
        if class.provisioner == NO_PROVISIONER {
            return Err(fault(
                format!("{what} is unbound and nothing provisions volumes of StorageClass {}", class.name),
                "bind the claim to a PersistentVolume made for it",
            ));
        }
        Ok((name, Binding::Class(class)))
    }
}
