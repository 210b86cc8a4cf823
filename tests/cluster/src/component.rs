//! One program of the control plane.

use crate::error::Error;
use crate::supervisor::Supervisor;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// How much of a log an error shows.
const LOG_LINES_MAX: usize = 20;

/// A running program.
#[derive(Debug)]
pub(crate) struct Component {
    /// Its name.
    pub(crate) name: &'static str,
    child: Child,
    log: PathBuf,
    /// With what it was started.
    pub(crate) arguments: Vec<String>,
}

impl Component {
    /// Starts `name` from the directory of binaries. What it prints goes to the end of a file in the supervisor's directory.
    pub(crate) fn start(
        name: &'static str,
        binaries: &Path,
        supervisor: &Supervisor,
        arguments: &[String],
    ) -> Result<Component, Error> {
        let log = supervisor.directory().join(format!("{name}.log"));
        let file: Result<File, _> = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(Error::system(format!("create {}", log.display())))?;
        let copy = file.try_clone().map_err(Error::system(format!("share {}", log.display())))?;
        let child = Command::new(binaries.join(name))
            .args(arguments)
            .current_dir(supervisor.directory())
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(copy)
            .process_group(supervisor.group())
            .spawn()
            .map_err(Error::system(format!("start {name}")))?;
        Ok(Component { name, child, log, arguments: arguments.to_vec() })
    }

    /// Its process number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        let status = self.child.try_wait().map_err(Error::system(format!("ask for {}", self.name)))?;
        match status {
            None => Ok(()),
            Some(status) => Err(Error::Ended {
                program: self.name.to_owned(),
                status: status.to_string(),
                log: self.log_tail(),
            }),
        }
    }

    /// The last lines of its log.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// Kills it: no word, no tidying, as in a crash.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.reap();
    }

    /// Waits for its end: it has been killed, and a program nobody waits for stays in the process table.
    pub(crate) fn reap(&mut self) {
        let _ = self.child.wait();
    }
}
