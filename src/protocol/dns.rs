//! DNS (RFC 1035) over UDP, and over TCP behind its two-byte length (section 4.2.2), on any port.
//!
//! Only the header and the first question (or, without questions, the first record) are read, and of an
//! answer to a question seen before it, the addresses. mDNS (RFC 6762) and LLMNR (RFC 4795) have the same
//! form and count as DNS.

mod records;

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use super::repeated::Repeated;
use super::{NAME_CAP, Probe, Side, Step};

/// Evidence of DNS (RFC 1035).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Queries seen.
    pub queries: u32,
    /// Answers seen.
    pub answers: u32,
    /// First name asked for, in presentation form without the last dot (`.` for the root), at most
    /// [`NAME_CAP`] bytes.
    pub name: Option<Arc<[u8]>>,
    /// Addresses in answers, those not taken yet, at most [`ADDRESSES_CAP`] of one flow.
    pub addresses: Vec<Address>,
    /// Addresses dropped because of that cap.
    pub addresses_dropped: u32,
}

/// An A or AAAA record (RFC 1035 section 3.4.1, RFC 3596) of an answer that a question in the same flow
/// asked for, by its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The record's name, as [`Dns::name`] writes names.
    pub name: Box<[u8]>,
    /// The address.
    pub address: IpAddr,
}

/// The most addresses that are read of one flow, so that a flow of DNS without end costs no more than any
/// other. Resolvers ask from a new port nearly every time.
pub const ADDRESSES_CAP: usize = 128;
/// Identifiers of questions not answered yet, the latest; a resolver's flow seldom has more than two.
const PENDING: usize = 8;
// They are counted in a byte.
const _: () = assert!(ADDRESSES_CAP < 256);

impl Dns {
    /// Bytes on the heap.
    pub(super) fn held(&self) -> usize {
        self.name.as_deref().map_or(0, <[u8]>::len) + self.addresses.iter().map(Address::held).sum::<usize>()
    }
}

impl Address {
    fn held(&self) -> usize {
        size_of_val(self) + self.name.len()
    }
}

/// Whether one UDP payload is a DNS message.
///
/// Flags, four counts, name, type and class leave random bytes less than one chance in 2^60.
pub fn probe_datagram(bytes: &[u8]) -> Probe {
    match message(bytes) {
        Ok(_) => Probe::Certain,
        Err(_) => Probe::NotForUs,
    }
}

/// Whether the first bytes of one side of a TCP stream are a DNS message behind its length.
pub fn probe(bytes: &[u8]) -> Probe {
    match framed(bytes) {
        Ok(_) => Probe::Certain,
        Err(Fault::Short) => Probe::Unsure,
        Err(Fault::Malformed) => Probe::NotForUs,
    }
}

/// Reads both sides of one DNS conversation.
#[derive(Clone, Debug)]
pub struct Parser(Kept);

#[derive(Clone, Debug)]
enum Kept {
    Few(Few),
    All(Box<All>),
}

/// All there is to know of most flows: short, at most one question open, no addresses left to take. There are
/// very many of them.
#[derive(Clone, Debug, Default)]
struct Few {
    name: Option<Name>,
    /// The client's question that is not answered yet.
    pending: Option<u16>,
    queries: u8,
    answers: u8,
    read: u8,
    client: Option<Side>,
}

/// What is known of any flow.
#[derive(Clone, Debug, Default)]
struct All {
    name: Option<Name>,
    queries: u32,
    answers: u32,
    /// Addresses not taken yet, and the bytes they take.
    addresses: Vec<Address>,
    addresses_held: usize,
    addresses_dropped: u32,
    /// Who asked, and the message's identifier: the oldest first, and empty places last.
    pending: [Option<(Side, u16)>; PENDING],
    /// Addresses read, taken ones too.
    read: u8,
    client: Option<Side>,
}

/// One word, where a slice takes two.
type Name = Arc<Arc<[u8]>>;

thread_local! {
    static NAMES: RefCell<Repeated<Name>> = RefCell::default();
}

fn held_name(name: Option<&Name>) -> usize {
    name.map_or(0, |name| size_of_val(&**name) + name.len())
}

impl Default for Parser {
    fn default() -> Parser {
        Parser(Kept::Few(Few::default()))
    }
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Bytes on the heap.
    pub fn held(&self) -> usize {
        match &self.0 {
            Kept::Few(few) => held_name(few.name.as_ref()),
            Kept::All(all) => size_of_val(&**all) + held_name(all.name.as_ref()) + all.addresses_held,
        }
    }

    /// Reads one UDP payload, whole or as far as it was captured.
    pub fn datagram(&mut self, side: Side, bytes: &[u8]) -> Step {
        match message(bytes) {
            Ok(message) => {
                self.count(side, &message);
                Step::More { used: bytes.len() }
            }
            Err(_) => Step::Broken,
        }
    }

    /// Reads on in one side's bytes of a TCP stream.
    pub fn advance(&mut self, side: Side, bytes: &[u8]) -> Step {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let length = match framed(rest) {
                Ok((length, message)) => {
                    self.count(side, &message);
                    length
                }
                Err(Fault::Short) => return Step::More { used },
                Err(Fault::Malformed) => return Step::Broken,
            };
            match length.checked_sub(rest.len()) {
                None | Some(0) => used += length,
                Some(skip) => {
                    return Step::Skip { used: bytes.len(), skip: skip as u64 };
                }
            }
        }
    }

    /// Bytes of this side are missing here, and with them where the next message begins.
    ///
    /// What follows need not be DNS any more, so [`Parser::advance`] may find it broken; what was seen
    /// stands.
    pub fn gap(&mut self, _side: Side) {}

    /// What was seen so far.
    pub fn evidence(&self) -> Dns {
        let name = |name: &Option<Name>| name.as_deref().cloned();
        match &self.0 {
            Kept::Few(few) => Dns {
                queries: few.queries.into(),
                answers: few.answers.into(),
                name: name(&few.name),
                ..Dns::default()
            },
            Kept::All(all) => Dns {
                queries: all.queries,
                answers: all.answers,
                name: name(&all.name),
                addresses: all.addresses.clone(),
                addresses_dropped: all.addresses_dropped,
            },
        }
    }

    /// Whether there are any to take.
    pub fn has_addresses(&self) -> bool {
        matches!(&self.0, Kept::All(all) if !all.addresses.is_empty())
    }

    /// The addresses read since they were last taken. What is held is less then.
    pub fn take_addresses(&mut self) -> Vec<Address> {
        let Kept::All(all) = &mut self.0 else { return Vec::new() };
        all.addresses_held = 0;
        let addresses = std::mem::take(&mut all.addresses);
        self.pack();
        addresses
    }

    /// What was seen, when nothing more is to come.
    pub fn into_evidence(mut self) -> Dns {
        // Not to be copied.
        let addresses = self.take_addresses();
        Dns { addresses, ..self.evidence() }
    }

    /// Who asks, by the QR bit of the first message.
    pub fn client(&self) -> Option<Side> {
        match &self.0 {
            Kept::Few(few) => few.client,
            Kept::All(all) => all.client,
        }
    }

    fn count(&mut self, side: Side, message: &Message<'_>) {
        match &mut self.0 {
            Kept::Few(few) => {
                let mut all = few.unpack();
                all.count(side, message);
                self.0 = match all.pack() {
                    Some(few) => Kept::Few(few),
                    None => Kept::All(Box::new(all)),
                };
            }
            Kept::All(all) => {
                all.count(side, message);
                self.pack();
            }
        }
    }

    /// Takes less room if it can.
    fn pack(&mut self) {
        if let Kept::All(all) = &mut self.0
            && let Some(few) = all.pack()
        {
            self.0 = Kept::Few(few);
        }
    }
}

impl Few {
    /// Leaves no name here.
    #[inline]
    fn unpack(&mut self) -> All {
        let mut pending = [None; PENDING];
        pending[0] = self.client.zip(self.pending);
        All {
            name: self.name.take(),
            queries: self.queries.into(),
            answers: self.answers.into(),
            pending,
            read: self.read,
            client: self.client,
            ..All::default()
        }
    }
}

impl All {
    /// If it fits; then it leaves no name here.
    #[inline]
    fn pack(&mut self) -> Option<Few> {
        let [first, second, ..] = self.pending;
        let is_client = first.is_none_or(|(asker, _)| self.client == Some(asker));
        if !is_client || second.is_some() || !self.addresses.is_empty() || self.addresses_dropped > 0 {
            return None;
        }
        Some(Few {
            pending: first.map(|(_, id)| id),
            queries: u8::try_from(self.queries).ok()?,
            answers: u8::try_from(self.answers).ok()?,
            read: self.read,
            client: self.client,
            name: self.name.take(),
        })
    }

    fn count(&mut self, side: Side, message: &Message<'_>) {
        let asker = if message.answer { side.other() } else { side };
        self.client.get_or_insert(asker);
        let counter = match message.answer {
            true => &mut self.answers,
            false => &mut self.queries,
        };
        *counter = counter.saturating_add(1);
        if let (None, Some(name)) = (&self.name, message.name) {
            let name = presentation(name);
            self.name = NAMES.with_borrow_mut(|names| names.get(&name, || Some(Arc::new(Arc::from(&*name)))));
        }
        if !message.answer {
            self.asked((side, message.id));
        } else if self.was_asked((side.other(), message.id)) {
            self.addresses(message);
        }
    }

    /// The oldest question makes room.
    fn asked(&mut self, question: (Side, u16)) {
        let free = match self.pending.iter_mut().position(|pending| pending.is_none()) {
            Some(free) => free,
            None => {
                self.pending.rotate_left(1);
                PENDING - 1
            }
        };
        self.pending[free] = Some(question);
    }

    /// One answer a question.
    fn was_asked(&mut self, question: (Side, u16)) -> bool {
        let Some(at) = self.pending.iter().position(|pending| *pending == Some(question)) else {
            return false;
        };
        self.pending.copy_within(at + 1.., at);
        self.pending[PENDING - 1] = None;
        true
    }

    fn addresses(&mut self, message: &Message<'_>) {
        let mut at = message.records;
        for _ in 0..message.count {
            let Some((address, next)) = records::address(message.bytes, at) else { return };
            if let Some(address) = address {
                if usize::from(self.read) >= ADDRESSES_CAP {
                    self.addresses_dropped = self.addresses_dropped.saturating_add(1);
                } else if let Some(name) = records::expand(message.bytes, at) {
                    self.read += 1;
                    let address = Address { name: presentation(&name), address };
                    self.addresses_held += address.held();
                    self.addresses.push(address);
                }
            }
            at = next;
        }
    }
}

/// Why bytes are no DNS message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// They end before the first question does.
    Short,
    /// They break a rule.
    Malformed,
}

/// What is read of one message.
struct Message<'a> {
    answer: bool,
    /// The first question's name in wire form, up to its root label.
    name: Option<&'a [u8]>,
    id: u16,
    /// The message, as far as it was lent.
    bytes: &'a [u8],
    /// Where the answer's records begin, and how many there are.
    records: usize,
    count: u16,
}

/// The part of a message that is read: header, longest name, and the fixed part of a record.
const READ_CAP: usize = 12 + NAME_CAP + 10;

/// A message behind its length; gives the length of both.
fn framed(bytes: &[u8]) -> Result<(usize, Message<'_>), Fault> {
    let (&[high, low], rest) = bytes.split_first_chunk().ok_or(Fault::Short)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let read = length.min(READ_CAP);
    let Some(bytes) = rest.get(..read) else {
        // Wait only for what can still become a message.
        return match message(rest) {
            Ok(_) | Err(Fault::Short) if length >= 12 => Err(Fault::Short),
            _ => Err(Fault::Malformed),
        };
    };
    match message(bytes) {
        Ok(message) => Ok((2 + length, message)),
        Err(_) => Err(Fault::Malformed),
    }
}

fn message(bytes: &[u8]) -> Result<Message<'_>, Fault> {
    let (header, body) = bytes.split_first_chunk::<12>().ok_or(Fault::Short)?;
    let answer = header[2] & 0x80 != 0;
    let opcode = (header[2] >> 3) & 0x0f;
    let code = header[3] & 0x0f;
    let id = u16::from_be_bytes([header[0], header[1]]);
    let [questions, answers, authorities, additional] =
        [4, 6, 8, 10].map(|at| u16::from_be_bytes([header[at], header[at + 1]]));

    // Standard query, notify (RFC 1996) and update (RFC 2136); the Z bit is zero (RFC 1035 4.1.1).
    let sane = matches!(opcode, 0 | 4 | 5)
        && header[3] & 0x40 == 0
        && code <= 11
        && (answer || (code == 0 && header[3] & 0x80 == 0))
        && questions <= 32
        && [answers, authorities, additional].iter().all(|count| *count <= 1024);
    if !sane {
        return Err(Fault::Malformed);
    }
    if questions > 0 {
        let (name, rest) = name(body)?;
        let (fixed, after) = rest.split_first_chunk::<4>().ok_or(Fault::Short)?;
        type_and_class(*fixed)?;
        // With several questions it is not told which of them the records answer.
        let count = if answer && opcode == 0 && code == 0 && questions == 1 { answers } else { 0 };
        let records = bytes.len() - after.len();
        return Ok(Message { answer, name: Some(name), id, bytes, records, count });
    }
    if !answer {
        return Err(Fault::Malformed);
    }
    let bare = Message { answer, name: None, id, bytes, records: bytes.len(), count: 0 };
    if answers > 0 {
        let (_, rest) = name(body)?;
        let (fixed, _) = rest.split_first_chunk::<10>().ok_or(Fault::Short)?;
        type_and_class([fixed[0], fixed[1], fixed[2], fixed[3]])?;
        return Ok(bare);
    }
    // A server that could not read the question answers with the header alone.
    match body.is_empty() && code != 0 && authorities == 0 && additional == 0 {
        true => Ok(bare),
        false => Err(Fault::Malformed),
    }
}

/// An uncompressed name (RFC 1035 section 3.1) up to its root label, and what follows it.
///
/// The first name of a message has nothing before it to point to, so it is never compressed.
fn name(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let mut at = 0;
    loop {
        match bytes.get(at) {
            None => return Err(Fault::Short),
            Some(0) => {
                let (name, rest) = bytes.split_at_checked(at + 1).ok_or(Fault::Short)?;
                return Ok((name, rest));
            }
            Some(length @ 1..=63) => at += 1 + usize::from(*length),
            Some(_) => return Err(Fault::Malformed),
        }
        if at >= NAME_CAP {
            return Err(Fault::Malformed);
        }
    }
}

/// Types up to the meta-types and SVCB's neighbours, CAA and TA; classes IN, CH, HS, NONE and ANY, with
/// mDNS's top bit (RFC 6762 section 5.4).
fn type_and_class([high, low, class_high, class_low]: [u8; 4]) -> Result<(), Fault> {
    let kind = u16::from_be_bytes([high, low]);
    let class = u16::from_be_bytes([class_high & 0x7f, class_low]);
    let known = matches!(kind, 1..=260 | 32768 | 32769) && matches!(class, 1 | 3 | 4 | 254 | 255);
    known.then_some(()).ok_or(Fault::Malformed)
}

/// Writes a wire-form name as text (RFC 1035 section 5.1): dots and backslashes within a label are
/// escaped, bytes that are not printable ASCII written as `\DDD`.
fn presentation(name: &[u8]) -> Box<[u8]> {
    let mut text = Text { bytes: [0; NAME_CAP], length: 0 };
    // A name over the cap ends with the last character that fits whole.
    let _ = text.name(name);
    text.bytes.get(..text.length).unwrap_or_default().into()
}

struct Text {
    bytes: [u8; NAME_CAP],
    length: usize,
}

impl Text {
    fn name(&mut self, mut rest: &[u8]) -> Option<()> {
        while let Some((length, more)) = rest.split_first() {
            let (label, more) = more.split_at_checked(usize::from(*length))?;
            rest = more;
            // Dots stand between labels; the root's stands alone.
            if label.is_empty() != (self.length > 0) {
                self.put(b".")?;
            }
            for byte in label {
                let digit = |scale: u8| b'0' + byte / scale % 10;
                match byte {
                    b'.' | b'\\' => self.put(&[b'\\', *byte])?,
                    b'!'..=b'~' => self.put(&[*byte])?,
                    _ => self.put(&[b'\\', digit(100), digit(10), digit(1)])?,
                }
            }
        }
        Some(())
    }

    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.length + bytes.len();
        self.bytes.get_mut(self.length..end)?.copy_from_slice(bytes);
        self.length = end;
        Some(())
    }
}

#[cfg(test)]
mod tests;
