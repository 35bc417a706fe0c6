//! A reader around another: after each batch a watermark, a word when nothing comes, a pause when it is too far ahead.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::TimestampMicrosecondType;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use forebay_core::dead_letter::{DeadLetter, describe_row};
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Frozen, Restored};
use forebay_core::row::SplitId;
use forebay_core::source::{Read, Reader, Split};
use forebay_core::time::{EventTime, Instant};
use forebay_core::{Batch, Error, Kind, Result};

use super::align::Member;
use super::clock::{Clock, Splits};
use crate::planted::RuntimeBug;

/// The first byte of the state of one key group; another layout takes another.
const VERSION: u8 = 1;

/// Event times that can be reckoned with: lengths of windows and the like fit beside them, and the end of time is none of them.
const TIMES: RangeInclusive<i64> = i64::MIN / 2..=i64::MAX / 2;

/// How a source makes event time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSettings {
    /// Place of the column that holds it: a timestamp in microseconds.
    pub column: usize,
    /// How much earlier than the latest row another may still be.
    pub out_of_order: Duration,
    /// Without a row for this long, the source holds back nobody's watermark. `None`: it always does.
    pub idle: Option<Duration>,
    /// What is known of its splits beside each other.
    pub splits: Splits,
    /// A planted bug.
    #[doc(hidden)]
    pub bug: Option<RuntimeBug>,
}

/// A reader that adds event time to the rows of another.
pub struct TimedReader {
    inner: Box<dyn Reader>,
    settings: TimeSettings,
    member: Option<Member>,
    context: Option<Context>,
    clock: Clock,
    quiet_since: Option<Instant>,
    told_idle: bool,
    fresh: bool,
}

// === impl TimedReader ===

impl TimedReader {
    /// Event time for the rows of `inner`; as `member` of an alignment it pauses when it is too far ahead.
    pub fn new(inner: Box<dyn Reader>, mut settings: TimeSettings, member: Option<Member>) -> Self {
        if settings.bug == Some(RuntimeBug::NotOutOfOrder) {
            settings.out_of_order = Duration::ZERO;
        }
        let clock = Clock::new(settings.splits, settings.out_of_order, []);
        Self { inner, settings, member, context: None, clock, quiet_since: None, told_idle: false, fresh: false }
    }

    fn context(&self) -> &Context {
        self.context.as_ref().expect("opened before it is polled")
    }

    /// Notes the event time of every row; rows without one become dead letters.
    fn on_batch(&mut self, batch: Batch) -> Result<Read> {
        (self.quiet_since, self.told_idle, self.fresh) = (None, false, true);
        let column = batch.rows().column(self.settings.column);
        let Some(times) = column.as_primitive_opt::<TimestampMicrosecondType>() else {
            return Err(Error::new(Kind::Internal, "read event time").with("type", column.data_type()));
        };
        // Rows of a split come in runs: the clock is asked once a run.
        let mut run: Option<(SplitId, i64)> = None;
        let mut timed = 0;
        for (place, id) in batch.ids().iter().enumerate().filter(|(place, _)| has_time(times, *place)) {
            let time = times.value(place);
            timed += 1;
            match &mut run {
                Some((split, latest)) if *split == id.split => *latest = time.max(*latest),
                _ => {
                    let before = run.replace((id.split, time));
                    before.into_iter().for_each(|(split, latest)| self.clock.see(split, EventTime(latest)));
                }
            }
        }
        run.into_iter().for_each(|(split, latest)| self.clock.see(split, EventTime(latest)));
        if let Some(member) = &self.member {
            member.advance(self.clock.progress());
        }
        if timed == batch.len() {
            return Ok(Read::Batch(batch));
        }
        let (timed, timeless): (Vec<usize>, Vec<usize>) = (0..batch.len()).partition(|place| has_time(times, *place));
        let letters = timeless.into_iter().map(|place| self.timeless(&batch, place)).collect();
        Ok(if timed.is_empty() { Read::DeadLetters(letters) } else { Read::Partly(batch.take(&timed)?, letters) })
    }

    fn timeless(&self, batch: &Batch, place: usize) -> DeadLetter {
        let schema = batch.schema();
        let name = schema.field(self.settings.column).name();
        DeadLetter {
            row: batch.ids()[place],
            operator: self.context().identity.uid.clone(),
            kind: Kind::Data,
            reason: format!("the event time \"{name}\" is null, or out of the range of times"),
            attempts: 0,
            input: describe_row(batch, place),
        }
    }

    /// Splits at their end hold nothing back, from the rows on that were just given.
    fn note_ended(&mut self) {
        for split in self.inner.take_ended() {
            self.clock.end(split);
            self.fresh = true;
        }
    }

    /// Nothing came: idle after a while, else a wake for when it would be.
    fn on_pending(&mut self) -> Read {
        let Some(idle) = self.settings.idle.filter(|_| !self.told_idle) else { return Read::Pending };
        let env = std::sync::Arc::clone(&self.context().env);
        let now = env.now();
        let since = match self.quiet_since {
            Some(since) => since,
            None => {
                self.quiet_since = Some(now);
                let waker = self.context().waker.clone();
                let sleep = env.sleep(idle);
                env.spawn(Box::pin(async move {
                    sleep.await;
                    waker.wake();
                }));
                now
            }
        };
        if now.since(since) < idle {
            return Read::Pending;
        }
        self.told_idle = true;
        if let Some(member) = &self.member {
            member.leave();
        }
        Read::Idle
    }
}

/// Whether the row at `place` has an event time that can be reckoned with.
fn has_time(times: &PrimitiveArray<TimestampMicrosecondType>, place: usize) -> bool {
    times.is_valid(place) && TIMES.contains(&times.value(place))
}

impl Reader for TimedReader {
    fn open(&mut self, context: Context, splits: Vec<Split>, restored: Restored) -> Result<()> {
        let (inner, latest) = unwrap_state(restored)?;
        self.clock = Clock::new(self.settings.splits, self.settings.out_of_order, splits.iter().map(|split| split.id));
        latest.into_iter().for_each(|(split, time)| self.clock.restore(split, time));
        self.context = Some(context.clone());
        self.inner.open(context, splits, inner)?;
        self.note_ended();
        if let Some(member) = &self.member {
            member.advance(self.clock.progress());
        }
        self.fresh = true;
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        if std::mem::take(&mut self.fresh)
            && let Some(watermark) = self.clock.advance()
        {
            return Ok(Read::Watermark(watermark));
        }
        if let Some(member) = &self.member
            && member.must_pause(self.clock.progress(), &self.context().waker)
        {
            return Ok(Read::Pending);
        }
        let read = self.inner.poll_next()?;
        self.inner.take_found().into_iter().for_each(|split| self.clock.add(split));
        let read = match read {
            Read::Batch(batch) => self.on_batch(batch)?,
            Read::Partly(batch, letters) => merged(self.on_batch(batch)?, letters),
            other => other,
        };
        self.note_ended();
        match read {
            Read::Pending => Ok(match self.fresh.then(|| self.clock.advance()).flatten() {
                Some(watermark) => Read::Watermark(watermark),
                None => self.on_pending(),
            }),
            Read::End => {
                if let Some(member) = &self.member {
                    member.leave();
                }
                Ok(Read::End)
            }
            other => Ok(other),
        }
    }

    fn snapshot(&mut self, epoch: Epoch) -> Result<Frozen> {
        let groups = self.context().identity.groups;
        let mut clocks: BTreeMap<KeyGroup, Vec<(SplitId, EventTime)>> = BTreeMap::new();
        for (split, time) in self.clock.latest() {
            clocks.entry(split.key_group(groups)).or_default().push((split, time));
        }
        let inner = self.inner.snapshot(epoch)?;
        Ok(Box::pin(async move {
            let mut snapshot = inner.await?;
            let mut states = std::mem::take(&mut snapshot.groups);
            for group in clocks.keys().chain(&states.keys().copied().collect::<Vec<_>>()) {
                let clocks = clocks.get(group).map_or(&[][..], Vec::as_slice);
                snapshot.groups.entry(*group).or_insert_with(|| wrap_state(clocks, states.remove(group)));
            }
            Ok(snapshot)
        }))
    }

    fn close(&mut self) {
        if let Some(member) = &self.member {
            member.leave();
        }
        self.inner.close();
    }
}

/// What was read, with dead letters that came with it.
fn merged(read: Read, mut letters: Vec<DeadLetter>) -> Read {
    match read {
        Read::Batch(batch) => Read::Partly(batch, letters),
        Read::Partly(batch, more) => {
            letters.extend(more);
            Read::Partly(batch, letters)
        }
        Read::DeadLetters(more) => {
            letters.extend(more);
            Read::DeadLetters(letters)
        }
        other => other,
    }
}

/// `version:u8 count:u32 (split:u64 latest:i64)* inner:u8 [bytes]`, little-endian; `inner` says whether the reader within has
/// state of its own.
fn wrap_state(clocks: &[(SplitId, EventTime)], inner: Option<Bytes>) -> Bytes {
    let mut out = BytesMut::with_capacity(6 + clocks.len() * 16 + inner.as_ref().map_or(0, Bytes::len));
    out.put_u8(VERSION);
    out.put_u32_le(clocks.len() as u32);
    for (split, time) in clocks {
        out.put_u64_le(split.0);
        out.put_i64_le(time.0);
    }
    out.put_u8(u8::from(inner.is_some()));
    out.put_slice(&inner.unwrap_or_default());
    out.freeze()
}

type Latest = Vec<(SplitId, EventTime)>;

fn unwrap_state(restored: Restored) -> Result<(Restored, Latest)> {
    let corrupt = |group: KeyGroup| Error::new(Kind::Corrupt, "read event time of source").with("key group", group.0);
    let (mut latest, mut inner) = (Latest::new(), Restored { epoch: restored.epoch, ..Restored::default() });
    for (group, mut bytes) in restored.groups {
        let count = if bytes.len() >= 6 && bytes.get_u8() == VERSION { bytes.get_u32_le() } else { u32::MAX };
        if bytes.len() / 16 < count as usize {
            return Err(corrupt(group));
        }
        latest.extend((0..count).map(|_| (SplitId(bytes.get_u64_le()), EventTime(bytes.get_i64_le()))));
        match bytes.try_get_u8() {
            Ok(0) => {}
            Ok(1) => inner.groups.push((group, bytes)),
            _ => return Err(corrupt(group)),
        }
    }
    Ok((inner, latest))
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
