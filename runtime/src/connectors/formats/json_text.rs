//! JSON texts, token by token: RFC 8259, strictly, over one line that is known to be UTF-8.

/// How deep arrays and objects may nest in a field that is not read.
const MAX_DEPTH: usize = 512;

/// What is wrong and where in the line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::connectors) struct Fault {
    pub(in crate::connectors) at: usize,
    pub(in crate::connectors) column: Option<String>,
    pub(in crate::connectors) message: String,
}

pub(in crate::connectors) type Parsed<T> = Result<T, Box<Fault>>;

/// A string's content as it stands in the line.
#[derive(Clone, Copy, Debug)]
pub(in crate::connectors) struct Raw<'a> {
    pub(in crate::connectors) text: &'a [u8],
    pub(in crate::connectors) escaped: bool,
}

/// A place in a line.
#[derive(Debug)]
pub(in crate::connectors) struct Cursor<'a> {
    line: &'a [u8],
    pub(in crate::connectors) at: usize,
}

impl<'a> Cursor<'a> {
    pub(in crate::connectors) fn new(line: &'a [u8]) -> Self {
        Self { line, at: 0 }
    }

    /// The next byte; 0, which is no JSON, behind the end.
    #[inline]
    pub(in crate::connectors) fn peek(&self) -> u8 {
        self.line.get(self.at).copied().unwrap_or(0)
    }

    pub(in crate::connectors) fn at_end(&self) -> bool {
        self.at >= self.line.len()
    }

    #[inline]
    pub(in crate::connectors) fn skip_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\r' | b'\n') {
            self.at += 1;
        }
    }

    /// Takes `expected`, told as `name` in the fault.
    #[inline]
    pub(in crate::connectors) fn take(&mut self, expected: u8, name: &str) -> Parsed<()> {
        if self.peek() != expected {
            return self.fault(format!("expected {name}, found {}", self.found()));
        }
        self.at += 1;
        Ok(())
    }

    /// Takes `text` if it stands here.
    #[inline]
    pub(in crate::connectors) fn take_exactly(&mut self, text: &[u8]) -> bool {
        let stands = self.line.get(self.at..).is_some_and(|rest| rest.starts_with(text));
        if stands {
            self.at += text.len();
        }
        stands
    }

    #[cold]
    pub(in crate::connectors) fn fault<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(Box::new(Fault { at: self.at.min(self.line.len()), column: None, message: message.into() }))
    }

    #[cold]
    fn found(&self) -> String {
        match self.line.get(self.at) {
            None => "the end of the line".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(*byte)),
            Some(byte) => format!("byte {byte:#04x}"),
        }
    }

    /// Reads a string up to its closing quote; escapes are checked by [`unescape`].
    #[inline]
    pub(in crate::connectors) fn string(&mut self) -> Parsed<Raw<'a>> {
        self.take(b'"', "a string")?;
        let begin = self.at;
        let mut escaped = false;
        loop {
            let rest = self.line.get(self.at..).unwrap_or_default();
            self.at += plain_run(rest);
            match self.peek() {
                b'"' => {
                    let text = self.line.get(begin..self.at).unwrap_or_default();
                    self.at += 1;
                    return Ok(Raw { text, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.at += 2;
                }
                _ => return self.fault(format!("expected the end of a string, found {}", self.found())),
            }
        }
    }

    /// Reads a number and returns its text.
    pub(in crate::connectors) fn number(&mut self) -> Parsed<&'a [u8]> {
        let begin = self.at;
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits()?,
            _ => return self.fault(format!("expected a value, found {}", self.found())),
        }
        if self.peek() == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(self.line.get(begin..self.at).unwrap_or_default())
    }

    fn digits(&mut self) -> Parsed<()> {
        if !self.peek().is_ascii_digit() {
            return self.fault(format!("expected a digit, found {}", self.found()));
        }
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// Reads an integer of at most 18 digits; `None`, with nothing read, if something else stands here.
    #[inline]
    pub(in crate::connectors) fn short_integer(&mut self) -> Option<i64> {
        let mut rest = self.line.get(self.at..)?;
        let negative = rest.first() == Some(&b'-');
        if negative {
            rest = rest.get(1..)?;
        }
        let (mut value, mut count) = (0_i64, 0);
        for byte in rest.iter().take(19) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            count += 1;
        }
        let leading_zero = count > 1 && rest.first() == Some(&b'0');
        let longer = matches!(rest.get(count), Some(b'.' | b'e' | b'E'));
        if count == 0 || count > 18 || leading_zero || longer {
            return None;
        }
        self.at += count + usize::from(negative);
        Some(if negative { -value } else { value })
    }

    /// Reads over any value. Iterative: depth costs a bit, not stack.
    pub(in crate::connectors) fn skip_value(&mut self, scratch: &mut Vec<u8>) -> Parsed<()> {
        // One bit per level: set for an object.
        let mut levels = [0_u64; MAX_DEPTH / 64];
        let mut depth = 0;
        loop {
            self.skip_blanks();
            match self.peek() {
                open @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return self.fault(format!("is nested deeper than {MAX_DEPTH} levels"));
                    }
                    self.at += 1;
                    self.skip_blanks();
                    let is_object = open == b'{';
                    if self.peek() == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        set_level(&mut levels, depth, is_object);
                        depth += 1;
                        if is_object {
                            self.skip_key(scratch)?;
                        }
                        continue;
                    }
                }
                _ => self.skip_scalar(scratch)?,
            }
            // A value is over: close what it ends, or go on to the next one of its level.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = is_object_level(&levels, depth - 1);
                self.skip_blanks();
                match self.peek() {
                    b',' => {
                        self.at += 1;
                        if is_object {
                            self.skip_blanks();
                            self.skip_key(scratch)?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return self.fault(format!("expected `,` or a closing bracket, found {}", self.found())),
                }
                self.at += 1;
                depth -= 1;
            }
        }
    }

    fn skip_key(&mut self, scratch: &mut Vec<u8>) -> Parsed<()> {
        self.skip_string(scratch)?;
        self.skip_blanks();
        self.take(b':', "`:`")
    }

    fn skip_string(&mut self, scratch: &mut Vec<u8>) -> Parsed<()> {
        let raw = self.string()?;
        scratch.clear();
        if raw.escaped && !unescape(raw.text, scratch) {
            return self.fault("a string holds an escape that is none");
        }
        Ok(())
    }

    fn skip_scalar(&mut self, scratch: &mut Vec<u8>) -> Parsed<()> {
        match self.peek() {
            b'"' => self.skip_string(scratch),
            b't' | b'f' | b'n' => self.word().map(|_| ()),
            _ => self.number().map(|_| ()),
        }
    }

    /// Reads `true`, `false` or `null`.
    pub(in crate::connectors) fn word(&mut self) -> Parsed<Option<bool>> {
        if self.take_exactly(b"true") {
            Ok(Some(true))
        } else if self.take_exactly(b"false") {
            Ok(Some(false))
        } else if self.take_exactly(b"null") {
            Ok(None)
        } else {
            self.fault(format!("expected a value, found {}", self.found()))
        }
    }
}

fn set_level(levels: &mut [u64], depth: usize, is_object: bool) {
    if let Some(word) = levels.get_mut(depth / 64) {
        let bit = 1 << (depth % 64);
        if is_object { *word |= bit } else { *word &= !bit }
    }
}

fn is_object_level(levels: &[u64], depth: usize) -> bool {
    levels.get(depth / 64).is_some_and(|word| word >> (depth % 64) & 1 == 1)
}

/// Bytes before the first quote, backslash or control character, eight at a time.
#[inline]
fn plain_run(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    for block in text.chunks_exact(8) {
        let Ok(block) = block.try_into().map(u64::from_le_bytes) else { break };
        let (quotes, slashes) = (block ^ (ONES * 0x22), block ^ (ONES * 0x5c));
        // A byte's high bit is set where it is zero (or below 0x20); carries only disturb bytes behind the first hit.
        let hits = (quotes.wrapping_sub(ONES) & !quotes)
            | (slashes.wrapping_sub(ONES) & !slashes)
            | (block.wrapping_sub(ONES * 0x20) & !block);
        if hits & HIGHS != 0 {
            return run + ((hits & HIGHS).trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    let tail = text.get(run..).unwrap_or_default();
    run + tail.iter().take_while(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)).count()
}

/// Appends a string's content with its escapes resolved; false if one of them is no escape.
pub(in crate::connectors) fn unescape(text: &[u8], out: &mut Vec<u8>) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (byte, behind) = match escape {
            [_, b'u', behind @ ..] => match unicode(behind) {
                Some((character, behind)) => {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = behind;
                    continue;
                }
                None => return false,
            },
            [_, code, behind @ ..] => (*code, behind),
            _ => return false,
        };
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return false,
        });
        rest = behind;
    }
    out.extend_from_slice(rest);
    true
}

/// The character of `XXXX`, or of `XXXX\uXXXX` for a surrogate pair, and what follows it.
fn unicode(text: &[u8]) -> Option<(char, &[u8])> {
    let (high, behind) = hex4(text)?;
    if !(0xd800..0xdc00).contains(&high) {
        // A low surrogate alone is no character.
        return char::from_u32(high).map(|character| (character, behind));
    }
    let [b'\\', b'u', behind @ ..] = behind else { return None };
    let (low, behind) = hex4(behind)?;
    let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + low).map(|character| (character, behind))
}

fn hex4(text: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, behind) = text.split_first_chunk::<4>()?;
    let mut value = 0;
    for digit in digits {
        value = value * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((value, behind))
}
