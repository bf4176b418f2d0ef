//! The `evidence` column: why each finding is what it is, in words for people.

use std::fmt;

use super::escape::clean;
use super::text::{Text, text};
use super::{Record, number, words};
use crate::flow::Doubt;
use crate::flow::community_id::{self, DEFAULT_SEED};
use crate::inventory::SubnetLookup;
use crate::packet::Transport;
use crate::policy::cell::End;
use crate::policy::{Because, Column, Finding, Inherited, Missing, Reason, RowRef, Shown, Verdict, columns};
use crate::protocol::tls::{self, Decryption, Version};
use crate::protocol::{NatsAuthentication, Requests};

/// Appends a short text of what was held against the row that decides, and what else was seen.
pub(super) fn append_evidence(record: &Record<'_>, out: &mut Text) {
    let start = out.length();
    append_all_held(record, false, out);
    append_further(record, out.length() == start, out);
}

/// Appends what was held against the row that decides, as it is of all flows alike: with holes for the rest.
pub(super) fn append_held(record: &Record<'_>, out: &mut Text) {
    append_all_held(record, true, out);
}

fn append_all_held(record: &Record<'_>, with_holes: bool, out: &mut Text) {
    let mut parts = Parts { out, first: true };
    match &record.judgement.findings {
        None => parts.next().word("no documented row names this port, source or destination"),
        Some(findings) => held(record, findings, with_holes, &mut parts),
    }
    let observed = record.subject.observed;
    if record.judgement.verdict == Verdict::Violation && !observed.no_payload {
        let out = parts.next();
        out.word("seen: application ");
        out.word(observed.application.word());
        out.word(", security ");
        observed.security.words().iter().for_each(|word| out.word(word));
    }
}

/// Appends what else was seen; the `first` part stands without a semicolon.
pub(super) fn append_further(record: &Record<'_>, first: bool, out: &mut Text) {
    further(record, &mut Parts { out, first });
}

/// What flows that are judged alike differ in. In words put together for all of them a control character stands for
/// it: all other text is escaped and holds none.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hole {
    Source,
    Destination,
    Port,
    State,
}

impl Hole {
    /// All in a text, with their places.
    pub(super) fn all(text: &[u8]) -> impl Iterator<Item = (usize, Hole)> {
        let of = |byte: &u8| match byte {
            0 => Some(Hole::Source),
            1 => Some(Hole::Destination),
            2 => Some(Hole::Port),
            3 => Some(Hole::State),
            _ => None,
        };
        text.iter().enumerate().filter_map(move |(at, byte)| Some((at, of(byte)?)))
    }

    pub(super) fn fill(self, record: &Record<'_>, out: &mut Text) {
        let subject = &record.subject;
        match self {
            Hole::Source => out.ip(subject.source.ip),
            Hole::Destination => out.ip(subject.destination.ip),
            Hole::Port => out.number(subject.destination.port.into()),
            Hole::State => out.word(record.counted.state.word()),
        }
    }
}

/// The same, for what formats.
pub fn evidence(record: &Record<'_>) -> String {
    text(|out| append_evidence(record, out))
}

/// Appends why a finding is what it is, held against this row.
pub(super) fn append_words(
    record: &Record<'_>,
    row: Option<RowRef>,
    column: Column,
    finding: &Finding,
    out: &mut Text,
) {
    append_words_or_holes(&Words { record, row, column, with_holes: false }, finding, out);
}

fn append_words_or_holes(words: &Words<'_>, finding: &Finding, out: &mut Text) {
    for (at, because) in finding.because().enumerate() {
        if at > 0 {
            out.word(", ");
        }
        words.one(because, out);
    }
}

/// Parts separated by semicolons.
struct Parts<'b> {
    out: &'b mut Text,
    first: bool,
}

impl Parts<'_> {
    /// Where the next part goes.
    fn next(&mut self) -> &mut Text {
        if !std::mem::replace(&mut self.first, false) {
            self.out.word("; ");
        }
        self.out
    }
}

/// What each column's finding is and why, what decides first.
fn held(record: &Record<'_>, findings: &[Finding; 6], with_holes: bool, parts: &mut Parts<'_>) {
    // A row of another port is named for its ends only: it asks nothing of this flow.
    let elsewhere = record.judgement.reason == Some(Reason::NoRowForPort);
    let mut all = Column::ALL;
    let mut told = 0;
    for (column, finding) in columns(findings) {
        if !is_plain(column, finding) && (!elsewhere || says_where(column)) {
            all[told] = column;
            told += 1;
        }
    }
    let all = &mut all[..told];
    let finding = |column: Column| &findings[column as usize];
    let reason = record.judgement.reason;
    all.sort_by_key(|column| {
        let finding = finding(*column);
        (std::cmp::Reverse(finding.grade), finding.reason != reason)
    });
    for (at, column) in all.iter().enumerate() {
        let same = |other: &&Column| {
            says_what(*column)
                && says_what(**other)
                && finding(**other).because().eq(finding(*column).because())
        };
        if all[..at].iter().any(|other| same(&other)) {
            continue;
        }
        let out = parts.next();
        out.word(name(*column));
        if let Some(twin) = all[at + 1..].iter().find(same) {
            out.word(" and ");
            out.word(name(*twin));
        }
        out.word(": ");
        let words = Words { record, row: record.judgement.row, column: *column, with_holes };
        append_words_or_holes(&words, finding(*column), out);
    }
}

/// The columns that tell where a flow goes, rather than what it carries.
fn says_where(column: Column) -> bool {
    matches!(column, Column::Source | Column::Destination | Column::Port)
}

/// The columns about what it carries: what holds of both is said once.
pub(super) fn says_what(column: Column) -> bool {
    matches!(column, Column::Application | Column::Security)
}

/// A matching port or transport needs no words.
fn is_plain(column: Column, finding: &Finding) -> bool {
    matches!(column, Column::Port | Column::Transport)
        && finding
            .because()
            .all(|because| matches!(because, Because::PortMatches | Because::TransportMatches))
}

/// The column as people read it.
pub(super) fn name(column: Column) -> &'static str {
    match column {
        Column::Source => "source",
        Column::Destination => "destination",
        Column::Port => "port",
        Column::Transport => "transport",
        Column::Application => "application",
        Column::Security => "security",
    }
}

struct Words<'a> {
    record: &'a Record<'a>,
    row: Option<RowRef>,
    column: Column,
    with_holes: bool,
}

/// What words are put together from.
enum Piece<'a> {
    Text(&'a str),
    Number(u64),
    Show(&'a dyn fmt::Display),
    /// The address at this end.
    Ip,
    /// The destination's port.
    Port,
    /// How the connection stands.
    State,
    /// The VM that the inventory has at this end.
    Vm,
    /// The groups that the capture itself names at this end.
    Learnt,
    /// The local process that has the socket.
    Process,
    /// What the row documents in this column.
    Documented,
    /// The component that the row documents in this column, or else the whole cell.
    Component,
    /// The destination's subnet, with its network and zones.
    Subnet,
    /// The version of TLS, as far as it is known, and a space.
    TlsVersion,
    /// The requests that were read, by what they carried.
    Requests,
}

impl Words<'_> {
    fn one(&self, because: Because, out: &mut Text) {
        use Piece::{
            Component, Documented, Ip, Learnt, Number, Port, Process, Requests, Show, State, Subnet, Text,
            TlsVersion, Vm,
        };
        match because {
            Because::InInventory => self.say(&[Ip, Text(" is "), Vm], out),
            Because::OtherVm => self.say(&[Ip, Text(" is "), Vm, Text(", not "), Documented], out),
            Because::NotInInventory => {
                self.say(&[Ip, Text(" is not in the inventory, documented is "), Documented], out)
            }
            Because::NoInventory => out.word("no inventory was given"),
            Because::NotNamed => self.say(&[Text("the inventory names no "), Documented], out),
            Because::PartialInventory => self.say(
                &[Text("the inventory is partial and does not say that "), Ip, Text(" is "), Documented],
                out,
            ),
            Because::AmbiguousAddress => self.say(&[Ip, Text(" is claimed by "), Vm], out),
            Because::Learnt(from) => self.say(
                &[
                    Ip,
                    Text(" is "),
                    Learnt,
                    Text(" by a name learnt from "),
                    Text(from.word()),
                    Text(" in this capture"),
                ],
                out,
            ),
            Because::RunsJob => self.say(&[Ip, Text(" is "), Vm, Text(" and runs the documented job")], out),
            Because::DoesNotRunJob => {
                self.say(&[Ip, Text(" is "), Vm, Text(" and does not run "), Component], out)
            }
            Because::JobsUnknown => self.say(&[Text("the inventory lists no jobs for "), Ip], out),
            Because::ProcessIsIt => self.say(&[Text("the socket belongs to "), Process], out),
            Because::ProcessIsAnother => {
                self.say(&[Text("the socket belongs to "), Process, Text(", not to "), Component], out)
            }
            Because::CertificateNamesIt => out.word("its certificate names the component"),
            Because::CertificateNamesAnother => {
                self.say(&[Text("its certificate names another component than "), Component], out)
            }
            Because::SameSubnet => self.say(&[Ip, Text(" is in the destination's subnet "), Subnet], out),
            Because::SameNetwork => self.say(&[Ip, Text(" is in the destination's network "), Subnet], out),
            Because::OtherSubnetSameNetwork => self
                .say(&[Ip, Text(" is in another subnet of the destination's network, not in "), Subnet], out),
            Because::OutsideSubnet => {
                self.say(&[Ip, Text(" is outside the destination's subnet "), Subnet], out)
            }
            Because::SubnetUnknown => out.word("no cloud config tells the destination's subnet"),
            Because::SubnetOverlaps => out.word("subnets overlap there"),
            Because::SubnetDynamic => out.word("the destination is on a network without ranges"),
            Because::DirectionGuessed => out.word("which end opened the flow is only guessed"),
            Because::PortMatches | Because::TransportMatches => out.word("as documented"),
            Because::PortDiffers => self.say(&[Port, Text(", documented is "), Documented], out),
            Because::TransportDiffers => self.say(&[Text("documented is "), Documented], out),
            Because::Speaks(application) => self.say(&[Text(application.word()), Text(" in clear")], out),
            Because::SpeaksInside(application) => {
                self.say(&[Text(application.word()), Text(" inside TLS, decrypted")], out)
            }
            Because::SpeaksUnknownInside => {
                out.word("the first bytes inside TLS, decrypted, are no protocol known")
            }
            Because::ContentTypeUnseen => out.word("HTTP/2, no content type seen"),
            Because::SpeaksUnknown => out.word("the first bytes are no protocol known"),
            Because::BytesAmbiguous => out.word("the bytes can be read in more than one way"),
            Because::NoPayload => self.say(&[Text("no payload was exchanged ("), State, Text(")")], out),
            Because::NotCaptured(missing) => out.word(missing_words(missing)),
            Because::InsideTls => out.word("what is inside TLS is unseen"),
            Because::AlpnInClear => out.word("ALPN chosen in clear"),
            Because::AlpnDecrypted => out.word("ALPN chosen, decrypted"),
            Because::AlpnInferred => out.word("ALPN inferred from record lengths"),
            Because::OnlyH2Offered => out.word("only h2 was offered and the connection was accepted"),
            Because::OnlyHttpOffered => {
                out.word("every protocol offered is HTTP and the connection was accepted")
            }
            Because::NoAlpnOffered => out.word("the client offered no ALPN"),
            Because::H2NotOffered => out.word("the client offered ALPN without h2"),
            Because::AlpnOther => out.word("the server chose another protocol or none"),
            Because::NotAccepted(None) => out.word("not seen to be accepted"),
            Because::NotAccepted(Some(why)) => {
                self.say(&[Text("not seen to be accepted ("), Show(&why), Text(")")], out)
            }
            Because::HandshakeAccepted => self.say(&[TlsVersion, Text("handshake accepted")], out),
            Because::HandshakeRefused(None) => self.say(&[TlsVersion, Text("handshake refused")], out),
            Because::HandshakeRefused(Some(alert)) => self.say(
                &[
                    TlsVersion,
                    Text("handshake refused with alert "),
                    Number(alert.into()),
                    Text(" "),
                    Text(tls::alert_name(alert).unwrap_or("")),
                ],
                out,
            ),
            Because::ClientCertificate => out.word("the client presented a certificate"),
            Because::EmptyClientCertificate => {
                out.word("the client was asked for a certificate and sent none")
            }
            Because::NoClientCertificate => out.word("the client presented no certificate"),
            Because::ClientCertificateUnseen(why) => {
                self.say(&[Text("client certificate unseen ("), Show(&why), Text(")")], out)
            }
            Because::FollowedByOther(application) => {
                self.say(&[Text("bytes follow that are no "), Text(application.word())], out)
            }
            Because::Resumed => out.word("a resumed session shows no certificates"),
            Because::Inherited => {
                if let Some(inherited) = &self.record.subject.observed.inherited {
                    out.show(InheritedFrom(inherited));
                }
            }
            Because::InClear => out.word("no TLS"),
            Because::TlsUnderPlainRow => {
                self.say(&[TlsVersion, Text("where "), Documented, Text(" without TLS is documented")], out)
            }
            Because::TlsVersionBelow(version) => {
                self.say(&[Text(version.name()), Text(" is below the accepted version")], out)
            }
            Because::TlsOfferBelow(version) => self.say(
                &[
                    Text("the client offers at most "),
                    Text(version.name()),
                    Text(", below the accepted version"),
                ],
                out,
            ),
            Because::WeakSuite(suite) => match tls::cipher_name(suite) {
                Some(name) => self.say(&[Text("weak cipher suite "), Text(name)], out),
                None => self.say(&[Show(&format_args!("weak cipher suite 0x{suite:04x}"))], out),
            },
            Because::Chain { client } => {
                let who = if client { "client" } else { "server" };
                match &self.record.subject.observed.chains[usize::from(client)] {
                    Some(Err(problem)) => self
                        .say(&[Text(who), Text(" certificate: "), Show(&clean(&problem.to_string()))], out),
                    _ => self.say(&[Text(who), Text(" certificate")], out),
                }
            }
            Because::EveryRequest => {
                self.say(&[Text("every request carried it ("), Requests, Text(")")], out)
            }
            Because::RequestsWithout(count) => self.say(
                &[Text(&number(count.into(), "request")), Text(" did not carry it ("), Requests, Text(")")],
                out,
            ),
            Because::OtherCredentials => self
                .say(&[Text("credentials were sent that may be such a token ("), Requests, Text(")")], out),
            Because::RequestsUnread => {
                self.say(&[Text("some requests could not be read ("), Requests, Text(")")], out)
            }
            Because::AnswersUnread => {
                self.say(&[Text("the answers could not be read ("), Requests, Text(")")], out)
            }
            Because::NoRequest => out.word("no request was read"),
            Because::Only401 => self.say(&[Text("nothing but 401 came back ("), Requests, Text(")")], out),
            Because::NatsPresented(presented) => out.word(nats_words(presented)),
            Because::NatsRefused => out.word("the NATS server answered with an authorization error"),
            Because::AnswerUnseen => {
                out.word("user and password were sent, the server's answer was not seen")
            }
            Because::LoginAccepted => out.word("the login was accepted"),
            Because::LoginRefused => out.word("the login was refused"),
            Because::LoginAnonymous => out.word("the login carried no credentials"),
            Because::SshItself => out.word("SSH authenticates and encrypts by itself"),
            Because::NothingAsked => out.word("nothing is asked for"),
            Because::DocumentOpen => {
                self.say(&[Text("the document says "), Documented, Text(", which traffic cannot show")], out)
            }
            Because::InsideVm => out.word("inside one VM, as documented"),
            Because::CrossesTheNetwork => out.word("documented inside one VM, and it crosses the network"),
            Because::Loopback => out.word("which VM a loopback address is on is not in the capture"),
        }
    }

    fn say(&self, pieces: &[Piece<'_>], out: &mut Text) {
        for piece in pieces {
            self.piece(piece, out);
        }
    }

    fn piece(&self, piece: &Piece<'_>, out: &mut Text) {
        match piece {
            Piece::Text(text) => out.word(text),
            Piece::Number(number) => out.number(*number),
            Piece::Show(shown) => out.show(shown),
            Piece::Ip if self.column == Column::Destination => self.hole(Hole::Destination, out),
            Piece::Ip => self.hole(Hole::Source, out),
            Piece::Port => self.hole(Hole::Port, out),
            Piece::State => self.hole(Hole::State, out),
            Piece::Vm => {
                let end = if self.column == Column::Destination { words::DESTINATION } else { words::SOURCE };
                words::vm(self.record, end, out);
            }
            Piece::Learnt => self.learnt(out),
            Piece::Process => out.clean(self.shown().process().unwrap_or_default()),
            Piece::Documented => self.documented(out),
            Piece::Component => self.component(out),
            Piece::Subnet => self.subnet(out),
            Piece::TlsVersion => {
                let version = self.record.subject.observed.tls().and_then(tls::Evidence::version);
                out.word(version.map_or("TLS", Version::name));
                out.word(" ");
            }
            Piece::Requests => {
                let requests = self.record.subject.observed.requests();
                out.word(&requests.map_or(String::new(), requests_words));
            }
        }
    }

    fn hole(&self, hole: Hole, out: &mut Text) {
        if self.with_holes { out.byte(hole as u8) } else { hole.fill(self.record, out) }
    }

    /// The groups that the capture itself names at this end.
    fn learnt(&self, out: &mut Text) {
        for (at, group) in self.shown().learnt_groups().enumerate() {
            if at > 0 {
                out.word(" or ");
            }
            out.clean(group);
        }
    }

    fn documented(&self, out: &mut Text) {
        if let Some(at) = self.row {
            out.clean(&self.record.policy.row(at).cells[self.column as usize]);
        }
    }

    fn component(&self, out: &mut Text) {
        let row = self.row.map(|at| self.record.policy.row(at));
        let end =
            row.map(|row| if self.column == Column::Destination { &row.destination } else { &row.source });
        match end {
            Some(End::AnyVmRunning(name) | End::Vm { component: Some(name), .. }) => out.clean(name),
            _ => self.documented(out),
        }
    }

    fn subnet(&self, out: &mut Text) {
        let destination = self.record.subject.destination.ip;
        let SubnetLookup::One(subnet) = self.record.policy.inventory().subnet(destination) else { return };
        out.show(subnet.range);
        out.word(" (");
        out.clean(&subnet.network);
        if !subnet.azs.is_empty() {
            out.word(", ");
            out.clean(&subnet.azs.join(" "));
        }
        out.word(")");
    }

    fn shown(&self) -> &Shown {
        match self.column {
            Column::Destination => self.record.subject.destination_shown,
            _ => self.record.subject.source_shown,
        }
    }
}

/// Names the connection that began a resumed session.
pub(super) struct InheritedFrom<'a>(pub(super) &'a Inherited);

impl fmt::Display for InheritedFrom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inherited { client, server, named, .. } = *self.0;
        let id = community_id::community_id(client, server, Transport::TCP, DEFAULT_SEED);
        let how = if named { "whose session it resumes" } else { "whose ticket is as long as the one used" };
        write!(f, "inherited from the connection of {} port {} ({id}), {how}", client.ip, client.port)
    }
}

/// Requests, counted by the credentials they carried and the answers they got.
pub(super) fn requests_words(requests: &Requests) -> String {
    let counts = [
        (requests.bearer, "bearer"),
        (requests.basic, "basic"),
        (requests.other, "other credentials"),
        (requests.signed, "with a signed URL"),
        (requests.none, "without credentials"),
        (requests.status_401, "answered 401"),
        (requests.status_403, "answered 403"),
        (requests.status_404, "answered 404"),
    ];
    let mut words = number(requests.read.into(), "request");
    for (count, what) in counts {
        if count > 0 {
            words.push_str(&format!(", {count} {what}"));
        }
    }
    words
}

/// What a NATS client presented.
pub(super) fn nats_words(presented: NatsAuthentication) -> &'static str {
    match presented {
        NatsAuthentication::Unseen => "no CONNECT was read",
        NatsAuthentication::None => "CONNECT carried no credentials",
        NatsAuthentication::UserPassword => "CONNECT carried user and password",
        NatsAuthentication::Token => "CONNECT carried a token",
        NatsAuthentication::Nkey => "CONNECT carried an nkey signature",
        NatsAuthentication::Jwt => "CONNECT carried a JWT",
    }
}

/// Why bytes that would tell are not there.
pub(super) fn missing_words(missing: Missing) -> &'static str {
    match missing {
        Missing::Midstream => "the flow began before the capture",
        Missing::Loss => "packets are missing from the capture",
        Missing::Memory => "a cap of flowaudit kept bytes from being read",
        Missing::Snaplen => "the capture cut the packets",
        Missing::OneDirection => "only one direction was captured",
        Missing::TooLittle => "too few bytes were sent to tell",
    }
}

/// What else bears on the flow, whatever the row.
fn further(record: &Record<'_>, parts: &mut Parts<'_>) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{
        CELL, Case, DIRECTOR, DOPPLER, Handshake, LOG_API, MUTUAL, NATS, STRANGER, UAA, http, nats, policy,
    };
    use crate::policy::{Observed, OpenedBy};
    use crate::report::testing::judged;

    fn told(source: &str, destination: &str, port: u16, observed: Observed) -> String {
        let policy = policy();
        let case = Case::new(source, destination, port, observed);
        evidence(&judged(&policy, &case, None).record())
    }

    fn begins(text: &str, with: &str) {
        assert!(text.starts_with(with), "{text}");
    }

    #[test]
    fn what_decides_is_read_first() {
        begins(
            &told(CELL, NATS, 4222, nats("{\"verbose\":false}", "PONG\r\n")),
            "source: 10.0.4.15 is diego-cell/0, not loggregator_trafficcontroller (Route Registrar)",
        );
        begins(
            &told(LOG_API, NATS, 4222, nats("{\"verbose\":false}", "PONG\r\n")),
            "security: CONNECT carried no credentials; source: ",
        );
        // Source and destination are both wrong: the one that gives the reason comes first.
        begins(
            &told(STRANGER, UAA, 4222, http(None, "200 OK")),
            "destination: 10.0.4.13 is uaa/0, not nats; ",
        );
        begins(
            &told(LOG_API, UAA, 8443, Handshake { offered: &[], chosen: None, ..MUTUAL }.observed()),
            "application: the client offered no ALPN; source: ",
        );
    }

    #[test]
    fn a_source_outside_the_subnet_is_told_network_and_zone() {
        let policy = policy();
        for (source, words) in [
            (
                "10.0.5.7",
                "source: 10.0.5.7 is in another subnet of the destination's network, not in 10.0.4.0/24 (default, z1)",
            ),
            (DIRECTOR, "source: 10.0.0.6 is outside the destination's subnet 10.0.4.0/24 (default, z1)"),
        ] {
            let case = Case::new(source, LOG_API, 8081, http(Some("Bearer x"), "200 OK"));
            begins(&evidence(&judged(&policy, &case, None).record()), words);
        }
    }

    #[test]
    fn requests_are_counted_by_what_they_carried_and_what_came_back() {
        let text = told(LOG_API, LOG_API, 8088, http(Some("Basic x"), "403 Forbidden"));
        begins(&text, "security: 1 request did not carry it (1 request, 1 basic, 1 answered 403)");
    }

    #[test]
    fn a_refusal_names_its_alert() {
        let text = told(LOG_API, DOPPLER, 8082, Handshake { refused: Some(48), ..MUTUAL }.observed());
        begins(&text, "security: TLS 1.2 handshake refused with alert 48 unknown_ca");
    }

    #[test]
    fn without_a_row_near_it_says_what_the_flow_spoke() {
        let text = told("192.0.2.1", "192.0.2.2", 9999, http(None, "200 OK"));
        assert_eq!(
            text,
            "no documented row names this port, source or destination; seen: application HTTP/1.1, security none"
        );
    }

    #[test]
    fn a_row_of_another_port_is_named_for_its_ends_only() {
        let text = told(LOG_API, NATS, 9999, http(None, "200 OK"));
        begins(&text, "port: 9999, documented is 4222; ");
        assert!(!text.contains("application:") && !text.contains("security:"), "{text}");
    }

    #[test]
    fn a_guessed_direction_says_so() {
        let policy = policy();
        let case = Case::new(STRANGER, UAA, 8443, MUTUAL.observed()).opened_by(OpenedBy::FirstPacket);
        let text = evidence(&judged(&policy, &case, None).record());
        begins(&text, "source: which end opened the flow is only guessed");
    }
}
