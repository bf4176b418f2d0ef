//! Findings: one column of one row held against one flow, and the words for why.

use std::fmt;

use super::observed::Application;
use crate::inventory::LearntFrom;
use crate::protocol::NatsAuthentication;
use crate::protocol::tls::{Version, Why};

/// How sure a finding is, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grade {
    /// The capture shows it.
    Confirmed,
    /// The capture leaves one reasonable reading.
    Inferred,
    /// The capture cannot tell.
    Unseen,
    /// The capture shows something else.
    Contradicted,
}

impl Grade {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Confirmed => "confirmed",
            Grade::Inferred => "inferred",
            Grade::Unseen => "unseen",
            Grade::Contradicted => "contradicted",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is said of a flow in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// A row has no contradiction and nothing unseen.
    Allowed,
    /// A row has no contradiction, but something unseen.
    Unproven,
    /// No candidate, or a contradiction in every one.
    Violation,
}

impl Verdict {
    /// All of them, best first.
    pub const ALL: [Verdict; 3] = [Verdict::Allowed, Verdict::Unproven, Verdict::Violation];
}

impl Verdict {
    /// The word in the report.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Allowed => "allowed",
            Verdict::Unproven => "unproven",
            Verdict::Violation => "violation",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:expr])* $variant:ident = $word:literal,)*) => {
        /// The `reason` column, in the order in which the first that applies is chosen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $($(#[doc = $doc])* $variant,)* }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];
            /// The word in the report.
            pub fn word(self) -> &'static str {
                match self { $(Reason::$variant => $word,)* }
            }
        }
    };
}

reasons! {
    /// No row documents this port and transport.
    NoRowForPort = "no_row_for_port",
    /// The destination is not the documented VM.
    WrongDestination = "wrong_destination",
    /// The source is not the documented VM.
    WrongSource = "wrong_source",
    /// `Any*`: the source is outside the destination's subnet.
    OutsideSubnet = "outside_subnet",
    /// The server refused the credentials.
    AuthenticationRefused = "authentication_refused",
    /// The TLS handshake was refused or failed.
    HandshakeFailed = "handshake_failed",
    /// TLS where the row is documented in clear.
    StrongerThanDocumented = "stronger_than_documented",
    /// It speaks something else.
    WrongApplication = "wrong_application",
    /// Its security is not the documented one.
    WrongSecurity = "wrong_security",
    /// TLS below the accepted version.
    WeakTls = "weak_tls",
    /// A weak cipher suite, where these are denied.
    WeakCipher = "weak_cipher",
    /// A certificate chain that leads to none of the given CAs.
    WrongCa = "wrong_ca",
    /// A certificate outside its validity at the capture's time.
    CertificateExpired = "certificate_expired",
    /// A certificate not made for this end.
    WrongKeyUsage = "wrong_key_usage",
    /// Its bytes can be read in more than one way: overlapping segments or fragments differ, or are urgent.
    AmbiguousStream = "ambiguous_stream",
    /// No inventory names the documented VM.
    UnseenInventory = "unseen_inventory",
    /// The destination's subnet is not known.
    UnseenSubnet = "unseen_subnet",
    /// Which end opened the flow is only guessed.
    UnseenDirection = "unseen_direction",
    /// The flow began before the capture.
    UnseenMidstream = "unseen_midstream",
    /// Packets are missing from the capture.
    UnseenLoss = "unseen_loss",
    /// A cap kept bytes from being read.
    UnseenMemory = "unseen_memory",
    /// The capture cut the packets.
    UnseenSnaplen = "unseen_snaplen",
    /// Only one direction was captured.
    UnseenOneDirection = "unseen_one_direction",
    /// The document names no port.
    UnseenPort = "unseen_port",
    /// No payload was exchanged.
    UnseenNoPayload = "unseen_no_payload",
    /// HTTPS whose client offered no ALPN: what is inside cannot be told without keys.
    UnseenApplicationNoAlpn = "unseen_application_no_alpn",
    /// What is spoken cannot be told.
    UnseenApplication = "unseen_application",
    /// Whether the client presented a certificate cannot be told.
    UnseenClientCertificate = "unseen_client_certificate",
    /// A resumed session: the certificates were shown in an earlier connection.
    UnseenResumed = "unseen_resumed",
    /// Whether every request carried credentials cannot be told.
    UnseenAuthentication = "unseen_authentication",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The six columns of a documented table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Source VM.
    Source,
    /// Destination VM.
    Destination,
    /// Port.
    Port,
    /// Transport layer protocol.
    Transport,
    /// Application layer protocol.
    Application,
    /// Security and authentication.
    Security,
}

impl Column {
    /// All six, in the table's order.
    pub const ALL: [Column; 6] = [
        Column::Source,
        Column::Destination,
        Column::Port,
        Column::Transport,
        Column::Application,
        Column::Security,
    ];
}

/// Why a finding is what it is. Turned into words only when a row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// The inventory says this address is a VM the row names.
    InInventory,
    /// The inventory says this address is another VM.
    OtherVm,
    /// The inventory is taken as complete and does not hold this address.
    NotInInventory,
    /// No inventory was given.
    NoInventory,
    /// No inventory names the VM or job of the row.
    NotNamed,
    /// The inventory is partial, so this address may be the documented VM after all.
    PartialInventory,
    /// Two instances claim this address.
    AmbiguousAddress,
    /// The capture itself gives this address the documented VM's name, and no inventory knows better.
    Learnt(LearntFrom),
    /// The inventory lists the job on this VM.
    RunsJob,
    /// The inventory lists this VM's jobs, and not this one.
    DoesNotRunJob,
    /// The inventory lists no jobs for this VM.
    JobsUnknown,
    /// The socket belongs to the component's process, on the audited VM itself.
    ProcessIsIt,
    /// The socket belongs to another process.
    ProcessIsAnother,
    /// A certificate in clear names the component.
    CertificateNamesIt,
    /// A certificate in clear names another component.
    CertificateNamesAnother,
    /// Source and destination are in one subnet.
    SameSubnet,
    /// They are in one network, and that was accepted.
    SameNetwork,
    /// The source is in another subnet of the destination's network.
    OtherSubnetSameNetwork,
    /// The source is outside the destination's subnet.
    OutsideSubnet,
    /// No cloud config told the subnets, or none holds the destination.
    SubnetUnknown,
    /// Subnet ranges overlap at the destination.
    SubnetOverlaps,
    /// The destination is on a network without a range.
    SubnetDynamic,
    /// Only a port or the first packet says which end opened the flow.
    DirectionGuessed,
    /// The port is the documented one.
    PortMatches,
    /// The port is another.
    PortDiffers,
    /// The transport is the documented one.
    TransportMatches,
    /// The transport is another.
    TransportDiffers,
    /// These bytes were read.
    Speaks(Application),
    /// These bytes were decrypted.
    SpeaksInside(Application),
    /// Decisive bytes were decrypted and are no protocol known.
    SpeaksUnknownInside,
    /// HTTP/2 whose content type was not seen.
    ContentTypeUnseen,
    /// Decisive bytes were read and are no protocol known.
    SpeaksUnknown,
    /// The bytes can be read in more than one way; what was observed says where.
    BytesAmbiguous,
    /// Nothing was sent either way.
    NoPayload,
    /// The bytes that would tell are not in the capture.
    NotCaptured(Missing),
    /// What is inside TLS cannot be seen.
    InsideTls,
    /// ALPN was chosen in clear.
    AlpnInClear,
    /// ALPN was chosen, as decrypted bytes say.
    AlpnDecrypted,
    /// ALPN was chosen, as lengths tell.
    AlpnInferred,
    /// The client offered only h2, and the connection was accepted.
    OnlyH2Offered,
    /// Every protocol offered is HTTP, and the connection was accepted.
    OnlyHttpOffered,
    /// The client offered no ALPN.
    NoAlpnOffered,
    /// The client offered ALPN without h2.
    H2NotOffered,
    /// The server chose another protocol, or none.
    AlpnOther,
    /// The connection was not seen to be accepted.
    NotAccepted(Option<Why>),
    /// The TLS handshake was accepted.
    HandshakeAccepted,
    /// The TLS handshake was refused, with this alert if one was in clear or decrypted.
    HandshakeRefused(Option<u8>),
    /// The client presented a certificate.
    ClientCertificate,
    /// The client was asked and sent an empty certificate.
    EmptyClientCertificate,
    /// The client presented no certificate.
    NoClientCertificate,
    /// Whether it presented one is unseen.
    ClientCertificateUnseen(Why),
    /// Bytes follow that break the rules of what they began as.
    FollowedByOther(Application),
    /// The session was resumed.
    Resumed,
    /// The session was resumed, and the connection that began it was seen.
    Inherited,
    /// There is no TLS.
    InClear,
    /// TLS under a row documented in clear.
    TlsUnderPlainRow,
    /// TLS of this version.
    TlsVersionBelow(Version),
    /// The client offers nothing above this version, and what the server chose was not seen.
    TlsOfferBelow(Version),
    /// A weak cipher suite was chosen.
    WeakSuite(u16),
    /// The chain of the server, or of the client, was judged and found wanting.
    Chain {
        /// The client's chain, not the server's.
        client: bool,
    },
    /// Every request carried the credentials.
    EveryRequest,
    /// Some requests carried none, or others.
    RequestsWithout(u32),
    /// Requests carried credentials that may be the token asked for, sent as it is.
    OtherCredentials,
    /// Some requests could not be read.
    RequestsUnread,
    /// No answer to the credentials could be read.
    AnswersUnread,
    /// No request was read.
    NoRequest,
    /// Nothing but 401 came back.
    Only401,
    /// What the NATS client presented.
    NatsPresented(NatsAuthentication),
    /// The NATS server refused it.
    NatsRefused,
    /// The server's answer to the credentials was not seen.
    AnswerUnseen,
    /// A login with credentials was accepted.
    LoginAccepted,
    /// A login was refused.
    LoginRefused,
    /// The client logged in without credentials.
    LoginAnonymous,
    /// SSH authenticates and encrypts by itself.
    SshItself,
    /// The row asks for nothing.
    NothingAsked,
    /// The document leaves it open, or asks for what traffic cannot show.
    DocumentOpen,
    /// Documented inside one VM, and so it is.
    InsideVm,
    /// Documented inside one VM, and it crosses the network.
    CrossesTheNetwork,
    /// A loopback address: which VM that is, the capture does not say.
    Loopback,
}

/// Why bytes that would tell are not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The flow began before the capture.
    Midstream,
    /// Packets are missing.
    Loss,
    /// A cap kept them from being read.
    Memory,
    /// Packets were cut.
    Snaplen,
    /// One direction was not captured.
    OneDirection,
    /// Too little was sent to tell.
    TooLittle,
}

impl Missing {
    /// The reason word for it.
    pub fn reason(self) -> Reason {
        match self {
            Missing::Midstream => Reason::UnseenMidstream,
            Missing::Loss => Reason::UnseenLoss,
            Missing::Memory => Reason::UnseenMemory,
            Missing::Snaplen => Reason::UnseenSnaplen,
            Missing::OneDirection => Reason::UnseenOneDirection,
            Missing::TooLittle => Reason::UnseenApplication,
        }
    }
}

/// How many explanations one finding carries at most.
const BECAUSES: usize = 4;

/// One column of one row held against one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How sure.
    pub grade: Grade,
    /// The word for it, when unseen or contradicted.
    pub reason: Option<Reason>,
    because: [Option<Because>; BECAUSES],
}

impl Finding {
    /// The capture shows it.
    pub fn confirmed(because: Because) -> Finding {
        Finding::new(Grade::Confirmed, None, because)
    }
    /// The capture leaves one reading.
    pub fn inferred(because: Because) -> Finding {
        Finding::new(Grade::Inferred, None, because)
    }
    /// The capture cannot tell.
    pub fn unseen(reason: Reason, because: Because) -> Finding {
        Finding::new(Grade::Unseen, Some(reason), because)
    }
    /// The capture shows something else.
    pub fn contradicted(reason: Reason, because: Because) -> Finding {
        Finding::new(Grade::Contradicted, Some(reason), because)
    }

    fn new(grade: Grade, reason: Option<Reason>, because: Because) -> Finding {
        let mut all = [None; BECAUSES];
        all[0] = Some(because);
        Finding { grade, reason, because: all }
    }

    /// Both must hold: the worse grade, its first reason, and both explanations.
    pub fn and(self, other: Finding) -> Finding {
        let (grade, reason) = match self.grade.cmp(&other.grade) {
            std::cmp::Ordering::Greater => (self.grade, self.reason),
            std::cmp::Ordering::Less => (other.grade, other.reason),
            std::cmp::Ordering::Equal => (self.grade, self.reason.into_iter().chain(other.reason).min()),
        };
        // What decides comes first.
        let (first, second) = if other.grade > self.grade { (&other, &self) } else { (&self, &other) };
        let mut because = [None; BECAUSES];
        let all = first.because.iter().chain(&second.because).flatten();
        // That a VM runs a job says already that it is in the inventory, and of another VM or of none
        // its jobs say nothing more.
        let has_job = all.clone().any(|one| matches!(one, Because::RunsJob | Because::DoesNotRunJob));
        let elsewhere = all.clone().any(|one| matches!(one, Because::OtherVm | Because::NotInInventory));
        let all = all.filter(|one| match one {
            Because::InInventory => !has_job,
            Because::DoesNotRunJob | Because::JobsUnknown => !elsewhere,
            _ => true,
        });
        for (place, one) in because.iter_mut().zip(all) {
            *place = Some(*one);
        }
        Finding { grade, reason, because }
    }

    /// Why, what decides first.
    pub fn because(&self) -> impl Iterator<Item = Because> + '_ {
        self.because.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worse_of_two_decides_and_its_words_come_first() {
        let good = Finding::confirmed(Because::InInventory);
        let bad = Finding::contradicted(Reason::WrongSource, Because::DoesNotRunJob);
        let both = good.and(bad);
        assert_eq!((both.grade, both.reason), (Grade::Contradicted, Some(Reason::WrongSource)));
        assert_eq!(both.because().collect::<Vec<_>>(), [Because::DoesNotRunJob]);
        assert_eq!(good.and(good).grade, Grade::Confirmed);
        let other = Finding::contradicted(Reason::WrongSource, Because::OtherVm);
        assert_eq!(other.and(bad).because().collect::<Vec<_>>(), [Because::OtherVm]);
    }

    #[test]
    fn of_two_reasons_the_first_in_order_is_given() {
        let one = Finding::unseen(Reason::UnseenResumed, Because::Resumed);
        let two = Finding::unseen(Reason::UnseenLoss, Because::RequestsUnread);
        assert_eq!(one.and(two).reason, Some(Reason::UnseenLoss));
        assert_eq!(two.and(one).reason, Some(Reason::UnseenLoss));
    }
}
