//! Kubernetes quantities, exactly: no floating point, no silent rounding except where the API itself rounds up.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of the CPU resource; its amounts are millicores.
pub const CPU: &str = "cpu";
/// The name of the memory resource; its amounts are bytes.
pub const MEMORY: &str = "memory";
/// The name of the pod-count resource.
pub const PODS: &str = "pods";
/// The name of the ephemeral-storage resource; its amounts are bytes.
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";

/// Why a quantity was refused. The text is complete; callers add the object and the field.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuantityError {
    /// The string is not `<number>` followed by a known suffix or exponent.
    #[error("`{0}` is not a Kubernetes quantity (examples: 500m, 2, 1.5Gi, 1e3)")]
    Malformed(String),
    /// The value is below zero; no resource amount of a pod or node can be.
    #[error("`{0}` is negative; a resource amount must be zero or more")]
    Negative(String),
    /// The value does not fit 63 bits in the resource's own unit.
    #[error("`{0}` is too large for any machine (limit: 2^63 - 1 base units)")]
    TooLarge(String),
}

/// Digits accepted in a quantity. An i128 in nano-units holds 2^63 with 19 digits and 9 more decimals to spare.
const MAX_DIGITS: usize = 28;

/// Parses a quantity into `unit`-ths of its base unit, rounding **up** as the API server does
/// (`unit` is 1000 for CPU, 1 for the rest).
fn parse_scaled(text: &str, unit: i128) -> Result<i64, QuantityError> {
    let malformed = || QuantityError::Malformed(text.to_owned());
    let too_large = || QuantityError::TooLarge(text.to_owned());
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let number_len = rest.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, suffix) = rest.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return Err(malformed());
    }
    let (two, ten): (u32, i32) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E']).ok_or_else(malformed)?;
            (0, digits.parse::<i32>().map_err(|_| malformed())?)
        }
    };
    let digits: String = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if negative {
        return Err(QuantityError::Negative(text.to_owned()));
    }
    if digits.len() > MAX_DIGITS {
        return Err(too_large());
    }
    let mantissa: i128 = digits.parse().map_err(|_| malformed())?;
    let fraction_len = i32::try_from(fraction.len()).map_err(|_| malformed())?;
    let power = ten.checked_sub(fraction_len).ok_or_else(too_large)?;
    let scaled = mantissa
        .checked_mul(unit)
        .and_then(|value| value.checked_mul(1_i128 << two))
        .ok_or_else(too_large)?;
    let value = if power >= 0 {
        let factor = 10_i128.checked_pow(power.unsigned_abs()).ok_or_else(too_large)?;
        scaled.checked_mul(factor).ok_or_else(too_large)?
    } else {
        // A divisor beyond the i128 range leaves a positive value below one unit, which rounds up to one.
        match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => (scaled - 1) / divisor + 1,
            None => 1,
        }
    };
    i64::try_from(value).map_err(|_| too_large())
}

/// Parses the amount of resource `name`: millicores for `cpu`, base units for everything else.
///
/// # Errors
/// [`QuantityError`] when the text is no quantity, is negative, or does not fit.
pub fn parse_quantity(name: &str, text: &str) -> Result<i64, QuantityError> {
    parse_scaled(text, if name == CPU { 1000 } else { 1 })
}

/// Amounts by resource name, sorted. Absent means zero. See [`crate`] for units.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Resources(pub BTreeMap<String, i64>);

impl Resources {
    /// The amount of `name`, zero if absent.
    #[must_use]
    pub fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Sets an amount; a zero is dropped so that equal vectors are equal maps.
    pub fn set(&mut self, name: &str, amount: i64) {
        if amount == 0 {
            self.0.remove(name);
        } else if let Some(slot) = self.0.get_mut(name) {
            // Sums over ten thousand pods come here; a name is copied once.
            *slot = amount;
        } else {
            self.0.insert(name.to_owned(), amount);
        }
    }

    /// Adds `other`, saturating at the i64 range.
    pub fn add(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            match self.0.get_mut(name) {
                Some(slot) if slot.saturating_add(*amount) != 0 => *slot = slot.saturating_add(*amount),
                have => {
                    let sum = have.map_or(0, |slot| *slot).saturating_add(*amount);
                    self.set(name, sum);
                }
            }
        }
    }

    /// Subtracts `other`; results may be negative.
    pub fn sub(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            self.set(name, self.get(name).saturating_sub(*amount));
        }
    }

    /// Raises each amount to at least that of `other`.
    pub fn raise_to(&mut self, other: &Resources) {
        for (name, amount) in &other.0 {
            self.set(name, self.get(name).max(*amount));
        }
    }

    /// Whether every amount is at most that of `capacity`.
    #[must_use]
    pub fn fits(&self, capacity: &Resources) -> bool {
        self.0.iter().all(|(name, amount)| *amount <= capacity.get(name))
    }

    /// True if no amount is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<const N: usize> From<[(&str, i64); N]> for Resources {
    fn from(pairs: [(&str, i64); N]) -> Resources {
        let mut resources = Resources::default();
        for (name, amount) in pairs {
            resources.set(name, amount);
        }
        resources
    }
}

/// An amount as a person writes it: `1.5` cores, `28.2Gi`, `4`.
#[must_use]
pub fn display_amount(name: &str, amount: i64) -> String {
    match name {
        CPU if amount % 1000 == 0 => format!("{}", amount / 1000),
        CPU if amount.abs() < 1000 => format!("{amount}m"),
        CPU => format!("{}.{:02}", amount / 1000, (amount.abs() % 1000) / 10),
        MEMORY | EPHEMERAL_STORAGE => display_bytes(amount),
        name if name.starts_with("hugepages-") => display_bytes(amount),
        _ => amount.to_string(),
    }
}

fn display_bytes(bytes: i64) -> String {
    for (shift, suffix) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
        let unit = 1_i64 << shift;
        if bytes.abs() >= unit {
            let tenths = (i128::from(bytes) * 10 / i128::from(unit)) as i64;
            return if tenths % 10 == 0 {
                format!("{}{suffix}", tenths / 10)
            } else {
                format!("{}.{}{suffix}", tenths / 10, tenths.abs() % 10)
            };
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_the_api_accepts() {
        for (name, text, want) in [
            (CPU, "100m", 100),
            (CPU, "2", 2000),
            (CPU, "0.1m", 1),
            (CPU, "1.5", 1500),
            (CPU, "0", 0),
            (CPU, "-0", 0),
            (MEMORY, "1Ei", 1 << 60),
            (MEMORY, "7Ei", 7 << 60),
            (MEMORY, "128974848", 128_974_848),
            (MEMORY, "129e6", 129_000_000),
            (MEMORY, "123Mi", 123 << 20),
            (MEMORY, "1.5Gi", 3 << 29),
            (MEMORY, ".5Gi", 1 << 29),
            (MEMORY, "0.1m", 1),
            (MEMORY, "1e-400", 1),
            (MEMORY, "9223372036854775807", i64::MAX),
            ("nvidia.com/gpu", "+4", 4),
        ] {
            assert_eq!(parse_quantity(name, text), Ok(want), "{name} {text}");
        }
    }

    #[test]
    fn refuses_what_no_machine_has() {
        for text in ["1e400", "8Ei", "9223372036854775808", "99999999999999999999999999999999999999999"] {
            assert_eq!(parse_quantity(MEMORY, text), Err(QuantityError::TooLarge(text.into())), "{text}");
        }
        for text in ["abc", "", "1.2.3", "1 Gi", "Gi", "1gi", "e3", ".", "1e", "0x10", "1e1.5", "--1"] {
            assert_eq!(parse_quantity(MEMORY, text), Err(QuantityError::Malformed(text.into())), "{text}");
        }
        assert_eq!(parse_quantity(CPU, "-1"), Err(QuantityError::Negative("-1".into())));
    }

    #[test]
    fn amounts_read_well() {
        assert_eq!(display_amount(CPU, 250), "250m");
        assert_eq!(display_amount(CPU, 15_890), "15.89");
        assert_eq!(display_amount(MEMORY, 28 << 30), "28Gi");
        assert_eq!(display_amount(MEMORY, 1_471_840 << 10), "1.4Gi");
    }
}
