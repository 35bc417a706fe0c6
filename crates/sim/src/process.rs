//! One process of the engine: its run, its subtasks, its background work, stepped one piece at a time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::time::Instant;
use forebay_core::{Kind, Result};
use forebay_engine::{Prepared, Report, RunOptions, Stop, Watch};
use forebay_plan::Plan;
use futures::channel::oneshot;
use futures::future::pending;

use crate::disk::Gate;
use crate::host::Woken;
use crate::outside::SimOutside;
use crate::random::{Random, Trace};
use crate::timed::components;

/// A process that runs the job.
pub(crate) struct Process {
    outside: Arc<SimOutside>,
    run: Option<Pin<Box<dyn Future<Output = Result<Report>>>>>,
    woken: Arc<Woken>,
    stop: Option<oneshot::Sender<Stop>>,
    random: Random,
    trace: Trace,
    pub steps: u64,
}

/// What a step came to.
pub(crate) enum Step {
    Moved,
    /// Nothing can go on before this moment; nothing ever will if there is none.
    Idle(Option<Instant>),
    Ended(Result<Report>),
}

// === impl Process ===

impl Process {
    /// A process that has not begun.
    pub fn new(outside: Arc<SimOutside>, plan: Plan, options: RunOptions, random: Random, trace: Trace) -> Self {
        let (stop, stopped) = oneshot::channel::<Stop>();
        let prepared = Prepared { plan, hosts: outside.models(), components: components() };
        let reached = Arc::clone(&outside);
        let run = async move {
            let stopped = Box::pin(async move {
                match stopped.await {
                    Ok(stop) => stop,
                    Err(_) => pending().await,
                }
            });
            forebay_engine::run(&prepared, &options, &*reached, stopped, &Arc::new(Watch::default())).await
        };
        Self { outside, run: Some(Box::pin(run)), woken: Woken::set(), stop: Some(stop), random, trace, steps: 0 }
    }

    pub fn gate(&self) -> &Gate {
        &self.outside.gate
    }

    pub fn number(&self) -> u32 {
        self.outside.process
    }

    /// Asks the run to stop.
    pub fn stop(&mut self, how: Stop) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(how);
        }
    }

    /// Lets one piece of work go on, drawn from all that can.
    pub fn step(&mut self) -> Step {
        self.steps += 1;
        if self.random.chance(10) {
            self.outside.env.advance(Duration::from_micros(self.random.within(1, 300)));
        }
        let first = self.random.below(3);
        for turn in 0..3 {
            let moved = match (first + turn) % 3 {
                0 => match self.poll_run() {
                    Some(Poll::Ready(ended)) => return Step::Ended(ended),
                    polled => polled.is_some(),
                },
                1 => self.turn_subtask(),
                _ => self.outside.env.step(),
            };
            if moved {
                self.trace.note("step", &[((first + turn) % 3) as u8]);
                return Step::Moved;
            }
        }
        let subtasks = self.outside.hosts().iter().filter_map(|host| host.next_wake()).min();
        Step::Idle(subtasks.into_iter().chain(self.outside.env.next_wake()).min())
    }

    /// Lets time pass.
    pub fn advance_to(&self, moment: Instant) {
        self.trace.note("clock", &moment.0.to_le_bytes());
        self.outside.env.advance_to(moment);
    }

    /// Microseconds since the process began.
    pub fn now(&self) -> Instant {
        self.outside.env.now()
    }

    /// Ends the process without a word.
    pub fn kill(mut self) {
        self.run = None;
        self.outside.env.kill();
        self.outside.hosts().clear();
        // Dropping the first may have started more.
        self.outside.env.kill();
    }

    fn poll_run(&mut self) -> Option<Poll<Result<Report>>> {
        if !self.woken.take() {
            return None;
        }
        let waker = Waker::from(Arc::clone(&self.woken));
        let run = self.run.as_mut()?;
        Some(run.as_mut().poll(&mut Context::from_waker(&waker)))
    }

    fn turn_subtask(&mut self) -> bool {
        let now = self.outside.env.now();
        let mut hosts: Vec<_> = self.outside.hosts().clone();
        hosts.retain(|host| !host.ready(now).is_empty());
        if hosts.is_empty() {
            return false;
        }
        // One region draws nothing, so that a seed without a second one stays what it was.
        let place = if hosts.len() == 1 { 0 } else { self.random.below(hosts.len() as u64) as usize };
        let host = hosts.swap_remove(place);
        let ready = host.ready(now);
        let place = self.random.pick(&ready);
        self.trace.note("subtask", &[place as u8]);
        if let Some(error) = host.turn(place, now) {
            self.outside.books.count("fault: a subtask failed");
            if matches!(error.kind(), Kind::Internal | Kind::Corrupt | Kind::Invalid | Kind::Cancelled) {
                self.outside.books.violate(format!("a subtask failed with {error:?}"));
            }
        }
        true
    }
}
