//! The binary: exit codes and the allocator.

use clap::Parser;

/// Fewer and cheaper page faults than the system's allocator under many threads. Without huge pages
/// (feature `no_thp`): a sidecar's heap is small and scattered, and whole 2 MiB pages double it.
///
/// It stands in for the C library's `malloc` (feature `override`) and not beside it: so it serves C code too, and Rust
/// gets the plain call, where a `#[global_allocator]` asks for each block by its alignment, which takes twice as long.
/// To name it is what makes the linker take it in.
fn allocator() -> u32 {
    mimalloc::MiMalloc.version()
}

fn main() -> std::process::ExitCode {
    std::hint::black_box(allocator());
    weir::cli::main(weir::cli::Cli::parse())
}
