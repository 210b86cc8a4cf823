//! Recorded EC2 data (JSON) to a catalogue.
//!
//! The JSON has `region`, `as_of` (dates by column), `source` (sentences by column) and `instance_types`: one object per
//! type with the facts of DescribeInstanceTypes and DescribeInstanceTypeOfferings, the on-demand price, the spot
//! prices recorded by zone, and the Spot Advisor's average saving. Unknown fields are ignored.
//!
//! Mac hosts are left out: no Kubernetes node runs on them and Karpenter does not ask EC2 for them.

use super::{
    Arch, Catalog, CatalogError, Gpu, InstanceType, LocalStorage, Neuron, Price, ZoneOffer, decimal,
};
use crate::units::UsdMicros;
use serde::Deserialize;
use serde_json::Number;
use std::collections::{BTreeMap, BTreeSet};

/// The `source` entries whose facts a catalogue carries, in the order they are written.
const SOURCES: [&str; 6] = [
    "types",
    "zones",
    "pod_eni_branch_interfaces",
    "on_demand_usd_hour",
    "spot_usd_hour_by_zone",
    "spot_advisor",
];

#[derive(Deserialize)]
struct RawFile {
    source: BTreeMap<String, String>,
    as_of: RawDates,
    region: String,
    /// Zone id by zone name, for files with too few types to tell them apart.
    #[serde(default)]
    zone_names: BTreeMap<String, String>,
    instance_types: Vec<RawType>,
}

#[derive(Deserialize)]
struct RawDates {
    types: String,
    on_demand: String,
    spot_by_zone: String,
    spot_advisor: String,
}

#[derive(Deserialize)]
struct RawType {
    name: String,
    arch: Vec<String>,
    cpu_manufacturer: String,
    clock_ghz: Option<Number>,
    vcpus: u32,
    memory_mib: u32,
    gpus: Vec<RawGpu>,
    accelerators: Vec<RawAccelerator>,
    network: RawNetwork,
    pod_eni_branch_interfaces: u32,
    local_storage_gb: u32,
    local_nvme: Option<String>,
    ebs: Option<RawEbs>,
    hypervisor: Option<String>,
    usage_classes: Vec<String>,
    zones: Vec<String>,
    zone_ids: Vec<String>,
    on_demand_usd_hour: Option<Number>,
    spot_usd_hour_by_zone: Option<BTreeMap<String, Number>>,
    spot_advisor: Option<RawAdvisor>,
}

#[derive(Deserialize)]
struct RawGpu {
    name: String,
    manufacturer: String,
    count: u32,
    memory_mib_each: u32,
}

#[derive(Deserialize)]
struct RawAccelerator {
    name: String,
    count: u32,
}

#[derive(Deserialize)]
struct RawNetwork {
    max_enis_default_card: u32,
    network_cards: u32,
    ipv4_per_eni: u32,
    performance: String,
    baseline_gbps: Option<Number>,
    efa: bool,
}

#[derive(Deserialize)]
struct RawEbs {
    /// Not the baseline, which the label does not mean; absent in recordings without it.
    maximum_mbps: Option<u32>,
}

#[derive(Deserialize)]
struct RawAdvisor {
    avg_savings_pct: Option<i64>,
}

/// Reads recorded EC2 data (see the [module](self)) into a catalogue.
///
/// # Errors
/// [`CatalogError::Json`] if it has not the expected shape, [`CatalogError::ZoneId`] if the id of a zone does not follow
/// from the data, [`CatalogError::Data`] if a value cannot be right, [`CatalogError::Duplicate`] and
/// [`CatalogError::NoTypes`] as for text.
pub fn from_ec2_json(bytes: &[u8]) -> Result<Catalog, CatalogError> {
    let file: RawFile = serde_json::from_slice(bytes).map_err(CatalogError::Json)?;
    let zone_ids = zone_ids(&file)?;
    let mut types = Vec::with_capacity(file.instance_types.len());
    for raw in &file.instance_types {
        if let Some(arch) = arch(&raw.arch) {
            types.push(instance_type(raw, arch, &zone_ids)?);
        }
    }
    types.sort_by(|a: &InstanceType, b| a.name.cmp(&b.name));
    let sources =
        SOURCES.iter().filter_map(|key| Some(format!("{key}: {}", file.source.get(*key)?))).collect();
    let catalog = Catalog {
        region: file.region,
        types_as_of: file.as_of.types,
        on_demand_as_of: file.as_of.on_demand,
        spot_as_of: file.as_of.spot_by_zone,
        advisor_as_of: file.as_of.spot_advisor,
        sources,
        types,
    };
    // What is written must be readable: names, dates and prices get the same checks as an edited file.
    Catalog::parse(&catalog.to_text())
}

/// Zone ids by name. The recording lists names and ids separately; a name and an id are the same zone if exactly the
/// same types are offered in both.
fn zone_ids(file: &RawFile) -> Result<BTreeMap<String, String>, CatalogError> {
    let mut by_name: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut by_id: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for raw in &file.instance_types {
        for zone in &raw.zones {
            by_name.entry(zone).or_default().insert(&raw.name);
        }
        for id in &raw.zone_ids {
            by_id.entry(id).or_default().insert(&raw.name);
        }
    }
    let mut ids = file.zone_names.clone();
    for (zone, types) in &by_name {
        if ids.contains_key(*zone) {
            continue;
        }
        let candidates: Vec<&&str> =
            by_id.iter().filter(|(_, other)| *other == types).map(|(id, _)| id).collect();
        let [id] = candidates[..] else {
            return Err(CatalogError::ZoneId { zone: (*zone).to_owned(), candidates: candidates.len() });
        };
        ids.insert((*zone).to_owned(), (*id).to_owned());
    }
    Ok(ids)
}

/// The first architecture Kubernetes knows, as Karpenter chooses it (`getArchitecture` in types.go).
fn arch(names: &[String]) -> Option<Arch> {
    names.iter().find_map(|name| match name.as_str() {
        "x86_64" => Some(Arch::Amd64),
        "arm64" => Some(Arch::Arm64),
        _ => None,
    })
}

fn instance_type(
    raw: &RawType,
    arch: Arch,
    zone_ids: &BTreeMap<String, String>,
) -> Result<InstanceType, CatalogError> {
    let on_demand = match &raw.on_demand_usd_hour {
        Some(price) => Some(micros(raw, "on_demand_usd_hour", price)?),
        None => None,
    };
    let local_storage = (raw.local_storage_gb > 0).then(|| LocalStorage {
        gb: raw.local_storage_gb,
        nvme: raw.local_nvme.as_deref() != Some("unsupported"),
    });
    let clock_mhz = match &raw.clock_ghz {
        Some(ghz) => Some(thousandths(raw, "clock_ghz", &ghz.to_string())?),
        None => None,
    };
    Ok(InstanceType {
        name: raw.name.clone(),
        arch,
        cpu_manufacturer: kebab(&raw.cpu_manufacturer),
        clock_mhz,
        vcpus: raw.vcpus,
        memory_mib: raw.memory_mib,
        hypervisor: raw.hypervisor.clone(),
        enis: raw.network.max_enis_default_card,
        ipv4_per_eni: raw.network.ipv4_per_eni,
        network_mbps: network_mbps(raw)?,
        ebs_mbps: raw.ebs.as_ref().and_then(|ebs| ebs.maximum_mbps),
        efa: efa(raw),
        branch_enis: raw.pod_eni_branch_interfaces,
        local_storage,
        gpu: gpu(raw)?,
        neuron: neuron(raw)?,
        on_demand,
        zones: zones(raw, on_demand, zone_ids)?,
    })
}

fn data(raw: &RawType, field: &'static str, problem: String) -> CatalogError {
    CatalogError::Data { name: raw.name.clone(), field, problem }
}

/// A price in dollars per hour, rounded half up to micro-dollars.
fn micros(raw: &RawType, field: &'static str, dollars: &Number) -> Result<UsdMicros, CatalogError> {
    let text = dollars.to_string();
    decimal::scaled(&text, 6)
        .map(UsdMicros)
        .ok_or_else(|| data(raw, field, format!("`{text}` is not a price")))
}

/// `text` times 1000, rounded half up: GHz to MHz, Gbps to Mbps.
fn thousandths(raw: &RawType, field: &'static str, text: &str) -> Result<u32, CatalogError> {
    let value = decimal::scaled(text, 3).and_then(|value| u32::try_from(value).ok());
    value.ok_or_else(|| data(raw, field, format!("`{text}` is not a number of that size")))
}

/// Karpenter's `lowerKabobCase`.
fn kebab(text: &str) -> String {
    text.replace(' ', "-").to_lowercase()
}

/// Network bandwidth, Mbps, by the rules behind Karpenter's table (`zz_generated.bandwidth.go`, v1.14.1): the baseline
/// where EC2 says "Up to ...", the stated figure where it is fixed (all cards together), none where EC2 is vague.
fn network_mbps(raw: &RawType) -> Result<Option<u32>, CatalogError> {
    let field = "network";
    let performance = raw.network.performance.as_str();
    if !performance.bytes().any(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    if performance.starts_with("Up to") {
        let baseline = raw.network.baseline_gbps.as_ref().map(Number::to_string);
        return baseline.map(|gbps| thousandths(raw, field, &gbps)).transpose();
    }
    let Some(figure) = performance.strip_suffix(" Gigabit") else {
        return Err(data(raw, field, format!("performance `{performance}` is not understood")));
    };
    let (cards, gbps) = figure.split_once("x ").unwrap_or(("1", figure));
    let cards: u32 = cards
        .parse()
        .map_err(|_| data(raw, field, format!("performance `{performance}` is not understood")))?;
    Ok(Some(thousandths(raw, field, gbps)?.saturating_mul(cards)))
}

/// EFA interfaces, which the recording does not count: one per network card of a type that supports EFA, as EC2's user
/// guide configures them ("Maximize network bandwidth on Amazon EC2 instances with multiple network cards", 2026) and
/// as Karpenter's reference page counts them (u7in-16tb: 2 cards, 2 EFAs). The 17th card of p6-b300 is not counted: its
/// primary card is for IP traffic, and one too few is the safe side.
fn efa(raw: &RawType) -> u32 {
    let without = u32::from(raw.name.starts_with("p6-b300."));
    if raw.network.efa { raw.network.network_cards.saturating_sub(without) } else { 0 }
}

fn gpu(raw: &RawType) -> Result<Option<Gpu>, CatalogError> {
    match &raw.gpus[..] {
        [] => Ok(None),
        [gpu] => Ok(Some(Gpu {
            name: kebab(&gpu.name),
            manufacturer: kebab(&gpu.manufacturer),
            count: gpu.count,
            memory_mib: gpu.memory_mib_each,
        })),
        several => Err(data(raw, "gpus", format!("{} kinds of GPU in one type", several.len()))),
    }
}

/// Cores per device from the AWS Neuron documentation ("Neuron architecture", 2025); an unknown device gets none, so
/// that `neuroncore` is never promised wrongly.
fn neuron(raw: &RawType) -> Result<Option<Neuron>, CatalogError> {
    let device = match &raw.accelerators[..] {
        [] => return Ok(None),
        [device] => device,
        several => {
            return Err(data(
                raw,
                "accelerators",
                format!("{} kinds of accelerator in one type", several.len()),
            ));
        }
    };
    let name = kebab(&device.name);
    let cores_each = match name.as_str() {
        "inferentia" => 4,
        "inferentia2" | "trainium" => 2,
        "trainium2" => 8,
        _ => 0,
    };
    Ok(Some(Neuron { name, count: device.count, cores_each }))
}

/// The zones of a type with the spot price of each: recorded there; else the highest recorded in another zone, as an
/// estimate; else on-demand less the advisor's average saving, as an estimate; else none.
fn zones(
    raw: &RawType,
    on_demand: Option<UsdMicros>,
    zone_ids: &BTreeMap<String, String>,
) -> Result<Vec<ZoneOffer>, CatalogError> {
    let mut recorded = BTreeMap::new();
    for (zone, price) in raw.spot_usd_hour_by_zone.iter().flatten() {
        recorded.insert(zone.as_str(), micros(raw, "spot_usd_hour_by_zone", price)?);
    }
    let saving = raw
        .spot_advisor
        .as_ref()
        .and_then(|advisor| advisor.avg_savings_pct)
        .filter(|pct| (1..100).contains(pct));
    // Half up: the 50 is half of the divisor.
    let advised =
        on_demand.zip(saving).map(|(price, pct)| UsdMicros((price.0.saturating_mul(100 - pct) + 50) / 100));
    let estimate = recorded.values().max().copied().or(advised).map(|usd| Price { usd, estimated: true });
    let has_spot = raw.usage_classes.iter().any(|class| class == "spot");
    let offer = |zone: &String| {
        let spot = recorded.get(zone.as_str()).map(|usd| Price { usd: *usd, estimated: false }).or(estimate);
        ZoneOffer {
            zone: zone.clone(),
            zone_id: zone_ids.get(zone).cloned().unwrap_or_default(),
            spot: spot.filter(|_| has_spot),
        }
    };
    let mut zones: Vec<ZoneOffer> = raw.zones.iter().map(offer).collect();
    zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    zones.dedup_by(|a, b| a.zone == b.zone);
    Ok(zones)
}
