//! The binary: exit codes and the allocator.

use clap::Parser;

/// Fewer and cheaper page faults than the system's allocator under many threads. Without huge pages
/// (feature `no_thp`): a sidecar's heap is small and scattered, and whole 2 MiB pages double it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    weir::cli::main(weir::cli::Cli::parse())
}
