//! Times, durations and cron schedules, as the Kubernetes and Karpenter APIs write them. Everything is UTC.

/// Seconds of a day.
const DAY: i64 = 86_400;

/// Seconds since 1970 of an RFC 3339 time (`2026-08-31T12:00:00Z`, fractions and offsets allowed); `None` if it is none.
#[must_use]
pub fn instant(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let at =
        |index: usize, wanted: &[u8]| text.as_bytes().get(index).is_some_and(|byte| wanted.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|character: char| character.is_ascii_digit());
    }
    let offset = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()) => {
            let digit = |byte: &u8| i64::from(byte - b'0');
            let minutes = (digit(a) * 10 + digit(b)) * 60 + digit(c) * 10 + digit(d);
            if *sign == b'-' { -minutes * 60 } else { minutes * 60 }
        }
        _ => return None,
    };
    Some(days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset)
}

/// Seconds since 1970 as an RFC 3339 time. What is before the year 0 or after 9999 is written as the first or last second of those.
#[must_use]
pub fn rfc3339(seconds: i64) -> String {
    let first = days_from_civil(0, 1, 1) * DAY;
    let last = days_from_civil(10_000, 1, 1) * DAY - 1;
    let seconds = seconds.clamp(first, last);
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (month, day) = civil_from_days(days);
    // A year that is not after the day's; then on to the last one that begins by then.
    let guess = 1970 + days.div_euclid(365).min(days.div_euclid(366));
    let year = (guess..).take_while(|year| days_from_civil(*year, 1, 1) <= days).last().unwrap_or(guess);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", second % 60)
}

/// Days since 1970-01-01 of a date of the Gregorian calendar. Years are counted from March, so that leap days end them.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Month and day of a number of days since 1970-01-01.
fn civil_from_days(days: i64) -> (u32, u32) {
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (u32::try_from(month).unwrap_or(1), u32::try_from(day).unwrap_or(1))
}

/// Seconds of a duration as Go writes it, whole seconds rounded down: `1h30m`, `90s`, `0s`, `1.5h`, `300ms`. `None` if it is
/// none, or negative; `Never` is none.
#[must_use]
pub fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale: i128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 12 {
            return None;
        }
        nanos += whole.parse::<i128>().unwrap_or(0) * scale;
        let mut place = scale;
        for digit in fraction.bytes() {
            place /= 10;
            nanos += i128::from(digit - b'0') * place;
        }
        rest = tail;
    }
    i64::try_from(nanos / 1_000_000_000).ok()
}

/// A cron schedule of five fields, or one of `@yearly`, `@annually`, `@monthly`, `@weekly`, `@daily`, `@midnight`, `@hourly`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Day of month or day of week is `*`: then both must match, otherwise one of them.
    both_days: bool,
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Cron {
    /// Reads a schedule; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Cron> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else { return None };
        let is_any = |field: &str| field.starts_with('*') || field.starts_with('?');
        Some(Cron {
            minutes: set(minute, 0, 59, &[])?,
            hours: set(hour, 0, 23, &[])?,
            days: set(day, 1, 31, &[])?,
            months: set(month, 1, 12, &MONTHS)?,
            weekdays: set(weekday, 0, 6, &WEEKDAYS)?,
            both_days: is_any(day) || is_any(weekday),
        })
    }

    /// Whether the schedule fires in the minute that begins at `time`.
    fn fires(&self, time: i64) -> bool {
        let days = time.div_euclid(DAY);
        let of_day = time.rem_euclid(DAY);
        let has = |set: u64, value: i64| set >> value & 1 == 1;
        if !has(self.minutes, of_day / 60 % 60) || !has(self.hours, of_day / 3600) {
            return false;
        }
        let (month, day) = civil_from_days(days);
        // 1970-01-01 was a Thursday.
        let (of_month, of_week) =
            (has(self.days, i64::from(day)), has(self.weekdays, (days + 4).rem_euclid(7)));
        has(self.months, i64::from(month))
            && if self.both_days { of_month && of_week } else { of_month || of_week }
    }

    /// Whether a window of `seconds` that opened at a firing holds `now`: a firing `t` with `now - seconds < t <= now`.
    /// Windows of more than a year count as a year.
    #[must_use]
    pub fn is_open(&self, now: i64, seconds: i64) -> bool {
        let from = now - seconds.min(366 * DAY);
        let mut minute = now - now.rem_euclid(60);
        while minute > from {
            if self.fires(minute) {
                return true;
            }
            minute -= 60;
        }
        false
    }
}

/// The values of a field as bits: `*`, `?`, numbers, names, ranges, steps and lists of them.
fn set(field: &str, least: u32, most: u32, names: &[&str]) -> Option<u64> {
    let value = |text: &str| -> Option<u32> {
        let lower = text.to_ascii_lowercase();
        if let Some(index) = names.iter().position(|name| *name == lower) {
            return u32::try_from(index).ok().map(|index| index + least);
        }
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok())?
    };
    let mut bits = 0;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (from, to) = match range {
            "*" | "?" => (least, most),
            _ => match range.split_once('-') {
                Some((from, to)) => (value(from)?, value(to)?),
                // `a/n` runs to the end, as in robfig/cron, which Karpenter uses.
                None => (value(range)?, if step.is_some() { most } else { value(range)? }),
            },
        };
        if from < least || to > most || from > to {
            return None;
        }
        for value in (from..=to).step_by(step.unwrap_or(1) as usize) {
            bits |= 1 << value;
        }
    }
    Some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants() {
        assert_eq!(instant("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(instant("2026-08-31T12:00:00Z"), Some(1_788_177_600));
        assert_eq!(instant("2026-08-31T14:00:00.25+02:00"), Some(1_788_177_600));
        assert_eq!(instant("2024-02-29T00:00:00Z"), Some(1_709_164_800));
        for wrong in ["", "2026-08-31", "2026-08-31T12:00:00", "2026-13-01T00:00:00Z", "2026-08-31T1é:00:00Z"]
        {
            assert_eq!(instant(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn times_are_written_as_they_are_read(seconds in -62_167_219_200_i64..253_402_300_800) {
            prop_assert_eq!(instant(&rfc3339(seconds)), Some(seconds));
        }
    }

    #[test]
    fn times_are_written() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_164_800 + 3_661), "2024-02-29T01:01:01Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00Z");
    }

    #[test]
    fn durations() {
        let cases = [
            ("0s", 0),
            ("1m", 60),
            ("1h30m", 5400),
            ("1.5h", 5400),
            ("90s", 90),
            ("1500ms", 1),
            ("720h", 2_592_000),
        ];
        for (text, seconds) in cases {
            assert_eq!(duration(text), Some(seconds), "{text}");
        }
        for wrong in ["", "Never", "5", "-1h", "1d", "h", "1..5h", "."] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn windows() {
        let open = |cron: &str, at: &str, length: &str| {
            let cron = Cron::parse(cron).expect("a schedule");
            cron.is_open(instant(at).expect("a time"), duration(length).expect("a duration"))
        };
        // 2026-08-31 is a Monday.
        assert!(open("0 9 * * mon-fri", "2026-08-31T12:00:00Z", "8h"));
        assert!(!open("0 9 * * mon-fri", "2026-08-31T17:00:00Z", "8h"));
        assert!(open("0 9 * * mon-fri", "2026-08-31T16:59:59Z", "8h"));
        assert!(!open("0 9 * * 6,0", "2026-08-31T12:00:00Z", "8h"));
        assert!(open("@daily", "2026-08-31T00:00:00Z", "1m"));
        assert!(!open("@daily", "2026-08-31T00:01:00Z", "1m"));
        assert!(open("0 0 1 1 *", "2026-08-31T12:00:00Z", "7000h"));
        // Day of month or day of week, if both are given.
        assert!(open("0 0 13 * 1", "2026-08-31T01:00:00Z", "2h"));
        assert!(!open("0 0 30 2 *", "2026-08-31T12:00:00Z", "9000h"));
    }

    #[test]
    fn what_is_no_schedule() {
        for wrong in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 7",
            "5-1 * * * *",
            "*/0 * * * *",
            "a * * * *",
            "TZ=UTC * * * * *",
            "@every 1h",
            "é * * * *",
        ] {
            assert_eq!(Cron::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn dates_come_back(days in -200_000_i64..400_000) {
            let (month, day) = civil_from_days(days);
            let year = 1970 + days.div_euclid(366) - 5;
            // The year is not returned; one of a few must give the same day.
            let found = (year..year + 800).any(|year| days_from_civil(year, i64::from(month), i64::from(day)) == days);
            prop_assert!(found);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = (instant(&text), duration(&text), Cron::parse(&text));
        }
    }
}
