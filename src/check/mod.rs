//! Questions about a candidate and about the world.

pub mod secrets;
