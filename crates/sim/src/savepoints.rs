//! Savepoints in a drawn job: when somebody makes one beside the running job, how that ends, and which processes go back to
//! one.
//!
//! Whoever makes one is a process of its own, with its own clock and its own way to the disk: it outlives a job that is
//! killed, and may be killed itself. Drawn apart from the rest of the scenario, so that a seed keeps its faults.

use std::sync::{Arc, Mutex, PoisonError};

use forebay_core::env::Env;
use forebay_core::testing::ManualEnv;
use forebay_core::{Kind, Result};
use forebay_state::checkpoint::{CheckpointFolder, Logs, Savepoint};

use crate::disk::Trap;
use crate::random::Random;
use crate::scenario::{Back, Trigger, Trouble};
use crate::shape::{Cut, Shape};

/// Paths in which a process that goes back may be caught.
const GOING_BACK: [&str; 3] = ["/savepoint/", "region-0/epoch/", "region-0/manifest/"];
/// Those of a job with two regions: between the decision, the logs, and the claims of the regions.
const TWO_GOING_BACK: [&str; 5] = ["/restore/", "/edges/", "/savepoint", "region-0/epoch/", "region-1/epoch/"];

/// How often somebody tries to make a savepoint of a job that has no checkpoint yet.
const TRIES_MAX: u32 = 50;

/// The making of a savepoint while a process runs.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    /// It begins after so many steps of the process.
    pub after: u64,
    /// How many steps it makes while the job makes a thousand.
    pub per_mille: u64,
    pub fate: Fate,
    /// The oldest savepoint is removed before.
    pub removes: bool,
}

/// What happens to whoever makes a savepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Lives,
    /// It is killed after so many steps.
    Dies(u64),
    /// The trouble of the job's process comes after so many steps.
    Strikes(u64),
}

/// Whoever makes a savepoint.
pub(crate) struct Keeper {
    /// Of the savepoint.
    pub name: String,
    env: ManualEnv,
    made: Arc<Mutex<Option<Result<Savepoint>>>>,
    random: Random,
    keeping: Keeping,
    steps: u64,
}

/// What a step of a keeper came to.
pub(crate) enum Kept {
    Nothing,
    /// The trouble of the job's process comes.
    Struck,
    Killed,
    Ended(Result<Savepoint>),
}

/// Adds savepoints to the processes of `troubles`, and a second region to a job that can have one; whether the job goes back
/// to one once more after its end. None goes back where a process stalls: a stalled one would have to know.
pub(crate) fn draw(seed: u64, troubles: &mut [Trouble], shape: &mut Shape, stalls: bool) -> bool {
    let mut random = Random::new(seed, "savepoints");
    if !random.chance(350) {
        return false;
    }
    if shape.plain && !stalls {
        shape.cut = shape.cut.or(Some(random.pick(&[Cut::CommitRead, Cut::IdDedupe])));
    }
    let caught = if shape.cut.is_some() { &TWO_GOING_BACK[..] } else { &GOING_BACK };
    for trouble in troubles {
        trouble.keeping = random.chance(600).then(|| Keeping::draw(&mut random));
        let back =
            random.pick(&[Back::Latest, Back::Latest, Back::Latest, Back::Savepoint, Back::Savepoint, Back::Older]);
        if back != Back::Latest && !stalls {
            trouble.back = back;
            if random.chance(500) {
                let trap = Trap { part: random.pick(caught), nth: random.within(1, 16) as u32 };
                trouble.trigger = Trigger::Caught(trap);
            }
        }
    }
    random.chance(300) && !stalls
}

/// Makes the savepoint `name`; tries again while the job has no checkpoint yet.
async fn create(folder: &CheckpointFolder, name: &str, logs: &Logs) -> Result<Savepoint> {
    let mut tries = 0;
    loop {
        tries += 1;
        match folder.create_savepoint(name, Some(logs)).await {
            Err(error) if error.kind() == Kind::Invalid && tries < TRIES_MAX => {}
            ended => return ended,
        }
    }
}

// === impl Keeping ===

impl Keeping {
    fn draw(random: &mut Random) -> Self {
        let most = 1 << random.within(3, 9);
        let steps = 1 << random.within(2, 6);
        Self {
            after: random.within(1, most),
            per_mille: random.pick(&[10, 50, 300, 1000]),
            fate: match random.below(4) {
                0 => Fate::Dies(random.within(1, steps)),
                1 => Fate::Strikes(random.within(1, steps)),
                _ => Fate::Lives,
            },
            removes: random.chance(250),
        }
    }
}

// === impl Keeper ===

impl Keeper {
    /// One that begins to make `name` in `folder`, all in `env`, once it has removed `old`.
    pub fn new(
        (name, old): (String, Option<String>),
        folder: CheckpointFolder,
        logs: Logs,
        env: ManualEnv,
        (keeping, random): (Keeping, Random),
    ) -> Self {
        let made: Arc<Mutex<Option<Result<Savepoint>>>> = Arc::default();
        let (done, new) = (Arc::clone(&made), name.clone());
        env.spawn(Box::pin(async move {
            let removed = match &old {
                Some(old) => folder.remove_savepoint(old).await,
                None => Ok(()),
            };
            let result = match removed {
                Ok(()) => create(&folder, &new, &logs).await,
                Err(error) => Err(error),
            };
            *done.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        }));
        Self { name, env, made, random, keeping, steps: 0 }
    }

    /// Now and then one piece of its work.
    pub fn step(&mut self) -> Kept {
        if !self.random.chance(self.keeping.per_mille) {
            return Kept::Nothing;
        }
        self.steps += 1;
        if matches!(self.keeping.fate, Fate::Dies(steps) if self.steps > steps) {
            return Kept::Killed;
        }
        if !self.env.step()
            && let Some(moment) = self.env.next_wake()
        {
            self.env.advance_to(moment);
        }
        match self.made.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(made) => Kept::Ended(made),
            None if self.keeping.fate == Fate::Strikes(self.steps) => Kept::Struck,
            None => Kept::Nothing,
        }
    }

    /// From here on it lives, and is quick.
    pub fn heal(&mut self) {
        (self.keeping.fate, self.keeping.per_mille) = (Fate::Lives, 1000);
    }

    /// Ends it without a word.
    pub fn kill(self) {
        self.env.kill();
    }
}
