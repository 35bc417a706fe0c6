//! What a gate promises: by name, and in any order of events.

mod named;
mod simulation;
mod world;
