//! Inequalities that hold for integer patterns only, proved by branching (formulation, section 3).

use crate::certificate::copies;
use stowage_models::plan::MULTIPLIER_BITS;

/// What can be said of `no pattern of the bin is worth more than the threshold`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is true.
    Holds,
    /// It is false: a pattern of this value.
    Refuted(i128),
    /// The branches allowed did not suffice.
    Undecided,
}

/// A group that may use the bin, priced. Values are scaled as in the certificate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Priced<'a> {
    /// Request along the axis.
    pub(crate) need: &'a [i64],
    /// Copies at most: pods to place.
    pub(crate) pods: u64,
    /// Multiplier: the value of one pod, not yet scaled.
    pub(crate) multiplier: i64,
    /// What one pod takes of the bin, at the prices of the vector.
    pub(crate) takes: i128,
}

impl Priced<'_> {
    /// With at most so many copies.
    pub(crate) fn capped(self, most: u64) -> Self {
        Priced { pods: self.pods.min(most), ..self }
    }

    /// Copies that fit a room, as far as there are pods.
    pub(crate) fn most(&self, room: &[i64]) -> u64 {
        copies(self.need, room).min(self.pods)
    }

    /// With this much less for each, in micro-dollars per hour: what its unmet preferences cost. `None`: beyond 64 bits.
    pub(crate) fn fined(self, fine: i64) -> Option<Self> {
        let fine = fine.checked_mul(1 << MULTIPLIER_BITS)?;
        Some(Priced { multiplier: self.multiplier.checked_sub(fine)?, ..self })
    }

    fn value(&self) -> i128 {
        i128::from(self.multiplier) << MULTIPLIER_BITS
    }

    /// Value of one pod above what it takes.
    pub(crate) fn profit(&self) -> Option<i128> {
        self.value().checked_sub(self.takes)
    }
}

/// A bin partly filled, and what is tried next: `count` pods of the group at `item`, then fewer, then the groups after it.
struct Frame {
    item: usize,
    count: u64,
    value: i128,
    room: Vec<i64>,
}

/// Looks for a pattern worth more than `threshold`, depth first, in at most `branches_max` steps. `worth` prices a room.
/// `None`: beyond 128 bits. Kept on the heap, because there may be as many levels as groups.
pub(crate) fn search(
    mut items: Vec<Priced<'_>>,
    room: &[i64],
    threshold: i128,
    branches_max: u32,
    worth: impl Fn(&[i64]) -> Option<i128>,
) -> Option<Verdict> {
    // Worthless groups change no value; without them the order by value per room taken is total.
    items.retain(|item| item.multiplier > 0 && item.most(room) > 0);
    let dearest = items.iter().map(|item| i128::from(item.multiplier)).max().unwrap_or(0);
    for item in &items {
        // The largest product of the comparison.
        item.takes.checked_mul(dearest)?;
    }
    let rank = |one: &Priced<'_>, other: &Priced<'_>| i128::from(one.multiplier) * other.takes;
    items.sort_by(|one, other| rank(other, one).cmp(&rank(one, other)));
    walk(&items, room, threshold, branches_max, |item, room| rest(&items[item..], room, &worth))
}

/// Looks for a pattern worth more than `threshold` among those of `items`, each with some multiplier above zero, in their order.
/// `bound` says what the items from one on may add to a room. `None`: beyond 128 bits.
pub(crate) fn walk(
    items: &[Priced<'_>],
    room: &[i64],
    threshold: i128,
    branches_max: u32,
    bound: impl Fn(usize, &[i64]) -> Option<i128>,
) -> Option<Verdict> {
    if threshold < 0 {
        return Some(Verdict::Refuted(0));
    }
    let open = |item: usize, value: i128, room: Vec<i64>| Frame { item, count: u64::MAX, value, room };
    let mut stack = vec![open(0, 0, room.to_vec())];
    let mut branches: u32 = 1;
    while let Some(frame) = stack.last_mut() {
        if frame.count == 0 {
            (frame.item, frame.count) = (frame.item + 1, u64::MAX);
        }
        if frame.count == u64::MAX {
            // Nothing was tried of this group yet: is it worth it, and how many are there?
            if frame.item == items.len()
                || bound(frame.item, &frame.room)?.checked_add(frame.value)? <= threshold
            {
                stack.pop();
                continue;
            }
            frame.count = items[frame.item].most(&frame.room);
            continue;
        }
        let item = &items[frame.item];
        let value = item.value().checked_mul(i128::from(frame.count))?.checked_add(frame.value)?;
        if value > threshold {
            return Some(Verdict::Refuted(value));
        }
        if branches >= branches_max {
            return Some(Verdict::Undecided);
        }
        branches += 1;
        let count = i64::try_from(frame.count).ok()?;
        // The count fits, so nothing here leaves the range.
        let room = frame.room.iter().zip(item.need).map(|(room, need)| room - need * count).collect();
        frame.count -= 1;
        let after = frame.item + 1;
        stack.push(open(after, value, room));
    }
    Some(Verdict::Holds)
}

/// What the groups left may add to a bin with this much room, at the prices of the vector: the most valuable for what they
/// take first, as many as fit each alone, until all room is paid for, the last of them in part.
fn rest(items: &[Priced<'_>], room: &[i64], worth: impl Fn(&[i64]) -> Option<i128>) -> Option<i128> {
    let mut open = worth(room)?;
    let mut value = 0_i128;
    for item in items {
        let most = i128::from(item.most(room));
        let takes = item.takes.checked_mul(most)?;
        let multiplier = i128::from(item.multiplier);
        if takes > open {
            // One pod takes something here, or all would take nothing. Rounded up.
            value = value.checked_add(multiplier.checked_mul(open)? / item.takes)?.checked_add(1)?;
            break;
        }
        open -= takes;
        value = value.checked_add(multiplier.checked_mul(most)?)?;
    }
    value.checked_mul(1 << MULTIPLIER_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::random::Random;

    /// Every verdict is that of trying all patterns.
    #[test]
    fn verdicts_agree_with_enumeration() {
        let mut random = Random::new(11);
        let mut below = move |n: u64| random.below(n);
        let mut loose = 0;
        for case in 0..600 {
            let resources = 1 + below(3) as usize;
            let mut amounts = |least: u64, range: u64| -> Vec<i64> {
                (0..resources).map(|_| (least + below(range)) as i64).collect()
            };
            let room = amounts(3, 12);
            // Prices of zero make pods that take nothing.
            let prices: Vec<i64> = amounts(0, 4).iter().map(|price| price << 18).collect();
            let mut needs: Vec<Vec<i64>> = (0..4).map(|_| amounts(0, 6)).collect();
            // Every pod needs something: one of `pods`.
            needs.iter_mut().for_each(|need| need[0] = need[0].max(1));
            let dot = |amounts: &[i64]| -> i128 {
                let sum: i128 =
                    amounts.iter().zip(&prices).map(|(a, p)| i128::from(*a) * i128::from(*p)).sum();
                sum << MULTIPLIER_BITS
            };
            let items: Vec<Priced<'_>> = needs
                .iter()
                .map(|need| Priced {
                    need,
                    pods: below(4),
                    multiplier: (below(12) as i64) << 17,
                    takes: dot(need),
                })
                .collect();
            let mut best = 0_i128;
            for code in 0..256_u64 {
                let counts: Vec<u64> = (0..4).map(|k| code / 4_u64.pow(k) % 4).collect();
                let fits = (0..resources).all(|r| {
                    let load = needs.iter().zip(&counts).map(|(need, count)| need[r] * *count as i64);
                    load.sum::<i64>() <= room[r]
                });
                if fits && items.iter().zip(&counts).all(|(item, count)| *count <= item.pods) {
                    let value = |(item, count): (&Priced<'_>, &u64)| item.value() * i128::from(*count);
                    best = best.max(items.iter().zip(&counts).map(value).sum());
                }
            }
            for threshold in [best, best - 1, best + (1 << 36)] {
                let verdict = search(items.clone(), &room, threshold, 1 << 20, |room| Some(dot(room)));
                let holds = verdict == Some(Verdict::Holds);
                assert_eq!(
                    holds,
                    best <= threshold,
                    "case {case}: {verdict:?}, best {best}, threshold {threshold}"
                );
                // The bound alone would not have said so.
                let alone = rest(&items, &room, |room| Some(dot(room)));
                loose += usize::from(holds && alone.is_none_or(|alone| alone > threshold));
            }
        }
        assert!(loose > 100, "{loose}");
    }
}
