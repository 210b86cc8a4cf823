//! What a node of a type has, and what of it pods may use.
//!
//! Source of the arithmetic: `pkg/providers/instancetype/types.go` in karpenter-provider-aws v1.14.1 (2026-08-20), for
//! the AMI families AL2 and AL2023; prefix delegation from `max-pods-calculator.sh` of amazon-eks-ami (2025). All of
//! it saturates, so no setting can make it overflow, and nothing comes out negative.
//!
//! Known to differ from a real node: memory is a safe guess (7.5 % hypervisor share; a real t3.small keeps 4.3 %), and
//! ephemeral storage is about 0.4 % too much, because the file system's own blocks are not subtracted by Karpenter
//! either.

use super::{Arch, InstanceType, decimal};
use crate::objects::Ec2NodeClass;
use crate::quantity::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, Resources, parse_quantity};
use crate::snapshot::Settings;
use crate::units::Ppm;

/// Bytes of a MiB.
pub(super) const MIB: i64 = 1 << 20;
/// Bytes of a GiB.
pub(super) const GIB: i64 = 1 << 30;
/// Memory Graviton reserves for contiguous allocation and never shows, MiB (`memory` in types.go).
const ARM64_RESERVED_MIB: i64 = 64;
/// `evictionHard["memory.available"]` of the kubelet's defaults, bytes (`evictionThreshold` in types.go).
const EVICTION_MEMORY: i64 = 100 * MIB;
/// Root volume of AL2 and AL2023 without block device mappings, bytes (`DefaultEBS` in amifamily/resolver.go).
const ROOT_VOLUME: i64 = 20 * GIB;
/// IPv4 addresses of a /28 prefix (`IPS_PER_PREFIX` in max-pods-calculator.sh).
const IPS_PER_PREFIX: i64 = 16;
/// The calculator's ceiling up to this many vCPU is [`MAX_PODS_FEW_CPUS`], above it [`MAX_PODS_MANY_CPUS`].
const FEW_CPUS: u32 = 30;
const MAX_PODS_FEW_CPUS: i64 = 110;
const MAX_PODS_MANY_CPUS: i64 = 250;

impl InstanceType {
    /// Node capacity as the kubelet would report it, which NodePool limits are counted in: `cpu` (millicores), `memory`
    /// and `ephemeral-storage` (bytes), `pods`, and device counts.
    #[must_use]
    pub fn capacity(&self, settings: &Settings, class: &Ec2NodeClass) -> Resources {
        let mut capacity = Resources::from([
            (CPU, i64::from(self.vcpus) * 1000),
            (MEMORY, self.memory_bytes(settings.vm_memory_overhead)),
            (EPHEMERAL_STORAGE, self.storage_bytes(class)),
            (PODS, self.max_pods(settings, class)),
            ("vpc.amazonaws.com/efa", i64::from(self.efa)),
            ("vpc.amazonaws.com/pod-eni", i64::from(self.branch_enis)),
        ]);
        if let Some(gpu) = &self.gpu {
            match gpu.manufacturer.as_str() {
                "nvidia" => capacity.set("nvidia.com/gpu", i64::from(gpu.count)),
                "amd" => capacity.set("amd.com/gpu", i64::from(gpu.count)),
                "habana" => capacity.set("habana.ai/gaudi", i64::from(gpu.count)),
                // Karpenter gives no other manufacturer's devices a resource name either.
                _ => {}
            }
        }
        if let Some(neuron) = &self.neuron {
            capacity.set("aws.amazon.com/neuron", i64::from(neuron.count));
            let cores = i64::from(neuron.count).saturating_mul(i64::from(neuron.cores_each));
            capacity.set("aws.amazon.com/neuroncore", cores);
        }
        capacity
    }

    /// Node allocatable: [`InstanceType::capacity`] less kube-reserved, system-reserved and eviction thresholds, at
    /// least zero each.
    #[must_use]
    pub fn allocatable(&self, settings: &Settings, class: &Ec2NodeClass) -> Resources {
        let mut allocatable = self.capacity(settings, class);
        let eviction = eviction_thresholds(&allocatable, class);
        for overhead in [&self.kube_reserved(class), &class.system_reserved, &eviction] {
            for (name, amount) in &overhead.0 {
                let left = allocatable.get(name).saturating_sub(*amount);
                allocatable.set(name, left.max(0));
            }
        }
        allocatable
    }

    /// `M - ceil(M x overhead)` MiB in bytes, where `M` is the hardware's MiB less 64 on arm64 (`memory` in types.go).
    fn memory_bytes(&self, overhead: Ppm) -> i64 {
        let reserved = if self.arch == Arch::Arm64 { ARM64_RESERVED_MIB } else { 0 };
        let mib = i128::from(self.memory_mib) - i128::from(reserved);
        // Rounded towards plus infinity, so that a strange negative overhead stays defined, too.
        let share = -(-mib * i128::from(overhead.0)).div_euclid(i128::from(Ppm::ONE));
        let mib = (mib - share).clamp(0, i128::from(i64::MAX / MIB));
        i64::try_from(mib).unwrap_or(0) * MIB
    }

    /// Sum of the local disks (decimal GB) under RAID0, else the root volume, in bytes (`ephemeralStorage` in types.go).
    fn storage_bytes(&self, class: &Ec2NodeClass) -> i64 {
        match self.local_storage {
            Some(disks) if class.instance_store_raid0 => i64::from(disks.gb) * 1_000_000_000,
            _ => class.root_volume_bytes.unwrap_or(ROOT_VOLUME).max(0),
        }
    }

    /// `(ENIs - reserved) x (IPv4 per ENI - 1) x per_address + 2`, zero without a usable ENI (`ENILimitedPods` in
    /// types.go; the 2 are aws-node and kube-proxy, which use the host's network).
    fn eni_limited_pods(&self, reserved_enis: u32, per_address: i64) -> i64 {
        let enis = i64::from(self.enis.saturating_sub(reserved_enis));
        if enis == 0 {
            return 0;
        }
        let addresses = (i64::from(self.ipv4_per_eni) - 1).max(0);
        enis.saturating_mul(addresses).saturating_mul(per_address).saturating_add(2)
    }

    /// Most pods the kubelet admits: `kubelet.maxPods`, else what ENIs (or prefixes) can address; at most
    /// `kubelet.podsPerCore x vCPU` (`pods` in types.go).
    ///
    /// With prefix delegation it is EKS's recommendation (`max-pods-calculator.sh`): what prefixes can address, but at
    /// most 110 up to 30 vCPU and 250 above. Prefixes need a Nitro hypervisor; for other types, bare metal among them,
    /// the calculator counts single addresses under the same ceiling.
    fn max_pods(&self, settings: &Settings, class: &Ec2NodeClass) -> i64 {
        let count = match class.max_pods {
            Some(max_pods) => max_pods,
            None if settings.prefix_delegation => {
                let nitro = self.hypervisor.as_deref() == Some("nitro");
                let ceiling = if self.vcpus > FEW_CPUS { MAX_PODS_MANY_CPUS } else { MAX_PODS_FEW_CPUS };
                let per_address = if nitro { IPS_PER_PREFIX } else { 1 };
                self.eni_limited_pods(settings.reserved_enis, per_address).min(ceiling)
            }
            None => self.eni_limited_pods(settings.reserved_enis, 1),
        };
        let per_core = class.pods_per_core.filter(|pods| *pods > 0);
        let limit = per_core.map_or(i64::MAX, |pods| pods.saturating_mul(i64::from(self.vcpus)));
        count.min(limit).max(0)
    }

    /// What the EKS AMI reserves for the kubelet and the container runtime, with the class's overrides
    /// (`kubeReservedResources` in types.go).
    ///
    /// CPU: 6 % of the first core, 1 % of the second, 0.5 % of the next two, 0.25 % of the rest, each part rounded down
    /// to a millicore. Memory: 11 MiB per pod plus 255 MiB, where AL2 and AL2023 count the pods *all* ENIs can address,
    /// whatever `maxPods` or reserved ENIs say (`UsesENILimitedMemoryOverhead`). Storage: 1 GiB.
    fn kube_reserved(&self, class: &Ec2NodeClass) -> Resources {
        let mut reserved = Resources::from([
            (CPU, reserved_millicores(i64::from(self.vcpus) * 1000)),
            (MEMORY, self.eni_limited_pods(0, 1).saturating_mul(11).saturating_add(255).saturating_mul(MIB)),
            (EPHEMERAL_STORAGE, GIB),
        ]);
        for (name, amount) in &class.kube_reserved.0 {
            reserved.set(name, *amount);
        }
        reserved
    }
}

/// See [`InstanceType::kube_reserved`]; in and out are millicores.
fn reserved_millicores(millicores: i64) -> i64 {
    // (from, to, hundredths of a per cent)
    [(0, 1000, 600), (1000, 2000, 100), (2000, 4000, 50), (4000, i64::MAX, 25)]
        .into_iter()
        .map(|(from, to, share)| (millicores.min(to) - from).max(0) * share / 10_000)
        .sum()
}

/// Memory: `evictionHard["memory.available"]`, 100 MiB by default. Storage: 10 %, rounded up (`evictionThreshold` in
/// types.go; soft thresholds change nothing).
fn eviction_thresholds(capacity: &Resources, class: &Ec2NodeClass) -> Resources {
    let memory = class.eviction_memory.as_deref();
    let memory =
        memory.and_then(|signal| eviction_signal(capacity.get(MEMORY), signal)).unwrap_or(EVICTION_MEMORY);
    let storage = capacity.get(EPHEMERAL_STORAGE);
    Resources::from([(MEMORY, memory), (EPHEMERAL_STORAGE, storage / 10 + i64::from(storage % 10 != 0))])
}

/// An eviction signal in bytes: a quantity, or a share of `capacity` rounded up (100 % disables the signal). `None` if
/// it is neither; such a kubelet does not start, so any default will do.
pub(super) fn eviction_signal(capacity: i64, signal: &str) -> Option<i64> {
    let Some(percent) = signal.strip_suffix('%') else {
        return parse_quantity(MEMORY, signal).ok();
    };
    // Parts per hundred million: per cent with six decimals.
    let share = i128::from(decimal::scaled(percent, 6)?);
    const WHOLE: i128 = 100_000_000;
    if share == WHOLE {
        return Some(0);
    }
    i64::try_from((i128::from(capacity) * share + WHOLE - 1) / WHOLE).ok()
}
