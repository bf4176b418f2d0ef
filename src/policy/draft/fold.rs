//! Which rows of a draft go into others: those that prove less into those that say the same and more.

use super::{Entry, Key, row};
use crate::policy::observed::{Application, Observed, TlsKind};
use crate::policy::{Policy, lint};
use crate::protocol::tls::{self, Alpn, Offer};

/// What a flow left so open that it fits a better proven row between the same ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Open {
    /// Nothing was recognised, for want of bytes.
    silent: bool,
    /// TLS without a word on what is inside.
    application: bool,
    /// TLS without a word on the client's certificate.
    certificate: bool,
}

/// What a flow left open.
pub(super) fn open(observed: &Observed) -> Open {
    let tls = observed.tls();
    let nothing_agreed = |tls: &tls::Evidence| {
        matches!(tls.alpn_offered(), Offer::Unseen(_)) && matches!(tls.alpn(), Alpn::Unseen(_))
    };
    Open {
        silent: tls.is_none()
            && observed.application == Application::Unknown
            && !observed.evidence.unrecognised,
        application: observed.application == Application::Tls && tls.is_some_and(nothing_agreed),
        certificate: matches!(
            observed.security.tls,
            Some(TlsKind::ClientCertificateUnseen | TlsKind::Resumed)
        ),
    }
}

/// The rows between two ends, with those that prove less taken into those that say the same and more.
pub(super) fn merged(rows: Vec<(Key, Entry)>, policy: &Policy) -> Vec<(Key, Entry)> {
    let homes: Vec<Option<usize>> = (0..rows.len())
        .map(|index| {
            (0..rows.len()).find(|&home| home != index && takes(&rows[home].0, &rows[index].0, policy))
        })
        .collect();
    let mut merged: Vec<Option<(Key, Entry)>> = rows.into_iter().map(Some).collect();
    for (index, home) in homes.iter().enumerate() {
        // A home may itself have one; each step proves more, so that this ends.
        let Some(mut home) = *home else { continue };
        while let Some(further) = homes[home] {
            home = further;
        }
        if let Some((_, entry)) = merged[index].take()
            && let Some((_, into)) = &mut merged[home]
        {
            into.add(entry);
        }
    }
    merged.into_iter().flatten().collect()
}

/// The row of `home` would be contradicted by no flow of `other`, and is better proven or wider.
fn takes(home: &Key, other: &Key, policy: &Policy) -> bool {
    let in_tls = |key: &Key| key.security.contains("TLS");
    let (ours, theirs) = (home.open, other.open);
    if theirs.silent || ours.silent {
        return theirs.silent && !ours.silent;
    }
    if theirs.application != ours.application || theirs.certificate != ours.certificate {
        let no_more_open = ours.application <= theirs.application && ours.certificate <= theirs.certificate;
        let application = theirs.application || home.application == other.application;
        let security = home.security == other.security
            || (theirs.certificate && home.security == other.security.replacen("TLS", "Mutual TLS", 1));
        return no_more_open && application && security && in_tls(home);
    }
    let covers = match (row(home), row(other)) {
        (Some(wide), Some(narrow)) => {
            lint::covers(&wide, &narrow, policy.names()) && !lint::covers(&narrow, &wide, policy.names())
        }
        _ => false,
    };
    home.security == other.security && covers
}

#[cfg(test)]
mod tests {
    use super::super::Draft;
    use super::*;
    use crate::inventory::{Inventory, Names};
    use crate::policy::Options;

    fn key(application: &str, security: &str, open: Open) -> Key {
        let ends = ("a".to_owned(), "b".to_owned(), 1, false);
        Key { ends, application: application.to_owned(), security: security.to_owned(), open }
    }

    const PROVEN: Open = Open { silent: false, application: false, certificate: false };
    const SILENT: Open = Open { silent: true, ..PROVEN };
    const RESUMED: Open = Open { certificate: true, ..PROVEN };
    const MIDSTREAM: Open = Open { application: true, certificate: true, ..PROVEN };

    fn nothing() -> Policy {
        Policy::new(Vec::new(), Inventory::default(), Names::shipped(), Options::default())
    }

    fn rows_left(keys: &[(&str, &str, Open)]) -> Vec<(String, u64)> {
        let mut draft = Draft::default();
        for (application, security, open) in keys {
            let entry = draft.entries.entry(key(application, security, *open)).or_default();
            entry.flows += 1;
        }
        let mut by_ends: Vec<(Key, Entry)> = draft.entries.into_iter().collect();
        by_ends = merged(by_ends, &nothing());
        by_ends
            .into_iter()
            .map(|(key, entry)| (format!("{} {}", key.application, key.security), entry.flows))
            .collect()
    }

    #[test]
    fn what_proves_less_goes_where_more_is_proven() {
        let one = |name: &str, flows| vec![(name.to_owned(), flows)];
        let grpc = ("gRPC over HTTP/2", "Mutual TLS", PROVEN);
        assert_eq!(rows_left(&[grpc, ("Varies", "None", SILENT)]), one("gRPC over HTTP/2 Mutual TLS", 2));
        assert_eq!(rows_left(&[grpc, ("HTTPS", "TLS", MIDSTREAM)]), one("gRPC over HTTP/2 Mutual TLS", 2));
        assert_eq!(
            rows_left(&[
                ("HTTPS", "Mutual TLS", PROVEN),
                ("HTTPS", "TLS", RESUMED),
                ("HTTPS", "TLS", MIDSTREAM)
            ]),
            one("HTTPS Mutual TLS", 3)
        );
        assert_eq!(
            rows_left(&[("HTTP", "OAuth 2.0", PROVEN), ("HTTP/WebSocket", "OAuth 2.0", PROVEN)]),
            one("HTTP/WebSocket OAuth 2.0", 2)
        );
    }

    #[test]
    fn what_differs_keeps_its_row() {
        let grpc = ("gRPC over HTTP/2", "Mutual TLS", PROVEN);
        for other in [
            ("gRPC over HTTP/2", "TLS", PROVEN),
            ("gRPC over HTTP/2", "None", PROVEN),
            ("HTTPS", "TLS", RESUMED),
            ("Varies", "None", PROVEN),
            ("HTTP", "None", PROVEN),
        ] {
            assert_eq!(rows_left(&[grpc, other]).len(), 2, "{other:?}");
        }
        assert_eq!(rows_left(&[("HTTP", "None", PROVEN), ("HTTP", "OAuth 2.0", PROVEN)]).len(), 2);
        assert_eq!(rows_left(&[("Varies", "None", SILENT)]).len(), 1);
    }
}
