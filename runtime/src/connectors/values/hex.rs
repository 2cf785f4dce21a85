//! Byte strings as hexadecimal digits.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the bytes that pairs of digits stand for; false if `text` is anything else.
pub(crate) fn parse(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (pairs, rest) = text.as_chunks::<2>();
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (char::from(*high).to_digit(16), char::from(*low).to_digit(16)) else {
            return false;
        };
        out.push((high * 16 + low) as u8);
    }
    rest.is_empty()
}

/// Appends two lower-case digits per byte.
pub(crate) fn write(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_nothing_else_is_read() {
        let bytes: Vec<u8> = (0..=255).collect();
        let (mut text, mut read) = (Vec::new(), Vec::new());
        write(&mut text, &bytes);
        assert!(parse(&text, &mut read) && read == bytes && text.ends_with(b"feff"));
        for wrong in ["a", "0x", "g0", "é"] {
            assert!(!parse(wrong.as_bytes(), &mut Vec::new()), "{wrong}");
        }
    }
}
