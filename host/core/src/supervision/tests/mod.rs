//! Small cases by hand, random trees against a model, and random waits.

mod cases;
mod model;
mod rng;
mod trees;
mod waits;
