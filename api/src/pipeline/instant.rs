//! RFC 3339 to microseconds since 1970, as TIMESTAMP columns hold them.

/// Microseconds since 1970 of an RFC 3339 text with a zone (`2026-01-01T00:00:00Z`, `...T02:00:00.5+02:00`).
///
/// Digits beyond microseconds are cut off. `None` for anything else, leap seconds and impossible dates included.
pub fn micros_of_rfc3339(text: &str) -> Option<i64> {
    let (date, rest) = text.split_at_checked(10)?;
    let days = days_of_date(date)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let seconds = seconds_of_clock(clock)?;
    let (micros, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (fraction, zone) = rest.split_at_checked(digits)?;
            (micros_of_fraction(fraction)?, zone)
        }
        None => (0, rest),
    };
    let total = days.checked_mul(86_400)?.checked_add(seconds)?.checked_sub(offset_seconds(zone)?)?;
    total.checked_mul(1_000_000)?.checked_add(micros)
}

/// Days since 1970 of `YYYY-MM-DD`, as DATE columns hold them.
///
/// # Source
/// Days from civil: H. Hinnant, chrono-compatible low-level date algorithms.
pub fn days_of_date(text: &str) -> Option<i64> {
    let (year, rest) = text.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let (year, month, day) = (digits(year, 4)?, digits(month, 2)?, digits(day, 2)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => return None,
    };
    if !(1..=month_days).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is a year's last.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn seconds_of_clock(text: &str) -> Option<i64> {
    let mut parts = text.split(':');
    let (hour, minute, second) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, digits(parts.next()?, 2)?);
    let possible = parts.next().is_none() && hour < 24 && minute < 60 && second < 60;
    possible.then_some(hour * 3600 + minute * 60 + second)
}

fn micros_of_fraction(fraction: &str) -> Option<i64> {
    if fraction.is_empty() || fraction.len() > 18 {
        return None;
    }
    let kept: String = fraction.chars().chain("000000".chars()).take(6).collect();
    kept.parse().ok()
}

fn offset_seconds(zone: &str) -> Option<i64> {
    if zone == "Z" || zone == "z" {
        return Some(0);
    }
    let sign = match zone.bytes().next()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let plain = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_instants() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000_000),
            ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
            ("2026-01-01T02:00:00.5+02:00", 1_767_225_600_500_000),
            ("2026-01-01T00:00:00.1234567Z", 1_767_225_600_123_456),
            ("0000-03-01T00:00:00Z", -62_162_035_200_000_000),
        ] {
            assert_eq!(micros_of_rfc3339(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-1-1T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+2:00",
            "2026-01-01T00:00:00é",
            "+026-01-01T00:00:00Z",
            "12026-01-01T00:00:00Z",
        ] {
            assert_eq!(micros_of_rfc3339(text), None, "{text}");
        }
    }
}
