//! Label keys, annotations and taints, spelt exactly as Kubernetes and Karpenter v1.14 spell them.

/// `topology.kubernetes.io/zone`.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// `topology.k8s.aws/zone-id`.
pub const ZONE_ID: &str = "topology.k8s.aws/zone-id";
/// `topology.kubernetes.io/region`.
pub const REGION: &str = "topology.kubernetes.io/region";
/// `node.kubernetes.io/instance-type`.
pub const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// `kubernetes.io/arch`.
pub const ARCH: &str = "kubernetes.io/arch";
/// `kubernetes.io/os`.
pub const OS: &str = "kubernetes.io/os";
/// `kubernetes.io/hostname`.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// `karpenter.sh/capacity-type`: `spot`, `on-demand` or `reserved`.
pub const CAPACITY_TYPE: &str = "karpenter.sh/capacity-type";
/// The label that names the capacity reservation a reserved node is launched into.
pub const CAPACITY_RESERVATION_ID: &str = "karpenter.k8s.aws/capacity-reservation-id";
/// The kind of that reservation: `default` or `capacity-block`.
pub const CAPACITY_RESERVATION_TYPE: &str = "karpenter.k8s.aws/capacity-reservation-type";
/// The capacity type of nodes launched into a capacity reservation.
pub const RESERVED: &str = "reserved";
/// `karpenter.sh/nodepool`.
pub const NODEPOOL: &str = "karpenter.sh/nodepool";
/// `karpenter.sh/registered`.
pub const REGISTERED: &str = "karpenter.sh/registered";
/// `karpenter.sh/initialized`.
pub const INITIALIZED: &str = "karpenter.sh/initialized";
/// The label that names the EC2NodeClass of a node.
pub const EC2_NODE_CLASS: &str = "karpenter.k8s.aws/ec2nodeclass";
/// `karpenter.sh/do-not-disrupt`, an annotation of pods, nodes and NodeClaims.
pub const DO_NOT_DISRUPT: &str = "karpenter.sh/do-not-disrupt";
/// EKS managed node groups state the capacity type here (`SPOT`, `ON_DEMAND`).
pub const EKS_CAPACITY_TYPE: &str = "eks.amazonaws.com/capacityType";
/// Annotation of virtual pods of a CapacityBuffer: `true`.
pub const BUFFER_POD: &str = "karpenter.sh/capacity-buffer-fake-pod";
/// Annotation, and label, of virtual pods: name of the buffer.
pub const BUFFER_NAME: &str = "karpenter.sh/capacity-buffer-name";
/// Annotation of virtual pods: namespace of the buffer.
pub const BUFFER_NAMESPACE: &str = "karpenter.sh/capacity-buffer-namespace";
/// Taint of nodes Karpenter is about to remove.
pub const TAINT_DISRUPTED: &str = "karpenter.sh/disrupted";
/// Taint of nodes that have not registered yet.
pub const TAINT_UNREGISTERED: &str = "karpenter.sh/unregistered";
/// Taint of a node that is kept for the pods it was planned for; its value is the slot.
pub const TAINT_PLACING: &str = "stowage.dev/placing";

/// Old spellings that Kubernetes still reads, with the key they stand for.
pub const ALIASES: [(&str, &str); 5] = [
    ("failure-domain.beta.kubernetes.io/zone", ZONE),
    ("failure-domain.beta.kubernetes.io/region", REGION),
    ("beta.kubernetes.io/arch", ARCH),
    ("beta.kubernetes.io/os", OS),
    ("beta.kubernetes.io/instance-type", INSTANCE_TYPE),
];

/// Label keys whose value on a new node is decided by its instance type, zone or capacity type, never by the
/// NodePool's template. A NodePool requirement on one of them filters offerings; on any other key it sets a label.
pub const OFFERING_KEYS: [&str; 33] = [
    ZONE,
    ZONE_ID,
    REGION,
    INSTANCE_TYPE,
    ARCH,
    OS,
    CAPACITY_TYPE,
    "karpenter.k8s.aws/instance-hypervisor",
    "karpenter.k8s.aws/instance-encryption-in-transit-supported",
    "karpenter.k8s.aws/instance-category",
    "karpenter.k8s.aws/instance-capability-flex",
    "karpenter.k8s.aws/instance-family",
    "karpenter.k8s.aws/instance-generation",
    "karpenter.k8s.aws/instance-local-nvme",
    "karpenter.k8s.aws/instance-size",
    "karpenter.k8s.aws/instance-cpu",
    "karpenter.k8s.aws/instance-cpu-manufacturer",
    "karpenter.k8s.aws/instance-cpu-sustained-clock-speed-mhz",
    "karpenter.k8s.aws/instance-memory",
    "karpenter.k8s.aws/instance-ebs-bandwidth",
    "karpenter.k8s.aws/instance-network-bandwidth",
    "karpenter.k8s.aws/instance-gpu-name",
    "karpenter.k8s.aws/instance-gpu-manufacturer",
    "karpenter.k8s.aws/instance-gpu-count",
    "karpenter.k8s.aws/instance-gpu-memory",
    "karpenter.k8s.aws/instance-accelerator-name",
    "karpenter.k8s.aws/instance-accelerator-manufacturer",
    "karpenter.k8s.aws/instance-accelerator-count",
    "karpenter.k8s.aws/instance-tenancy",
    "karpenter.k8s.aws/capacity-reservation-id",
    "karpenter.k8s.aws/capacity-reservation-type",
    "karpenter.k8s.aws/capacity-reservation-interruptible",
    "node.kubernetes.io/windows-build",
];

/// The modern spelling of a label key.
#[must_use]
pub fn normalise(key: &str) -> &str {
    ALIASES.iter().find(|(old, _)| *old == key).map_or(key, |(_, new)| new)
}
