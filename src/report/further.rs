//! What else was seen of a flow, whatever the row, in words for people.

use super::Record;
use super::because::InheritedFrom;
use super::explain::Parts;
use crate::flow::Doubt;
use crate::protocol::tls::{self, Decryption};
/// What else bears on the flow, whatever the row.
pub(super) fn further(record: &Record<'_>, parts: &mut Parts<'_>) {
    let observed = record.subject.observed;
    for (end, shown) in
        [("source", record.subject.source_shown), ("destination", record.subject.destination_shown)]
    {
        if let Some(process) = shown.process() {
            let out = parts.next();
            out.word("local ");
            out.word(end);
            out.word(": ");
            out.clean(process);
        }
    }
    if record.counted.evicted {
        parts.next().word("ended early: --max-memory had no room for more flows");
    }
    if let Some(ambiguity) = observed.ambiguity {
        let words = match ambiguity.doubt {
            Doubt::Segments => " brings other bytes than came before",
            Doubt::Urgent => " brings urgent bytes, which a receiver may take out",
            Doubt::Fragments => " and fragments before it bring different bytes for one place",
        };
        let out = parts.next();
        out.word("packet ");
        out.number(ambiguity.packet.1);
        if let Some(capture) = record.ambiguous_in {
            out.word(" of ");
            out.clean(capture);
        }
        out.word(words);
        out.word(" (sequence number ");
        out.number(ambiguity.sequence.into());
        out.word(")");
    }
    if observed.evidence.broken {
        parts.next().word("the bytes broke the rules of the protocol they began as");
    }
    for evidence in [Some(&observed.evidence), observed.evidence.inside.as_deref()].into_iter().flatten() {
        // Appending does not fail.
        let _ = super::spoken::words(evidence, |part| {
            parts.next().show(part);
            Ok(())
        });
    }
    if let Some(tls) = observed.tls() {
        further_tls(record, tls, parts);
    }
}

fn further_tls(record: &Record<'_>, tls: &tls::Evidence, parts: &mut Parts<'_>) {
    if let Some(key_exchange) = tls.key_exchange() {
        let out = parts.next();
        out.word("key exchange ");
        out.show(key_exchange);
    }
    if record.judgement.findings.is_none()
        && let Some(inherited) = &record.subject.observed.inherited
    {
        parts.next().show(InheritedFrom(inherited));
    }
    if tls.hello_retry() {
        parts.next().word("HelloRetryRequest");
    }
    for (kind, alerts) in [("fatal alert ", tls.alerts()), ("decrypted fatal alert ", tls.decrypted_alerts())]
    {
        for alert in alerts.iter().filter(|alert| alert.fatal) {
            let out = parts.next();
            out.word(kind);
            out.number(alert.description.into());
            out.word(" ");
            out.word(tls::alert_name(alert.description).unwrap_or("unknown"));
        }
    }
    if let Some(words) = tls.decryption().and_then(|how| decryption_words(tls, how)) {
        parts.next().word(&words);
    }
}

/// Where the keys that were given did not go.
pub(super) fn decryption_words(tls: &tls::Evidence, how: Decryption) -> Option<String> {
    Some(match how {
        Decryption::Opened { .. } => return None,
        Decryption::NoKey => "no key for this session in the key log".to_owned(),
        Decryption::Unsupported => {
            let suite = tls.cipher().and_then(tls::cipher_name).unwrap_or("this cipher suite");
            format!("the key log has this session, but decrypting {suite} is not supported")
        }
        Decryption::WrongKey => "the key does not open it".to_owned(),
        Decryption::Stopped { records } => format!("the key opened {records} records and not the next"),
    })
}
