use proptest::prelude::*;

use super::*;

const END: Watermark = Watermark::END;

fn at(time: Timestamp) -> Watermark {
    Watermark::At(time)
}

#[test]
fn an_epoch_is_aligned_when_every_input_delivered_it() {
    let mut inputs = Inputs::new(3);
    assert_eq!(inputs.barrier(1, Epoch(4)), Ok(Alignment::Wait));
    assert!(inputs.is_aligning());
    assert_eq!(inputs.barrier(0, Epoch(4)), Ok(Alignment::Wait));
    assert_eq!(inputs.barrier(2, Epoch(4)), Ok(Alignment::Aligned(Epoch(4))));
    assert!(!inputs.is_aligning());
    assert_eq!(inputs.barrier(2, Epoch(5)), Ok(Alignment::Wait));
}

#[test]
fn a_single_input_is_aligned_at_once() {
    let mut inputs = Inputs::new(1);
    assert_eq!(inputs.barrier(0, Epoch(1)), Ok(Alignment::Aligned(Epoch(1))));
    assert_eq!(inputs.barrier(0, Epoch(2)), Ok(Alignment::Aligned(Epoch(2))));
}

#[test]
fn a_barrier_out_of_order_is_refused() {
    let mut inputs = Inputs::new(2);
    assert!(inputs.barrier(0, Epoch(2)).is_ok());
    assert!(inputs.barrier(0, Epoch(2)).is_err(), "twice by one input");
    assert!(inputs.barrier(1, Epoch(3)).is_err(), "an epoch was skipped");
    assert!(inputs.barrier(1, Epoch(2)).is_ok());
    assert!(inputs.barrier(1, Epoch(2)).is_err(), "aligned already");
    assert!(inputs.barrier(7, Epoch(3)).is_err(), "no such input");
}

#[test]
fn the_combined_watermark_is_the_minimum_and_never_goes_back() {
    let mut inputs = Inputs::new(2);
    assert_eq!(inputs.watermark(0, at(10)), None);
    assert_eq!(inputs.watermark(1, at(7)), Some(at(7)));
    assert_eq!(inputs.watermark(1, at(5)), None);
    assert_eq!(inputs.watermark(1, at(20)), Some(at(10)));
    assert_eq!(inputs.combined(), 10);
}

#[test]
fn an_idle_input_holds_nobody_back_until_it_returns() {
    let mut inputs = Inputs::new(2);
    assert_eq!(inputs.watermark(0, at(10)), None);
    assert_eq!(inputs.watermark(1, Watermark::Idle), Some(at(10)));
    assert_eq!(inputs.watermark(0, at(30)), Some(at(30)));
    assert_eq!(inputs.watermark(1, at(20)), None, "what was told cannot be taken back");
    assert_eq!(inputs.watermark(0, at(40)), None);
    assert_eq!(inputs.watermark(1, at(35)), Some(at(35)));
}

#[test]
fn idleness_begins_with_the_last_input_and_ends_with_the_first() {
    let mut inputs = Inputs::new(2);
    assert_eq!(inputs.watermark(0, at(10)), None);
    assert_eq!(inputs.watermark(1, at(10)), Some(at(10)));
    assert_eq!(inputs.watermark(0, Watermark::Idle), None);
    assert_eq!(inputs.watermark(1, Watermark::Idle), Some(Watermark::Idle));
    assert_eq!(inputs.watermark(1, Watermark::Idle), None);
    assert_eq!(inputs.watermark(0, at(10)), Some(at(10)), "downstream must learn that somebody is back");
}

#[test]
fn the_end_comes_only_when_every_input_ended() {
    let mut inputs = Inputs::new(2);
    assert_eq!(inputs.watermark(0, Watermark::Idle), None);
    assert_eq!(inputs.watermark(1, END), Some(Watermark::Idle), "the idle one may come back with rows");
    assert!(!inputs.ended());
    assert_eq!(inputs.watermark(0, at(3)), Some(at(3)));
    assert_eq!(inputs.watermark(0, END), Some(END));
    assert!(inputs.ended());
    assert_eq!(inputs.watermark(0, Watermark::Idle), None, "an ended input is not idle");
}

#[test]
fn a_restored_subtask_keeps_what_it_told_and_waits_for_every_input_to_speak() {
    let mut inputs = Inputs::new(2);
    inputs.watermark(0, at(10));
    inputs.watermark(1, END);
    let told = inputs.snapshot();
    let mut restored = Inputs::new(2);
    restored.restore(&told);
    assert_eq!(restored.combined(), 10);
    assert_eq!(restored.watermark(0, at(12)), None, "input 1 may be another one than the one that ended");
    assert_eq!(restored.watermark(1, at(3)), None);
    assert_eq!(restored.watermark(1, END), Some(at(12)));
}

/// What one input does: watermarks rise, idleness comes and goes, at last it ends.
fn input_script() -> impl Strategy<Value = Vec<Watermark>> {
    let step = prop_oneof![3 => (0_i64..20).prop_map(Some), 1 => Just(None)];
    (prop::collection::vec(step, 0..12), any::<bool>()).prop_map(|(steps, ends)| {
        let mut now = 0;
        let mut script = Vec::new();
        for step in steps {
            script.push(step.map_or(Watermark::Idle, |by| {
                now += by;
                Watermark::At(now)
            }));
        }
        if ends {
            script.push(Watermark::END);
        }
        script
    })
}

proptest! {
    #[test]
    fn any_interleaving_tells_a_rising_watermark_below_every_live_input(
        scripts in prop::collection::vec(input_script(), 1..5),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
    ) {
        let mut inputs = Inputs::new(scripts.len());
        let mut next = vec![0; scripts.len()];
        let mut last = vec![None; scripts.len()];
        let mut told = Timestamp::MIN;
        for index in order {
            let input = index.index(scripts.len());
            let Some(watermark) = scripts[input].get(next[input]).copied() else { continue };
            next[input] += 1;
            last[input] = Some(watermark);
            if let Some(Watermark::At(combined)) = inputs.watermark(input, watermark) {
                prop_assert!(combined >= told);
                if combined > told {
                    for state in &last {
                        match state {
                            Some(Watermark::At(at)) => prop_assert!(combined <= *at),
                            Some(Watermark::Idle) => prop_assert!(combined != Timestamp::MAX),
                            None => prop_assert!(false, "an input that said nothing holds back"),
                        }
                    }
                }
                told = combined;
            }
            prop_assert_eq!(inputs.ended(), last.iter().all(|state| *state == Some(Watermark::END)));
        }
    }

    #[test]
    fn every_epoch_is_aligned_once_whatever_the_order_of_inputs(
        count in 1_usize..5,
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let mut inputs = Inputs::new(count);
        let mut delivered = vec![0_u64; count];
        let mut blocked = vec![false; count];
        let mut aligned = 0;
        for index in order {
            let input = index.index(count);
            if blocked[input] {
                continue;
            }
            delivered[input] += 1;
            match inputs.barrier(input, Epoch(delivered[input])).expect("epochs come in order") {
                Alignment::Wait => blocked[input] = true,
                Alignment::Aligned(epoch) => {
                    aligned += 1;
                    prop_assert_eq!(epoch, Epoch(aligned));
                    prop_assert!(delivered.iter().all(|epoch| *epoch == aligned));
                    blocked.fill(false);
                }
            }
        }
    }
}
