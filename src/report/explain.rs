//! The `evidence` column: why each finding is what it is, in words for people.

use std::fmt;

use super::escape::clean;
use super::{Record, csv_report, number};
use crate::flow::community_id::{DEFAULT_SEED, community_id};
use crate::inventory::SubnetLookup;
use crate::packet::{Endpoint, Transport};
use crate::policy::cell::End;
use crate::policy::{Because, Column, Finding, Inherited, Missing, Reason, RowRef, Shown, Verdict, columns};
use crate::protocol::tls::{self, Decryption};
use crate::protocol::{NatsAuthentication, Requests};

/// A short text of what was held against the row that decides, and what else was seen.
pub fn evidence<'a>(record: &'a Record<'a>) -> impl fmt::Display + 'a {
    Evidence(record)
}

/// Why a finding is what it is, held against this row.
pub(super) fn words<'a>(
    record: &'a Record<'a>,
    row: Option<RowRef>,
    column: Column,
    finding: &'a Finding,
) -> impl fmt::Display + 'a {
    Words { record, row, column, finding }
}

struct Evidence<'a>(&'a Record<'a>);

impl fmt::Display for Evidence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separate = Separator { f, first: true };
        let record = self.0;
        match &record.judgement.findings {
            None => {
                separate.part(format_args!("no documented row names this port, source or destination"))?
            }
            Some(findings) => {
                // A row of another port is named for its ends only: it asks nothing of this flow.
                let elsewhere = record.judgement.reason == Some(Reason::NoRowForPort);
                let mut all: Vec<(Column, &Finding)> = columns(findings).collect();
                // What decides is read first.
                let reason = record.judgement.reason;
                all.sort_by_key(|(_, finding)| (std::cmp::Reverse(finding.grade), finding.reason != reason));
                all.retain(|(column, finding)| {
                    !is_plain(*column, finding) && (!elsewhere || says_where(*column))
                });
                for (at, (column, finding)) in all.iter().enumerate() {
                    let same = |other: &&(Column, &Finding)| {
                        says_what(other.0) && other.1.because().eq(finding.because())
                    };
                    if says_what(*column) && all[..at].iter().any(|other| same(&other)) {
                        continue;
                    }
                    let twin = all[at + 1..].iter().find(same).filter(|_| says_what(*column));
                    let and = twin.map_or(String::new(), |(twin, _)| format!(" and {}", name(*twin)));
                    let words = words(record, record.judgement.row, *column, finding);
                    separate.part(format_args!("{}{and}: {words}", name(*column)))?;
                }
            }
        }
        further(record, &mut separate)
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

struct Separator<'a, 'f> {
    f: &'a mut fmt::Formatter<'f>,
    first: bool,
}

impl Separator<'_, '_> {
    fn part(&mut self, part: fmt::Arguments<'_>) -> fmt::Result {
        if !std::mem::replace(&mut self.first, false) {
            self.f.write_str("; ")?;
        }
        self.f.write_fmt(part)
    }
}

struct Words<'a> {
    record: &'a Record<'a>,
    row: Option<RowRef>,
    column: Column,
    finding: &'a Finding,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, because) in self.finding.because().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            self.one(because, f)?;
        }
        Ok(())
    }
}

impl Words<'_> {
    fn end(&self) -> Endpoint {
        match self.column {
            Column::Destination => self.record.subject.destination,
            _ => self.record.subject.source,
        }
    }

    /// What the row documents in this column.
    fn documented(&self) -> impl fmt::Display + '_ {
        let row = self.row.map(|at| self.record.policy.row(at));
        clean(row.map_or("", |row| row.cells[self.column as usize].as_str()))
    }

    /// The component that the row documents in this column, or else the whole cell.
    fn component(&self) -> String {
        let row = self.row.map(|at| self.record.policy.row(at));
        let end =
            row.map(|row| if self.column == Column::Destination { &row.destination } else { &row.source });
        match end {
            Some(End::AnyVmRunning(name) | End::Vm { component: Some(name), .. }) => clean(name).to_string(),
            _ => self.documented().to_string(),
        }
    }

    fn vm(&self) -> String {
        csv_report::vm(self.record, self.end().ip)
    }

    fn shown(&self) -> &Shown {
        match self.column {
            Column::Destination => self.record.subject.destination_shown,
            _ => self.record.subject.source_shown,
        }
    }

    /// The groups that the capture itself names at this end.
    fn learnt(&self) -> String {
        let groups: Vec<String> =
            self.shown().learnt_groups().map(|group| clean(group).to_string()).collect();
        groups.join(" or ")
    }

    fn one(&self, because: Because, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.end().ip;
        match because {
            Because::InInventory => write!(f, "{ip} is {}", self.vm()),
            Because::OtherVm => write!(f, "{ip} is {}, not {}", self.vm(), self.documented()),
            Because::NotInInventory => {
                write!(f, "{ip} is not in the inventory, documented is {}", self.documented())
            }
            Because::NoInventory => f.write_str("no inventory was given"),
            Because::NotNamed => write!(f, "the inventory names no {}", self.documented()),
            Because::PartialInventory => {
                write!(f, "the inventory is partial and does not say that {ip} is {}", self.documented())
            }
            Because::AmbiguousAddress => write!(f, "{ip} is claimed by {}", self.vm()),
            Because::Learnt(from) => {
                write!(f, "{ip} is {} by a name learnt from {from} in this capture", self.learnt())
            }
            Because::RunsJob => write!(f, "{ip} is {} and runs the documented job", self.vm()),
            Because::DoesNotRunJob => {
                write!(f, "{ip} is {} and does not run {}", self.vm(), self.component())
            }
            Because::JobsUnknown => write!(f, "the inventory lists no jobs for {ip}"),
            Because::ProcessIsIt => {
                write!(f, "the socket belongs to {}", clean(self.shown().process().unwrap_or_default()))
            }
            Because::ProcessIsAnother => {
                let process = clean(self.shown().process().unwrap_or_default());
                write!(f, "the socket belongs to {process}, not to {}", self.component())
            }
            Because::CertificateNamesIt => f.write_str("its certificate names the component"),
            Because::CertificateNamesAnother => {
                write!(f, "its certificate names another component than {}", self.component())
            }
            Because::SameSubnet => write!(f, "{ip} is in the destination's subnet {}", self.subnet()),
            Because::SameNetwork => write!(f, "{ip} is in the destination's network {}", self.subnet()),
            Because::OtherSubnetSameNetwork => {
                write!(f, "{ip} is in another subnet of the destination's network, not in {}", self.subnet())
            }
            Because::OutsideSubnet => write!(f, "{ip} is outside the destination's subnet {}", self.subnet()),
            Because::SubnetUnknown => f.write_str("no cloud config tells the destination's subnet"),
            Because::SubnetOverlaps => f.write_str("subnets overlap there"),
            Because::SubnetDynamic => f.write_str("the destination is on a network without ranges"),
            Because::DirectionGuessed => f.write_str("which end opened the flow is only guessed"),
            Because::PortMatches | Because::TransportMatches => f.write_str("as documented"),
            Because::PortDiffers => {
                write!(f, "{}, documented is {}", self.record.subject.destination.port, self.documented())
            }
            Because::TransportDiffers => write!(f, "documented is {}", self.documented()),
            Because::Speaks(application) => write!(f, "{application} in clear"),
            Because::SpeaksInside(application) => write!(f, "{application} inside TLS, decrypted"),
            Because::SpeaksUnknownInside => {
                f.write_str("the first bytes inside TLS, decrypted, are no protocol known")
            }
            Because::ContentTypeUnseen => f.write_str("HTTP/2, no content type seen"),
            Because::SpeaksUnknown => f.write_str("the first bytes are no protocol known"),
            Because::NoPayload => write!(f, "no payload was exchanged ({})", self.record.counted.state),
            Because::NotCaptured(missing) => f.write_str(missing_words(missing)),
            Because::InsideTls => f.write_str("what is inside TLS is unseen"),
            Because::AlpnInClear => f.write_str("ALPN chosen in clear"),
            Because::AlpnDecrypted => f.write_str("ALPN chosen, decrypted"),
            Because::AlpnInferred => f.write_str("ALPN inferred from record lengths"),
            Because::OnlyH2Offered => f.write_str("only h2 was offered and the connection was accepted"),
            Because::OnlyHttpOffered => {
                f.write_str("every protocol offered is HTTP and the connection was accepted")
            }
            Because::NoAlpnOffered => f.write_str("the client offered no ALPN"),
            Because::H2NotOffered => f.write_str("the client offered ALPN without h2"),
            Because::AlpnOther => f.write_str("the server chose another protocol or none"),
            Because::NotAccepted(None) => f.write_str("not seen to be accepted"),
            Because::NotAccepted(Some(why)) => write!(f, "not seen to be accepted ({why})"),
            Because::HandshakeAccepted => write!(f, "{}handshake accepted", self.version()),
            Because::HandshakeRefused(None) => write!(f, "{}handshake refused", self.version()),
            Because::HandshakeRefused(Some(alert)) => write!(
                f,
                "{}handshake refused with alert {alert} {}",
                self.version(),
                tls::alert_name(alert).unwrap_or("")
            ),
            Because::ClientCertificate => f.write_str("the client presented a certificate"),
            Because::EmptyClientCertificate => {
                f.write_str("the client was asked for a certificate and sent none")
            }
            Because::NoClientCertificate => f.write_str("the client presented no certificate"),
            Because::ClientCertificateUnseen(why) => write!(f, "client certificate unseen ({why})"),
            Because::Resumed => f.write_str("a resumed session shows no certificates"),
            Because::Inherited => match &self.record.subject.observed.inherited {
                Some(inherited) => write!(f, "{}", InheritedFrom(inherited)),
                None => Ok(()),
            },
            Because::InClear => f.write_str("no TLS"),
            Because::TlsUnderPlainRow => {
                write!(f, "{}where {} without TLS is documented", self.version(), self.documented())
            }
            Because::TlsVersionBelow(version) => {
                write!(f, "{} is below the accepted version", version.name())
            }
            Because::TlsOfferBelow(version) => {
                write!(f, "the client offers at most {}, below the accepted version", version.name())
            }
            Because::WeakSuite(suite) => match tls::cipher_name(suite) {
                Some(name) => write!(f, "weak cipher suite {name}"),
                None => write!(f, "weak cipher suite 0x{suite:04x}"),
            },
            Because::Chain { client } => {
                let who = if client { "client" } else { "server" };
                match &self.record.subject.observed.chains[usize::from(client)] {
                    Some(Err(problem)) => write!(f, "{who} certificate: {}", clean(&problem.to_string())),
                    _ => write!(f, "{who} certificate"),
                }
            }
            Because::EveryRequest => write!(f, "every request carried it ({})", self.requests()),
            Because::RequestsWithout(count) => {
                write!(f, "{} did not carry it ({})", number(count.into(), "request"), self.requests())
            }
            Because::OtherCredentials => {
                write!(f, "credentials were sent that may be such a token ({})", self.requests())
            }
            Because::RequestsUnread => write!(f, "some requests could not be read ({})", self.requests()),
            Because::NoRequest => f.write_str("no request was read"),
            Because::Only401 => write!(f, "nothing but 401 came back ({})", self.requests()),
            Because::NatsPresented(presented) => f.write_str(nats_words(presented)),
            Because::NatsRefused => f.write_str("the NATS server answered with an authorization error"),
            Because::AnswerUnseen => {
                f.write_str("user and password were sent, the server's answer was not seen")
            }
            Because::LoginAccepted => f.write_str("the login was accepted"),
            Because::LoginRefused => f.write_str("the login was refused"),
            Because::LoginAnonymous => f.write_str("the login carried no credentials"),
            Because::SshItself => f.write_str("SSH authenticates and encrypts by itself"),
            Because::NothingAsked => f.write_str("nothing is asked for"),
            Because::DocumentOpen => {
                write!(f, "the document says {}, which traffic cannot show", self.documented())
            }
            Because::InsideVm => f.write_str("inside one VM, as documented"),
            Because::CrossesTheNetwork => f.write_str("documented inside one VM, and it crosses the network"),
            Because::Loopback => f.write_str("which VM a loopback address is on is not in the capture"),
        }
    }

    fn subnet(&self) -> String {
        match self.record.policy.inventory().subnet(self.record.subject.destination.ip) {
            SubnetLookup::One(subnet) if subnet.azs.is_empty() => {
                format!("{} ({})", subnet.range, clean(&subnet.network))
            }
            SubnetLookup::One(subnet) => {
                format!("{} ({}, {})", subnet.range, clean(&subnet.network), clean(&subnet.azs.join(" ")))
            }
            _ => String::new(),
        }
    }

    fn version(&self) -> String {
        let version = self.record.subject.observed.tls().and_then(tls::Evidence::version);
        version.map_or("TLS ".to_owned(), |version| format!("{} ", version.name()))
    }

    fn requests(&self) -> String {
        self.record.subject.observed.requests().map_or(String::new(), requests_words)
    }
}

/// Names the connection that began a resumed session.
pub(super) struct InheritedFrom<'a>(pub(super) &'a Inherited);

impl fmt::Display for InheritedFrom<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inherited { client, server, named, .. } = *self.0;
        let id = community_id(client, server, Transport::TCP, DEFAULT_SEED);
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
        Missing::Snaplen => "the capture cut the packets",
        Missing::OneDirection => "only one direction was captured",
        Missing::TooLittle => "too few bytes were sent to tell",
    }
}

/// What else bears on the flow, whatever the row.
fn further(record: &Record<'_>, separate: &mut Separator<'_, '_>) -> fmt::Result {
    let observed = record.subject.observed;
    if record.judgement.verdict == Verdict::Violation && !observed.no_payload {
        separate.part(format_args!(
            "seen: application {}, security {}",
            observed.application, observed.security
        ))?;
    }
    if observed.evidence.broken {
        separate.part(format_args!("the bytes broke the rules of the protocol they began as"))?;
    }
    for evidence in [Some(&observed.evidence), observed.evidence.inside.as_deref()].into_iter().flatten() {
        super::spoken::words(evidence, |part| separate.part(part))?;
    }
    if let Some(tls) = observed.tls() {
        if let Some(key_exchange) = tls.key_exchange() {
            separate.part(format_args!("key exchange {key_exchange}"))?;
        }
        if record.judgement.findings.is_none()
            && let Some(inherited) = &observed.inherited
        {
            separate.part(format_args!("{}", InheritedFrom(inherited)))?;
        }
        if tls.hello_retry() {
            separate.part(format_args!("HelloRetryRequest"))?;
        }
        for alert in tls.alerts().iter().filter(|alert| alert.fatal) {
            let name = tls::alert_name(alert.description).unwrap_or("unknown");
            separate.part(format_args!("fatal alert {} {name}", alert.description))?;
        }
        for alert in tls.decrypted_alerts().iter().filter(|alert| alert.fatal) {
            let name = tls::alert_name(alert.description).unwrap_or("unknown");
            separate.part(format_args!("decrypted fatal alert {} {name}", alert.description))?;
        }
        if let Some(words) = tls.decryption().and_then(|how| decryption_words(tls, how)) {
            separate.part(format_args!("{words}"))?;
        }
    }
    Ok(())
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
        evidence(&judged(&policy, &case, None).record()).to_string()
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
            begins(&evidence(&judged(&policy, &case, None).record()).to_string(), words);
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
        let text = evidence(&judged(&policy, &case, None).record()).to_string();
        begins(&text, "source: which end opened the flow is only guessed");
    }
}
