//! Everything that is tested from outside, in one binary.

mod cli_doctor;
mod cli_hook;
mod cli_init;
mod cli_secrets;
mod cli_usage;
mod cli_views;
mod fault_disk;
mod fault_promote;
mod fault_races;
mod fault_remote;
mod fault_save;
mod fault_syscalls;
mod flow_auto;
mod flow_hotfix;
mod flow_linear;
mod flow_message;
mod flow_people;
mod flow_promote;
mod flow_rewind;
mod flow_sandbox;
mod fuzz;
mod licences;
mod readme;
mod support;
mod tidy;
