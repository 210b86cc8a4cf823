//! Inequalities proved by tables (formulation, section 3): integer programs over one or two coordinates, the rest priced.

use crate::branching::{Priced, Verdict, walk};
use stowage_models::plan::{
    MULTIPLIER_BITS, TABLE_BRANCHES_MAX, TABLE_CELLS_MAX, TABLE_DEPTH_MAX, TABLE_SIZE_MAX,
};

/// Fine coordinates looked at.
const FINE_MAX: usize = 2;

/// A coordinate of a vector: its place on the axis, the shift that scales a product with it, and the price of one unit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Coordinate {
    pub(crate) place: usize,
    pub(crate) shift: u32,
    pub(crate) price: i64,
}

/// The value that the rows from each one on may add, by what is left of the counted and of the fine coordinate.
struct Table<'t> {
    counted: Option<usize>,
    fine: usize,
    unit: i64,
    width: usize,
    /// Coordinates that are neither.
    priced: Vec<&'t Coordinate>,
    /// By row, then by left amounts.
    values: Vec<Vec<i64>>,
}

/// `sum_r y_r * amount_r` over some coordinates, over `2^40`.
fn worth(coordinates: &[&Coordinate], amounts: &[i64]) -> Option<i128> {
    let mut sum = 0_i128;
    for one in coordinates {
        let product = i128::from(one.price) * i128::from(amounts[one.place]);
        sum = sum.checked_add(product.checked_mul(1 << one.shift)?)?;
    }
    Some(sum)
}

/// The unit of a fine coordinate: from 1, times 5 and 2 in turn (bytes: times 2), until the room has fewer cells than allowed.
fn unit(room: i64, bytes: bool) -> i64 {
    let steps = [if bytes { 2 } else { 5 }, 2];
    let mut unit = 1;
    let mut turn = steps.iter().cycle();
    while room / unit >= TABLE_CELLS_MAX {
        unit *= turn.next().unwrap_or(&2);
    }
    unit
}

impl<'t> Table<'t> {
    /// `None`: beyond 64 bits, or too large.
    fn new(
        items: &[Priced<'_>],
        room: &[i64],
        coordinates: &'t [Coordinate],
        counted: Option<usize>,
        fine: &Coordinate,
    ) -> Option<Table<'t>> {
        let unit = unit(room[fine.place], fine.shift == 0);
        let width = usize::try_from(room[fine.place] / unit).ok()?.checked_add(1)?;
        let rows = usize::try_from(counted.map_or(0, |place| room[place])).ok()?.checked_add(1)?;
        if (items.len() + 1).checked_mul(rows)?.checked_mul(width)? > TABLE_SIZE_MAX {
            return None;
        }
        let others = coordinates.iter().filter(|one| one.place != fine.place && Some(one.place) != counted);
        let priced: Vec<&Coordinate> = others.collect();
        let mut values = vec![vec![0_i64; rows * width]];
        for item in items.iter().rev() {
            let last = values.last()?;
            // Above what a pod takes of the other coordinates, rounded up.
            let others = i64::try_from(worth(&priced, item.need)? >> MULTIPLIER_BITS).ok()?;
            let each = item.multiplier.checked_sub(others)?;
            if each <= 0 {
                values.push(last.clone());
                continue;
            }
            let copies = usize::try_from(item.most(room)).ok()?;
            i64::try_from(copies).ok()?.checked_mul(each)?.checked_add(*last.last()?)?;
            let down = usize::try_from(counted.map_or(0, |place| item.need[place])).ok()?;
            let along = usize::try_from(item.need[fine.place] / unit).ok()?;
            values.push(with_item(last, (rows, width), (down, along), (each, copies)));
        }
        values.reverse();
        Some(Table { counted, fine: fine.place, unit, width, priced, values })
    }

    /// What the rows from `item` on may add to a bin with this much room, over `2^20`.
    fn bound(&self, item: usize, room: &[i64]) -> Option<i64> {
        let row = usize::try_from(self.counted.map_or(0, |place| room[place])).ok()?;
        let column = usize::try_from(room[self.fine] / self.unit).ok()?;
        let priced = worth(&self.priced, room)?.checked_add((1 << MULTIPLIER_BITS) - 1)? >> MULTIPLIER_BITS;
        i64::try_from(priced).ok()?.checked_add(self.values[item][row * self.width + column])
    }
}

/// The best of taking no, one, two or more pods of a row, by what is left.
fn with_item(
    before: &[i64],
    (rows, width): (usize, usize),
    (down, along): (usize, usize),
    (each, copies): (i64, usize),
) -> Vec<i64> {
    let mut after = before.to_vec();
    let most = |left: usize, takes: usize| left.checked_div(takes).unwrap_or(usize::MAX);
    let whole = most(rows - 1, down).min(most(width - 1, along));
    if whole <= copies {
        // No more fit than there are: one more on top of the best for the room that leaves.
        for row in down..rows {
            for column in along..width {
                let more = after[(row - down) * width + (column - along)] + each;
                let at = row * width + column;
                after[at] = after[at].max(more);
            }
        }
        return after;
    }
    for count in 1..=copies {
        let (down, along, value) = (down * count, along * count, each * count as i64);
        if down >= rows || along >= width {
            break;
        }
        for row in down..rows {
            let from = &before[(row - down) * width..(row - down + 1) * width - along];
            let to = &mut after[row * width + along..(row + 1) * width];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = (*to).max(from + value));
        }
    }
    after
}

/// Whether tables show within the branches allowed that no pattern is worth more than `threshold`. Rows come with the multiplier that ranks
/// them; `None`: beyond the range of integers.
pub(crate) fn holds(
    mut rows: Vec<(i64, Priced<'_>)>,
    room: &[i64],
    coordinates: &[Coordinate],
    threshold: i128,
) -> Option<bool> {
    rows.retain(|(_, item)| item.multiplier > 0 && item.most(room) > 0);
    rows.sort_by_key(|(rank, _)| std::cmp::Reverse(*rank));
    let items: Vec<Priced<'_>> = rows.into_iter().map(|(_, item)| item).collect();
    let few = coordinates.iter().map(|one| one.place).filter(|place| room[*place] <= TABLE_DEPTH_MAX);
    // Those the bin has something of first: they are what a planner counts.
    let asked = |place: &usize| items.iter().any(|item| item.need[*place] > 0);
    let (some, none): (Vec<usize>, Vec<usize>) = few.partition(|place| room[*place] > 0 && asked(place));
    let options = some.into_iter().map(Some).chain([None]).chain(none.into_iter().map(Some));
    for counted in options {
        let fine = coordinates.iter().filter(|one| one.price > 0 && Some(one.place) != counted);
        let tables: Option<Vec<Table<'_>>> =
            fine.take(FINE_MAX).map(|fine| Table::new(&items, room, coordinates, counted, fine)).collect();
        let Some(tables) = tables.filter(|tables| !tables.is_empty()) else { continue };
        let bound = |item: usize, room: &[i64]| {
            let bounds: Vec<i64> =
                tables.iter().map(|table| table.bound(item, room)).collect::<Option<_>>()?;
            bounds.into_iter().min().map(|least| i128::from(least) << MULTIPLIER_BITS)
        };
        if walk(&items, room, threshold, TABLE_BRANCHES_MAX, bound)? == Verdict::Holds {
            return Some(true);
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowage_models::random::Random;

    /// Every verdict is that of trying all patterns: with few units and with so many that a cell holds several, counted or not.
    #[test]
    fn verdicts_agree_with_enumeration() {
        let mut random = Random::new(23);
        let mut below = move |n: u64| random.below(n);
        let (mut tight, mut coarse) = (0, 0);
        for case in 0..400 {
            // Accelerators, millicores, bytes.
            let large = [1, 1 + below(2) as i64 * 900, 1 << (20 * below(2))];
            let ranges = [5, 12, 9];
            let mut amounts = |least: u64| -> Vec<i64> {
                (0..3).map(|r| (least + below(ranges[r])) as i64 * large[r]).collect()
            };
            let room = amounts(3);
            let mut needs: Vec<Vec<i64>> = (0..4).map(|_| amounts(0)).collect();
            needs.iter_mut().for_each(|need| need[1] = need[1].max(large[1] - 1).max(1));
            let coordinates: Vec<Coordinate> = (0..3)
                .map(|place| Coordinate {
                    place,
                    shift: if place == 2 { 0 } else { MULTIPLIER_BITS },
                    price: ((below(4) << 22) as i64 / large[place]).max(0) << if place == 2 { 20 } else { 0 },
                })
                .collect();
            let rows: Vec<(i64, Priced<'_>)> = needs
                .iter()
                .map(|need| {
                    let multiplier = (below(12) as i64) << 20;
                    (multiplier, Priced { need, pods: below(4), multiplier, takes: 0 })
                })
                .collect();
            let mut best = 0_i128;
            for code in 0..256_u64 {
                let counts: Vec<u64> = (0..4).map(|k| code / 4_u64.pow(k) % 4).collect();
                let fits = (0..3).all(|r| {
                    let load = needs.iter().zip(&counts).map(|(need, count)| need[r] * *count as i64);
                    load.sum::<i64>() <= room[r]
                });
                if fits && rows.iter().zip(&counts).all(|((_, item), count)| *count <= item.pods) {
                    let value = |((value, _), count): (&(i64, Priced<'_>), &u64)| {
                        (i128::from(*value) << MULTIPLIER_BITS) * i128::from(*count)
                    };
                    best = best.max(rows.iter().zip(&counts).map(value).sum());
                }
            }
            if coordinates.iter().all(|one| one.price == 0) {
                continue;
            }
            for threshold in [best, best - 1, best + (1 << 41)] {
                let verdict = holds(rows.clone(), &room, &coordinates, threshold);
                assert_eq!(
                    verdict,
                    Some(best <= threshold),
                    "case {case}: best {best}, threshold {threshold}"
                );
            }
            tight += usize::from(best > 0);
            coarse += usize::from(room[1] >= TABLE_CELLS_MAX);
        }
        assert!(tight > 200 && coarse > 50, "{tight} {coarse}");
    }
}
