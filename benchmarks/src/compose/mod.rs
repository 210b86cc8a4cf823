//! Composed snapshots: clusters put together from public manifests and typical distributions, by seed.
//!
//! They are labelled "composed" in their `origin`, because nobody ran them. The committed ones under
//! `benchmarks/snapshots` are exactly what this module makes now; a test compares them byte by byte.

mod constrained;
pub mod known;
mod list;
mod mixed;
mod parts;
mod scaledown;
mod sizes;
mod small;
mod spread;
mod web;

use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use stowage_import::{Encoding, write_snapshot};
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

pub use list::COMPOSITIONS;

/// Version of the generator, part of `origin`. Raised whenever a seed comes to mean something else.
pub const GENERATOR: &str = "stowage-bench compose 1";

/// A snapshot the generator knows.
#[derive(Clone, Copy, Debug)]
pub struct Composition {
    /// Name, also of the file.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Seed used unless another is asked for.
    pub seed: u64,
    /// Kept in the repository; the others are made when needed.
    pub committed: bool,
    /// Slack it is meant to be planned with ([`stowage_models::plan::Policy::slack`]); zero where the optimum is known.
    pub slack: Ppm,
    make: fn(u64) -> Snapshot,
    optimum: Option<fn(u64) -> UsdMicros>,
}

impl Composition {
    /// One that is made when needed.
    const fn new(
        name: &'static str,
        seed: u64,
        about: &'static str,
        make: fn(u64) -> Snapshot,
    ) -> Composition {
        // `Policy::default` is no constant; a test compares the two.
        Composition { name, about, seed, committed: false, slack: Ppm(10_000), make, optimum: None }
    }

    /// One whose optimum is known at zero slack.
    const fn with_optimum(self, optimum: fn(u64) -> UsdMicros) -> Composition {
        Composition { slack: Ppm(0), optimum: Some(optimum), ..self }
    }

    /// One that is kept in the repository.
    const fn committed(self) -> Composition {
        Composition { committed: true, ..self }
    }

    /// A composition by name.
    ///
    /// # Errors
    /// If there is none; the message lists the names.
    pub fn named(name: &str) -> Result<Composition> {
        let Some(found) = COMPOSITIONS.iter().find(|composition| composition.name == name) else {
            let names: Vec<&str> = COMPOSITIONS.iter().map(|composition| composition.name).collect();
            bail!("no composition is named `{name}`; there are {}", names.join(", "));
        };
        Ok(*found)
    }

    /// The snapshot for `seed`.
    #[must_use]
    pub fn snapshot(&self, seed: u64) -> Snapshot {
        let mut snapshot = (self.make)(seed);
        snapshot.seed = seed;
        snapshot.origin = format!(
            "composed, seed {seed}, from public manifests (see benchmarks/data/manifests.json) and typical \
             distributions; {} ({GENERATOR})",
            self.about
        );
        // A fixed date: a clock reading would make every run differ.
        snapshot.taken_at = Some("2026-08-31T12:00:00Z".to_owned());
        snapshot.normalise();
        snapshot
    }

    /// The least any launches cost that place all pods of the snapshot for `seed`, with the embedded catalogue and
    /// [`Composition::slack`], where that is known ([`known`]).
    #[must_use]
    pub fn optimum(&self, seed: u64) -> Option<UsdMicros> {
        self.optimum.map(|optimum| optimum(seed))
    }

    /// Where the committed file is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots").join(format!("{}.json.zst", self.name))
    }
}

/// The document of a snapshot, uncompressed.
#[must_use]
pub fn document(snapshot: &Snapshot) -> Vec<u8> {
    write_snapshot(snapshot, Encoding::Json)
}

/// Writes a snapshot; a name that ends in `.zst` is compressed.
///
/// # Errors
/// If the file cannot be written.
pub fn write(snapshot: &Snapshot, path: &Path) -> Result<()> {
    // Files are made once and read often: the slow level costs a second and saves a third of the size.
    const LEVEL: i32 = 19;
    let plain = document(snapshot);
    let compressed = path.extension().is_some_and(|extension| extension == "zst");
    let bytes = if compressed { zstd::encode_all(plain.as_slice(), LEVEL)? } else { plain };
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
