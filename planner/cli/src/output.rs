//! Writing: stdout that may close early, files that appear whole or not at all, messages on stderr.

use crate::args::Color;
use crate::failure::Failure;
use crate::style::Palette;
use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

/// The terminal: where data and messages go, and in which colours.
#[derive(Debug)]
pub struct Console {
    /// Colours of stdout.
    pub stdout: Palette,
    /// Colours of stderr.
    pub stderr: Palette,
}

impl Console {
    /// Looks at the flag, the environment and whether the streams are terminals.
    #[must_use]
    pub fn new(color: Color) -> Console {
        let palette = |is_terminal: bool| Palette::new(color, is_terminal);
        Console { stdout: palette(io::stdout().is_terminal()), stderr: palette(io::stderr().is_terminal()) }
    }

    /// Prints data.
    ///
    /// # Errors
    /// [`Failure::Closed`] when the reader is gone; otherwise when stdout cannot be written (a full disk).
    pub fn print(&self, text: &str) -> Result<(), Failure> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints data that need not be text.
    ///
    /// # Errors
    /// As [`Console::print`].
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|cause| {
            if cause.kind() == io::ErrorKind::BrokenPipe {
                Failure::Closed
            } else {
                Failure::new("stdout", reason(&cause), "check where the output is redirected to")
            }
        })
    }

    /// Prints a remark on stderr.
    pub fn remark(&self, text: &str) {
        // There is nowhere left to complain if stderr is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Prints data to `path`, or to stdout if there is none.
    ///
    /// # Errors
    /// As [`Console::print`] and [`write_file`].
    pub fn deliver(&self, bytes: &[u8], path: Option<&Path>) -> Result<(), Failure> {
        match path {
            Some(path) => write_file(path, bytes),
            None => self.print_bytes(bytes),
        }
    }

    /// Prints a failure on stderr.
    pub fn report(&self, failure: &Failure) {
        let paint = &self.stderr;
        match failure {
            Failure::Plain { place, message, hint } => {
                self.remark(&format!("{} {place}: {message}", paint.bad("error:")));
                if !hint.is_empty() {
                    self.remark(&format!("{} {hint}", paint.strong("hint:")));
                }
            }
            Failure::Refused { place, findings } => self.report_findings(place, findings, failure.exit()),
            Failure::Closed => {}
        }
    }

    fn report_findings(
        &self,
        place: &str,
        findings: &[stowage_checker::Finding],
        exit: crate::failure::Exit,
    ) {
        let paint = &self.stderr;
        let stale = exit == crate::failure::Exit::Stale;
        let verdict = if stale { "stale: it was made for other input" } else { "refused by the referee" };
        self.remark(&format!("{} {place}: {verdict}", paint.bad("error:")));
        for finding in findings.iter().take(FINDINGS_MAX) {
            self.remark(&format!("  {}: {}", paint.strong(finding.code), finding.message));
        }
        if findings.len() > FINDINGS_MAX {
            self.remark(&format!("  ... and {} more", findings.len() - FINDINGS_MAX));
        }
        let hint = if stale {
            "plan again with the current snapshot and catalogue"
        } else {
            "do not use this plan; make a new one"
        };
        self.remark(&format!("{} {hint}", paint.strong("hint:")));
    }
}

/// Findings printed at most: one wrong figure makes hundreds of others disagree, and nobody reads past a screen.
const FINDINGS_MAX: usize = 20;

/// Replaces `path` by `bytes`: a temporary file beside it, then a rename, so that readers see the old content or the
/// new and an error leaves nothing behind.
///
/// # Errors
/// When the directory cannot be written or the disk is full; names the path.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    // Devices and pipes (`/dev/stdout`, process substitution) cannot be renamed over.
    let is_special = path.metadata().is_ok_and(|meta| !meta.is_file());
    let written = if path.is_dir() {
        Err(io::Error::from(io::ErrorKind::IsADirectory))
    } else if is_special {
        File::options().write(true).open(path).and_then(|mut file| file.write_all(bytes))
    } else {
        replace(path, bytes)
    };
    written.map_err(|cause| unwritable(path, &cause))
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let result = File::options().write(true).create_new(true).open(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        drop(file);
        std::fs::rename(&temporary, path)
    });
    if result.is_err() {
        // The first error is the one worth telling.
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

/// `.plan.json.1234.tmp` beside `plan.json`: hidden, and different for every process.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
    let temporary = format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id());
    Ok(path.with_file_name(temporary))
}

fn unwritable(path: &Path, cause: &io::Error) -> Failure {
    let hint = match cause.kind() {
        io::ErrorKind::NotFound => "create the directory first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "choose a directory you may write to"
        }
        io::ErrorKind::StorageFull => "free some space; the old file, if any, is untouched",
        io::ErrorKind::IsADirectory => "name a file, not a directory",
        io::ErrorKind::NotADirectory => "a part of the path is a file; choose another path",
        _ => "choose another path",
    };
    Failure::new(path.display().to_string(), format!("cannot write: {}", reason(cause)), hint)
}

/// What the operating system says, without its error number.
#[must_use]
pub fn reason(cause: &io::Error) -> String {
    let text = cause.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => String::new(),
    }
}
