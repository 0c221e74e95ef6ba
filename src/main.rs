//! The cascade program.

fn main() {}
