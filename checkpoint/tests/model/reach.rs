//! Nothing gets stuck: from every reachable state with an attempt to spare, the pipeline can still get going.
//!
//! The graph is enumerated as a whole and walked backwards from the good states. A search forwards cannot show this:
//! "can still finish" is a property of a state's future, not of the state.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use stateright::Model;

use super::BASE;
use crate::print::fingerprint;
use crate::steps::Config;
use crate::world::{Fate, Phase, World, keys};

/// Somebody runs un-fenced with everything committed, or the pipeline has finished, or was
/// handed over to the next log, or the loss is known to the world.
fn is_good(world: &World) -> bool {
    let newest_is_committed =
        world.newest().is_some_and(|(_, newest)| keys(newest).all(|key| world.fate(key) == Some(Fate::Committed)));
    let runs = world.processes.iter().any(|process| match &process.phase {
        Phase::Running(coordinator) => coordinator.decided().1 && !world.log.is_sealed(process.attempt),
        Phase::Claiming(_) | Phase::Recovering(_) | Phase::Gone => false,
    });
    world.is_finished || world.is_handed_over || world.is_loss_reported || (runs && newest_is_committed)
}

/// The whole graph, without the worlds themselves.
struct Graph {
    is_good: Vec<bool>,
    /// A fresh attempt can still be started here.
    has_spare: Vec<bool>,
    /// For each state, those that lead to it.
    sources: Vec<Vec<u32>>,
}

impl Graph {
    fn add(&mut self, config: &Config, world: &World) -> u32 {
        self.is_good.push(is_good(world));
        self.has_spare.push(world.processes.len() < usize::from(config.attempts));
        self.sources.push(Vec::new());
        self.sources.len() as u32 - 1
    }
}

fn enumerate(config: &Config, limit: usize) -> Graph {
    let mut graph = Graph { is_good: Vec::new(), has_spare: Vec::new(), sources: Vec::new() };
    let first = World::default();
    let mut known = HashMap::from([(fingerprint(&first), graph.add(config, &first))]);
    let mut open = VecDeque::from([(first, 0)]);
    while let Some((world, source)) = open.pop_front() {
        assert!(known.len() < limit, "the graph is larger than {limit} states: bound it");
        for next in config.next_states(&world) {
            let index = *known.entry(fingerprint(&next)).or_insert_with(|| {
                let index = graph.add(config, &next);
                open.push_back((next, index));
                index
            });
            graph.sources[index as usize].push(source);
        }
    }
    graph
}

/// The states with an attempt to spare from which no good state can be reached.
fn stuck(graph: &Graph) -> Vec<usize> {
    let mut can_finish = graph.is_good.clone();
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
    (0..can_finish.len()).filter(|index| graph.has_spare[*index] && !can_finish[*index]).collect()
}

fn assert_never_stuck(name: &str, config: &Config) {
    let started = Instant::now();
    let graph = enumerate(config, 400_000);
    let stuck = stuck(&graph);
    let spare = graph.has_spare.iter().filter(|has_spare| **has_spare).count();
    println!("{name}: {} states, {spare} with an attempt to spare, {:.1?}", graph.is_good.len(), started.elapsed());
    assert!(spare > 100, "too few states to mean anything");
    assert!(stuck.is_empty(), "{name}: {} states cannot finish", stuck.len());
}

#[test]
fn from_every_reachable_state_a_fresh_attempt_can_finish() {
    let three = Config { attempts: 3, has_retention: true, ..BASE };
    assert_never_stuck("retention", &three);
    let faulty = Config { faults: 1, has_late_puts: true, max_epoch: 2, starts_in_turn: true, ..three };
    assert_never_stuck("lost replies and late puts", &faulty);
    let expiring = Config { has_expiry: true, max_epoch: 2, starts_in_turn: true, ..three };
    assert_never_stuck("expiry", &expiring);
    let handing_over = Config { supersedes: true, starts_in_turn: true, ..faulty };
    assert_never_stuck("hand-over to the next log", &handing_over);
    let bounded = Config { is_bounded: true, items: 1, has_stop: true, checkpoint_failures: 1, ..three };
    assert_never_stuck("bounded, stops and failures", &bounded);
}

#[test]
fn a_graph_without_ways_is_noticed_as_stuck() {
    let config = Config { attempts: 2, max_epoch: 1, ..BASE };
    let graph = enumerate(&config, 10_000);
    let no_ways = Graph { sources: vec![Vec::new(); graph.sources.len()], ..graph };
    assert!(!stuck(&no_ways).is_empty());
}
