//! Writing snapshot documents.

use serde::Serialize;
use stowage_models::snapshot::Snapshot;

/// How a snapshot document is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON with one header field, and one object of each list, per line: compact, and diffs show objects.
    #[default]
    Json,
    /// YAML, for reading and editing; several times slower to read back than JSON.
    Yaml,
    /// The JSON form compressed with zstd, for keeping.
    JsonZstd,
}

/// zstd level: its default, beyond which snapshots get hardly smaller but much slower.
const ZSTD_LEVEL: i32 = 3;

/// Writes a snapshot document that [`crate::import`] reads back as an equal snapshot (if its lists are sorted, as
/// [`Snapshot::normalise`] leaves them). Equal snapshots give equal bytes.
///
/// # Panics
/// Never for the types of `stowage-models`: all their map keys are strings, and writing to memory does not fail.
#[must_use]
pub fn write_snapshot(snapshot: &Snapshot, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Json => json(snapshot),
        Encoding::Yaml => {
            // Block scalars save nothing here, and quoting keeps every string on its own line.
            let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
            serde_saphyr::to_string_with_options(snapshot, options)
                .expect("models serialise to YAML")
                .into_bytes()
        }
        Encoding::JsonZstd => {
            zstd::stream::encode_all(json(snapshot).as_slice(), ZSTD_LEVEL).expect("compression to memory")
        }
    }
}

fn json(snapshot: &Snapshot) -> Vec<u8> {
    // Every field is named, so that a new one does not compile until it is written.
    let Snapshot {
        kind,
        format_version,
        taken_at,
        origin,
        seed,
        settings,
        notes,
        node_pools,
        node_classes,
        node_overlays,
        node_claims,
        nodes,
        pods,
        daemon_sets,
        pod_disruption_budgets,
        volume_claims,
        volumes,
        storage_classes,
        namespaces,
        notices,
    } = snapshot;
    let mut lines = Lines(b"{\n".to_vec());
    lines.field("kind", kind);
    lines.field("formatVersion", format_version);
    if let Some(taken_at) = taken_at {
        lines.field("takenAt", taken_at);
    }
    if !origin.is_empty() {
        lines.field("origin", origin);
    }
    lines.field("seed", seed);
    lines.field("settings", settings);
    lines.list("notes", notes);
    lines.list("nodePools", node_pools);
    lines.list("nodeClasses", node_classes);
    lines.list("nodeOverlays", node_overlays);
    lines.list("nodeClaims", node_claims);
    lines.list("nodes", nodes);
    lines.list("pods", pods);
    lines.list("daemonSets", daemon_sets);
    lines.list("podDisruptionBudgets", pod_disruption_budgets);
    lines.list("volumeClaims", volume_claims);
    lines.list("volumes", volumes);
    lines.list("storageClasses", storage_classes);
    lines.list("namespaces", namespaces);
    lines.list("notices", notices);
    lines.end()
}

/// A JSON object under construction; every line ends in `,\n` until the end takes the comma back.
struct Lines(Vec<u8>);

impl Lines {
    fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut self.0, value).expect("models serialise to JSON");
        self.0.extend_from_slice(b",\n");
    }

    fn key(&mut self, name: &str) {
        self.0.extend_from_slice(format!("\"{name}\": ").as_bytes());
    }

    fn field(&mut self, name: &str, value: &impl Serialize) {
        self.key(name);
        self.value(value);
    }

    fn list<T: Serialize>(&mut self, name: &str, items: &[T]) {
        if items.is_empty() {
            return;
        }
        self.key(name);
        self.0.extend_from_slice(b"[\n");
        for item in items {
            self.value(item);
        }
        self.drop_comma();
        self.0.extend_from_slice(b"\n],\n");
    }

    fn drop_comma(&mut self) {
        let end = self.0.len() - b",\n".len();
        self.0.truncate(end);
    }

    fn end(mut self) -> Vec<u8> {
        self.drop_comma();
        self.0.extend_from_slice(b"\n}\n");
        self.0
    }
}
