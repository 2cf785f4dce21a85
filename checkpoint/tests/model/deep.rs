//! A search for graphs that do not fit into memory: depth first, one fingerprint a state, one thread.
//!
//! Breadth first keeps every world of its frontier; depth first keeps one path. The price is that a trace found is not
//! the shortest, and that the depth printed is that of the longest path walked, not of the graph.

use std::time::Instant;

use stateright::Model;

use super::Searched;
use crate::print::fingerprint;
use crate::properties::ALL;
use crate::search::Step;
use crate::steps::Config;
use crate::world::World;

const SHARDS: usize = 256;
const TO_THE_END: &str = "to the end";
/// A line for each so many states.
const PROGRESS: usize = 1_000_000;

/// A set of fingerprints at eight bytes a place; 0 is an empty place. Shards grow one at a time.
struct Known {
    shards: Vec<Shard>,
    count: usize,
}

#[derive(Clone)]
struct Shard {
    places: Vec<u64>,
    taken: usize,
}

impl Shard {
    fn insert(&mut self, print: u64) -> bool {
        if self.taken * 8 >= self.places.len() * 7 {
            let larger = vec![0; self.places.len() * 2];
            for print in std::mem::replace(&mut self.places, larger) {
                if print != 0 {
                    let place = self.place(print);
                    self.places[place] = print;
                }
            }
        }
        let place = self.place(print);
        let is_new = self.places[place] == 0;
        self.places[place] = print;
        self.taken += usize::from(is_new);
        is_new
    }

    /// Where `print` is, or belongs.
    fn place(&self, print: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = print as usize & mask;
        while self.places[place] != 0 && self.places[place] != print {
            place = (place + 1) & mask;
        }
        place
    }
}

impl Known {
    fn new() -> Self {
        Self { shards: vec![Shard { places: vec![0; 1024], taken: 0 }; SHARDS], count: 0 }
    }

    fn insert(&mut self, print: u64) -> bool {
        let is_new = self.shards[(print >> 56) as usize].insert(print);
        self.count += usize::from(is_new);
        is_new
    }

    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.places.len() * 8).sum()
    }
}

/// A world on the path, and the ways out of it that are still to be gone.
struct Visit {
    world: World,
    open: Vec<Step>,
    /// The step that led on from here.
    gone: Option<Step>,
}

impl Visit {
    fn of(config: &Config, world: World) -> Self {
        let mut open = Vec::new();
        config.actions(&world, &mut open);
        Self { world, open, gone: None }
    }
}

/// To the end, to `limit` unique states, or to the first broken property.
pub(crate) fn search_deep(name: &str, config: &Config, limit: usize) -> Searched {
    let started = Instant::now();
    let (mut known, mut generated, mut deepest) = (Known::new(), 0, 0);
    let (mut broken, mut losses) = (None, 0);
    let mut path = vec![Visit::of(config, World::default())];
    known.insert(fingerprint(&path[0].world));
    while let Some(visit) = path.last_mut() {
        let Some(step) = visit.open.pop() else {
            path.pop();
            continue;
        };
        let Some(world) = config.next_state(&visit.world, step.clone()) else { continue };
        generated += 1;
        if !known.insert(fingerprint(&world)) {
            continue;
        }
        visit.gone = Some(step);
        if world.broken != 0 {
            let says = ALL.iter().find(|(bit, ..)| world.broken & bit != 0).map_or("?", |(.., says)| says);
            broken = Some((says, path.iter().filter_map(|visit| visit.gone.clone()).collect()));
            break;
        }
        losses += usize::from(world.is_loss_reported);
        if known.count.is_multiple_of(PROGRESS) {
            let (millions, seconds) = (known.count / 1_000_000, started.elapsed().as_secs());
            println!("    {name}: {millions} million after {seconds} s, depth {}", path.len());
        }
        if known.count >= limit {
            break;
        }
        path.push(Visit::of(config, world));
        deepest = deepest.max(path.len());
    }
    let (unique, took, mib) = (known.count, started.elapsed(), known.bytes() >> 20);
    let end = if broken.is_none() && path.is_empty() { TO_THE_END } else { "cut" };
    println!("{name}: {unique} unique states of {generated}, {end}, longest path {deepest}, {took:.1?}, {mib} MiB");
    Searched { unique, generated, broken, is_complete: end == TO_THE_END, losses }
}
