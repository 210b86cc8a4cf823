//! The command line of the comparison: which snapshots, where results go.

use crate::{CompareArguments, load};
use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use stowage_bench::compare::report::Setting;
use stowage_bench::compare::row::Row;
use stowage_bench::compare::{Effort, Subject, compare as run, figures, history, report as text};
use stowage_bench::peers::Peer;
use stowage_bench::peers::input::Allowance;
use stowage_bench::table;

/// Snapshots compared unless told otherwise.
const USUAL: [&str; 24] = [
    "small",
    "web-1k",
    "mixed-100",
    "mixed-1k",
    "mixed-5k",
    "mixed-10k",
    "mixed-20k",
    "mixed-10k-od",
    "openb-default",
    "openb-cpu250",
    "constrained-1k",
    "constrained-10k",
    "spread-1k",
    "spread-10k",
    "hostname-2k",
    "known-50",
    "known-500",
    "known-5k",
    "known-50-hard",
    "known-500-hard",
    "known-5k-hard",
    "scaledown-30",
    "scaledown-100",
    "scaledown-1k",
];

/// Runs the comparison and writes everything.
pub(crate) fn compare(arguments: &CompareArguments) -> Result<()> {
    let peers = match arguments.peers.as_slice() {
        [] => Peer::ALL.to_vec(),
        names => names.iter().map(|name| Peer::named(name)).collect::<Result<_>>()?,
    };
    let names: Vec<String> = match arguments.names.as_slice() {
        [] => USUAL.map(str::to_owned).to_vec(),
        names => names.to_vec(),
    };
    // A name nobody knows should end the run now, not in an hour.
    for name in &names {
        table::Subject::named(name)?;
    }
    let allowance = Allowance { seconds: arguments.seconds, threads: arguments.threads };
    let effort = Effort {
        peers,
        allowance,
        consolidation_seconds: arguments.consolidation_seconds,
        runs: arguments.runs,
    };
    let setting = setting(allowance);
    let folder = &arguments.out;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(format!("{}.jsonl", setting.date));
    let kept = if arguments.keep && path.exists() { read(&path)?.1 } else { Vec::new() };
    let stamped = |mut row: Row| {
        row.date.clone_from(&setting.date);
        row.commit.clone_from(&setting.commit);
        row
    };
    let again =
        |row: &&Row| names.contains(&row.snapshot) && effort.peers.iter().any(|peer| peer.name() == row.peer);
    let kept: Vec<&Row> = kept.iter().filter(|row| !again(row)).collect();
    let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut line = |value: &dyn erased::Line| -> Result<()> {
        writeln!(file, "{}", value.json()?).with_context(|| format!("cannot write {}", path.display()))
    };
    line(&setting)?;
    kept.into_iter().try_for_each(|row| line(row))?;
    run(names.iter().map(|name| subject(name)), &effort, |row| line(&stamped(row)))?;
    report(&path)
}

/// What a line of the results file may be.
mod erased {
    pub(super) trait Line {
        fn json(&self) -> serde_json::Result<String>;
    }

    impl<T: serde::Serialize> Line for T {
        fn json(&self) -> serde_json::Result<String> {
            serde_json::to_string(self)
        }
    }
}

fn subject(name: &str) -> Subject {
    let missing = table::Subject::named(name).ok().and_then(|subject| subject.missing());
    let snapshot = match missing {
        Some(why) => Err(why),
        None => load(name, None).map_err(|why| format!("failed: {why:#}")),
    };
    let optimum = match table::Subject::named(name) {
        Ok(table::Subject::Composed { composition, .. }) => composition.optimum(composition.seed),
        _ => None,
    };
    Subject { name: name.to_owned(), snapshot, optimum }
}

/// Writes table, figures and history beside the rows.
pub(crate) fn report(path: &Path) -> Result<()> {
    let (setting, rows) = read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let history_path = folder.join("history.jsonl");
    let past = history::read(&history_path)?;
    let new = history::entries(&rows);
    let mut markdown = text::markdown(&setting, &rows);
    let changes = history::changes(&past, &new);
    if !changes.is_empty() {
        markdown.push_str("\n## Since earlier runs\n\n");
        markdown.push_str(&changes);
    }
    let table = path.with_extension("md");
    std::fs::write(&table, &markdown).with_context(|| format!("cannot write {}", table.display()))?;
    figures::write(&rows, folder)?;
    history::write(&history_path, &past, &new)?;
    print!("{markdown}");
    eprintln!("written: {}, {} and figures in {}", path.display(), table.display(), folder.display());
    Ok(())
}

/// The first line is the setting, every other a row. Rows of different catalogues do not belong together.
fn read(path: &Path) -> Result<(Setting, Vec<Row>)> {
    let content = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut lines = content.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let place = |number: usize| format!("{} line {}", path.display(), number + 1);
    let (number, first) = lines.next().with_context(|| format!("{} is empty", path.display()))?;
    let setting: Setting = serde_json::from_str(first)
        .with_context(|| format!("{}: not a comparison's setting", place(number)))?;
    let mut rows: Vec<Row> = lines
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| format!("{}: not a comparison's row", place(number)))
        })
        .collect::<Result<_>>()?;
    for row in rows.iter_mut().filter(|row| row.commit.is_empty()) {
        row.date.clone_from(&setting.date);
        row.commit.clone_from(&setting.commit);
    }
    for pair in rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b))) {
        let (a, b) = pair;
        if a.snapshot == b.snapshot
            && (&a.snapshot_digest, &a.catalog_digest) != (&b.snapshot_digest, &b.catalog_digest)
        {
            bail!(
                "{}: rows of {} are about different snapshots or catalogues; run it again without --keep",
                path.display(),
                a.snapshot
            );
        }
    }
    Ok((setting, rows))
}

fn setting(allowance: Allowance) -> Setting {
    let commit = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    Setting {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        commit: commit.unwrap_or_else(|| "unknown".to_owned()),
        machine: machine(),
        threads: allowance.threads,
    }
}

/// Processor and cores, as far as the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    format!("{model}, {cores} cores")
}
