//! The `flowaudit` program; see the library for what it does.

#![forbid(unsafe_code)]

/// Flows are made by one thread and let go by another, which the C library's allocator makes both wait for.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    flowaudit::cli::main()
}
