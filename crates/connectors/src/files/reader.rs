//! The reader of every file format: opens the splits of one subtask in order, reads ahead, gives out batches.
//!
//! Files are read and parsed in the background, several at once, within a limit of bytes; what arrives is given out in
//! split order and gathered into batches whose bounds depend on content and, of a monitored source, on which files are there,
//! never on the timing of reads. Positions move only when something is given out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use forebay_core::Result;
use forebay_core::completions::Completions;
use forebay_core::element::Epoch;
use forebay_core::key_group::KeyGroup;
use forebay_core::operator::{Context, Frozen, Restored, Snapshot};
use forebay_core::row::SplitId;
use forebay_core::source::{Read, Reader, Split};
use forebay_core::store::Store;
use futures::StreamExt;

use super::ReaderSettings;
use super::format::{Chunk, Chunks, Format, Position};
use super::gathered::{Gathered, Groups};
use super::monitor::Feed;

/// Reads files of one format; see [`super::reader`].
pub struct SplitReader {
    format: Box<dyn Format>,
    store: Arc<dyn Store>,
    batch_rows: usize,
    settings: ReaderSettings,
    context: Option<Context>,
    groups: Groups,
    waiting: VecDeque<(Split, Position)>,
    open: VecDeque<OpenSplit>,
    opened: u64,
    pulls: Completions<Pulled>,
    gathered: Gathered,
    /// Where more splits come from, of a monitored source.
    feed: Option<Feed>,
    /// How many of the feed's splits were looked at.
    fed: usize,
    /// Own splits that came since somebody asked for them.
    found: Vec<SplitId>,
}

/// A file being read ahead.
struct OpenSplit {
    number: u64,
    split: Split,
    group: KeyGroup,
    /// Away while the next chunk is being read.
    chunks: Option<Chunks>,
    /// The chunk after those given out, if it is here.
    next: Option<Result<Chunk>>,
    ended: bool,
}

/// A stream that comes back with its next item.
struct Pulled {
    number: u64,
    chunks: Chunks,
    item: Option<Result<Chunk>>,
}

// === impl SplitReader ===

impl SplitReader {
    pub(super) fn new(
        format: Box<dyn Format>,
        store: Arc<dyn Store>,
        batch_rows: usize,
        settings: ReaderSettings,
    ) -> Self {
        Self {
            format,
            store,
            batch_rows,
            settings,
            context: None,
            groups: Groups::new(),
            waiting: VecDeque::new(),
            open: VecDeque::new(),
            opened: 0,
            pulls: Completions::default(),
            gathered: Gathered::default(),
            feed: None,
            fed: 0,
            found: Vec::new(),
        }
    }

    /// Goes on with what comes in `feed`: it never comes to its end by itself.
    #[must_use]
    pub fn following(mut self, feed: Feed) -> Self {
        self.feed = Some(feed);
        self
    }

    /// Takes its own of the splits that were found.
    fn find(&mut self) -> Result<()> {
        let (Some(feed), Some(context)) = (&self.feed, &self.context) else { return Ok(()) };
        let (owned, groups) = (context.identity.key_groups(), context.identity.groups);
        for split in feed.after(self.fed)? {
            self.fed += 1;
            let group = split.id.key_group(groups);
            if owned.contains(&group.0) {
                self.groups.entry(group).or_default().splits.push(split.id);
                self.found.push(split.id);
                self.waiting.push_back((split, Position::default()));
            }
        }
        Ok(())
    }

    /// Takes what the background finished.
    fn arrive(&mut self) {
        for pulled in self.pulls.take() {
            if let Some(open) = self.open.iter_mut().find(|open| open.number == pulled.number) {
                open.chunks = Some(pulled.chunks);
                open.ended = pulled.item.as_ref().is_none_or(|item| item.as_ref().is_ok_and(|chunk| chunk.last));
                open.next = pulled.item;
            }
        }
    }

    /// Starts reading what is next, within the limits. The first open split is always read on.
    fn pull(&mut self) {
        let Some(context) = self.context.clone() else { return };
        let mut ahead: u64 = self.open.iter().map(|open| open.bytes(self.format.as_ref())).sum();
        for place in 0..self.open.len() {
            let expected = self.format.expected_bytes(&self.open[place].split);
            let fits = place == 0 || ahead + expected <= self.settings.ahead_bytes_max;
            if fits && self.open[place].start(&self.pulls, &context) {
                ahead += expected;
            }
        }
        while self.open.len() < self.format.files_ahead() {
            let Some((split, from)) = self.waiting.front() else { return };
            let expected = self.format.expected_bytes(split);
            if !self.open.is_empty() && ahead + expected > self.settings.ahead_bytes_max {
                return;
            }
            let chunks = self.format.open(Arc::clone(&self.store), split, *from);
            let Some((split, _)) = self.waiting.pop_front() else { return };
            let group = split.id.key_group(context.identity.groups);
            self.opened += 1;
            let mut open =
                OpenSplit { number: self.opened, split, group, chunks: Some(chunks), next: None, ended: false };
            open.start(&self.pulls, &context);
            ahead += expected;
            self.open.push_back(open);
        }
    }

    /// Moves chunks of the first splits into what is gathered. True if that must be given out before more fits.
    fn gather(&mut self) -> Result<bool> {
        loop {
            let Some(open) = self.open.front_mut() else {
                return Ok(self.waiting.is_empty() && !self.gathered.is_empty());
            };
            let Some(next) = open.next.take() else {
                if !open.ended {
                    return Ok(false);
                }
                self.gathered.end_split(open.group, &mut self.groups);
                self.open.pop_front();
                continue;
            };
            let chunk = next?;
            if !self.gathered.fits(&chunk.content, self.batch_rows, self.settings.batch_bytes_max) {
                open.next = Some(Ok(chunk));
                return Ok(true);
            }
            let uid = self.context.as_ref().map_or("", |context| &context.identity.uid);
            self.gathered.add(open.split.id, open.group, chunk, uid);
            if self.gathered.rows() >= self.batch_rows {
                return Ok(true);
            }
        }
    }
}

impl Reader for SplitReader {
    fn open(&mut self, context: Context, splits: Vec<Split>, restored: Restored) -> Result<()> {
        let groups = context.identity.groups;
        for split in &splits {
            self.groups.entry(split.id.key_group(groups)).or_default().splits.push(split.id);
        }
        for (group, stored) in &restored.groups {
            let position = self.groups.entry(*group).or_default();
            position.restore(stored)?;
            self.gathered.note_ended(&position.splits[..position.finished]);
        }
        let mut seen: BTreeMap<KeyGroup, usize> = BTreeMap::new();
        for split in splits {
            let group = split.id.key_group(groups);
            let place = seen.entry(group).or_default();
            let position = &self.groups[&group];
            if *place >= position.finished {
                let from = if *place == position.finished { position.current } else { Position::default() };
                self.waiting.push_back((split, from));
            }
            *place += 1;
        }
        if let Some(feed) = &self.feed {
            feed.listen(context.waker.clone());
        }
        self.context = Some(context);
        Ok(())
    }

    fn poll_next(&mut self) -> Result<Read> {
        self.find()?;
        self.arrive();
        self.pull();
        let read = if self.gather()? {
            self.gathered.give_out(&mut self.groups)?
        } else if self.feed.is_none() && self.open.is_empty() && self.waiting.is_empty() {
            Read::End
        } else {
            Read::Pending
        };
        // What was just gathered made room.
        self.pull();
        Ok(read)
    }

    fn snapshot(&mut self, _epoch: Epoch) -> Result<Frozen> {
        let groups = self.groups.iter().map(|(group, position)| (*group, position.encode())).collect();
        Ok(Box::pin(async move { Ok(Snapshot { groups, ..Snapshot::default() }) }))
    }

    fn take_ended(&mut self) -> Vec<SplitId> {
        self.gathered.take_ended()
    }

    fn take_found(&mut self) -> Vec<SplitId> {
        std::mem::take(&mut self.found)
    }

    fn close(&mut self) {
        self.open.clear();
        self.waiting.clear();
        self.gathered = Gathered::default();
    }
}

// === impl OpenSplit ===

impl OpenSplit {
    /// Reads the next chunk in the background, unless it is here, on its way, or there is none.
    fn start(&mut self, pulls: &Completions<Pulled>, context: &Context) -> bool {
        if self.ended || self.next.is_some() {
            return false;
        }
        let Some(mut chunks) = self.chunks.take() else { return false };
        let number = self.number;
        let work = async move {
            let item = chunks.next().await;
            Pulled { number, chunks, item }
        };
        pulls.run(context.env.as_ref(), context.waker.clone(), Box::pin(work));
        true
    }

    /// Bytes that its next chunk takes, arrived or on its way.
    fn bytes(&self, format: &dyn Format) -> u64 {
        match &self.next {
            Some(Ok(chunk)) => chunk.content.bytes() as u64,
            Some(Err(_)) => 0,
            None if self.chunks.is_none() => format.expected_bytes(&self.split),
            None => 0,
        }
    }
}
