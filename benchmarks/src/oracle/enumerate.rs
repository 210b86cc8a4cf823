//! The optimum by trying everything.

use super::Problem;
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
            let cost = launches.iter().map(|block| self.cheapest(block)).sum::<Option<i64>>();
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

    fn cheapest(&self, block: &Block) -> Option<i64> {
        let takes = |index: usize| {
            block.sum.fits(&self.offerings[index].capacity)
                && block.pods.iter().all(|pod| self.pod_offering[*pod][index])
        };
        (0..self.offerings.len())
            .filter(|index| takes(*index))
            .map(|index| {
                let missed = block.pods.iter().map(|pod| self.fine_offering[*pod][index]);
                self.offerings[index].price.0 + missed.sum::<i64>()
            })
            .min()
    }
}
