//! The few protobuf messages exchanged, with the field numbers of loggregator-api v2, written by hand
//! so that building needs no protoc.

use prost::Message;

/// Unary call.
pub const SEND: &str = "/loggregator.v2.Ingress/Send";
/// Server streaming call.
pub const BATCHED_RECEIVER: &str = "/loggregator.v2.Egress/BatchedReceiver";

/// loggregator.v2.EgressBatchRequest, without its selectors.
#[derive(Clone, PartialEq, Message)]
pub struct EgressBatchRequest {
    /// Readers with the same shard share the stream.
    #[prost(string, tag = "1")]
    pub shard_id: String,
}

/// loggregator.v2.EnvelopeBatch.
#[derive(Clone, PartialEq, Message)]
pub struct EnvelopeBatch {
    /// The envelopes.
    #[prost(message, repeated, tag = "1")]
    pub batch: Vec<Envelope>,
}

/// loggregator.v2.Envelope, with a log as its only kind.
#[derive(Clone, PartialEq, Message)]
pub struct Envelope {
    /// Nanoseconds since the Unix epoch.
    #[prost(int64, tag = "1")]
    pub timestamp: i64,
    /// Who it is about.
    #[prost(string, tag = "2")]
    pub source_id: String,
    /// The log line.
    #[prost(message, optional, tag = "4")]
    pub log: Option<Log>,
}

/// loggregator.v2.Log, on standard output.
#[derive(Clone, PartialEq, Message)]
pub struct Log {
    /// The line.
    #[prost(bytes = "vec", tag = "1")]
    pub payload: Vec<u8>,
}

/// loggregator.v2.SendResponse.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SendResponse {}

/// Envelopes in one batch, as the agents send them.
const BATCH: u32 = 10;

/// A batch of log lines; `number` makes batches differ.
pub fn batch(number: u32) -> EnvelopeBatch {
    let envelope = |line: u32| Envelope {
        timestamp: 1_795_000_000_000_000_000 + i64::from(line),
        source_id: "doppler".to_owned(),
        log: Some(Log { payload: format!("line {line} of the test traffic").into_bytes() }),
    };
    let first = number.wrapping_mul(BATCH);
    EnvelopeBatch { batch: (0..BATCH).map(|line| envelope(first.wrapping_add(line))).collect() }
}
