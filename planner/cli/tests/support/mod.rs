//! Plans made by hand, for tests of what is printed. Figures agree with each other; the certificate proves nothing.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(missing_docs, unreachable_pub, reason = "shared by test files, no API")]

use std::path::PathBuf;
use stowage_models::objects::PodRef;
use stowage_models::plan::{
    Alternate, Blocking, CatalogRef, Certificate, ExistingNode, FORMAT_VERSION, KIND, Launch, Plan, Progress,
    Row, SnapshotRef, Summary, Unplaced, UnplacedReason,
};
use stowage_models::quantity::{CPU, MEMORY, PODS, Resources};
use stowage_models::random::Random;
use stowage_models::units::{Ppm, UsdMicros};

/// A type: name, cpu, memory in GiB, on-demand and spot price.
type Type = (&'static str, i64, i64, i64, i64);

const TYPES: [Type; 6] = [
    ("c7g.4xlarge", 16, 32, 580_000, 231_400),
    ("m7g.2xlarge", 8, 32, 326_400, 129_300),
    ("r7g.2xlarge", 8, 64, 428_400, 160_100),
    ("m5.4xlarge", 16, 64, 768_000, 301_200),
    ("c6i.8xlarge", 32, 64, 1_360_000, 598_700),
    ("g5.2xlarge", 8, 32, 1_212_000, 545_400),
];
const ZONES: [&str; 3] = ["us-east-1a", "us-east-1b", "us-east-1c"];
const APPS: [(&str, &str); 6] = [
    ("shop", "checkout"),
    ("shop", "catalogue"),
    ("search", "indexer"),
    ("payments", "ledger"),
    ("platform", "gateway"),
    ("ml", "embedder"),
];

fn resources(cpu_milli: i64, mib: i64, pods: i64) -> Resources {
    Resources::from([(CPU, cpu_milli), (MEMORY, mib << 20), (PODS, pods)])
}

fn allocatable(kind: &Type) -> Resources {
    resources(kind.1 * 1000 - 110, kind.2 * 950, 110)
}

fn names(count: usize, from: &mut usize, random: &mut Random) -> Vec<PodRef> {
    let mut pods: Vec<PodRef> = (0..count)
        .map(|_| {
            let (namespace, app) = APPS[random.index(APPS.len())];
            *from += 1;
            PodRef(format!("{namespace}/{app}-6d9f7c5b8-{:05x}", *from * 7919 % 1_048_576))
        })
        .collect();
    pods.sort();
    pods
}

/// A fill of `allocatable` in per cent, for so many pods.
fn share(allocatable: &Resources, cpu: i64, memory: i64, pods: usize) -> Resources {
    resources(allocatable.get(CPU) * cpu / 100, (allocatable.get(MEMORY) >> 20) * memory / 100, pods as i64)
}

fn launch(at: usize, pods: Vec<PodRef>, random: &mut Random) -> Launch {
    let kind = &TYPES[[0, 0, 0, 1, 1, 2, 4, 5][random.index(8)]];
    let spot = random.index(10) < 7;
    let zone = ZONES[random.index(3)];
    let allocatable = allocatable(kind);
    let price = UsdMicros(if spot { kind.4 } else { kind.3 });
    let alternate = |name: &str, dearer: i64| Alternate {
        instance_type: name.to_owned(),
        zone: zone.to_owned(),
        capacity_type: if spot { "spot" } else { "on-demand" }.to_owned(),
        price: price + UsdMicros(dearer),
    };
    Launch {
        slot: format!("new-{:04}", at + 1),
        node_pool: if kind.0.starts_with('g') { "gpu" } else { "general" }.to_owned(),
        instance_type: kind.0.to_owned(),
        zone: zone.to_owned(),
        capacity_type: if spot { "spot" } else { "on-demand" }.to_owned(),
        labels: Default::default(),
        price,
        list_price: None,
        price_estimated: spot && kind.0 == "g5.2xlarge",
        daemon_sets: resources(350, 620, 4),
        requested: share(
            &allocatable,
            84 + random.index(13) as i64,
            62 + random.index(34) as i64,
            pods.len(),
        ),
        allocatable,
        pods,
        alternates: vec![
            alternate("c7gd.4xlarge", 1_200),
            alternate("c6g.4xlarge", 3_900),
            alternate("m7g.4xlarge", 41_000),
        ],
    }
}

fn existing(at: usize, pods: Vec<PodRef>, random: &mut Random) -> ExistingNode {
    let kind = &TYPES[[3, 1, 2][random.index(3)]];
    let managed = at != 7;
    let allocatable = allocatable(kind);
    let running = share(
        &allocatable,
        45 + random.index(30) as i64,
        40 + random.index(25) as i64,
        12 + random.index(20),
    );
    let requested = if pods.is_empty() {
        Resources::default()
    } else {
        share(&allocatable, 8 + random.index(16) as i64, 6 + random.index(20) as i64, pods.len())
    };
    ExistingNode {
        name: format!("ip-10-0-{}-{}.ec2.internal", 10 + at % 3, 20 + at * 11),
        node_pool: managed.then(|| "general".to_owned()),
        instance_type: managed.then(|| kind.0.to_owned()),
        zone: Some(ZONES[at % 3].to_owned()),
        capacity_type: managed.then(|| if random.index(2) == 0 { "spot" } else { "on-demand" }.to_owned()),
        price: managed.then_some(UsdMicros(kind.3)),
        allocatable,
        running,
        pods,
        requested,
    }
}

/// A plan of this size; about a fifth of the pods goes to existing nodes.
pub fn plan(launches: usize, nodes: usize, pods: usize) -> Plan {
    let mut random = Random::new(7);
    let mut named = 0;
    let unplaced = unplaced(&mut named, &mut random);
    let out: usize = unplaced.iter().map(|entry| entry.pods.len()).sum();
    let on_existing = if nodes == 0 { 0 } else { (pods - out) / 5 };
    let on_new = pods - out - on_existing;
    let mut left = on_new;
    let launches: Vec<Launch> = (0..launches)
        .map(|at| {
            let take = left.div_ceil(launches - at);
            left -= take;
            let pods = names(take, &mut named, &mut random);
            launch(at, pods, &mut random)
        })
        .collect();
    let mut left = on_existing;
    let mut existing: Vec<ExistingNode> = (0..nodes)
        .map(|at| {
            let take = if at % 4 == 3 { 0 } else { left.div_ceil(nodes - at).min(left) };
            let take = if at + 1 == nodes { left } else { take };
            left -= take;
            let pods = names(take, &mut named, &mut random);
            self::existing(at, pods, &mut random)
        })
        .collect();
    existing.sort_by(|a, b| a.name.cmp(&b.name));
    let mut plan = Plan {
        kind: KIND.to_owned(),
        format_version: FORMAT_VERSION.to_owned(),
        planner: "0.1.0".to_owned(),
        snapshot: SnapshotRef {
            digest: stowage_models::digest::of_bytes(b"snapshot"),
            taken_at: Some("2026-11-20T22:30:04Z".to_owned()),
            origin: "composed, seed 7".to_owned(),
        },
        catalog: CatalogRef {
            digest: stowage_models::digest::of_bytes(b"catalogue"),
            region: "us-east-1".to_owned(),
            on_demand_as_of: "2026-08-19".to_owned(),
            spot_as_of: "2026-08-20".to_owned(),
        },
        notes: vec![
            "3 pods prefer a zone; preferences are not planned for".to_owned(),
            "NodePool gpu has startup taints, which are ignored in placement".to_owned(),
        ],
        launches,
        existing,
        unplaced,
        certificate: certificate(),
        ..Plan::default()
    };
    // As a plan says it in which there is nothing to prefer.
    plan.policy.preferences = None;
    summarise(&mut plan, pods, on_existing, on_new, out);
    plan.id = plan.compute_id();
    plan
}

/// The realistic one: 30 launches, 20 existing nodes, 900 pods.
pub fn realistic() -> Plan {
    plan(30, 20, 900)
}

fn unplaced(named: &mut usize, random: &mut Random) -> Vec<Unplaced> {
    vec![
        Unplaced {
            reason: UnplacedReason::Unsupported,
            message: "topologySpreadConstraints[0] (topology.kubernetes.io/zone, DoNotSchedule) is not planned for yet"
                .to_owned(),
            hint: "use whenUnsatisfiable: ScheduleAnyway, or let another autoscaler place these pods".to_owned(),
            nearest: None,
            blocking: Vec::new(),
            pods: names(4, named, random),
        },
        Unplaced {
            reason: UnplacedReason::NoFit,
            message: "requests 512Gi of memory; the largest node any NodePool may launch has 486.2Gi left".to_owned(),
            hint: "allow r7g.metal or x2gd types in NodePool general, or lower the request".to_owned(),
            nearest: Some("r7g.16xlarge us-east-1a on-demand (general)".to_owned()),
            blocking: Vec::new(),
            pods: names(1, named, random),
        },
        Unplaced {
            reason: UnplacedReason::Limits,
            message: "NodePool gpu has 8 of 96 cpu left under its limits; the smallest offering needs 16".to_owned(),
            hint: "raise spec.limits.cpu of NodePool gpu to at least 104".to_owned(),
            nearest: Some("g5.4xlarge us-east-1b spot (gpu)".to_owned()),
            blocking: Vec::new(),
            pods: names(7, named, random),
        },
        Unplaced {
            reason: UnplacedReason::Constraint,
            message: "the pods it wants to be near are in us-east-1e, which no offering that holds it is offered in"
                .to_owned(),
            hint: "drop the affinity, or open zone us-east-1e to NodePool gpu".to_owned(),
            nearest: None,
            blocking: vec![
                Blocking {
                    constraint: "affinity.podAffinity[0]".to_owned(),
                    detail: "topology.kubernetes.io/zone of a pod with app=index".to_owned(),
                    price_without: Some(UsdMicros(526_000)),
                },
                Blocking {
                    constraint: "hostPort TCP/0.0.0.0/8080".to_owned(),
                    detail: "taken on every existing node in us-east-1e".to_owned(),
                    price_without: Some(UsdMicros::ZERO),
                },
            ],
            pods: names(2, named, random),
        },
    ]
}

fn certificate() -> Certificate {
    let row = |pod: &str, pods, multiplier| Row {
        pod: PodRef(pod.to_owned()),
        domain: None,
        pods,
        min_weight: 0,
        multiplier,
    };
    Certificate {
        resources: vec![CPU.to_owned(), MEMORY.to_owned(), PODS.to_owned()],
        rows: vec![row("ml/embedder-1", 120, 8_912_896 << 10), row("shop/checkout-1", 768, 7_444 << 20)],
        limits: Vec::new(),
        vectors: vec![vec![0, 0, 0], vec![12_345_678, 901_234, 0]],
        cases: Vec::new(),
        offering_vectors: "1*1873,0*12".to_owned(),
        node_vectors: Vec::new(),
        parts: Vec::new(),
    }
}

fn summarise(plan: &mut Plan, pods: usize, on_existing: usize, on_new: usize, out: usize) {
    let cost: UsdMicros = plan.launches.iter().map(|launch| launch.price).sum();
    let bound = UsdMicros(cost.0 - cost.0 * 74 / 10_000);
    plan.summary = Summary {
        pods_pending: pods as u64,
        pods_on_existing: on_existing as u64,
        pods_on_new: on_new as u64,
        pods_unplaced: out as u64,
        groups: plan.certificate.rows.len() as u64,
        offerings: 1885,
        nodes_before: plan.existing.len() as u64,
        nodes_launched: plan.launches.len() as u64,
        cost_before: plan.existing.iter().filter_map(|node| node.price).sum(),
        launch_cost: cost,
        preference_cost: UsdMicros::ZERO,
        launch_bound: bound,
        gap: Ppm::gap(cost, bound),
        launch_bound_without_weights: Some(UsdMicros(bound.0 - bound.0 / 100)),
        estimated_cost: plan
            .launches
            .iter()
            .filter(|launch| launch.price_estimated)
            .map(|launch| launch.price)
            .sum(),
        nodes_unpriced: plan.existing.iter().filter(|node| node.price.is_none()).count() as u64,
    };
    let point = |stage: &str, cost_share: i64, bound_share: i64| Progress {
        stage: stage.to_owned(),
        cost: UsdMicros(cost.0 * cost_share / 1000),
        bound: UsdMicros(bound.0 * bound_share / 1000),
    };
    plan.progress = vec![
        point("greedy", 1121, 0),
        point("fluid", 1121, 962),
        point("packing", 1043, 962),
        point("pricing", 1031, 988),
        point("pricing", 1019, 996),
        point("search", 1004, 1000),
        point("search", 1000, 1000),
    ];
}

/// Few nodes and pods, for texts that a reviewer reads whole.
pub fn short() -> Plan {
    plan(4, 3, 32)
}

/// An empty directory of this test's own.
pub fn directory(test: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the test directory can be made");
    path
}

/// The first browser there is.
pub fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().flat_map(|name| places.iter().map(move |place| place.join(name))).find(|file| file.is_file())
}
