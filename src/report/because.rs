//! What a finding rests on, reason by reason, in words for people.

use std::fmt;

use super::escape::clean;
use super::explain::Hole;
use super::text::Text;
use super::{Record, number, words};
use crate::flow::community_id::{self, DEFAULT_SEED};
use crate::inventory::SubnetLookup;
use crate::packet::Transport;
use crate::policy::cell::End;
use crate::policy::{Because, Column, Inherited, Missing, RowRef, Shown};
use crate::protocol::tls::{self, Version};
use crate::protocol::{NatsAuthentication, Requests};
/// Where a finding stands that is put into words.
pub(super) struct Words<'a> {
    pub(super) record: &'a Record<'a>,
    /// The row it was held against.
    pub(super) row: Option<RowRef>,
    pub(super) column: Column,
    /// What flows that are judged alike differ in is left open.
    pub(super) with_holes: bool,
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
    /// Appends one reason.
    pub(super) fn one(&self, because: Because, out: &mut Text) {
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
