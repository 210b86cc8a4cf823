//! `stowage import`.

use crate::args::{ImportArgs, SnapshotFormat};
use crate::failure::{Exit, Failure};
use crate::input::{self, Input};
use crate::output::Console;
use std::collections::BTreeMap;
use std::path::Path;
use stowage_import::{Encoding, Imported, Source, openb};

/// Reads whatever it is given and writes a snapshot.
///
/// # Errors
/// When input cannot be read or output not be written.
pub fn run(args: &ImportArgs, console: &Console) -> Result<Exit, Failure> {
    let imported = if args.openb { read_openb(args)? } else { read_lists(args)? };
    let format = args.format.unwrap_or_else(|| format_of(args.target.out.as_deref()));
    let bytes = stowage_import::write_snapshot(&imported.snapshot, encoding(format));
    console.deliver(&bytes, args.target.out.as_deref())?;
    console.remark(&summary(&imported));
    for note in &imported.snapshot.notes {
        console.remark(&format!("{} {note}", console.stderr.notable("note:")));
    }
    Ok(Exit::Ok)
}

fn read_lists(args: &ImportArgs) -> Result<Imported, Failure> {
    let inputs = input::read_all(&args.inputs)?;
    let sources: Vec<Source<'_>> = inputs.iter().map(Input::source).collect();
    Ok(stowage_import::import(&sources)?)
}

fn read_openb(args: &ImportArgs) -> Result<Imported, Failure> {
    let [pods] = args.inputs.as_slice() else {
        return Err(Failure::new(
            "--openb",
            "takes one pod list",
            "stowage import --openb PODS.csv --nodes NODES.csv",
        ));
    };
    let pods = input::read(pods)?;
    let nodes = args.nodes.as_deref().map(input::read).transpose()?;
    Ok(openb::convert(pods.source(), nodes.as_ref().map(Input::source))?)
}

/// By the name of the file.
fn format_of(path: Option<&Path>) -> SnapshotFormat {
    match path.and_then(Path::extension).and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => SnapshotFormat::Yaml,
        Some("zst" | "zstd") => SnapshotFormat::Zstd,
        _ => SnapshotFormat::Json,
    }
}

/// The importer's name of a format.
fn encoding(format: SnapshotFormat) -> Encoding {
    match format {
        SnapshotFormat::Json => Encoding::Json,
        SnapshotFormat::Yaml => Encoding::Yaml,
        SnapshotFormat::Zstd => Encoding::JsonZstd,
    }
}

fn summary(imported: &Imported) -> String {
    let list = |objects: &BTreeMap<String, usize>| {
        let counts: Vec<String> = objects.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") }
    };
    let mut text = format!("read {}", list(&imported.read));
    if !imported.skipped.is_empty() {
        text.push_str(&format!("; skipped {}", list(&imported.skipped)));
    }
    text
}
