//! Plain heuristics: what one would write in an afternoon. They read the same numbers as everybody else.
//!
//! All three fill existing nodes first (first fit, largest pods first), respect NodePool limits, and take pods in order of
//! priority and then size, where the size of a pod is its largest share of what all pending pods ask for together.

use super::{Answer, AnswerLaunch, AnswerNode, AnswerUnplaced, Peer};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use stowage_models::objects::PodRef;
use stowage_planner::Numbers;

/// Runs one of the heuristics; `None` if the peer is none of them.
#[must_use]
pub fn solve(peer: Peer, numbers: &Numbers, digests: (&str, &str)) -> Option<Answer> {
    let mut packer = Packer::new(numbers);
    packer.fill_existing();
    match peer {
        Peer::FirstFitDecreasing => packer.first_fit(),
        Peer::BestFitByPrice => packer.best_fit(),
        Peer::Greedy => packer.greedy(),
        _ => return None,
    }
    Some(packer.answer(peer, digests))
}

/// A node being filled.
struct Open {
    load: Vec<i64>,
    /// Pods by group.
    pods: BTreeMap<usize, u64>,
    /// Which classes of offerings may still hold it.
    classes: Vec<bool>,
    /// The cheapest offering that holds it.
    offering: usize,
}

struct Packer<'n> {
    numbers: &'n Numbers,
    /// Groups in the order they are packed.
    order: Vec<usize>,
    /// Pods to place by group.
    left: Vec<u64>,
    /// `holds[class][group]`.
    holds: Vec<Vec<bool>>,
    open: Vec<Open>,
    /// Pods on existing nodes: by node, by group.
    existing: Vec<BTreeMap<usize, u64>>,
    /// What is left of each limit.
    limits: Vec<i64>,
    /// Weight of each resource in sizes: one over everything that is asked for.
    weights: Vec<f64>,
}

fn fits(load: &[i64], more: &[i64], capacity: &[i64]) -> bool {
    load.iter().zip(more).zip(capacity).all(|((load, more), capacity)| load + more <= *capacity)
}

impl<'n> Packer<'n> {
    fn new(numbers: &'n Numbers) -> Packer<'n> {
        let mut total = vec![0_f64; numbers.resources.len()];
        for group in &numbers.groups {
            for (sum, amount) in total.iter_mut().zip(&group.request) {
                *sum += *amount as f64 * group.pods.len() as f64;
            }
        }
        let weights: Vec<f64> =
            total.into_iter().map(|sum| if sum > 0.0 { 1.0 / sum } else { 0.0 }).collect();
        let size = |g: usize| -> f64 {
            let shares = numbers.groups[g].request.iter().zip(&weights);
            shares.map(|(amount, weight)| *amount as f64 * weight).fold(0.0, f64::max)
        };
        let mut order: Vec<usize> = (0..numbers.groups.len()).collect();
        order.sort_by(|a, b| size(*b).total_cmp(&size(*a)).then(a.cmp(b)));
        order.sort_by_key(|g| Reverse(numbers.groups[*g].priority));
        let holds = numbers
            .classes
            .iter()
            .map(|class| {
                let mut holds = vec![false; numbers.groups.len()];
                class.iter().for_each(|g| holds[*g] = true);
                holds
            })
            .collect();
        Packer {
            numbers,
            order,
            left: numbers.groups.iter().map(|group| group.pods.len() as u64).collect(),
            holds,
            open: Vec::new(),
            existing: vec![BTreeMap::new(); numbers.nodes.len()],
            limits: numbers.limits.iter().map(|limit| limit.remaining).collect(),
            weights,
        }
    }

    /// First fit into what exists.
    fn fill_existing(&mut self) {
        let numbers = self.numbers;
        let mut free: Vec<Vec<i64>> = numbers.nodes.iter().map(|node| node.free.clone()).collect();
        for g in self.order.clone() {
            let request = &numbers.groups[g].request;
            for (i, node) in numbers.nodes.iter().enumerate() {
                if node.groups.binary_search(&g).is_err() {
                    continue;
                }
                while self.left[g] > 0 && request.iter().zip(&free[i]).all(|(asked, free)| asked <= free) {
                    free[i].iter_mut().zip(request).for_each(|(free, asked)| *free -= asked);
                    *self.existing[i].entry(g).or_default() += 1;
                    self.left[g] -= 1;
                }
            }
        }
    }

    /// The cheapest offering from `from` on that holds this, within what limits leave beside what `instead_of` gives back.
    fn cheapest(
        &self,
        from: usize,
        load: &[i64],
        more: &[i64],
        classes: &[bool],
        group: usize,
        instead_of: Option<usize>,
    ) -> Option<usize> {
        let offerings = &self.numbers.offerings;
        (from..offerings.len()).find(|o| {
            let offering = &offerings[*o];
            classes[offering.class]
                && self.holds[offering.class][group]
                && fits(load, more, &offering.capacity)
                && offering.usage.iter().enumerate().all(|(row, used)| {
                    let back = instead_of.map_or(0, |old| offerings[old].usage[row]);
                    *used <= self.limits[row] + back
                })
        })
    }

    fn use_limits(&mut self, offering: usize, sign: i64) {
        for (limit, used) in self.limits.iter_mut().zip(&self.numbers.offerings[offering].usage) {
            *limit -= sign * used;
        }
    }

    /// Puts one pod of `g` on an open node that becomes `offering`.
    fn put(&mut self, node: usize, g: usize, offering: usize) {
        let old = self.open[node].offering;
        self.use_limits(old, -1);
        self.use_limits(offering, 1);
        let open = &mut self.open[node];
        open.offering = offering;
        open.load.iter_mut().zip(&self.numbers.groups[g].request).for_each(|(load, asked)| *load += asked);
        *open.pods.entry(g).or_default() += 1;
        for (class, allowed) in open.classes.iter_mut().enumerate() {
            *allowed &= self.holds[class][g];
        }
        self.left[g] -= 1;
    }

    /// Opens a node for one pod of `g`, if anything may be launched for it.
    fn open(&mut self, g: usize) -> bool {
        let nothing = vec![0; self.numbers.resources.len()];
        let every = vec![true; self.numbers.classes.len()];
        let request = &self.numbers.groups[g].request;
        let Some(offering) = self.cheapest(0, &nothing, request, &every, g, None) else { return false };
        self.use_limits(offering, 1);
        self.open.push(Open { load: nothing, pods: BTreeMap::new(), classes: every, offering });
        self.put(self.open.len() - 1, g, offering);
        true
    }

    /// What an open node would become with one more pod of `g`.
    fn grown(&self, node: usize, g: usize) -> Option<usize> {
        let open = &self.open[node];
        // Offerings are sorted by price and a fuller node is never cheaper.
        let request = &self.numbers.groups[g].request;
        self.cheapest(open.offering, &open.load, request, &open.classes, g, Some(open.offering))
    }

    /// First-fit decreasing: the first open node that can grow to hold the pod takes it, whatever that costs.
    fn first_fit(&mut self) {
        for g in self.order.clone() {
            let mut from = 0;
            while self.left[g] > 0 {
                // What is full for one pod of the group is full for the next.
                match (from..self.open.len()).find_map(|node| Some((node, self.grown(node, g)?))) {
                    Some((node, offering)) => {
                        from = node;
                        self.put(node, g, offering);
                    }
                    None => {
                        from = self.open.len();
                        if !self.open(g) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Best fit by price: the pod goes where the bill grows least, a new node being one of the choices.
    fn best_fit(&mut self) {
        let price = |packer: &Packer<'_>, o: usize| packer.numbers.offerings[o].price.0;
        for g in self.order.clone() {
            let grow = |packer: &Packer<'_>, node: usize| {
                let offering = packer.grown(node, g)?;
                Some((price(packer, offering) - price(packer, packer.open[node].offering), offering))
            };
            let mut growth: Vec<Option<(i64, usize)>> =
                (0..self.open.len()).map(|node| grow(self, node)).collect();
            while self.left[g] > 0 {
                let nothing = vec![0; self.numbers.resources.len()];
                let every = vec![true; self.numbers.classes.len()];
                let request = &self.numbers.groups[g].request;
                let alone = self.cheapest(0, &nothing, request, &every, g, None).map(|o| price(self, o));
                let best = growth
                    .iter()
                    .enumerate()
                    .filter_map(|(node, growth)| growth.map(|(more, offering)| (more, node, offering)))
                    .min();
                match best {
                    Some((more, node, offering)) if alone.is_none_or(|alone| more <= alone) => {
                        let limited = !self.limits.is_empty();
                        self.put(node, g, offering);
                        if limited {
                            growth = (0..self.open.len()).map(|node| grow(self, node)).collect();
                        } else {
                            growth[node] = grow(self, node);
                        }
                    }
                    _ if self.open(g) => growth.push(grow(self, self.open.len() - 1)),
                    _ => break,
                }
            }
        }
    }

    /// Greedy without duals: fill one node of every offering with what is left, keep the one that holds most per dollar,
    /// and launch it as often as the same pods are there.
    fn greedy(&mut self) {
        loop {
            let candidates = (0..self.numbers.offerings.len()).filter_map(|o| {
                let pattern = self.pattern(o)?;
                let worth: f64 = pattern
                    .iter()
                    .map(|(g, count)| {
                        let request = self.numbers.groups[*g].request.iter().zip(&self.weights);
                        request.map(|(amount, weight)| *amount as f64 * weight).sum::<f64>() * *count as f64
                    })
                    .sum();
                Some((worth / self.numbers.offerings[o].price.0.max(1) as f64, o, pattern))
            });
            // Ties go to the first, the cheaper one.
            let best = candidates.reduce(|best, next| if next.0 > best.0 { next } else { best });
            let Some((_, offering, pattern)) = best else { return };
            let repeats = pattern.iter().map(|(g, count)| self.left[*g] / count).min().unwrap_or(0);
            for _ in 0..repeats {
                if !self.allowed(offering) {
                    break;
                }
                self.use_limits(offering, 1);
                let load = vec![0; self.numbers.resources.len()];
                self.open.push(Open { load, pods: pattern.clone(), classes: Vec::new(), offering });
                pattern.iter().for_each(|(g, count)| self.left[*g] -= count);
            }
        }
    }

    fn allowed(&self, offering: usize) -> bool {
        self.numbers.offerings[offering].usage.iter().zip(&self.limits).all(|(used, left)| used <= left)
    }

    /// One node of an offering filled with what is left, largest first.
    fn pattern(&self, o: usize) -> Option<BTreeMap<usize, u64>> {
        let offering = &self.numbers.offerings[o];
        if !self.allowed(o) {
            return None;
        }
        let mut free = offering.capacity.clone();
        let mut pattern = BTreeMap::new();
        for g in self.order.iter().copied().filter(|g| self.left[*g] > 0 && self.holds[offering.class][*g]) {
            let request = &self.numbers.groups[g].request;
            let asked = request.iter().zip(&free).filter(|(asked, _)| **asked > 0);
            let copies = asked.map(|(asked, free)| free / asked).min().unwrap_or(i64::MAX);
            let count = u64::try_from(copies).unwrap_or(0).min(self.left[g]);
            if count > 0 {
                let times = i64::try_from(count).unwrap_or(i64::MAX);
                free.iter_mut().zip(request).for_each(|(free, asked)| *free -= asked * times);
                pattern.insert(g, count);
            }
        }
        (!pattern.is_empty()).then_some(pattern)
    }

    /// Names the pods.
    fn answer(self, peer: Peer, digests: (&str, &str)) -> Answer {
        let numbers = self.numbers;
        let mut next = vec![0_usize; numbers.groups.len()];
        let mut deal = |pods: &BTreeMap<usize, u64>| -> Vec<PodRef> {
            let mut dealt = Vec::new();
            for (g, count) in pods {
                let count = usize::try_from(*count).unwrap_or(usize::MAX);
                dealt.extend_from_slice(&numbers.groups[*g].pods[next[*g]..][..count]);
                next[*g] += count;
            }
            dealt
        };
        let mut answer = Answer::new(peer, env!("CARGO_PKG_VERSION"), digests);
        for (node, pods) in numbers.nodes.iter().zip(&self.existing).filter(|(_, pods)| !pods.is_empty()) {
            answer.existing.push(AnswerNode { node: node.name.clone(), pods: deal(pods) });
        }
        for open in &self.open {
            let offering = &numbers.offerings[open.offering];
            answer.launches.push(AnswerLaunch {
                node_pool: offering.node_pool.clone(),
                instance_type: offering.instance_type.clone(),
                zone: offering.zone.clone(),
                capacity_type: offering.capacity_type.clone(),
                labels: offering.labels.clone(),
                price: offering.price,
                pods: deal(&open.pods),
            });
        }
        let unplaced =
            |pod: &PodRef, reason: &str| AnswerUnplaced { pod: pod.clone(), reason: reason.to_owned() };
        for (g, left) in self.left.iter().enumerate().filter(|(_, left)| **left > 0) {
            let from = numbers.groups[g].pods.len() - usize::try_from(*left).unwrap_or(usize::MAX);
            let pods = &numbers.groups[g].pods[from..];
            answer.unplaced.extend(pods.iter().map(|pod| unplaced(pod, "NodePool limits")));
        }
        answer.unplaced.extend(numbers.unsupported.iter().map(|(pod, constraint)| unplaced(pod, constraint)));
        answer.unplaced.extend(numbers.no_fit.iter().map(|pod| unplaced(pod, "fits nowhere")));
        answer
    }
}
