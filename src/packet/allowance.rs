//! How much work the packets of a flow may make for what reads their bytes.

/// What each packet earns for its own flow, in units of about a nanosecond. A first request that spells out all its
/// fields takes what five packets earn, and one that names what a table has a third of what one does.
const OWN: u64 = 150;

/// What each packet earns for all: together about half of what it costs to follow an ordinary packet.
const COMMON: u64 = 50;

/// The most that is saved up for all: what bursts take beyond what their own packets earned.
const SAVED_CAP: u64 = 4_000_000;

/// What reading may cost, earned packet by packet: some of it a flow's own, which no other flow can spend, the rest for
/// whichever needs more.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// Packets that came, of all flows and of the one that is read.
    came: u64,
    of_flow: u64,
    /// What was left for all when so many had come.
    saved: u64,
    saved_at: u64,
    refused: u64,
}

impl Allowance {
    /// That of a flow of no packets, while as much is saved up as can be.
    pub const fn new() -> Allowance {
        Allowance { came: 0, of_flow: 0, saved: SAVED_CAP, saved_at: 0, refused: 0 }
    }

    /// What so many packets earned a flow, and nothing saved.
    pub const fn of_packets(packets: u64) -> Allowance {
        Allowance { of_flow: packets, saved: 0, ..Allowance::new() }
    }

    /// A packet came. What that earns is worked out when it is asked for.
    #[inline]
    pub fn earn(&mut self) {
        self.came += 1;
    }

    /// What is read next is a flow's that so many packets came of.
    #[inline]
    pub fn turn_to(&mut self, packets: u64) {
        self.of_flow = packets;
    }

    /// What the flow may spend that spent so much of its own before.
    pub fn left(&self, spent: u64) -> u64 {
        self.own(spent).saturating_add(self.common())
    }

    /// Spends `units` of it, first the flow's own, which are added to what it `spent`.
    pub fn spend(&mut self, spent: &mut u64, units: u64) {
        let own = self.own(*spent).min(units);
        *spent += own;
        (self.saved, self.saved_at) = (self.common().saturating_sub(units - own), self.came);
    }

    fn own(&self, spent: u64) -> u64 {
        self.of_flow.saturating_mul(OWN).saturating_sub(spent)
    }

    fn common(&self) -> u64 {
        let earned = (self.came - self.saved_at).saturating_mul(COMMON);
        self.saved.saturating_add(earned).min(SAVED_CAP)
    }

    /// There was too little left, and bytes stay unread.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    /// How often that was so.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_spends_its_own_before_what_is_saved() {
        let (mut allowance, mut spent) = (Allowance::new(), 0);
        allowance.turn_to(2);
        assert_eq!(allowance.left(spent), SAVED_CAP + 2 * OWN);
        allowance.spend(&mut spent, OWN);
        assert_eq!((spent, allowance.left(spent)), (OWN, SAVED_CAP + OWN));
        allowance.spend(&mut spent, OWN + 7);
        assert_eq!((spent, allowance.left(spent)), (2 * OWN, SAVED_CAP - 7));
    }

    #[test]
    fn what_others_spend_leaves_a_flow_its_own() {
        let (mut allowance, mut spent) = (Allowance::new(), 0);
        allowance.turn_to(0);
        allowance.spend(&mut spent, u64::MAX);
        assert_eq!((spent, allowance.left(spent)), (0, 0));
        allowance.turn_to(3);
        assert_eq!(allowance.left(0), 3 * OWN);
        for _ in 0..=SAVED_CAP / COMMON {
            allowance.earn();
        }
        assert_eq!(allowance.left(0), SAVED_CAP + 3 * OWN);
    }
}
