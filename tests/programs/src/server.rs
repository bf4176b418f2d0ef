//! The gRPC server.

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use crate::messages::{BATCHED_RECEIVER, EgressBatchRequest, EnvelopeBatch, SEND, SendResponse, batch};
use crate::tls::{ALPN, Serving};

/// Longest a handshake may take before its connection is given up.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How the server is run.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    serving: Serving,
    /// Batches sent on each streaming call.
    #[arg(long, default_value_t = 5)]
    batches: u32,
    /// Stop after this many connections, refused ones included.
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
}

/// Serves until stopped, or until the last of the connections asked for has ended.
pub async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let config = arguments.serving.config(ALPN)?;
    let acceptor = TlsAcceptor::from(config);
    let listener = TcpListener::bind(arguments.serving.listen)
        .await
        .map_err(|error| format!("{}: {error}", arguments.serving.listen))?;
    println!("listening {}", listener.local_addr()?);
    let mut left = arguments.connections;
    let mut open = JoinSet::new();
    while left != Some(0) {
        let (stream, peer) = listener.accept().await?;
        stream.set_nodelay(true)?;
        left = left.map(|left| left - 1);
        let acceptor = acceptor.clone();
        open.spawn(async move {
            if let Err(error) = serve(stream, acceptor, arguments.batches).await {
                eprintln!("{peer}: {error}");
            }
        });
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

/// One connection, from its handshake to its end.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, batches: u32) -> Result<(), Box<dyn Error>> {
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let service =
        service_fn(move |request| async move { Ok::<_, Infallible>(answer(request, batches).await) });
    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await?;
    Ok(())
}

async fn answer(request: http::Request<Incoming>, batches: u32) -> http::Response<Body> {
    match request.uri().path() {
        SEND => {
            let mut grpc = Grpc::new(ProstCodec::<SendResponse, EnvelopeBatch>::default());
            grpc.unary(Ingress, request).await
        }
        BATCHED_RECEIVER => {
            let mut grpc = Grpc::new(ProstCodec::<EnvelopeBatch, EgressBatchRequest>::default());
            grpc.server_streaming(Egress { batches }, request).await
        }
        path => Status::unimplemented(format!("no method {path}")).into_http(),
    }
}

struct Ingress;

impl UnaryService<EnvelopeBatch> for Ingress {
    type Response = SendResponse;
    type Future = std::future::Ready<Result<Response<SendResponse>, Status>>;

    fn call(&mut self, _request: Request<EnvelopeBatch>) -> Self::Future {
        std::future::ready(Ok(Response::new(SendResponse {})))
    }
}

struct Egress {
    batches: u32,
}

type Batches = tokio_stream::Iter<Box<dyn Iterator<Item = Result<EnvelopeBatch, Status>> + Send>>;

impl ServerStreamingService<EgressBatchRequest> for Egress {
    type Response = EnvelopeBatch;
    type ResponseStream = Batches;
    type Future = std::future::Ready<Result<Response<Batches>, Status>>;

    fn call(&mut self, _request: Request<EgressBatchRequest>) -> Self::Future {
        let batches: Box<dyn Iterator<Item = _> + Send> =
            Box::new((0..self.batches).map(|number| Ok(batch(number))));
        std::future::ready(Ok(Response::new(tokio_stream::iter(batches))))
    }
}
