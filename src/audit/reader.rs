//! Hands a flow's bytes to its conversation.

use std::sync::Arc;

use super::links::Watch;
use crate::capture::Timestamp;
use crate::flow::{Reader, Want};
use crate::packet::{Gap, Side};
use crate::protocol::tls::{self, KeyStore};
use crate::protocol::{Address, Conversation, Evidence, Step};

/// Hands a flow's bytes to its conversation, which begins with the first of them.
#[derive(Debug, Default)]
pub(crate) struct FlowReader {
    /// The flow's beginning is in the capture.
    is_begun: bool,
    reading: Option<Box<Reading>>,
}

#[derive(Debug)]
struct Reading {
    conversation: Conversation,
    watch: Watch,
}

impl FlowReader {
    fn conversation(&mut self, keys: &Arc<KeyStore>) -> &mut Conversation {
        let begin = || {
            let mut conversation = Conversation::with_keys(Arc::clone(keys));
            if self.is_begun {
                conversation.begins();
            }
            Box::new(Reading { conversation, watch: Watch::default() })
        };
        &mut self.reading.get_or_insert_with(begin).conversation
    }

    pub(super) fn tls(&self) -> Option<&tls::Evidence> {
        self.reading.as_ref()?.conversation.tls()
    }

    /// Addresses that DNS answers gave names to since this was last asked.
    pub(super) fn take_addresses(&mut self) -> Vec<Address> {
        self.reading.as_mut().map_or_else(Vec::new, |reading| reading.conversation.take_addresses())
    }

    /// The flow is over: everything that was seen.
    pub(super) fn finish(self) -> Evidence {
        self.reading.map_or_else(Conversation::default, |reading| reading.conversation).finish()
    }
}

impl Reader for FlowReader {
    type Context = Arc<KeyStore>;

    fn new(_: &Arc<KeyStore>) -> FlowReader {
        FlowReader::default()
    }

    fn begins(&mut self) {
        self.is_begun = true;
        if let Some(reading) = &mut self.reading {
            reading.conversation.begins();
        }
    }

    fn read(&mut self, keys: &Arc<KeyStore>, side: Side, bytes: &[u8], at: Timestamp) -> Want {
        match self.conversation(keys).read(side, bytes, at.0) {
            Step::More { used } => Want { used, skip: 0, done: false },
            Step::Skip { used, skip } => Want { used, skip, done: false },
            // The conversation itself turns these into one of the others; nothing more is wanted.
            Step::Done | Step::Switch { .. } | Step::Broken => Want::NOTHING,
        }
    }

    fn gap(&mut self, keys: &Arc<KeyStore>, side: Side, cause: Gap, covered: u64, _: Timestamp) -> u64 {
        self.conversation(keys).gap(side, cause, covered)
    }

    fn closed(&mut self, side: Side, reset: bool, at: Timestamp) {
        if let Some(reading) = &mut self.reading {
            reading.conversation.closed(side, reset, at.0);
        }
    }

    fn has_news(&mut self) -> bool {
        let Some(reading) = &mut self.reading else { return false };
        reading.watch.has_news(reading.conversation.tls())
    }

    fn datagram(&mut self, keys: &Arc<KeyStore>, side: Side, bytes: &[u8], cut: bool, _: Timestamp) -> bool {
        self.conversation(keys).datagram(side, bytes, cut)
    }
}
