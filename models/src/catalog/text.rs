//! The catalogue's text format, version 1.0: made to be read in a diff and changed with an editor.
//!
//! ```text
//! stowage-catalog 1.0
//! # a comment; blank lines are fine, too
//! region us-east-1
//! types-as-of 2026-08-02
//! zone us-east-1a use1-az2
//! columns<TAB>name<TAB>arch<TAB>...<TAB>on-demand<TAB>us-east-1a
//! m5.large<TAB>amd64<TAB>...<TAB>96000<TAB>44000
//! ```
//!
//! **Header**: `region`; the dates `types-as-of`, `on-demand-as-of`, `spot-as-of`, `advisor-as-of` (`YYYY-MM-DD`, each
//! may be left out); any number of `source` lines with a sentence; one `zone <name> <id>` per zone; and last
//! `columns`, which names the fields of every line below, in any order, zones after their names.
//!
//! **Types**: one per line, fields separated by one tab each. `-` stands for none; an empty field is an error, since
//! nobody can tell "not sold" from "forgotten".
//!
//! | column | value |
//! |---|---|
//! | `name` | e.g. `m5.large` |
//! | `arch` | `amd64` or `arm64` |
//! | `cpu-maker` | `intel`, `amd`, `aws` |
//! | `mhz` | sustained clock speed, or `-` |
//! | `vcpus`, `memory-mib` | of the hardware |
//! | `hypervisor` | `nitro`, `xen`, or `-` for bare metal |
//! | `enis`, `ips-per-eni` | of the default network card; they decide how many pods fit |
//! | `network-mbps` | baseline, or `-` |
//! | `ebs-mbps` | maximum, or `-` |
//! | `efa`, `pod-eni` | Elastic Fabric Adapters, branch interfaces |
//! | `local-gb` | `nvme:<GB>`, `disk:<GB>` for disks not attached as NVMe, or `-` |
//! | `gpu` | `<name>:<manufacturer>:<count>:<MiB each>`, or `-` |
//! | `neuron` | `<name>:<devices>:<cores each>`, or `-` |
//! | `on-demand` | micro-dollars per hour (`96000` is $0.096), or `-` for not sold |
//! | each zone | spot price in micro-dollars per hour, with `~` after it if estimated; `-` no spot; `.` not offered |
//!
//! **Versions**: a reader of 1.0 reads every 1.x and ignores headers and columns it does not know there; it refuses
//! another major version. In a 1.0 file an unknown header or column is an error, because it is a typing mistake.

use super::error::CatalogError;
use super::fields::{Wrong, date, known_field, token, wrong, zone_field};
use super::{Catalog, InstanceType};
use std::collections::{BTreeMap, BTreeSet};

/// The word that starts a catalogue.
pub(super) const MAGIC: &str = "stowage-catalog";
/// The format version written, and the newest one understood in full.
pub(super) const VERSION: (u32, u32) = (1, 0);
/// Columns of a type, in the order they are written; the zones follow.
pub(super) const COLUMNS: [&str; 17] = [
    "name",
    "arch",
    "cpu-maker",
    "mhz",
    "vcpus",
    "memory-mib",
    "hypervisor",
    "enis",
    "ips-per-eni",
    "network-mbps",
    "ebs-mbps",
    "efa",
    "pod-eni",
    "local-gb",
    "gpu",
    "neuron",
    "on-demand",
];
/// What a column holds.
enum Column {
    /// An index into [`COLUMNS`].
    Known(usize),
    /// A zone.
    Zone { name: String, id: String },
    /// Of a newer minor version.
    Ignored,
}

/// See [`Catalog::parse`].
pub(super) fn parse(text: &str) -> Result<Catalog, CatalogError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end_matches('\r')));
    let newer = version(lines.next().map_or("", |(_, line)| line))?;
    let mut header = Header { newer, ..Header::default() };
    let mut columns: Option<Vec<Column>> = None;
    let mut types: Vec<(usize, InstanceType)> = Vec::new();
    let mut last = 1;
    for (number, line) in lines {
        last = number;
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match &columns {
            Some(columns) => types.push((number, type_line(number, line, columns)?)),
            None => columns = header.line(number, line)?,
        }
    }
    if columns.is_none() {
        return Err(missing_header(
            last,
            "columns",
            "add `columns` and the tab-separated names of the fields below it",
        ));
    }
    if header.catalog.region.is_empty() {
        return Err(missing_header(last, "region", "add a line such as `region us-east-1`"));
    }
    types.sort_by(|a, b| a.1.name.cmp(&b.1.name));
    for pair in types.windows(2) {
        if let [(first, a), (line, b)] = pair
            && a.name == b.name
        {
            return Err(CatalogError::Duplicate { line: *line, name: b.name.clone(), first: *first });
        }
    }
    if types.is_empty() {
        return Err(CatalogError::NoTypes);
    }
    header.catalog.types = types.into_iter().map(|(_, kind)| kind).collect();
    Ok(header.catalog)
}

fn missing_header(line: usize, key: &str, hint: &str) -> CatalogError {
    CatalogError::Header {
        line,
        key: key.to_owned(),
        problem: "is missing".to_owned(),
        hint: hint.to_owned(),
    }
}

/// Reads the first line; true if the file is of a newer minor version.
fn version(line: &str) -> Result<bool, CatalogError> {
    let mut words = line.split_whitespace();
    if words.next() != Some(MAGIC) {
        return Err(CatalogError::NotACatalog { found: line.chars().take(40).collect() });
    }
    let found = words.next().unwrap_or_default();
    let parsed = found
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    match parsed {
        Some((major, minor)) if major == VERSION.0 => Ok(minor > VERSION.1),
        _ => Err(CatalogError::Version { found: found.to_owned() }),
    }
}

#[derive(Default)]
struct Header {
    newer: bool,
    catalog: Catalog,
    zones: BTreeMap<String, String>,
}

impl Header {
    /// Reads one header line; `columns` ends the header and gives them.
    fn line(&mut self, line: usize, text: &str) -> Result<Option<Vec<Column>>, CatalogError> {
        let (key, value) = text.split_once([' ', '\t']).unwrap_or((text, ""));
        let value = value.trim();
        let result = match key {
            "columns" => self.columns(value).map(Some),
            "zone" => self.zone(value).map(|()| None),
            "source" => {
                self.catalog.sources.push(value.to_owned());
                Ok(None)
            }
            "region" => token(value).and_then(|region| once(&mut self.catalog.region, region)).map(|()| None),
            "types-as-of" => {
                date(value).and_then(|day| once(&mut self.catalog.types_as_of, day)).map(|()| None)
            }
            "on-demand-as-of" => {
                date(value).and_then(|day| once(&mut self.catalog.on_demand_as_of, day)).map(|()| None)
            }
            "spot-as-of" => {
                date(value).and_then(|day| once(&mut self.catalog.spot_as_of, day)).map(|()| None)
            }
            "advisor-as-of" => {
                date(value).and_then(|day| once(&mut self.catalog.advisor_as_of, day)).map(|()| None)
            }
            _ if self.newer => Ok(None),
            _ => Err(wrong(
                "is not known",
                "headers are region, types-as-of, on-demand-as-of, spot-as-of, advisor-as-of, source, zone and columns; \
                 lines of types go below `columns`",
            )),
        };
        result.map_err(|Wrong { problem, hint }| CatalogError::Header {
            line,
            key: key.to_owned(),
            problem,
            hint,
        })
    }

    fn zone(&mut self, value: &str) -> Result<(), Wrong> {
        let words: Vec<&str> = value.split_whitespace().collect();
        let [name, id] = words[..] else {
            return Err(wrong(
                format!("`{value}` is not a zone name and a zone id"),
                "write `zone us-east-1a use1-az2`",
            ));
        };
        let (name, id) = (token(name)?, token(id)?);
        match self.zones.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(wrong("this zone was given before", "remove one of the two lines")),
        }
    }

    fn columns(&self, value: &str) -> Result<Vec<Column>, Wrong> {
        let mut columns = Vec::new();
        let mut seen = BTreeSet::new();
        for name in value.split('\t') {
            if !seen.insert(name) {
                return Err(wrong(format!("column `{name}` is named twice"), "remove one of the two"));
            }
            columns.push(match (COLUMNS.iter().position(|known| *known == name), self.zones.get(name)) {
                (Some(index), _) => Column::Known(index),
                (None, Some(id)) => Column::Zone { name: name.to_owned(), id: id.clone() },
                (None, None) if self.newer => Column::Ignored,
                (None, None) => {
                    let hint =
                        "separate names by tabs; a zone's column needs a `zone <name> <id>` line above";
                    return Err(wrong(format!("column `{name}` is neither known nor a zone"), hint));
                }
            });
        }
        let mut wanted = COLUMNS.iter().copied().chain(self.zones.keys().map(String::as_str));
        match wanted.find(|name| !seen.contains(name)) {
            None => Ok(columns),
            Some(name) => {
                Err(wrong(format!("column `{name}` is missing"), "add it here and to every line below"))
            }
        }
    }
}

/// Sets a header that may be given once.
fn once(slot: &mut String, value: String) -> Result<(), Wrong> {
    if slot.is_empty() {
        *slot = value;
        return Ok(());
    }
    Err(wrong("was given before", "remove one of the two lines"))
}

fn type_line(line: usize, text: &str, columns: &[Column]) -> Result<InstanceType, CatalogError> {
    let fields: Vec<&str> = text.split('\t').map(str::trim).collect();
    let at = columns.iter().position(|column| matches!(column, Column::Known(0)));
    let name = at.and_then(|index| fields.get(index)).copied().unwrap_or_default();
    if fields.len() != columns.len() {
        let (found, expected) = (fields.len(), columns.len());
        return Err(CatalogError::Columns { line, name: name.to_owned(), found, expected });
    }
    let mut kind = InstanceType::default();
    for (column, value) in columns.iter().zip(fields) {
        let (field, result) = match column {
            Column::Known(index) => (COLUMNS[*index], known_field(&mut kind, COLUMNS[*index], value)),
            Column::Zone { name, id } => (name.as_str(), zone_field(&mut kind, name, id, value)),
            Column::Ignored => continue,
        };
        result.map_err(|Wrong { problem, hint }| CatalogError::Field {
            line,
            name: name.to_owned(),
            field: field.to_owned(),
            problem,
            hint,
        })?;
    }
    kind.zones.sort_by(|a, b| a.zone.cmp(&b.zone));
    Ok(kind)
}
