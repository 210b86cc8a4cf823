//! Decimal numbers, exactly: prices and percentages are never floating point.

/// Digits accepted. 28 digits and a power of ten of either sign up to 9 stay within an i128.
const MAX_DIGITS: usize = 28;

/// The non-negative decimal `text` (`0.0416`, `5.672`, `1e-4`) times `10^scale`, rounded half up to an integer.
///
/// `None` when the text is no such number or the result does not fit.
pub(crate) fn scaled(text: &str, scale: i32) -> Option<i64> {
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if significant.len() > MAX_DIGITS {
        return None;
    }
    let mantissa: i128 = significant.parse().ok()?;
    let power = exponent.checked_add(scale)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let value = if power >= 0 {
        mantissa.checked_mul(10_i128.checked_pow(power.unsigned_abs())?)?
    } else {
        // A divisor beyond the i128 range leaves far less than half a unit.
        match 10_i128.checked_pow(power.unsigned_abs()) {
            Some(divisor) => mantissa.checked_add(divisor / 2)? / divisor,
            None => 0,
        }
    };
    i64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn decimals_are_exact_and_round_half_up() {
        for (text, scale, want) in [
            ("0.0416", 6, 41_600),
            ("21.957642", 6, 21_957_642),
            ("1e-4", 6, 100),
            ("1.5E2", 6, 150_000_000),
            ("0.0000005", 6, 1),
            ("0.00000049", 6, 0),
            ("3.1", 3, 3_100),
            ("7.5", 0, 8),
            (".5", 1, 5),
            ("0", 6, 0),
            ("1e-400", 6, 0),
            ("000000000000000000000000000000001", 0, 1),
        ] {
            assert_eq!(scaled(text, scale), Some(want), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            ".",
            "-1",
            "+1",
            "1,5",
            "1.2.3",
            "abc",
            "1e",
            "0x1",
            "1e400",
            "99999999999999999999999",
            "1e2147483647",
        ] {
            assert_eq!(scaled(text, 6), None, "{text}");
        }
    }
}
