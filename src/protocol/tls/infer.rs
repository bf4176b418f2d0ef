//! TLS 1.3 without keys: whether the client presented a certificate, and whether the server went on.
//!
//! Pure arithmetic over record lengths (RFC 8446 sections 4.4 and 5.2). A Finished is as long as the
//! hash, an empty Certificate is 8 bytes, a CertificateVerify 8 and a signature; a record adds one
//! byte of content type, an authentication tag, and what its sender pads. Stacks pad by habit: not at
//! all, by 16 bytes (JSSE), or up to a multiple of 16 (mbedTLS), 32, or a coarser grid. Where habits
//! leave more than one reading, the answer is that it cannot be told.

use super::lengths::{AlertSize, COARSE_GRID, EXACT, Padding, Sizes, Wire, grid};
use super::trace::{Moment, Record, WINDOW};
use super::why::Why;

/// An answer to the client's flight later than this is not taken for a refusal, in microseconds:
/// servers also close connections that lie idle.
const REFUSAL_WINDOW: i32 = WINDOW;
/// A first record this long holds a certificate, whatever it was coalesced with.
const LEAST_COALESCED: u16 = 400;
/// No certificate, nor its first fragment, was seen in a shorter record.
const LEAST_CERTIFICATE: u16 = 200;
/// The longest record that a padded alert is looked for in, besides whole blocks of a grid.
const LONGEST_PADDED_ALERT: u16 = 300;
/// A certificate request after the handshake is answered within this, in microseconds.
const POST_HANDSHAKE_WINDOW: i32 = WINDOW;

/// What to infer from: the application-data records after the ServerHello, each side's in order.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// From the cipher suite.
    pub sizes: Sizes,
    /// The client's records.
    pub client: &'a [Record],
    /// The server's records.
    pub server: &'a [Record],
    /// When the client closed, if all it sent until then is known.
    pub client_closed: Option<Moment>,
    /// When the server closed, if all it sent until then is known.
    pub server_closed: Option<Moment>,
    /// Nothing either side sent is missing: only then does silence mean anything.
    pub whole: bool,
    /// The client offered early data, so its first records may be that.
    pub early_data: bool,
    /// The client offered a record size limit or a maximum fragment length.
    pub fragment_limit: bool,
}

/// What the client's second flight holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// A Finished alone: the server did not ask for a certificate.
    Nothing,
    /// An empty Certificate.
    Empty,
    /// A certificate.
    Certificate,
    /// An alert instead: the client refused the server.
    Alert,
    /// No flight yet.
    Silence,
    /// Cannot be told.
    Unclear(Why),
}

/// The client's second flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// What it holds.
    pub presented: Presented,
    /// How many of the client's records it takes, as far as can be told.
    pub records: usize,
}

/// The server's first flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFlight {
    /// Whether a CertificateRequest is in it, where it shows.
    pub asked: Option<bool>,
    /// How the server pads, where it shows.
    pub padding: Option<Padding>,
    /// How many records it takes, where it shows.
    pub records: Option<usize>,
}

/// Whether the server went on after the client's flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It did.
    Yes,
    /// It answered with nothing but an alert, or closed at once.
    No,
    /// Cannot be told.
    Unknown(Why),
}

/// Reads the server's flight: EncryptedExtensions, CertificateRequest if any, Certificate,
/// CertificateVerify, Finished, when each has a record of its own.
pub fn server_flight(seen: &Observed) -> ServerFlight {
    let coarse = || grid(seen.server, seen.sizes.tag).filter(|&grid| grid >= COARSE_GRID).map(Padding::Grid);
    for padding in EXACT.into_iter().chain(std::iter::once_with(coarse).flatten()) {
        let wire = seen.wire(padding);
        let Some(last) = finished_after_verify(seen.server, &wire, 3) else { continue };
        let count = last + 1;
        let asked = match seen.server.get(..count) {
            Some([_, _, _, _]) => Some(false),
            // Two fragments of a long certificate look like a request and a certificate.
            Some([_, request, certificate, _, _]) => {
                let (request, certificate) = (request.length, certificate.length);
                let fragment = request >= certificate && (request > LEAST_COALESCED || seen.fragment_limit);
                (!fragment).then_some(true)
            }
            _ => None,
        };
        return ServerFlight { asked, padding: Some(padding), records: Some(count) };
    }
    ServerFlight::default()
}

/// The length of the record that holds EncryptedExtensions alone, and how the server pads, where the
/// flight shows both. Without a `flight` it is that of a resumption: EncryptedExtensions and Finished only.
pub fn encrypted_extensions(seen: &Observed, flight: Option<&ServerFlight>) -> Option<(u16, Padding)> {
    let lengths = |at: usize| seen.server.get(at).map(|record| record.length);
    let padding = match flight {
        Some(flight) => flight.padding?,
        None => {
            let finished = lengths(1)?;
            *EXACT.iter().find(|&&padding| Wire { sizes: seen.sizes, padding }.is_finished(finished))?
        }
    };
    Some((lengths(0)?, padding))
}

/// Reads the client's second flight.
pub fn client_flight(seen: &Observed, server: &ServerFlight) -> Flight {
    let Some(first) = seen.client.first() else {
        return Flight { presented: Presented::Silence, records: 0 };
    };
    let flight = match read_flight(seen, first.length, server.asked) {
        // Early data in flight when the ServerHello came may look like anything but a whole flight.
        Flight { presented: Presented::Certificate, .. } if seen.early_data && server.asked != Some(true) => {
            Flight { presented: Presented::Unclear(Why::EarlyData), records: 1 }
        }
        Flight { presented: Presented::Alert, .. } if seen.early_data => {
            Flight { presented: Presented::Unclear(Why::EarlyData), records: 1 }
        }
        flight => flight,
    };
    let contradicts = match flight.presented {
        Presented::Nothing => server.asked == Some(true),
        Presented::Empty | Presented::Certificate => server.asked == Some(false),
        _ => false,
    };
    if contradicts { Flight { presented: Presented::Unclear(Why::Contradiction), ..flight } } else { flight }
}

/// Whether the server went on, judged by what it sent after the client's flight only.
pub fn acceptance(seen: &Observed, flight: &Flight, server: &ServerFlight) -> Acceptance {
    let last = flight.records.checked_sub(1).and_then(|at| seen.client.get(at));
    let (Some(first), Some(last)) = (seen.client.first(), last) else {
        return Acceptance::Unknown(Why::NotFinished);
    };
    let early = early_records(seen, server, first.at);
    let after = || seen.server.iter().filter(|record| record.at > first.at);
    let alert = AlertSize::new(seen.sizes, seen.server, server.padding);
    let went_on = |record: &Record| {
        record.at > last.at
            && !alert.fits(record.length)
            && !early.iter().any(|sent| sent.length == record.length)
    };
    if after().any(went_on) {
        return if lone_padded_alert(seen, after()) {
            Acceptance::Unknown(Why::AmbiguousPadding)
        } else {
            Acceptance::Yes
        };
    }
    // A Finished alone leaves a server nothing to refuse: what follows is the application's affair.
    if !matches!(flight.presented, Presented::Certificate | Presented::Empty) {
        return Acceptance::Unknown(Why::NoAnswer);
    }
    if !seen.whole {
        return Acceptance::Unknown(Why::Hole);
    }
    let client_end = client_end(seen, flight);
    let in_time = |at: Moment| {
        at.micros().saturating_sub(last.at.micros()) <= REFUSAL_WINDOW
            && client_end.is_none_or(|end| at < end)
    };
    let all_alerts = after().all(|record| alert.fits(record.length));
    let refused = match after().next() {
        // On a coarse grid a ticket is as long as an alert.
        Some(_) if alert.is_coarse() => return Acceptance::Unknown(Why::AmbiguousPadding),
        Some(record) => all_alerts && in_time(record.at) && seen.server_closed.is_some(),
        None => early.is_empty() && seen.server_closed.is_some_and(|at| at > first.at && in_time(at)),
    };
    if refused { Acceptance::No } else { Acceptance::Unknown(Why::NoAnswer) }
}

/// Where in the client's records a certificate was presented after the handshake, on request
/// (RFC 8446 section 4.6.2): request, then Certificate, CertificateVerify and Finished, each in a
/// record of its own, then something that is no alert.
pub fn post_handshake_certificate(seen: &Observed, flight: &Flight, server: &ServerFlight) -> bool {
    let alert = AlertSize::new(seen.sizes, seen.server, server.padding);
    let later = seen.client.get(flight.records..).unwrap_or_default();
    EXACT.iter().any(|&padding| {
        let wire = Wire { sizes: seen.sizes, padding };
        later.windows(3).any(|window| {
            let [certificate, verify, finished] = window else { return false };
            let between = |record: &&Record| record.at > certificate.at && record.at < finished.at;
            certificate.length >= LEAST_CERTIFICATE
                && wire.is_finished(finished.length)
                && wire.is_verify(verify.length)
                && finished.at.micros().saturating_sub(certificate.at.micros()) <= POST_HANDSHAKE_WINDOW
                && !seen.server.iter().any(|record| between(&record))
                && seen.server.iter().any(|record| {
                    record.at < certificate.at
                        && certificate.at.micros().saturating_sub(record.at.micros()) <= POST_HANDSHAKE_WINDOW
                })
                && seen.server.iter().any(|record| record.at > finished.at && !alert.fits(record.length))
        })
    })
}

/// Where the client's Finished of a resumed connection stands, after any early data.
pub fn resumed_finished(seen: &Observed) -> Option<usize> {
    EXACT.iter().find_map(|&padding| {
        let wire = Wire { sizes: seen.sizes, padding };
        seen.client.iter().position(|record| wire.is_finished(record.length))
    })
}

fn read_flight(seen: &Observed, first: u16, asked: Option<bool>) -> Flight {
    let whole = |presented, records| Flight { presented, records };
    let exact = |padding| exact_flight(seen, first, padding);
    if let Some(flight) = exact(Padding::None).or_else(|| exact(Padding::Plus16)) {
        return flight;
    }
    // Before the fine grids: every length on a coarse grid is on the fine ones too.
    if let Some(grid) = grid(seen.client, seen.sizes.tag).filter(|&grid| grid >= COARSE_GRID) {
        let unclear = whole(Presented::Unclear(Why::AmbiguousPadding), 1);
        let one_block = first == grid + seen.sizes.tag;
        return match (asked, one_block) {
            (_, false) if first >= LEAST_CERTIFICATE && seen.client.len() >= 3 => {
                whole(Presented::Certificate, 3)
            }
            (Some(false), true) if seen.client.len() >= 2 => whole(Presented::Nothing, 1),
            (Some(true), true) if seen.client.len() >= 2 && grid < 256 => whole(Presented::Empty, 2),
            _ => unclear,
        };
    }
    if let Some(flight) = exact(Padding::Grid(16)).or_else(|| exact(Padding::Grid(32))) {
        return flight;
    }
    if first >= LEAST_COALESCED {
        return whole(Presented::Certificate, 1);
    }
    // An empty Certificate whose Finished is still to come: said only where nothing else fits.
    let empty = [Padding::None, Padding::Plus16].iter().any(|&padding| seen.wire(padding).length(8) == first);
    if empty && seen.client.len() == 1 {
        whole(Presented::Empty, 1)
    } else {
        whole(Presented::Unclear(Why::AmbiguousPadding), 1)
    }
}

/// The flight, if all its records have the lengths that this habit gives.
fn exact_flight(seen: &Observed, first: u16, padding: Padding) -> Option<Flight> {
    let wire = seen.wire(padding);
    let whole = |presented, records| Some(Flight { presented, records });
    let second = seen.client.get(1).map(|record| record.length);
    if wire.is_finished(first) {
        return whole(Presented::Nothing, 1);
    }
    if first == wire.length(8) && second.is_some_and(|second| wire.is_finished(second)) {
        return whole(Presented::Empty, 2);
    }
    // On a grid both messages in one record are as long as a Finished alone.
    if !matches!(padding, Padding::Grid(_)) && first == wire.length(12 + seen.sizes.hash) {
        return whole(Presented::Empty, 1);
    }
    let closed = seen.client_closed.is_some() || seen.server_closed.is_some();
    if first == wire.length(2)
        && seen.client.len() == 1
        && (!matches!(padding, Padding::Grid(_)) || (closed && seen.whole))
    {
        return whole(Presented::Alert, 1);
    }
    let finished = certificate_flight(seen, &wire)?;
    whole(Presented::Certificate, finished + 1)
}

/// Index of the Finished after a CertificateVerify after a Certificate in one record or in fragments.
fn certificate_flight(seen: &Observed, wire: &Wire) -> Option<usize> {
    let finished = finished_after_verify(seen.client, wire, 2)?;
    let (last, fragments) = seen.client.get(..finished - 1)?.split_last()?;
    let first = fragments.first().unwrap_or(last).length;
    let fragmented = fragments.iter().all(|fragment| fragment.length == first) && last.length <= first;
    (first >= LEAST_CERTIFICATE && fragmented).then_some(finished)
}

/// Index, from `least` on, of the first Finished that comes after a CertificateVerify.
fn finished_after_verify(records: &[Record], wire: &Wire, least: usize) -> Option<usize> {
    let pairs = records.get(least - 1..)?.windows(2);
    let ends = |pair: &[Record]| matches!(pair, [verify, last] if wire.is_finished(last.length) && wire.is_verify(verify.length));
    pairs.into_iter().position(ends).map(|at| at + least)
}

/// What the server sent between its flight and the client's: tickets or data before it knew the client.
fn early_records<'a>(seen: &Observed<'a>, server: &ServerFlight, flight: Moment) -> &'a [Record] {
    let before = seen.server.iter().take_while(|record| record.at < flight).count();
    server.records.and_then(|own| seen.server.get(own..before)).unwrap_or_default()
}

/// Whether all that the server sent before it closed is one record that a padded alert fits.
fn lone_padded_alert<'a>(seen: &Observed, mut after: impl Iterator<Item = &'a Record>) -> bool {
    let (Some(only), None) = (after.next(), after.next()) else { return false };
    let blocks = only.length.saturating_sub(seen.sizes.tag);
    let closed =
        seen.server_closed.is_some_and(|at| at.micros().saturating_sub(only.at.micros()) <= REFUSAL_WINDOW);
    closed && (only.length <= LONGEST_PADDED_ALERT || blocks.is_power_of_two())
}

/// When the client ended: by closing, or by its first record after the flight that may be an alert.
fn client_end(seen: &Observed, flight: &Flight) -> Option<Moment> {
    let alert = AlertSize::new(seen.sizes, seen.client, None);
    let later = seen.client.get(flight.records..).unwrap_or_default();
    let alerted = later.iter().find(|record| alert.fits(record.length)).map(|record| record.at);
    seen.client_closed.into_iter().chain(alerted).min()
}

impl<'a> Observed<'a> {
    fn wire(&self, padding: Padding) -> Wire {
        Wire { sizes: self.sizes, padding }
    }
}
