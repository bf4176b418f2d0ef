//! The trace of RFC 8448 section 3, "Simple 1-RTT Handshake", and senders of records for tests.

use super::keylog::Secret;
use super::protection::RecordKey;
use super::schedule::Suite;
use crate::protocol::tls::hello::Version;
use crate::protocol::tls::record::Kind;

/// One side's sender under one secret.
pub(in crate::protocol::tls) struct Sender {
    suite: Suite,
    secret: Option<Secret>,
    key: RecordKey,
}

impl Sender {
    /// Of TLS 1.3.
    pub(in crate::protocol::tls) fn modern(cipher: u16, secret: &[u8]) -> Sender {
        let suite = Suite::of(Version::Tls13, cipher).expect("it is supported");
        let key = suite.traffic_key(secret).expect("it is as long as the hash");
        Sender { suite, secret: Secret::new(secret), key }
    }

    /// Client and server of TLS 1.2.
    pub(in crate::protocol::tls) fn classic(
        cipher: u16,
        master: &[u8],
        client_random: &[u8; 32],
        server_random: &[u8; 32],
    ) -> [Sender; 2] {
        let suite = Suite::of(Version::Tls12, cipher).expect("it is supported");
        let pair = suite.key_block(master, client_random, server_random).expect("there is room");
        pair.map(|key| Sender { suite, secret: None, key })
    }

    pub(in crate::protocol::tls) fn seal(&mut self, kind: Kind, content: &[u8], zeros: usize) -> Vec<u8> {
        self.key.seal(kind, content, zeros)
    }

    /// Goes on under the next secret.
    pub(in crate::protocol::tls) fn update(&mut self) {
        let secret = self.secret.as_ref().and_then(|secret| self.suite.updated(secret.as_bytes()));
        let secret = secret.expect("TLS 1.3");
        self.key = self.suite.traffic_key(secret.as_bytes()).expect("it is as long as the hash");
        self.secret = Some(secret);
    }
}

/// Secrets and records, in hexadecimal.
pub(in crate::protocol::tls) struct Trace {
    pub(in crate::protocol::tls) client_random: &'static str,
    pub(in crate::protocol::tls) client_handshake: &'static str,
    pub(in crate::protocol::tls) server_handshake: &'static str,
    pub(in crate::protocol::tls) client_application: &'static str,
    pub(in crate::protocol::tls) server_application: &'static str,
    pub(in crate::protocol::tls) client_finished: &'static str,
    pub(in crate::protocol::tls) client_data: &'static str,
}

pub(in crate::protocol::tls) const RFC8448: Trace = Trace {
    client_random: "cb34ecb1e78163ba1c38c6dacb196a6dffa21a8d9912ec18a2ef6283024dece7",
    client_handshake: "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
    server_handshake: "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
    client_application: "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
    server_application: "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
    client_finished: "170303003575ec4dc238cce60b298044a71e219c56cc77b0517fe9b93c7a4bfc44d87f38f80338ac98fc46deb384bd1caeacab6867d726c40546",
    client_data: "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
};

impl Trace {
    /// As a key log.
    pub(in crate::protocol::tls) fn log(&self) -> String {
        [
            ("CLIENT_HANDSHAKE_TRAFFIC_SECRET", self.client_handshake),
            ("SERVER_HANDSHAKE_TRAFFIC_SECRET", self.server_handshake),
            ("CLIENT_TRAFFIC_SECRET_0", self.client_application),
            ("SERVER_TRAFFIC_SECRET_0", self.server_application),
            ("EXPORTER_SECRET", self.server_application),
        ]
        .map(|(label, secret)| format!("{label} {} {secret}\n", self.client_random))
        .concat()
    }

    pub(in crate::protocol::tls) fn random(&self) -> [u8; 32] {
        hex(self.client_random).try_into().expect("32 bytes")
    }
}

/// The bytes of hexadecimal digits.
pub(in crate::protocol::tls) fn hex(digits: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
    (0..digits.len()).step_by(2).map(digit).collect()
}
