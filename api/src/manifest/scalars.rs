//! What a plain scalar is: YAML 1.2 (core schema) decides; where YAML 1.1, which many tools still read, says otherwise,
//! the difference has a name.

/// A plain scalar by the YAML 1.2 core schema.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Plain {
    Null,
    Boolean(bool),
    Integer(i64),
    /// Beyond 64 bits, or a fraction.
    Number,
    Text,
}

pub(super) fn resolve(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Plain::Null,
        "true" | "True" | "TRUE" => return Plain::Boolean(true),
        "false" | "False" | "FALSE" => return Plain::Boolean(false),
        ".nan" | ".NaN" | ".NAN" => return Plain::Number,
        _ => {}
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return Plain::Number;
    }
    if let Some((digits, radix)) = with_radix(text) {
        return i64::from_str_radix(digits, radix).map_or(Plain::Number, Plain::Integer);
    }
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().map_or(Plain::Number, Plain::Integer);
    }
    if is_float(unsigned) { Plain::Number } else { Plain::Text }
}

/// Digits and radix of `0o17` and `0x1f`.
fn with_radix(text: &str) -> Option<(&str, u32)> {
    let octal = text.strip_prefix("0o").map(|digits| (digits, 8));
    let (digits, radix) = octal.or_else(|| text.strip_prefix("0x").map(|digits| (digits, 16)))?;
    let plain = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    plain.then_some((digits, radix))
}

/// `[0-9]*.?[0-9]*` with at least one digit, and an exponent or not.
fn is_float(unsigned: &str) -> bool {
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mantissa_fits = digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty());
    mantissa_fits && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// What a YAML 1.1 reader makes of a plain scalar that this one takes for something else; `None` where both agree.
pub(super) fn read_by_yaml_1_1(text: &str) -> Option<String> {
    match text {
        "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => return Some("true".to_owned()),
        "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => return Some("false".to_owned()),
        _ => {}
    }
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    octal(unsigned)
        .or_else(|| sexagesimal(unsigned))
        .or_else(|| underscored(unsigned))
        .map(|number| format!("the number {sign}{number}"))
}

fn octal(text: &str) -> Option<String> {
    let digits = text.strip_prefix('0')?;
    let octal = !digits.is_empty() && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if octal { u64::from_str_radix(digits, 8).ok().map(|number| number.to_string()) } else { None }
}

/// `12:30:00` is 45000 there.
fn sexagesimal(text: &str) -> Option<String> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    let plain = |part: &str| !part.is_empty() && part.len() <= 9 && part.bytes().all(|b| b.is_ascii_digit());
    if !plain(first) || first.starts_with('0') {
        return None;
    }
    let mut total: u64 = first.parse().ok()?;
    let mut places = 0_u32;
    for part in parts {
        if !plain(part) || part.len() > 2 || part.parse::<u64>().ok()? > 59 {
            return None;
        }
        total = total.checked_mul(60)?.checked_add(part.parse().ok()?)?;
        places += 1;
    }
    (places > 0).then(|| total.to_string())
}

/// `1_000` is 1000 there.
fn underscored(text: &str) -> Option<String> {
    let plain = text.starts_with(|c: char| c.is_ascii_digit())
        && text.contains('_')
        && text.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    plain.then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_schema_decides_plain_scalars() {
        for (text, plain) in [
            ("~", Plain::Null),
            ("True", Plain::Boolean(true)),
            ("NO", Plain::Text),
            ("010", Plain::Integer(10)),
            ("0o10", Plain::Integer(8)),
            ("0x1F", Plain::Integer(31)),
            ("-9223372036854775808", Plain::Integer(i64::MIN)),
            ("9223372036854775808", Plain::Number),
            ("1.5", Plain::Number),
            ("1e3", Plain::Number),
            (".5", Plain::Number),
            (".", Plain::Text),
            ("1_000", Plain::Text),
            ("+", Plain::Text),
            ("-.inf", Plain::Number),
            ("10s", Plain::Text),
            ("2026-01-01", Plain::Text),
        ] {
            assert_eq!(resolve(text), plain, "{text}");
        }
    }

    #[test]
    fn what_yaml_1_1_reads_otherwise_is_named() {
        for (text, other) in [
            ("NO", Some("false")),
            ("y", Some("true")),
            ("010", Some("the number 8")),
            ("12:30:00", Some("the number 45000")),
            ("-1:30", Some("the number -90")),
            ("1_000", Some("the number 1000")),
            ("NOR", None),
            ("10", None),
            ("0", None),
            ("089", None),
            ("12:75", None),
            ("data/x", None),
        ] {
            assert_eq!(read_by_yaml_1_1(text).as_deref(), other, "{text}");
        }
    }
}
