//! Putting parts together, if they are all there and fit.

use super::listing::{Listing, digest_of};
use super::part::{self, Read};
use super::row::Row;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// How many names a message lists.
const NAMES_MAX: usize = 10;

/// Reads all parts in these folders, or these parts, and gives all results sorted by path.
///
/// # Errors
/// If a share is missing or not finished, a snapshot is missing or there twice, or the parts are of different
/// listings, settings or catalogues. The message says which, and what to do.
pub fn merge(places: &[PathBuf]) -> Result<Vec<Row>> {
    let mut parts: Vec<(PathBuf, Listing, Vec<Row>)> = Vec::new();
    for path in part_files(places)? {
        let Read { listing, rows, torn } = part::read(&path)?;
        let Some(listing) = listing else {
            bail!("{} does not begin with a listing; run its share again", path.display());
        };
        if let Some(line) = torn.first() {
            let share = listing.index;
            bail!("{}: line {line} is torn; run share {share} again, it will redo it", path.display());
        }
        parts.push((path, listing, rows));
    }
    shares_are_complete(&parts)?;
    let mut merged: BTreeMap<String, Row> = BTreeMap::new();
    for (path, listing, rows) in parts {
        snapshots_are_complete(&path, &listing, &rows)?;
        for row in rows {
            if let Some(other) = merged.insert(row.path.clone(), row) {
                bail!("{} and another part both have {}", path.display(), other.path);
            }
        }
    }
    same_conditions(&merged)?;
    Ok(merged.into_values().collect())
}

/// Files that are parts, sorted.
fn part_files(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for place in places {
        if !place.is_dir() {
            files.push(place.clone());
            continue;
        }
        let cannot = || format!("cannot list {}", place.display());
        for entry in std::fs::read_dir(place).with_context(cannot)? {
            let name = entry.with_context(cannot)?.file_name();
            let is_part = name.to_str().is_some_and(|name| {
                name.starts_with("part-") && name.contains("-of-") && name.ends_with(".jsonl")
            });
            if is_part {
                files.push(place.join(name));
            }
        }
    }
    files.sort();
    files.dedup();
    if files.is_empty() {
        let places: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
        bail!("no parts (part-...-of-....jsonl) in {}", places.join(", "));
    }
    Ok(files)
}

/// Every share once, all cut from the same listing.
fn shares_are_complete(parts: &[(PathBuf, Listing, Vec<Row>)]) -> Result<()> {
    let [(first_path, first, _), rest @ ..] = parts else { bail!("no parts") };
    let mut have: BTreeMap<u32, &Path> = BTreeMap::from([(first.index, first_path.as_path())]);
    for (path, listing, _) in rest {
        if listing.of != first.of {
            bail!(
                "{} is one of {} shares and {} one of {}; keep the parts of one split",
                first_path.display(),
                first.of,
                path.display(),
                listing.of
            );
        }
        if (listing.snapshots, &listing.digest) != (first.snapshots, &first.digest) {
            bail!(
                "snapshots were added, removed or renamed between the shares: {} lists {} in all, {} lists {}; run all \
                 shares again, they keep what holds",
                first_path.display(),
                first.snapshots,
                path.display(),
                listing.snapshots
            );
        }
        if let Some(other) = have.insert(listing.index, path) {
            bail!("{} and {} are both share {}", other.display(), path.display(), listing.index);
        }
    }
    let missing: Vec<String> = (0..first.of.get())
        .filter(|index| !have.contains_key(index))
        .map(|index| index.to_string())
        .collect();
    if !missing.is_empty() {
        bail!("missing shares, of {}: {}; run them", first.of, some(&missing));
    }
    let mut paths: Vec<String> = parts.iter().flat_map(|(_, listing, _)| listing.paths.clone()).collect();
    paths.sort();
    if digest_of(&paths) != first.digest {
        bail!(
            "the shares do not add up to the {} snapshots they were cut from; run them again",
            first.snapshots
        );
    }
    Ok(())
}

/// Every snapshot of a share once, and nothing else.
fn snapshots_are_complete(path: &Path, listing: &Listing, rows: &[Row]) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = listing.paths.iter().map(|path| (path.as_str(), 0)).collect();
    for row in rows {
        match counts.get_mut(row.path.as_str()) {
            Some(count) => *count += 1,
            None => bail!("{} has a result of {}, which is not of its share", path.display(), row.path),
        }
    }
    let with = |wanted: &dyn Fn(usize) -> bool| -> Vec<String> {
        counts.iter().filter(|(_, count)| wanted(**count)).map(|(name, _)| (*name).to_owned()).collect()
    };
    let (missing, double) = (with(&|count| count == 0), with(&|count| count > 1));
    let (path, share) = (path.display(), listing.index);
    if !missing.is_empty() {
        let count = missing.len();
        bail!(
            "{path}: {count} of {} results {} missing: {}; run share {share} again",
            listing.paths.len(),
            are(count),
            some(&missing)
        );
    }
    if !double.is_empty() {
        bail!("{path} has more than one result of {}; run share {share} again", some(&double));
    }
    Ok(())
}

/// Results of different settings or prices must not be added up.
fn same_conditions(rows: &BTreeMap<String, Row>) -> Result<()> {
    let Some(first) = rows.values().next() else { return Ok(()) };
    for row in rows.values() {
        let what = if row.catalog != first.catalog {
            "catalogues"
        } else if row.settings != first.settings {
            "settings"
        } else {
            continue;
        };
        bail!("{} and {} were planned with different {what}; run all shares again", first.path, row.path);
    }
    Ok(())
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// The first names, and how many more.
fn some(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMES_MAX)].join(", ");
    match names.len().saturating_sub(NAMES_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Writes merged results, at once or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn write(rows: &[Row], to: &Path) -> Result<()> {
    let text: String = rows.iter().map(|row| row.line() + "\n").collect();
    part::replace(to, text.as_bytes())
}
