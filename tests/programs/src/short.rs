//! Many short connections in clear, at a steady rate: what a long audit has to keep up with and let go of.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// Longest one connection may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections open at once: fewer than a listener keeps waiting.
const OPEN: usize = 256;
/// Later than this, the rest is made as much later: a rate is kept, not caught up with.
const LATE: Duration = Duration::from_secs(1);
const REQUEST: &[u8] = b"GET /short HTTP/1.1\r\nHost: server\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/// Where the answers come from.
#[derive(clap::Args)]
pub struct Serving {
    /// Address and port to listen on; may be given several times.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    listen: Vec<SocketAddr>,
}

/// Which connections are made.
#[derive(clap::Args)]
pub struct Calling {
    /// Address and port to connect to; several are taken in turn.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    connect: Vec<SocketAddr>,
    /// Connections in all.
    #[arg(long)]
    flows: u64,
    /// Connections begun in a second.
    #[arg(long, default_value_t = 300)]
    rate: u32,
    /// Requests on each.
    #[arg(long, default_value_t = 3)]
    requests: u32,
}

/// Answers every request until stopped.
pub async fn serve(arguments: Serving) -> Result<(), Box<dyn Error>> {
    let mut listening = JoinSet::new();
    for address in arguments.listen {
        let listener = TcpListener::bind(address).await.map_err(|error| format!("{address}: {error}"))?;
        println!("listening {}", listener.local_addr()?);
        listening.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(timeout(PATIENCE, answer(stream)));
            }
        });
    }
    match listening.join_next().await {
        Some(ended) => ended?,
        None => Ok::<(), std::io::Error>(()),
    }
    .map_err(Into::into)
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; REQUEST.len()];
    while stream.read_exact(&mut request).await.is_ok() {
        stream.write_all(ANSWER).await?;
    }
    Ok(())
}

/// Makes all connections; every one must come about.
pub async fn call(arguments: Calling) -> Result<(), Box<dyn Error>> {
    let mut begun = Instant::now();
    let mut open = JoinSet::new();
    for (number, address) in (0..arguments.flows).zip(arguments.connect.iter().cycle()) {
        let due = begun + Duration::from_secs_f64(number as f64 / f64::from(arguments.rate));
        sleep_until(due).await;
        if due.elapsed() > LATE {
            begun += due.elapsed();
        }
        open.spawn(timeout(PATIENCE, request(*address, arguments.requests)));
        while open.len() >= OPEN
            && let Some(ended) = open.join_next().await
        {
            ended???;
        }
        while let Some(ended) = open.try_join_next() {
            ended???;
        }
    }
    while let Some(ended) = open.join_next().await {
        ended???;
    }
    println!("made {} connections", arguments.flows);
    Ok(())
}

async fn request(address: SocketAddr, requests: u32) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let mut answer = [0; ANSWER.len()];
    for _ in 0..requests {
        stream.write_all(REQUEST).await?;
        stream.read_exact(&mut answer).await?;
    }
    Ok(())
}
