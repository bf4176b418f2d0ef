//! Which resumed session goes back to which connection, so that it can inherit what that one showed.
//!
//! Flows end in another order than they begin: a session is often resumed, and judged, while the
//! connection that began it is still open. So a connection is learnt as soon as its handshake is settled
//! ([`tls::Watch`] says when), in the order of packets: a client cannot use a ticket that it has not got, and
//! what is learnt from then on does not depend on when flows end. The judge then asks, flow by flow.
//!
//! A false link would be a false answer, so doubts leave the session unseen: every earlier connection of
//! the same client to the same server under the same name whose tickets fit, or could, must give the same
//! answer, and the length itself must tell (see [`Tickets::tells`]), since what was resumed may have begun
//! before the capture.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::capture::Timestamp;
use crate::flow::Flow;
use crate::packet::Endpoint;
use crate::policy::{Inherited, TlsKind};
use crate::protocol::tls::{self, Authentication, ClientCertificate, Given, Resumes, SessionName, Tickets};

/// Of the sessions that may be remembered, all may be known by identifier or ticket (TLS 1.2 and before; the
/// oldest give way), as many more by the length of their ticket (TLS 1.3), and those of a quarter as many
/// clients and servers; further ones are not.
const SESSIONS_A_PEER: usize = 4;
/// Connections remembered of one client and server; beyond that, only repetitions of what is known.
const PER_PEER: usize = 32;
/// How long a ticket may be used (RFC 8446 section 4.6.1), nanoseconds.
const TICKET_LIFE: i64 = 7 * 24 * 3600 * Timestamp::SECOND;

/// What bears on resumption of a TLS connection, as far as it was seen.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    client: Endpoint,
    server: Endpoint,
    /// The host name the client asked for.
    server_name: Option<Arc<[u8]>>,
    /// Which cipher suites the client offered: another set is another program.
    program: Option<[u8; 12]>,
    /// Time of its first packet.
    start: Timestamp,
    /// Number of its first packet over all captures.
    ordinal: u64,
    shown: Showing,
    given: Option<Given>,
    resumes: Option<Resumes>,
}

/// What a connection showed of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Showing {
    Kind(TlsKind),
    /// What the connection showed that began the session.
    Resumed,
    Nothing,
}

impl Connection {
    /// A flow as a TLS connection, once its roles are known.
    pub(super) fn new<R>(flow: &Flow<R>, tls: &tls::Evidence) -> Option<Box<Connection>> {
        let client = tls.client()?;
        let hello = tls.client_hello();
        let (authentication, given) = tls.authentication_and_given();
        // The place first: it is written where it stays.
        let place = Box::new_uninit();
        Some(Box::write(
            place,
            Connection {
                client: flow.key.end(client),
                server: flow.key.end(client.other()),
                server_name: hello.and_then(|hello| hello.server_name.clone()),
                program: hello.and_then(|hello| hello.ja4?.ciphers().first_chunk().copied()),
                start: flow.start,
                ordinal: flow.first_ordinal,
                shown: Showing::of(authentication, tls),
                given: given.filter(|_| !tls.midstream()),
                resumes: tls.resumes(),
            },
        ))
    }
}

impl Showing {
    fn of(authentication: Authentication, tls: &tls::Evidence) -> Showing {
        match authentication {
            // Tickets given before that certificate was asked for do not hold it.
            Authentication::Mutual(_) => match tls.client_certificate() {
                ClientCertificate::Presented { post_handshake: true, .. } => Showing::Nothing,
                _ => Showing::Kind(TlsKind::Mutual),
            },
            Authentication::OneWay(_) => Showing::Kind(TlsKind::Server),
            Authentication::Empty(_) => Showing::Kind(TlsKind::EmptyClientCertificate),
            Authentication::Resumed => Showing::Resumed,
            Authentication::Refused(_) | Authentication::Unseen(_) => Showing::Nothing,
        }
    }
}

/// What connections gave their clients to resume them by.
#[derive(Debug)]
pub(super) struct Links {
    /// How many sessions are remembered at most.
    most: usize,
    named: HashMap<Tag, Began, RandomState>,
    order: VecDeque<Tag>,
    peers: HashMap<Tag, Tied, RandomState>,
    tags: Tags,
    /// Connections of all peers.
    ticketed: usize,
    /// Connections that a cap kept from being remembered.
    pub(super) dropped: u64,
}

/// Stands for a client, a server, and the session or the host name between them: so many are remembered that
/// what they take is what they cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Tag([u64; 2]);

/// Makes tags, by seeds that nobody who sends packets can foresee: 128 bits tell all apart.
#[derive(Debug, Default)]
struct Tags([RandomState; 2]);

impl Tags {
    fn of_name(&self, name: SessionName, client: Endpoint, server: Endpoint) -> Tag {
        self.of((name, client.ip, server))
    }

    /// Of a client and a server, and the host name asked for.
    fn of_peer(&self, connection: &Connection) -> Tag {
        self.of((connection.client.ip, connection.server, &connection.server_name))
    }

    fn of(&self, what: impl Hash) -> Tag {
        Tag(self.0.each_ref().map(|seed| seed.hash_one(&what)))
    }
}

/// The connection that began a session.
#[derive(Clone, Copy, Debug)]
struct Began {
    at: i64,
    /// The client's.
    port: u16,
    /// `None` where two connections of one name differ.
    kind: Option<TlsKind>,
}

/// What one server gave one client.
#[derive(Debug, Default)]
struct Tied {
    connections: Vec<Ticketed>,
    /// A connection was left out: nothing is said any more.
    full: bool,
}

/// A connection whose tickets were seen.
#[derive(Clone, Copy, Debug)]
struct Ticketed {
    ordinal: u64,
    kind: Option<TlsKind>,
    tickets: Tickets,
    program: Option<[u8; 12]>,
    /// The client's.
    port: u16,
    at: i64,
}

impl Links {
    /// Remembers so many sessions.
    pub(super) fn new(most: usize) -> Links {
        Links {
            most,
            named: HashMap::default(),
            order: VecDeque::new(),
            peers: HashMap::default(),
            tags: Tags::default(),
            ticketed: 0,
            dropped: 0,
        }
    }

    /// Remembers what a connection gave its client; may be told more than once.
    pub(super) fn learn(&mut self, connection: &Connection) {
        let Some(given) = connection.given else { return };
        let kind = self.kind(connection);
        let Connection { client, server, ordinal, program, .. } = *connection;
        let port = client.port;
        if kind.is_some() {
            for name in given.names.into_iter().flatten() {
                let tag = self.tags.of_name(name, client, server);
                self.learn_name(tag, Began { at: given.at, port, kind });
            }
        }
        if given.tickets != Tickets::None {
            let (tickets, at) = (given.tickets, given.at);
            let ticketed = Ticketed { ordinal, kind, tickets, program, port, at };
            self.learn_ticket(self.tags.of_peer(connection), ticketed);
        }
    }

    /// What a resumed session takes over.
    pub(super) fn inherited(&self, connection: &Connection) -> Option<Inherited> {
        let Connection { client, server, .. } = *connection;
        let (kind, port, named) = match connection.resumes? {
            Resumes::Named(names) => {
                let known = |name: SessionName| self.named.get(&self.tags.of_name(name, client, server));
                let mut began = names
                    .into_iter()
                    .flatten()
                    .filter_map(known)
                    .filter(|began| began.at <= connection.start.0);
                let first = began.next()?;
                if began.any(|other| other.kind != first.kind) {
                    return None;
                }
                (first.kind?, first.port, true)
            }
            Resumes::Ticket { length, early_data } => {
                let ticketed = self.ticket(connection, length, early_data)?;
                (ticketed.kind?, ticketed.port, false)
            }
        };
        Some(Inherited { kind, client: Endpoint { port, ..client }, server, named })
    }

    /// The latest connection that a ticket may come from, if all of them say the same.
    fn ticket(&self, connection: &Connection, length: u16, early_data: bool) -> Option<Ticketed> {
        let given = self.peers.get(&self.tags.of_peer(connection)).filter(|given| !given.full)?;
        let start = connection.start.0;
        let mut found: Option<Ticketed> = None;
        for earlier in &given.connections {
            let age = start.saturating_sub(earlier.at);
            if earlier.ordinal == connection.ordinal || !(0..=TICKET_LIFE).contains(&age) {
                continue;
            }
            let same_program = earlier.program == connection.program;
            match earlier.tickets.fit(length, early_data) {
                Some(false) => continue,
                None if !same_program => continue,
                None => return None,
                Some(true) => {}
            }
            let certificate = earlier.kind? == TlsKind::Mutual;
            if !earlier.tickets.tells(length, certificate)
                || !same_program
                || found.is_some_and(|found| found.kind != earlier.kind)
            {
                return None;
            }
            found = found.filter(|found| found.at > earlier.at).or(Some(*earlier));
        }
        found
    }

    fn learn_name(&mut self, name: Tag, began: Began) {
        match self.named.entry(name) {
            Entry::Occupied(mut known) => {
                if known.get().kind != began.kind {
                    known.get_mut().kind = None;
                }
            }
            Entry::Vacant(place) => {
                place.insert(began);
                self.order.push_back(name);
            }
        }
        if self.order.len() > self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.named.remove(&oldest);
            self.dropped += 1;
        }
    }

    fn learn_ticket(&mut self, peer: Tag, new: Ticketed) {
        if self.peers.len() >= self.most / SESSIONS_A_PEER && !self.peers.contains_key(&peer) {
            self.dropped += 1;
            return;
        }
        let given = self.peers.entry(peer).or_default();
        if let Some(known) = given.connections.iter_mut().find(|known| known.ordinal == new.ordinal) {
            // What was said once stands: others may have inherited it.
            if known.kind.is_none() {
                *known = new;
            }
            return;
        }
        if given.connections.len() >= PER_PEER || self.ticketed >= self.most {
            let alike = |known: &Ticketed| {
                (known.kind, known.tickets, known.program) == (new.kind, new.tickets, new.program)
            };
            let Some(at) = given.connections.iter().position(alike) else {
                given.full = true;
                self.dropped += 1;
                return;
            };
            given.connections.remove(at);
            self.ticketed -= 1;
        }
        self.ticketed += 1;
        if given.connections.is_empty() {
            // Most peers have one, and that is nearly all they take.
            given.connections.reserve_exact(1);
        }
        given.connections.push(new);
    }

    /// What a connection showed of its client, or inherited; `None` if it cannot be told.
    fn kind(&self, connection: &Connection) -> Option<TlsKind> {
        match connection.shown {
            Showing::Kind(kind) => Some(kind),
            Showing::Resumed => self.inherited(connection).map(|inherited| inherited.kind),
            Showing::Nothing => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::tls::Layout;

    const NAMED: usize = 1000;

    fn tag(number: u64) -> Tag {
        Tag([number, 0])
    }

    fn ticketed(ordinal: u64, messages: u16, kind: Option<TlsKind>) -> Ticketed {
        let tickets = Tickets::Record { layout: Layout::Apart, messages };
        Ticketed { ordinal, kind, tickets, program: None, port: 40_000, at: 0 }
    }

    #[test]
    fn repetitions_take_the_place_of_older_ones_and_the_rest_silences_the_peer() {
        let mut links = Links::new(NAMED);
        for ordinal in 0..1000 {
            links.learn_ticket(tag(0), ticketed(ordinal, 217, Some(TlsKind::Mutual)));
        }
        let given = &links.peers[&tag(0)];
        assert_eq!((given.connections.len(), given.full, links.dropped), (PER_PEER, false, 0));
        assert_eq!(given.connections.last().map(|last| last.ordinal), Some(999));
        links.learn_ticket(tag(0), ticketed(1000, 217, Some(TlsKind::Server)));
        assert!(links.peers[&tag(0)].full);
        assert_eq!(links.dropped, 1);
    }

    #[test]
    fn what_was_said_of_a_connection_stands() {
        let mut links = Links::new(NAMED);
        for kind in [None, Some(TlsKind::Server), Some(TlsKind::Mutual), None] {
            links.learn_ticket(tag(0), ticketed(1, 217, kind));
        }
        let known: Vec<_> = links.peers[&tag(0)].connections.iter().map(|known| known.kind).collect();
        assert_eq!(known, [Some(TlsKind::Server)]);
    }

    #[test]
    fn two_answers_under_one_name_are_none() {
        let mut links = Links::new(NAMED);
        let name = tag(1);
        let began = |kind| Began { at: 0, port: 40_000, kind: Some(kind) };
        links.learn_name(name, began(TlsKind::Mutual));
        assert_eq!(links.named[&name].kind, Some(TlsKind::Mutual));
        links.learn_name(name, began(TlsKind::Server));
        links.learn_name(name, began(TlsKind::Mutual));
        assert_eq!(links.named[&name].kind, None);
    }

    #[test]
    fn the_oldest_names_give_way() {
        let mut links = Links::new(NAMED);
        for number in 0..NAMED as u64 + 2 {
            let began = Began { at: 0, port: 40_000, kind: Some(TlsKind::Mutual) };
            links.learn_name(tag(number), began);
        }
        assert_eq!((links.named.len(), links.order.len(), links.dropped), (NAMED, NAMED, 2));
        assert!(!links.named.contains_key(&tag(1)) && links.named.contains_key(&tag(2)));
    }
}
