//! Hands a flow's bytes to its conversation.

use std::sync::Arc;

use crate::capture::Timestamp;
use crate::flow::{Reader, Shared, Want};
use crate::packet::{Allowance, Gap, Side};
use crate::protocol::tls::{Chain, KeyStore};
use crate::protocol::{Conversation, Step};

/// What the flow table lends a flow's bytes to.
#[derive(Debug, Default)]
pub(crate) struct FlowReader {
    pub(super) conversation: Conversation,
}

impl Reader for FlowReader {
    type Context = Arc<KeyStore>;

    fn new(keys: &Arc<KeyStore>) -> FlowReader {
        FlowReader { conversation: Conversation::with_keys(Arc::clone(keys)) }
    }

    fn expect(&self) {
        self.conversation.expect();
    }

    fn expect_behind(&self, pointers: u8) {
        self.conversation.expect_behind(pointers);
    }

    fn deepest(&self) -> u8 {
        self.conversation.deepest()
    }

    fn begins(&mut self) {
        self.conversation.begins();
    }

    fn read(&mut self, side: Side, bytes: &[u8], at: Timestamp, allowance: &mut Allowance) -> Want {
        match self.conversation.read(side, bytes, at.0, allowance) {
            Step::More { used } => Want { used, skip: 0, done: false },
            Step::Skip { used, skip } => Want { used, skip, done: false },
            // The conversation itself turns these into one of the others; nothing more is wanted.
            Step::Done | Step::Switch { .. } | Step::Broken => Want::NOTHING,
        }
    }

    fn gap(&mut self, side: Side, cause: Gap, covered: u64, _: Timestamp) -> u64 {
        self.conversation.gap(side, cause, covered)
    }

    fn closed(&mut self, side: Side, reset: bool, at: Timestamp) {
        self.conversation.closed(side, reset, at.0);
    }

    fn held(&self) -> usize {
        self.conversation.held()
    }

    fn shared(&self) -> [Option<Shared>; 3] {
        let chain = |chain: &Chain| Shared { id: chain.id(), bytes: chain.held() };
        let [one, other] = self.conversation.chains().map(|it| it.map(chain));
        [one, other, self.conversation.alike().map(|(id, bytes)| Shared { id, bytes })]
    }

    fn rest(&mut self) {
        self.conversation.rest();
    }

    fn let_go(&mut self) {
        self.conversation.let_go();
    }

    fn has_news(&mut self) -> bool {
        self.conversation.has_news()
    }

    fn datagram(&mut self, side: Side, bytes: &[u8], cut: bool, _: Timestamp) -> bool {
        self.conversation.datagram(side, bytes, cut)
    }
}
