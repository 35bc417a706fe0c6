//! Ctrl-C drains, SIGTERM suspends; the second of either ends the process at once.
//!
//! Whoever sends SIGTERM (a cluster's scheduler, a service manager) waits for seconds and then kills: that is no time for slow
//! requests, but enough for a checkpoint.

use forebay_engine::Stop;
use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Exit code of a process that was told twice to end, as shells report SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// Completes at the first signal with what it asks for; at the second the process ends. Must be called inside the tokio runtime.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop() -> std::io::Result<BoxFuture<'static, Stop>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let mut tell = Some(tell);
        loop {
            let stop = tokio::select! {
                biased;
                _ = interrupt.recv() => Stop::Drain,
                _ = terminate.recv() => Stop::Suspend,
            };
            match tell.take() {
                Some(tell) => {
                    eprintln!("{}; again to end at once", said(stop));
                    // The job may have ended by itself.
                    let _ = tell.send(stop);
                }
                None => std::process::exit(ENDED_AT_ONCE),
            }
        }
    });
    Ok(Box::pin(async move {
        match told.await {
            Ok(stop) => stop,
            Err(_) => std::future::pending().await,
        }
    }))
}

fn said(stop: Stop) -> &'static str {
    match stop {
        Stop::Drain => "draining: finishing what is in flight, then a last checkpoint",
        Stop::Suspend => "suspending: a last checkpoint, which keeps what is in flight to be asked again",
    }
}
