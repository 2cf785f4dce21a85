//! Queries that plan well and fail over their rows, each with the message that names the operator and the window.
//! `cases/failing.txt`: a query, then its message after `=> `. `UPDATE=1` writes the messages anew.

use crate::cases::inputs;
use crate::engine::{Restart, run};
use crate::rows::definition;

#[test]
fn rows_that_have_no_result_are_an_error_that_names_the_window() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/cases/failing.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let mut written = String::new();
    let cases: Vec<&str> = text.split("\n\n").filter(|case| !case.trim().is_empty()).collect();
    assert!(cases.len() >= 4, "cases were found");
    for case in cases {
        let query = case.lines().next().unwrap();
        let definition = definition(&[("t", query)]);
        let fail = |parallelism: u32, restarts: &[Restart]| match run(&definition, &inputs(2), parallelism, restarts) {
            Ok(_) => panic!("did not fail: {query}"),
            Err(error) => error.to_string(),
        };
        let message = fail(1, &[]);
        let restart = [Restart { after: 3, parallelism: 2 }];
        assert_eq!(fail(1, &restart), message, "the sum is exact before and after a restore: {query}");
        written += &format!("{query}\n=> {message}\n\n");
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &written).unwrap();
    }
    assert_eq!(written.trim_end(), text.trim_end(), "UPDATE=1 writes {path} anew");
}
