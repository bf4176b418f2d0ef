//! Packets from network interfaces, through libpcap.

mod fanout;
mod interfaces;
mod readers;

use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use pcap::{Active, Device};

use super::filter::message;
use super::{CaptureError, LinkType, Packet, Precision, Timestamp};

pub use interfaces::Interfaces;

/// How long the kernel may hold a packet back to hand over several at once, in milliseconds. Immediate
/// mode would hand over each at once, from a ring with one slot of the snapshot length per packet:
/// 64 MiB then hold 511 packets, where they hold tens of thousands without it.
pub const HOLD_BACK: i32 = 100;
/// The same where there are several rings: packets of one wait until the others are known to hold no earlier
/// ones.
const HOLD_BACK_OF_SEVERAL: i32 = 20;

/// How to capture from an interface.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// A filter expression (pcap-filter(7)), which the kernel applies.
    pub filter: Option<String>,
    /// Whether to see packets for other hosts too; `any` does not know this mode.
    pub promiscuous: bool,
    /// The most bytes captured of one packet.
    pub snaplen: i32,
    /// Size of each of the kernel's rings, in bytes.
    pub buffer: i32,
    /// Rings of each interface: with several, each is read by a thread of its own, and the kernel spreads
    /// packets over them by their flows.
    pub rings: NonZeroUsize,
}

impl LiveOptions {
    /// The most bytes captured of a packet unless told otherwise: a packet that the interface was handed in
    /// one piece to cut up itself (TSO) is as long. The ring holds packets at their own length, so that a
    /// large limit costs nothing where packets are small.
    pub const SNAPLEN: i32 = 65_535;
    /// Size of the ring unless told otherwise, in bytes.
    pub const BUFFER: i32 = 64 << 20;
}

impl Default for LiveOptions {
    fn default() -> LiveOptions {
        LiveOptions {
            filter: None,
            promiscuous: false,
            snaplen: LiveOptions::SNAPLEN,
            buffer: LiveOptions::BUFFER,
            rings: NonZeroUsize::MIN,
        }
    }
}

/// A capture from one network interface, or from `any`.
pub struct Live {
    name: String,
    /// Its index among the captures of the audit.
    index: u16,
    capture: pcap::Capture<Active>,
    link: LinkType,
    number: u64,
    /// Packets of an earlier time are none of this capture's.
    since: Timestamp,
    counted: pcap::Stat,
}

/// How reading what the ring holds came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Nothing is left for now.
    Empty,
    /// There may be more.
    More,
}

/// What the kernel counted over some time (pcap_stats(3PCAP)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Packets that passed the filter, dropped ones included; on `lo` each counts twice.
    pub received: u64,
    /// Packets dropped because the ring was full; on `lo` each counts twice.
    pub dropped: u64,
    /// Packets dropped by the interface or its driver, where it says so.
    pub if_dropped: u64,
}

impl Live {
    /// Starts to capture.
    ///
    /// # Errors
    /// No such interface, no permission, a filter that libpcap does not take on this interface.
    pub fn open(interface: &str, index: u16, options: &LiveOptions) -> Result<Live, CaptureError> {
        let fail = |error: pcap::Error| failure(interface, &error);
        let mut capture = pcap::Capture::from_device(interface)
            .map_err(fail)?
            .promisc(options.promiscuous)
            .snaplen(options.snaplen)
            .buffer_size(options.buffer)
            .timeout(if options.rings.get() > 1 { HOLD_BACK_OF_SEVERAL } else { HOLD_BACK })
            .immediate_mode(false)
            .precision(pcap::Precision::Nano)
            .open()
            .map_err(fail)?;
        if let Some(filter) = &options.filter {
            capture.filter(filter, true).map_err(|error| CaptureError {
                capture: interface.to_owned(),
                offset: None,
                packet: None,
                what: format!("filter `{filter}`: {}", message(&error)),
                advice: "see pcap-filter(7) for what can be asked".to_owned(),
            })?;
        }
        let link = from_dlt(capture.get_datalink().0);
        let capture = capture.setnonblock().map_err(fail)?;
        let counted = pcap::Stat { received: 0, dropped: 0, if_dropped: 0 };
        let since = Timestamp(i64::MIN);
        Ok(Live { name: interface.to_owned(), index, capture, link, number: 0, since, counted })
    }

    /// Starts to capture with as many rings as are asked for, over which packets are spread.
    ///
    /// # Errors
    /// See [`Live::open`]; a kernel that knows no such rings.
    fn open_rings(
        interface: &str,
        index: u16,
        options: &LiveOptions,
        clock: fn() -> Timestamp,
    ) -> Result<Vec<Live>, CaptureError> {
        let rings = (0..options.rings.get()).map(|_| Live::open(interface, index, options));
        let mut rings = rings.collect::<Result<Vec<Live>, _>>()?;
        if rings.len() > 1 {
            let descriptors: Vec<_> = rings.iter().map(|live| live.capture.as_fd()).collect();
            fanout::join(&descriptors).map_err(|error| CaptureError {
                capture: interface.to_owned(),
                offset: None,
                packet: None,
                what: format!("packets cannot be spread over {} rings: {error}", descriptors.len()),
                advice: "capture with --threads 1".to_owned(),
            })?;
            // Until now each was given every packet.
            let since = clock();
            rings.iter_mut().for_each(|live| live.since = since);
        }
        Ok(rings)
    }

    /// Lends the packets that the ring holds, at most so many. Never waits.
    ///
    /// # Errors
    /// An interface that went away.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&Packet<'_>)) -> Result<Drained, CaptureError> {
        for _ in 0..most {
            match self.capture.next_packet() {
                Ok(packet) => {
                    let seconds = packet.header.ts.tv_sec.saturating_mul(Timestamp::SECOND);
                    let time = Timestamp(seconds.saturating_add(packet.header.ts.tv_usec));
                    if time < self.since {
                        continue;
                    }
                    self.number += 1;
                    take(&Packet {
                        capture: self.index,
                        number: self.number,
                        time,
                        precision: Precision::Nano,
                        link: self.link,
                        wire_length: packet.header.len,
                        bytes: packet.data,
                    });
                }
                Err(pcap::Error::TimeoutExpired) => return Ok(Drained::Empty),
                Err(error) => return Err(failure(&self.name, &error)),
            }
        }
        Ok(Drained::More)
    }

    /// What was received and dropped since this was last asked. libpcap's own counters are of 32 bits and
    /// begin again.
    ///
    /// # Errors
    /// Whatever libpcap says.
    pub fn stats(&mut self) -> Result<LiveStats, CaptureError> {
        let now = self.capture.stats().map_err(|error| failure(&self.name, &error))?;
        let before = std::mem::replace(&mut self.counted, now);
        Ok(LiveStats {
            received: u64::from(now.received.wrapping_sub(before.received)),
            dropped: u64::from(now.dropped.wrapping_sub(before.dropped)),
            if_dropped: u64::from(now.if_dropped.wrapping_sub(before.if_dropped)),
        })
    }
}

/// When the system's clock shows `now` and rings are empty, no packet of an earlier time than this is to come:
/// the kernel may hold back packets that are older than the last look at its rings.
fn settled(now: Timestamp, of_several: bool) -> Timestamp {
    let held_back = if of_several { HOLD_BACK_OF_SEVERAL } else { HOLD_BACK };
    Timestamp(now.0.saturating_sub(2 * i64::from(held_back) * 1_000_000))
}

/// The link type of a DLT number, which is libpcap's own and differs from LINKTYPE for raw IP only, as
/// far as this program decodes it.
fn from_dlt(dlt: i32) -> LinkType {
    u16::try_from(dlt).map_or(LinkType::Other(u16::MAX), LinkType::from_code)
}

fn failure(interface: &str, error: &pcap::Error) -> CaptureError {
    let what = message(error);
    let lower = what.to_lowercase();
    let advice = if lower.contains("permission") || lower.contains("permitted") {
        "run as root, or grant the program the right: `setcap cap_net_raw+ep PROGRAM`".to_owned()
    } else if lower.contains("no such device") || lower.contains("doesn't exist") {
        let names: Vec<String> =
            Device::list().unwrap_or_default().into_iter().map(|device| device.name).collect();
        if names.is_empty() {
            "see `ip link` for the interfaces there are".to_owned()
        } else {
            format!("the interfaces there are: {}", names.join(", "))
        }
    } else {
        "see `ip link` for the state of the interface".to_owned()
    };
    CaptureError { capture: interface.to_owned(), offset: None, packet: None, what, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_or_missing_rights_are_explained() {
        let error = Live::open("nosuchif0", 0, &LiveOptions::default()).map(|_| ()).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("nosuchif0: "), "{text}");
        assert!(text.contains("the interfaces there are: ") || text.contains("run as root"), "{text}");
    }

    #[test]
    fn errors_carry_advice() {
        let of = |text: &str| failure("eth0", &pcap::Error::PcapError(text.to_owned())).advice;
        let refused = "You don't have permission to capture on that device (socket: Operation not permitted)";
        assert!(of(refused).contains("cap_net_raw"));
        assert!(!of("eth0: No such device exists").contains("cap_net_raw"));
        assert!(of("The interface disappeared").contains("ip link"));
    }

    #[test]
    fn link_types_of_interfaces() {
        assert_eq!(from_dlt(12), LinkType::RawIp);
        assert_eq!(from_dlt(276), LinkType::LinuxCooked2);
        assert_eq!(from_dlt(-1), LinkType::Other(u16::MAX));
    }

    #[test]
    fn a_ring_that_holds_nothing_is_empty_at_once() {
        let options = LiveOptions { filter: Some("udp port 1".to_owned()), ..LiveOptions::default() };
        let Ok(mut live) = Live::open("lo", 0, &options).inspect_err(|error| println!("skipped: {error}"))
        else {
            return;
        };
        let drained = live.drain(1, |packet| panic!("{packet:?}"));
        assert_eq!(drained.unwrap(), Drained::Empty);
        let wrong = LiveOptions { filter: Some("tcp prot 1".to_owned()), ..LiveOptions::default() };
        let error = Live::open("lo", 0, &wrong).map(|_| ()).unwrap_err();
        assert!(error.what.contains("syntax error"), "{error}");
    }
}
