//! The one path from a component to an API server, and the ports (time, randomness) that let a simulation replay.

pub mod ports;

pub use ports::{Clock, OsRng, Rng, SeededRng, SystemClock, TokioClock};
