//! Which snapshots there are, and whose they are.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::num::NonZeroU32;
use std::path::Path;
use stowage_models::digest;

/// Endings of the files the importer reads; each also with `.zst`.
pub const ENDINGS: [&str; 3] = [".json", ".yaml", ".yml"];

/// Which part of the work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// From 0, below `of`.
    pub index: u32,
    /// Number of shares.
    pub of: NonZeroU32,
}

impl Share {
    /// Everything.
    pub const ALL: Share = Share { index: 0, of: NonZeroU32::MIN };

    /// Whether a snapshot is in this share.
    ///
    /// The hash of the path alone decides, not its position: a snapshot then stays in its share when others are recorded or
    /// removed, and so does its result. The price is that shares are of like, not equal size: of 1,000 snapshots in 10
    /// shares, 100 ± 10.
    #[must_use]
    pub fn has(self, path: &str) -> bool {
        let hash = Sha256::digest(path);
        let first = hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
        first % u64::from(self.of.get()) == u64::from(self.index)
    }
}

/// What a process saw when it listed the snapshots: the first line of its file, which lets a merge tell what should
/// be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The share's index.
    pub index: u32,
    /// Number of shares.
    pub of: NonZeroU32,
    /// How many snapshots there are in all shares.
    pub snapshots: u64,
    /// Digest of the paths of all of them ([`digest_of`]).
    pub digest: String,
    /// Paths of this share, sorted.
    pub paths: Vec<String>,
}

impl Listing {
    /// Lists a folder, and what of it belongs to the share.
    ///
    /// # Errors
    /// If a folder cannot be read, a name is not UTF-8, or there is no snapshot at all.
    pub fn of(folder: &Path, share: Share) -> Result<Listing> {
        let mut paths = Vec::new();
        collect(folder, "", &mut paths)?;
        if paths.is_empty() {
            let endings = ENDINGS.join(", ");
            bail!("no snapshots in {}: no file ends in {endings}, plain or with .zst", folder.display());
        }
        paths.sort();
        Ok(Listing {
            index: share.index,
            of: share.of,
            snapshots: paths.len() as u64,
            digest: digest_of(&paths),
            paths: paths.into_iter().filter(|path| share.has(path)).collect(),
        })
    }
}

/// The digest of sorted paths.
#[must_use]
pub fn digest_of(paths: &[String]) -> String {
    digest::of_json(&paths)
}

fn collect(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> Result<()> {
    let cannot = || format!("cannot list {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            bail!("the name of {} is not UTF-8; rename it", entry.path().display());
        };
        // Hidden files are somebody's bookkeeping; Kubernetes keeps the targets of a volume's links in hidden folders.
        if name.starts_with('.') {
            continue;
        }
        let path = format!("{prefix}{name}");
        // A link to a file is followed. One to a folder is not: it might lead in circles.
        if entry.file_type().with_context(cannot)?.is_dir() {
            collect(&entry.path(), &format!("{path}/"), paths)?;
        } else if is_snapshot(name) && !entry.path().is_dir() {
            paths.push(path);
        }
    }
    Ok(())
}

fn is_snapshot(name: &str) -> bool {
    let plain = name.strip_suffix(".zst").unwrap_or(name);
    ENDINGS.iter().any(|ending| plain.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(of: u32) -> Vec<Share> {
        let of = NonZeroU32::new(of).expect("not zero");
        (0..of.get()).map(|index| Share { index, of }).collect()
    }

    #[test]
    fn every_path_is_in_exactly_one_share_of_fair_size() {
        let paths: Vec<String> = (0..1_000).map(|number| format!("day-{number}/cluster.json")).collect();
        for of in [1, 2, 7, 10] {
            let shares = shares(of);
            for path in &paths {
                assert_eq!(shares.iter().filter(|share| share.has(path)).count(), 1, "{path} of {of}");
            }
            let fair = 1_000 / u64::from(of);
            for share in shares {
                let size = paths.iter().filter(|path| share.has(path)).count() as u64;
                assert!(size * 10 >= fair * 7 && size * 10 <= fair * 13, "{share:?} has {size}");
            }
        }
    }

    #[test]
    fn shares_never_change_their_meaning() {
        // Results of other versions are resumed: these two must stay where they are.
        let of = NonZeroU32::new(10).expect("not zero");
        let whose = |path: &str| (0..10).find(|&index| Share { index, of }.has(path));
        assert_eq!((whose("a.json"), whose("2026-08-31/b.yaml.zst")), (Some(0), Some(8)));
    }

    #[test]
    fn the_importers_files_are_snapshots() {
        let yes = ["a.json", "a.yaml", "a.yml", "a.json.zst", "a.yaml.zst"];
        assert!(yes.iter().all(|name| is_snapshot(name)));
        let no = ["a.jsonl", "a.txt", "a.zst", "json", "part-00000-of-00001.jsonl"];
        assert!(!no.iter().any(|name| is_snapshot(name)));
    }
}
