//! When a connection that goes on shows what others may resume.

use super::answers::Questions;
use super::evidence::{Authentication, Evidence};
use super::resume::{Lesson, Tickets};

/// How often one connection is looked at before it is given up.
const LOOKS: u8 = 16;

/// Tells when a connection is worth learning from while it is still open.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Watch {
    pub(super) progress: u8,
    pub(super) looks: u8,
    /// What was told.
    pub(super) told: Option<Lesson>,
}

impl Watch {
    /// Whether a connection shows more than at the last look, and enough. Costs nothing once it was told.
    pub(in crate::protocol) fn has_news(&mut self, tls: &Evidence) -> bool {
        if self.told.is_some() || self.looks >= LOOKS {
            return false;
        }
        let progress = u8::try_from(tls.progress()).unwrap_or(u8::MAX);
        if progress == self.progress {
            return false;
        }
        self.progress = progress;
        // Before both sides encrypt, nothing is settled.
        if !tls.both_encrypt() {
            return false;
        }
        let questions = Questions::of(tls);
        let Some(given) = questions.given() else { return false };
        self.looks += 1;
        if matches!(given.tickets, Tickets::Unread)
            || (given.names == [None, None] && given.tickets == Tickets::None)
        {
            return false;
        }
        let authentication = questions.authentication();
        if matches!(authentication, Authentication::Refused(_) | Authentication::Unseen(_)) {
            return false;
        }
        self.told = Some(Lesson::of(authentication, Some(given)));
        true
    }

    /// What was told when there was news.
    pub(in crate::protocol) fn told(&self) -> Option<Lesson> {
        self.told
    }
}
