//! A controller that dies behind any of its requests, and one that goes on.

use crate::end::{end, judge};
use crate::scenarios;
use crate::trouble::{Death, Plan, Trouble};
use crate::world::{Scenario, World, live};

pub(crate) fn run(scenario: &Scenario, plan: Plan, look: impl FnOnce(&World)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let world = live(scenario, Trouble::new(plan)).await;
        if let Err(wrong) = judge(&world) {
            panic!("{}: {wrong}\n{}", scenario.name, world.told());
        }
        look(&world);
    });
}

#[test]
fn a_controller_may_die_behind_any_request() {
    let mut plans = 0;
    for scenario in scenarios::all() {
        let (mut undisturbed, mut writes) = (serde_json::Value::Null, 0);
        run(&scenario, Plan::Nothing, |world| {
            undisturbed = end(world);
            writes = world.trouble.writes();
            println!("{}: {writes} changing requests of {}", scenario.name, world.trouble.requests());
        });
        for at in 1..=writes {
            for (is_after, is_stale) in [(false, false), (true, false), (false, true), (true, true)] {
                let death = Death { at, is_after, is_stale };
                run(&scenario, Plan::Death(death), |world| {
                    assert_eq!(world.trouble.struck().get("death"), Some(&1), "{}: nobody died", scenario.name);
                    let end = end(world);
                    assert!(
                        end == undisturbed,
                        "{}, {death:?}:\n{:#}\nis not\n{:#}\n{}",
                        scenario.name,
                        end,
                        undisturbed,
                        world.told()
                    );
                });
                plans += 1;
            }
        }
    }
    println!("{plans} deaths");
}
