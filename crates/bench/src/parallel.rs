//! A few threads over a list of independent pieces of work, and a line that says how far they are.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Says on standard error how far a long run is.
pub struct Progress {
    what: String,
    total: usize,
    done: AtomicUsize,
    terminal: bool,
}

/// What `work` makes of each item, in the order of the items; `threads` work at once.
pub fn map<T: Sync, R: Send>(
    threads: usize,
    items: &[T],
    progress: &Progress,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let index = next.fetch_add(1, Ordering::Relaxed)
                    && let Some(item) = items.get(index)
                {
                    let result = work(item);
                    results.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((index, result));
                    progress.advance();
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

// === impl Progress ===

impl Progress {
    /// Of `total` pieces; `what` says what they are.
    pub fn new(what: impl Into<String>, total: usize) -> Self {
        Self { what: what.into(), total, done: AtomicUsize::new(0), terminal: std::io::stderr().is_terminal() }
    }

    /// One more is done: moves the line of a terminal, else writes a new one for every tenth of the way.
    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let tenth = |count: usize| count * 10 / self.total.max(1);
        if !self.terminal && tenth(done) == tenth(done - 1) {
            return;
        }
        let begin = if self.terminal { "\r" } else { "" };
        let end = if !self.terminal || done == self.total { "\n" } else { "" };
        let mut out = std::io::stderr().lock();
        // A progress line that cannot be written is no reason to stop.
        let _ = write!(out, "{begin}{}: {done}/{}{end}", self.what, self.total);
        let _ = out.flush();
    }
}
