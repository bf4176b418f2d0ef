//! Several rings on one interface, over which the kernel spreads packets by their flows (PACKET_FANOUT,
//! packet(7)).
//!
//! The hash is of addresses and ports, the same for both directions; of fragments it is of addresses alone, so
//! that those of one datagram come to one ring. What comes through a tunnel goes by the tunnel's own ports.
//! A flow may thus be spread over rings, and nothing may rely on the opposite.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::{getsockopt, setsockopt};
use nix::{getsockopt_impl, libc, setsockopt_impl, sockopt_impl};

// The value holds the group's number, how to spread, and flags, from the low bits up.
sockopt_impl!(Fanout, Both, libc::SOL_PACKET, libc::PACKET_FANOUT, u32);

/// Where flags begin.
const FLAGS: u32 = 16;
/// The kernel is to choose a number that no other group has.
const UNIQUE: u32 = libc::PACKET_FANOUT_FLAG_UNIQUEID << FLAGS;
const GROUP: u32 = 0xffff;

/// Makes these one group.
///
/// # Errors
/// Whatever the kernel says.
pub(super) fn join<F: AsFd>(rings: &[F]) -> io::Result<()> {
    let Some((first, others)) = rings.split_first() else { return Ok(()) };
    setsockopt(first, Fanout, &(libc::PACKET_FANOUT_HASH << FLAGS | UNIQUE))?;
    let group = getsockopt(first, Fanout)? & GROUP;
    for other in others {
        setsockopt(other, Fanout, &(libc::PACKET_FANOUT_HASH << FLAGS | group))?;
    }
    Ok(())
}
