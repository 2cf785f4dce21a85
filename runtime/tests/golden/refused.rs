//! Queries that cannot run on a stream, each with the message that says why and what to write instead.
//! `cases/refused.txt`: a query, then its message after `=> `. `UPDATE=1` writes the messages anew.

use runtime::dataflow::plan;

use crate::rows::definition;

#[test]
fn refused_queries_say_why_and_what_to_write_instead() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cases/refused.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut written = String::new();
    let mut count = 0;
    for case in text.split("\n\n").filter(|case| !case.trim().is_empty()) {
        let queries: Vec<&str> = case.lines().filter(|line| !line.starts_with("=> ")).collect();
        let names = ["first", "second", "third"];
        let transforms: Vec<(&str, &str)> = names.into_iter().zip(queries.iter().copied()).collect();
        let message = match plan(&definition(&transforms)) {
            Ok(_) => panic!("was not refused: {case}"),
            Err(error) => {
                let place = error.position.map_or(String::new(), |(line, column)| format!(" ({line}:{column})"));
                format!("{error}{place}")
            }
        };
        written.push_str(&queries.join("\n"));
        written.push_str("\n=> ");
        written.push_str(&message);
        written.push_str("\n\n");
        count += 1;
    }
    assert!(count > 25, "cases were found");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(written.trim_end(), text.trim_end(), "UPDATE=1 writes {path} anew");
}
