//! A few threads over a list of independent pieces of work, and a line that says how far they are.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Says on standard error how far a long run is.
pub struct Progress {
    what: String,
    total: usize,
    done: AtomicUsize,
    shown: bool,
}

/// What `work` makes of each item, in the order of the items; `threads` work at once.
pub fn map<T: Sync, R: Send>(threads: usize, items: &[T], progress: &Progress, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
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
    /// Of `total` pieces, each a `what`. Shown only when standard error is a terminal, or `always`.
    pub fn new(what: impl Into<String>, total: usize, always: bool) -> Self {
        let shown = total > 0 && (always || std::io::stderr().is_terminal());
        Self { what: what.into(), total, done: AtomicUsize::new(0), shown }
    }

    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if !self.shown {
            return;
        }
        let mut out = std::io::stderr().lock();
        let end = if done == self.total { "\n" } else { "" };
        // A progress line that cannot be written is no reason to stop.
        let _ = write!(out, "\r{}: {done}/{}{end}", self.what, self.total);
        let _ = out.flush();
    }
}
