//! The cascade program: parse, run, exit code.

use std::process::ExitCode;

use cascade::cli::{self, failure};
use tokio::runtime::Builder;

fn main() -> ExitCode {
    failure::catch_bugs(|| match cli::parse(std::env::args_os()) {
        Err(code) => code,
        Ok(args) => match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
            Err(source) => cli::refuse(&args.global, "cannot start", &source),
            Ok(runtime) => {
                let code = runtime.block_on(cli::run(args));
                runtime.shutdown_background();
                code
            }
        },
    })
}
