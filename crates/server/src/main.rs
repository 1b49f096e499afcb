//! Serves a diffusion language model over HTTP.

use std::process::ExitCode;

fn main() -> ExitCode {
    diffulex_server::main()
}
