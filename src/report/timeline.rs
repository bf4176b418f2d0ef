//! What was seen of one flow, step by step in its protocols' own order; secrets and user names are not
//! among it.

use std::fmt;

use super::because::{InheritedFrom, missing_words, nats_words, requests_words};
use super::further::decryption_words;
use super::text::text;
use super::{Record, clean, clean_bytes, number, spoken, words};
use crate::packet::{Gap, Side};
use crate::protocol::tls::{
    self, Alert, Alpn, Basis, ClientCertificate, Decryption, Offer, Outcome, Version,
};
use crate::protocol::{Dns, Evidence, Http1, Http2, Nats};

/// Takes one line at a time.
pub(super) type Line<'l> = &'l mut dyn FnMut(fmt::Arguments<'_>) -> fmt::Result;

/// Hands every step to `line`, at least one.
pub(super) fn tell(record: &Record<'_>, line: Line<'_>) -> fmt::Result {
    let observed = record.subject.observed;
    let evidence = &observed.evidence;
    if observed.no_payload {
        line(format_args!("no payload was exchanged"))?;
    }
    // NATS, MySQL and LDAP say something in clear before they go on in TLS.
    clear(evidence, line)?;
    if let Some(tls) = observed.tls() {
        handshake(record, tls, line)?;
    }
    if let Some(inside) = &evidence.inside {
        clear(inside, &mut |words| line(format_args!("inside TLS, decrypted: {words}")))?;
        flaws(inside, &mut |words| line(format_args!("inside TLS, decrypted: {words}")))?;
    }
    flaws(evidence, line)?;
    if let Some(missing) = observed.missing {
        line(format_args!("capture: {}", missing_words(missing)))?;
    }
    match record.counted.repeated {
        0 => Ok(()),
        repeated => line(format_args!(
            "capture: {} repeated bytes already seen",
            number(repeated.into(), "TCP segment")
        )),
    }
}

/// All but TLS.
fn clear(evidence: &Evidence, line: Line<'_>) -> fmt::Result {
    spoken::words(evidence, &mut *line)?;
    if let Some(nats) = &evidence.nats {
        words_of_nats(nats, line)?;
    }
    if let Some(http1) = &evidence.http1 {
        words_of_http1(http1, line)?;
    }
    if let Some(http2) = &evidence.http2 {
        words_of_http2(http2, line)?;
    }
    if let Some(dns) = &evidence.dns {
        words_of_dns(dns, line)?;
    }
    Ok(())
}

fn words_of_nats(nats: &Nats, line: Line<'_>) -> fmt::Result {
    if nats.info {
        let auth = if nats.auth_required { "asks for authentication" } else { "asks for no authentication" };
        let tls = if nats.tls_required { "asks for TLS" } else { "does not ask for TLS" };
        line(format_args!("NATS INFO from the server: {auth}, {tls}"))?;
    }
    if nats.upgraded {
        return line(format_args!("NATS: both sides went on in TLS"));
    }
    line(format_args!("NATS: {}", nats_words(nats.authentication)))?;
    match (nats.refused, nats.accepted) {
        (true, _) => line(format_args!("NATS: the server answered with an authorization error")),
        (false, true) => line(format_args!("NATS: the server's answers show that the client was let in")),
        (false, false) => line(format_args!("NATS: no answer to the client's credentials was seen")),
    }
}

fn words_of_http1(http1: &Http1, line: Line<'_>) -> fmt::Result {
    let requests = &http1.requests;
    line(format_args!("HTTP/1: {}{}", requests_words(requests), Otherwise(requests.status_other)))?;
    if let Some(host) = &http1.host {
        line(format_args!("HTTP/1: first Host {}", clean_bytes(host)))?;
    }
    match (http1.websocket_asked, http1.websocket_accepted) {
        (_, true) => line(format_args!("HTTP/1: upgrade to WebSocket accepted"))?,
        (true, false) => {
            line(format_args!("HTTP/1: upgrade to WebSocket asked for, not seen to be accepted"))?
        }
        (false, false) => {}
    }
    if http1.event_stream {
        line(format_args!("HTTP/1: an answer is a stream of Server-Sent Events"))?;
    }
    if http1.h2c_accepted {
        line(format_args!("HTTP/1: upgrade to HTTP/2 accepted"))?;
    }
    unread(requests.unread, line)
}

/// Answers of other statuses, if there were any.
struct Otherwise(u32);

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > 0 { write!(f, ", {} answered with another status", self.0) } else { Ok(()) }
    }
}

fn words_of_http2(http2: &Http2, line: Line<'_>) -> fmt::Result {
    if http2.midstream {
        line(format_args!("HTTP/2 by the shape of its frames: it began before the capture"))?;
    }
    let requests = &http2.requests;
    let before = if http2.upgraded { ", those before the upgrade included" } else { "" };
    line(format_args!("HTTP/2: {}{}{before}", requests_words(requests), Otherwise(requests.status_other)))?;
    if let Some(authority) = &http2.authority {
        line(format_args!("HTTP/2: first :authority {}", clean_bytes(authority)))?;
    }
    if http2.grpc {
        line(format_args!("HTTP/2: a content type is application/grpc"))?;
    }
    unread(requests.unread, line)
}

fn unread(unread: bool, line: Line<'_>) -> fmt::Result {
    if unread { line(format_args!("some requests could not be read")) } else { Ok(()) }
}

fn words_of_dns(dns: &Dns, line: Line<'_>) -> fmt::Result {
    let (queries, answers) = (number(dns.queries.into(), "message"), number(dns.answers.into(), "answer"));
    line(format_args!("DNS: {queries} asking, {answers}"))?;
    match &dns.name {
        Some(name) => line(format_args!("DNS: first name {}", clean_bytes(name))),
        None => Ok(()),
    }
}

/// What went wrong with the bytes or with reading them.
fn flaws(evidence: &Evidence, line: Line<'_>) -> fmt::Result {
    if evidence.unrecognised {
        line(format_args!("the first bytes are no protocol known"))?;
    }
    if evidence.broken {
        line(format_args!("the bytes broke the rules of the protocol they began as"))?;
    }
    match evidence.gap {
        None => Ok(()),
        Some(Gap::Loss) => line(format_args!("hole: bytes that were wanted are not in the capture")),
        Some(Gap::Snaplen) => line(format_args!("cut: the capture holds only the beginning of a packet")),
        Some(Gap::Cap) => line(format_args!("hole: a cap of flowaudit kept bytes from being read")),
    }
}

fn handshake(record: &Record<'_>, tls: &tls::Evidence, line: Line<'_>) -> fmt::Result {
    if tls.midstream() {
        line(format_args!("TLS that began before the capture"))?;
    }
    if tls.hello_retry() {
        line(format_args!("a first ClientHello was answered with HelloRetryRequest"))?;
    }
    client_hello(tls, line)?;
    server_hello(tls, line)?;
    match tls.decryption() {
        Some(Decryption::Opened { records }) => {
            line(format_args!("keys opened {}", number(records.into(), "record")))?
        }
        Some(how) => {
            if let Some(words) = decryption_words(tls, how) {
                line(format_args!("{words}"))?;
            }
        }
        None => {}
    }
    if tls.server_hello().is_some() {
        certificates(record, tls, line)?;
    }
    outcome(tls, line)?;
    for (alerts, how) in [(tls.alerts(), "in clear"), (tls.decrypted_alerts(), "decrypted")] {
        for alert in alerts {
            line(format_args!("{} alert by {}, {how}", alert_words(alert), role(tls, alert.side)))?;
        }
    }
    if tls.malformed() {
        line(format_args!("a handshake message is malformed or too long"))?;
    }
    if tls.renegotiated() {
        line(format_args!("the connection was renegotiated"))?;
    }
    match &record.subject.observed.inherited {
        Some(inherited) => line(format_args!("{}", InheritedFrom(inherited))),
        None => Ok(()),
    }
}

fn client_hello(tls: &tls::Evidence, line: Line<'_>) -> fmt::Result {
    let Some(hello) = tls.client_hello() else {
        return match tls.alpn_offered() {
            Offer::Unseen(why) => line(format_args!("ClientHello not seen: {why}")),
            Offer::None | Offer::List(_) => Ok(()),
        };
    };
    let version = hello.max_version.map_or("no version known", Version::name);
    let name = match &hello.server_name {
        Some(name) => format!("server name {}", clean_bytes(name)),
        None => "no server name".to_owned(),
    };
    let alpn = match &hello.alpn {
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| clean_bytes(name).to_string()).collect();
            format!("ALPN {}", names.join(" "))
        }
        None => "no ALPN".to_owned(),
    };
    let which = if tls.hello_retry() { "second ClientHello" } else { "ClientHello" };
    line(format_args!("{which}: offers at most {version}, {name}, {alpn}"))?;
    if let Some(ja4) = hello.ja4 {
        line(format_args!("ClientHello: JA4 {ja4}"))?;
    }
    if hello.psk.is_some() || hello.session_ticket.is_some_and(|length| length > 0) {
        line(format_args!("ClientHello: offers to resume a session by a ticket or key"))?;
    }
    if hello.early_data {
        line(format_args!("ClientHello: announces early data"))?;
    }
    Ok(())
}

fn server_hello(tls: &tls::Evidence, line: Line<'_>) -> fmt::Result {
    let Some(hello) = tls.server_hello() else {
        return match tls.alpn() {
            Alpn::Unseen(why) => line(format_args!("ServerHello not seen: {why}")),
            Alpn::Chosen(..) | Alpn::None(_) => Ok(()),
        };
    };
    let version = hello.version.map_or("no version known", Version::name);
    let weak = if tls::classify(hello.cipher).is_some_and(tls::Class::is_weak) { " (weak)" } else { "" };
    let resumed = match tls.resumed() {
        Some(true) => "resumed",
        Some(false) => "a full handshake",
        None => "resumed or not is unseen",
    };
    let cipher = text(|out| words::cipher(hello.cipher, out));
    line(format_args!("ServerHello: {version}, {cipher}{weak}, {resumed}"))?;
    if let Some(exchange) = tls.key_exchange() {
        line(format_args!("key exchange: {exchange}"))?;
    }
    match tls.alpn() {
        Alpn::Chosen(name, basis) => {
            line(format_args!("ALPN chosen: {} ({})", clean_bytes(name), basis_word(basis)))
        }
        Alpn::None(basis) => line(format_args!("ALPN chosen: none ({})", basis_word(basis))),
        Alpn::Unseen(why) => line(format_args!("ALPN chosen: unseen, {why}")),
    }
}

fn certificates(record: &Record<'_>, tls: &tls::Evidence, line: Line<'_>) -> fmt::Result {
    let [server, client] =
        record.certificates.map_or([None, None], |[server, client]| [Some(server), Some(client)]);
    match (server, tls.server_chain()) {
        (Some(server), Some(chain)) => {
            let rest = if chain.complete { "" } else { ", the chain is not whole" };
            let count = number(chain.certificates.len() as u64, "certificate");
            let names = text(|out| words::certificate(server, out));
            line(format_args!("server certificate: {names} ({count}{rest})"))?;
        }
        _ if tls.resumed() == Some(true) => {
            line(format_args!("certificates: a resumed session shows none"))?;
        }
        _ if tls.version() == Some(Version::Tls13) => {
            line(format_args!("server certificate: unseen, TLS 1.3 encrypts it"))?;
        }
        _ => line(format_args!("server certificate: unseen"))?,
    }
    if tls.resumed() != Some(true) {
        let requested = match tls.certificate_requested() {
            Some(true) => "the server asked for one",
            Some(false) => "the server asked for none",
            None => "unseen",
        };
        // In TLS 1.3 the request is encrypted too, and what the client showed tells how it is known.
        let how = match (tls.version(), tls.certificate_requested(), tls.client_certificate()) {
            (_, None, _) => "",
            (Some(version), ..) if version < Version::Tls13 => " (clear)",
            (.., ClientCertificate::Presented { basis, .. })
            | (.., ClientCertificate::Empty(basis) | ClientCertificate::None(basis)) => match basis {
                Basis::Decrypted => " (decrypted)",
                _ => " (inferred)",
            },
            _ => "",
        };
        line(format_args!("certificate request: {requested}{how}"))?;
    }
    match tls.client_certificate() {
        ClientCertificate::Presented { basis, post_handshake, .. } => {
            let later = if post_handshake { " after the handshake" } else { "" };
            let names = client
                .map(|client| text(|out| words::certificate(client, out)))
                .filter(|names| names != "unseen");
            let names = names.unwrap_or_else(|| "its names are encrypted".to_owned());
            line(format_args!("client certificate: presented{later} ({}), {names}", basis_word(basis)))?;
        }
        ClientCertificate::Empty(basis) => {
            line(format_args!("client certificate: empty ({})", basis_word(basis)))?
        }
        ClientCertificate::None(basis) => {
            line(format_args!("client certificate: none ({})", basis_word(basis)))?
        }
        ClientCertificate::Unseen(why) => line(format_args!("client certificate: unseen, {why}"))?,
    }
    for (who, chain) in ["server", "client"].into_iter().zip(&record.subject.observed.chains) {
        match chain {
            Some(Ok(())) => line(format_args!("{who} chain: leads to a given authority"))?,
            Some(Err(problem)) => line(format_args!("{who} chain: {}", clean(&problem.to_string())))?,
            None => {}
        }
    }
    Ok(())
}

fn outcome(tls: &tls::Evidence, line: Line<'_>) -> fmt::Result {
    match tls.outcome() {
        Outcome::Accepted(basis) => line(format_args!("handshake accepted ({})", basis_word(basis))),
        Outcome::Refused { by, alert, basis } => {
            let alert = alert.map_or("without an alert that can be read".to_owned(), |alert| {
                format!("with alert {alert} {}", tls::alert_name(alert).unwrap_or("unknown"))
            });
            line(format_args!("handshake refused by {} {alert} ({})", role(tls, by), basis_word(basis)))
        }
        Outcome::Unseen(why) => line(format_args!("handshake: its outcome is unseen, {why}")),
    }
}

fn alert_words(alert: &Alert) -> String {
    let level = if alert.fatal { "fatal" } else { "warning" };
    format!("{level} {} {}", alert.description, tls::alert_name(alert.description).unwrap_or("unknown"))
}

fn role(tls: &tls::Evidence, side: Side) -> &'static str {
    match tls.client() {
        Some(client) if client == side => "the client",
        Some(_) => "the server",
        None => "one side",
    }
}

fn basis_word(basis: Basis) -> &'static str {
    match basis {
        Basis::Clear => "clear",
        Basis::Decrypted => "decrypted",
        Basis::Inferred => "inferred from record lengths",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Observed;
    use crate::policy::testing::{Case, DOPPLER, Handshake, LOG_API, MUTUAL, policy, spoken};
    use crate::report::testing::judged;

    fn lines(observed: Observed, certificates: Option<[&str; 2]>) -> Vec<String> {
        let (policy, mut lines) = (policy(), Vec::new());
        let case = Case::new(LOG_API, DOPPLER, 8082, observed);
        let told = tell(&judged(&policy, &case, certificates).record(), &mut |line| {
            lines.push(line.to_string());
            Ok(())
        });
        assert_eq!(told, Ok(()));
        lines
    }

    fn has(lines: &[String], wanted: &str) {
        assert!(lines.iter().any(|line| line.contains(wanted)), "{wanted}: {lines:#?}");
    }

    #[test]
    fn a_handshake_is_told_in_its_order() {
        let lines = lines(MUTUAL.observed(), Some(["CN=doppler", "CN=reverselogproxy"]));
        let at = |wanted: &str| {
            lines
                .iter()
                .position(|line| line.starts_with(wanted))
                .unwrap_or_else(|| panic!("{wanted}: {lines:#?}"))
        };
        let order = [
            "ClientHello: offers at most TLS 1.2",
            "ServerHello: TLS 1.2",
            "server certificate: CN=doppler",
            "certificate request: the server asked for one (clear)",
            "client certificate: presented (clear), CN=reverselogproxy",
            "handshake accepted (clear)",
        ];
        assert!(order.map(at).is_sorted(), "{lines:#?}");
    }

    #[test]
    fn a_refusal_names_who_and_with_which_alert() {
        let lines = lines(Handshake { refused: Some(48), ..MUTUAL }.observed(), None);
        has(&lines, "fatal 48 unknown_ca alert by the server, in clear");
        has(&lines, "handshake refused by the server with alert 48 unknown_ca (clear)");
    }

    #[test]
    fn names_off_the_wire_are_harmless() {
        let lines = lines(spoken(&["GET / HTTP/1.1\r\nHost: a\u{202e}b\r\n\r\n"]), None);
        has(&lines, "HTTP/1: first Host a");
        assert!(!lines.iter().any(|line| line.contains('\u{202e}')), "{lines:?}");
    }
}
