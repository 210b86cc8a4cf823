//! The file of a share: a line that says what belongs to it, then a line per result.
//!
//! Lines are appended whole and synced, so a kill loses at most the last one, and shows: it has no end or is no
//! JSON. A start keeps the lines that still hold and puts a file of exactly these in the old one's place at once, so
//! a part never has two results of a snapshot.

use super::listing::Listing;
use super::row::Row;
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    share: Listing,
}

/// The name of a share's file.
#[must_use]
pub fn name(index: u32, of: u32) -> String {
    format!("part-{index:05}-of-{of:05}.jsonl")
}

/// A part as it was read.
#[derive(Debug, Default)]
pub struct Read {
    /// What belongs to it; `None` if its first line is torn.
    pub listing: Option<Listing>,
    /// Its results in the file's order.
    pub rows: Vec<Row>,
    /// Lines that are neither, by number from 1.
    pub torn: Vec<usize>,
}

/// Reads a part.
///
/// # Errors
/// If the file cannot be read.
pub fn read(path: &Path) -> Result<Read> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut read = Read::default();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        // A line without its end was being written when the process was killed.
        let whole = line.strip_suffix(b"\n");
        if index == 0 {
            read.listing = whole.and_then(|line| Some(serde_json::from_slice::<Header>(line).ok()?.share));
        } else if let Some(row) = whole.and_then(|line| serde_json::from_slice(line).ok()) {
            read.rows.push(row);
        } else {
            read.torn.push(index + 1);
        }
    }
    Ok(read)
}

/// A part that is being written. While it lives, no other process writes it.
#[derive(Debug)]
pub struct Part {
    path: PathBuf,
    file: Mutex<File>,
    _lock: Lock,
}

/// The right to write a part. It ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Takes the right to write a share's part in a folder, which is made if there is none.
    ///
    /// # Errors
    /// If another process has it, or the folder cannot be written.
    pub fn take(folder: &Path, index: u32, of: u32) -> Result<Lock> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let name = name(index, of);
        let (path, lock) = (folder.join(&name), folder.join(format!(".{name}.lock")));
        let file = OpenOptions::new().create(true).append(true).open(&lock);
        let file = file.with_context(|| format!("cannot write {}", lock.display()))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => bail!(
                "another process is writing {}; wait for its end, or take another share or folder",
                path.display()
            ),
            // A file system without locks is trusted to be written by one process only.
            Err(TryLockError::Error(error)) if error.kind() != ErrorKind::Unsupported => {
                Err(error).with_context(|| format!("cannot lock {}", lock.display()))
            }
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Lock { path, _file: file }),
        }
    }

    /// The results of earlier processes; none if there was none.
    ///
    /// # Errors
    /// If there is a file and it cannot be read.
    pub fn before(&self) -> Result<Vec<Row>> {
        if self.path.exists() { Ok(read(&self.path)?.rows) } else { Ok(Vec::new()) }
    }

    /// Starts the part anew with the results worth keeping.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn start<'a>(self, listing: &Listing, kept: impl Iterator<Item = &'a Row>) -> Result<Part> {
        let header = serde_json::to_string(&Header { share: listing.clone() })?;
        let lines = std::iter::once(header).chain(kept.map(Row::line));
        let text: String = lines.map(|line| line + "\n").collect();
        replace(&self.path, text.as_bytes())?;
        let file = OpenOptions::new().append(true).open(&self.path);
        let file = file.with_context(|| format!("cannot append to {}", self.path.display()))?;
        Ok(Part { path: self.path.clone(), file: Mutex::new(file), _lock: self })
    }
}

impl Part {
    /// Appends a result. Once this returns, it survives the process and the machine.
    ///
    /// # Errors
    /// If it cannot be written, for example because the disk is full.
    pub fn append(&self, row: &Row) -> Result<()> {
        let line = row.line() + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let written = file.write_all(line.as_bytes()).and_then(|()| file.sync_data());
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Writes a file so that there is the old one or the new one at any time.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
