//! A gate around real futures, in tokio's paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::limiter::Fixed;

const MILLI: Duration = Duration::from_millis(1);

#[expect(clippy::disallowed_methods, reason = "paused time: nothing really sleeps")]
async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

fn settings() -> GateSettings {
    GateSettings::objective(100 * MILLI).rows(8)
}

fn fixed(calls: usize) -> Vec<Box<dyn Limiter>> {
    vec![Box::new(Fixed::new(calls, 8, 0.002))]
}

#[tokio::test(start_paused = true)]
async fn rows_that_come_together_leave_together_within_the_limit() {
    let (calls, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counted, peak) = (Arc::clone(&calls), Arc::clone(&most));
    let gate = wrap_replicas(settings(), fixed(2), move |_, rows: Vec<u32>| {
        let (calls, most) = (Arc::clone(&counted), Arc::clone(&peak));
        async move {
            most.fetch_max(calls.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pause(40 * MILLI).await;
            calls.fetch_sub(1, Ordering::SeqCst);
            Ok(rows.into_iter().map(|row| Ok(row * 2)).collect())
        }
    });
    let rows: Vec<_> = (0..64)
        .map(|row| {
            tokio::spawn({
                let gate = gate.clone();
                async move { gate.call(row).await }
            })
        })
        .collect();
    for (row, answer) in rows.into_iter().enumerate() {
        assert_eq!(answer.await.unwrap(), Ok(row as u32 * 2));
    }
    assert_eq!((gate.counts().first, most.load(Ordering::SeqCst)), (8, 2));
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_tried_again_after_what_was_asked() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let gate = wrap(settings(), move |rows: Vec<u32>| {
        let first = counted.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first { Err(Failure::new(Fault::Throttled, "429").after(Duration::from_secs(1))) } else { Ok(rows) }
        }
    });
    assert_eq!(gate.call(7).await, Ok(7));
    let waited = gate.now();
    assert!(waited >= Duration::from_secs(1) && waited <= Duration::from_millis(1_150), "{waited:?}");
    assert_eq!(gate.counts().retried, 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_answers_times_out_and_is_given_up() {
    let gate: Gated<u32, u32> = wrap(settings(), |_| std::future::pending());
    let Err(Unanswered::Failed { fault, attempts, .. }) = gate.call(7).await else { panic!("no backend, no answer") };
    assert_eq!((fault, attempts), (Fault::Timeout, 3));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_future_cancels_its_row() {
    let gate: Gated<u32, u32> = wrap(settings(), |_| std::future::pending());
    let row = tokio::spawn({
        let gate = gate.clone();
        async move { gate.call(7).await }
    });
    pause(5 * MILLI).await;
    row.abort();
    assert!(row.await.unwrap_err().is_cancelled());
    let state = gate.shared.lock();
    assert_eq!((state.gate.held(), state.running.len()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_time_keeper_ends_with_the_last_gate() {
    let gate: Gated<u32, u32> = wrap(settings(), |rows| async move { Ok(rows) });
    let shared = Arc::downgrade(&gate.shared);
    assert_eq!(gate.call(1).await, Ok(1));
    drop(gate);
    pause(MILLI).await;
    assert!(shared.upgrade().is_none());
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}
