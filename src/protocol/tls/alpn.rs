//! The application protocol a server chose: in clear up to TLS 1.2, by lengths in TLS 1.3.

use super::client_hello::ClientHello;
use super::evidence::{Alpn, Basis, Evidence, Offer};
use super::hello::Version;
use super::infer;
use super::lengths::Padding;
use super::modern::Reading;
use super::record::Kind;
use super::why::Why;

/// The client's first records among which HTTP/2's own lengths are looked for.
const CLIENT_RECORDS: usize = 12;
/// The server's.
const SERVER_RECORDS: usize = 6;
/// HTTP/2's connection preface (RFC 9113 section 3.4), bytes.
const PREFACE: u16 = 24;
/// An acknowledgement of SETTINGS: a frame header and nothing else (RFC 9113 section 6.5), bytes.
const SETTINGS_ACK: u16 = 9;
/// Header of EncryptedExtensions and length of its list, bytes (RFC 8446 section 4.3.1).
const EMPTY_EXTENSIONS: u16 = 6;
/// The most groups believed in a server's `supported_groups`.
const GROUPS: u16 = 32;

/// The application protocol the server chose; `reading` is that of TLS 1.3.
pub(super) fn chosen<'e>(evidence: &'e Evidence, reading: Option<&Reading<'e>>) -> Alpn<'e> {
    let Some(server) = evidence.server_hello() else {
        return Alpn::Unseen(match evidence.client() {
            Some(client) => evidence.why_missing(client.other()),
            None => Why::Midstream,
        });
    };
    if server.version < Some(Version::Tls13) {
        return server
            .alpn
            .as_deref()
            .map_or(Alpn::None(Basis::Clear), |name| Alpn::Chosen(name, Basis::Clear));
    }
    if let Some(extensions) = evidence.decrypted.as_ref().and_then(|decrypted| decrypted.extensions.as_ref())
    {
        let chosen = extensions.alpn.as_deref();
        return chosen.map_or(Alpn::None(Basis::Decrypted), |name| Alpn::Chosen(name, Basis::Decrypted));
    }
    let offered = match evidence.alpn_offered() {
        Offer::Unseen(why) => return Alpn::Unseen(why),
        // A server chooses among what is offered (RFC 7301 section 3.1).
        Offer::None => return Alpn::None(Basis::Clear),
        Offer::List(offered) => offered,
    };
    if let Some(choice) = reading.and_then(|reading| by_extensions(reading, offered)) {
        return choice.map_or(Alpn::None(Basis::Inferred), |name| Alpn::Chosen(name, Basis::Inferred));
    }
    match offered.iter().find(|name| name.as_ref() == b"h2") {
        Some(h2) if reading.is_some_and(looks_like_http2) => Alpn::Chosen(h2, Basis::Inferred),
        _ => Alpn::Unseen(Why::Encrypted),
    }
}

/// Whether the encrypted records show the preface alone, or an acknowledgement of SETTINGS.
fn looks_like_http2(reading: &Reading<'_>) -> bool {
    if reading.evidence.midstream() {
        return false;
    }
    let Some(seen) = reading.seen() else { return false };
    let start = if reading.is_resumed() {
        infer::resumed_finished(&seen).map(|at| at + 1)
    } else {
        Some(reading.client_flight(&seen).records).filter(|&records| records > 0)
    };
    let Some(start) = start else { return false };
    let Some(data) = seen.client.get(start..) else { return false };
    let began = start.checked_sub(1).and_then(|last| seen.client.get(last)).map(|record| record.at);
    let wire = |content: u16| [content + 1 + seen.sizes.tag, content + 17 + seen.sizes.tag];
    let acknowledged = |length: u16| wire(SETTINGS_ACK).contains(&length);
    data.first().is_some_and(|record| wire(PREFACE).contains(&record.length))
        || data.iter().take(CLIENT_RECORDS).any(|record| acknowledged(record.length))
        || seen
            .server
            .iter()
            .filter(|record| Some(record.at) > began && record.kind == Kind::ApplicationData)
            .take(SERVER_RECORDS)
            .any(|record| acknowledged(record.length))
}

/// Solves the length of EncryptedExtensions for the protocol in it: `None` without one solution,
/// `Some(None)` if the server chose none.
fn by_extensions<'a>(reading: &Reading<'_>, offered: &'a [Box<[u8]>]) -> Option<Option<&'a [u8]>> {
    let hello = reading.evidence.client_hello()?;
    let seen = reading.seen()?;
    let flight = (!reading.is_resumed()).then(|| reading.server_flight(&seen));
    let (length, padding) = infer::encrypted_extensions(&seen, flight)?;
    let padding = match padding {
        Padding::None => 0,
        Padding::Plus16 => 16,
        Padding::Grid(_) => return None,
    };
    let extensions = length.checked_sub(seen.sizes.tag + 1 + padding)?.checked_sub(EMPTY_EXTENSIONS)?;
    let others = other_extensions(hello);
    only(solutions(offered, extensions, &others, false))
        .or_else(|| only(solutions(offered, extensions, &others, true)))?
}

/// How long the extensions may be that a server adds for what was offered besides.
fn other_extensions(hello: &ClientHello) -> [bool; 30] {
    let optional = [
        (hello.server_name.is_some(), 4),
        (hello.record_size_limit.is_some(), 6),
        (hello.max_fragment_length.is_some(), 5),
        (hello.early_data, 4),
        (hello.certificate_types, 5),
        (hello.certificate_types, 5),
    ];
    let mut lengths = [false; 30];
    lengths[0] = true;
    for (_, cost) in optional.into_iter().filter(|(was_offered, _)| *was_offered) {
        // From the longest down, so that each is added once.
        for length in (cost..lengths.len()).rev() {
            lengths[length] |= lengths[length - cost];
        }
    }
    lengths
}

/// The choices under which the extensions are exactly `length` bytes.
fn solutions<'a>(
    offered: &'a [Box<[u8]>],
    length: u16,
    others: &[bool],
    groups: bool,
) -> impl Iterator<Item = Option<&'a [u8]>> {
    let choices = std::iter::once(None).chain(offered.iter().map(|name| Some(name.as_ref())));
    choices.filter(move |choice| {
        let chosen = choice.map_or(0, |name| 7 + name.len());
        let Some(rest) = usize::from(length).checked_sub(chosen) else { return false };
        let mut others = others.iter().enumerate().filter(|(_, possible)| **possible);
        others.any(|(other, _)| match rest.checked_sub(other) {
            Some(0) => !groups,
            Some(rest) => groups && rest >= 8 && rest % 2 == 0 && rest <= usize::from(6 + 2 * GROUPS),
            None => false,
        })
    })
}

/// `Some(Some(x))` if all solutions are `x`, `Some(None)` if they differ, `None` if there is none.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<Option<T>> {
    let first = all.next()?;
    Some(all.all(|other| other == first).then_some(first))
}
