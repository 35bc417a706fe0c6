//! The half of the core that faces the disk: what to write or sync next, and what follows when it is done.

use std::sync::Arc;

use super::super::protocol::{Action, EdgeMode, Failure, PlantedBug, Told};
use super::super::segment::Header;
use super::{EdgeCore, Flight, Place, Segment, TakeOver};
use bytes::Bytes;
use forebay_core::element::Epoch;

// === impl EdgeCore ===

impl EdgeCore {
    /// Gives the disk its next work, if it is free.
    pub(super) fn start(&mut self, actions: &mut Vec<Action>) {
        if self.flight.is_some() || self.failed.is_some() {
            return;
        }
        if self.unsynced_bytes > 0 && self.wants_sync() {
            self.flight = Some(Flight::Sync);
            actions.extend(self.segments.back().map(|segment| Action::Sync { file: segment.file() }));
        } else if let Some(TakeOver::Waiting { ticket, base }) = self.take_over {
            self.take_over = Some(TakeOver::Begun { ticket });
            let header = self.roll(Some(base));
            self.write(self.written, header, actions);
        } else if !self.pending.is_empty() {
            self.write_pending(actions);
        }
    }

    fn wants_sync(&self) -> bool {
        let full = self.segments.back().is_some_and(|segment| segment.bytes >= self.settings.segment_bytes_max);
        let waited_for = self.flushes.first().is_some_and(|(behind, _)| *behind <= self.written);
        full || waited_for
            || self.take_over.is_some()
            || self.settings.mode == EdgeMode::IdDedupe
            || self.unsynced_bytes >= self.settings.unsynced_bytes_max
    }

    /// Begins the next segment; answers its header. The one before is durable.
    fn roll(&mut self, begins: Option<Option<Epoch>>) -> Vec<u8> {
        let previous = self.segments.back().map_or((0, 0), |segment| (segment.number, segment.bytes));
        self.number_max += 1;
        let mut ends = self.ends.clone();
        // What is accepted and not written lies in this segment or later.
        for (sequence, _) in self.pending.iter().rev() {
            let spans = self.records.get(sequence).map(|record| record.spans.as_slice()).unwrap_or_default();
            ends.extend(spans.iter().map(|span| (span.group, span.start)));
        }
        let header = Header { attempt: self.attempt, number: self.number_max, begins, previous, ends };
        self.segments.push_back(Segment { number: self.number_max, attempt: self.attempt, bytes: 0 });
        self.folder_changed = true;
        header.to_bytes()
    }

    fn write_pending(&mut self, actions: &mut Vec<Action>) {
        let full = self.segments.back().is_none_or(|segment| segment.bytes >= self.settings.segment_bytes_max);
        let mut bytes = if full { self.roll(None) } else { Vec::new() };
        let Some(segment) = self.segments.back().copied() else { return };
        let mut behind = self.written;
        for (sequence, chunk) in std::mem::take(&mut self.pending) {
            let start = segment.bytes + bytes.len() as u64;
            let place = Place { segment: (segment.number, segment.attempt), start, length: chunk.len() as u32 };
            if let Some(record) = self.records.get_mut(&sequence) {
                Arc::make_mut(record).place = place;
            }
            bytes.extend_from_slice(&chunk);
            behind = sequence + 1;
        }
        self.write(behind, bytes, actions);
    }

    fn write(&mut self, behind: u64, bytes: Vec<u8>, actions: &mut Vec<Action>) {
        let Some(segment) = self.segments.back_mut() else { return };
        segment.bytes += bytes.len() as u64;
        self.flight = Some(Flight::Write { behind, bytes: bytes.len() as u64 });
        actions.push(Action::Write { file: segment.file(), bytes: Bytes::from(bytes) });
    }

    pub(super) fn wrote(&mut self, actions: &mut Vec<Action>) {
        let Some(Flight::Write { behind, bytes }) = self.flight.take() else { return };
        self.written = behind;
        self.unsynced_bytes += bytes;
        match self.settings.bug {
            Some(PlantedBug::FlushBeforeSync) => self.tell_flushed(behind, actions),
            Some(PlantedBug::ShowBeforeSync) => actions.push(Action::WakeReaders),
            _ => {}
        }
    }

    pub(super) fn synced(&mut self, actions: &mut Vec<Action>) {
        if self.folder_changed && self.settings.bug != Some(PlantedBug::SkipFolderSync) {
            self.flight = Some(Flight::SyncFolder);
            actions.push(Action::SyncFolder);
        } else {
            self.made_durable(actions);
        }
    }

    /// Everything written is durable: who waited for that is told, and under id-dedupe readers see it.
    pub(super) fn made_durable(&mut self, actions: &mut Vec<Action>) {
        self.flight = None;
        let begun = std::mem::take(&mut self.folder_changed);
        self.unsynced_bytes = 0;
        self.durable = self.written;
        if begun {
            // The segment before may go now.
            self.trim(actions);
        }
        self.tell_flushed(self.durable, actions);
        if let Some(TakeOver::Begun { ticket }) = self.take_over {
            self.take_over = None;
            actions.push(Action::Tell { ticket, result: Ok(Told::Done) });
        }
        actions.push(Action::WakeReaders);
    }

    pub(super) fn tell_flushed(&mut self, behind: u64, actions: &mut Vec<Action>) {
        let told = self.flushes.iter().take_while(|(waits_for, _)| *waits_for <= behind).count();
        actions.extend(self.flushes.drain(..told).map(|(_, ticket)| Action::Tell { ticket, result: Ok(Told::Done) }));
    }

    /// What the disk holds is unknown from here on: everyone is told so until the edge is opened again.
    pub(super) fn fail(&mut self, failure: Failure, actions: &mut Vec<Action>) {
        self.flight = None;
        let flushes = std::mem::take(&mut self.flushes).into_iter().map(|(_, ticket)| ticket);
        let take_over = self.take_over.take().map(TakeOver::ticket);
        let refused = |ticket| Action::Tell { ticket, result: Err(failure.clone()) };
        actions.extend(flushes.chain(take_over).map(refused));
        actions.extend([Action::WakeReaders, Action::WakeWriters]);
        self.failed.get_or_insert(failure);
    }
}

// === impl TakeOver ===

impl TakeOver {
    pub(super) fn ticket(self) -> u64 {
        match self {
            TakeOver::Waiting { ticket, .. } | TakeOver::Begun { ticket } => ticket,
        }
    }
}
