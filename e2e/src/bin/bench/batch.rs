//! The peer: DataFusion's batch engine, the same GROUP BY over the same batches in memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use arrow::record_batch::RecordBatch;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt as _;
use runtime::connectors::{Next, registry};

use crate::pipelines::{self, Shape};

const QUERY: &str = "SELECT date_bin(INTERVAL '1 second', ts) AS w, customer, COUNT(*) AS orders, SUM(cents) AS total \
                     FROM orders GROUP BY 1, 2";

/// CPU-seconds per million rows of the query alone: batches are made before, results dropped as they come.
pub(crate) fn cpu_seconds(rows: u64) -> Result<f64> {
    let partitions = [generate(rows, 0)?, generate(rows, 1)?];
    let schema = partitions[0].first().context("no rows")?.schema();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let cpu = runtime.block_on(async {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(2));
        context.register_table("orders", Arc::new(MemTable::try_new(schema, partitions.to_vec())?))?;
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            let before = process_cpu();
            let mut stream = context.sql(QUERY).await?.execute_stream().await?;
            while let Some(batch) = stream.next().await {
                drop(batch?);
            }
            best = best.min(process_cpu().saturating_sub(before).as_secs_f64());
        }
        anyhow::Ok(best)
    })?;
    Ok(cpu / (rows as f64 / 1e6))
}

/// Every second block of the generator, as the engine's two subtasks read them.
fn generate(rows: u64, subtask: usize) -> Result<Vec<RecordBatch>> {
    let manifest = pipelines::windowed(rows, &Shape::default());
    let report = api::manifest::read("bench.yaml", manifest.as_bytes(), &[]);
    let (manifest, _) = report.into_manifest().map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let source = manifest.pipeline.spec.sources.first().context("the manifest has a source")?;
    let columns = ["ts", "customer", "cents"].map(str::to_owned);
    let connector = registry::build_source(source, &columns, &BTreeMap::new(), "bench")?;
    let splits: Vec<_> = connector.resolve(2)?.into_iter().skip(subtask).take(1).collect();
    let mut reader = connector.open(splits.into())?;
    let mut batches = Vec::new();
    loop {
        match reader.next(Duration::ZERO)? {
            Next::Batch(batch) => batches.push(batch.rows),
            Next::Watermark(_) | Next::Wait(_) => {}
            Next::Ended => return Ok(batches),
        }
    }
}

/// User and system time of this process.
pub(crate) fn process_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
