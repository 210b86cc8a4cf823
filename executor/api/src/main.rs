//! Renders the definitions of all custom resources into a directory, by default `charts/stowage-crd/templates`.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let directory = std::env::args().nth(1).map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/stowage-crd/templates")),
        PathBuf::from,
    );
    let definitions = match stowage_api::definitions() {
        Ok(definitions) => definitions,
        Err(error) => return fail(&error.to_string()),
    };
    for definition in definitions {
        let path = directory.join(stowage_api::file_name(&definition));
        let written = stowage_api::render(&definition)
            .and_then(|text| std::fs::write(&path, text).map_err(|error| error.to_string()));
        if let Err(error) = written {
            return fail(&format!("{}: {error}", path.display()));
        }
        println!("{}", path.display());
    }
    ExitCode::SUCCESS
}

fn fail(error: &str) -> ExitCode {
    eprintln!("stowage-crds: {error}");
    ExitCode::FAILURE
}
