//! SQL in, rows in, rows out: every supported construct against stored results, against DataFusion's batch engine, and
//! against plain loops; the same at other parallelisms and with a snapshot and restore in the middle.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails with the line it stopped at")]

mod batch;
mod cases;
mod engine;
mod exact;
mod loops;
mod refused;
mod rows;
mod stored;
