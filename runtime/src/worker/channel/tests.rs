use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use checkpoint::ids::{Attempt, Epoch};
use futures::poll;

use super::*;
use crate::element::{Barrier, Batch, Watermark};

/// `rows` values of 8 bytes.
fn batch(rows: usize) -> Element {
    let column = Arc::new(Int64Array::from_iter_values(0..rows as i64));
    let rows = RecordBatch::try_from_iter([("n", column as _)]).expect("one column");
    Element::Batch(Batch { rows, late_before: 0, origin: None })
}

fn barrier(epoch: u64) -> Element {
    Element::Barrier(Barrier { attempt: Attempt(1), epoch: Epoch(epoch) })
}

fn rows(element: &Element) -> usize {
    match element {
        Element::Batch(batch) => batch.rows.num_rows(),
        _ => 0,
    }
}

#[tokio::test]
async fn elements_of_all_inputs_come_in_arrival_order() {
    let (mut inbox, senders) = inbox(2, 1 << 20);
    for (sender, count) in [(0, 1), (1, 2), (1, 3), (0, 4)] {
        senders[sender].try_send(batch(count)).expect("there is room");
    }
    for (input, count) in [(0, 1), (1, 2), (1, 3), (0, 4)] {
        let (from, element) = inbox.receive().await.expect("four are there");
        assert_eq!((from, rows(&element)), (input, count));
    }
    assert!(poll!(Box::pin(inbox.receive())).is_pending());
}

#[tokio::test]
async fn a_blocked_input_waits_and_keeps_its_order() {
    let (mut inbox, senders) = inbox(2, 1 << 20);
    senders[0].try_send(batch(1)).expect("there is room");
    senders[0].try_send(batch(2)).expect("there is room");
    inbox.block(0);
    assert!(poll!(Box::pin(inbox.receive())).is_pending());
    senders[1].try_send(batch(3)).expect("there is room");
    assert_eq!(inbox.receive().await.expect("input 1").0, 1);
    inbox.unblock_all();
    assert_eq!(rows(&inbox.receive().await.expect("input 0").1), 1);
    assert_eq!(rows(&inbox.receive().await.expect("input 0").1), 2);
}

#[tokio::test]
async fn a_full_queue_holds_its_sender_until_half_of_it_is_read() {
    let (mut inbox, senders) = inbox(1, 1_000);
    let sender = &senders[0];
    for _ in 0..5 {
        sender.try_send(batch(25)).expect("five times 200 bytes fit");
    }
    assert!(matches!(sender.try_send(batch(1)), Err(NotSent::Full(_))));
    assert_eq!(inbox.queued_bytes(), 1_000);
    let mut sending = Box::pin(sender.send(batch(25)));
    assert!(poll!(&mut sending).is_pending());
    inbox.receive().await.expect("one of five");
    inbox.receive().await.expect("two of five");
    inbox.receive().await.expect("three of five");
    assert!(poll!(&mut sending).is_ready());
    assert_eq!(inbox.queued_bytes(), 600);
}

#[tokio::test]
async fn a_batch_larger_than_the_queue_passes_when_it_is_empty() {
    let (mut inbox, senders) = inbox(1, 100);
    senders[0].try_send(batch(1_000)).expect("nothing is before it");
    assert!(matches!(senders[0].try_send(batch(1)), Err(NotSent::Full(_))));
    assert_eq!(rows(&inbox.receive().await.expect("it is there").1), 1_000);
    senders[0].try_send(batch(1)).expect("the queue is empty");
}

#[tokio::test]
async fn barriers_need_no_room() {
    let (mut inbox, senders) = inbox(1, 100);
    senders[0].try_send(batch(100)).expect("the queue is empty");
    senders[0].try_send(barrier(1)).expect("barriers always pass");
    inbox.receive().await.expect("the batch");
    assert!(matches!(inbox.receive().await, Ok((0, Element::Barrier(_)))));
}

#[tokio::test]
async fn watermarks_in_a_row_become_the_highest_one() {
    let (mut inbox, senders) = inbox(1, 1_000);
    for at in [1, 5, 9] {
        senders[0].try_send(Element::Watermark(Watermark::At(at))).expect("they do not pile up");
    }
    senders[0].try_send(batch(1)).expect("there is room");
    senders[0].try_send(Element::Watermark(Watermark::At(10))).expect("there is room");
    assert!(matches!(inbox.receive().await, Ok((0, Element::Watermark(Watermark::At(9))))));
    assert!(matches!(inbox.receive().await, Ok((0, Element::Batch(_)))));
    assert!(matches!(inbox.receive().await, Ok((0, Element::Watermark(Watermark::At(10))))));
}

#[tokio::test]
async fn what_was_sent_is_read_before_the_end_of_a_sender_is_noticed() {
    let (mut inbox, senders) = inbox(2, 1_000);
    senders[1].try_send(batch(2)).expect("there is room");
    drop(senders);
    assert!(inbox.receive().await.is_ok());
    assert_eq!(inbox.receive().await.map(|(input, _)| input), Err(Closed));
}

#[tokio::test]
async fn a_sender_that_waits_learns_that_its_receiver_is_gone() {
    let (inbox, senders) = inbox(1, 100);
    senders[0].try_send(batch(100)).expect("the queue is empty");
    let mut sending = Box::pin(senders[0].send(batch(1)));
    assert!(poll!(&mut sending).is_pending());
    drop(inbox);
    assert_eq!(sending.await, Err(Closed));
    assert!(matches!(senders[0].try_send(batch(1)), Err(NotSent::Closed)));
}

#[test]
fn slices_count_what_they_show() {
    let Element::Batch(whole) = batch(1_000) else { unreachable!("a batch") };
    assert_eq!(batch_bytes(&whole.rows), 8_000);
    assert_eq!(batch_bytes(&whole.rows.slice(100, 10)), 80);
}
