//! Money and shares as integers.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub};

/// Micro-dollars per hour: `1_000_000` is one US dollar per hour.
///
/// EC2 publishes prices with at most six decimals for on-demand and spot, so nothing is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UsdMicros(pub i64);

/// Hours per month used wherever a monthly figure is shown: 365.25 days / 12 months * 24 hours, rounded down.
pub const HOURS_PER_MONTH: i64 = 730;

impl UsdMicros {
    /// No cost.
    pub const ZERO: UsdMicros = UsdMicros(0);

    /// The same rate over a month of [`HOURS_PER_MONTH`] hours, in micro-dollars.
    #[must_use]
    pub fn per_month(self) -> UsdMicros {
        UsdMicros(self.0.saturating_mul(HOURS_PER_MONTH))
    }
}

impl fmt::Display for UsdMicros {
    /// Dollars with four decimals, rounded half away from zero: `$0.0832`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let ten_thousandths = (self.0.unsigned_abs() + 50) / 100;
        write!(f, "{sign}${}.{:04}", ten_thousandths / 10_000, ten_thousandths % 10_000)
    }
}

impl Add for UsdMicros {
    type Output = UsdMicros;
    fn add(self, other: UsdMicros) -> UsdMicros {
        UsdMicros(self.0 + other.0)
    }
}

impl Sub for UsdMicros {
    type Output = UsdMicros;
    fn sub(self, other: UsdMicros) -> UsdMicros {
        UsdMicros(self.0 - other.0)
    }
}

impl AddAssign for UsdMicros {
    fn add_assign(&mut self, other: UsdMicros) {
        self.0 += other.0;
    }
}

impl Sum for UsdMicros {
    fn sum<I: Iterator<Item = UsdMicros>>(iter: I) -> UsdMicros {
        UsdMicros(iter.map(|price| price.0).sum())
    }
}

/// Parts per million; `10_000` is one per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ppm(pub i64);

impl Ppm {
    /// The whole: 100 %.
    pub const ONE: i64 = 1_000_000;

    /// `(cost - bound) / bound`, rounded **up** so that a printed gap is never better than the proof; zero when the
    /// cost is zero. A zero bound under a positive cost proves nothing and gives [`Ppm::UNBOUNDED`].
    #[must_use]
    pub fn gap(cost: UsdMicros, bound: UsdMicros) -> Ppm {
        let excess = i128::from(cost.0) - i128::from(bound.0);
        if excess <= 0 {
            return Ppm(0);
        }
        if bound.0 <= 0 {
            return Ppm::UNBOUNDED;
        }
        let bound = i128::from(bound.0);
        let ppm = (excess * i128::from(Ppm::ONE) + bound - 1) / bound;
        Ppm(i64::try_from(ppm).unwrap_or(i64::MAX))
    }

    /// The gap of a plan without any proof.
    pub const UNBOUNDED: Ppm = Ppm(i64::MAX);
}

impl fmt::Display for Ppm {
    /// Per cent with two decimals, rounded up: `0.83 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Ppm::UNBOUNDED {
            return write!(f, "unproven");
        }
        let hundredths = (self.0 + 99).div_euclid(100);
        write!(f, "{}.{:02} %", hundredths / 100, hundredths % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_prints_four_decimals() {
        assert_eq!(UsdMicros(83_250).to_string(), "$0.0833");
        assert_eq!(UsdMicros(-1_500_000).to_string(), "-$1.5000");
    }

    #[test]
    fn gap_is_rounded_towards_honesty() {
        assert_eq!(Ppm::gap(UsdMicros(1_000_001), UsdMicros(1_000_000)), Ppm(1));
        assert_eq!(Ppm::gap(UsdMicros(3), UsdMicros(3)), Ppm(0));
        assert_eq!(Ppm::gap(UsdMicros(3), UsdMicros(0)), Ppm::UNBOUNDED);
        assert_eq!(Ppm(8_301).to_string(), "0.84 %");
    }
}
