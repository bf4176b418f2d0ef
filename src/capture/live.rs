//! Packets from a network interface, through libpcap.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use pcap::{Active, Device};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::filter::message;
use super::{CaptureError, LinkType, Packet, Precision, Timestamp};

/// How long the kernel may hold a packet back to hand over several at once, in milliseconds. Immediate
/// mode would hand over each at once, from a ring with one slot of the snapshot length per packet:
/// 64 MiB then hold 511 packets, where they hold tens of thousands without it.
const HOLD_BACK: i32 = 100;

/// How to capture from an interface.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// A filter expression (pcap-filter(7)), which the kernel applies.
    pub filter: Option<String>,
    /// Whether to see packets for other hosts too.
    pub promiscuous: bool,
    /// The most bytes captured of one packet.
    pub snaplen: i32,
    /// Size of the kernel's ring, in bytes.
    pub buffer: i32,
}

impl Default for LiveOptions {
    fn default() -> LiveOptions {
        LiveOptions { filter: None, promiscuous: true, snaplen: 65_535, buffer: 64 << 20 }
    }
}

/// A capture from a network interface.
pub struct Live {
    name: String,
    capture: pcap::Capture<Active>,
    link: LinkType,
    number: u64,
    /// The ring had nothing left at the last look.
    drained: bool,
}

/// What an interface gives.
#[derive(Debug)]
pub enum LiveEvent<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// No packet is there: the ring was drained just now, or nothing came within the time given.
    Quiet,
    /// The capture was broken off.
    End,
}

/// What libpcap counted since the capture was opened (pcap_stats(3PCAP)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LiveStats {
    /// Packets that passed the filter, dropped ones included; on `lo` each counts twice.
    pub received: u32,
    /// Packets dropped because the ring was full.
    pub dropped: u32,
    /// Packets dropped by the interface or its driver, where it says so.
    pub if_dropped: u32,
}

impl Live {
    /// Starts to capture.
    ///
    /// # Errors
    /// No such interface, no permission, a filter that libpcap does not take on this interface.
    pub fn open(interface: &str, options: &LiveOptions) -> Result<Live, CaptureError> {
        let fail = |error: pcap::Error| failure(interface, &error);
        let mut capture = pcap::Capture::from_device(interface)
            .map_err(fail)?
            .promisc(options.promiscuous)
            .snaplen(options.snaplen)
            .buffer_size(options.buffer)
            .timeout(HOLD_BACK)
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
        Ok(Live { name: interface.to_owned(), capture, link, number: 0, drained: true })
    }

    /// The interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lends the next packet; when there is none, waits for one, at most for `timeout`.
    ///
    /// No system call is made while the ring has packets. A signal ends the wait early.
    ///
    /// # Errors
    /// An interface that went away.
    pub fn next_event(&mut self, timeout: Duration) -> Result<LiveEvent<'_>, CaptureError> {
        if self.drained {
            let readable = self.wait(timeout).map_err(|error| CaptureError {
                capture: self.name.clone(),
                offset: None,
                packet: None,
                what: format!("waiting for packets failed: {error}"),
                advice: "start the capture again".to_owned(),
            })?;
            if !readable {
                return Ok(LiveEvent::Quiet);
            }
            self.drained = false;
        }
        match self.capture.next_packet() {
            Ok(packet) => {
                self.number += 1;
                let seconds = packet.header.ts.tv_sec.saturating_mul(Timestamp::SECOND);
                Ok(LiveEvent::Packet(Packet {
                    capture: 0,
                    number: self.number,
                    time: Timestamp(seconds.saturating_add(packet.header.ts.tv_usec)),
                    precision: Precision::Nano,
                    link: self.link,
                    wire_length: packet.header.len,
                    bytes: packet.data,
                }))
            }
            Err(pcap::Error::TimeoutExpired) => {
                self.drained = true;
                Ok(LiveEvent::Quiet)
            }
            Err(pcap::Error::NoMorePackets) => Ok(LiveEvent::End),
            Err(error) => Err(failure(&self.name, &error)),
        }
    }

    /// What was received and dropped so far.
    ///
    /// # Errors
    /// Whatever libpcap says.
    pub fn stats(&mut self) -> Result<LiveStats, CaptureError> {
        let stats = self.capture.stats().map_err(|error| failure(&self.name, &error))?;
        Ok(LiveStats { received: stats.received, dropped: stats.dropped, if_dropped: stats.if_dropped })
    }

    /// Whether there is something to read, or to fail on, within the time.
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        let descriptor = self.capture.as_fd();
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
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
    use std::net::UdpSocket;

    #[test]
    fn a_missing_interface_or_missing_rights_are_explained() {
        let error = Live::open("nosuchif0", &LiveOptions::default()).map(|_| ()).unwrap_err();
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
    fn loopback_traffic_is_captured_with_the_right_to() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let options = LiveOptions {
            filter: Some(format!("udp dst port {}", address.port())),
            ..LiveOptions::default()
        };
        let mut live = match Live::open("lo", &options) {
            Ok(live) => live,
            Err(error) => {
                println!("skipped: {error}");
                return;
            }
        };
        assert!(matches!(live.next_event(Duration::from_millis(10)), Ok(LiveEvent::Quiet)));
        socket.send_to(b"to myself", address).unwrap();
        let mut seen = Vec::new();
        for _ in 0..100 {
            if let LiveEvent::Packet(packet) = live.next_event(Duration::from_millis(50)).unwrap() {
                seen.push((packet.number, packet.link, packet.bytes.ends_with(b"to myself")));
                break;
            }
        }
        assert_eq!(seen, [(1, LinkType::Ethernet, true)]);
        let stats = live.stats().unwrap();
        assert!(stats.received >= 1 && stats.dropped == 0, "{stats:?}");
        let wrong = LiveOptions { filter: Some("tcp prot 1".to_owned()), ..LiveOptions::default() };
        let error = Live::open("lo", &wrong).map(|_| ()).unwrap_err();
        assert!(error.what.contains("syntax error"), "{error}");
    }
}
