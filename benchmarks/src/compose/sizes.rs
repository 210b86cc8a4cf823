//! Distributions: request sizes, replica counts, priorities. Tables of weights, because integers travel.

use stowage_models::objects::Container;
use stowage_models::quantity::{CPU, MEMORY, Resources};
use stowage_models::random::Random;

/// One mebibyte.
pub(super) const MIB: i64 = 1 << 20;
/// One gibibyte.
pub(super) const GIB: i64 = 1 << 30;

/// Millicores people write, with weights close to a log-normal around 400m: most pods are small, a few take a machine.
const CPU_MILLIS: [(i64, u64); 14] = [
    (50, 6),
    (100, 14),
    (200, 10),
    (250, 14),
    (300, 4),
    (500, 18),
    (750, 4),
    (1000, 14),
    (1500, 4),
    (2000, 8),
    (3000, 2),
    (4000, 4),
    (6000, 1),
    (8000, 1),
];

/// GiB of memory per core: compute-, general- and memory-heavy pods around the shapes of the c, m and r families.
const GIB_PER_CORE: [(i64, u64); 8] = [(1, 12), (2, 26), (3, 8), (4, 26), (6, 6), (8, 14), (12, 3), (16, 5)];

/// Relative replica counts: half of all workloads are tiny, a few carry most of the pods.
const REPLICAS: [(u64, u64); 11] =
    [(1, 18), (2, 20), (3, 14), (5, 12), (8, 10), (12, 8), (20, 7), (40, 5), (80, 3), (150, 2), (300, 1)];

/// Pod priorities: nearly everybody leaves the default.
const PRIORITIES: [(i32, u64); 4] = [(0, 86), (100, 8), (10_000, 4), (-10, 2)];

/// Requests of one container. Three of four are numbers a person would write; the others look like the output of a
/// recommender, in tens of millicores and whole mebibytes.
pub(super) fn container(rng: &mut Random) -> Container {
    let mut cpu = rng.weighted(&CPU_MILLIS);
    let per_core = rng.weighted(&GIB_PER_CORE);
    let recommended = rng.chance(25);
    if recommended {
        cpu = (cpu * rng.between(70, 160) / 100 / 10 * 10).max(10);
    }
    let exact = cpu * per_core * GIB / 1000;
    let step = match exact {
        _ if recommended => MIB,
        ..GIB => 32 * MIB,
        GIB..4_294_967_296 => 128 * MIB,
        _ => 512 * MIB,
    };
    let memory = ((exact + step - 1) / step * step).max(64 * MIB);
    Container { requests: Resources::from([(CPU, cpu), (MEMORY, memory)]), ..Container::default() }
}

/// A relative replica count for pods of this size, for [`apportion`]. Workloads with many replicas have small pods: a
/// team that needs a thousand cores runs many pods rather than hundreds of large ones.
pub(super) fn replicas(requests: &Resources, rng: &mut Random) -> u64 {
    const RELATIVE_CORES_MAX: i64 = 150;
    let most = RELATIVE_CORES_MAX * 1000 / requests.get(CPU).max(1);
    rng.weighted(&REPLICAS).min(u64::try_from(most).unwrap_or(0)).max(1)
}

/// A pod priority.
pub(super) fn priority(rng: &mut Random) -> i32 {
    rng.weighted(&PRIORITIES)
}

/// Splits `total` in proportion to `weights`, at least one each: floors first, then one more each in order of the
/// largest remainder.
pub(super) fn apportion(weights: &[u64], total: u64) -> Vec<u64> {
    let count = weights.len() as u64;
    assert!(count <= total, "each share is at least one");
    let sum: u64 = weights.iter().sum();
    let spare = total - count;
    let mut shares: Vec<u64> = weights.iter().map(|weight| 1 + weight * spare / sum).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| (std::cmp::Reverse(weights[*index] * spare % sum), *index));
    let missing = total - shares.iter().sum::<u64>();
    for index in order.into_iter().take(usize::try_from(missing).expect("less than the number of shares")) {
        shares[index] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert_eq!(apportion(&[1, 1, 1], 10), [4, 3, 3]);
        assert_eq!(apportion(&[300, 1, 1], 1000).iter().sum::<u64>(), 1000);
    }

    #[test]
    fn requests_are_of_the_usual_size() {
        let mut rng = Random::new(9);
        let mut cpus: Vec<i64> = (0..1001).map(|_| container(&mut rng).requests.get(CPU)).collect();
        cpus.sort_unstable();
        assert!((200..=500).contains(&cpus[500]), "median {}", cpus[500]);
        assert!(cpus[1000] >= 6000 && cpus[0] <= 100);
    }
}
