//! Writes the text format that [`super::text`] describes and reads.

use super::text::{COLUMNS, MAGIC, VERSION};
use super::{Catalog, InstanceType};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What an editor of the file must know, in the file.
const GUIDE: &str = "\
# One line per instance type below `columns`, fields separated by one tab each; `-` means none, not sold or unknown.
# Prices are whole micro-dollars per hour: 96000 is $0.096 an hour. A zone's column holds the spot price there, with
# `~` after it if it is an estimate; `-` if there is no spot in the zone, `.` if the type is not offered there.
# local-gb is nvme:GB or disk:GB; gpu is name:manufacturer:count:MiB each; neuron is name:devices:cores each.
";

/// See [`Catalog::to_text`]. Zones are those of the types, sorted by name, so that equal catalogues give equal text.
pub(super) fn to_text(catalog: &Catalog) -> String {
    let offers = catalog.types.iter().flat_map(|kind| &kind.zones);
    let zones: BTreeMap<&str, &str> =
        offers.map(|offer| (offer.zone.as_str(), offer.zone_id.as_str())).collect();
    let mut text =
        format!("{MAGIC} {}.{}\n{GUIDE}region {}\n", VERSION.0, VERSION.1, one_line(&catalog.region));
    for (key, date) in [
        ("types-as-of", &catalog.types_as_of),
        ("on-demand-as-of", &catalog.on_demand_as_of),
        ("spot-as-of", &catalog.spot_as_of),
        ("advisor-as-of", &catalog.advisor_as_of),
    ] {
        if !date.is_empty() {
            let _ = writeln!(text, "{key} {}", one_line(date));
        }
    }
    for source in &catalog.sources {
        let _ = writeln!(text, "source {}", one_line(source));
    }
    for (zone, id) in &zones {
        let _ = writeln!(text, "zone {zone} {id}");
    }
    text.push_str("columns");
    for column in COLUMNS.iter().chain(zones.keys()) {
        let _ = write!(text, "\t{column}");
    }
    text.push('\n');
    // 160 bytes hold any line of a region with six zones.
    text.reserve(catalog.types.len() * 160);
    for kind in &catalog.types {
        type_line(&mut text, kind, zones.keys().copied());
    }
    text
}

/// Control characters would break the line structure.
fn one_line(text: &str) -> String {
    text.replace(|character: char| character.is_control(), " ").trim().to_owned()
}

/// Values after the name are in the order of [`COLUMNS`].
fn type_line<'a>(text: &mut String, kind: &InstanceType, zones: impl Iterator<Item = &'a str>) {
    text.push_str(&kind.name);
    let mut field = |value: std::fmt::Arguments<'_>| {
        let _ = write!(text, "\t{value}");
    };
    let number = |value: Option<u32>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    field(format_args!("{}", kind.arch.as_str()));
    field(format_args!("{}", kind.cpu_manufacturer));
    field(format_args!("{}", number(kind.clock_mhz)));
    field(format_args!("{}", kind.vcpus));
    field(format_args!("{}", kind.memory_mib));
    field(format_args!("{}", kind.hypervisor.as_deref().unwrap_or("-")));
    field(format_args!("{}", kind.enis));
    field(format_args!("{}", kind.ipv4_per_eni));
    field(format_args!("{}", number(kind.network_mbps)));
    field(format_args!("{}", number(kind.ebs_mbps)));
    field(format_args!("{}", kind.efa));
    field(format_args!("{}", kind.branch_enis));
    match kind.local_storage {
        Some(disks) => field(format_args!("{}:{}", if disks.nvme { "nvme" } else { "disk" }, disks.gb)),
        None => field(format_args!("-")),
    }
    match &kind.gpu {
        Some(gpu) => {
            field(format_args!("{}:{}:{}:{}", gpu.name, gpu.manufacturer, gpu.count, gpu.memory_mib))
        }
        None => field(format_args!("-")),
    }
    match &kind.neuron {
        Some(neuron) => field(format_args!("{}:{}:{}", neuron.name, neuron.count, neuron.cores_each)),
        None => field(format_args!("-")),
    }
    match kind.on_demand {
        Some(price) => field(format_args!("{}", price.0)),
        None => field(format_args!("-")),
    }
    for zone in zones {
        match kind.zone(zone) {
            None => field(format_args!(".")),
            Some(offer) => match offer.spot {
                None => field(format_args!("-")),
                Some(spot) => field(format_args!("{}{}", spot.usd.0, if spot.estimated { "~" } else { "" })),
            },
        }
    }
    text.push('\n');
}
