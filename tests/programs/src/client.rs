//! The gRPC client.

use std::error::Error;
use std::time::Duration;

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tonic::Request;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::messages::{BATCHED_RECEIVER, EgressBatchRequest, EnvelopeBatch, SEND, SendResponse, batch};
use crate::tls::{ALPN, Calling};

/// Longest a connection or a call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the client is run.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    calling: Calling,
    /// Unary calls to make, one after the other.
    #[arg(long, default_value_t = 3)]
    calls: u32,
    /// Server streaming calls to read to their end after those.
    #[arg(long, default_value_t = 1)]
    streams: u32,
    /// Milliseconds to wait before each call.
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pause: u64,
}

/// Makes the calls, and prints how many were answered.
pub async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let mut grpc = Grpc::new(connect(&arguments).await?);
    let pause = Duration::from_millis(arguments.pause);
    for number in 0..arguments.calls {
        tokio::time::sleep(pause).await;
        grpc.ready().await?;
        let codec = ProstCodec::<EnvelopeBatch, SendResponse>::default();
        let path = PathAndQuery::from_static(SEND);
        grpc.unary(Request::new(batch(number)), path, codec).await?;
    }
    let mut batches = 0_u32;
    for _ in 0..arguments.streams {
        tokio::time::sleep(pause).await;
        grpc.ready().await?;
        let request = EgressBatchRequest { shard_id: "test".to_owned() };
        let codec = ProstCodec::<EgressBatchRequest, EnvelopeBatch>::default();
        let path = PathAndQuery::from_static(BATCHED_RECEIVER);
        let mut stream = grpc.server_streaming(Request::new(request), path, codec).await?.into_inner();
        while stream.message().await?.is_some() {
            batches += 1;
        }
    }
    println!("calls {} batches {batches}", arguments.calls);
    Ok(())
}

async fn connect(arguments: &Arguments) -> Result<Channel, Box<dyn Error>> {
    let connector = TlsConnector::from(arguments.calling.config(ALPN)?);
    let name = ServerName::try_from(arguments.calling.server_name.clone())?;
    let address = arguments.calling.connect;
    let connect = tower::service_fn(move |_| {
        let (connector, name) = (connector.clone(), name.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let stream = connector.connect(name, stream).await?;
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The scheme is that of the authority in requests only: TLS is the connector's.
    let endpoint =
        Endpoint::from_shared(format!("http://{}:{}", arguments.calling.server_name, address.port()))?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE);
    Ok(endpoint.connect_with_connector(connect).await?)
}
