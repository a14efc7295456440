//! The binary: exit codes and the allocator.

use clap::Parser;

/// Fewer and cheaper page faults than the system's allocator under many threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir::cli::main(weir::cli::Cli::parse())
}
