//! `stowage-bench compare`: Stowage and its peers on the same snapshots, in one run.

pub mod figures;
pub mod history;
pub mod report;
pub mod row;

use crate::peers::input::{Allowance, question};
use crate::peers::judge::{is_counted, judge};
use crate::peers::process::{Program, ask, install};
use crate::peers::{Answer, Outcome, Peer, Task, plain};
use anyhow::{Context as _, Result};
use row::{Row, Run};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Instant;
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_models::units::{Ppm, UsdMicros};

/// A snapshot to compare on.
pub struct Subject {
    /// Name.
    pub name: String,
    /// The snapshot, or why there is none here.
    pub snapshot: Result<Snapshot, String>,
    /// Cost of the optimum, where the construction proves it.
    pub optimum: Option<UsdMicros>,
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Effort {
    /// The peers.
    pub peers: Vec<Peer>,
    /// What each may take to place pending pods.
    pub allowance: Allowance,
    /// Seconds each may take to consolidate.
    pub consolidation_seconds: u64,
    /// Runs of what varies from run to run (Karpenter's consolidation); the median counts.
    pub runs: usize,
}

impl Effort {
    fn of(&self, task: Task) -> Allowance {
        match task {
            Task::Provision => self.allowance,
            Task::Consolidate => Allowance { seconds: self.consolidation_seconds, ..self.allowance },
        }
    }
}

/// The embedded catalogue without types for which it knows no spot price.
///
/// The recorded spot prices end in 2024 and their estimates in 2025, so the newest families look as if they were sold on
/// demand only. In truth they are not, and a packer that takes the largest types first would pay for the gap in the data,
/// not for its packing. With these types gone nobody can.
#[must_use]
pub fn priced() -> Catalog {
    let mut catalog = Catalog::embedded().clone();
    catalog.types.retain(|it| it.zones.iter().any(|zone| zone.spot.is_some()));
    catalog
}

/// The task a snapshot poses: pending pods want places; without any, the running ones want a cheaper cluster.
#[must_use]
pub fn task(snapshot: &Snapshot) -> Task {
    if snapshot.pods.iter().any(stowage_models::objects::Pod::is_pending) {
        Task::Provision
    } else {
        Task::Consolidate
    }
}

/// Runs every peer on every subject and hands out each row as soon as it is there.
///
/// # Errors
/// If a row cannot be handed out, or a question cannot be written.
pub fn compare(
    subjects: impl Iterator<Item = Subject>,
    effort: &Effort,
    mut take: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    let priced = priced();
    let mut installed: BTreeMap<Peer, Result<Program, String>> = BTreeMap::new();
    for subject in subjects {
        let snapshot = match &subject.snapshot {
            Ok(snapshot) => snapshot,
            Err(why) => {
                take(Row::missing(&subject.name, why))?;
                continue;
            }
        };
        let task = task(snapshot);
        let is_priced = task == Task::Provision && subject.optimum.is_none();
        let catalog = if is_priced { &priced } else { Catalog::embedded() };
        let allowance = effort.of(task);
        let question = question(&subject.name, snapshot, catalog, task, allowance)?;
        let digests = (snapshot.digest(), catalog.digest());
        let asked = Asked {
            subject: &subject,
            snapshot,
            catalog,
            is_priced,
            allowance,
            task,
            question: question.to_string().into_bytes(),
            digests: (&digests.0, &digests.1),
        };
        for peer in &effort.peers {
            eprintln!("{}: {}", subject.name, peer.name());
            let program = installed.entry(*peer).or_insert_with(|| {
                if is_external(*peer) {
                    install(*peer).map_err(|why| format!("{why:#}"))
                } else {
                    Err("built in".to_owned())
                }
            });
            take(asked.row(*peer, program, effort))?;
        }
    }
    Ok(())
}

fn is_external(peer: Peer) -> bool {
    matches!(peer, Peer::Karpenter | Peer::CpSat | Peer::Highs | Peer::Scip)
}

/// A question, ready to be put to anybody.
struct Asked<'s> {
    subject: &'s Subject,
    snapshot: &'s Snapshot,
    catalog: &'s Catalog,
    is_priced: bool,
    allowance: Allowance,
    task: Task,
    question: Vec<u8>,
    digests: (&'s str, &'s str),
}

impl Asked<'_> {
    fn row(&self, peer: Peer, program: &Result<Program, String>, effort: &Effort) -> Row {
        let varies = self.task == Task::Consolidate && peer == Peer::Karpenter;
        let times = if varies { effort.runs.max(1) } else { 1 };
        let mut runs = Vec::new();
        for _ in 0..times {
            let answer = self.answer(peer, program);
            let verdict = judge(self.snapshot, self.catalog, self.task, &answer);
            let failed = matches!(answer.outcome, Outcome::Failed | Outcome::Skipped);
            runs.push(Run { answer, verdict });
            if failed {
                break;
            }
        }
        Row::new(
            &self.subject.name,
            self.task,
            peer,
            (self.pods(), self.allowance.seconds),
            self.subject.optimum,
            runs,
        )
    }

    fn pods(&self) -> usize {
        match self.task {
            Task::Provision => self.snapshot.pods.iter().filter(|pod| pod.is_pending()).count(),
            Task::Consolidate => self.snapshot.pods.iter().filter(|pod| is_counted(pod)).count(),
        }
    }

    fn answer(&self, peer: Peer, program: &Result<Program, String>) -> Answer {
        let without = |outcome, message| Answer::without(peer, self.digests, outcome, message);
        if self.task == Task::Consolidate && !peer.consolidates() {
            return without(Outcome::Skipped, "skipped: it only places pending pods".to_owned());
        }
        if peer.is_ours() {
            return self
                .ours(peer, self.allowance.threads)
                .unwrap_or_else(|why| without(Outcome::Failed, format!("{why:#}")));
        }
        match program {
            Ok(program) => {
                let Allowance { seconds, threads } = self.allowance;
                ask(peer, program, &self.question, seconds, threads, self.digests)
            }
            Err(why) if is_external(peer) => without(Outcome::Skipped, why.clone()),
            Err(_) => self.plain(peer).unwrap_or_else(|why| without(Outcome::Failed, format!("{why:#}"))),
        }
    }

    /// A heuristic of ours; its time includes reading the problem, as everybody's does.
    fn plain(&self, peer: Peer) -> Result<Answer> {
        let policy = Policy { slack: Ppm(0), ..Policy::default() };
        let start = Instant::now();
        let numbers = stowage_planner::numbers(self.snapshot, self.catalog, &policy)?;
        let mut answer =
            plain::solve(peer, &numbers, self.digests).context("this peer has no implementation here")?;
        answer.seconds = start.elapsed().as_secs_f64();
        Ok(answer)
    }

    /// Stowage in a process of its own, like everybody, so that its memory is its own.
    fn ours(&self, peer: Peer, threads: usize) -> Result<Answer> {
        let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
        command.args(["answer", peer.name(), &self.subject.name, "--threads", &threads.to_string()]);
        if self.is_priced {
            command.arg("--priced");
        }
        let output = command.stderr(Stdio::piped()).output().context("cannot start the child process")?;
        anyhow::ensure!(
            output.status.success(),
            "{} ({})",
            String::from_utf8_lossy(&output.stderr).trim(),
            output.status
        );
        serde_json::from_slice(&output.stdout).context("the child process did not print an answer")
    }
}
