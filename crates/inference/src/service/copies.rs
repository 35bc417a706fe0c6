//! Calls one replica, and a second one where the first is slow: the first answer counts, the other call is dropped.
//!
//! The gate says whether and where a second copy may go; each copy has a permit of its own. What replicas tell besides rows
//! is heard when their call ends.

use std::sync::Arc;

use forebay_core::Result;
use forebay_gate::limiter::Class;
use futures::future::{Either, select};

use super::events::SubmissionId;
use super::shell::{Shell, caught};
use crate::call::{Hedger, Permit};
use crate::hosts::{Answers, Replica};
use crate::protocols::class_of;
use crate::request::RequestBatch;

// === impl Shell ===

impl Shell {
    /// One call, and a second copy on another replica if it is slow and that is allowed: the first answer counts.
    pub(super) async fn call_hedged(
        self: Arc<Self>,
        replica: Arc<dyn Replica>,
        submission: SubmissionId,
        batch: RequestBatch,
    ) -> Result<Answers> {
        let hedger = self.with_permit(submission, |permit| permit.hedger()).flatten();
        let first = Box::pin(self.asked(&replica, batch.clone()));
        let hear = || self.with_permit(submission, |permit| permit.hear(replica.observed()));
        let Some(hedger) = hedger else {
            let answer = first.await;
            hear();
            return answer;
        };
        let (first, copy) = match select(first, Box::pin(self.second_copy(&hedger))).await {
            Either::Left((answer, _)) => {
                hear();
                return answer;
            }
            Either::Right((copy, first)) => (first, copy),
        };
        let Some((other, permit)) = copy else {
            let answer = first.await;
            hear();
            return answer;
        };
        let second = Box::pin(self.asked(&other, batch));
        // The permit of a copy that is dropped here goes back as cancelled.
        match select(first, second).await {
            Either::Left((Ok(answer), _)) => {
                hear();
                Ok(answer)
            }
            Either::Left((Err(_), second)) => {
                self.with_permit(submission, Permit::lose);
                permit.hear(other.observed());
                self.ended(permit, second.await)
            }
            Either::Right((Ok(answer), _)) => {
                self.with_permit(submission, Permit::lose);
                permit.hear(other.observed());
                self.ended(permit, Ok(answer))
            }
            Either::Right((Err(error), first)) => {
                permit.finish(class_of(&error));
                let answer = first.await;
                hear();
                answer
            }
        }
    }

    async fn asked(&self, replica: &Arc<dyn Replica>, batch: RequestBatch) -> Result<Answers> {
        let (rows, call) = (batch.len(), caught("call replica", || replica.call(batch)));
        self.timed(call, rows).await
    }

    /// Another replica and a permit for it, once the first copy is slow and another replica has room; `None` if no more
    /// copies are allowed.
    async fn second_copy(&self, hedger: &Hedger) -> Option<(Arc<dyn Replica>, Permit)> {
        self.env.sleep(hedger.after()).await;
        let permit = hedger.permit().await?;
        let loaded = {
            let state = self.lock();
            let loaded = permit.replica().and_then(|replica| state.replicas.get(&replica));
            loaded.map(|loaded| Arc::clone(&loaded.replica))
        };
        loaded.map(|replica| (replica, permit))
    }

    fn ended(&self, permit: Permit, answer: Result<Answers>) -> Result<Answers> {
        permit.finish(answer.as_ref().map_or_else(class_of, |_| Class::Answered));
        answer
    }

    fn with_permit<T>(&self, submission: SubmissionId, act: impl FnOnce(&mut Permit) -> T) -> Option<T> {
        self.lock().callers.get_mut(&submission).and_then(|caller| caller.permit.as_mut()).map(act)
    }
}
