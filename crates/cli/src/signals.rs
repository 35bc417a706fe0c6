//! Ctrl-C and SIGTERM: the first drains, the second ends the process at once.

use futures::future::BoxFuture;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Exit code of a process that was told twice to end, as shells report SIGINT.
const ENDED_AT_ONCE: i32 = 130;

/// Completes at the first signal; at the second the process ends. Must be called inside the tokio runtime.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn stop() -> std::io::Result<BoxFuture<'static, ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let mut tell = Some(tell);
        loop {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            match tell.take() {
                Some(tell) => {
                    eprintln!("draining: finishing what is in flight, then a last checkpoint; again to end at once");
                    // The job may have ended by itself.
                    let _ = tell.send(());
                }
                None => std::process::exit(ENDED_AT_ONCE),
            }
        }
    });
    Ok(Box::pin(async move {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }))
}
