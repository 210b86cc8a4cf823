//! Draws for the search: integers from the models' generator, and the floats it leaves to us.

use stowage_models::random::Random;

/// A number in `[0, 1)`.
pub(crate) fn unit(random: &mut Random) -> f64 {
    (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}
