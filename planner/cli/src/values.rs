//! Flag values: shares and durations, parsed exactly (no floating point between the terminal and the plan).

use std::time::Duration;
use stowage_models::labels;
use stowage_models::units::{Ppm, UsdMicros};
use stowage_models::whatif::WhatIf;

/// Longest accepted `--time-limit`. A plan older than a day describes another cluster.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// `--gap`: a share from 0 to 1, as `0.01` or `1%`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn gap(text: &str) -> Result<Ppm, String> {
    let share = share(text)?;
    if (0..=Ppm::ONE).contains(&share.0) {
        Ok(share)
    } else {
        Err("a gap is a share from 0 to 1, for example 0.01 or 1%".to_owned())
    }
}

/// Largest accepted `--slack`, the planner's own: half of every node.
const SLACK_MAX: Ppm = Ppm(Ppm::ONE / 2);

/// `--slack`: a share from 0 to 0.5, as `0.01` or `1%`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn slack(text: &str) -> Result<Ppm, String> {
    let share = share(text)?;
    if (0..=SLACK_MAX.0).contains(&share.0) {
        Ok(share)
    } else {
        Err("slack is a share from 0 to 0.5, for example 0.01 or 1%".to_owned())
    }
}

/// `--spot-share`: a share above 0, at most 1, as `0.3` or `30%`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn spot_share(text: &str) -> Result<Ppm, String> {
    let share = share(text)?;
    if (1..=Ppm::ONE).contains(&share.0) {
        Ok(share)
    } else {
        Err("a spot share is above 0 and at most 1, for example 0.3 or 30%".to_owned())
    }
}

/// `--time-limit`: a positive number with a unit, as `500ms`, `1s`, `2m` or `1.5s`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn time_limit(text: &str) -> Result<Duration, String> {
    let accepted = "a time limit is a number and a unit, for example 500ms, 1s or 2m";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanos_per_unit: i128 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "" if !number.is_empty() && number.bytes().any(|b| b.is_ascii_digit() && b != b'0') => {
            return Err(format!("the unit is missing; did you mean {number}s?"));
        }
        "" if number.bytes().any(|b| b == b'0') => return Err("a time limit is more than nothing".to_owned()),
        _ => return Err(accepted.to_owned()),
    };
    let millionths = decimal_millionths(number).ok_or(accepted)?;
    let nanos = millionths * nanos_per_unit / i128::from(Ppm::ONE);
    if nanos <= 0 {
        return Err("a time limit is more than nothing".to_owned());
    }
    let limit = u64::try_from(nanos).map(Duration::from_nanos).unwrap_or(Duration::MAX);
    if limit > TIME_LIMIT_MAX { Err("a time limit is at most 24h".to_owned()) } else { Ok(limit) }
}

/// `--horizon` and `--payback`: a time of at least a minute, as `24h` or `90m`, in whole minutes.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn minutes(text: &str) -> Result<u32, String> {
    const YEARS: i64 = 10 * 366 * 24 * 60;
    let minutes = stowage_models::schedule::duration(text).map(|seconds| seconds / 60);
    match minutes
        .filter(|minutes| (1..=YEARS).contains(minutes))
        .and_then(|minutes| u32::try_from(minutes).ok())
    {
        Some(minutes) => Ok(minutes),
        None => Err("a time from one minute to ten years, for example 24h or 90m".to_owned()),
    }
}

/// `--min-node-age`: a time in whole minutes, also none.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn age(text: &str) -> Result<u32, String> {
    if stowage_models::schedule::duration(text) == Some(0) { Ok(0) } else { minutes(text) }
}

/// Dollars with at most six decimals, not negative.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn dollars(text: &str) -> Result<UsdMicros, String> {
    let accepted = "an amount of dollars with at most six decimals, for example 0.005";
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let millionths = decimal_millionths(text).filter(|_| decimals <= 6).ok_or(accepted)?;
    i64::try_from(millionths)
        .map(UsdMicros)
        .ok()
        .filter(|cost| (0..=1_000_000_000_000).contains(&cost.0))
        .ok_or_else(|| accepted.to_owned())
}

/// `--age-weight`, `--restart-weight`: a number from 0 to 10.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn weight(text: &str) -> Result<Ppm, String> {
    let accepted = "a number from 0 to 10 with at most six decimals, for example 0.5";
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let millionths = decimal_millionths(text).filter(|_| decimals <= 6).ok_or(accepted)?;
    let weight = i64::try_from(millionths).map(Ppm).ok();
    weight.filter(|weight| (0..=10 * Ppm::ONE).contains(&weight.0)).ok_or_else(|| accepted.to_owned())
}

/// `--budget`: a number of nodes or a percentage.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn budget(text: &str) -> Result<String, String> {
    let digits = text.strip_suffix('%').unwrap_or(text);
    let is_number =
        !digits.is_empty() && digits.len() <= 9 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        Ok(text.to_owned())
    } else {
        Err("a number of nodes or a percentage, for example 3 or 10%".to_owned())
    }
}

/// `--price-factor`: a capacity type and a positive factor, as `spot=1.3`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn factor(text: &str) -> Result<(String, Ppm), String> {
    let accepted = "a capacity type and a factor from 0.000001 to 1000, for example spot=1.3";
    let (name, number) = text.split_once('=').ok_or(accepted)?;
    let decimals = number.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    let factor = decimal_millionths(number).filter(|_| decimals <= 6 && !name.is_empty()).ok_or(accepted)?;
    let factor = i64::try_from(factor).map_err(|_| accepted)?;
    if (1..=1000 * Ppm::ONE).contains(&factor) {
        Ok((name.to_owned(), Ppm(factor)))
    } else {
        Err(accepted.to_owned())
    }
}

/// `--allow` and `--forbid`: a label key and a value; `arch`, `zone`, `capacity-type` and `instance-type` are short for their keys.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn label(text: &str) -> Result<(String, String), String> {
    let accepted = "a label and a value, for example arch=arm64, capacity-type=spot or zone=us-east-1c";
    let (key, value) =
        text.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty()).ok_or(accepted)?;
    let key = match key {
        "arch" => labels::ARCH,
        "zone" => labels::ZONE,
        "capacity-type" => labels::CAPACITY_TYPE,
        "instance-type" => labels::INSTANCE_TYPE,
        key => labels::normalise(key),
    };
    if labels::OFFERING_KEYS.contains(&key) {
        Ok((key.to_owned(), value.to_owned()))
    } else {
        Err(format!("{key} is no label that instance types, zones and capacity types have; {accepted}"))
    }
}

/// `--variant`: one change to the question, as `allow:arch=arm64`, `forbid:zone=us-east-1a`, `exclude:t3.*` or `price:spot=1.3`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn variant(text: &str) -> Result<WhatIf, String> {
    let accepted = "for example allow:arch=arm64, forbid:zone=us-east-1a, exclude:t3.* or price:spot=1.3";
    let (kind, rest) = text.split_once(':').ok_or(accepted)?;
    let mut variant = WhatIf::default();
    match kind {
        "allow" | "forbid" => {
            let (key, value) = label(rest)?;
            let of = if kind == "allow" { &mut variant.allow } else { &mut variant.forbid };
            of.entry(key).or_default().insert(value);
        }
        "exclude" if !rest.is_empty() => drop(variant.exclude_types.insert(rest.to_owned())),
        "price" => variant.price_factors.extend([factor(rest)?]),
        _ => return Err(accepted.to_owned()),
    }
    Ok(variant)
}

/// A signed share in parts per million. Anything that parts per million cannot hold is refused, not rounded.
fn share(text: &str) -> Result<Ppm, String> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (number, per_cent) = match unsigned.strip_suffix('%') {
        Some(number) => (number.trim_end(), true),
        None => (unsigned, false),
    };
    let millionths = decimal_millionths(number)
        .ok_or("not a share; write for example 0.01 or 1% (at most six decimals, four before %)")?;
    if per_cent && millionths % 100 != 0 {
        return Err("too precise; a percentage has at most four decimals".to_owned());
    }
    let ppm = if per_cent { millionths / 100 } else { millionths };
    let ppm = i64::try_from(ppm).map_err(|_| "too large for a share".to_owned())?;
    Ok(Ppm(if negative { -ppm } else { ppm }))
}

/// `12.5` as 12,500,000. `None` for anything but digits with at most one point and six decimals.
fn decimal_millionths(text: &str) -> Option<i128> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(decimals) || whole.len() > 12 || decimals.len() > 6 {
        return None;
    }
    if whole.is_empty() && decimals.is_empty() {
        return None;
    }
    format!("{whole}{decimals:0<6}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_exact() {
        for (text, want) in
            [("0.01", 10_000), ("1%", 10_000), ("0", 0), ("1", 1_000_000), (".000001", 1), ("2.5 %", 25_000)]
        {
            assert_eq!(gap(text), Ok(Ppm(want)), "{text}");
        }
        for text in ["-1", "abc", "", "2", "0.0000001", "1.2.3", ".", "NaN", "1e-2", "-", "%"] {
            assert!(gap(text).is_err(), "{text}");
        }
        assert!(slack("0.500001").is_err());
        assert!(slack("2").is_err());
        assert_eq!(slack("50%"), Ok(Ppm(500_000)));
        assert_eq!(spot_share("30%"), Ok(Ppm(300_000)));
        assert!(spot_share("0").is_err() && spot_share("101%").is_err());
    }

    #[test]
    fn changes_of_the_question() {
        assert_eq!(factor("spot=1.3"), Ok(("spot".to_owned(), Ppm(1_300_000))));
        assert_eq!(label("arch=arm64"), Ok((labels::ARCH.to_owned(), "arm64".to_owned())));
        assert_eq!(label("beta.kubernetes.io/arch=arm64"), label("arch=arm64"));
        for text in
            ["", "spot", "spot=", "=2", "spot=0", "spot=-1", "spot=1e3", "spot=1001", "spot=1.0000001"]
        {
            assert!(factor(text).is_err(), "{text}");
        }
        for text in ["", "arch", "arch=", "=x", "team=a"] {
            assert!(label(text).is_err(), "{text}");
        }
        assert_eq!(variant("exclude:t3.*").unwrap().describe(), ["without t3.*"]);
        assert_eq!(variant("price:spot=1.3").unwrap().describe(), ["spot prices times 1.3"]);
        for text in ["", "arch=arm64", "allow:", "exclude:", "price:spot", "drop:x"] {
            assert!(variant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_of_consolidation() {
        assert_eq!(minutes("24h"), Ok(1440));
        assert_eq!(dollars("0.005"), Ok(UsdMicros(5_000)));
        assert_eq!(budget("10%"), Ok("10%".to_owned()));
        for text in ["", "59s", "Never", "-1h", "100000000h"] {
            assert!(minutes(text).is_err(), "{text}");
        }
        for text in ["", "-1", "0.0000001", "1e3", "five", "99999999999999999"] {
            assert!(dollars(text).is_err(), "{text}");
        }
        for text in ["", "%", "-1", "ten", "10 %", "1.5"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }

    #[test]
    fn time_limits_have_units() {
        for (text, want_ms) in [
            ("1s", 1_000),
            ("500ms", 500),
            ("2m", 120_000),
            ("1.5s", 1_500),
            ("0.25s", 250),
            ("24h", 86_400_000),
        ] {
            assert_eq!(time_limit(text), Ok(Duration::from_millis(want_ms)), "{text}");
        }
        for text in
            ["0", "0s", "0.0s", "5", "-1s", "abc", "", "s", "25h", "1d", "1e3s", "99999999999999h", "."]
        {
            assert!(time_limit(text).is_err(), "{text}");
        }
        assert_eq!(time_limit("5"), Err("the unit is missing; did you mean 5s?".to_owned()));
    }
}
