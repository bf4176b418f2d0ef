//! The first stages by themselves and on one thread, batch by batch as the pool has them: to measure what
//! each of them costs.

use super::Plan;
use super::batch::{Batch, Filling, RUN, SHARDS, Spread, ranges, share};
use super::follower::Follower;
use super::intake::Intake;
use super::pool::Feed;
use crate::capture::{Filter, FilterError, Maps, Timestamp};
use crate::flow::{FlowTable, Reader, Want};
use crate::packet::{Allowance, Gap, Side};
use crate::report::Account;

/// Filters, decodes, and puts packets into batches.
pub(crate) fn decode(filter: Option<Filter>, feed: &mut impl Feed) -> Result<Account, FilterError> {
    Ok(each_batch(filter, feed, |_, _| ())?.finish(&[]).0)
}

/// The same, and follows every flow without looking at what is said in it.
pub(crate) fn flow(
    plan: &Plan,
    filter: Option<Filter>,
    feed: &mut impl Feed,
) -> Result<Account, FilterError> {
    let table = |_| FlowTable::<Deaf>::new(share(plan.limits), ());
    let mut tables: Vec<FlowTable<Deaf>> = (0..SHARDS).map(table).collect();
    let (mut ended, mut found) = (Vec::new(), Vec::new());
    let intake = each_batch(filter, feed, |batch, maps| {
        for (shard, table) in tables.iter_mut().enumerate() {
            let mut ticks = batch.ticks().iter().peekable();
            for run in batch.items(shard).chunks(RUN) {
                table.look_up(run.iter().map(|item| &item.head), &mut found);
                for (item, found) in run.iter().zip(&found) {
                    while let Some((_, now)) = ticks.next_if(|tick| tick.0 <= item.stamp.ordinal) {
                        table.tick(*now, &mut ended);
                    }
                    table.packet_at(*found, &item.head, batch.payload(item, maps), &item.stamp, &mut ended);
                    ended.clear();
                }
            }
            for (_, now) in ticks {
                table.tick(*now, &mut ended);
            }
            ended.clear();
        }
    })?;
    let (mut account, _) = intake.finish(&[]);
    for table in &mut tables {
        for (_, id) in table.remaining() {
            table.end(id);
        }
        account.flows += table.account().flows;
    }
    Ok(account)
}

/// The same, and reads what is said, and sums up every flow that ended.
pub(crate) fn recognise(
    plan: &Plan,
    filter: Option<Filter>,
    feed: &mut impl Feed,
) -> Result<Account, FilterError> {
    let maps = feed.maps();
    let follower = |_| Follower::new(plan, share(plan.limits)).with_maps(maps.clone());
    let mut followers: Vec<Follower<'_>> = (0..SHARDS).map(follower).collect();
    let mut events = Vec::new();
    let intake = each_batch(filter, feed, |batch, maps| {
        batch.open(&plan.keys);
        for (shard, follower) in followers.iter_mut().enumerate() {
            batch.follow(shard, maps, follower, &mut events);
            events.clear();
        }
    })?;
    let (mut account, _) = intake.finish(&[]);
    for follower in &mut followers {
        for until in ranges(account.read) {
            follower.remaining(until, &mut events);
            events.clear();
        }
        follower.account(&mut account);
    }
    Ok(account)
}

/// Fills one batch after the other.
fn each_batch(
    filter: Option<Filter>,
    feed: &mut impl Feed,
    mut take: impl FnMut(&Batch, &Maps),
) -> Result<Intake, FilterError> {
    let (mut intake, mut spread, mut secrets) = (Intake::new(filter), Spread::default(), Vec::new());
    let (maps, mut batch) = (feed.maps(), Box::<Batch>::default());
    loop {
        batch.begin(std::mem::take(&mut secrets));
        let mut filling = Filling::new(&mut intake, &mut spread, &mut secrets, &maps, batch);
        let has_more = feed.feed(&mut filling)?;
        batch = filling.into_batch();
        take(&batch, &maps);
        if !has_more && secrets.is_empty() {
            return Ok(intake);
        }
    }
}

/// Wants nothing, so that flows are followed and not read.
#[derive(Default)]
struct Deaf;

impl Reader for Deaf {
    type Context = ();

    fn new((): &()) -> Deaf {
        Deaf
    }

    fn begins(&mut self) {}

    fn read(&mut self, _: Side, _: &[u8], _: Timestamp, _: &mut Allowance) -> Want {
        Want::NOTHING
    }

    fn gap(&mut self, _: Side, _: Gap, _: u64, _: Timestamp) -> u64 {
        u64::MAX
    }

    fn closed(&mut self, _: Side, _: bool, _: Timestamp) {}

    fn datagram(&mut self, _: Side, _: &[u8], _: bool, _: Timestamp) -> bool {
        false
    }
}
