//! The benchmark's smallest form, so that it runs when it is needed.

use std::process::Command;

use anyhow::{Result, ensure};

#[test]
fn the_benchmark_from_topic_to_topic_runs_and_its_output_is_right() -> Result<()> {
    let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(["kafka", "--smoke"]).output()?;
    let told = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{told}\n{failed}");
    // Two as fast as can be, three at a steady rate; each has compared its output.
    ensure!(told.matches("| Onceward |").count() == 5, "{told}");
    Ok(())
}
