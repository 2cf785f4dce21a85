//! The store's port over a real server: what every store does, and what is made of messages that are lost.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use checkpoint::ids::{Attempt, LogIndex, Nonce, Slot};
use checkpoint::log::{Reply, Request};
use checkpoint::record::{Entry, Position, Record, Released};
use e2e::s3::{Bucket, Fault, Gateway, Proxy};
use runtime::clock::{SeededRandom, SystemClock};
use runtime::connectors::Retry;
use runtime::coordinator::Log;
use runtime::store::conformance::{conforms, keeps_within_itself, lists_many};
use runtime::store::probe::{ProbeError, probe};
use runtime::store::{BucketStore, CheckpointStore as _, Created};

const AT: Position = Position { attempt: Attempt(1), slot: Slot(0) };

fn append(nonce: u128) -> Request {
    Request::CreateSlot(AT, Arc::new(Entry { nonce: Nonce(nonce), record: Record::Released(Released::Stopped) }))
}

fn log(store: &Arc<BucketStore>) -> Log {
    Log::new(Arc::clone(store) as _, LogIndex(0), Arc::new(SystemClock))
}

#[tokio::test]
async fn the_store_in_a_bucket_conforms() -> Result<()> {
    let gateway = Gateway::start()?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let store = bucket.open()?;
    conforms(store.as_ref()).await.map_err(anyhow::Error::msg)?;
    keeps_within_itself(store.as_ref()).await.map_err(anyhow::Error::msg)?;
    lists_many(store.as_ref()).await.map_err(anyhow::Error::msg)?;
    // A prefix is not another that begins so, and what lies beside it is not seen.
    std::fs::create_dir_all(bucket.objects().with_file_name("orders-2"))?;
    std::fs::write(bucket.objects().with_file_name("orders-2").join("x"), "of somebody else")?;
    ensure!(!store.list("").await?.iter().any(|name| name.contains('x')), "it looks beyond its prefix");
    let address = store.address("0/attempts/1/3");
    ensure!(address == "s3://shop/prod/orders/0/attempts/1/3", "{address}");
    Ok(())
}

#[tokio::test]
async fn a_large_part_comes_back_as_it_was_sent() -> Result<()> {
    let gateway = Gateway::start()?;
    let store = Bucket::new(&gateway, "shop")?.open()?;
    let body: Vec<u8> = (0..24_u32 << 20).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    ensure!(store.create("0/attempts/1/parts/large", body.clone().into()).await? == Created::New, "it is new");
    let read = store.read("0/attempts/1/parts/large").await?.context("it is there")?;
    ensure!(read == body, "{} bytes came back otherwise than sent", read.len());
    Ok(())
}

#[tokio::test]
async fn a_lost_reply_leaves_the_outcome_unknown_and_reading_tells_it() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let store = Bucket::new(&gateway, "shop")?.through(&proxy.address()).open()?;
    proxy.inject(("PUT", "/attempts/1/0"), Fault::LoseReply, 1, 1);
    let log = log(&store);
    let answer = log.carry_out(append(7)).await?;
    ensure!(answer == Reply::Unknown && proxy.injected() == 1, "{answer:?}");
    let Reply::Entry(Some(found)) = log.carry_out(Request::ReadSlot(AT)).await? else {
        anyhow::bail!("it was applied")
    };
    ensure!(found.nonce == Nonce(7), "it is ours");
    ensure!(log.carry_out(append(8)).await? == Reply::Exists, "and nobody else's");
    Ok(())
}

#[tokio::test]
async fn a_lost_request_leaves_the_outcome_unknown_and_is_sent_again() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let store = Bucket::new(&gateway, "shop")?.through(&proxy.address()).open()?;
    proxy.inject(("PUT", "/attempts/1/0"), Fault::LoseRequest, 1, 1);
    let log = log(&store);
    ensure!(log.carry_out(append(7)).await? == Reply::Unknown, "nobody answered");
    ensure!(log.carry_out(Request::ReadSlot(AT)).await? == Reply::Entry(None), "it never arrived");
    ensure!(log.carry_out(append(7)).await? == Reply::Created && proxy.injected() == 1, "the same bytes again");
    Ok(())
}

#[tokio::test]
async fn answers_of_reads_and_lists_that_are_lost_are_errors_and_never_nothing() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let store = Bucket::new(&gateway, "shop")?.through(&proxy.address()).open()?;
    store.create("0/attempts/1/claim", "one".into()).await?;
    proxy.inject(("GET", ""), Fault::LoseReply, 1, 2);
    let read = store.read("0/attempts/1/claim").await.unwrap_err();
    let listed = store.list("").await.unwrap_err();
    ensure!((read.retry, listed.retry) == (Retry::Backoff, Retry::Backoff), "{read} {listed}");
    ensure!(proxy.injected() == 2, "both were lost");
    ensure!(store.list("").await? == ["0/attempts/1/claim"], "it is there");
    Ok(())
}

#[tokio::test]
async fn a_server_that_ignores_the_condition_is_refused_by_the_probe() -> Result<()> {
    let gateway = Gateway::start()?;
    let proxy = Proxy::start(&gateway.address())?;
    let bucket = Bucket::new(&gateway, "shop")?;
    let store = bucket.through(&proxy.address()).open()?;
    probe(store.as_ref(), &SeededRandom::new(1)).await?;
    proxy.inject(("PUT", "/probe/"), Fault::Forget(bucket.buckets()), 2, 1);
    let refused = probe(store.as_ref(), &SeededRandom::new(2)).await.unwrap_err();
    let wanted = "an existing object was created again";
    ensure!(matches!(refused, ProbeError::Unfit { broken, .. } if broken == wanted), "{refused}");
    ensure!(proxy.injected() == 1, "it was the condition");
    Ok(())
}
