//! When a connection that goes on shows what others may resume.

use super::answers::Questions;
use super::evidence::{Authentication, Evidence};
use super::resume::Tickets;

/// How often one connection is looked at before it is given up.
const LOOKS: u8 = 16;

/// Tells when a connection is worth learning from while it is still open.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Watch {
    progress: u8,
    looks: u8,
    told: bool,
}

impl Watch {
    /// Whether a connection shows more than at the last look, and enough. Costs nothing once it was told.
    pub(in crate::protocol) fn has_news(&mut self, tls: &Evidence) -> bool {
        if self.told || self.looks >= LOOKS {
            return false;
        }
        let progress = u8::try_from(tls.progress()).unwrap_or(u8::MAX);
        if progress == self.progress {
            return false;
        }
        self.progress = progress;
        let questions = Questions::of(tls);
        let Some(given) = questions.given() else { return false };
        self.looks += 1;
        self.told = !matches!(given.tickets, Tickets::Unread)
            && (given.names != [None, None] || given.tickets != Tickets::None)
            && !matches!(questions.authentication(), Authentication::Refused(_) | Authentication::Unseen(_));
        self.told
    }
}
