//! Running model checks over the code that production runs: a small bound in every test run, a large one when
//! `FOREBAY_VERIFY=large`. For tests only; the models stand beside what they check.
//!
//! A safe model must keep all its promises in every state and must reach all that it says is reachable, so that a model which
//! does nothing cannot pass. A model with a planted bug must break a promise.

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// The bound that `make verify` asks for.
pub fn is_large() -> bool {
    std::env::var("FOREBAY_VERIFY").is_ok_and(|bound| bound == "large")
}

/// One of two bounds.
pub fn bound<T>(small: T, large: T) -> T {
    if is_large() { large } else { small }
}

/// Visits every state of `model`: nothing promised is broken, everything said to be reachable is reached.
///
/// # Panics
/// With the steps that led there, where a promise is broken; and where something is never reached.
pub fn holds<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq + Send + Sync + 'static,
{
    let wanted = reachable(&model);
    // Stops at a broken promise, never because all examples are found.
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures);
    // Breadth first the steps to a broken promise are the fewest, and all states of a depth are in memory.
    match is_large() {
        true => has_held(name, &wanted, &checker.spawn_dfs().join()),
        false => has_held(name, &wanted, &checker.spawn_bfs().join()),
    }
}

fn has_held<M>(name: &str, wanted: &[&str], checker: &impl Checker<M>)
where
    M: Model,
    M::State: Debug + Hash + Clone + PartialEq,
    M::Action: Debug + Clone + PartialEq,
{
    println!(
        "model {name}: {} generated, {} unique states, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    let found = checker.discoveries();
    if let Some((broken, path)) = found.iter().find(|(property, _)| !wanted.contains(property)) {
        panic!("{name}: {broken}:\n{path:?}");
    }
    for property in wanted {
        assert!(found.contains_key(*property), "{name}: never reached: {property}");
    }
    assert!(checker.is_done());
}

/// Searches `model`, which has a planted bug, until a promise is broken; that must be one of `expected`.
///
/// # Panics
/// If none is broken, or another.
pub fn breaks<M>(name: &str, model: M, expected: &[&str])
where
    M: Model + Send + Sync + 'static,
    M::State: Debug + Hash + Clone + PartialEq + Send + Sync + 'static,
    M::Action: Debug + Clone + PartialEq + Send + Sync + 'static,
{
    let wanted = reachable(&model);
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let mut found = checker.discoveries();
    wanted.iter().for_each(|property| drop(found.remove(property)));
    let broken: Vec<&str> = found.keys().copied().collect();
    println!(
        "model {name}: broken {broken:?} in {} steps, after {} unique states",
        found.values().map(|path| path.clone().into_actions().len()).min().unwrap_or(0),
        checker.unique_state_count()
    );
    assert!(broken.iter().any(|property| expected.contains(property)), "{name}: broken {broken:?}, not {expected:?}");
}

fn reachable<M: Model>(model: &M) -> Vec<&'static str> {
    let examples = model.properties().into_iter().filter(|property| property.expectation == Expectation::Sometimes);
    examples.map(|property| property.name).collect()
}
