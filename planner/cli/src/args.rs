//! The arguments, as clap reads them. The texts here are the manual: `--help`, the man pages and completion come from
//! them.

use crate::values;
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Duration;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_models::whatif::WhatIf;

/// Printed below every command's help.
const EXIT_CODES: &str = "\
Exit codes:
  0  done (with --detailed-exitcode: nothing would change)
  1  error, usage errors included
  2  only with --detailed-exitcode: something would change
  3  stale: the plan was made for another snapshot or catalogue
  4  refused: the plan claims something that is not true

Data goes to stdout, everything else to stderr. NO_COLOR and --color are respected.";

/// Plans which nodes to launch for the pods that wait, and proves how far from the cheapest the answer can be.
#[derive(Debug, Parser)]
#[command(name = "stowage", version, propagate_version = true, after_help = EXIT_CODES)]
#[command(long_about = "\
Plans which nodes to launch for the pods that wait, and proves how far from the cheapest the answer can be.

  kubectl get pods,nodes,nodepools,ec2nodeclasses,nodeclaims,daemonsets -A -o json | stowage plan -

A plan states its cost, a lower bound that no other set of launches can beat, and the gap between the two. Every \
plan is checked by an independent referee in exact integer arithmetic before it leaves. Nothing here talks to a \
cluster or a cloud: snapshots come in as files, plans go out as files.")]
pub struct Cli {
    /// When to use colour on the terminal
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    /// Always, also into files and pipes
    Always,
    /// Never
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Plan launches for the pods that wait
    #[command(after_help = EXIT_CODES)]
    Plan(PlanArgs),
    /// What would allowing arm64, spot or one more zone save? A table of variants of the question, each planned and proven
    #[command(after_help = EXIT_CODES, name = "whatif")]
    WhatIf(WhatIfTableArgs),
    /// Check a plan against its snapshot: cost, feasibility and bound, in exact arithmetic
    #[command(after_help = EXIT_CODES)]
    Check(CheckArgs),
    /// Render a plan file as table, markdown, HTML report, JSON or YAML
    #[command(after_help = EXIT_CODES)]
    Show(ShowArgs),
    /// Compare two plans: decisions only, cost first
    #[command(after_help = EXIT_CODES)]
    Diff(DiffArgs),
    /// Explain where a pod goes, or what a node is for
    #[command(after_help = EXIT_CODES)]
    Explain(ExplainArgs),
    /// Turn kubectl output or a recorded trace into a snapshot file
    #[command(after_help = EXIT_CODES)]
    Import(ImportArgs),
    /// Record a live cluster, read-only, as a snapshot file (runs `stowage-record`, which is installed with executor/observe)
    #[command(disable_help_flag = true)]
    Record(RecordArgs),
    /// List, export or convert the catalogue of instance types and prices
    #[command(after_help = EXIT_CODES, subcommand)]
    Catalog(CatalogCommand),
    /// Print a completion script, e.g. `stowage completion bash > /etc/bash_completion.d/stowage`
    Completion(CompletionArgs),
    /// Print the man page, or write one per command
    Man(ManArgs),
}

/// Where a rendering goes.
#[derive(Debug, Args)]
pub struct Target {
    /// Write to FILE instead of stdout; the file is replaced as a whole or not at all
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub out: Option<PathBuf>,
}

/// Forms in which a plan is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// For people, at most 100 columns
    Table,
    /// The plan itself; `check`, `show` and `diff` read it
    Json,
    /// The plan itself, as YAML
    Yaml,
    /// For a comment on a pull request
    Markdown,
    /// A report in one self-contained file
    Html,
}

/// What minValues of NodePool requirements count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MinValuesArg {
    /// A launch and its alternates have at least so many values, or it is none
    Strict,
    /// As many as there are; a note says where they are too few
    BestEffort,
}

/// What preferences of pods count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PreferencesArg {
    /// One of weight 100 is worth a tenth of its pod: it decides between places that cost nearly the same
    Respect,
    /// Nothing: the cheapest nodes, whatever pods prefer
    Ignore,
}

/// `stowage plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Kubernetes lists or snapshot files, JSON or YAML, also zstd; several are merged; `-` is stdin
    #[arg(required = true, value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Table, value_name = "FORMAT")]
    pub output: PlanFormat,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// Also write the HTML report to FILE
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub report: Option<PathBuf>,
    /// How hard to try, and with what.
    #[command(flatten)]
    pub effort: EffortArgs,
    /// Exit 2 if the plan changes something, 0 if not
    #[arg(long)]
    pub detailed_exitcode: bool,
    /// What if.
    #[command(flatten)]
    pub what_if: WhatIfArgs,
    /// Consolidation.
    #[command(flatten)]
    pub consolidation: ConsolidationArgs,
}

/// How hard a planning run tries, and with what.
#[derive(Debug, Args)]
pub struct EffortArgs {
    /// Stop once the cost is proven to be within this share of the bound
    #[arg(long, default_value = "0.01", value_name = "SHARE", value_parser = values::gap, allow_hyphen_values = true)]
    pub gap: Ppm,
    /// Sizes the search, and is its safety stop on the wall clock; a run that the clock stops may differ from the next
    /// [default: 1s; with --consolidate 2s, and 10ms more for each node that exists]
    #[arg(long, value_name = "TIME", value_parser = values::time_limit, allow_hyphen_values = true)]
    pub time_limit: Option<Duration>,
    /// Share of cpu and memory to keep free on every node
    #[arg(long, default_value = "0.01", value_name = "SHARE", value_parser = values::slack, allow_hyphen_values = true)]
    pub slack: Ppm,
    /// What preferences of pods count: preferred node and pod affinity, PreferNoSchedule, ScheduleAnyway
    #[arg(long, value_enum, default_value_t = PreferencesArg::Respect, value_name = "WHAT")]
    pub preferences: PreferencesArg,
    /// What minValues of NodePool requirements count, as Karpenter's MIN_VALUES_POLICY
    #[arg(long, value_enum, default_value_t = MinValuesArg::Strict, value_name = "WHAT")]
    pub min_values: MinValuesArg,
    /// Keep no more than this share of a NodePool's spot capacity in one instance type and zone, where another would do
    #[arg(long, value_name = "SHARE", value_parser = values::spot_share, allow_hyphen_values = true)]
    pub spot_share: Option<Ppm>,
    /// Seed of the search; the same seed, input and limit give the same plan unless the clock stops it
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
    /// Threads to use [default: one per core]; the plan does not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Use this catalogue instead of the embedded one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub catalog: Option<PathBuf>,
}

/// Changes to the question that leave its input alone. A plan that was made with them is stale for the cluster as it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "What if")]
pub struct WhatIfArgs {
    /// Launch no node of this instance type; `t3.*` means all whose name begins so. May be given several times
    #[arg(long, value_name = "TYPE")]
    pub exclude_type: Vec<String>,
    /// Multiply prices of a capacity type, e.g. spot=1.3. May be given several times
    #[arg(long, value_name = "CAPACITY=FACTOR", value_parser = values::factor)]
    pub price_factor: Vec<(String, Ppm)>,
    /// Let NodePools launch nodes with this label value besides, e.g. arch=arm64, capacity-type=spot or zone=us-east-1c
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    pub allow: Vec<(String, String)>,
    /// Let no NodePool launch nodes with this label value
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::label)]
    pub forbid: Vec<(String, String)>,
}

/// What `stowage plan` may do about nodes that exist.
#[derive(Debug, Args)]
#[command(next_help_heading = "Consolidation")]
pub struct ConsolidationArgs {
    /// Also decide which existing nodes to remove, and where their pods go; without it nodes that exist stay
    #[arg(long)]
    pub consolidate: bool,
    /// How long the cluster is expected to stay as planned: evictions and removals are paid for over this time
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = values::minutes, requires = "consolidate")]
    pub horizon: u32,
    /// Remove nothing unless that saves at least this share of today's cost, evictions counted
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = values::gap, requires = "consolidate")]
    pub savings_threshold: Ppm,
    /// Remove nothing unless the savings pay for evictions and removals within this time
    #[arg(long, value_name = "TIME", value_parser = values::minutes, requires = "consolidate")]
    pub payback: Option<u32>,
    /// What moving a pod of ordinary priority costs, once, in dollars
    #[arg(long, value_name = "USD", default_value = "0.005", value_parser = values::dollars, requires = "consolidate")]
    pub eviction_cost: UsdMicros,
    /// What the eviction cost of a pod gains with each day it has run; 1 is what a pod of ordinary priority costs
    #[arg(long, value_name = "WEIGHT", default_value = "0", value_parser = values::weight, requires = "consolidate")]
    pub age_weight: Ppm,
    /// What the eviction cost of a pod loses with each restart of its containers
    #[arg(long, value_name = "WEIGHT", default_value = "0", value_parser = values::weight, requires = "consolidate")]
    pub restart_weight: Ppm,
    /// What removing a node costs beside its pods, once, in dollars
    #[arg(long, value_name = "USD", default_value = "0.01", value_parser = values::dollars, requires = "consolidate")]
    pub removal_cost: UsdMicros,
    /// Leave nodes with pods alone until they are this old, so that what was launched is used; 0m: no such rule
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::age, requires = "consolidate")]
    pub min_node_age: u32,
    /// Replace nodes so long before they expire (at most a tenth of their life), while budgets can still be kept; 0m: at their end
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = values::age, requires = "consolidate")]
    pub expiry_lead: u32,
    /// Replace unhealthy nodes, as Karpenter's feature gate NodeRepair
    #[arg(long, requires = "consolidate")]
    pub repair: bool,
    /// Leave nodes alone that have pods with local storage (hostPath, emptyDir not in memory); without it such pods move as others do
    #[arg(long, requires = "consolidate")]
    pub keep_local_storage: bool,
    /// Replace one spot node by another only where so many instance types would do for less than the old one costs; 0: no such rule
    #[arg(long, value_name = "TYPES", default_value_t = 15, requires = "consolidate")]
    pub spot_types: u32,
    /// What if there were no PodDisruptionBudgets?
    #[arg(long, requires = "consolidate")]
    pub ignore_pdb: bool,
    /// Nodes of a NodePool that may be on their way out at once, instead of what its budgets say: a number or a percentage
    #[arg(long, value_name = "NODES", value_parser = values::budget, requires = "consolidate")]
    pub budget: Option<String>,
    /// Only remove nodes of this NodePool; may be given several times
    #[arg(long, value_name = "NAME", requires = "consolidate")]
    pub only_nodepool: Vec<String>,
}

/// `stowage whatif`.
#[derive(Debug, Args)]
#[command(long_about = "\
Plans the question as it is and variants of it, and says what each would save per month: with arm64, with spot, with each \
further zone, on demand only, with dearer spot, and without PodDisruptionBudgets or with all budgets open where nodes may be \
removed. Variants that change nothing are named and not planned.

With --consolidate the running cluster is replanned; without, only the pods that wait. Options under 'What if' change all rows. \
Every figure comes with a bound: no plan of that variant costs less, so the saving is proven from both sides.

  stowage whatif cluster.json --consolidate
  stowage whatif cluster.json --consolidate --variant forbid:zone=us-east-1a --variant exclude:t3.*")]
pub struct WhatIfTableArgs {
    /// Kubernetes lists or snapshot files, JSON or YAML, also zstd; several are merged; `-` is stdin
    #[arg(required = true, value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = WhatIfFormat::Table, value_name = "FORMAT")]
    pub output: WhatIfFormat,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// Plan this variant instead of the usual ones, e.g. allow:arch=arm64, forbid:zone=us-east-1a, exclude:t3.* or
    /// price:spot=1.3; may be given several times
    #[arg(long, value_name = "VARIANT", value_parser = values::variant)]
    pub variant: Vec<WhatIf>,
    /// How hard to try, and with what.
    #[command(flatten)]
    pub effort: EffortArgs,
    /// What if.
    #[command(flatten)]
    pub what_if: WhatIfArgs,
    /// Consolidation.
    #[command(flatten)]
    pub consolidation: ConsolidationArgs,
}

/// Forms in which a table of variants is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhatIfFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// `stowage check`.
#[derive(Debug, Args)]
#[command(long_about = "\
Checks a plan against the snapshot it was made for: every pod placed once and where it may go, every node holds what it \
is given, every price right, and the bound proven. The referee shares no code with the planner.

The plan is the last file, or the one given with --plan: `stowage check snapshot.json plan.json`.")]
pub struct CheckArgs {
    /// Snapshot files (as for `plan`), then the plan, unless --plan names it
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub files: Vec<PathBuf>,
    /// The plan; all other files are then the snapshot
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub plan: Option<PathBuf>,
    /// The catalogue the plan was made with, if not the embedded one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub catalog: Option<PathBuf>,
}

/// `stowage show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The plan; `-` is stdin
    #[arg(value_name = "PLAN", value_hint = ValueHint::FilePath)]
    pub plan: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = PlanFormat::Table, value_name = "FORMAT")]
    pub output: PlanFormat,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// Exit 2 if the plan changes something, 0 if not
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// Forms in which a difference is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people, one screen
    Table,
    /// For programs
    Json,
    /// For a comment on a pull request
    Markdown,
}

/// `stowage diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The plan before
    #[arg(value_name = "BEFORE", value_hint = ValueHint::FilePath)]
    pub before: PathBuf,
    /// The plan after
    #[arg(value_name = "AFTER", value_hint = ValueHint::FilePath)]
    pub after: PathBuf,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = DiffFormat::Table, value_name = "FORMAT")]
    pub output: DiffFormat,
    /// List every difference, not only a screenful
    #[arg(long)]
    pub all: bool,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// Exit 2 if the plans decide differently, 0 if not
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// What can be explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// A pod, as NAMESPACE/NAME
    Pod,
    /// A node to launch (its slot, e.g. new-0001) or an existing node (its name)
    Node,
}

/// Forms in which an explanation is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Table,
    /// For programs
    Json,
}

/// `stowage explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The plan; `-` is stdin
    #[arg(value_name = "PLAN", value_hint = ValueHint::FilePath)]
    pub plan: PathBuf,
    /// What to explain
    #[arg(value_enum, value_name = "pod|node")]
    pub subject: Subject,
    /// NAMESPACE/NAME of the pod, or the node's name
    #[arg(value_name = "NAME")]
    pub name: String,
    /// The snapshot the plan was made for: adds requests, exact shares and what else fits
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub snapshot: Vec<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = ExplainFormat::Table, value_name = "FORMAT")]
    pub output: ExplainFormat,
}

/// Forms of a snapshot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SnapshotFormat {
    /// Readable and diffable
    Json,
    /// YAML
    Yaml,
    /// Compact JSON, zstd-compressed
    Zstd,
}

/// `stowage import`.
#[derive(Debug, Args)]
#[command(long_about = "\
Turns what people have into a snapshot file: Kubernetes lists as `kubectl get ... -A -o json` prints them, snapshot files \
(several are merged), or a trace.

  kubectl get pods,nodes,nodepools,ec2nodeclasses,nodeclaims,daemonsets -A -o json | stowage import - --out cluster.json
  stowage import --openb pods.csv --nodes nodes.csv --out openb.json.zst

Environment variables, arguments, images, secrets and annotations are not kept.")]
pub struct ImportArgs {
    /// Kubernetes lists or snapshot files, JSON or YAML, also zstd; `-` is stdin
    #[arg(required = true, value_name = "INPUT", value_hint = ValueHint::FilePath)]
    pub inputs: Vec<PathBuf>,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
    /// Form of the snapshot [default: by the name of --out: .yaml, .zst, else json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: Option<SnapshotFormat>,
    /// The input is the pod list of the openb GPU trace (CSV)
    #[arg(long)]
    pub openb: bool,
    /// The node list of the openb trace (CSV)
    #[arg(long, value_name = "FILE", requires = "openb", value_hint = ValueHint::FilePath)]
    pub nodes: Option<PathBuf>,
}

/// Arguments of `stowage record`.
#[derive(Debug, Args)]
pub struct RecordArgs {
    /// Those of stowage-record: --kubeconfig FILE, --context NAME, --out FILE; --help says more
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<std::ffi::OsString>,
}

/// `stowage catalog`.
#[derive(Debug, Subcommand)]
pub enum CatalogCommand {
    /// List instance types with what pods may use and prices
    Show(CatalogShowArgs),
    /// Write the catalogue as text, to edit and to pass to --catalog
    Export(CatalogExportArgs),
    /// Convert EC2 data in JSON to a catalogue
    Convert(CatalogConvertArgs),
}

/// Forms of the list of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatalogFormat {
    /// For people, at most 100 columns
    Table,
    /// For programs
    Json,
}

/// `stowage catalog show`.
#[derive(Debug, Args)]
pub struct CatalogShowArgs {
    /// Only types whose name starts with one of these, e.g. `c7g` or `m5.large`
    #[arg(value_name = "TYPE")]
    pub types: Vec<String>,
    /// Only this CPU architecture
    #[arg(long, value_name = "amd64|arm64")]
    pub arch: Option<String>,
    /// Only types offered in this zone; spot prices are those of the zone
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// Only types with at least this much allocatable cpu, e.g. `4` or `3500m`
    #[arg(long, value_name = "QUANTITY")]
    pub min_cpu: Option<String>,
    /// Only types with at least this much allocatable memory, e.g. `16Gi`
    #[arg(long, value_name = "QUANTITY")]
    pub min_memory: Option<String>,
    /// Only types with GPUs
    #[arg(long)]
    pub gpu: bool,
    /// Order of the list
    #[arg(long, value_enum, default_value_t = CatalogSort::Name, value_name = "KEY")]
    pub sort: CatalogSort,
    /// Use this catalogue instead of the embedded one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub catalog: Option<PathBuf>,
    /// Form of the output
    #[arg(short, long, value_enum, default_value_t = CatalogFormat::Table, value_name = "FORMAT")]
    pub output: CatalogFormat,
}

/// Orders of the list of types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CatalogSort {
    /// By name
    Name,
    /// By on-demand price
    Price,
    /// By the cheapest spot price
    Spot,
}

/// `stowage catalog export`.
#[derive(Debug, Args)]
pub struct CatalogExportArgs {
    /// Use this catalogue instead of the embedded one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub catalog: Option<PathBuf>,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
}

/// `stowage catalog convert`.
#[derive(Debug, Args)]
pub struct CatalogConvertArgs {
    /// EC2 types and prices in JSON; `-` is stdin
    #[arg(value_name = "DATAFILE", value_hint = ValueHint::FilePath)]
    pub data: PathBuf,
    /// Where it goes.
    #[command(flatten)]
    pub target: Target,
}

/// `stowage completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// `stowage man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write one page per command into this directory instead
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}
