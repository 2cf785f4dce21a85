//! RFC 3339 timestamps and ISO dates, to the microsecond, years 0000 to 9999 (proleptic Gregorian, UTC, no leap seconds).
//! Civil calendar arithmetic after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".

use crate::element::Timestamp;

pub(crate) const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
/// 0000-01-01 and 9999-12-31 as days since 1970.
const FIRST_DAY: i64 = -719_528;
const LAST_DAY: i64 = 2_932_896;

/// `2026-01-31T23:59:59[.fraction](Z|+hh:mm|-hh:mm)`; digits beyond microseconds are cut off. A blank in place of the
/// `T` is taken as well.
pub(crate) fn parse_timestamp(text: &[u8]) -> Option<Timestamp> {
    let (moment, rest) = text.split_first_chunk::<19>()?;
    let (date, time) = moment.split_first_chunk::<10>()?;
    let [t, h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    if !matches!(t, b'T' | b't' | b' ') {
        return None;
    }
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (micros, zone) = fraction(rest)?;
    let offset_minutes = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = hours * 60 + minutes;
            if *sign == b'-' { -offset } else { offset }
        }
        _ => return None,
    };
    let seconds = i64::from(parse_date(date)?) * 86_400 + hour * 3600 + (minute - offset_minutes) * 60 + second;
    in_range(seconds * MICROS_PER_SECOND + micros)
}

/// Milliseconds since 1970 as a timestamp, if it lies in the years 0000 to 9999.
pub(crate) fn from_millis(millis: i64) -> Option<Timestamp> {
    in_range(millis.checked_mul(1000)?)
}

pub(crate) fn in_range(timestamp: Timestamp) -> Option<Timestamp> {
    (FIRST_DAY..=LAST_DAY).contains(&timestamp.div_euclid(MICROS_PER_DAY)).then_some(timestamp)
}

/// Days since 1970 of `2026-01-31`.
pub(crate) fn parse_date(text: &[u8]) -> Option<i32> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text else { return None };
    let year = two(*y1, *y2)? * 100 + two(*y3, *y4)?;
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    Some(days_from_civil(year, month, day) as i32)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[inline]
fn two(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens * 10 + ones))
}

/// Microseconds of `.digits`, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let [b'.', digits @ ..] = text else { return Some((0, text)) };
    let (mut micros, mut unit, mut count) = (0, MICROS_PER_SECOND / 10, 0);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        micros += i64::from(digit) * unit;
        unit /= 10;
        count += 1;
    }
    (count > 0).then(|| (micros, &digits[count..]))
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// (year, month, day).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn push_two(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}

/// Writes `2026-01-31`; false for a day outside the years 0000 to 9999, then nothing is written.
pub(crate) fn write_date(out: &mut Vec<u8>, days: i64) -> bool {
    if !(FIRST_DAY..=LAST_DAY).contains(&days) {
        return false;
    }
    let (year, month, day) = civil_from_days(days);
    push_two(out, year / 100);
    push_two(out, year % 100);
    out.push(b'-');
    push_two(out, month);
    out.push(b'-');
    push_two(out, day);
    true
}

/// Writes `2026-01-31T23:59:59.500Z` with no, three or six decimals, as many as are needed; false outside the years 0000 to 9999.
pub(crate) fn write_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) -> bool {
    if !write_date(out, timestamp.div_euclid(MICROS_PER_DAY)) {
        return false;
    }
    let micros = timestamp.rem_euclid(MICROS_PER_DAY);
    let seconds = micros / MICROS_PER_SECOND;
    out.push(b'T');
    push_two(out, seconds / 3600);
    out.push(b':');
    push_two(out, seconds / 60 % 60);
    out.push(b':');
    push_two(out, seconds % 60);
    let fraction = micros % MICROS_PER_SECOND;
    if fraction != 0 {
        out.extend([b'.', b'0' + (fraction / 100_000) as u8]);
        push_two(out, fraction / 1000);
        if fraction % 1000 != 0 {
            out.push(b'0' + (fraction / 100 % 10) as u8);
            push_two(out, fraction);
        }
    }
    out.push(b'Z');
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(timestamp: i64) -> String {
        let mut out = Vec::new();
        assert!(write_timestamp(&mut out, timestamp));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        assert_eq!(parse_timestamp(b"1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(parse_timestamp(b"2026-01-01T00:00:00Z"), Some(1_767_225_600_000_000));
        assert_eq!(parse_timestamp(b"2026-01-01T01:30:00.25+01:30"), Some(1_767_225_600_250_000));
        assert_eq!(parse_timestamp(b"2000-02-29 23:59:59.1234569Z"), Some(951_868_799_123_456));
        assert_eq!(text(1_767_225_600_250_000), "2026-01-01T00:00:00.250Z");
        assert_eq!(text(-1), "1969-12-31T23:59:59.999999Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for wrong in [
            "2026-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0100",
            "2026-01-01",
            "0000-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "",
        ] {
            assert_eq!(parse_timestamp(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(from_millis(i64::MAX), None);
        assert!(!write_timestamp(&mut Vec::new(), i64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(timestamp in FIRST_DAY * MICROS_PER_DAY..(LAST_DAY + 1) * MICROS_PER_DAY) {
            prop_assert_eq!(parse_timestamp(text(timestamp).as_bytes()), Some(timestamp));
        }

        #[test]
        fn days_follow_each_other(days in FIRST_DAY..LAST_DAY) {
            let (mut today, mut tomorrow) = (Vec::new(), Vec::new());
            prop_assert!(write_date(&mut today, days) && write_date(&mut tomorrow, days + 1));
            prop_assert_eq!(parse_date(&today), Some(days as i32));
            prop_assert!(today < tomorrow);
        }

        #[test]
        fn arbitrary_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_timestamp(&text);
        }
    }
}
