//! The EC2 catalogue: instance types, their labels, their allocatable as EKS nodes have it, and their prices.
//!
//! [`Catalog::embedded`] is compiled in and dated; [`Catalog::parse`] reads one from a file in the same text format
//! (documented in [`text`]), so that an operator can change a price or add a type with an editor.

pub mod allocatable;
pub mod attach;
pub mod convert;
mod decimal;
mod error;
mod fields;
pub mod labels;
#[cfg(test)]
mod tests;
pub mod text;
mod write;

use crate::units::UsdMicros;
use std::sync::OnceLock;

pub(crate) use decimal::scaled;
pub use error::CatalogError;

/// The text of [`Catalog::embedded`].
static EMBEDDED_TEXT: &str = include_str!("../../data/ec2-us-east-1.catalog");
/// [`Catalog::embedded`], once somebody asked for it.
static EMBEDDED: OnceLock<Catalog> = OnceLock::new();

/// A price and whether it was recorded or estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    /// Per hour.
    pub usd: UsdMicros,
    /// Not recorded: on-demand price times one minus the Spot Advisor's average saving, or another zone's price.
    pub estimated: bool,
}

/// A zone in which a type is offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneOffer {
    /// Zone name, e.g. `us-east-1a`. Names differ between AWS accounts; ids do not.
    pub zone: String,
    /// Zone id, e.g. `use1-az2`.
    pub zone_id: String,
    /// Spot price; `None` = no spot.
    pub spot: Option<Price>,
}

/// Processor architecture as Kubernetes names it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arch {
    /// `amd64` (EC2: `x86_64`).
    #[default]
    Amd64,
    /// `arm64`.
    Arm64,
}

impl Arch {
    /// The value of `kubernetes.io/arch`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Arch::Amd64 => "amd64",
            Arch::Arm64 => "arm64",
        }
    }
}

/// Graphics processors of a type, all of one kind. Names are as Karpenter's labels spell them (lower case, `-` for space).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// E.g. `a10g`.
    pub name: String,
    /// `nvidia`, `amd` or `habana`.
    pub manufacturer: String,
    /// Whole devices; zero for types with a fraction of one (g6f, gr6f).
    pub count: u32,
    /// Memory of each, MiB.
    pub memory_mib: u32,
}

/// AWS Neuron devices of a type, all of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neuron {
    /// E.g. `inferentia2`.
    pub name: String,
    /// Devices.
    pub count: u32,
    /// NeuronCores of each device.
    pub cores_each: u32,
}

/// Instance store of a type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalStorage {
    /// Sum over all disks, GB (10^9 bytes).
    pub gb: u32,
    /// Attached as NVMe; only then does Karpenter set `instance-local-nvme`.
    pub nvme: bool,
}

/// An instance type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstanceType {
    /// Name, e.g. `m5.large`.
    pub name: String,
    /// Architecture.
    pub arch: Arch,
    /// `intel`, `amd` or `aws`.
    pub cpu_manufacturer: String,
    /// Sustained clock speed, MHz, where EC2 states it.
    pub clock_mhz: Option<u32>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory of the hardware, MiB: more than the node sees (see [`allocatable`]).
    pub memory_mib: u32,
    /// `nitro` or `xen`; `None` for bare metal.
    pub hypervisor: Option<String>,
    /// Network interfaces of the default network card, the only ones the VPC CNI uses for pods.
    pub enis: u32,
    /// IPv4 addresses of each interface.
    pub ipv4_per_eni: u32,
    /// Baseline network bandwidth, Mbps.
    pub network_mbps: Option<u32>,
    /// Maximum (burst) EBS bandwidth, Mbps, where the source states it.
    pub ebs_mbps: Option<u32>,
    /// Elastic Fabric Adapter interfaces.
    pub efa: u32,
    /// Branch interfaces for security groups per pod (`vpc.amazonaws.com/pod-eni`).
    pub branch_enis: u32,
    /// Instance store.
    pub local_storage: Option<LocalStorage>,
    /// Graphics processors.
    pub gpu: Option<Gpu>,
    /// Neuron accelerators.
    pub neuron: Option<Neuron>,
    /// On-demand price per hour (Linux, shared tenancy); `None` = not sold on demand.
    pub on_demand: Option<UsdMicros>,
    /// Zones in which the type is offered, sorted by name.
    pub zones: Vec<ZoneOffer>,
}

/// The catalogue of one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Region, e.g. `us-east-1`.
    pub region: String,
    /// Date of the types and their zones, `YYYY-MM-DD`; empty = not stated (so are the other dates).
    pub types_as_of: String,
    /// Date of the on-demand prices.
    pub on_demand_as_of: String,
    /// Date of the newest recorded spot price.
    pub spot_as_of: String,
    /// Date of the Spot Advisor's savings, on which estimates rest.
    pub advisor_as_of: String,
    /// Where the facts are from, one sentence each.
    pub sources: Vec<String>,
    /// Types, sorted by name, without duplicates.
    pub types: Vec<InstanceType>,
}

impl Catalog {
    /// The catalogue compiled into this crate, parsed once.
    ///
    /// # Panics
    /// Never: a test parses the embedded text.
    #[must_use]
    pub fn embedded() -> &'static Catalog {
        EMBEDDED.get_or_init(|| Catalog::parse(EMBEDDED_TEXT).expect("the embedded catalogue parses"))
    }

    /// Reads the text format (see [`text`]).
    ///
    /// # Errors
    /// [`CatalogError`] names the line and the field and says what to write instead.
    pub fn parse(text: &str) -> Result<Catalog, CatalogError> {
        text::parse(text)
    }

    /// The canonical text: equal catalogues give equal bytes, and [`Catalog::parse`] gives the catalogue back.
    #[must_use]
    pub fn to_text(&self) -> String {
        write::to_text(self)
    }

    /// `sha256:` digest of the canonical text: milliseconds for a region, remembered for the embedded catalogue.
    #[must_use]
    pub fn digest(&self) -> String {
        static EMBEDDED_DIGEST: OnceLock<String> = OnceLock::new();
        let compute = || crate::digest::of_bytes(self.to_text().as_bytes());
        // `Catalog` has public fields, so a digest kept inside would go stale; the static one cannot change.
        if EMBEDDED.get().is_some_and(|embedded| std::ptr::eq(self, embedded)) {
            return EMBEDDED_DIGEST.get_or_init(compute).clone();
        }
        compute()
    }

    /// A type by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&InstanceType> {
        let index = self.types.binary_search_by(|candidate| candidate.name.as_str().cmp(name)).ok()?;
        self.types.get(index)
    }
}

impl InstanceType {
    /// The offer in a zone, by zone name.
    #[must_use]
    pub fn zone(&self, zone: &str) -> Option<&ZoneOffer> {
        self.zones.iter().find(|offer| offer.zone == zone)
    }

    /// Price per hour in a zone (by name); `capacity_type` is `spot` or `on-demand`, anything else has no price.
    #[must_use]
    pub fn price(&self, zone: &str, capacity_type: &str) -> Option<Price> {
        let offer = self.zone(zone)?;
        match capacity_type {
            "spot" => offer.spot,
            "on-demand" => self.on_demand.map(|usd| Price { usd, estimated: false }),
            _ => None,
        }
    }
}
