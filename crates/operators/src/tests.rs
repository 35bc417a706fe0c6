//! What the tests of several operators share.

use std::sync::Arc;

use forebay_core::operator::{Context, Identity};
use forebay_core::testing::ManualEnv;
use futures::task::noop_waker;

/// A context of the only subtask of operator `infer`, over `env`.
pub fn context(env: &ManualEnv) -> Context {
    let identity = Identity { uid: "infer".into(), subtask: 0, parallelism: 1, groups: 128, attempt: 1 };
    Context { identity, env: Arc::new(env.clone()), waker: noop_waker() }
}
