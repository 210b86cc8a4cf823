//! Where `.ci/kubernetes` puts the binaries.
//!
//! The directory's name holds the version of Kubernetes and a hash of the pins (go.mod and go.sum of etcd, then of
//! Kubernetes), so that a checkout never runs the binaries of another one.

use crate::error::Error;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What is pinned, in the order in which `.ci/kubernetes` hashes it.
const PINS: [&str; 4] = [
    include_str!("../go/etcd/go.mod"),
    include_str!("../go/etcd/go.sum"),
    include_str!("../go/kubernetes/go.mod"),
    include_str!("../go/kubernetes/go.sum"),
];

/// The programs there are.
pub(crate) const PROGRAMS: [&str; 4] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The version of Kubernetes that is pinned, for example `v1.36.2`.
///
/// # Panics
/// Never: a test reads the pins.
#[must_use]
pub fn version() -> &'static str {
    let required = PINS[2].lines().find_map(|line| line.strip_prefix("require k8s.io/kubernetes "));
    required.expect("go.mod requires k8s.io/kubernetes").trim()
}

/// The directory with the binaries, after a look whether all are there.
///
/// # Errors
/// [`Error::NoBinaries`] if one is missing; its text says what to run.
pub fn directory() -> Result<PathBuf, Error> {
    let directory = in_cache(&cache().ok_or(Error::NoHome)?);
    match PROGRAMS.iter().find(|program| !directory.join(program).is_file()) {
        Some(program) => Err(Error::NoBinaries { missing: directory.join(program) }),
        None => Ok(directory),
    }
}

/// The user's cache directory, as the XDG base directory specification defines it.
fn cache() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))
}

fn in_cache(cache: &Path) -> PathBuf {
    let mut hash = Sha256::new();
    for pin in PINS {
        hash.update(pin);
    }
    let mut name = format!("{}-", version());
    for byte in hash.finalize().iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    cache.join("stowage/kubernetes").join(name).join("bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_one() {
        assert!(version().starts_with("v1."), "{}", version());
        assert_eq!(version().split('.').count(), 3, "{}", version());
    }

    #[test]
    fn missing_binaries_are_named_with_what_to_run() {
        let missing = in_cache(Path::new("/nowhere")).join("etcd");
        let text = Error::NoBinaries { missing }.to_string();
        assert!(text.contains("/nowhere/stowage/kubernetes/v1."), "{text}");
        assert!(text.contains(".ci/kubernetes"), "{text}");
    }
}
