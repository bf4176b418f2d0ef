//! The `h2` crate's frame codec as a decoder of header blocks: bytes in, messages out.
//!
//! This is the only place that names `h2`. Its codec is behind the `unstable` feature, so the version is
//! pinned; only frames of header blocks are given to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use h2::Codec;
use h2::frame::{Frame, Headers};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::BLOCK_CAP;
use crate::protocol::authorization::{CredentialFields, Credentials};

/// The largest dynamic table a sender may ask for, in bytes as RFC 7541 section 4.1 counts them.
///
/// What the receiver's SETTINGS_HEADER_TABLE_SIZE allowed is not enforced, so that a lost or late SETTINGS
/// does not matter: the sender says in its own header blocks which size it uses (RFC 7541 section 6.3).
const TABLE_CAP: usize = 64 * 1024;

/// How many bytes are handed to the codec at a time.
const FEED_CAP: usize = 4096;

/// Bytes that a decoder takes which was fed nothing, at most.
const EMPTY: usize = 32 * 1024;
/// How much a byte of a header block may add: it can name a field of the table, which then is there twice.
const GROWTH: usize = 48;
/// The most that is added in this way, whatever is sent.
const FULL: usize = 448 * 1024;

/// Decodes the header blocks of one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    codec: Codec<Feed, Bytes>,
    /// Bytes of header blocks so far.
    fed: usize,
}

/// What is read of one decoded header block.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The stream it came on.
    pub stream: u32,
    /// It has a `:method`.
    pub method: bool,
    /// `:status`.
    pub status: Option<u16>,
    /// `:authority`, or else `host`, raw.
    pub authority: Option<&'a [u8]>,
    /// Its credentials.
    pub credentials: Credentials,
    /// Its content type starts `application/grpc`.
    pub grpc: bool,
    /// Its fields were over the cap and some are missing here.
    pub over_cap: bool,
}

/// The codec refused a frame. Its table may be out of step with the sender's: no later block is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Decoder {
    /// A decoder with an empty table.
    pub fn new() -> Decoder {
        let mut codec = Codec::with_max_recv_frame_size(Feed::default(), BLOCK_CAP);
        codec.set_max_recv_header_list_size(BLOCK_CAP);
        codec.set_recv_header_table_size(TABLE_CAP);
        Decoder { codec, fed: 0 }
    }

    /// Bytes on the heap, at most: what the codec keeps it does not tell.
    pub fn held(&self) -> usize {
        EMPTY + self.fed.saturating_mul(GROWTH).min(FULL)
    }

    /// Takes the next bytes of HEADERS, PUSH_PROMISE and CONTINUATION frames, and hands out every header
    /// block of HEADERS that they complete.
    pub fn feed(&mut self, bytes: &[u8], mut message: impl FnMut(Message<'_>)) -> Result<(), Refused> {
        let mut context = Context::from_waker(Waker::noop());
        self.fed = self.fed.saturating_add(bytes.len());
        for piece in bytes.chunks(FEED_CAP) {
            self.codec.get_mut().give(piece);
            loop {
                match Pin::new(&mut self.codec).poll_next(&mut context) {
                    Poll::Pending => break,
                    Poll::Ready(Some(Ok(Frame::Headers(headers)))) => read(headers, &mut message),
                    Poll::Ready(Some(Ok(_))) => {}
                    // Even an error that h2 holds to one stream may have left a block undecoded.
                    Poll::Ready(Some(Err(_)) | None) => return Err(Refused),
                }
            }
        }
        Ok(())
    }
}

fn read(headers: Headers, message: &mut impl FnMut(Message<'_>)) {
    let stream = u32::from(headers.stream_id());
    let over_cap = headers.is_over_size();
    let (pseudo, fields) = headers.into_parts();
    let mut credentials = CredentialFields::default();
    if let Some(path) = &pseudo.path {
        credentials.target(path.as_bytes());
    }
    for (name, value) in &fields {
        credentials.field(name.as_str().as_bytes(), value.as_bytes());
    }
    let grpc =
        fields.get_all("content-type").iter().any(|value| value.as_bytes().starts_with(b"application/grpc"));
    let host = fields.get("host").map(|host| host.as_bytes());
    message(Message {
        stream,
        method: pseudo.method.is_some(),
        status: pseudo.status.map(|status| status.as_u16()),
        authority: pseudo.authority.as_deref().map(str::as_bytes).or(host),
        credentials: credentials.credentials(),
        grpc,
        over_cap,
    });
}

/// The in-memory reader under the codec: dry means pending, never the end.
#[derive(Debug, Default)]
struct Feed {
    bytes: Vec<u8>,
    read: usize,
}

impl Feed {
    fn give(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

impl AsyncRead for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.bytes.get(self.read..).unwrap_or_default();
        if rest.is_empty() {
            return Poll::Pending;
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(rest.get(..count).unwrap_or_default());
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

/// The codec's type asks for a writer too; it is never written to.
impl AsyncWrite for Feed {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
