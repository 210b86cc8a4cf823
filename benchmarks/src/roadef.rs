//! Converter for the Google ROADEF/EURO challenge 2011-2012, *Machine Reassignment*: the public benchmark that comes
//! closest to consolidation. The files are not in this repository; [`folder`] says where they are looked for.
//!
//! # Format (section 3 of the challenge's subject)
//! Integers, separated by white space. `model_<name>.txt`:
//!
//! ```text
//! resources; for each:  transient (0 or 1), weight of its load cost
//! machines; for each:   neighbourhood, location, capacity of each resource, safety capacity of each resource,
//!                       cost of moving from this machine to each machine
//! services; for each:   spread (least number of locations), number of dependencies, the services it depends on
//! processes; for each:  service, requirement of each resource, cost of moving it
//! balance objectives; for each:  resource 1, resource 2, target, weight
//! weights of process, service and machine move costs
//! ```
//!
//! `assignment_<name>.txt` is the machine of each process before; `lb_<name>.txt`, if there, a lower bound on the objective.
//!
//! # What becomes of it
//! | challenge | snapshot |
//! |---|---|
//! | machine | node, outside any NodePool; location is its zone, neighbourhood a label |
//! | process | running pod of the ReplicaSet of its service |
//! | resource | extended resource `roadef.org/r<n>` |
//! | conflict: one process of a service per machine | required anti-affinity to its own over hostnames |
//! | spread over locations | topology spread, *stricter* than the challenge's (see `skew`) |
//! | dependency: some process of B in the neighbourhood | required pod affinity to B over neighbourhoods |
//!
//! The rest has no counterpart and is listed in [`Converted::not_expressed`] (and in the snapshot's notes).

use crate::compose::GENERATOR;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use stowage_models::labels;
use stowage_models::objects::{
    Container, Node, Owner, Pod, PodAffinityTerm, PodPhase, PodSpec, TopologySpread,
};
use stowage_models::quantity::{PODS, Resources};
use stowage_models::selector::{LabelSelector, Labels};
use stowage_models::snapshot::Snapshot;

/// The environment variable that names the folder of the instances.
pub const FOLDER_VARIABLE: &str = "STOWAGE_ROADEF";
/// The label of a machine's neighbourhood.
pub const NEIGHBOURHOOD: &str = "roadef.org/neighbourhood";

/// An instance as a snapshot.
#[derive(Clone, Debug)]
pub struct Converted {
    /// Nodes and running pods; nothing waits.
    pub snapshot: Snapshot,
    /// Of the challenge's own objective (load, balance and move costs), not of dollars.
    pub lower_bound: Option<u64>,
    /// What the snapshot does not say, one sentence each.
    pub not_expressed: Vec<String>,
}

/// The folder of the instances.
///
/// # Errors
/// If the variable is not set; the message is a reason to skip, in plain words.
pub fn folder() -> Result<PathBuf> {
    let Some(folder) = std::env::var_os(FOLDER_VARIABLE).map(PathBuf::from) else {
        bail!(
            "set {FOLDER_VARIABLE} to a folder with model_*.txt and assignment_*.txt of the ROADEF/EURO challenge 2012"
        );
    };
    Ok(folder)
}

/// Names of the instances in the folder that have both files, sorted: `a1_1` for `model_a1_1.txt`.
///
/// # Errors
/// If the folder cannot be read.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read {}", folder.display());
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).with_context(context)? {
        let file = entry.with_context(context)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_prefix("model_")?.strip_suffix(".txt"));
        if let Some(name) = name.filter(|name| folder.join(format!("assignment_{name}.txt")).is_file()) {
            found.insert(name.to_owned());
        }
    }
    Ok(found.into_iter().collect())
}

/// Reads and converts an instance of the folder.
///
/// # Errors
/// If a file cannot be read or is not of the format; the message says which number of which file.
pub fn read(folder: &Path, name: &str) -> Result<Converted> {
    let path = |kind: &str| folder.join(format!("{kind}_{name}.txt"));
    let text = |kind: &str| {
        std::fs::read_to_string(path(kind)).with_context(|| format!("cannot read {}", path(kind).display()))
    };
    let bound = if path("lb").is_file() { Some(text("lb")?) } else { None };
    convert(name, &text("model")?, &text("assignment")?, bound.as_deref())
}

/// Converts an instance from the text of its files.
///
/// # Errors
/// If a text is not of the format.
pub fn convert(name: &str, model: &str, assignment: &str, lower_bound: Option<&str>) -> Result<Converted> {
    let model = Model::parse(model).with_context(|| format!("model_{name}.txt"))?;
    let machine_of = model.assignment(assignment).with_context(|| format!("assignment_{name}.txt"))?;
    let lower_bound = lower_bound
        .map(|text| {
            let mut numbers = Numbers::new(text);
            let bound = numbers.next("lower bound")?;
            numbers.end().map(|()| bound)
        })
        .transpose()
        .with_context(|| format!("lb_{name}.txt"))?;
    let not_expressed = model.not_expressed();
    let mut snapshot = Snapshot {
        origin: format!("ROADEF/EURO challenge 2012, machine reassignment, instance {name} ({GENERATOR})"),
        notes: not_expressed.clone(),
        nodes: (0..model.machines.len()).map(|machine| model.node(machine)).collect(),
        pods: (0..model.processes.len()).map(|process| model.pod(process, machine_of[process])).collect(),
        ..Snapshot::default()
    };
    snapshot.normalise();
    Ok(Converted { snapshot, lower_bound, not_expressed })
}

/// The part of a model file that a snapshot can say, and counts of the rest.
#[derive(Debug)]
struct Model {
    /// Whether each resource is transient.
    transient: Vec<bool>,
    machines: Vec<Machine>,
    services: Vec<Service>,
    processes: Vec<Process>,
    balances: usize,
}

#[derive(Debug)]
struct Machine {
    neighbourhood: u64,
    location: u64,
    capacity: Vec<i64>,
}

#[derive(Debug)]
struct Service {
    spread: usize,
    depends_on: Vec<usize>,
    /// How many processes it has.
    processes: usize,
}

#[derive(Debug)]
struct Process {
    service: usize,
    requirement: Vec<i64>,
}

impl Model {
    fn parse(text: &str) -> Result<Model> {
        let mut numbers = Numbers::new(text);
        let mut transient = Vec::new();
        for _ in 0..numbers.count("number of resources")? {
            transient.push(numbers.below(2, "transient flag (0 or 1)")? == 1);
            numbers.next("weight of a load cost")?;
        }
        let mut machines = Vec::new();
        let machine_count = numbers.count("number of machines")?;
        for _ in 0..machine_count {
            let neighbourhood = numbers.next("neighbourhood")?;
            let location = numbers.next("location")?;
            let capacity = numbers.amounts(transient.len(), "capacity")?;
            numbers.amounts(transient.len(), "safety capacity")?;
            for _ in 0..machine_count {
                numbers.next("machine move cost")?;
            }
            machines.push(Machine { neighbourhood, location, capacity });
        }
        let mut services = Vec::new();
        let service_count = numbers.count("number of services")?;
        for _ in 0..service_count {
            let spread = numbers.count("spread")?;
            let mut depends_on = Vec::new();
            for _ in 0..numbers.count("number of dependencies")? {
                depends_on.push(numbers.below(service_count, "service of a dependency")?);
            }
            services.push(Service { spread, depends_on, processes: 0 });
        }
        let mut processes = Vec::new();
        for _ in 0..numbers.count("number of processes")? {
            let service = numbers.below(service_count, "service of a process")?;
            let requirement = numbers.amounts(transient.len(), "requirement")?;
            numbers.next("process move cost")?;
            services[service].processes += 1;
            processes.push(Process { service, requirement });
        }
        let balances = numbers.count("number of balance objectives")?;
        for _ in 0..balances {
            for what in ["first resource of a balance", "second resource of a balance"] {
                numbers.below(transient.len(), what)?;
            }
            for what in ["target of a balance", "weight of a balance"] {
                numbers.next(what)?;
            }
        }
        for what in ["weight of process moves", "weight of service moves", "weight of machine moves"] {
            numbers.next(what)?;
        }
        numbers.end()?;
        Ok(Model { transient, machines, services, processes, balances })
    }

    /// The machine of each process.
    fn assignment(&self, text: &str) -> Result<Vec<usize>> {
        let mut numbers = Numbers::new(text);
        let machines = (0..self.processes.len())
            .map(|_| numbers.below(self.machines.len(), "machine of a process"))
            .collect::<Result<_>>()?;
        numbers.end()?;
        Ok(machines)
    }

    fn resources(&self, amounts: &[i64]) -> Resources {
        let mut resources = Resources::default();
        for (index, amount) in amounts.iter().enumerate() {
            resources.set(&format!("roadef.org/r{index}"), *amount);
        }
        resources
    }

    fn node(&self, machine: usize) -> Node {
        let Machine { neighbourhood, location, capacity } = &self.machines[machine];
        let name = node_name(machine);
        let mut allocatable = self.resources(capacity);
        // The challenge counts no processes; a node without `pods` would hold none.
        allocatable.set(PODS, i64::try_from(self.processes.len()).unwrap_or(i64::MAX));
        Node {
            labels: Labels::from([
                (labels::HOSTNAME.to_owned(), name.clone()),
                (labels::ZONE.to_owned(), format!("location-{location}")),
                (NEIGHBOURHOOD.to_owned(), format!("neighbourhood-{neighbourhood}")),
            ]),
            name,
            capacity: allocatable.clone(),
            allocatable,
            ready: true,
            ..Node::default()
        }
    }

    fn pod(&self, process: usize, machine: usize) -> Pod {
        let Process { service, requirement } = &self.processes[process];
        let container = Container { requests: self.resources(requirement), ..Container::default() };
        let mut spec = PodSpec { containers: vec![container], ..PodSpec::default() };
        let to = |service: usize, key: &str| PodAffinityTerm {
            label_selector: Some(selector(service)),
            topology_key: key.to_owned(),
            ..PodAffinityTerm::default()
        };
        spec.affinity.anti_required = vec![to(*service, labels::HOSTNAME)];
        spec.affinity.pod_required =
            self.services[*service].depends_on.iter().map(|other| to(*other, NEIGHBOURHOOD)).collect();
        let skew = self.services[*service].skew();
        spec.topology_spread.extend(skew.map(|max_skew| TopologySpread {
            max_skew,
            topology_key: labels::ZONE.to_owned(),
            hard: true,
            label_selector: Some(selector(*service)),
            honor_affinity: true,
            ..TopologySpread::default()
        }));
        Pod {
            namespace: "roadef".to_owned(),
            name: format!("process-{process:05}"),
            labels: Labels::from([("app".to_owned(), service_name(*service))]).into(),
            owner: Some(Owner { kind: "ReplicaSet".to_owned(), name: service_name(*service) }.into()),
            phase: PodPhase::Running,
            node: Some(node_name(machine)),
            spec: spec.into(),
            ..Pod::default()
        }
    }

    fn not_expressed(&self) -> Vec<String> {
        let mut said = vec![
            "machines have no price: the objective is load, balance and move costs, none of which a snapshot states"
                .to_owned(),
            "safety capacities are left out: they are part of the load cost, not limits".to_owned(),
            "dependencies and conflicts bind pods when they are placed; the challenge wants them of the final assignment"
                .to_owned(),
        ];
        let transient = self.transient.iter().filter(|transient| **transient).count();
        if transient > 0 {
            said.push(format!(
                "{transient} of {} resources are transient (used on both machines while a process moves); here they are used on \
                 one",
                self.transient.len()
            ));
        }
        if self.balances > 0 {
            said.push(format!("{} balance objectives are left out", self.balances));
        }
        let spread = self.services.iter().filter(|service| service.skew().is_some()).count();
        if spread > 0 {
            said.push(format!("spread over locations of {spread} services is stricter than the challenge's"));
        }
        said
    }
}

impl Service {
    /// The largest `maxSkew` that makes n processes use at least s locations. If fewer than all locations are used, some
    /// location has none and each at most `maxSkew`, so at least `n / maxSkew` are used: `maxSkew = (n - 1) / (s - 1)`, rounded
    /// down, forces s of them. Evenness beyond that the challenge does not ask for.
    fn skew(&self) -> Option<i32> {
        let others = self.spread.checked_sub(1).filter(|others| *others > 0)?;
        // More locations than processes cannot be had; one process each comes nearest.
        let skew = (self.processes.saturating_sub(1) / others).max(1);
        Some(i32::try_from(skew).unwrap_or(i32::MAX))
    }
}

fn node_name(machine: usize) -> String {
    format!("machine-{machine:04}")
}

fn service_name(service: usize) -> String {
    format!("service-{service:04}")
}

fn selector(service: usize) -> LabelSelector {
    LabelSelector {
        match_labels: Labels::from([("app".to_owned(), service_name(service))]),
        match_expressions: Vec::new(),
    }
}

/// The numbers of a file, each with what it is supposed to be.
struct Numbers<'a> {
    words: std::iter::Enumerate<std::str::SplitAsciiWhitespace<'a>>,
}

impl<'a> Numbers<'a> {
    fn new(text: &'a str) -> Numbers<'a> {
        Numbers { words: text.split_ascii_whitespace().enumerate() }
    }

    fn next(&mut self, what: &str) -> Result<u64> {
        let Some((index, word)) = self.words.next() else {
            bail!("the file ends where the {what} should be");
        };
        word.parse()
            .with_context(|| format!("number {} is the {what}, but `{word}` is no whole number", index + 1))
    }

    fn count(&mut self, what: &str) -> Result<usize> {
        Ok(usize::try_from(self.next(what)?)?)
    }

    fn below(&mut self, limit: usize, what: &str) -> Result<usize> {
        let value = self.count(what)?;
        if value >= limit {
            bail!("the {what} is {value}, but there are only {limit}");
        }
        Ok(value)
    }

    fn amounts(&mut self, count: usize, what: &str) -> Result<Vec<i64>> {
        (0..count)
            .map(|_| i64::try_from(self.next(what)?).with_context(|| format!("the {what} is too large")))
            .collect()
    }

    fn end(&mut self) -> Result<()> {
        match self.words.next() {
            None => Ok(()),
            Some((index, word)) => {
                bail!("the file should end after {index} numbers, but goes on with `{word}`")
            }
        }
    }
}
