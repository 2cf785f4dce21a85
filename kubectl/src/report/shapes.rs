//! Shapes of well-known credentials, whoever wrote them.

use regex::Regex;

use super::redact::REDACTED;

/// The end of a private key, in every format that is written between such lines.
const END: &str = "-----END [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----";
/// What a log has before each line, when it was asked for times.
const TIME: &str = "([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+) )?";

/// Patterns, and what stands instead.
pub(super) struct Shapes {
    keys: Vec<(Regex, &'static str)>,
    others: Vec<(Regex, &'static str)>,
}

impl Shapes {
    pub(super) fn new() -> Self {
        let made = |patterns: Vec<(String, &'static str)>| {
            patterns.into_iter().filter_map(|(pattern, with)| Some((Regex::new(&pattern).ok()?, with))).collect()
        };
        Self { keys: made(keys()), others: made(others()) }
    }

    /// Without private keys. Before anything else is replaced: a key whose first line reads otherwise is none any more.
    pub(super) fn without_keys(&self, text: &str) -> String {
        replaced(&self.keys, text)
    }

    /// Without all the others.
    pub(super) fn without_others(&self, text: &str) -> String {
        replaced(&self.others, text)
    }
}

fn replaced(shapes: &[(Regex, &'static str)], text: &str) -> String {
    let one = |text: String, (shape, with): &(Regex, &str)| shape.replace_all(&text, *with).into_owned();
    shapes.iter().fold(text.to_owned(), one)
}

fn keys() -> Vec<(String, &'static str)> {
    let base64 = "[A-Za-z0-9+/=]";
    vec![
        // Whatever is before each of its lines, and if the log was cut in it: up to the end.
        (format!(r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY( BLOCK)?-----.*?({END}|\z)"), REDACTED),
        // Its end alone, where the log was cut before: with the lines before it that look like a key's.
        (format!(r"(?m)(^{TIME}[ \t]*{base64}*[ \t]*\r?\n)*(^{TIME}[ \t]*)?({base64}|\\[nr])*{END}"), REDACTED),
    ]
}

fn others() -> Vec<(String, &'static str)> {
    let words = [
        "password",
        "passwd",
        "secret",
        "secret_key",
        "secret-key",
        "secretkey",
        "secretaccesskey",
        "secret_access_key",
        "token",
        "api_key",
        "api-key",
        "apikey",
        "access_key",
        "credential",
        "x-amz-signature",
        "x-amz-security-token",
        "x-amz-credential",
        "sig",
    ];
    let words = words.map(any_case).join("|");
    vec![
        (r"://[^/@ \t\r\n]*:[^/@ \t\r\n]*@".to_owned(), "://<redacted>@"),
        (
            format!(r#"({})["']?[ ]*[=:][ ]*["']?([A-Za-z]+[ ]+)?[A-Za-z0-9._~+/=-]+"#, any_case("authorization")),
            "$1=<redacted>",
        ),
        (format!("({})[ ]+[A-Za-z0-9._~+/=-]{{8,}}", any_case("bearer")), "$1 <redacted>"),
        (format!(r#"({words})(\\?["'])?[ ]*[=:][ ]*(\\?["'])?[^ \t\r\n"'\\,;&}})]+"#), "$1=<redacted>"),
        (r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*".to_owned(), REDACTED),
        (r"(AKIA|ASIA)[A-Z0-9]{16}".to_owned(), REDACTED),
    ]
}

/// A pattern for a word in any case: without tables of Unicode, which are not compiled in.
fn any_case(word: &str) -> String {
    let letter = |c: char| {
        if c.is_ascii_alphabetic() {
            format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase())
        } else {
            c.to_string()
        }
    };
    word.chars().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as a log has them that was asked for times.
    fn timed(lines: &[&str]) -> String {
        let line = |(second, line): (usize, &&str)| format!("2026-01-01T10:00:{second:02}.123456789Z {line}\n");
        lines.iter().enumerate().map(line).collect()
    }

    const KEY: [&str; 5] = [
        "-----BEGIN RSA PRIVATE KEY-----",
        "MIIEowIBAAKCAQEAcanary/canary+canary",
        "canarycanarycanarycanarycanarycanary",
        "Canary==",
        "-----END RSA PRIVATE KEY-----",
    ];

    #[test]
    fn every_shape_is_a_pattern() {
        let shapes = Shapes::new();
        assert_eq!((shapes.keys.len(), shapes.others.len()), (keys().len(), others().len()));
    }

    #[test]
    fn a_private_key_over_several_lines_with_times_is_taken_out_and_nothing_else() {
        let all = [&["before"][..], &KEY, &["between-two"], &KEY, &["after"]].concat();
        let seen = Shapes::new().without_keys(&timed(&all));
        assert!(!seen.to_ascii_lowercase().contains("canary"), "{seen}");
        for kept in ["before", "between-two", "after"] {
            assert!(seen.contains(kept), "{kept} is missing in {seen}");
        }
    }

    #[test]
    fn a_private_key_is_taken_out_of_a_log_that_was_cut_in_it() {
        let cut = timed(&[&KEY[2..], &["it goes on"], &KEY[..3]].concat());
        for log in [cut.as_str(), cut.trim_end(), &cut[..cut.len() - 10], &cut.replace('\n', "\r\n")] {
            let seen = Shapes::new().without_keys(log);
            assert!(!seen.to_ascii_lowercase().contains("canary"), "{seen}");
            assert!(seen.contains("it goes on"), "{seen}");
        }
        let bare = Shapes::new().without_keys(&KEY[1..].join("\n"));
        assert_eq!(bare, REDACTED);
        assert_eq!(Shapes::new().without_keys(&KEY[1..].join("\\n")), REDACTED, "also as JSON writes it");
    }

    #[test]
    fn what_is_no_private_key_stays() {
        let log = timed(&["one", "-----BEGIN CERTIFICATE-----", "MIIB", "-----END CERTIFICATE-----"]);
        assert_eq!(Shapes::new().without_keys(&log), log);
    }
}
