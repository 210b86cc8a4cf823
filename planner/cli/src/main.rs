//! The `stowage` binary: everything is in the library, so that tests can call it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(stowage_cli::run(std::env::args_os()).code())
}
