//! A controller that dies behind any of its requests, and one that goes on.

use crate::end::{difference, end, judge};
use crate::scenarios;
use crate::trouble::{Death, Plan, Trouble};
use crate::world::{Scenario, World, live};

/// Failures that are told.
const MOST_TOLD: usize = 8;

/// Lives a scenario in a runtime of its own, whose time is paused.
///
/// # Errors
/// What is not as it should be, in words.
pub(crate) fn run<T>(scenario: &Scenario, plan: Plan, look: impl FnOnce(&World) -> T) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let plan_told = format!("{}, {plan:?}", scenario.name);
    let lived = runtime.block_on(async {
        let world = live(scenario, Trouble::new(plan)).await?;
        judge(&world).map_err(|wrong| format!("{wrong}\n{}", world.told()))?;
        Ok(look(&world))
    });
    lived.map_err(|wrong: String| format!("{plan_told}: {wrong}"))
}

#[test]
fn a_controller_may_die_behind_any_request() {
    let (mut plans, mut wrong) = (0, vec![]);
    for scenario in scenarios::all() {
        let undisturbed = run(&scenario, Plan::Nothing, |world| {
            println!("{}: {} requests\n{}", scenario.name, world.trouble.requests(), world.trouble.told());
            (end(world), world.trouble.writes())
        });
        let (undisturbed, writes) = match undisturbed {
            Ok(lived) => lived,
            Err(told) => {
                wrong.push(told);
                continue;
            }
        };
        for at in 1..=writes {
            for (is_after, is_stale) in [(false, false), (true, false), (false, true), (true, true)] {
                let death = Death { at, is_after, is_stale };
                plans += 1;
                let ended = run(&scenario, Plan::Death(death), |world| {
                    assert_eq!(world.trouble.struck().get("death"), Some(&1), "{}: nobody died", scenario.name);
                    (end(world), world.told())
                });
                match ended {
                    Ok((end, _)) if end == undisturbed => {}
                    Ok((end, told)) => {
                        let difference = difference(&end, &undisturbed);
                        wrong.push(format!("{}, {death:?}:\n{difference}\n{told}", scenario.name));
                    }
                    Err(told) => wrong.push(told),
                }
            }
        }
    }
    println!("{plans} deaths");
    let told = wrong.iter().take(MOST_TOLD).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(wrong.is_empty(), "{} of {plans} end otherwise:\n{told}", wrong.len());
}
