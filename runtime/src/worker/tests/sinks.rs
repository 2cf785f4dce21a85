//! What passes between a subtask and its sink's writer besides rows.

use super::*;

async fn copying() -> (Bench, Arc<Target>) {
    let target = Arc::new(Target::default());
    let source = numbers(1_000_000);
    let first = first_epoch(&source);
    let mut bench = Bench::new(pass_plan(source, &target), &target, memory_store());
    bench.deploy(1, 1, 1, first).await;
    bench.deployed().await;
    (bench, target)
}

#[tokio::test(start_paused = true)]
async fn a_sink_without_room_holds_its_subtask_back_and_gets_every_row() {
    let (mut bench, target) = copying().await;
    bench.reads(500).await;
    target.faults.no_room.store(true, Ordering::Relaxed);
    // Told anew a quarter of a second later: by then the subtask waits.
    bench.counted().await;
    let read = |told: WorkerStatistics| told.tasks.iter().map(|task| (task.rows_read, task.times)).next().unwrap();
    let (rows, before) = read(bench.counted().await);
    let (later, after) = read(bench.counted().await);
    assert_eq!(rows, later, "it reads on although nothing can be written");
    assert!(after.backpressured_us - before.backpressured_us >= 200_000, "{before:?}, then {after:?}");
    assert!(target.refused.load(Ordering::Relaxed) > 20);
    target.faults.no_room.store(false, Ordering::Relaxed);
    bench.checkpoint(1, 2).await;
    let acknowledged = bench.acknowledged(2, 1).await;
    assert!(acknowledged[0].rows_in >= rows);
    assert_eq!(acknowledged[0].committables[0].rows, acknowledged[0].rows_in);
}

#[tokio::test(start_paused = true)]
async fn a_checkpoint_that_a_sink_declines_is_covered_by_the_next() {
    let (mut bench, target) = copying().await;
    bench.reads(500).await;
    target.faults.no_slot.store(true, Ordering::Relaxed);
    bench.checkpoint(1, 2).await;
    match bench.next().await {
        FromWorker::Declined { epoch, reason, .. } => {
            assert_eq!((epoch, reason.as_str()), (Epoch(2), "sink `out`: no free slot"));
        }
        other => panic!("{other:?}"),
    }
    target.faults.no_slot.store(false, Ordering::Relaxed);
    bench.checkpoint(1, 3).await;
    let acknowledged = bench.acknowledged(3, 1).await;
    assert_eq!(acknowledged[0].committables.len(), 1, "nothing was sealed for the one that was declined");
    assert_eq!(acknowledged[0].committables[0].rows, acknowledged[0].rows_in);
}

#[tokio::test(start_paused = true)]
async fn a_writer_learns_what_is_committed() {
    let (bench, target) = copying().await;
    let mut committed = target.committed.lock().unwrap().clone().unwrap();
    assert_eq!(*committed.borrow_and_update(), Epoch(0));
    for (attempt, epoch) in [(9, 8), (1, 3)] {
        let (attempt, epoch) = (Attempt(attempt), Epoch(epoch));
        bench.commands.send(ToWorker::Committed { attempt, epoch }).await.unwrap();
    }
    tokio::time::timeout(Duration::from_mins(1), committed.changed()).await.unwrap().unwrap();
    assert_eq!(*committed.borrow(), Epoch(3), "another attempt's commits are not ours");
}
