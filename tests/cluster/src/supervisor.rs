//! Nothing outlives the test process: not when it ends, not when it is killed.
//!
//! A shell owns the process group of all programs and the directory with all their files. It waits for the end of its
//! standard input, a pipe whose other end only this process holds. The kernel closes that end when the process is gone,
//! whatever it died of; then the shell kills the group and removes the directory. Dropping a [`Supervisor`] closes the
//! pipe too: there is one way out, and every test exercises it. (Linux could do it with a parent-death signal; that one is sent
//! when the spawning *thread* ends, and needs `unsafe`.)

use crate::error::Error;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// `set -m` puts the watching part into a process group of its own, so that it survives killing the group and can tidy up.
/// The group's leader (`$$`) only waits: while it lives, the group's number cannot be anyone else's. Programs that
/// are being killed may still create a file, so the directory is removed again until it stays so.
const SCRIPT: &str = r#"
set -m
{
    cat
    kill -KILL -- -$$
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ "$2" = keep ] && break
        rm -rf -- "$1" && break
        sleep 0.1
    done
} <&0 &
wait
"#;

/// Set to keep the directory, with all logs, of every cluster.
pub(crate) const KEEP: &str = "STOWAGE_KEEP_CLUSTER";

/// The shell, and the directory it will remove.
#[derive(Debug)]
pub(crate) struct Supervisor {
    shell: Child,
    directory: PathBuf,
}

impl Supervisor {
    /// Makes the directory and starts the shell.
    pub(crate) fn start() -> Result<Supervisor, Error> {
        let directory = tempfile::Builder::new()
            .prefix("stowage-cluster-")
            .tempdir()
            .map_err(Error::system("make a temporary directory"))?;
        let keep = std::env::var_os(KEEP).is_some_and(|value| !value.is_empty());
        let shell = Command::new("bash")
            .args(["-c", SCRIPT, "stowage-cluster"])
            .arg(directory.path())
            .arg(if keep { "keep" } else { "remove" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(Error::system("start bash, which supervises the programs of the test cluster"))?;
        let directory = directory.keep();
        if keep {
            eprintln!("{KEEP} is set: the files of this cluster stay in {}", directory.display());
        }
        Ok(Supervisor { shell, directory })
    }

    /// Where files of the cluster belong.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The process group that programs must join.
    pub(crate) fn group(&self) -> i32 {
        i32::try_from(self.shell.id()).expect("process numbers are positive and fit")
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The watching part has the other end of this pipe: it ends when everything is killed and removed.
        if let Some(mut watching) = self.shell.stdout.take() {
            let _ = watching.read_to_end(&mut Vec::new());
        }
        let _ = self.shell.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_kills_the_group_and_removes_the_directory() {
        let supervisor = Supervisor::start().expect("bash starts");
        let directory = supervisor.directory().to_path_buf();
        std::fs::write(directory.join("file"), "x").expect("the directory can be written");
        let mut child = Command::new("sleep")
            .arg("1000")
            .process_group(supervisor.group())
            .spawn()
            .expect("sleep starts");
        assert!(child.try_wait().expect("a status").is_none(), "it runs");
        drop(supervisor);
        let status = child.wait().expect("a status");
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
        assert!(!directory.exists());
    }
}
