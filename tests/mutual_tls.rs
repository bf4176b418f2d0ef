//! Who authenticated in TLS, held against labelled connections of many stacks: as captured, with a
//! segment missing, with segments cut differently, and with sessions resumed that another began.

mod common;
#[path = "common/frames.rs"]
mod frames;

use std::collections::BTreeMap;

use common::{Need, capture, have, shared};
use frames::{Dice, Frame, Row, audit, plan};

const CAPTURES: &str = "captures/mutual-tls";
/// How often every capture loses a segment.
const LOSS_ROUNDS: usize = 5;
/// How often every capture is cut differently.
const CUT_ROUNDS: usize = 2;
/// How many foreign connections every resumed one is put behind.
const FOREIGN: usize = 40;

#[test]
fn labelled_connections_get_the_answer_of_their_label() {
    let Some(labelled) = labelled() else { return };
    let plan = plan();
    let mut matrix: BTreeMap<(String, String, &str), usize> = BTreeMap::new();
    let (mut decidable, mut definite) = (0, 0);
    let (mut unforgivable, mut old_differs) = (Vec::new(), Vec::new());
    for (file, capture) in &labelled {
        let rows = audit(&plan, &capture.frames);
        for label in &capture.labels {
            let answer = label.answer(&rows).unwrap_or_else(|| panic!("{file}: no flow of {}", label.port));
            let (truth, version) = (label["true_label"].to_owned(), label["tls_version"].to_owned());
            let case = format!("{file} {}: {truth} but said {answer}", label.port);
            if label.is_unforgivable(answer) {
                unforgivable.push(case.clone());
            }
            if version == "1.3" && &label["undecidable"] == "no" {
                decidable += 1;
                definite += usize::from(answer != "undetermined");
            }
            if version == "1.2" && !label.is_right(answer) {
                old_differs.push(case);
            }
            *matrix.entry((version, truth, answer)).or_default() += 1;
        }
    }
    for ((version, truth, answer), count) in &matrix {
        println!("TLS {version:4} {truth:12} {answer:14} {count:5}");
    }
    println!("{definite} of {decidable} that can be decided in TLS 1.3 are definite");
    assert!(unforgivable.is_empty(), "{unforgivable:#?}");
    assert!(old_differs.is_empty(), "{old_differs:#?}");
    assert!(definite * 100 >= decidable * 98);
}

#[test]
fn a_lost_segment_leaves_no_wrong_answer() {
    let Some(labelled) = labelled() else { return };
    let plan = plan();
    let mut dice = Dice(20_261_122);
    let (mut trials, mut right, mut unseen) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (file, capture) in &labelled {
        let with_payload: Vec<usize> =
            (0..capture.frames.len()).filter(|&at| capture.frames[at].has_payload()).collect();
        for _ in 0..LOSS_ROUNDS {
            let lost = with_payload[dice.below(with_payload.len())];
            let mut frames = capture.frames.clone();
            frames.remove(lost);
            let rows = audit(&plan, &frames);
            for label in &capture.labels {
                trials += 1;
                match label.answer(&rows) {
                    None | Some("undetermined") => unseen += 1,
                    Some(answer) if label.is_right(answer) => right += 1,
                    Some(answer) => wrong.push(format!(
                        "{file} {} without frame {}: {} but said {answer}",
                        label.port,
                        lost + 1,
                        &label["true_label"]
                    )),
                }
            }
        }
    }
    println!("{trials} trials with a segment lost: {right} right, {unseen} unseen, {} wrong", wrong.len());
    assert!(wrong.len() * 1000 <= trials, "{wrong:#?}");
}

#[test]
fn how_segments_are_cut_changes_no_answer() {
    let Some(labelled) = labelled() else { return };
    let plan = plan();
    let mut dice = Dice(7);
    let mut flows = 0;
    for (file, capture) in &labelled {
        let rows = audit(&plan, &capture.frames);
        let before = answers(&rows);
        for _ in 0..CUT_ROUNDS {
            let cut = |frame: &Frame| match dice.roll().to_be_bytes() {
                [0..=127, share, ..] => frame.split(share),
                [_, one, other, ..] => frame.split(one).iter().flat_map(|part| part.split(other)).collect(),
            };
            let frames: Vec<Frame> = capture.frames.iter().flat_map(cut).collect();
            assert_eq!(answers(&audit(&plan, &frames)), before, "{file}");
            flows += before.len();
        }
    }
    println!("{flows} flows cut differently");
}

/// The connection that began a session is taken out of the capture, and one of another server put in its
/// place, between the same ends. A ticket's length may then fit by chance, but it never turns a client
/// without a certificate into one that presented it, or the other way round. (Of a server that asks one
/// day and does not the next, it cannot tell a client that sent none from one that was not asked.)
#[test]
fn a_session_that_another_connection_began_is_not_inherited() {
    let Some(labelled) = labelled() else { return };
    let plan = plan();
    let mut dice = Dice(11);
    let resumed: Vec<(&Label, &Labelled)> =
        each(&labelled).filter(|(label, _)| &label["true_label"] == "resumed").collect();
    let began: Vec<(&Label, &Labelled)> =
        each(&labelled).filter(|(label, _)| matches!(label.class(), "mutual" | "oneway" | "empty")).collect();
    let (mut trials, mut linked, mut alike) = (0, 0, 0);
    let mut wrong = Vec::new();
    for (label, capture) in &resumed {
        let flow = capture.flow(label.port);
        let server = capture.server_port(label.port);
        for _ in 0..FOREIGN {
            let (other, elsewhere) = began[dice.below(began.len())];
            let port = if label.port == 40_000 { 40_001 } else { 40_000 };
            let mut frames = elsewhere.moved(other.port, port, server);
            let shift = flow[0].time - frames.last().expect("frames").time - 1_000_000;
            frames.iter_mut().for_each(|frame| frame.time += shift);
            frames.extend(flow.iter().cloned());
            let rows = audit(&plan, &frames);
            trials += 1;
            let answer = label.answer(&rows).expect("the flow is there");
            if label.is_right(answer) {
                linked += usize::from(answer != "resumed");
            } else if label.inherited() != "mutual" && matches!(answer, "oneway" | "empty") {
                (linked, alike) = (linked + 1, alike + 1);
            } else {
                let (of, behind) = (&label["file"], &other["file"]);
                wrong.push(format!("{of} {} behind {behind} {}: said {answer}", label.port, other.port));
            }
        }
    }
    println!(
        "{trials} foreign connections put before a resumption: {linked} linked, of these {alike} one-way for \
         empty or the other way round; {} wrong",
        wrong.len()
    );
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The repository's own captures: one full handshake, two that resume it.
#[test]
fn a_resumption_inherits_whatever_the_order_of_ends() {
    let plan = plan();
    for file in ["hard_resumed_L5_tls12.pcap", "hard_resumed_L5_tls13.pcap"] {
        let frames = frames::read(&capture(file));
        let said = |frames: &[Frame]| -> Vec<(String, String)> {
            let mut rows = audit(&plan, frames);
            rows.sort_by(|a, b| a["start"].cmp(&b["start"]));
            rows.into_iter().map(|row| (row["security"].clone(), row["security_basis"].clone())).collect()
        };
        let mutual = |basis: &str| ("mutual TLS".to_owned(), basis.to_owned());
        let first = mutual(if file.contains("tls12") { "clear" } else { "inferred" });
        let all = [first, mutual("inherited"), mutual("inherited")];
        assert_eq!(said(&frames), all, "{file}");
        // The first connection stays open: it ends last, with the capture.
        let began = frames[0].ports().expect("TCP");
        let of_first = |frame: &Frame| {
            let ports = frame.ports().expect("TCP");
            ports == began || ports == [began[1], began[0]]
        };
        let open: Vec<Frame> =
            frames.iter().filter(|frame| !(of_first(frame) && frame.closes())).cloned().collect();
        assert_eq!(said(&open), all, "{file}, the first left open");
        // Its tickets are not in the capture: nothing is inherited.
        let without: Vec<Frame> = frames.iter().filter(|frame| !of_first(frame)).cloned().collect();
        let resumed = ("TLS (resumed)".to_owned(), "clear".to_owned());
        assert_eq!(said(&without), [resumed.clone(), resumed], "{file}, without the first");
    }
}

/// One capture, and the labels of its connections.
struct Labelled {
    frames: Vec<Frame>,
    labels: Vec<Label>,
}

struct Label {
    port: u16,
    values: Row,
}

impl std::ops::Index<&str> for Label {
    type Output = str;

    fn index(&self, column: &str) -> &str {
        &self.values[column]
    }
}

impl Label {
    /// What the report says of this connection.
    fn answer(&self, rows: &[Row]) -> Option<&'static str> {
        let port = self.port.to_string();
        let row = rows.iter().find(|row| row["source_port"] == port || row["destination_port"] == port)?;
        Some(match row["security"].as_str() {
            "mutual TLS" => "mutual",
            "TLS" => "oneway",
            "TLS (empty client certificate)" => "empty",
            "TLS (resumed)" => "resumed",
            "TLS handshake refused" => "failed",
            _ => "undetermined",
        })
    }

    /// The truth, authentication after the handshake taken for the same.
    fn class(&self) -> &str {
        match &self["true_label"] {
            "resumed" => "resumed",
            truth => truth.trim_end_matches("-pha"),
        }
    }

    /// What the connection that began a resumed session was.
    fn inherited(&self) -> &'static str {
        let case = &self["case"];
        let app = case.starts_with("app_resume") && &self["server_auth_mode"] == "require";
        match () {
            () if case.contains("mtls") || app => "mutual",
            () if case.contains("empty") => "empty",
            () => "oneway",
        }
    }

    fn is_right(&self, answer: &str) -> bool {
        let truth = &self["true_label"];
        answer == self.class()
            || (truth == "resumed" && answer == self.inherited())
            // What comes after the handshake may be missed.
            || (truth.ends_with("-pha") && answer == "oneway")
    }

    fn is_unforgivable(&self, answer: &str) -> bool {
        matches!(answer, "mutual" | "failed" | "resumed") && !self.is_right(answer)
            || (self.class() == "mutual" && answer != "undetermined" && !self.is_right(answer))
            || (&self["true_label"] == "resumed" && answer != "undetermined" && !self.is_right(answer))
    }
}

impl Labelled {
    /// The frames of one connection, by its client's port.
    fn flow(&self, port: u16) -> Vec<Frame> {
        let of = |frame: &&Frame| frame.ports().is_some_and(|ports| ports.contains(&port));
        self.frames.iter().filter(of).cloned().collect()
    }

    fn server_port(&self, client: u16) -> u16 {
        let ports = self.flow(client)[0].ports().expect("TCP");
        if ports[0] == client { ports[1] } else { ports[0] }
    }

    /// A connection, moved to other ports.
    fn moved(&self, client: u16, to_client: u16, to_server: u16) -> Vec<Frame> {
        let new = |old: u16| if old == client { to_client } else { to_server };
        self.flow(client).iter().map(|frame| frame.with_ports(frame.ports().expect("TCP").map(new))).collect()
    }
}

/// What a report says of every flow, as far as TLS goes.
fn answers(rows: &[Row]) -> Vec<Vec<&str>> {
    let columns = [
        "source_port",
        "security",
        "security_basis",
        "application",
        "tls_version",
        "tls_cipher",
        "alpn",
        "client_certificate",
        "server_certificate",
        "ja4",
    ];
    rows.iter().map(|row| columns.map(|column| row[column].as_str()).to_vec()).collect()
}

fn each(labelled: &BTreeMap<String, Labelled>) -> impl Iterator<Item = (&Label, &Labelled)> {
    labelled.values().flat_map(|capture| capture.labels.iter().map(move |label| (label, capture)))
}

/// Every labelled capture by file; `None`, and a printed line, where they are not.
fn labelled() -> Option<BTreeMap<String, Labelled>> {
    if !have(&[Need::Shared(CAPTURES)]) {
        return None;
    }
    let mut labelled: BTreeMap<String, Labelled> = BTreeMap::new();
    let labels = csv::Reader::from_path(shared(CAPTURES).join("LABELS.csv")).expect("it opens");
    for values in labels.into_deserialize() {
        let values: Row = values.expect("a row");
        let file = values["file"].clone();
        let path = shared(CAPTURES).join("pcap").join(&file);
        let capture = labelled
            .entry(file)
            .or_insert_with(|| Labelled { frames: frames::read(&path), labels: Vec::new() });
        let port = values["client_port"].parse().expect("a port");
        capture.labels.push(Label { port, values });
    }
    Some(labelled)
}
