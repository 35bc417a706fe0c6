//! The socket of a [child](super::child) as its calls share it: each of its two ends is handed from call to call, in the order
//! in which the calls were made.
//!
//! A call that writes does not wait for the answer to the one before, so a frame lies in the socket when the child comes
//! to it. A call that is dropped keeps what it had: those behind it are refused, as nobody knows how much of a frame
//! went out or came in.

use std::sync::{Mutex, PoisonError};

use forebay_core::{Error, Kind, Result};
use futures::channel::oneshot;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// A socket, and who comes next.
pub(super) struct Line {
    next: Mutex<Next>,
}

struct Next {
    sending: oneshot::Receiver<OwnedWriteHalf>,
    receiving: oneshot::Receiver<OwnedReadHalf>,
}

/// One call's place in the line.
pub(super) struct Turn {
    pub(super) sending: Baton<OwnedWriteHalf>,
    pub(super) receiving: Baton<OwnedReadHalf>,
}

/// What comes from the call before, and goes to the one behind.
pub(super) struct Baton<T> {
    from: oneshot::Receiver<T>,
    to: oneshot::Sender<T>,
}

// === impl Line ===

impl Line {
    pub(super) fn new(socket: UnixStream) -> Self {
        let (read, write) = socket.into_split();
        let (sender, sending) = oneshot::channel();
        let (receiver, receiving) = oneshot::channel();
        // Their receivers are at hand, so they cannot be refused.
        let _ = (sender.send(write), receiver.send(read));
        Self { next: Mutex::new(Next { sending, receiving }) }
    }

    /// The place behind all turns so far.
    pub(super) fn turn(&self) -> Turn {
        let (sender, sending) = oneshot::channel();
        let (receiver, receiving) = oneshot::channel();
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let Next { sending, receiving } = std::mem::replace(&mut *next, Next { sending, receiving });
        Turn { sending: Baton { from: sending, to: sender }, receiving: Baton { from: receiving, to: receiver } }
    }
}

// === impl Turn ===

impl Turn {
    /// Lets those behind go on as if this call had never been made.
    pub(super) async fn pass(mut self) {
        if let Ok(sending) = self.sending.taken().await {
            self.sending.pass(sending);
        }
        if let Ok(receiving) = self.receiving.taken().await {
            self.receiving.pass(receiving);
        }
    }
}

// === impl Baton ===

impl<T> Baton<T> {
    /// Resolves when the call before has passed it.
    ///
    /// # Errors
    /// `Unavailable` if that call did not come to its end.
    pub(super) async fn taken(&mut self) -> Result<T> {
        let given_up = |_| Error::new(Kind::Unavailable, "call model process").source("an earlier call was given up");
        (&mut self.from).await.map_err(given_up)
    }

    pub(super) fn pass(self, half: T) {
        // Without a call behind it, the line keeps the other end; without the line, nobody needs it.
        let _ = self.to.send(half);
    }
}
