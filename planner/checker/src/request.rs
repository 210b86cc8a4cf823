//! What a pod asks of a node (formulation, section 1: *Request*).

use std::collections::BTreeMap;
use stowage_models::objects::PodSpec;
use stowage_models::quantity::{PODS, Resources};

/// Sums by resource name. 128 bits hold any sum of 63-bit amounts that fits in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally<'a>(BTreeMap<&'a str, i128>);

impl<'a> Tally<'a> {
    /// Adds amounts; negative ones, which no API server accepts, count as zero.
    pub(crate) fn add(&mut self, amounts: &'a Resources) {
        for (name, amount) in &amounts.0 {
            *self.0.entry(name).or_default() += i128::from((*amount).max(0));
        }
    }

    /// The sum of one resource.
    pub(crate) fn get(&self, name: &str) -> i128 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Zero-free amounts, cut off at the largest there is.
    pub(crate) fn finish(self) -> Resources {
        let cut = |amount: i128| i64::try_from(amount).unwrap_or(i64::MAX);
        let set = self.0.into_iter().filter(|(_, amount)| *amount != 0);
        Resources(set.map(|(name, amount)| (name.to_owned(), cut(amount))).collect())
    }
}

/// The sum of several amounts, zero-free.
pub(crate) fn sum<'a>(parts: impl IntoIterator<Item = &'a Resources>) -> Resources {
    let mut tally = Tally::default();
    for part in parts {
        tally.add(part);
    }
    tally.finish()
}

/// The amounts a node must have left to take a pod of this template, `pods: 1` included. Free of zeros.
///
/// Per resource: the larger of what runs at once in the end (containers and sidecars) and what each init container needs
/// beside the sidecars started before it (KEP-753); then pod-level requests replace what they name, and the RuntimeClass
/// overhead is added. Negative amounts count as zero, sums above the 64-bit range as its end.
#[must_use]
pub fn effective_request(spec: &PodSpec) -> Resources {
    let mut running = Tally::default();
    for container in &spec.containers {
        running.add(&container.requests);
    }
    let mut sidecars = Tally::default();
    let mut peak: BTreeMap<&str, i128> = BTreeMap::new();
    for container in &spec.init_containers {
        if container.sidecar {
            sidecars.add(&container.requests);
            running.add(&container.requests);
            continue;
        }
        // A resource that only sidecars ask for is covered by `running`, so the container's own names suffice.
        for (name, amount) in &container.requests.0 {
            let beside = i128::from((*amount).max(0)) + sidecars.get(name);
            let entry = peak.entry(name).or_default();
            *entry = (*entry).max(beside);
        }
    }
    for (name, amount) in peak {
        let entry = running.0.entry(name).or_default();
        *entry = (*entry).max(amount);
    }
    for (name, amount) in &spec.pod_requests.0 {
        running.0.insert(name, i128::from((*amount).max(0)));
    }
    running.add(&spec.overhead);
    *running.0.entry(PODS).or_default() += 1;
    running.finish()
}
