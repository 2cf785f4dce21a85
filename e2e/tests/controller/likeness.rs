//! Workers that follow a script are what most of the controller's tests rest on: they are held against the shipped one.

use anyhow::{Result, ensure};

/// Each life is lived by both, asked and told the same over HTTP.
#[tokio::test]
async fn the_scripted_worker_lives_as_the_real_one() -> Result<()> {
    let different = stage::likeness::differences(&e2e::site::binary()?).await?;
    ensure!(different.is_empty(), "{}", different.join("\n\n"));
    Ok(())
}
