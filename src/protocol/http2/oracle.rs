//! What is read of header blocks, held against `h2`'s own codec.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use h2::Codec;
use h2::frame::Frame;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::BLOCK_CAP;
use super::cost::Left;
use super::decoder::Decoder;
use super::frame::{HEADER_LENGTH, Header};
use super::huffman;
use crate::protocol::NAME_CAP;
use crate::protocol::authorization::{CredentialFields, Credentials};

/// What is asked of one header block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    method: bool,
    status: Option<u16>,
    authority: Option<Vec<u8>>,
    credentials: Credentials,
    grpc: bool,
    over_cap: bool,
}

/// `h2`'s decoder, the table of which may be as large as ours.
struct Theirs(Codec<Feed, Bytes>);

impl Theirs {
    fn new() -> Theirs {
        let mut codec = Codec::with_max_recv_frame_size(Feed::default(), BLOCK_CAP);
        codec.set_max_recv_header_list_size(BLOCK_CAP);
        codec.set_recv_header_table_size(64 * 1024);
        Theirs(codec)
    }

    fn read(&mut self, frame: &[u8]) -> Result<Option<Said>, ()> {
        self.0.get_mut().0.extend_from_slice(frame);
        match Pin::new(&mut self.0).poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(Frame::Headers(headers)))) => {
                let over_cap = headers.is_over_size();
                let (pseudo, fields) = headers.into_parts();
                let mut credentials = CredentialFields::default();
                credentials.target(pseudo.path.as_deref().unwrap_or_default().as_bytes());
                for (name, value) in &fields {
                    credentials.field(name.as_str().as_bytes(), value.as_bytes());
                }
                let mut types = fields.get_all("content-type").iter();
                let host = fields.get("host").map(|host| host.as_bytes());
                Ok(Some(Said {
                    method: pseudo.method.is_some(),
                    status: pseudo.status.map(|status| status.as_u16()),
                    authority: pseudo.authority.as_deref().map(str::as_bytes).or(host).map(cut),
                    credentials: credentials.credentials(),
                    grpc: types.any(|value| value.as_bytes().starts_with(b"application/grpc")),
                    over_cap,
                }))
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => Ok(None),
            Poll::Ready(_) => Err(()),
        }
    }
}

fn cut(name: &[u8]) -> Vec<u8> {
    name.get(..NAME_CAP).unwrap_or(name).to_vec()
}

fn ours(decoder: &mut Decoder, frame: &[u8]) -> Result<Option<Said>, ()> {
    let (header, payload) = (Header::read(frame).unwrap(), &frame[HEADER_LENGTH..]);
    let head = decoder.feed(header, payload, true, true, &mut Left::new(u64::MAX)).map_err(|_| ())?;
    Ok(head.map(|head| Said {
        method: head.method(),
        status: head.status,
        authority: head.authority().map(<[u8]>::to_vec),
        credentials: head.credentials(),
        grpc: head.grpc(),
        over_cap: head.over_cap(),
    }))
}

/// Holds the two against each other, frame by frame, until both refuse one.
fn compare(frames: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let (mut theirs, mut decoder) = (Theirs::new(), Decoder::new());
    for (at, frame) in frames.iter().enumerate() {
        let (theirs, mut ours) = (theirs.read(frame), ours(&mut decoder, frame));
        if let (Ok(Some(theirs)), Ok(Some(ours))) = (&theirs, &mut ours) {
            // Of a name that an earlier block spelled out no text is kept.
            if ours.authority.is_none() && (at > 0 || theirs.authority.as_deref() == Some(b"")) {
                ours.authority = theirs.authority.clone();
            }
        }
        prop_assert_eq!(&theirs, &ours, "frame {}", at);
        if theirs.is_err() {
            break;
        }
    }
    Ok(())
}

/// One representation of a field.
#[derive(Clone, Debug)]
enum Written {
    Indexed(usize),
    Literal { first: u8, prefix: u8, index: usize, name: (Vec<u8>, bool), value: (Vec<u8>, bool) },
    Resized(usize),
}

impl Written {
    fn write(&self, into: &mut Vec<u8>) {
        match self {
            Written::Indexed(index) => integer(into, 0x80, 0x7f, *index),
            Written::Resized(most) => integer(into, 0x20, 0x1f, *most),
            Written::Literal { first, prefix, index, name, value } => {
                integer(into, *first, *prefix, *index);
                if *index == 0 {
                    string(into, name);
                }
                string(into, value);
            }
        }
    }
}

fn integer(into: &mut Vec<u8>, first: u8, prefix: u8, value: usize) {
    let Some(mut rest) = value.checked_sub(prefix.into()) else {
        return into.push(first | value as u8);
    };
    into.push(first | prefix);
    while rest >= 0x80 {
        into.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

fn string(into: &mut Vec<u8>, (text, is_coded): &(Vec<u8>, bool)) {
    let (text, first) = if *is_coded { (huffman::encode(text), 0x80) } else { (text.clone(), 0) };
    integer(into, first, 0x7f, text.len());
    into.extend(text);
}

fn texts(common: &'static [&'static str]) -> impl Strategy<Value = (Vec<u8>, bool)> {
    let text = prop_oneof![
        12 => proptest::sample::select(common).prop_map(|text| text.as_bytes().to_vec()),
        2 => "[a-z0-9-]{1,9}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
        1 => (200_usize..5000).prop_map(|length| vec![b'x'; length]),
    ];
    (text, any::<bool>())
}

fn written() -> impl Strategy<Value = Written> {
    let names = texts(&[
        ":authority",
        ":method",
        ":path",
        ":protocol",
        ":scheme",
        ":status",
        "authorization",
        "connection",
        "content-type",
        "cookie",
        "host",
        "te",
        "x-a",
    ]);
    let values = texts(&[
        "",
        "200",
        "401",
        "application/grpc",
        "authorization=bearer x",
        "Basic x",
        "Bearer x",
        "GET",
        "trailers",
        "/?md5=a&expires=1",
        "www.example.com",
    ]);
    // Static names that matter are among the first, and what the table has just behind 61.
    let index = prop_oneof![4 => 1_usize..64, 4 => 62_usize..70, 1 => 0_usize..200];
    let named = prop_oneof![3 => Just(0_usize), 2 => index.clone()];
    let kinds = proptest::sample::select(&[(0x40_u8, 0x3f_u8), (0x40, 0x3f), (0, 0x0f), (0x10, 0x0f)][..]);
    prop_oneof![
        8 => index.prop_map(Written::Indexed),
        12 => (kinds, named, names, values).prop_map(|((first, prefix), index, name, value)| {
            Written::Literal { first, prefix, index, name, value }
        }),
        1 => prop_oneof![0_usize..200, 4000_usize..70_000].prop_map(Written::Resized),
    ]
}

/// A block that begins as that of a request or an answer does, so that many are lawful.
fn blocks() -> impl Strategy<Value = Vec<u8>> {
    const BEGUN: &[&[u8]] = &[b"", b"\x82\x84\x86", b"\x88", b"\x83\x87\x04\x02/a"];
    let begun = proptest::sample::select(BEGUN);
    (begun, proptest::collection::vec(written(), 0..8)).prop_map(|(begun, fields)| {
        let mut block = Vec::new();
        let resized = fields.iter().filter(|field| matches!(field, Written::Resized(most) if most % 2 == 0));
        resized.for_each(|field| field.write(&mut block));
        block.extend(begun);
        let rest = fields.iter().filter(|field| !matches!(field, Written::Resized(most) if most % 2 == 0));
        rest.for_each(|field| field.write(&mut block));
        block
    })
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn blocks_that_someone_may_write_say_the_same(blocks in proptest::collection::vec(blocks(), 1..6)) {
        let frames: Vec<_> = blocks.iter().map(|block| frame(1, 4, block)).collect();
        compare(&frames)?;
    }

    #[test]
    fn any_bytes_say_the_same(blocks in proptest::collection::vec(any::<Vec<u8>>(), 1..4)) {
        let frames: Vec<_> = blocks.iter().map(|block| frame(1, 4, block)).collect();
        compare(&frames)?;
    }

    #[test]
    fn frames_with_padding_priority_and_promises_say_the_same(
        sent in proptest::collection::vec((blocks(), any::<bool>(), any::<u8>(), any::<[u8; 5]>(), 0_u8..20), 1..4),
    ) {
        let frames: Vec<_> = sent.iter().map(|(block, is_promise, flags, before, padding)| {
            let flags = 4 | flags & 0x28;
            let mut payload = Vec::new();
            payload.extend((flags & 8 != 0).then_some(*padding));
            payload.extend(match (is_promise, flags & 0x20 != 0) {
                (true, _) => &before[..4],
                (false, true) => &before[..],
                (false, false) => &[],
            });
            payload.extend(block);
            payload.extend(std::iter::repeat_n(0, if flags & 8 != 0 { *padding / 2 * 2 } else { 0 }.into()));
            frame(if *is_promise { 5 } else { 1 }, flags, &payload)
        }).collect();
        compare(&frames)?;
    }

    #[test]
    fn blocks_in_continuations_say_the_same(block in blocks(), cuts in proptest::collection::vec(0_usize..40, 1..9)) {
        let (mut frames, mut rest) = (Vec::new(), &block[..]);
        for cut in cuts {
            let (piece, more) = rest.split_at(cut.min(rest.len()));
            frames.push(frame(if frames.is_empty() { 1 } else { 9 }, 0, piece));
            rest = more;
        }
        frames.push(frame(9, 4, rest));
        // Where a frame ends within a field, h2 forgets that one before it was malformed, and it takes a table's size also
        // where a later frame begins: ours may refuse what it does not.
        let (mut theirs, mut decoder) = (Theirs::new(), Decoder::new());
        let theirs: Result<Vec<_>, _> = frames.iter().map(|frame| theirs.read(frame)).collect();
        let ours: Result<Vec<_>, _> = frames.iter().map(|frame| ours(&mut decoder, frame)).collect();
        match (theirs, ours) {
            (Ok(theirs), Ok(ours)) => {
                let said = |all: Vec<Option<Said>>| all.into_iter().flatten().map(|said| Said { authority: None, ..said }).collect::<Vec<_>>();
                prop_assert_eq!(said(theirs), said(ours));
            }
            (Err(()), ours) => prop_assert_eq!(ours, Err(())),
            (Ok(_), Err(())) => {}
        }
    }
}

/// The reader under the codec: dry means pending, never the end.
#[derive(Default)]
struct Feed(Vec<u8>);

impl AsyncRead for Feed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.0.len().min(into.remaining());
        into.put_slice(&self.0[..count]);
        self.0.drain(..count);
        if count == 0 { Poll::Pending } else { Poll::Ready(Ok(())) }
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
