//! The optimum by trying everything.

use super::Problem;
use std::collections::BTreeMap;
use stowage_models::quantity::Resources;
use stowage_models::units::UsdMicros;

/// Pods on one bin: which, and the sum of their requests.
#[derive(Clone, Default)]
struct Block {
    pods: Vec<usize>,
    sum: Resources,
}

impl Problem {
    /// Cost of the cheapest set of launches, what pods miss included, or `None` if the pods cannot all be placed. Every pod goes to an existing
    /// node, to a launch that was opened for an earlier pod, or opens one (each partition of the pods is met once); a
    /// launch costs what the cheapest offering that takes its pods costs.
    #[must_use]
    pub fn by_enumeration(&self) -> Option<UsdMicros> {
        let mut nodes = vec![Block::default(); self.nodes.len()];
        let mut best = None;
        self.place(0, &mut nodes, &mut Vec::new(), &mut best);
        best
    }

    fn place(
        &self,
        pod: usize,
        nodes: &mut [Block],
        launches: &mut Vec<Block>,
        best: &mut Option<UsdMicros>,
    ) {
        if pod == self.pods.len() {
            let missed = nodes
                .iter()
                .enumerate()
                .flat_map(|(index, block)| block.pods.iter().map(move |pod| self.fine_node[*pod][index]));
            let missed: i64 = missed.sum();
            let cost = self.cheapest_of(launches, &mut BTreeMap::new());
            let cost = cost.map(|cost| cost + missed);
            if let Some(cost) = cost
                && best.is_none_or(|best| cost < best.0)
            {
                *best = Some(UsdMicros(cost));
            }
            return;
        }
        for index in 0..nodes.len() {
            let with = self.joined(&nodes[index], pod);
            if self.pod_node[pod][index] && with.sum.fits(&self.nodes[index]) {
                let without = std::mem::replace(&mut nodes[index], with);
                self.place(pod + 1, nodes, launches, best);
                nodes[index] = without;
            }
        }
        for index in 0..=launches.len() {
            let without = launches.get(index).cloned();
            let with = self.joined(without.as_ref().unwrap_or(&Block::default()), pod);
            match without {
                Some(without) => {
                    launches[index] = with;
                    self.place(pod + 1, nodes, launches, best);
                    launches[index] = without;
                }
                None => {
                    launches.push(with);
                    self.place(pod + 1, nodes, launches, best);
                    launches.pop();
                }
            }
        }
    }

    fn joined(&self, block: &Block, pod: usize) -> Block {
        let mut with = block.clone();
        with.pods.push(pod);
        with.sum.add(&self.pods[pod]);
        with
    }

    /// Cheapest offerings for all blocks, within the stocks of capacity reservations.
    fn cheapest_of<'p>(&'p self, blocks: &[Block], used: &mut BTreeMap<&'p str, i64>) -> Option<i64> {
        let Some((first, rest)) = blocks.split_first() else { return Some(0) };
        if self.offerings.iter().all(|offering| offering.stock.is_none()) {
            return Some(self.cheapest(first, |_| true)? + self.cheapest_of(rest, used)?);
        }
        let mut best = match self.cheapest(first, |index| self.offerings[index].stock.is_none()) {
            Some(cost) => self.cheapest_of(rest, used).map(|others| cost + others),
            None => None,
        };
        for (index, offering) in self.offerings.iter().enumerate() {
            let Some((id, stock)) = &offering.stock else { continue };
            if used.get(id.as_str()).is_some_and(|used| used >= stock) {
                continue;
            }
            let Some(cost) = self.cheapest(first, |other| other == index) else { continue };
            *used.entry(id).or_default() += 1;
            let found = self.cheapest_of(rest, used).map(|others| cost + others);
            *used.entry(id).or_default() -= 1;
            best = best.into_iter().chain(found).min();
        }
        best
    }

    fn cheapest(&self, block: &Block, among: impl Fn(usize) -> bool) -> Option<i64> {
        let takes = |index: usize| {
            block.sum.fits(&self.offerings[index].capacity)
                && block.pods.iter().all(|pod| self.pod_offering[*pod][index])
        };
        (0..self.offerings.len())
            .filter(|index| {
                among(*index) && takes(*index) && self.offerings[*index].is_covered(&self.offerings, takes)
            })
            .map(|index| {
                let missed = block.pods.iter().map(|pod| self.fine_offering[*pod][index]);
                self.offerings[index].price.0 + missed.sum::<i64>()
            })
            .min()
    }
}
