//! The openb trace (Alibaba cluster-trace-gpu-v2023) as a packing benchmark: every pod of a list waits at once.
//!
//! Columns used: pods `name, cpu_milli, memory_mib, num_gpu, gpu_milli` and, where present, `gpu_spec`; nodes `sn,
//! cpu_milli, memory_mib, gpu, model`. Others (qos, phase, times) are ignored.
//!
//! # Decisions
//! * A share of a GPU (`gpu_milli` below 1000) is rounded up to the whole device: Kubernetes counts devices.
//! * A GPU model is a constraint where EC2 us-east-1 has that very chip: `T4` is `t4`; `V100M16` and `V100M32` are
//!   `v100`. `A10` is not EC2's A10G (another chip with other throughput); `P100`, `G2` and `G3` do not exist there.
//!   Such a model is no constraint, unless the node list has it.
//! * No DaemonSets: the trace has none.

use crate::complete::{DEFAULT_ZONES, open_pool};
use crate::merge::Entries;
use crate::{ImportError, Imported, Source};
use std::collections::{BTreeMap, BTreeSet};
use stowage_models::labels;
use stowage_models::objects::{Container, Node, NodeSelectorTerm, Pod, PodSpec};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::selector::{Labels, Operator, Requirement};
use stowage_models::snapshot::Snapshot;

/// Namespace of the pods and name of the NodePool.
const NAME: &str = "openb";
/// Resource name of NVIDIA GPUs.
const GPU: &str = "nvidia.com/gpu";
/// Label with the GPU model of an instance type, as Karpenter writes it.
const GPU_NAME: &str = "karpenter.k8s.aws/instance-gpu-name";
/// The whole of a GPU in `gpu_milli`.
const WHOLE_GPU: i64 = 1000;
/// Instance categories: compute, general purpose, memory, and the two with NVIDIA GPUs.
const CATEGORIES: [&str; 5] = ["c", "g", "m", "p", "r"];
/// Pods a trace node may run; the trace does not say, 110 is the kubelet's default.
const NODE_PODS: i64 = 110;
/// Models of the trace that EC2 us-east-1 has, with Karpenter's name for them (EC2 catalogue of 2026-08).
const EC2_MODELS: [(&str, &str); 3] = [("T4", "t4"), ("V100M16", "v100"), ("V100M32", "v100")];

/// Converts a pod list, and optionally the node list, to a snapshot with one open NodePool, `openb`.
///
/// Every row becomes a pending pod of namespace `openb`, whatever its phase in the trace. Nodes, if given, are existing
/// empty nodes. `notes` count GPU shares rounded up and GPU models that are no constraint.
///
/// # Errors
/// [`ImportError`] with file, line and column when a column is missing, a value is no number of at least zero, or a
/// name appears twice.
pub fn convert(pods: Source<'_>, nodes: Option<Source<'_>>) -> Result<Imported, ImportError> {
    let nodes = match nodes {
        Some(source) => read_nodes(source)?,
        None => Vec::new(),
    };
    let trace_models: BTreeSet<&String> = nodes.iter().filter_map(|node| node.labels.get(GPU_NAME)).collect();
    let mut tally = Tally::default();
    let pods = read_pods(pods, &trace_models, &mut tally)?;
    let read = BTreeMap::from([("openb node".to_owned(), nodes.len()), ("openb pod".to_owned(), pods.len())]);
    let mut snapshot = Snapshot {
        origin: "openb trace (Alibaba cluster-trace-gpu-v2023), every row a pending pod".to_owned(),
        notes: tally.notes(nodes.len()),
        node_pools: vec![open_pool(NAME, &DEFAULT_ZONES, &CATEGORIES)],
        nodes,
        pods,
        ..Snapshot::default()
    };
    snapshot.normalise();
    Ok(Imported { snapshot, read, ..Imported::default() })
}

/// What is worth a note.
#[derive(Default)]
struct Tally {
    shared: usize,
    /// Pods by the GPU models that were dropped.
    unconstrained: BTreeMap<String, usize>,
}

impl Tally {
    fn notes(&self, n_nodes: usize) -> Vec<String> {
        let mut notes = vec![format!(
            "NodePool `{NAME}` is made up for the trace: linux, amd64, on-demand and spot, categories {}, generation \
             above 2, zones {}; no DaemonSets.",
            CATEGORIES.join(", "),
            DEFAULT_ZONES.join(", "),
        )];
        if self.shared > 0 {
            notes.push(format!("{} pods ask for a share of a GPU; each gets a whole one.", self.shared));
        }
        for (models, n_pods) in &self.unconstrained {
            notes.push(format!(
                "{n_pods} pods ask for GPU {models}, which EC2 us-east-1 does not have (A10G is not A10): any NVIDIA \
                 GPU will do for them."
            ));
        }
        if n_nodes > 0 {
            notes.push(format!(
                "{n_nodes} nodes of the trace exist, empty and at no cost; {NODE_PODS} pods per node are assumed."
            ));
        }
        notes
    }
}

fn read_pods(
    source: Source<'_>,
    trace_models: &BTreeSet<&String>,
    tally: &mut Tally,
) -> Result<Vec<Pod>, ImportError> {
    let mut table = Table::open(source, &["name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli"])?;
    let mut pods = Entries::default();
    while table.next_row()? {
        let n_gpus = table.number("num_gpu")?;
        if n_gpus > 0 && table.number("gpu_milli")? < WHOLE_GPU {
            tally.shared += 1;
        }
        let mut requests = Resources::default();
        requests.set(CPU, table.number("cpu_milli")?);
        requests.set(MEMORY, table.mebibytes("memory_mib")?);
        requests.set(GPU, n_gpus);
        let mut spec = PodSpec {
            containers: vec![Container { requests, ..Container::default() }],
            ..PodSpec::default()
        };
        let models = table.text("gpu_spec").unwrap_or("");
        if n_gpus > 0 && !models.is_empty() {
            spec.affinity.node_required = gpu_affinity(models, trace_models);
            if spec.affinity.node_required.is_none() {
                *tally.unconstrained.entry(models.replace('|', " or ")).or_default() += 1;
            }
        }
        pods.push(Pod {
            namespace: NAME.to_owned(),
            name: table.name("name")?,
            spec: spec.into(),
            ..Pod::default()
        });
    }
    pods.merge_unique(source.name)
}

/// Required affinity to those of the models that exist somewhere; `None` if there is none.
fn gpu_affinity(models: &str, trace_models: &BTreeSet<&String>) -> Option<Vec<NodeSelectorTerm>> {
    let exists =
        |label: &String| trace_models.contains(label) || EC2_MODELS.iter().any(|(_, ec2)| ec2 == label);
    let labels: BTreeSet<String> = models.split('|').map(model_label).filter(exists).collect();
    if labels.is_empty() {
        return None;
    }
    let values: Vec<&str> = labels.iter().map(String::as_str).collect();
    let requirement = Requirement::new(GPU_NAME, Operator::In, &values);
    Some(vec![NodeSelectorTerm { match_expressions: vec![requirement], match_fields: Vec::new() }])
}

/// The label value for a model of the trace.
fn model_label(model: &str) -> String {
    let model = model.trim();
    EC2_MODELS
        .iter()
        .find(|(name, _)| *name == model)
        .map_or_else(|| model.to_lowercase(), |(_, ec2)| (*ec2).to_owned())
}

fn read_nodes(source: Source<'_>) -> Result<Vec<Node>, ImportError> {
    let mut table = Table::open(source, &["sn", "cpu_milli", "memory_mib", "gpu", "model"])?;
    let mut nodes = Entries::default();
    while table.next_row()? {
        let name = table.name("sn")?;
        let mut node_labels = Labels::from([
            (labels::OS.to_owned(), "linux".to_owned()),
            (labels::ARCH.to_owned(), "amd64".to_owned()),
            (labels::HOSTNAME.to_owned(), name.clone()),
        ]);
        let mut capacity = Resources::default();
        capacity.set(CPU, table.number("cpu_milli")?);
        capacity.set(MEMORY, table.mebibytes("memory_mib")?);
        capacity.set(GPU, table.number("gpu")?);
        capacity.set(PODS, NODE_PODS);
        if let Some(model) = table.text("model").filter(|model| !model.is_empty()) {
            node_labels.insert(GPU_NAME.to_owned(), model_label(model));
        }
        nodes.push(Node {
            name,
            labels: node_labels,
            allocatable: capacity.clone(),
            capacity,
            ready: true,
            ..Node::default()
        });
    }
    nodes.merge_unique(source.name)
}

/// A CSV file read row by row, columns by name.
struct Table<'a> {
    file: &'a str,
    columns: BTreeMap<String, usize>,
    reader: csv::Reader<&'a [u8]>,
    row: csv::StringRecord,
}

impl<'a> Table<'a> {
    fn open(source: Source<'a>, required: &[&str]) -> Result<Table<'a>, ImportError> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(source.bytes);
        let header = reader.headers().map_err(|error| csv_error(source.name, &error))?;
        let columns: BTreeMap<String, usize> = header
            .iter()
            .enumerate()
            .map(|(index, name)| (name.trim_start_matches('\u{feff}').to_owned(), index))
            .collect();
        if let Some(missing) = required.iter().find(|name| !columns.contains_key(**name)) {
            return Err(ImportError::new(
                &format!("{}: line 1: {missing}", source.name),
                "the column is missing",
                format!("an openb file starts with a header that has {}", required.join(", ")),
            ));
        }
        Ok(Table { file: source.name, columns, reader, row: csv::StringRecord::new() })
    }

    fn next_row(&mut self) -> Result<bool, ImportError> {
        self.reader.read_record(&mut self.row).map_err(|error| csv_error(self.file, &error))
    }

    fn text(&self, column: &str) -> Option<&str> {
        self.row.get(*self.columns.get(column)?)
    }

    fn error(&self, column: &str, message: String) -> ImportError {
        let line = self.row.position().map_or(0, csv::Position::line);
        let hint = "download the trace file again; columns hold plain integers and names are unique";
        ImportError::new(&format!("{}: line {line}: {column}", self.file), message, hint)
    }

    fn name(&self, column: &str) -> Result<String, ImportError> {
        match self.text(column) {
            Some(name) if !name.is_empty() => Ok(name.to_owned()),
            _ => Err(self.error(column, "the name is empty".to_owned())),
        }
    }

    fn number(&self, column: &str) -> Result<i64, ImportError> {
        let text = self.text(column).unwrap_or("");
        match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(number),
            _ => Err(self.error(column, format!("`{text}` is not an integer of at least zero"))),
        }
    }

    fn mebibytes(&self, column: &str) -> Result<i64, ImportError> {
        let number = self.number(column)?;
        number.checked_mul(1 << 20).ok_or_else(|| self.error(column, format!("{number} MiB is too large")))
    }
}

fn csv_error(file: &str, error: &csv::Error) -> ImportError {
    let place = match error.position() {
        Some(position) => format!("{file}: line {}", position.line()),
        None => file.to_owned(),
    };
    let message = match error.kind() {
        csv::ErrorKind::Utf8 { .. } => "the row is not UTF-8 text".to_owned(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} columns, the header {expected_len}")
        }
        _ => format!("not valid CSV: {error}"),
    };
    ImportError::new(&place, message, "download the trace file again")
}
