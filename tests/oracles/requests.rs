//! Request heads of HTTP/1 and HTTP/2, against tshark's.

use std::collections::{BTreeMap, BTreeSet};

use crate::ours::Ours;
use crate::tally::Tally;
use crate::tshark::Tshark;
use crate::tuple::{TCP, Tuple};

/// The heads of one five-tuple.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Heads {
    requests: u64,
    answers: u64,
    hosts: BTreeSet<String>,
    grpc: bool,
    unread: bool,
    /// The stream opened with another protocol.
    behind: bool,
}

/// Compares heads, five-tuple by five-tuple.
pub fn compare(ours: &Ours, theirs: &Tshark, tally: &mut Tally) {
    let mut mine: BTreeMap<(bool, Tuple), Heads> = BTreeMap::new();
    for flow in ours.flows.iter().filter(|flow| flow.tuple.transport == TCP && !flow.tunnelled) {
        if let Some(http) = &flow.http {
            let heads = mine.entry((http.two, flow.tuple)).or_default();
            heads.requests += u64::from(http.requests);
            heads.answers += u64::from(http.answers);
            // A first request may have none.
            heads.hosts.extend(Some(http.host.clone()).filter(|host| !host.is_empty()));
            heads.grpc |= http.grpc;
            heads.unread |= http.unread;
        }
    }
    let theirs = of_frames(theirs);
    let keys: BTreeSet<(bool, Tuple)> = mine.keys().chain(theirs.keys()).copied().collect();
    for key in keys {
        let (two, tuple) = key;
        let (mine, theirs) =
            (mine.get(&key).cloned().unwrap_or_default(), theirs.get(&key).cloned().unwrap_or_default());
        let [requests, answers, host, grpc] = if two {
            ["HTTP/2 requests", "HTTP/2 answers", "HTTP/2 authority", "gRPC"]
        } else {
            ["HTTP/1 requests", "HTTP/1 answers", "HTTP/1 host", ""]
        };
        let behind = theirs.behind && mine == Heads::default();
        let mut held = |question, same: bool| match same {
            true => tally.agree(question),
            false if behind => {
                tally.explained(question, "HTTP behind another protocol (SOCKS): not recognised")
            }
            false => tally.differ(question, format!("{tuple}: ours {mine:?}, tshark {theirs:?}")),
        };
        held(requests, mine.requests == theirs.requests);
        held(answers, mine.answers == theirs.answers);
        held(host, mine.hosts.is_subset(&theirs.hosts));
        if two {
            held(grpc, mine.grpc == theirs.grpc);
        }
    }
}

fn of_frames(theirs: &Tshark) -> BTreeMap<(bool, Tuple), Heads> {
    let mut found: BTreeMap<(bool, Tuple), Heads> = BTreeMap::new();
    let openings = theirs.openings();
    for frame in &theirs.frames {
        let (one, two) = (frame.has("http"), frame.has("http2"));
        let passed = frame.passed();
        let Some(tcp) = passed.iter().find(|passed| passed.tuple.transport == TCP && passed.outermost) else {
            continue;
        };
        if one {
            let heads = found.entry((false, tcp.tuple)).or_default();
            heads.behind = openings.get(&frame.number("tcp.stream")).is_some_and(|word| *word != "http");
            heads.requests += frame.all("http.request.method").count() as u64;
            heads.hosts.extend(frame.all("http.host").map(str::to_owned));
            let codes = frame.all("http.response.code");
            heads.answers += codes.filter(|code| *code == "101" || !code.starts_with('1')).count() as u64;
        }
        if two {
            let heads = found.entry((true, tcp.tuple)).or_default();
            heads.requests += frame.all("http2.headers.method").count() as u64;
            heads.hosts.extend(frame.all("http2.headers.authority").map(str::to_owned));
            let codes = frame.all("http2.headers.status");
            heads.answers += codes.filter(|code| !code.starts_with('1')).count() as u64;
            heads.grpc |=
                frame.all("http2.headers.content_type").any(|kind| kind.starts_with("application/grpc"));
        }
    }
    found.retain(|_, heads| heads.requests + heads.answers > 0);
    found
}
