//! The `flowaudit` program; see the library for what it does.

fn main() -> std::process::ExitCode {
    flowaudit::cli::main()
}
