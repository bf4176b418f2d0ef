//! One HTTP/1.0 exchange over rustls, which every stack's test tools can be the other end of.

use std::error::Error;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::{Calling, Serving};

/// Longest one connection may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer a client reads, in bytes.
const LONGEST: u64 = 1 << 20;
const ALPN: &[u8] = b"http/1.1";

/// Answers one request a connection until stopped.
pub async fn serve(arguments: Serving) -> Result<(), Box<dyn Error>> {
    let acceptor = TlsAcceptor::from(arguments.config(ALPN)?);
    let listener = TcpListener::bind(arguments.listen).await?;
    println!("listening {}", listener.local_addr()?);
    loop {
        let (stream, peer) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match timeout(PATIENCE, answer(stream, acceptor)).await {
                Ok(Ok(())) => (),
                Ok(Err(error)) => eprintln!("{peer}: {error}"),
                Err(late) => eprintln!("{peer}: {late}"),
            }
        });
    }
}

async fn answer(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    let mut stream = BufReader::new(acceptor.accept(stream).await?);
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello from rustls\n").await?;
    stream.shutdown().await
}

/// Makes one request, and prints the answer.
pub async fn request(arguments: Calling) -> Result<(), Box<dyn Error>> {
    let config = arguments.config(ALPN)?;
    let name = ServerName::try_from(arguments.server_name)?;
    let exchange = async {
        let stream = TcpStream::connect(arguments.connect).await?;
        let mut stream = TlsConnector::from(config).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.0\r\nHost: server\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(PATIENCE, exchange).await??;
    print!("{}", String::from_utf8_lossy(&answer));
    Ok(())
}
