//! Everything that is tested from outside, in one binary.

mod cli_hook;
mod cli_init;
mod cli_usage;
mod cli_views;
mod support;
mod tidy;
