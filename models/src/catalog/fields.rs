//! Reads the single fields of the text format (see [`super::text`]).

use super::{Arch, Gpu, InstanceType, LocalStorage, Neuron, Price, ZoneOffer, decimal};
use crate::units::UsdMicros;

/// Highest price accepted, micro-dollars per hour: a million dollars. Sums over any cluster stay far from overflow,
/// and nothing EC2 sells comes near.
const PRICE_MAX: i64 = 1_000_000_000_000;
/// Longest label value Kubernetes accepts, and so the longest name here.
const TOKEN_LEN_MAX: usize = 63;

/// What is wrong with a field, before the line and the type are known.
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) hint: String,
}

pub(super) fn wrong(problem: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong { problem: problem.into(), hint: hint.into() }
}

/// Reads the field of a column of [`super::text::COLUMNS`] into `kind`.
pub(super) fn known_field(kind: &mut InstanceType, column: &str, value: &str) -> Result<(), Wrong> {
    match column {
        "name" => kind.name = token(value)?,
        "arch" => kind.arch = arch(value)?,
        "cpu-maker" => kind.cpu_manufacturer = token(value)?,
        "mhz" => kind.clock_mhz = optional(value, number)?,
        "vcpus" => kind.vcpus = positive(value)?,
        "memory-mib" => kind.memory_mib = positive(value)?,
        "hypervisor" => kind.hypervisor = optional(value, token)?,
        "enis" => kind.enis = number(value)?,
        "ips-per-eni" => kind.ipv4_per_eni = number(value)?,
        "network-mbps" => kind.network_mbps = optional(value, number)?,
        "ebs-mbps" => kind.ebs_mbps = optional(value, number)?,
        "efa" => kind.efa = number(value)?,
        "pod-eni" => kind.branch_enis = number(value)?,
        "local-gb" => kind.local_storage = optional(value, local_storage)?,
        "gpu" => kind.gpu = optional(value, gpu)?,
        "neuron" => kind.neuron = optional(value, neuron)?,
        "on-demand" => kind.on_demand = optional(value, price)?,
        _ => {}
    }
    Ok(())
}

/// Reads a zone's field: `.`, `-`, or a spot price.
pub(super) fn zone_field(kind: &mut InstanceType, zone: &str, id: &str, value: &str) -> Result<(), Wrong> {
    if value == "." {
        return Ok(());
    }
    let spot = if value.is_empty() {
        let hint = "write the spot price in micro-dollars per hour, `-` if there is no spot, or `.` if the type is not \
                    offered in this zone";
        return Err(wrong("is empty", hint));
    } else if value == "-" {
        None
    } else {
        let (amount, estimated) = value.strip_suffix('~').map_or((value, false), |amount| (amount, true));
        Some(Price { usd: price(amount)?, estimated })
    };
    kind.zones.push(ZoneOffer { zone: zone.to_owned(), zone_id: id.to_owned(), spot });
    Ok(())
}

/// A value or `-`. An empty field is refused by every reader: it may have been forgotten.
fn optional<T>(value: &str, read: fn(&str) -> Result<T, Wrong>) -> Result<Option<T>, Wrong> {
    if value == "-" { Ok(None) } else { read(value).map(Some) }
}

fn price(value: &str) -> Result<UsdMicros, Wrong> {
    let unit = "prices are whole micro-dollars per hour";
    if value.is_empty() {
        let hint = format!("{unit}: write 96000 for $0.096 an hour, or `-` if the type is not sold that way");
        return Err(wrong("has no price", hint));
    }
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    match value.parse::<i64>() {
        Ok(micros) if digits && micros <= PRICE_MAX => Ok(UsdMicros(micros)),
        Ok(_) if digits => Err(wrong(format!("`{value}` is more than a million dollars an hour"), unit)),
        _ => {
            let dollars = decimal::scaled(value.trim_start_matches('$'), 6);
            let hint = match dollars {
                Some(micros) if !digits => format!("{unit}: if {value} is meant in dollars, write {micros}"),
                _ => format!(
                    "{unit}, such as 96000 for $0.096 an hour; `~` after a spot price marks an estimate"
                ),
            };
            Err(wrong(format!("`{value}` is not a price"), hint))
        }
    }
}

fn number(value: &str) -> Result<u32, Wrong> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse::<u32>().ok().filter(|_| digits).ok_or_else(|| {
        let problem =
            if value.is_empty() { "is empty".to_owned() } else { format!("`{value}` is not a number") };
        wrong(
            problem,
            format!(
                "write digits only, from 0 to {}; some fields also take `-` for unknown or none",
                u32::MAX
            ),
        )
    })
}

fn positive(value: &str) -> Result<u32, Wrong> {
    match number(value)? {
        0 => Err(wrong("is zero", "every type has at least one vCPU and some memory")),
        count => Ok(count),
    }
}

/// A word that can be the value of a Kubernetes label.
pub(super) fn token(value: &str) -> Result<String, Wrong> {
    let bytes = value.as_bytes();
    let word = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let ends =
        [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric));
    if word && ends && value.len() <= TOKEN_LEN_MAX {
        return Ok(value.to_owned());
    }
    let problem =
        if value.is_empty() { "is empty".to_owned() } else { format!("`{value}` is not a label value") };
    Err(wrong(
        problem,
        "write 1 to 63 letters, digits, `-`, `_` or `.`, the first and last a letter or digit",
    ))
}

fn arch(value: &str) -> Result<Arch, Wrong> {
    match value {
        "amd64" => Ok(Arch::Amd64),
        "arm64" => Ok(Arch::Arm64),
        _ => Err(wrong(
            format!("`{value}` is not an architecture"),
            "write amd64 (which EC2 calls x86_64) or arm64",
        )),
    }
}

fn local_storage(value: &str) -> Result<LocalStorage, Wrong> {
    let hint = "write `nvme:900` or `disk:900` for 900 GB, or `-` for none";
    match value.split_once(':') {
        Some((kind @ ("nvme" | "disk"), gb)) => Ok(LocalStorage { gb: number(gb)?, nvme: kind == "nvme" }),
        _ => Err(wrong(format!("`{value}` is not local storage"), hint)),
    }
}

fn gpu(value: &str) -> Result<Gpu, Wrong> {
    let parts: Vec<&str> = value.split(':').collect();
    let [name, manufacturer, count, memory] = parts[..] else {
        let hint = "write name:manufacturer:count:MiB, such as `a10g:nvidia:4:22888`, or `-` for none";
        return Err(wrong(format!("`{value}` does not describe GPUs"), hint));
    };
    Ok(Gpu {
        name: token(name)?,
        manufacturer: token(manufacturer)?,
        count: number(count)?,
        memory_mib: number(memory)?,
    })
}

fn neuron(value: &str) -> Result<Neuron, Wrong> {
    let parts: Vec<&str> = value.split(':').collect();
    let [name, count, cores] = parts[..] else {
        let hint = "write name:devices:cores, such as `inferentia2:1:2`, or `-` for none";
        return Err(wrong(format!("`{value}` does not describe Neuron devices"), hint));
    };
    Ok(Neuron { name: token(name)?, count: number(count)?, cores_each: number(cores)? })
}

/// A day, `YYYY-MM-DD`.
pub(super) fn date(text: &str) -> Result<String, Wrong> {
    let number = |part: &str, len: usize| (part.len() == len).then(|| part.parse::<u32>().ok()).flatten();
    let parts: Vec<&str> = text.split('-').collect();
    let valid = match parts[..] {
        [year, month, day] => {
            number(year, 4).is_some()
                && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
                && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
        }
        _ => false,
    };
    if valid {
        Ok(text.to_owned())
    } else {
        Err(wrong(format!("`{text}` is not a date"), "write it as 2026-08-02"))
    }
}
