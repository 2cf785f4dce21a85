//! Decimal texts, exactly: a number that a column cannot hold without rounding is refused, never rounded.

/// Reads `[-+]digits[.digits][e[-+]digits]` as an integer of 10^-`scale`; `None` if it is no number, has more
/// fraction digits than `scale`, or does not fit `precision` digits (at most 38).
pub(crate) fn parse(text: &[u8], precision: u8, scale: u8) -> Option<i128> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let (mantissa, exponent) = match text.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[][..]),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Zeros at the end of the fraction say nothing, and those before the first digit neither: what is left is bounded.
    let fraction = trim_end_zeros(fraction);
    let mut value: i128 = 0;
    for digit in whole.iter().chain(fraction) {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(i128::from(digit))?;
    }
    let fraction_digits = i64::try_from(fraction.len()).ok()?;
    let shift = i64::from(scale) + exponent - fraction_digits;
    value = shifted(value, shift)?;
    let limit = 10_i128.checked_pow(u32::from(precision)).unwrap_or(i128::MAX);
    let value = if negative { -value } else { value };
    (value.abs() < limit).then_some(value)
}

fn trim_end_zeros(mut digits: &[u8]) -> &[u8] {
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    digits
}

/// An exponent; absurd ones saturate (`shifted` refuses them unless the number is zero).
fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = (value * 10 + i64::from(digit)).min(1_000_000_000);
    }
    Some(if negative { -value } else { value })
}

/// `value` * 10^`shift` if that is an integer that fits.
fn shifted(value: i128, shift: i64) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    let factor = 10_i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?)?;
    if shift >= 0 { value.checked_mul(factor) } else { (value % factor == 0).then(|| value / factor) }
}

/// Writes `value` * 10^-`scale` in plain digits.
pub(crate) fn write(out: &mut Vec<u8>, value: i128, scale: u8) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value.unsigned_abs()).as_bytes();
    if value < 0 {
        out.push(b'-');
    }
    let scale = usize::from(scale);
    let whole = digits.len().saturating_sub(scale);
    if whole == 0 {
        out.push(b'0');
    }
    out.extend_from_slice(&digits[..whole]);
    if scale > 0 {
        out.push(b'.');
        out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
        out.extend_from_slice(&digits[whole..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_fits_exactly_is_read() {
        for (text, expected) in [
            ("12.34", Some(1234)),
            ("-0.5", Some(-50)),
            ("+7", Some(700)),
            ("12.3400", Some(1234)),
            ("1.2e1", Some(1200)),
            ("1234e-2", Some(1234)),
            ("1e-9999999999", None),
            ("0e99999999999", Some(0)),
            ("12.345", None),
            ("1000", None),
            ("999.99", Some(99999)),
            ("", None),
            (".", None),
            ("1.2.3", None),
            ("1e", None),
            ("abc", None),
        ] {
            assert_eq!(parse(text.as_bytes(), 5, 2), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in -(10_i128.pow(37))..10_i128.pow(37), scale in 0_u8..38) {
            let mut text = Vec::new();
            write(&mut text, value, scale);
            prop_assert_eq!(parse(&text, 38, scale), Some(value));
            prop_assert!(serde_json::from_slice::<serde_json::Number>(&text).is_ok());
        }

        #[test]
        fn arbitrary_text_never_panics(text in prop::collection::vec(any::<u8>(), 0..60), scale in 0_u8..38) {
            let _ = parse(&text, 38, scale);
        }
    }
}
