//! The life of a job's thread, which plans it, runs it, and keeps how it ended.
//!
//! A job whose parallelism changes is suspended and started again by this thread. So whoever waits for its end sees one job
//! with one end, and a Ctrl-C that ends somebody's waiting changes nothing here.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use forebay_core::{Error, Kind};
use forebay_engine::progress::Progress;
use forebay_engine::{Local, Outlook, Prepared, Report, ResumeJob, RunOptions, Watch};
use futures::FutureExt;
use futures::channel::oneshot::Receiver;
use futures::future::{Either, pending, select};

use crate::background::{Promise, caught};
use crate::errors::Failure;
use crate::order::{Order, Places, runtime};
use crate::words::{Next, Words};

/// What a job's thread does, and tells.
#[derive(Default)]
pub struct Life {
    /// What is counted.
    pub watch: Arc<Watch>,
    /// The counts of a job that has ended.
    pub last: OnceLock<Progress>,
    /// What it is, once it is planned.
    pub planned: Promise<Result<Arc<Planned>, Failure>>,
    /// What it is told.
    pub words: Words,
    /// Held by who scales: one at a time.
    scaling: Mutex<()>,
    /// Its report as JSON, once it has ended.
    pub ended: Promise<Result<String, Failure>>,
}

/// The job as it was planned first.
pub struct Planned {
    /// Its name.
    pub job: String,
    key_groups: u16,
    outlook: Outlook,
}

// === impl Life ===

impl Life {
    /// Plans the job, runs it, and tells how it ended.
    pub fn work(&self, order: &Order, places: &Places, cancelled: Receiver<()>) {
        let ended = caught(|| {
            let running = pin!(self.plan_and_run(order, places));
            runtime()?.block_on(async {
                match select(running, pin!(told(cancelled))).await {
                    Either::Left((ended, _)) => ended,
                    Either::Right(_) => Err(Error::new(Kind::Cancelled, "run job").into()),
                }
            })
        });
        let ended = ended.and_then(|report| {
            let text = serde_json::to_string(&report);
            text.map_err(|error| Error::new(Kind::Internal, "encode report").source(error).into())
        });
        // Without this, calls of a cancelled job would go on to their end.
        let _ = self.last.set(self.watch.progress());
        self.watch.end_part();
        if let Err(failure) = &ended {
            // Of no effect on a job that was planned.
            self.planned.set(Err(failure.clone()));
        }
        self.words.over(ended.as_ref().map(drop).map_err(Failure::clone));
        self.ended.set(ended);
    }

    async fn plan_and_run(&self, order: &Order, places: &Places) -> Result<Report, Failure> {
        let machine = order.machine()?;
        let outlook = order.look(&machine).await?;
        let mut prepared = order.planned(&outlook, None)?;
        let graph = &prepared.plan.graph;
        self.watch.planned(&prepared);
        let mut options = places.options(&graph.job)?;
        self.planned.set(Ok(Arc::new(Planned { job: graph.job.clone(), key_groups: graph.key_groups, outlook })));
        let mut report = self.part(&prepared, &options, &machine).await.map_err(|(error, _)| error)?;
        while let Some(Next { parallelism, prepared: next }) = self.words.next(report.outcome == "completed") {
            self.watch.end_part();
            (prepared, options) = (next, RunOptions { resume: ResumeJob::Latest, ..options });
            let part = self.part(&prepared, &options, &machine).await;
            report = part.map_err(|(error, was_up)| match was_up {
                true => error,
                false => places.not_again(&error, parallelism),
            })?;
        }
        Ok(report)
    }

    /// Runs the job from where it is to its end or the next stop; an error comes with whether it ran before.
    async fn part(&self, prepared: &Prepared, options: &RunOptions, machine: &Local) -> Result<Report, (Error, bool)> {
        let stop = told(self.words.begin()).boxed();
        let up = self.watch.begin_part(prepared.plan.graph.task_regions().count());
        match select(pin!(forebay_engine::run(prepared, options, machine, stop, &self.watch)), pin!(told(up))).await {
            Either::Left((ended, _)) => ended.map_err(|error| (error, false)),
            Either::Right(((), running)) => {
                self.words.is_up();
                running.await.map_err(|error| (error, true))
            }
        }
    }

    /// Has the job go on with other numbers of replicas and at another parallelism; waits until it does, or is at its end.
    pub fn scale(
        &self,
        order: &Order,
        parallelism: Option<i64>,
        replicas: &BTreeMap<String, i64>,
    ) -> Result<(), Failure> {
        let _only = self.scaling.lock().unwrap_or_else(PoisonError::into_inner);
        self.words.check()?;
        let planned = self.planned.waited()?;
        let parallelism = parallelism.map(|wanted| parallelism_of(wanted, planned.key_groups)).transpose()?;
        let next = |parallelism| {
            let prepared = order.planned(&planned.outlook, Some(parallelism))?;
            Ok::<_, Failure>(Next { parallelism, prepared })
        };
        let next = parallelism.map(next).transpose()?;
        let wanted = runtime()?.block_on(self.watch.reserve(replicas))?;
        // What would be started now would be ended by the stop.
        self.watch.scale(wanted, next.is_none());
        match next {
            Some(next) => self.words.follow_with(next)?.waited(),
            None => Ok(()),
        }
    }
}

fn parallelism_of(wanted: i64, key_groups: u16) -> Result<NonZeroU16, Failure> {
    let valid = u16::try_from(wanted).ok().filter(|wanted| *wanted <= key_groups).and_then(NonZeroU16::new);
    let failed = || Error::new(Kind::Invalid, "scale job").with("parallelism", wanted);
    Ok(valid.ok_or_else(|| failed().source(format!("expected 1 to {key_groups}, the number of key groups")))?)
}

/// Resolves when the word is given; never if nobody can give it any more.
async fn told<T>(word: Receiver<T>) -> T {
    match word.await {
        Ok(word) => word,
        Err(_) => pending().await,
    }
}
