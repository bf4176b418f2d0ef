//! Differences that no rule explains: capture, questions, how many, and why.

/// One kept explanation.
pub struct Known {
    /// The capture, below the corpus.
    pub file: &'static str,
    /// How the questions begin.
    pub questions: &'static str,
    /// How many answers differ.
    pub count: usize,
    /// Why.
    pub why: &'static str,
}

const fn known(file: &'static str, questions: &'static str, count: usize, why: &'static str) -> Known {
    Known { file, questions, count, why }
}

const MALFORMED: &str = "a malformed message: tshark shows what it can, we take all or nothing";
const DRAFT: &str = "a draft of TLS 1.3 whose ServerHello has another format";
const NO_START: &str = "the capture begins inside the connection: tshark waits for what came before";
const INSIDE: &str = "the capture begins inside the server's handshake, and does not show what it is";
const REFUSED: &str =
    "a request line or field that HTTP does not allow: it counts as unread, or the flow as none";
const HOLES: &str = "tshark loses its place behind bytes that the capture lacks or holds twice";
const BIG_TCP: &str = "BIG TCP: this tshark takes the length 0 literally";
const NO_PORTS: &str = "tshark leaves out ports, or type and code, that it does not decode";
const LEFT_OUT: &str = "tshark shows the ports, and leaves the malformed packet out of its conversations";
const ROUTING: &str = "a routing header: tshark counts for the last address, we for the one on the packet";

/// Every kept explanation.
pub const KNOWN: &[Known] = &[
    known(
        "arkime/tests/pcap/ah-esp.pcap",
        "Community ID, other protocols",
        1,
        "ESP behind AH: tshark stops at AH",
    ),
    known(
        "arkime/tests/pcap/arkime_synthetic.pcap",
        "Community ID, TCP and UDP",
        1,
        "beside a tunnel: tshark gives what is inside",
    ),
    known("arkime/tests/pcap/arkime_synthetic.pcap", "TLS", 7, MALFORMED),
    known("arkime/tests/pcap/arkime_synthetic.pcap", "UDP five-tuple", 1, LEFT_OUT),
    known(
        "arkime/tests/pcap/http2-nghttp2.pcap",
        "HTTP/2 requests",
        1,
        "a request that the server promised is none of the client's",
    ),
    known("arkime/tests/pcap/tls13.pcap", "TLS", 3, DRAFT),
    known("chrissanders-packets/http_espn.pcapng", "HTTP/1 answers", 2, HOLES),
    known(
        "chrissanders-packets/icmp_traceroute.pcapng",
        "Community ID, other protocols",
        1,
        "of an ICMP error that quotes ICMP, tshark takes parts of both",
    ),
    known("chrissanders-packets/weather_working.pcapng", "HTTP/1 requests", 1, REFUSED),
    known("mercury/test/afl_data/corner-cases.pcap", "TLS", 9, NO_START),
    known("mercury/test/afl_data/encrypted_handshake_cert_false_positive.pcap", "TLS", 3, MALFORMED),
    known("mercury/test/afl_data/multi_handshake_cert.pcap", "TLS", 3, NO_START),
    known("mercury/test/afl_data/server_hello_no_ext.pcap", "TLS", 3, NO_START),
    known("mercury/test/data/new-stats-telemetry-test.pcap", "TLS", 3, NO_START),
    known("mercury/test/data/top_100_fingerprints.pcap", "TLS", 8, MALFORMED),
    known("mercury/unit_tests/pcaps/top_100_fingerprints.pcap", "TLS", 8, MALFORMED),
    known("nDPI/tests/cfgs/default/pcap/1kxun.pcap", "HTTP/1 requests", 2, HOLES),
    known("nDPI/tests/cfgs/default/pcap/KakaoTalk_chat.pcap", "TLS", 7, NO_START),
    known("nDPI/tests/cfgs/default/pcap/KakaoTalk_talk.pcap", "HTTP/1 answers", 1, HOLES),
    known("nDPI/tests/cfgs/default/pcap/WebattackRCE.pcap", "HTTP/1 requests", 3, REFUSED),
    known(
        "nDPI/tests/cfgs/default/pcap/capwap.pcap",
        "Community ID, TCP and UDP",
        1,
        "beside a tunnel: tshark gives what is inside",
    ),
    known("nDPI/tests/cfgs/default/pcap/fuzz-2006-09-29-28586.pcap", "HTTP", 7, REFUSED),
    known(
        "nDPI/tests/cfgs/default/pcap/fuzz-2020-02-16-11740.pcap",
        "Community ID, other protocols",
        1,
        NO_PORTS,
    ),
    known("nDPI/tests/cfgs/default/pcap/gnutella.pcap", "HTTP/1 requests", 3, REFUSED),
    known("nDPI/tests/cfgs/default/pcap/http-manipulated.pcap", "HTTP/1 requests", 1, REFUSED),
    known("nDPI/tests/cfgs/default/pcap/instagram.pcap", "HTTP/1 answers", 1, HOLES),
    known(
        "nDPI/tests/cfgs/default/pcap/ndpi_match_string_subprotocol__error.pcapng",
        "HTTP/1 answers",
        1,
        REFUSED,
    ),
    known("nDPI/tests/cfgs/default/pcap/netflix.pcap", "HTTP/1 answers", 1, HOLES),
    known("nDPI/tests/cfgs/default/pcap/riot.pcapng", "TLS server certificate", 1, INSIDE),
    known("nDPI/tests/cfgs/default/pcap/tls_cipher_lens.pcap", "TLS", 6, MALFORMED),
    known(
        "nDPI/tests/cfgs/default/pcap/tls_client_certificate_with_missing_server_one.pcapng",
        "TLS client certificate",
        1,
        INSIDE,
    ),
    known("nDPI/tests/cfgs/default/pcap/tls_invalid_reads.pcap", "TLS", 5, MALFORMED),
    known(
        "nDPI/tests/cfgs/default/pcap/tumblr.pcap",
        "TLS",
        3,
        "only a HelloRetryRequest, which settles nothing",
    ),
    known(
        "scapy/test/pcaps/http2_h2c.pcap",
        "HTTP",
        3,
        "the request before an upgrade counts with those after it",
    ),
    known(
        "scapy/test/pcaps/http_chunk.pcap.gz",
        "HTTP/1 requests",
        1,
        "the capture begins with the stray byte of a keep-alive, in front of the request",
    ),
    known(
        "tcpdump/tests/LINKTYPE_IPV6_invalid.pcap",
        "UDP five-tuple",
        1,
        "IPv4 on a link that is said to carry IPv6",
    ),
    known(
        "tcpdump/tests/LINKTYPE_IPV6_invalid.pcap",
        "pair of addresses",
        1,
        "IPv4 on a link that is said to carry IPv6",
    ),
    known("tcpdump/tests/beep-oobr.pcap", "TCP five-tuple", 1, LEFT_OUT),
    known("tcpdump/tests/bigtcp-ipv4-geneve-ipv4.pcap", "Community ID, TCP and UDP", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-geneve-ipv4.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-geneve-ipv6.pcap", "Community ID, TCP and UDP", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-geneve-ipv6.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv4.pcap", "Community ID, TCP and UDP", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv4.pcap", "TCP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv4.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv4.pcap", "pair of addresses", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv6.pcap", "Community ID, TCP and UDP", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv6.pcap", "TCP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv6.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv4-vxlan-ipv6.pcap", "pair of addresses", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-geneve-ipv4.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-geneve-ipv6.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv4.pcap", "TCP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv4.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv4.pcap", "pair of addresses", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv6.pcap", "TCP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv6.pcap", "UDP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6-vxlan-ipv6.pcap", "pair of addresses", 1, BIG_TCP),
    known("tcpdump/tests/bigtcp-ipv6.pcap", "TCP five-tuple", 1, BIG_TCP),
    known("tcpdump/tests/extract_read2_asan.pcap", "Community ID, other protocols", 1, NO_PORTS),
    known("tcpdump/tests/heapoverflow-tcp_print.pcap", "TCP five-tuple", 1, LEFT_OUT),
    known("tcpdump/tests/icmp-icmp_print-oobr-1.pcap", "Community ID, other protocols", 1, NO_PORTS),
    known(
        "tcpdump/tests/ipv6-mobility-header-oobr.pcap",
        "Community ID, other protocols",
        1,
        "Mobile IPv6: tshark identifies it by another protocol number",
    ),
    known("tcpdump/tests/ipv6-routing-header.pcap", "UDP five-tuple", 3, ROUTING),
    known("tcpdump/tests/ipv6-srh-insert-cksum.pcap", "UDP five-tuple", 2, ROUTING),
    known("tcpdump/tests/ipv6-too-long-jumbo.pcap", "pair of addresses", 1, LEFT_OUT),
    known(
        "tcpdump/tests/ipv6_mobility_1.pcap",
        "Community ID, other protocols",
        1,
        "Mobile IPv6: tshark identifies it by another protocol number",
    ),
    known(
        "tcpdump/tests/ipv6_mobility_1.pcap",
        "pair of addresses",
        1,
        "Mobile IPv6 has no conversation for tshark",
    ),
    known(
        "tcpdump/tests/lwapp-data.pcap",
        "Community ID, TCP and UDP",
        1,
        "beside a tunnel: tshark gives what is inside",
    ),
    known("tcpdump/tests/mptcp-dss-oobr.pcap", "TCP five-tuple", 1, LEFT_OUT),
    known("tcpdump/tests/tcp-auth-heapoverflow.pcap", "TCP five-tuple", 1, LEFT_OUT),
    known("tcpdump/tests/udp-length-heapoverflow.pcap", "Community ID, TCP and UDP", 1, NO_PORTS),
    known("tcpdump/tests/udp-length-heapoverflow.pcap", "UDP five-tuple", 1, LEFT_OUT),
    known(
        "wireshark-notes/ssl3/sslv2.pcapng",
        "TLS",
        2,
        "a ClientHello in the format of SSL 2.0, which tshark keeps in fields of its own",
    ),
    known(
        "wireshark/test/captures/communityid.pcap.gz",
        "HTTP",
        2,
        "cut packets: tshark reads the head as far as it goes",
    ),
    known(
        "wireshark/test/captures/http-ooo.pcap",
        "HTTP/1 requests",
        1,
        "out of order: tshark leaves out the request whose first segment came last",
    ),
    known("wireshark/test/captures/tls13-20-chacha20poly1305.pcap", "TLS", 6, DRAFT),
];
