//! What the controller decides: scenes in, steps and status out; and a small world in which decisions are carried out until
//! nothing is left to do.

mod golden;
mod scene;
mod world;
