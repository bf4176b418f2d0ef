//! A gRPC server and client over mutual TLS, plain ones over TLS, and a maker of certificates for them.
//!
//! They are the real traffic behind the captures of rows that no released component speaks, and the
//! two ends of the tests that run flowaudit between network namespaces. Keys of every session are
//! appended to the file that SSLKEYLOGFILE names, if it names one.

#![forbid(unsafe_code)]

mod certificates;
mod client;
mod messages;
mod server;
mod short;
mod tls;
mod web;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// gRPC over mutual TLS, to be captured.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a certificate authority, or a leaf certificate of one.
    #[command(subcommand)]
    Certificate(certificates::Command),
    /// Answer gRPC calls until stopped, or until --connections have ended.
    Server(server::Arguments),
    /// Make gRPC calls on one connection.
    Client(client::Arguments),
    /// Answer one HTTP/1.0 request a TLS connection until stopped.
    WebServer(tls::Serving),
    /// Make one HTTP/1.0 request over TLS.
    WebClient(tls::Calling),
    /// Answer short connections in clear until stopped.
    ShortServer(short::Serving),
    /// Make many short connections in clear, at a steady rate.
    ShortClient(short::Calling),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutual-grpc: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Certificate(command) => certificates::run(&command),
        Command::Server(arguments) => runtime.block_on(server::run(arguments)),
        Command::Client(arguments) => runtime.block_on(client::run(arguments)),
        Command::WebServer(arguments) => runtime.block_on(web::serve(arguments)),
        Command::WebClient(arguments) => runtime.block_on(web::request(arguments)),
        Command::ShortServer(arguments) => runtime.block_on(short::serve(arguments)),
        Command::ShortClient(arguments) => runtime.block_on(short::call(arguments)),
    }
}

/// tonic's errors say only "transport error"; what failed is in their sources.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
