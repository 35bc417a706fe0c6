//! Many seeds on all cores: each run is one thread's alone, so what a seed does never hangs on how many there are.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;

/// Calls `work` for every seed of `seeds`, on as many threads as there are cores, and `done` with each result on the calling
/// thread, in the order in which they come. A panic of `work` ends the call with a panic once every other seed is done.
pub fn each_seed<T: Send>(seeds: Range<u64>, work: impl Fn(u64) -> T + Sync, mut done: impl FnMut(u64, T)) {
    let next = AtomicU64::new(seeds.start);
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get());
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || sender.send((seed, work(seed))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        results.into_iter().for_each(|(seed, result)| done(seed, result));
    });
}
