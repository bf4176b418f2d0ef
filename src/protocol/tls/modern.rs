//! TLS 1.3: what the clear part of the handshake says, what [`decrypted`] records showed, and what
//! [`infer`] reads off the rest.

use std::borrow::Cow;
use std::cell::OnceCell;

use super::alert::CLOSE_NOTIFY;
use super::decrypted;
use super::evidence::{Basis, ClientCertificate, Evidence, Outcome};
use super::infer::{self, Acceptance, Flight, Observed, Presented, ServerFlight};
use super::lengths::{AlertSize, Sizes};
use super::record::Kind;
use super::trace::{Moment, Record};
use super::why::Why;
use crate::protocol::Side;

/// What a connection's record lengths say, read once for all that is asked of it.
pub(super) struct Reading<'e> {
    pub(super) evidence: &'e Evidence,
    pub(super) client: Side,
    records: OnceCell<Option<Records<'e>>>,
    server: OnceCell<ServerFlight>,
    flight: OnceCell<Flight>,
}

impl<'e> Reading<'e> {
    pub(super) fn new(evidence: &'e Evidence, client: Side) -> Reading<'e> {
        let (records, server, flight) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Reading { evidence, client, records, server, flight }
    }

    /// A session was resumed, or another pre-shared key used.
    pub(super) fn is_resumed(&self) -> bool {
        self.evidence.server_hello().is_some_and(|hello| hello.psk_accepted)
    }

    /// `None` if there is nothing to read lengths by; see [`Records::new`].
    pub(super) fn seen(&self) -> Option<Observed<'_>> {
        let records = self.records.get_or_init(|| Records::new(self.evidence, self.client));
        records.as_ref().map(|records| records.observed(self.evidence, self.client))
    }

    pub(super) fn server_flight(&self, seen: &Observed) -> &ServerFlight {
        self.server.get_or_init(|| infer::server_flight(seen))
    }

    pub(super) fn client_flight(&self, seen: &Observed) -> &Flight {
        self.flight.get_or_init(|| infer::client_flight(seen, self.server_flight(seen)))
    }
}

/// The application-data records after the ServerHello.
struct Records<'a> {
    sizes: Sizes,
    client: Cow<'a, [Record]>,
    server: Cow<'a, [Record]>,
}

impl<'e> Records<'e> {
    /// `None` if the cipher suite is not one of TLS 1.3, or the ServerHello has no place in the trace.
    fn new(evidence: &'e Evidence, client: Side) -> Option<Records<'e>> {
        let sizes = Sizes::of(evidence.cipher()?)?;
        let hello = evidence.trace().server_hello()?;
        let of = |side| data_after(evidence.trace().side(side).before_hole(), hello);
        Some(Records { sizes, client: of(client), server: of(client.other()) })
    }

    fn observed<'a>(&'a self, evidence: &Evidence, client: Side) -> Observed<'a> {
        let (ours, theirs) = (evidence.trace().side(client), evidence.trace().side(client.other()));
        let offered = evidence.client_hello();
        Observed {
            sizes: self.sizes,
            client: &self.client,
            server: &self.server,
            client_closed: ours.closed,
            server_closed: theirs.closed,
            whole: ours.whole() && theirs.whole(),
            early_data: evidence.early_data,
            fragment_limit: offered.is_some_and(|hello| {
                hello.record_size_limit.is_some() || hello.max_fragment_length.is_some()
            }),
        }
    }
}

/// The application data after `hello`. As a rule nothing else stands between, and nothing is copied.
fn data_after(records: &[Record], hello: Moment) -> Cow<'_, [Record]> {
    let wanted = |record: &&Record| record.kind == Kind::ApplicationData;
    // In the order of their moments, so that all behind the first are later as well.
    let later = records.get(records.partition_point(|record| record.at <= hello)..).unwrap_or_default();
    let start = later.iter().position(|record| wanted(&record)).unwrap_or(later.len());
    let rest = later.get(start..).unwrap_or_default();
    if rest.iter().all(|record| wanted(&record)) {
        Cow::Borrowed(rest)
    } else {
        Cow::Owned(rest.iter().filter(wanted).copied().collect())
    }
}

/// What the client showed of itself.
pub(super) fn client_certificate<'e>(reading: &Reading<'e>) -> ClientCertificate<'e> {
    let Reading { evidence, client, .. } = *reading;
    if reading.is_resumed() {
        return ClientCertificate::Unseen(Why::Resumed);
    }
    if let Some(shown) = decrypted::client_certificate(evidence, client) {
        return shown;
    }
    let Some(why) = unreadable(evidence, client) else { return read_certificate(reading) };
    ClientCertificate::Unseen(why)
}

/// Whether the server asked for a certificate during the handshake.
pub(super) fn certificate_requested(reading: &Reading<'_>) -> Option<bool> {
    let Reading { evidence, client, .. } = *reading;
    if reading.is_resumed() {
        return Some(false);
    }
    if let Some(requested) = decrypted::certificate_requested(evidence, client) {
        return Some(requested);
    }
    let seen = reading.seen()?;
    let server = reading.server_flight(&seen);
    if unreadable(evidence, client).is_some() {
        return server.asked;
    }
    match reading.client_flight(&seen).presented {
        Presented::Certificate | Presented::Empty => Some(true),
        Presented::Nothing => Some(false),
        Presented::Unclear(Why::Contradiction) => None,
        _ => server.asked,
    }
}

/// How the handshake ended.
pub(super) fn outcome(reading: &Reading<'_>) -> Outcome {
    let Reading { evidence, client, .. } = *reading;
    let server_side = client.other();
    let refused = |by, alert, basis| Outcome::Refused { by, alert, basis };
    if let Some(alert) = evidence.fatal_alert(server_side) {
        return refused(server_side, Some(alert), Basis::Clear);
    }
    if let Some(shown) = decrypted::outcome(evidence, client) {
        return shown;
    }
    let Some(seen) = reading.seen() else { return Outcome::Unseen(Why::Encrypted) };
    // Once the client encrypts, a record in clear is not from TLS.
    let clear = evidence.alerts().iter().find(|alert| alert.side == client && seen.client.is_empty());
    if let Some(alert) = clear {
        return refused(client, Some(alert.description).filter(|&alert| alert != CLOSE_NOTIFY), Basis::Clear);
    }
    if let Some(why) = unreadable(evidence, client) {
        return Outcome::Unseen(why);
    }
    if reading.is_resumed() {
        return resumption(&seen);
    }
    let (server, flight) = (reading.server_flight(&seen), reading.client_flight(&seen));
    match flight.presented {
        Presented::Silence => silence(evidence, client, &seen, server),
        Presented::Alert => refused(client, None, Basis::Inferred),
        Presented::Unclear(why) => Outcome::Unseen(why),
        _ => match infer::acceptance(&seen, flight, server) {
            Acceptance::Yes => Outcome::Accepted(Basis::Inferred),
            Acceptance::No => refused(server_side, None, Basis::Inferred),
            Acceptance::Unknown(Why::Hole) => {
                let side = if evidence.trace().side(client).whole() { server_side } else { client };
                Outcome::Unseen(evidence.why_missing(side))
            }
            Acceptance::Unknown(why) => Outcome::Unseen(why),
        },
    }
}

fn read_certificate<'e>(reading: &Reading<'e>) -> ClientCertificate<'e> {
    let Reading { evidence, client, .. } = *reading;
    let Some(seen) = reading.seen() else {
        return ClientCertificate::Unseen(Why::Encrypted);
    };
    let (server, flight) = (reading.server_flight(&seen), reading.client_flight(&seen));
    let presented =
        |post_handshake| ClientCertificate::Presented { basis: Basis::Inferred, chain: None, post_handshake };
    match flight.presented {
        Presented::Certificate => presented(false),
        Presented::Empty => ClientCertificate::Empty(Basis::Inferred),
        Presented::Nothing => {
            let offered = evidence.client_hello().is_some_and(|hello| hello.post_handshake_auth);
            if offered && infer::post_handshake_certificate(&seen, flight, server) {
                presented(true)
            } else if offered
                && [client, client.other()].iter().any(|&side| evidence.trace().side(side).has_hole())
            {
                ClientCertificate::Unseen(Why::Hole)
            } else {
                ClientCertificate::None(Basis::Inferred)
            }
        }
        Presented::Alert => ClientCertificate::Unseen(Why::NotFinished),
        Presented::Silence => ClientCertificate::Unseen(evidence.why_missing(client)),
        Presented::Unclear(why) => ClientCertificate::Unseen(why),
    }
}

/// Why the client's flight cannot be read at all, if so.
fn unreadable(evidence: &Evidence, client: Side) -> Option<Why> {
    if evidence.client_hello().is_none() {
        Some(evidence.why_missing(client))
    } else if evidence.midstream {
        Some(Why::Midstream)
    } else {
        None
    }
}

/// No flight came from the client. Who closes a stream that is whole has broken off, unless records
/// beyond the server's flight show that the client's flight escaped the capture.
fn silence(evidence: &Evidence, client: Side, seen: &Observed, server: &ServerFlight) -> Outcome {
    let first = |ours: Option<Moment>, theirs: Option<Moment>| match (ours, theirs) {
        (Some(ours), Some(theirs)) => ours < theirs,
        (ours, _) => ours.is_some(),
    };
    let refused = |by| Outcome::Refused { by, alert: None, basis: Basis::Clear };
    let early = evidence.early_data;
    if seen.whole && !early && first(seen.client_closed, seen.server_closed) {
        return refused(client);
    }
    let flight_only = seen.server.len() <= server.records.unwrap_or(1);
    if seen.whole && !early && flight_only && first(seen.server_closed, seen.client_closed) {
        return refused(client.other());
    }
    Outcome::Unseen(evidence.why_missing(client))
}

/// A resumption: the server's records after the client's Finished show that both went on.
fn resumption(seen: &Observed) -> Outcome {
    let finished = infer::resumed_finished(seen).and_then(|at| seen.client.get(at));
    let Some(finished) = finished else { return Outcome::Unseen(Why::NotFinished) };
    let alert = AlertSize::new(seen.sizes, seen.server, None);
    let went_on = |record: &Record| record.at > finished.at && !alert.fits(record.length);
    if seen.server.iter().any(went_on) {
        Outcome::Accepted(Basis::Inferred)
    } else {
        Outcome::Unseen(Why::NoAnswer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::evidence::{Alpn, Authentication, Offer};
    use super::super::testing::{SHA256, SHA384, Script, play};
    use super::*;
    use proptest::prelude::*;

    /// One word for what a connection showed.
    fn said(script: Script, words: &str) -> &'static str {
        match play(script, words).authentication() {
            Authentication::Mutual(Basis::Inferred) => "mutual",
            Authentication::OneWay(Basis::Inferred) => "one-way",
            Authentication::Empty(Basis::Inferred) => "empty",
            Authentication::Refused(Basis::Clear) => "refused in clear",
            Authentication::Refused(Basis::Inferred) => "refused",
            Authentication::Resumed => "resumed",
            Authentication::Unseen(_) => "unseen",
            _ => "in clear",
        }
    }

    #[test]
    fn one_message_a_record() {
        let asked = "C22 S22 S20:1 S:32 S:113 S:941 S:281 S:53 C20:1";
        assert_eq!(said(SHA256, &format!("{asked} C:961 C:281 C:53 S:1200 S:1200")), "mutual");
        assert_eq!(said(SHA256, &format!("{asked} C:756 C:95 C:53 S:1200")), "mutual");
        assert_eq!(said(SHA256, &format!("{asked} C:25 C:53 S:250")), "empty");
        assert_eq!(said(SHA256, &format!("{asked} C:961 C:281 C:53 S:19 Sfin")), "refused");
        assert_eq!(
            said(SHA256, &format!("{asked} C:961 C:281 C:53 S:19 C:71 C:19 S:19 Sfin Cfin")),
            "refused"
        );
        assert_eq!(said(SHA256, &format!("{asked} C:25 S:19 Sfin C:53")), "refused");
        assert_eq!(said(SHA256, &format!("{asked} C:961 C:281 C:53 Srst")), "refused");
        assert_eq!(said(SHA256, "C22 S22 S20:1 S:32 S:941 S:281 S:53 C20:1 C:53 S:250"), "one-way");
        assert_eq!(said(SHA384, "C22 S22 S:32 S:941 S:281 S:69 C:69 S:250"), "one-way");
        assert_eq!(
            said(SHA384, "C22 S22 S:32 S:113 S:941 S:281 S:69 C:717 C:261 C:281 C:69 S:250"),
            "mutual"
        );
    }

    #[test]
    fn what_the_client_needs_an_answer_for_is_unseen_without_one() {
        let asked = "C22 S22 S20:1 S:32 S:113 S:941 S:281 S:53 C20:1 C:961 C:281 C:53";
        for tail in [
            "",
            "Cfin Sfin",
            "C:71 C:19 S:19 Sfin",
            "C:19 Cfin S:19 Sfin",
            "+3000 S:19 Sfin",
            "S:19",
            "+2000 Sfin",
        ] {
            assert_eq!(said(SHA256, &format!("{asked} {tail}")), "unseen", "{tail}");
        }
    }

    #[test]
    fn a_hole_turns_refusal_into_unseen_but_not_what_came_before() {
        let asked = "C22 S22 S20:1 S:32 S:113 S:941 S:281 S:53 C20:1 C:961 C:281 C:53";
        assert_eq!(said(SHA256, &format!("{asked} Sgap S:19 Sfin")), "unseen");
        assert_eq!(said(SHA256, &format!("{asked} S:19 Cgap Sfin")), "unseen");
        assert_eq!(said(SHA256, &format!("{asked} S:1200 Sgap Sfin Cgap")), "mutual");
        // The Certificate is missing: what is left reads as a Finished alone.
        assert_eq!(said(SHA256, "C22 S22 S:32 S:113 S:941 S:281 S:53 Cgap C:53 C:71 S:250"), "unseen");
        assert_eq!(said(SHA256, "C22 Sgap S:113 S:941 S:281 S:53 C:53 S:250"), "unseen");
    }

    #[test]
    fn padding_habits() {
        // JSSE: 16 bytes on everything. Its Finished under SHA-256 is everybody else's under SHA-384.
        assert_eq!(said(SHA256, "C22 S22 S:39 S:140 S:957 S:297 S:69 C:69 S:100"), "unseen");
        assert_eq!(said(SHA256, "C22 S22 S:39 S:957 S:297 S:69 C:69 S:100"), "one-way");
        assert_eq!(said(SHA256, "C22 S22 S:39 S:140 S:957 S:297 S:69 C:977 C:297 C:69 S:100"), "mutual");
        assert_eq!(said(SHA256, "C22 S22 S:39 S:140 S:957 S:297 S:69 C:977 C:297 C:69 S:35 Sfin"), "refused");
        assert_eq!(said(SHA256, "C22 S22 S:39 S:140 S:957 S:297 S:69 C:77 S:100"), "empty");
        // mbedTLS: multiples of 16.
        assert_eq!(said(SHA256, "C22 S22 S:32 S:48 S:960 S:288 S:64 C:976 C:288 C:64 S:112"), "mutual");
        assert_eq!(said(SHA256, "C22 S22 S:32 S:48 S:960 S:288 S:64 C:32 C:64 S:112"), "empty");
        // Multiples of 64, and the server in one record: a Finished and an empty Certificate look alike.
        assert_eq!(said(SHA384, "C22 S22 S:1364 C:80 C:80 C:80 S:250"), "unseen");
        assert_eq!(said(SHA384, "C22 S22 S:1364 C:1616 C:144 C:80 C:80 S:250"), "mutual");
        assert_eq!(said(SHA384, "C22 S22 S:80 S:144 S:1808 S:336 S:80 C:80 C:80 S:272"), "empty");
        // Random padding, short of anything a certificate needs.
        assert_eq!(said(SHA256, "C22 S22 S:1342 C:309 C:153 S:250"), "unseen");
        // A server on a coarse grid: its tickets are as long as its alerts.
        assert_eq!(
            said(SHA384, "C22 S22 S:528 S:528 S:2064 S:528 S:528 C:25 C:69 S:528 S:528 Sfin"),
            "unseen"
        );
        // One record that a padded alert fits, then the end.
        assert_eq!(said(SHA256, "C22 S22 S:1342 C:1261 S:140 Sfin"), "unseen");
    }

    #[test]
    fn one_record_a_flight() {
        assert_eq!(said(SHA256, "C22 S22 S20:1 S:1342 C20:1 C:1261 C:71 S:1500"), "mutual");
        assert_eq!(said(SHA256, "C22 S22 S20:1 S:1342 C20:1 C:61 C:71 S:300"), "empty");
        assert_eq!(said(SHA256, "C22 S22 S20:1 S:1342 C20:1 C:1261 C:71 S:19 Sfin"), "refused");
        assert_eq!(said(SHA256, "C22 S22 S:32 S:941 S:281 S:53 C:1261 C:71 S:300"), "unseen");
    }

    #[test]
    fn the_client_refuses_the_server() {
        assert_eq!(said(SHA256, "C22 S22 S:32 S:941 S:281 S:53 S:139 C20:1 C:19 Cfin"), "refused");
        assert_eq!(said(SHA256, "C22 S22 S:32 S:941 S:281 S:53 C21:2 Cfin S:19"), "refused in clear");
        assert_eq!(said(SHA256, "C22 S22 S:1342 Crst"), "refused in clear");
        assert_eq!(said(SHA256, "C22 S22 S:1342 Cgap Cfin"), "unseen");
        // More than a flight from the server: the client's own was not captured.
        assert_eq!(said(SHA256, "C22 S22 S:1342 S:250 S:1000 S:19 Sfin"), "unseen");
        assert_eq!(play(SHA256, "C22 S21:2 Sfin").authentication(), Authentication::Refused(Basis::Clear));
        assert_eq!(play(SHA256, "C22 Sfin").authentication(), Authentication::Refused(Basis::Clear));
        assert_eq!(said(SHA256, "C22 Cfin Sfin"), "unseen");
    }

    #[test]
    fn early_data_and_resumption() {
        let resumed = Script { psk: true, early_data: true, ..SHA256 };
        assert_eq!(said(resumed, "C22 C:71 S22 S20:1 S:36 S:53 C:21 C:53 C:71 S:250"), "resumed");
        let rejected = Script { early_data: true, ..SHA256 };
        assert_eq!(
            said(rejected, "C22 C20:1 C:71 S22 S:23 S:113 S:1785 S:281 S:53 C:1805 C:281 C:53 S:82"),
            "mutual"
        );
        assert_eq!(said(rejected, "C22 S22 S:23 S:1785 S:281 S:53 C:900 C:53 S:82"), "unseen");
        assert_eq!(said(rejected, "C22 S22 S:1342 C:19 C:53 S:82"), "unseen");
    }

    #[test]
    fn after_the_handshake() {
        let offered = Script { post_handshake_auth: true, ..SHA384 };
        let start = "C22 S22 S:23 S:1785 S:281 S:69 C:69 S:250 C:71 S:250";
        let words = format!("{start} S:94 S:37 C:1837 C:281 C:69 S:1194 S:1194");
        assert_eq!(said(offered, &words), "mutual");
        assert_eq!(said(SHA384, &words), "one-way");
        assert_eq!(said(offered, &format!("{start} S:94 S:37 C:1837 C:281 C:69 S:19 Sfin")), "one-way");
        assert_eq!(said(offered, &format!("{start} S:94 Sgap")), "unseen");
        assert_eq!(
            play(offered, &words).client_certificate(),
            ClientCertificate::Presented { basis: Basis::Inferred, chain: None, post_handshake: true }
        );
    }

    #[test]
    fn application_protocol() {
        let both = Script { alpn: &["h2", "http/1.1"], ..SHA256 };
        let flight = "S:941 S:281 S:53 C:53";
        let alpn = |script, words: &str| match play(script, words).alpn() {
            Alpn::Chosen(name, Basis::Inferred) => String::from_utf8_lossy(name).into_owned(),
            other => format!("{other:?}"),
        };
        assert_eq!(alpn(both, &format!("C22 S22 S:32 {flight}")), "h2");
        assert_eq!(alpn(both, &format!("C22 S22 S:38 {flight}")), "http/1.1");
        assert_eq!(alpn(both, &format!("C22 S22 S:23 {flight}")), "None(Inferred)");
        assert_eq!(alpn(both, "C22 S22 S:1342 C:53 S:250"), "Unseen(Encrypted)");
        assert_eq!(alpn(both, "C22 S22 S:1342 C:53 C:41 S:250"), "h2");
        assert_eq!(alpn(both, "C22 S22 S:1342 C:53 C:90 S:57 S:26"), "h2");
        assert_eq!(alpn(SHA256, &format!("C22 S22 S:32 {flight}")), "None(Clear)");
        assert_eq!(play(SHA256, "C22").alpn_offered(), Offer::None);
    }

    /// Replays the record headers of labelled connections of real stacks.
    #[test]
    fn labelled_connections_of_real_stacks() {
        let Ok(mut labels) = csv::Reader::from_path("../shared/captures/mutual-tls/LABELS.csv") else {
            println!("skipped: ../shared/captures/mutual-tls/LABELS.csv is not here");
            return;
        };
        let heads = labels.headers().expect("a header line").clone();
        let column = |name: &str| heads.iter().position(|head| head == name).expect("the column");
        let (label, decidable, records) = (column("true_label"), column("undecidable"), column("records"));
        let (mut definite, mut asked) = (0, 0);
        for row in labels.records() {
            let row = row.expect("a row");
            let cipher = match &row[column("cipher")] {
                "TLS_AES_256_GCM_SHA384" => 0x1302,
                "TLS_AES_128_CCM_8_SHA256" => 0x1305,
                _ => 0x1301,
            };
            // Pauses are not in the list: a connection that lay idle cannot be replayed.
            if &row[column("tls_version")] != "1.3"
                || &row[column("hello_retry")] == "1"
                || row[column("case")].starts_with("idle")
            {
                continue;
            }
            let flag = |name| &row[column(name)] == "1";
            let script = Script {
                cipher,
                psk: flag("psk_accepted"),
                early_data: flag("early_data"),
                post_handshake_auth: flag("pha_offered"),
                alpn: &[],
            };
            let said = said(script, &row[records])
                .trim_end_matches(" in clear")
                .replace("refused", "failed")
                .replace("one-way", "oneway");
            let truth = row[label].replace("empty-pha", "oneway").replace("-pha", "");
            assert!(said == truth || said == "unseen", "{truth} but said {said}: {}", &row[records]);
            if &row[decidable] == "no" {
                asked += 1;
                definite += usize::from(said != "unseen");
            }
        }
        assert!(definite * 100 >= asked * 98, "{definite} of {asked}");
    }

    proptest! {
        #[test]
        fn nothing_without_an_answer_is_mutual(lengths in proptest::collection::vec((any::<bool>(), 17u16..2200), 0..20)) {
            let mut words = String::from("C22 S22");
            let mut answered = false;
            for (client, length) in lengths {
                answered |= !client;
                words += &format!(" {}:{length}", if client { "C" } else { "S" });
            }
            let said = said(SHA256, &words);
            prop_assert!(answered || said != "mutual");
            // Nobody closed: nobody is known to have refused, but by a client's alert.
            prop_assert!(said != "refused in clear");
        }
    }
}
