//! Words that several reports share: who an address is, what it went over, when.

use std::sync::Arc;

use super::text::{Text, eight_digits};
use super::{Certificate, Record};
use crate::capture::{Precision, Timestamp};
use crate::inventory::Vm;
use crate::packet::{Encapsulation, Layer, Transport};
use crate::protocol::tls;

/// Which end of a flow.
pub(super) const SOURCE: usize = 0;
/// The other one.
pub(super) const DESTINATION: usize = 1;

/// The instance name the inventory gives an end; several, joined, when they conflict; nothing if it
/// gives none.
pub(super) fn vm(record: &Record<'_>, end: usize, out: &mut Text) {
    if let Some(name) = record.names[end] {
        instances(record.policy.inventory().instances(name), out);
    }
}

/// The names of these instances, which claim one address if they are several.
pub(super) fn instances(vms: &[Arc<Vm>], out: &mut Text) {
    for (at, vm) in vms.iter().enumerate() {
        if at > 0 {
            out.word(" or ");
        }
        out.clean(&vm.instance);
    }
}

/// The transport's name, or its number.
pub(super) fn transport(transport: Transport, out: &mut Text) {
    match transport {
        Transport::TCP => out.word("TCP"),
        Transport::UDP => out.word("UDP"),
        Transport::ICMP => out.word("ICMP"),
        Transport::ICMPV6 => out.word("ICMPv6"),
        Transport(132) => out.word("SCTP"),
        Transport(number) => {
            out.word("IP protocol ");
            out.number(number.into());
        }
    }
}

/// The cipher suite's name, or its number.
pub(super) fn cipher(suite: u16, out: &mut Text) {
    match tls::cipher_name(suite) {
        Some(name) => out.word(name),
        None => out.show(format_args!("0x{suite:04x}")),
    }
}

/// The names on a certificate, or why there are none.
pub(super) fn certificate(certificate: &Certificate, out: &mut Text) {
    match certificate {
        Certificate::None => {}
        Certificate::Empty => out.word("empty"),
        Certificate::Unseen => out.word("unseen"),
        Certificate::Unreadable => out.word("unreadable"),
        Certificate::Names(names) => out.clean(names),
    }
}

/// A documented row's six cells.
pub(super) fn cells(cells: &[String; 6], out: &mut Text) {
    for (at, cell) in cells.iter().enumerate() {
        if at > 0 {
            out.word(" | ");
        }
        out.clean(cell);
    }
}

/// VLANs and tunnels from the outside in, separated by spaces.
pub(super) fn encapsulation(encapsulation: Encapsulation, out: &mut Text) {
    // Nearly always.
    if encapsulation == Encapsulation::NONE {
        return;
    }
    let start = out.length();
    for layer in encapsulation.layers() {
        match layer {
            Layer::Vlan(id) => {
                out.put_first(b" vlan   ", 6);
                out.number(id.into());
            }
            Layer::Vxlan(vni) => {
                out.put_first(b" vxlan  ", 7);
                out.number(vni.into());
            }
        }
    }
    out.remove(start);
}

/// A time as [`Clock`] writes it.
pub(super) fn time(time: Timestamp, precision: Precision, out: &mut Text) {
    Clock::default().time(time, precision, out);
}

/// Writes times in RFC 3339, remembering the second and the date of the day it was last asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Clock {
    /// Seconds since 1970, and how times in that second begin; none before the first.
    second: Option<(i64, [u8; 20])>,
    /// Days since 1970, and the date of that day; none before the first.
    date: Option<(i64, [u8; 10])>,
}

/// Seconds.
const DAY: i64 = 24 * 3600;

impl Clock {
    /// In UTC, with the capture's digits.
    pub(super) fn time(&mut self, time: Timestamp, precision: Precision, out: &mut Text) {
        let second = time.0.div_euclid(Timestamp::SECOND);
        // Not below the earliest time, though the second may begin there.
        let fraction = time.0.wrapping_sub(second.wrapping_mul(Timestamp::SECOND)).unsigned_abs();
        let begun = self.second(second);
        out.put_with::<30>(|text| {
            text[..20].copy_from_slice(begun);
            text[20..28].copy_from_slice(&eight_digits(fraction / 10));
            match precision {
                Precision::Micro => {
                    text[26] = b'Z';
                    27
                }
                Precision::Nano => {
                    (text[28], text[29]) = (pair(fraction % 10)[1], b'Z');
                    30
                }
            }
        });
    }

    #[inline]
    fn second(&mut self, second: i64) -> &[u8; 20] {
        if self.second.is_none_or(|(known, _)| known != second) {
            let text = self.written(second);
            self.second = Some((second, text));
        }
        self.second.as_ref().map_or(b"0000-00-00T00:00:00.", |(_, text)| text)
    }

    #[inline(never)]
    fn written(&mut self, second: i64) -> [u8; 20] {
        let of_day = second.rem_euclid(DAY).unsigned_abs();
        let mut text = *b"0000-00-00T00:00:00.";
        text[..10].copy_from_slice(&self.date(second.div_euclid(DAY)));
        text[11..13].copy_from_slice(&pair(of_day / 3600));
        text[14..16].copy_from_slice(&pair(of_day / 60 % 60));
        text[17..19].copy_from_slice(&pair(of_day % 60));
        text
    }

    fn date(&mut self, day: i64) -> [u8; 10] {
        if let Some((known, date)) = self.date
            && known == day
        {
            return date;
        }
        // Sixty-four bits of nanoseconds lie between the years 1677 and 2262.
        let midnight = jiff::Timestamp::from_second(day * DAY).unwrap_or_default();
        let mut date = *b"1970-01-01";
        date.iter_mut().zip(midnight.strftime("%Y-%m-%d").to_string().bytes()).for_each(|(d, b)| *d = b);
        self.date = Some((day, date));
        date
    }
}

/// The two digits of a number below 100.
#[inline]
fn pair(number: u64) -> [u8; 2] {
    [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::text::text;
    use proptest::prelude::*;

    #[test]
    fn times_are_rfc_3339_with_the_captures_digits() {
        let at = Timestamp(1_795_000_000_123_456_789);
        let time = |precision| text(|out| time(at, precision, out));
        assert_eq!(time(Precision::Micro), "2026-11-18T11:06:40.123456Z");
        assert_eq!(time(Precision::Nano), "2026-11-18T11:06:40.123456789Z");
    }

    #[test]
    fn encapsulation_is_said_from_the_outside_in() {
        let words = |layers| text(|out| encapsulation(layers, out));
        let mut both = Encapsulation::default();
        assert!(both.push(100) && both.push(200) && both.enter(7) && both.push(300));
        assert_eq!(words(both), "vlan 100 vlan 200 vxlan 7 vlan 300");
        assert_eq!(words(Encapsulation::default()), "");
    }

    proptest! {
        #[test]
        fn times_are_those_of_jiff(times in prop::collection::vec(any::<i64>(), 1..20), near in any::<i32>()) {
            let mut clock = Clock::default();
            for at in times.into_iter().chain([0, -1, i64::MIN, i64::MAX, i64::from(near)]) {
                let expected = jiff::Timestamp::from_nanosecond(at.into()).unwrap();
                let nanos = text(|out| clock.time(Timestamp(at), Precision::Nano, out));
                prop_assert_eq!(nanos, format!("{expected:.9}"));
                // Captures of microseconds hold whole ones.
                let at = at.div_euclid(1000).max(i64::MIN / 1000) * 1000;
                let expected = jiff::Timestamp::from_nanosecond(at.into()).unwrap();
                let micros = text(|out| clock.time(Timestamp(at), Precision::Micro, out));
                prop_assert_eq!(micros, format!("{expected:.6}"));
            }
        }
    }
}
