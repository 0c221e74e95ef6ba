//! The cascade program: parse, run, exit code.

use std::process::ExitCode;

use cascade::cli::{self, failure};

fn main() -> ExitCode {
    failure::catch_bugs(|| {
        let args = match cli::parse(std::env::args_os()) {
            Ok(args) => args,
            Err(code) => return code,
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        match runtime {
            Ok(runtime) => runtime.block_on(cli::run(args)),
            Err(source) => cli::refuse(&args.global, "cannot start", &source),
        }
    })
}
