//! TLS handshakes, against tshark's fields: what was offered, what was chosen, and certificates in clear.

use std::collections::{BTreeMap, BTreeSet};

use crate::ours::{Flow, Ours};
use crate::tally::Tally;
use crate::tshark::{NAMES, Tshark};
use crate::tuple::{TCP, Tuple};

const BEHIND: &str = "TLS behind another protocol (STARTTLS, SOCKS, OpenVPN): not recognised";

/// One handshake: each answer as text, empty where there is none.
#[derive(Clone, Debug, Default)]
struct Handshake {
    server_name: Option<String>,
    offered: Option<String>,
    version: Option<String>,
    cipher: Option<String>,
    chosen: Option<String>,
    /// Names on the certificates that each side showed.
    names: [BTreeSet<String>; 2],
    /// A certificate was read that has neither a common name nor alternative names.
    nameless: bool,
    /// The stream opened with another protocol.
    behind: bool,
}

/// Compares handshakes, five-tuple by five-tuple.
pub fn compare(ours: &Ours, theirs: &Tshark, tally: &mut Tally) {
    let mut mine: BTreeMap<Tuple, Vec<Handshake>> = BTreeMap::new();
    for flow in ours.flows.iter().filter(|flow| flow.tuple.transport == TCP && !flow.tunnelled) {
        if let Some(handshake) = of_flow(flow) {
            mine.entry(flow.tuple).or_default().push(handshake);
        }
    }
    let theirs = of_frames(theirs);
    let tuples: BTreeSet<Tuple> = mine.keys().chain(theirs.keys()).copied().collect();
    for tuple in tuples {
        let of = |all: &BTreeMap<Tuple, Vec<Handshake>>| all.get(&tuple).cloned().unwrap_or_default();
        let (mine, theirs) = (of(&mine), of(&theirs));
        let behind = mine.is_empty() && theirs.iter().all(|handshake| handshake.behind);
        type Part = fn(&Handshake) -> Option<&String>;
        let parts: [(&'static str, Part); 5] = [
            ("TLS server name", |handshake| handshake.server_name.as_ref()),
            ("TLS protocols offered", |handshake| handshake.offered.as_ref()),
            ("TLS version", |handshake| handshake.version.as_ref()),
            ("TLS cipher suite", |handshake| handshake.cipher.as_ref()),
            ("TLS protocol chosen", |handshake| handshake.chosen.as_ref()),
        ];
        for (question, part) in parts {
            let sorted = |all: &[Handshake]| {
                let mut answers: Vec<String> = all.iter().filter_map(part).cloned().collect();
                answers.sort();
                answers
            };
            let (mine, theirs) = (sorted(&mine), sorted(&theirs));
            if mine == theirs {
                if !mine.is_empty() {
                    tally.agree(question);
                }
            } else if behind {
                tally.explained(question, BEHIND);
            } else {
                tally.differ(question, format!("{tuple}: ours {mine:?}, tshark {theirs:?}"));
            }
        }
        for (at, question) in [(0, "TLS server certificate"), (1, "TLS client certificate")] {
            let names = |all: &[Handshake]| -> BTreeSet<String> {
                all.iter().flat_map(|handshake| handshake.names[at].iter().cloned()).collect()
            };
            let nameless = mine.iter().any(|handshake| handshake.nameless);
            let (mine, theirs) = (names(&mine), names(&theirs));
            match (mine.is_empty(), theirs.is_empty()) {
                (true, true) => {}
                // tshark names the whole chain, issuers included.
                (false, false) if mine.is_subset(&theirs) => tally.agree(question),
                _ if behind => tally.explained(question, BEHIND),
                (true, false) if nameless => tally.explained(question, "it has no name that could name a VM"),
                _ => tally.differ(question, format!("{tuple}: ours {mine:?}, tshark {theirs:?}")),
            }
        }
    }
}

fn of_flow(flow: &Flow) -> Option<Handshake> {
    let tls = flow.tls.as_ref()?;
    let mut handshake = Handshake::default();
    if let Some((name, offered)) = &tls.client {
        handshake.server_name = Some(name.clone());
        handshake.offered = Some(offered.join(" "));
    }
    if let Some((version, cipher)) = &tls.server {
        handshake.version = Some(version.clone());
        handshake.cipher = Some(format!("0x{cipher:04x}"));
        handshake.chosen = Some(tls.alpn.clone().unwrap_or_default());
    }
    for (names, shown) in handshake.names.iter_mut().zip(&tls.certificates) {
        let shown = shown.as_deref().unwrap_or_default();
        let parts = shown.split("; SAN=").flat_map(|part| part.split(", "));
        let parts = parts.map(|part| part.trim_start_matches("CN=").trim_start_matches("SAN="));
        // A truncated list says how many more there are; other forms than names tshark prints elsewhere.
        let named = parts.filter(|part| !part.is_empty() && !part.starts_with('…'));
        handshake.nameless |= shown == "CN=";
        names.extend(named.map(str::to_owned));
    }
    Some(handshake)
}

fn of_frames(theirs: &Tshark) -> BTreeMap<Tuple, Vec<Handshake>> {
    let openings = theirs.openings();
    let mut streams: BTreeMap<u64, (Tuple, Option<bool>, Handshake)> = BTreeMap::new();
    for frame in theirs.frames.iter().filter(|frame| frame.has("tls")) {
        let passed = frame.passed();
        let Some(tcp) = passed.iter().find(|passed| passed.tuple.transport == TCP && passed.outermost) else {
            continue;
        };
        let (_, client, handshake) = streams
            .entry(frame.number("tcp.stream"))
            .or_insert_with(|| (tcp.tuple, None, Handshake::default()));
        let text = |field: &str| frame.first(field).unwrap_or_default().to_owned();
        let types: Vec<&str> = frame.all("tls.handshake.type").collect();
        if types.contains(&"1") && handshake.server_name.is_none() {
            *client = Some(tcp.turned);
            handshake.server_name = Some(text("tls.handshake.extensions_server_name"));
            let offered: Vec<&str> = frame.all("tls.handshake.extensions_alpn_str").collect();
            handshake.offered = Some(offered.join(" "));
        }
        if types.contains(&"2") {
            client.get_or_insert(!tcp.turned);
            let supported = frame.first("tls.handshake.extensions.supported_version");
            let version = supported.or(frame.first("tls.handshake.version")).unwrap_or_default();
            handshake.version = Some(version_name(version));
            handshake.cipher = Some(text("tls.handshake.ciphersuite"));
            handshake.chosen = Some(text("tls.handshake.extensions_alpn_str"));
        }
        // EncryptedExtensions, where the capture carries the keys.
        if types.contains(&"8") && handshake.chosen.as_deref() == Some("") {
            handshake.chosen = Some(text("tls.handshake.extensions_alpn_str"));
        }
        if types.contains(&"11") {
            let by_client = *client == Some(tcp.turned);
            for field in NAMES {
                handshake.names[usize::from(by_client)].extend(frame.all(field).map(str::to_owned));
            }
        }
    }
    let mut tuples: BTreeMap<Tuple, Vec<Handshake>> = BTreeMap::new();
    for (number, (tuple, _, mut handshake)) in streams {
        handshake.behind = openings.get(&number).is_some_and(|word| *word != "tls");
        tuples.entry(tuple).or_default().push(handshake);
    }
    tuples
}

fn version_name(code: &str) -> String {
    match code {
        "0x0300" => "SSL 3.0",
        "0x0301" => "TLS 1.0",
        "0x0302" => "TLS 1.1",
        "0x0303" => "TLS 1.2",
        "0x0304" => "TLS 1.3",
        _ => "",
    }
    .to_owned()
}
