//! Reading files and stdin whole, with a limit.

use crate::failure::Failure;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use stowage_checker::Finding;
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Plan;

/// Largest accepted input, 1 GiB. `kubectl get pods -o json` prints about 8 KiB per pod, so this is some 130,000 pods
/// in one file, above the 100,000 the planner is sized for; anything larger is most likely the wrong file.
const INPUT_BYTES_MAX: u64 = 1 << 30;

/// The name of stdin among inputs.
const STDIN: &str = "-";

/// A file or stdin, read.
#[derive(Debug)]
pub struct Input {
    /// Path, or `stdin`.
    pub name: String,
    /// Content.
    pub bytes: Vec<u8>,
}

impl Input {
    /// As the importer wants it.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        Source { name: &self.name, bytes: &self.bytes }
    }
}

/// Reads one input; `-` is stdin.
///
/// # Errors
/// When it cannot be read, is empty or too large.
pub fn read(path: &Path) -> Result<Input, Failure> {
    let (name, content) = if path == Path::new(STDIN) {
        let stdin = io::stdin();
        if stdin.is_terminal() {
            return Err(Failure::new(
                "stdin",
                "is a terminal, not data",
                "pipe it in, for example `kubectl get pods -A -o json | stowage plan -`",
            ));
        }
        ("stdin".to_owned(), read_limited(stdin.lock(), INPUT_BYTES_MAX))
    } else {
        let opened = File::open(path).and_then(|file| read_limited(file, INPUT_BYTES_MAX));
        (path.display().to_string(), opened)
    };
    let bytes = content.map_err(|cause| unreadable(&name, &cause))?;
    if bytes.is_empty() {
        let hint = "an empty cluster still prints a list; did the command that wrote this fail?";
        return Err(Failure::new(name, "is empty", hint));
    }
    Ok(Input { name, bytes })
}

/// Reads several inputs in order.
///
/// # Errors
/// At the first that cannot be read, and when stdin is named twice.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Input>, Failure> {
    if paths.iter().filter(|path| *path == Path::new(STDIN)).count() > 1 {
        return Err(Failure::new(
            "stdin",
            "is named more than once",
            "stdin can be read only once; write one of them to a file",
        ));
    }
    paths.iter().map(|path| read(path)).collect()
}

/// Keeps outputs apart from inputs and from each other.
///
/// # Errors
/// At the first output that is a file the command reads, or writes twice.
pub fn keep_apart(inputs: &[PathBuf], outputs: &[&Path]) -> Result<(), Failure> {
    let file = |path: &Path| path.canonicalize().ok().filter(|path| path.is_file());
    for (at, output) in outputs.iter().enumerate() {
        let same =
            |other: &Path| other == *output || file(other).is_some_and(|other| Some(other) == file(output));
        let place = output.display().to_string();
        if inputs.iter().any(|input| same(input)) {
            return Err(Failure::new(place, "is an input of this command, too", "write to another file"));
        }
        if outputs[..at].iter().any(|other| same(other)) {
            return Err(Failure::new(place, "would be written twice", "give each output a file of its own"));
        }
    }
    Ok(())
}

/// Reads a plan document.
///
/// # Errors
/// When it cannot be read, is no plan of this major version, or was changed after it was made.
pub fn read_plan(path: &Path) -> Result<Plan, Failure> {
    unaltered(&read(path)?)
}

/// The plan of an input, if its id is the digest of its content.
///
/// # Errors
/// As [`read_plan`].
pub fn unaltered(input: &Input) -> Result<Plan, Failure> {
    let source = input.source();
    let plan = stowage_import::read_plan(source)?;
    let id = plan.compute_id();
    if plan.id == id {
        return Ok(plan);
    }
    let message = format!("the plan calls itself {}, but its content has the digest {id}", plan.id);
    Err(Failure::Refused {
        place: source.name.to_owned(),
        findings: vec![Finding { code: stowage_checker::code::ID, message }],
    })
}

/// The catalogue to use: the file's, or the embedded one.
///
/// # Errors
/// When the file cannot be read or is no catalogue.
pub fn read_catalog(path: Option<&Path>) -> Result<std::borrow::Cow<'static, Catalog>, Failure> {
    let Some(path) = path else {
        return Ok(std::borrow::Cow::Borrowed(Catalog::embedded()));
    };
    let input = read(path)?;
    crate::commands::catalog::parse(&input).map(std::borrow::Cow::Owned)
}

fn read_limited(content: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    content.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("is larger than {} MiB", limit >> 20),
        ));
    }
    Ok(bytes)
}

fn unreadable(name: &str, cause: &io::Error) -> Failure {
    let hint = match cause.kind() {
        io::ErrorKind::NotFound => "check the path; `-` reads stdin",
        io::ErrorKind::PermissionDenied => "check the file's permissions",
        io::ErrorKind::IsADirectory => "name the files in it",
        io::ErrorKind::FileTooLarge => "split it by namespace and name all parts, or record fewer kinds",
        _ => "check that the file is complete and on a working disk",
    };
    Failure::new(name, crate::output::reason(cause), hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_large_input_is_refused_and_not_cut() {
        assert_eq!(read_limited(&b"1234"[..], 4).map(|bytes| bytes.len()).ok(), Some(4));
        let refused = read_limited(&b"12345"[..], 4).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::FileTooLarge);
    }
}
