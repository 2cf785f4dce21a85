//! The worker that follows a script beside the real one: the same states in the same order, the same fields set in each of
//! them, the same end.

mod lives;
mod real;
mod scripted;
mod seen;
