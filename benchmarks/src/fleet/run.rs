//! Planning a share.

use super::listing::Listing;
use super::part::Lock;
use super::row::{Figures, Outcome, Row, Settings, millis};
use crate::trial::by_clock;
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::ThreadPool;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use stowage_import::Source;
use stowage_models::catalog::Catalog;
use stowage_models::digest;

/// Largest accepted file, 1 GiB, as for the command line: some 130,000 pods as `kubectl` prints them.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// How often the bar moves while nothing ends.
const TICK: Duration = Duration::from_millis(250);

/// How to plan a share.
#[derive(Clone, Debug)]
pub struct Options {
    /// What results depend on.
    pub settings: Settings,
    /// Snapshots planned at once, each by one thread: that costs less memory and less waiting than several threads on
    /// one snapshot after the other.
    pub threads: NonZeroUsize,
    /// Keep results of an earlier run that still hold.
    pub resume: bool,
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Snapshots of the share.
    pub snapshots: u64,
    /// Results kept from an earlier run.
    pub kept: u64,
    /// Results of this run.
    pub done: u64,
    /// Results of this run without a plan that the checker accepts. (None of these is kept from earlier runs.)
    pub failed: u64,
}

impl Progress {
    /// Whether every snapshot has a result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.kept + self.done == self.snapshots
    }
}

/// Plans the snapshots of a share that have no result yet. `stop` ends it early: what is under way is finished, nothing new
/// is begun.
///
/// # Errors
/// If results cannot be written. What is wrong with a snapshot is a result.
pub fn run(
    folder: &Path,
    listing: &Listing,
    out: &Path,
    options: &Options,
    stop: &AtomicBool,
) -> Result<Progress> {
    let threads = options.threads.get();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.with_context(|| format!("cannot start {threads} threads"))?;
    let work = Work::new(folder, &options.settings);
    let lock = Lock::take(out, listing.index, listing.of.get())?;
    let holds = |row: &Row| listing.paths.binary_search(&row.path).is_ok() && work.holds(row);
    let kept: BTreeMap<String, Row> = match options.resume {
        true => {
            let before = lock.before()?;
            let kept = pool.install(|| before.into_par_iter().filter(holds).collect::<Vec<_>>());
            kept.into_iter().map(|row| (row.path.clone(), row)).collect()
        }
        false => BTreeMap::new(),
    };
    let part = lock.start(listing, kept.values())?;
    let missing: Vec<&String> = listing.paths.iter().filter(|path| !kept.contains_key(*path)).collect();
    let (snapshots, kept) = (listing.paths.len() as u64, kept.len() as u64);
    let bar = bar(snapshots, kept);
    let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let written = work_off(
        &pool,
        &missing,
        stop,
        |path| work.plan(path),
        |row: Row| {
            part.append(&row)?;
            done.fetch_add(1, Ordering::Relaxed);
            if !row.is_good() {
                bar.set_message(format!("{} failed", failed.fetch_add(1, Ordering::Relaxed) + 1));
            }
            bar.inc(1);
            Ok(())
        },
    );
    bar.finish_and_clear();
    written?;
    Ok(Progress { snapshots, kept, done: done.into_inner(), failed: failed.into_inner() })
}

/// Does `work` on every item in the pool, and hands each result to `sink`. An error of `sink` or `stop` ends it: what is under
/// way is finished.
///
/// Every thread takes the next item when it is done with one. It is not a parallel iterator: the planner runs in a pool
/// of its own, and a thread of *this* pool that waits for another would take up a second snapshot meanwhile, with
/// twice the memory and the first one's clock running.
fn work_off<Item: Sync, Answer>(
    pool: &ThreadPool,
    items: &[Item],
    stop: &AtomicBool,
    work: impl Fn(&Item) -> Answer + Sync,
    sink: impl Fn(Answer) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicUsize::new(0);
    let error = Mutex::new(None);
    let broken = AtomicBool::new(false);
    pool.broadcast(|_| {
        while !stop.load(Ordering::Relaxed) && !broken.load(Ordering::Relaxed) {
            let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) else { return };
            if let Err(why) = sink(work(item)) {
                broken.store(true, Ordering::Relaxed);
                error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            }
        }
    });
    error.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

/// What every result depends on.
struct Work<'a> {
    folder: &'a Path,
    settings: &'a Settings,
    catalog: &'a Catalog,
    catalog_digest: String,
}

impl<'a> Work<'a> {
    fn new(folder: &'a Path, settings: &'a Settings) -> Work<'a> {
        let catalog = Catalog::embedded();
        Work { folder, settings, catalog, catalog_digest: catalog.digest() }
    }

    /// Whether a result would come out again: same file, catalogue and settings. Failures are tried again; most fail
    /// fast, and some were the machine's.
    fn holds(&self, row: &Row) -> bool {
        let same_file = || {
            let bytes = read(&self.folder.join(&row.path));
            bytes.is_ok_and(|bytes| row.file == Some(digest::of_bytes(&bytes)))
        };
        row.is_good() && row.settings == *self.settings && row.catalog == self.catalog_digest && same_file()
    }

    /// Plans one snapshot. Nothing about it, not even a panic, is an error: it is the result.
    fn plan(&self, path: &str) -> Row {
        let (file, outcome) = match read(&self.folder.join(path)) {
            Err(error) => (None, Outcome::Failed(format!("cannot be read: {error}"))),
            Ok(bytes) => {
                let digest = digest::of_bytes(&bytes);
                let outcome = guarded(|| self.figures(path, bytes));
                (
                    Some(digest),
                    outcome.map_or_else(Outcome::Failed, |figures| Outcome::Planned(Box::new(figures))),
                )
            }
        };
        let (catalog, settings) = (self.catalog_digest.clone(), self.settings.clone());
        Row { path: path.to_owned(), file, catalog, settings, outcome }
    }

    /// Imports, plans and checks, on this thread.
    fn figures(&self, path: &str, bytes: Vec<u8>) -> Result<Figures, String> {
        let imported = stowage_import::import(&[Source { name: path, bytes: &bytes }]);
        let snapshot = imported.map_err(|error| error.to_string())?.snapshot;
        drop(bytes);
        let start = Instant::now();
        let limits = by_clock(self.settings.time_limit(), 1);
        let policy = &self.settings.policy;
        let planned = stowage_planner::plan(&snapshot, self.catalog, policy, &limits, &mut |_| {});
        let planned = planned.map_err(|error| error.to_string())?;
        let wall_ms = millis(start.elapsed());
        let findings = stowage_checker::check(&snapshot, self.catalog, &planned.plan);
        let summary = &planned.plan.summary;
        Ok(Figures {
            snapshot: planned.plan.snapshot.digest.clone(),
            plan: planned.plan.id.clone(),
            pods: summary.pods_pending,
            pods_unplaced: summary.pods_unplaced,
            nodes: summary.nodes_before,
            launches: summary.nodes_launched,
            cost: summary.launch_cost,
            bound: summary.launch_bound,
            gap: summary.gap,
            findings: findings.len() as u64,
            first_finding: findings.first().map(ToString::to_string),
            stop: format!("{:?}", planned.report.stop),
            wall_ms,
        })
    }
}

/// Turns a panic into a failure. Where it was, the panic's own message on stderr says.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // Nothing outlives a panic: snapshot and plan are this call's own.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("panic: {}", text.unwrap_or_else(|| "without a message".to_owned())))
    })
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let text = format!("is larger than {} MiB", FILE_BYTES_MAX >> 20);
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// A bar on stderr if that is a terminal, nothing otherwise.
fn bar(snapshots: u64, kept: u64) -> ProgressBar {
    let template = "{spinner} {pos}/{len} snapshots {wide_bar} {elapsed}, {eta} to go {msg}";
    let style = ProgressStyle::with_template(template).expect("the template is valid");
    let bar = ProgressBar::new(snapshots).with_style(style).with_position(kept);
    // What was done before tells nothing of the speed now.
    bar.reset_eta();
    bar.enable_steady_tick(TICK);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("threads")
    }

    #[test]
    fn every_item_is_worked_on_once() {
        let items: Vec<usize> = (0..100).collect();
        let seen = Mutex::new(Vec::new());
        let never = AtomicBool::new(false);
        let sink = |item| {
            seen.lock().expect("no panic").push(item);
            Ok(())
        };
        work_off(&pool(), &items, &never, |item| *item, sink).expect("no error");
        let mut seen = seen.into_inner().expect("no panic");
        seen.sort_unstable();
        assert_eq!(seen, items);
    }

    #[test]
    fn no_thread_takes_up_an_item_while_it_waits_for_another_pool() {
        let (busy, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_: &usize| {
            most.fetch_max(busy.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let inner = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            inner.install(|| std::thread::sleep(Duration::from_millis(2)));
            busy.fetch_sub(1, Ordering::SeqCst);
        };
        let items: Vec<usize> = (0..60).collect();
        work_off(&pool(), &items, &AtomicBool::new(false), work, |()| Ok(())).expect("no error");
        assert!((1..=3).contains(&most.into_inner()));
    }

    #[test]
    fn stopping_and_errors_leave_the_rest_undone() {
        let items: Vec<usize> = (0..1_000).collect();
        let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
        let sink = |()| {
            if count.fetch_add(1, Ordering::SeqCst) == 9 {
                stop.store(true, Ordering::SeqCst);
            }
            Ok(())
        };
        work_off(&pool(), &items, &stop, |_| (), sink).expect("stopping is no error");
        // Each of the other two threads may have had one item under way.
        assert!((10..=12).contains(&count.into_inner()));

        let count = AtomicUsize::new(0);
        let full = |()| {
            count.fetch_add(1, Ordering::SeqCst);
            anyhow::bail!("disk full")
        };
        let error = work_off(&pool(), &items, &AtomicBool::new(false), |_| (), full).expect_err("an error");
        assert_eq!(error.to_string(), "disk full");
        assert!((1..=3).contains(&count.into_inner()));
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message() {
        let number = 7;
        let failed = guarded(|| -> Result<(), String> { panic!("pod {number} is everywhere") });
        assert_eq!(failed, Err("panic: pod 7 is everywhere".to_owned()));
        assert_eq!(guarded(|| Ok(1)), Ok(1));
    }
}
