//! Kernels of planning and judging, on mixed-10k (10,000 pods in 200 groups) and mixed-1k.
//!
//! `cargo bench --bench kernels`, or `-- pricing` for some of them. Times are of this machine; compare ratios. Instructions, which a busy
//! machine does not change: `stowage-bench instructions`.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::Duration;
use stowage_bench::compose::Composition;
use stowage_bench::peers::{Peer, plain};
use stowage_bench::trial::by_clock;
use stowage_import::{Encoding, Source, import, write_snapshot};
use stowage_models::catalog::Catalog;
use stowage_models::plan::Policy;
use stowage_models::snapshot::Snapshot;
use stowage_planner::Limits;
use stowage_planner::kernels::Kernels;

fn composed(name: &str) -> Snapshot {
    let composition = Composition::named(name).expect("a composition");
    composition.snapshot(composition.seed)
}

fn limits() -> Limits {
    by_clock(Duration::from_secs(60), 1)
}

fn pricing(c: &mut Criterion) {
    let kernels =
        Kernels::new(&composed("mixed-10k"), Catalog::embedded(), &Policy::default(), 1).expect("a problem");
    let mut group = c.benchmark_group("pricing");
    let mut next = 0;
    group.bench_function("one offering", |b| {
        b.iter(|| {
            next += 1;
            black_box(kernels.price_one(next))
        });
    });
    let mut next = 0;
    group.bench_function("one offering by tables", |b| {
        b.iter(|| {
            next += 1;
            black_box(kernels.price_integer(next))
        });
    });
    group.bench_function("all offerings", |b| b.iter(|| black_box(kernels.price_all())));
    group.bench_function("fluid program", |b| b.iter(|| black_box(kernels.fluid())));
    group.bench_function("packing", |b| b.iter(|| black_box(kernels.pack())));
    group.finish();
}

fn reading(c: &mut Criterion) {
    let snapshot = composed("mixed-10k");
    let text = write_snapshot(&snapshot, Encoding::Json);
    let mut group = c.benchmark_group("reading");
    group.bench_function("import", |b| {
        b.iter(|| black_box(import(&[Source { name: "snapshot", bytes: &text }]).expect("it imports")));
    });
    group.bench_function("groups and offerings", |b| {
        b.iter(|| {
            let policy = Policy::default();
            black_box(stowage_planner::numbers(&snapshot, Catalog::embedded(), &policy).expect("it reads"))
        });
    });
    group.bench_function("digest", |b| b.iter(|| black_box(snapshot.digest())));
    group.finish();
}

fn judging(c: &mut Criterion) {
    let snapshot = composed("mixed-10k");
    let catalog = Catalog::embedded();
    let policy = Policy::default();
    let plan =
        stowage_planner::plan(&snapshot, catalog, &policy, &limits(), &mut |_| {}).expect("a plan").plan;
    let mut group = c.benchmark_group("judging");
    group.sample_size(20);
    group.bench_function("check with certificate", |b| {
        b.iter(|| black_box(stowage_checker::check(&snapshot, catalog, &plan)));
    });
    group.finish();
}

fn whole(c: &mut Criterion) {
    let snapshot = composed("mixed-1k");
    let catalog = Catalog::embedded();
    let policy = Policy::default();
    let numbers = stowage_planner::numbers(&snapshot, catalog, &policy).expect("it reads");
    let mut group = c.benchmark_group("whole");
    group.sample_size(10);
    group.bench_function("plan mixed-1k", |b| {
        b.iter_batched(
            limits,
            |limits| {
                black_box(
                    stowage_planner::plan(&snapshot, catalog, &policy, &limits, &mut |_| {}).expect("a plan"),
                )
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("greedy mixed-1k", |b| {
        b.iter(|| black_box(plain::solve(Peer::Greedy, &numbers, ("", ""))));
    });
    group.finish();
}

criterion_group!(kernels, pricing, reading, judging, whole);
criterion_main!(kernels);
