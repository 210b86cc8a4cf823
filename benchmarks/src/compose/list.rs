//! The list of compositions.

use super::known::{self, known};
use super::{Composition, constrained, mixed, scaledown, small, spread, web};

/// All compositions.
pub const COMPOSITIONS: [Composition; 31] = [
    Composition::new("small", 1, "tens of pods, every supported feature once", small::compose).committed(),
    Composition::new("web-1k", 2, "1,000 pending pods beside 60 nodes that run 700", web::compose)
        .committed(),
    Composition::new("mixed-100", 3, "100 pods in 30 of the groups of mixed-10k", |seed| {
        mixed::compose(seed, &mixed::SPOT_100)
    }),
    Composition::new("mixed-1k", 3, "1,000 pods in 100 of the groups of mixed-10k", |seed| {
        mixed::compose(seed, &mixed::SPOT_1K)
    }),
    Composition::new("mixed-5k", 3, "5,000 pods in 150 of the groups of mixed-10k", |seed| {
        mixed::compose(seed, &mixed::SPOT_5K)
    }),
    Composition::new(
        "mixed-10k",
        3,
        "10,000 pods in 200 groups, spot and on-demand, both architectures",
        |seed| mixed::compose(seed, &mixed::SPOT_10K),
    )
    .committed(),
    Composition::new("mixed-10k-od", 3, "the pods of mixed-10k, on-demand only", |seed| {
        mixed::compose(seed, &mixed::ON_DEMAND_10K)
    })
    .committed(),
    Composition::new("mixed-20k", 3, "the groups of mixed-10k with twice the pods", |seed| {
        mixed::compose(seed, &mixed::SPOT_20K)
    }),
    Composition::new("mixed-100k", 3, "the groups of mixed-10k with ten times the pods", |seed| {
        mixed::compose(seed, &mixed::SPOT_100K)
    }),
    Composition::new("mixed-1m", 3, "a million pods in 500 groups", |seed| {
        mixed::compose(seed, &mixed::SPOT_1M)
    }),
    Composition::new("groups-500", 3, "10,000 pods in 500 groups", |seed| {
        mixed::compose(seed, &mixed::GROUPS_500)
    }),
    Composition::new("groups-2k", 3, "20,000 pods in 2,000 groups", |seed| {
        mixed::compose(seed, &mixed::GROUPS_2K)
    }),
    Composition::new("upto-16", 3, "the pods of mixed-10k on types of up to 16 vCPU", |seed| {
        mixed::compose(seed, &mixed::UP_TO_16)
    }),
    Composition::new("all-types", 3, "the pods of mixed-10k on all types, burstable ones too", |seed| {
        mixed::compose(seed, &mixed::ALL_TYPES)
    }),
    Composition::new("scaledown-30", 4, "30 nodes grown by arrivals, then 40 % of the pods gone", |seed| {
        scaledown::compose(seed, &scaledown::NODES_30)
    }),
    Composition::new("scaledown-100", 4, "100 nodes grown by arrivals, then 40 % of the pods gone", |seed| {
        scaledown::compose(seed, &scaledown::NODES_100)
    }),
    Composition::new(
        "scaledown-1k",
        4,
        "1,000 nodes grown by arrivals, then 40 % of the pods gone",
        |seed| scaledown::compose(seed, &scaledown::NODES_1K),
    ),
    Composition::new(
        "scaledown-100-tied",
        4,
        "scaledown-100 with three apps in five spread over zones or hostnames",
        |seed| scaledown::tied(seed, &scaledown::NODES_100),
    ),
    Composition::new(
        "scaledown-1k-tied",
        4,
        "scaledown-1k with three apps in five spread over zones or hostnames",
        |seed| scaledown::tied(seed, &scaledown::NODES_1K),
    ),
    Composition::new(
        "constrained-1k",
        6,
        "1,000 pods with every supported constraint beside a fleet of 20 nodes",
        |seed| constrained::compose(seed, &constrained::PODS_1K),
    ),
    Composition::new(
        "constrained-10k",
        6,
        "10,000 pods with every supported constraint beside a fleet of 100 nodes",
        |seed| constrained::compose(seed, &constrained::PODS_10K),
    ),
    Composition::new(
        "spread-1k",
        7,
        "1,000 pods, half of the groups with constraints between pods",
        |seed| spread::compose(seed, &spread::PODS_1K),
    ),
    Composition::new(
        "spread-10k",
        7,
        "10,000 pods, half of the groups with constraints between pods",
        |seed| spread::compose(seed, &spread::PODS_10K),
    ),
    Composition::new("spread-10k-free", 7, "spread-10k without its constraints between pods", |seed| {
        spread::free(seed, &spread::PODS_10K)
    }),
    Composition::new("hostname-2k", 8, "2,000 pods, 1,000 of them spread over hostnames", spread::hostname),
    Composition::new(
        "known-50",
        5,
        "50 pods in few shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::EASY[0]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::EASY[0]).optimum),
    Composition::new(
        "known-500",
        5,
        "500 pods in few shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::EASY[1]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::EASY[1]).optimum),
    Composition::new(
        "known-5k",
        5,
        "5,000 pods in few shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::EASY[2]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::EASY[2]).optimum),
    Composition::new(
        "known-50-hard",
        5,
        "50 pods in many shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::HARD[0]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::HARD[0]).optimum),
    Composition::new(
        "known-500-hard",
        5,
        "500 pods in many shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::HARD[1]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::HARD[1]).optimum),
    Composition::new(
        "known-5k-hard",
        5,
        "5,000 pods in many shapes, cut from full nodes: the optimum is known",
        |seed| known(seed, &known::HARD[2]).snapshot,
    )
    .with_optimum(|seed| known(seed, &known::HARD[2]).optimum),
];
