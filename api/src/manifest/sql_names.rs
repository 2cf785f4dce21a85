//! Which names a query reads, without planning it: enough to tell that nothing reads a source. The planner of the
//! runtime has the last word on what is wrong with a query.

use std::collections::BTreeSet;

/// Names after FROM, JOIN and in the first argument of TUMBLE, HOP and SESSION, lower-cased unless quoted. Names of WITH
/// are left out. May name too much (`EXTRACT(YEAR FROM ts)`), never too little.
pub fn tables_read(sql: &str) -> BTreeSet<String> {
    let mut reader = Reader::default();
    let mut previous = Token::End;
    let tokens = tokens(sql);
    for (i, token) in tokens.iter().enumerate() {
        let next = tokens.get(i + 1).unwrap_or(&Token::End);
        reader.take(token, &previous, next);
        previous = token.clone();
    }
    &reader.tables - &reader.own
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// Lower-cased.
    Word(String),
    Quoted(String),
    Symbol(char),
    End,
}

/// One pair of parentheses.
#[derive(Clone, Copy, Default)]
struct Level {
    in_from: bool,
    wants_table: bool,
}

#[derive(Default)]
struct Reader {
    tables: BTreeSet<String>,
    own: BTreeSet<String>,
    level: Level,
    outer: Vec<Level>,
}

impl Reader {
    fn take(&mut self, token: &Token, previous: &Token, next: &Token) {
        match token {
            Token::Symbol('(') => {
                let window =
                    matches!(previous, Token::Word(word) if matches!(word.as_str(), "tumble" | "hop" | "session"));
                self.outer.push(self.level);
                self.level = Level { in_from: false, wants_table: window };
            }
            Token::Symbol(')') => {
                self.level = self.outer.pop().unwrap_or_default();
                self.level.wants_table = false;
            }
            Token::Symbol(',') => self.level.wants_table = self.level.in_from,
            Token::Symbol(_) | Token::End => {}
            Token::Quoted(name) => self.name(name),
            Token::Word(word) => match word.as_str() {
                "from" | "join" => self.level = Level { in_from: true, wants_table: true },
                "select" | "where" | "group" | "having" | "order" | "union" | "except" | "intersect" | "limit"
                | "on" => {
                    self.level = Level::default();
                }
                "table" | "lateral" | "only" => {}
                "tumble" | "hop" | "session" if *next == Token::Symbol('(') => self.level.wants_table = false,
                "as" if *next == Token::Symbol('(') => {
                    if let Token::Word(name) | Token::Quoted(name) = previous {
                        self.own.insert(name.clone());
                    }
                }
                name => self.name(name),
            },
        }
    }

    fn name(&mut self, name: &str) {
        if std::mem::take(&mut self.level.wants_table) {
            self.tables.insert(name.to_owned());
        }
    }
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\'' => (None, quoted(rest, '\'').1),
            '"' | '`' => {
                let (name, length) = quoted(rest, first);
                (Some(Token::Quoted(name)), length)
            }
            '-' if rest.starts_with("--") => (None, rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => (None, rest.find("*/").map_or(rest.len(), |end| end + 2)),
            c if c.is_alphanumeric() || c == '_' => {
                let word: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let length = word.len();
                (Some(Token::Word(word.to_lowercase())), length)
            }
            c if c.is_whitespace() => (None, c.len_utf8()),
            c => (Some(Token::Symbol(c)), c.len_utf8()),
        };
        tokens.extend(token);
        rest = rest.get(length..).unwrap_or_default();
    }
    tokens
}

/// Content and length of a text in quotes, which are doubled inside it; to the end when it is not closed.
fn quoted(text: &str, quote: char) -> (String, usize) {
    let mut content = String::new();
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            content.push(c);
        } else if chars.next_if(|(_, next)| *next == quote).is_some() {
            content.push(quote);
        } else {
            return (content, at + quote.len_utf8());
        }
    }
    (content, text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_query_reads() {
        for (sql, tables) in [
            ("SELECT a FROM orders WHERE b = 'FROM x'", vec!["orders"]),
            ("SELECT * FROM TUMBLE(Orders, ts, INTERVAL '1 minute') GROUP BY window_start, window_end", vec!["orders"]),
            ("select 1 from hop(table orders, ts, interval '1 s', interval '2 s') t", vec!["orders"]),
            ("SELECT a FROM x UNION ALL SELECT b FROM \"Y\" -- FROM z", vec!["Y", "x"]),
            ("SELECT a FROM x, y AS b, (SELECT c FROM z) AS d /* FROM w */", vec!["x", "y", "z"]),
            ("WITH t AS (SELECT a FROM x) SELECT a FROM t JOIN u ON t.a = u.a", vec!["u", "x"]),
            ("SELECT tumble, a FROM tumble", vec!["tumble"]),
            ("SELECT 'it''s' || \"from\" FROM x", vec!["x"]),
            ("SELECT 'unclosed FROM x", vec![]),
        ] {
            assert_eq!(tables_read(sql).into_iter().collect::<Vec<_>>(), tables, "{sql}");
        }
    }
}
