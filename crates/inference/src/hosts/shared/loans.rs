//! What one replica was lent, call by call: spans for the rows it is asked, a span for what it answers.
//!
//! Rows are copied into shared memory once, unless they were made there. Nothing is waited for: a call that does not fit
//! goes over the socket like a small one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use forebay_core::Result;

use super::arena::{Arena, Draft, Lease};
use super::layout::{Part, take_apart, travels};
use super::read::read;
use super::schemas::LastSchema;
use super::slab::Slab;
use super::table::{ANSWERS, AnswerTable, CallTable, Held, Place, REQUESTS, Table};
use super::{SHARED_BYTES_MIN, SLAB_BYTES};

/// Buffers begin at such places, as Arrow recommends.
const ALIGNMENT: usize = 64;
/// Added to what an answer is expected to take: validity and small columns beside the large one.
const ANSWER_SLACK_BYTES: usize = 16 << 10;

/// The memory of one replica.
#[derive(Debug)]
pub struct Loans {
    requests: Arc<Arena>,
    answers: Arc<Arena>,
    asked: LastSchema,
    answered: LastSchema,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    calls: u64,
    /// What ended calls were lent and something in the child still looks at.
    held: BTreeMap<u64, Lent>,
    /// What answers took lately; `None` before the first.
    answer_bytes: Option<usize>,
}

/// What one call was lent.
#[derive(Debug)]
pub struct Lent {
    call: u64,
    rows: Vec<Arc<Lease>>,
    answers: Option<Arc<Lease>>,
}

/// Buffers that were not made in shared memory, one after another.
struct Copies {
    draft: Draft,
    filled: usize,
}

// === impl Loans ===

impl Loans {
    /// Memory for one replica, whose requests lie in `requests`; `None` if this system has no such memory.
    pub fn new(requests: Arc<Arena>) -> Option<Self> {
        let slab = Slab::written_by_child(SLAB_BYTES).ok()?;
        Some(Self {
            requests,
            answers: Arena::new(slab),
            asked: LastSchema::default(),
            answered: LastSchema::default(),
            state: Mutex::default(),
        })
    }

    /// What its child has to inherit: where requests lie, and where it writes answers.
    pub fn arenas(&self) -> [Arc<Arena>; 2] {
        [Arc::clone(&self.requests), Arc::clone(&self.answers)]
    }

    /// Lays `rows` into shared memory; `None` if they had better go over the socket.
    ///
    /// # Errors
    /// `Internal` only.
    pub fn lend(&self, rows: &RecordBatch) -> Result<Option<(CallTable, Lent)>> {
        if !travels(rows.schema_ref()) {
            return Ok(None);
        }
        let mut parts = Vec::new();
        rows.columns().iter().try_for_each(|column| take_apart(column, &mut parts))?;
        let bytes: usize = buffers(&parts).map(Buffer::len).sum();
        let answer_bytes = self.lock().answer_bytes.unwrap_or(bytes);
        if bytes.max(answer_bytes) < SHARED_BYTES_MIN {
            return Ok(None);
        }
        let Some((words, leases)) = self.placed(rows.num_rows(), &parts) else { return Ok(None) };
        let answers = self.answers.offer(answer_bytes.saturating_add(ANSWER_SLACK_BYTES));
        let call = self.next_call();
        let told = answers.as_ref().map_or((0, 0), |lease| (lease.start() as u64, lease.len() as u64));
        let schema = self.asked.encoded(rows.schema_ref())?;
        let table = CallTable { call, answers: told, rows: Table { words, schema } };
        Ok(Some((table, Lent { call, rows: leases, answers })))
    }

    /// The words of `parts`, and the leases that their buffers lie in; those that lie elsewhere are copied into one more.
    fn placed(&self, rows: usize, parts: &[Part]) -> Option<(Vec<u64>, Vec<Arc<Lease>>)> {
        let found: Vec<_> = buffers(parts).map(|buffer| self.requests.find(buffer)).collect();
        let elsewhere = buffers(parts).zip(&found).filter(|(_, found)| found.is_none());
        let bytes = elsewhere.map(|(buffer, _)| buffer.len().next_multiple_of(ALIGNMENT)).sum::<usize>();
        let mut copies = if bytes > 0 { Some(Copies { draft: self.requests.draft(bytes)?, filled: 0 }) } else { None };
        let (mut leases, mut starts) = (Vec::new(), Vec::new());
        for (buffer, found) in buffers(parts).zip(found) {
            starts.push(match (found, &mut copies) {
                (Some((lease, at)), _) => {
                    leases.push(lease);
                    at
                }
                (None, Some(copies)) => copies.add(buffer),
                // Nothing but empty buffers lies elsewhere.
                (None, None) => 0,
            });
        }
        leases.extend(copies.map(|copies| copies.draft.freeze()));
        Some((words(rows, parts, starts.into_iter()), leases))
    }

    /// The rows of an answer to the call that was lent `lent`. `held` is what the child said before it, if it said anything.
    ///
    /// # Errors
    /// `Corrupt` if the answer speaks of other memory, or of no rows.
    pub fn read(&self, answer: &AnswerTable, lent: &mut Lent, held: Option<&[Held]>) -> Result<RecordBatch> {
        let still_written = held_of(held.unwrap_or_default(), lent.call).is_some_and(|held| held.answers);
        let room = lent.answers.as_ref().map_or(0, |lease| lease.len());
        let used = usize::try_from(answer.bytes).map_or(room, |used| used.min(room));
        if !still_written && let Some(lease) = lent.answers.as_mut().and_then(Arc::get_mut) {
            lease.shrink(used);
        }
        self.expect(used);
        read(&answer.rows.words, &self.answered.decoded(&answer.rows.schema)?, lent, still_written)
    }

    /// Notes what an answer took, wherever it came from; the next may be as large.
    pub fn expect(&self, bytes: usize) {
        let mut state = self.lock();
        let before = state.answer_bytes.unwrap_or_default();
        state.answer_bytes = Some(bytes.max(before - before / 8));
    }

    /// A call has ended. What it was lent stays so as far as `held` names it; what earlier calls were lent comes back as far
    /// as `held` does not. Without a word from the child, nothing is held of this call, and of others what was.
    pub fn finish(&self, lent: Option<Lent>, held: Option<&[Held]>) {
        let Some(held) = held else { return };
        let mut kept: BTreeMap<u64, Lent> = std::mem::take(&mut self.lock().held);
        kept.extend(lent.map(|lent| (lent.call, lent)));
        kept.retain(|call, lent| {
            let held = held_of(held, *call);
            if !held.is_some_and(|held| held.rows) {
                lent.rows.clear();
            }
            if !held.is_some_and(|held| held.answers) {
                lent.answers = None;
            }
            held.is_some()
        });
        self.lock().held = kept;
    }

    fn next_call(&self) -> u64 {
        let mut state = self.lock();
        state.calls += 1;
        state.calls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Copies ===

impl Copies {
    /// Copies `buffer`; where it lies now.
    fn add(&mut self, buffer: &Buffer) -> usize {
        let at = self.filled;
        self.draft.bytes_mut()[at..at + buffer.len()].copy_from_slice(buffer);
        self.filled += buffer.len().next_multiple_of(ALIGNMENT);
        self.draft.start() + at
    }
}

// === impl Lent ===

impl Lent {
    /// The lease of this call that `place` lies in.
    pub fn lease(&self, place: Place) -> Option<&Arc<Lease>> {
        let (start, bytes) = (usize::try_from(place.start).ok()?, usize::try_from(place.bytes).ok()?);
        match place.slab {
            REQUESTS => self.rows.iter().find(|lease| lease.holds(start, bytes)),
            ANSWERS => self.answers.as_ref().filter(|lease| lease.holds(start, bytes)),
            _ => None,
        }
    }
}

fn buffers(parts: &[Part]) -> impl Iterator<Item = &Buffer> {
    parts.iter().flat_map(|part| part.buffers.iter().flatten())
}

/// What tells of `parts`, whose buffers begin at `starts`.
fn words(rows: usize, parts: &[Part], mut starts: impl Iterator<Item = usize>) -> Vec<u64> {
    let mut words = vec![rows as u64];
    for part in parts {
        words.push(part.length as u64);
        for buffer in &part.buffers {
            let Some(buffer) = buffer else {
                words.extend(Place::default().words());
                continue;
            };
            let start = starts.next().expect("every buffer has a place") as u64;
            words.extend(Place { slab: REQUESTS, start, bytes: buffer.len() as u64 }.words());
        }
    }
    words
}

fn held_of(held: &[Held], call: u64) -> Option<Held> {
    held.iter().find(|held| held.call == call).copied()
}

#[cfg(test)]
mod tests;
