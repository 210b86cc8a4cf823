//! Parts of a problem that have nothing to do with each other: no bin takes groups of two of them.
//!
//! Taints, selectors and accelerators split clusters into such parts. Each is planned and proved alone: the search sees
//! fewer rows, small parts are solved exactly, and the branching proof of one does not multiply with that of another.

use crate::core::{Core, Fined, Offer, Spare};
use crate::pack::{PackedNode, Packing, Pattern};

/// A part as a problem of its own, and where its groups, offers and spares stand in the whole.
pub(crate) struct Block {
    /// The part. Limit rows are those of the whole.
    pub(crate) core: Core,
    /// Group of the whole by group of the part, ascending.
    pub(crate) groups: Vec<u32>,
    /// Offer of the whole by offer of the part, ascending.
    pub(crate) offers: Vec<u32>,
    /// Spare of the whole by spare of the part, ascending.
    pub(crate) spares: Vec<u32>,
}

/// Disjoint sets of groups.
struct Sets(Vec<u32>);

impl Sets {
    fn find(&mut self, mut g: u32) -> u32 {
        while self.0[g as usize] != g {
            let up = self.0[self.0[g as usize] as usize];
            self.0[g as usize] = up;
            g = up;
        }
        g
    }

    /// Joins all the given groups; the smallest stands for the set.
    fn join(&mut self, groups: impl Iterator<Item = u32>) {
        let mut first = None;
        for g in groups {
            let root = self.find(g);
            let with = *first.get_or_insert(root);
            let (low, high) = (root.min(with), root.max(with));
            self.0[high as usize] = low;
            first = Some(low);
        }
    }
}

/// Splits a core into its parts, the one with the first group first. Groups without demand are in none. Parts that draw on
/// the same limit stay together if it may bind, or, when `strict`, in any case.
pub(crate) fn split(core: &Core, strict: bool) -> Vec<Block> {
    let count = u32::try_from(core.demand.len()).expect("groups fit 32 bits");
    let mut sets = Sets((0..count).collect());
    for items in
        core.offers.iter().map(|offer| &offer.items).chain(core.spares.iter().map(|spare| &spare.items))
    {
        sets.join(items.iter().map(|(g, _)| *g));
    }
    for row in 0..core.limits.len() {
        if strict || may_bind(core, row) {
            let offers = core.offers.iter().filter(|offer| offer.usage.iter().any(|(r, _)| *r == row));
            sets.join(offers.map(|offer| offer.items[0].0));
        }
    }
    // The bound of a split group is about all of its domains.
    for (rows, _) in &core.families {
        sets.join(rows.iter().copied());
    }
    let mut roots: Vec<u32> =
        (0..count).filter(|g| core.wanted[*g as usize] > 0).map(|g| sets.find(g)).collect();
    roots.sort_unstable();
    roots.dedup();
    roots.into_iter().map(|root| part(core, &mut sets, root)).collect()
}

/// Whether plans near the cheapest may come near a limit: a guess from each group's cheapest homogeneous nodes. A wrong
/// guess costs time, never validity: the whole plan is held against the limits in the end.
fn may_bind(core: &Core, row: usize) -> bool {
    let mut need = vec![0.0_f64; core.demand.len()];
    for offer in &core.offers {
        let Some((_, amount)) = offer.usage.iter().find(|(r, _)| *r == row) else { continue };
        for (g, copies) in &offer.items {
            let each = *amount as f64 / *copies as f64;
            let slot = &mut need[*g as usize];
            *slot = if *slot == 0.0 { each } else { slot.min(each) };
        }
    }
    let total: f64 = need.iter().zip(&core.demand).map(|(each, pods)| each * *pods as f64).sum();
    2.0 * total >= core.limits[row] as f64
}

fn part(core: &Core, sets: &mut Sets, root: u32) -> Block {
    let groups: Vec<u32> = (0..core.demand.len() as u32)
        .filter(|g| core.wanted[*g as usize] > 0 && sets.find(*g) == root)
        .collect();
    let local = |items: &[(u32, i64)]| -> Vec<(u32, i64)> {
        items
            .iter()
            .filter_map(|(g, copies)| groups.binary_search(g).ok().map(|at| (at as u32, *copies)))
            .collect()
    };
    let offers: Vec<u32> = (0..core.offers.len() as u32)
        .filter(|o| sets.find(core.offers[*o as usize].items[0].0) == root)
        .collect();
    let spares: Vec<u32> = (0..core.spares.len() as u32)
        .filter(|s| sets.find(core.spares[*s as usize].items[0].0) == root)
        .collect();
    let part = Core {
        pool: core.pool.clone(),
        resources: core.resources.clone(),
        scale: core.scale.clone(),
        shift: core.shift.clone(),
        weights: groups.iter().flat_map(|g| core.weight(*g as usize).to_vec()).collect(),
        w: groups.iter().flat_map(|g| core.scaled(*g as usize).to_vec()).collect(),
        demand: groups.iter().map(|g| core.demand[*g as usize]).collect(),
        wanted: groups.iter().map(|g| core.wanted[*g as usize]).collect(),
        cap: groups.iter().map(|g| core.cap[*g as usize]).collect(),
        families: core
            .families
            .iter()
            .filter(|(rows, _)| groups.binary_search(&rows[0]).is_ok())
            .map(|(rows, split)| {
                let at = |g: &u32| groups.binary_search(g).expect("a family is in one block") as u32;
                (rows.iter().map(at).collect(), split.clone())
            })
            .collect(),
        rules: core.rules.renumbered(&groups),
        priority: groups.iter().map(|g| core.priority[*g as usize]).collect(),
        offers: offers
            .iter()
            .map(|o| &core.offers[*o as usize])
            .map(|offer| Offer {
                items: local(&offer.items),
                fines: Fined(local(&offer.fines.0)),
                ..offer.clone()
            })
            .collect(),
        spares: spares
            .iter()
            .map(|s| &core.spares[*s as usize])
            .map(|spare| Spare {
                items: local(&spare.items),
                fines: Fined(local(&spare.fines.0)),
                ..spare.clone()
            })
            .collect(),
        limits: core.limits.clone(),
        dominator: Vec::new(),
    };
    Block { core: part, groups, offers, spares }
}

impl Block {
    fn pattern(&self, pattern: &Pattern) -> Pattern {
        pattern.iter().map(|(g, count)| (self.groups[*g as usize], *count)).collect()
    }

    /// Adds the plan of this part to that of the whole.
    pub(crate) fn merge(&self, core: &Core, packing: &Packing, whole: &mut Packing) {
        for node in &packing.nodes {
            let offer = self.offers[node.offer as usize];
            whole.push(core, PackedNode { offer, pattern: self.pattern(&node.pattern) });
        }
        for (s, pattern) in self.spares.iter().zip(&packing.spares) {
            let pattern = self.pattern(pattern);
            pattern.iter().for_each(|(g, count)| whole.left[*g as usize] -= count);
            whole.spares[*s as usize] = pattern;
        }
    }
}
