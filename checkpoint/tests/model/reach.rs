//! Nothing gets stuck: from every reachable state with an attempt to spare, the pipeline can still get going.
//!
//! The graph is enumerated as a whole and walked backwards from the good states. A search forwards cannot show this:
//! "can still finish" is a property of a state's future, not of the state.

use std::collections::HashMap;
use std::time::Instant;

use stateright::Model;

use super::BASE;
use crate::steps::Config;
use crate::world::{Fate, Phase, World, keys};

/// Somebody runs un-fenced with everything committed, or the pipeline has finished, or the loss is known to the world.
fn is_good(world: &World) -> bool {
    let newest_is_committed =
        world.newest().is_some_and(|(_, newest)| keys(newest).all(|key| world.fate(key) == Some(Fate::Committed)));
    let runs = world.processes.iter().any(|process| match &process.phase {
        Phase::Running(coordinator) => coordinator.decided().1 && !world.log.is_sealed(process.attempt),
        Phase::Claiming(_) | Phase::Recovering(_) | Phase::Gone => false,
    });
    world.is_finished || world.is_loss_reported || (runs && newest_is_committed)
}

struct Graph {
    worlds: Vec<World>,
    /// For each state, those that lead to it.
    sources: Vec<Vec<u32>>,
}

fn enumerate(config: &Config, limit: usize) -> Graph {
    let first = World::default();
    let mut graph = Graph { worlds: vec![first.clone()], sources: vec![Vec::new()] };
    let mut known: HashMap<_, u32> = HashMap::from([(stateright::fingerprint(&first), 0)]);
    let mut next = 0;
    while next < graph.worlds.len() {
        assert!(next < limit, "the graph is larger than {limit} states: bound it");
        for world in config.next_states(&graph.worlds[next]) {
            let index = *known.entry(stateright::fingerprint(&world)).or_insert_with(|| {
                graph.worlds.push(world);
                graph.sources.push(Vec::new());
                graph.worlds.len() as u32 - 1
            });
            graph.sources[index as usize].push(next as u32);
        }
        next += 1;
    }
    graph
}

/// Counts the states with an attempt to spare from which no good state can be reached.
fn stuck(config: &Config, graph: &Graph) -> Vec<usize> {
    let mut can_finish: Vec<bool> = graph.worlds.iter().map(is_good).collect();
    let mut open: Vec<usize> = (0..can_finish.len()).filter(|index| can_finish[*index]).collect();
    while let Some(index) = open.pop() {
        for source in &graph.sources[index] {
            let source = *source as usize;
            if !can_finish[source] {
                can_finish[source] = true;
                open.push(source);
            }
        }
    }
    let has_spare = |index: &usize| graph.worlds[*index].processes.len() < usize::from(config.attempts);
    (0..graph.worlds.len()).filter(has_spare).filter(|index| !can_finish[*index]).collect()
}

fn assert_never_stuck(name: &str, config: &Config) {
    let started = Instant::now();
    let graph = enumerate(config, 400_000);
    let stuck = stuck(config, &graph);
    let spare = graph.worlds.iter().filter(|world| world.processes.len() < usize::from(config.attempts)).count();
    println!("{name}: {} states, {spare} with an attempt to spare, {:.1?}", graph.worlds.len(), started.elapsed());
    assert!(spare > 100, "too few states to mean anything");
    if let Some(first) = stuck.first() {
        panic!("{name}: {} states cannot finish, the first: {:#?}", stuck.len(), graph.worlds[*first]);
    }
}

#[test]
fn from_every_reachable_state_a_fresh_attempt_can_finish() {
    let three = Config { attempts: 3, has_retention: true, ..BASE };
    assert_never_stuck("retention", &three);
    let faulty = Config { faults: 1, has_late_puts: true, max_epoch: 2, starts_in_turn: true, ..three.clone() };
    assert_never_stuck("lost replies and late puts", &faulty);
    let expiring = Config { has_expiry: true, max_epoch: 2, items: 1, starts_in_turn: true, ..three.clone() };
    assert_never_stuck("expiry", &expiring);
    let bounded = Config { is_bounded: true, items: 1, has_stop: true, checkpoint_failures: 1, attempts: 2, ..three };
    assert_never_stuck("bounded, stops and failures", &bounded);
}

#[test]
fn a_graph_without_ways_is_noticed_as_stuck() {
    let config = Config { attempts: 2, max_epoch: 1, ..BASE };
    let graph = enumerate(&config, 10_000);
    let no_ways = Graph { worlds: graph.worlds, sources: vec![Vec::new(); graph.sources.len()] };
    assert!(!stuck(&config, &no_ways).is_empty());
}
