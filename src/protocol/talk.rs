//! Where one flow's recognition stands, in as few bytes as it needs: most flows of a capture are idle,
//! classified, or of no protocol known.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::conversation::HELD_BACK;
use super::inside::Inside;
use super::recognise::Protocol;
use super::rest::{RestingHttp1, RestingTls};
use super::tls::KeyStore;
use super::{Evidence, Side, dns, http1, http2, ldap, mysql, nats, proxy, ssh, syslog, tls};
use crate::capture::near;
use crate::packet::Gap;

/// One pointer besides a few flags, until a recogniser takes the flow.
#[derive(Debug)]
pub(super) enum State {
    /// Nothing was recognised.
    Quiet(Common),
    /// One protocol was left for another, not recognised yet, or for none.
    Left(Box<Talk<()>>),
    Tls(Box<Talk<Tls>>),
    Http1(Box<Talk<http1::Parser>>),
    Http2(Box<Talk<http2::Parser>>),
    Nats(Box<Talk<nats::Parser>>),
    Dns(Box<Talk<dns::Parser>>),
    Mysql(Box<Talk<mysql::Parser>>),
    Ssh(Box<Talk<ssh::Parser>>),
    Ldap(Box<Talk<ldap::Parser>>),
    Syslog(Box<Talk<syslog::Parser>>),
    Proxy(Box<Talk<proxy::Parser>>),
    RestingTls(Box<RestingTls>),
    RestingHttp1(Box<RestingHttp1>),
}

/// What belongs to a flow whatever it speaks.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    /// The flow's beginning is in the capture, so its first bytes are the protocol's first bytes.
    pub(super) from_start: bool,
    /// Nothing more is wanted.
    pub(super) over: bool,
    /// Which sides sent payload.
    pub(super) spoke: [bool; 2],
    /// Lends that each side's bytes were not recognised in.
    pub(super) misses: [u8; 2],
    /// Why bytes are missing that a recogniser wanted, the first time.
    pub(super) gap: Option<Gap>,
    /// Decisive first bytes were read and no recogniser knew them.
    pub(super) unrecognised: bool,
    /// Opens TLS; none inside of it.
    pub(super) keys: Option<Arc<KeyStore>>,
}

impl Common {
    fn flags(&self) -> impl PartialEq + Hash + use<> {
        let Common { from_start, over, spoke, misses, gap, unrecognised, keys } = self;
        (*from_start, *over, *spoke, *misses, *gap, *unrecognised, keys.as_ref().map(Arc::as_ptr))
    }
}

/// Key stores are the same if they are one.
impl PartialEq for Common {
    fn eq(&self, other: &Common) -> bool {
        self.flags() == other.flags()
    }
}

impl Eq for Common {}

impl Hash for Common {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.flags().hash(state);
    }
}

/// A recogniser at work.
#[derive(Debug)]
pub(super) struct Talk<P> {
    pub(super) common: Common,
    /// What the protocols spoken before showed.
    pub(super) past: Option<Box<Evidence>>,
    pub(super) parser: P,
}

/// TLS, and what keys let out of it.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) parser: tls::Parser,
    pub(super) inside: Inside,
    pub(super) watch: tls::Watch,
}

impl Default for State {
    fn default() -> State {
        State::Quiet(Common::default())
    }
}

impl State {
    pub(super) fn common(&mut self) -> &mut Common {
        match self {
            State::Quiet(common) => common,
            State::Left(talk) => &mut talk.common,
            State::Tls(talk) => &mut talk.common,
            State::Http1(talk) => &mut talk.common,
            State::Http2(talk) => &mut talk.common,
            State::Nats(talk) => &mut talk.common,
            State::Dns(talk) => &mut talk.common,
            State::Mysql(talk) => &mut talk.common,
            State::Ssh(talk) => &mut talk.common,
            State::Ldap(talk) => &mut talk.common,
            State::Syslog(talk) => &mut talk.common,
            State::Proxy(talk) => &mut talk.common,
            State::RestingTls(_) | State::RestingHttp1(_) => self.woken(),
        }
    }

    /// As [`State::common`], of a conversation at rest.
    #[cold]
    #[inline(never)]
    fn woken(&mut self) -> &mut Common {
        self.wake();
        self.common()
    }

    /// Takes fewer bytes until [`State::wake`] is called, if that can be. What it can be asked is the same.
    pub(super) fn rest(&mut self) {
        let rested = match self {
            State::Tls(talk) => RestingTls::of(talk).map(State::RestingTls),
            State::Http1(talk) => RestingHttp1::of(talk).map(State::RestingHttp1),
            _ => None,
        };
        if let Some(rested) = rested {
            *self = rested;
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self, State::RestingTls(_) | State::RestingHttp1(_))
    }

    /// As it was before it was put to rest, if it was.
    #[cold]
    #[inline(never)]
    pub(super) fn wake(&mut self) {
        match self {
            State::RestingTls(resting) => *self = State::Tls(resting.wake()),
            State::RestingHttp1(resting) => *self = State::Http1(resting.wake()),
            _ => {}
        }
    }

    /// Asks memory for what will be read.
    pub(super) fn expect(&self) {
        match self {
            State::Quiet(_) | State::Left(_) => {}
            State::Tls(talk) => near(&**talk),
            State::Http1(talk) => near(&**talk),
            State::Http2(talk) => near(&**talk),
            State::Nats(talk) => near(&**talk),
            State::Dns(talk) => near(&**talk),
            State::Mysql(talk) => near(&**talk),
            State::Ssh(talk) => near(&**talk),
            State::Ldap(talk) => near(&**talk),
            State::Syslog(talk) => near(&**talk),
            State::Proxy(talk) => near(&**talk),
            State::RestingTls(resting) => near(&**resting),
            State::RestingHttp1(resting) => near(&**resting),
        }
    }

    /// As [`State::expect`], of what so many pointers behind that is asked of a flow that is over.
    pub(super) fn expect_behind(&self, pointers: u8) {
        if let State::Tls(talk) = self {
            let evidence = talk.parser.parser.evidence();
            match pointers {
                1 => near(evidence),
                _ => evidence.expect(),
            }
        }
    }

    /// Behind how many pointers there is something: TLS is asked most.
    pub(super) fn deepest(&self) -> u8 {
        if matches!(self, State::Tls(_)) { 2 } else { 0 }
    }

    /// Hands a flow in which nothing is spoken to a recogniser that begins.
    pub(super) fn begin(&mut self, protocol: Protocol) {
        let left = std::mem::take(self).leave();
        *self = match protocol {
            Protocol::Tls => {
                let keys = left.common.keys.clone().filter(|keys| keys.is_given());
                let parser = keys.map_or_else(tls::Parser::new, tls::Parser::with_keys);
                State::Tls(left.into(Tls { parser, inside: Inside::default(), watch: tls::Watch::default() }))
            }
            Protocol::Http1 => State::Http1(left.into(http1::Parser::new())),
            Protocol::Http2 => State::Http2(left.into(http2::Parser::new())),
            Protocol::Nats => State::Nats(left.into(nats::Parser::new())),
            Protocol::Dns => State::Dns(left.into(dns::Parser::new())),
            Protocol::Mysql => State::Mysql(left.into(mysql::Parser::new())),
            Protocol::Ssh => State::Ssh(left.into(ssh::Parser::new())),
            Protocol::Ldap => State::Ldap(left.into(ldap::Parser::new())),
            Protocol::Syslog => State::Syslog(left.into(syslog::Parser::new())),
            Protocol::Proxy => State::Proxy(left.into(proxy::Parser::new())),
        };
    }

    /// Bytes on the heap, but for the chains of TLS and what a conversation at rest has in common with others.
    pub(super) fn held(&self) -> usize {
        match self {
            State::Quiet(_) => 0,
            State::Left(talk) => talk.held(|()| 0),
            State::Tls(talk) => talk.held(|tls| tls.parser.held() + tls.inside.held()),
            State::Http1(talk) => talk.held(|parser| parser.evidence().held()),
            State::Http2(talk) => talk.held(http2::Parser::held),
            State::Nats(talk) => talk.held(|_| 0),
            State::Dns(talk) => talk.held(dns::Parser::held),
            State::Mysql(talk) => talk.held(|parser| parser.evidence().held()),
            State::Ssh(talk) => talk.held(|parser| parser.evidence().held()),
            State::Ldap(talk) => talk.held(|parser| parser.evidence().held()),
            State::Syslog(talk) => talk.held(|_| 0),
            State::Proxy(talk) => talk.held(|_| 0),
            State::RestingTls(resting) => size_of_val(&**resting),
            State::RestingHttp1(resting) => size_of_val(&**resting),
        }
    }

    /// What was seen so far, and what belongs to the flow whatever it speaks.
    pub(super) fn so_far(&self) -> (&Common, Evidence) {
        match self {
            State::Quiet(common) => (common, Evidence::default()),
            State::Left(talk) => talk.so_far(|(), _| None),
            State::Tls(talk) => talk.so_far(|Tls { parser, inside, .. }, evidence| {
                evidence.tls = Some(Box::new(parser.evidence().clone()));
                evidence.inside = inside.so_far();
                parser.client()
            }),
            State::Http1(talk) => talk.so_far(|parser, evidence| {
                evidence.http1 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Http2(talk) => talk.so_far(|parser, evidence| {
                evidence.http2 = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Nats(talk) => talk.so_far(|parser, evidence| {
                evidence.nats = Some(*parser.evidence());
                parser.client()
            }),
            State::Dns(talk) => talk.so_far(|parser, evidence| {
                evidence.dns = Some(Box::new(parser.evidence()));
                parser.client()
            }),
            State::Mysql(talk) => talk.so_far(|parser, evidence| {
                evidence.mysql = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Ssh(talk) => talk.so_far(|parser, evidence| {
                evidence.ssh = Some(Box::new(parser.evidence().clone()));
                None
            }),
            State::Ldap(talk) => talk.so_far(|parser, evidence| {
                evidence.ldap = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Syslog(talk) => talk.so_far(|parser, evidence| {
                evidence.syslog = Some(*parser.evidence());
                parser.client()
            }),
            State::Proxy(talk) => talk.so_far(|parser, evidence| {
                evidence.proxy = Some(parser.evidence());
                parser.client()
            }),
            State::RestingTls(resting) => (resting.common(), State::Tls(resting.wake()).so_far().1),
            State::RestingHttp1(resting) => (resting.common(), State::Http1(resting.wake()).so_far().1),
        }
    }

    /// Lets go of the recogniser, and keeps what it saw.
    pub(super) fn leave(self) -> Talk<()> {
        match self {
            State::Quiet(common) => Talk { common, past: None, parser: () },
            State::Left(talk) => *talk,
            state => {
                let (common, evidence) = state.finish();
                Talk { common, past: Some(Box::new(evidence)), parser: () }
            }
        }
    }

    /// As [`State::leave`], of a flow that is over.
    pub(super) fn finish(self) -> (Common, Evidence) {
        match self {
            State::Quiet(common) => (common, Evidence::default()),
            State::Left(talk) => talk.finish(|(), _| None),
            State::Tls(talk) => talk.finish(|Tls { mut parser, mut inside, watch }, evidence| {
                parser.finish(&mut inside.within(&mut HELD_BACK.clone()));
                let client = parser.client();
                evidence.tls = Some(parser.into_evidence(watch.told()));
                evidence.inside = inside.finish();
                client
            }),
            State::Http1(talk) => talk.finish(|parser, evidence| {
                let client = parser.client();
                evidence.http1 = Some(Box::new(parser.into_evidence()));
                client
            }),
            State::Http2(talk) => talk.finish(|parser, evidence| {
                let client = parser.client();
                evidence.http2 = Some(Box::new(parser.into_evidence()));
                client
            }),
            State::Nats(talk) => talk.finish(|parser, evidence| {
                evidence.nats = Some(*parser.evidence());
                parser.client()
            }),
            State::Dns(talk) => talk.finish(|parser, evidence| {
                let client = parser.client();
                evidence.dns = Some(Box::new(parser.into_evidence()));
                client
            }),
            State::Mysql(talk) => talk.finish(|parser, evidence| {
                evidence.mysql = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Ssh(talk) => talk.finish(|parser, evidence| {
                evidence.ssh = Some(Box::new(parser.evidence().clone()));
                None
            }),
            State::Ldap(talk) => talk.finish(|parser, evidence| {
                evidence.ldap = Some(Box::new(parser.evidence().clone()));
                parser.client()
            }),
            State::Syslog(talk) => talk.finish(|parser, evidence| {
                evidence.syslog = Some(*parser.evidence());
                parser.client()
            }),
            State::Proxy(talk) => talk.finish(|parser, evidence| {
                evidence.proxy = Some(parser.evidence());
                parser.client()
            }),
            State::RestingTls(resting) => State::Tls(resting.wake()).finish(),
            State::RestingHttp1(resting) => State::Http1(resting.wake()).finish(),
        }
    }
}

impl Talk<()> {
    /// The same flow, spoken on in what `parser` reads.
    pub(super) fn into<P>(self, parser: P) -> Box<Talk<P>> {
        Box::new(Talk { common: self.common, past: self.past, parser })
    }
}

impl<P> Talk<P> {
    fn held(&self, parser: impl FnOnce(&P) -> usize) -> usize {
        let past = self.past.as_deref().map_or(0, |past| size_of_val(past) + past.held());
        size_of_val(self) + past + parser(&self.parser)
    }

    /// What was seen so far; `see` adds what the recogniser saw, and says which side is the client.
    fn so_far(&self, see: impl FnOnce(&P, &mut Evidence) -> Option<Side>) -> (&Common, Evidence) {
        let mut evidence = self.past.as_deref().cloned().unwrap_or_default();
        let client = see(&self.parser, &mut evidence);
        evidence.client = evidence.client.or(client);
        (&self.common, evidence)
    }

    /// Moves what the recogniser saw into the evidence; `keep` says which side is the client.
    fn finish(self, keep: impl FnOnce(P, &mut Evidence) -> Option<Side>) -> (Common, Evidence) {
        let mut evidence = self.past.map_or_else(Evidence::default, |past| *past);
        let client = keep(self.parser, &mut evidence);
        evidence.client = evidence.client.or(client);
        (self.common, evidence)
    }
}
