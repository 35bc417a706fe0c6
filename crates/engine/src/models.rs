//! Opens a job's models: one service each, the journal they share, and one gate for each model.
//!
//! They outlive the attempts: a restarted region finds its models loaded, its answers in the journal and its limits where
//! they were. What a gate learned is also kept in checkpoints, so that a new process does not begin from nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::element::Epoch;
use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use forebay_gate::limiter::Hint;
use forebay_inference::hosts::Host;
use forebay_inference::journal::{Damage, Journal, JournalSettings};
use forebay_inference::service::{Service, ServiceSettings};
use forebay_operators::inference::Site;
use forebay_plan::graph::{JobGraph, ModelService, Step, StepAction, Task};
use forebay_plan::spec::InferSpec;
use forebay_state::checkpoint::{Manifest, Started};

use crate::gates::{Making, copies};
use crate::lower::tasks_of;
use crate::model::ServiceModel;
use crate::outside::Outside;
use crate::prepare::Prepared;
use crate::resume::region_name;
use crate::run::{JOURNAL_FOLDER, RunOptions};
use crate::watch::Watch;

/// A learned limit older than this says nothing about the model of today.
const HINT_AGE_MAX: Duration = Duration::from_secs(600);
/// Where a checkpoint's manifest keeps learned limits.
const LIMITS: &str = "limits";

/// The models of a job and their journal.
pub struct Models {
    /// Keeps the answers of the models that want it.
    pub journal: Option<Journal>,
    /// By name.
    pub services: BTreeMap<String, ServiceModel>,
}

/// What models are opened from.
pub struct Opening<'a> {
    /// The job with its hosts.
    pub prepared: &'a Prepared,
    /// Where the journal lies.
    pub options: &'a RunOptions,
    /// What the job touches.
    pub outside: &'a dyn Outside,
    /// Is shown the services.
    pub watch: &'a Watch,
    /// The models are those that its steps ask.
    pub region: usize,
}

/// What gates learned, by model, as a manifest keeps it.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
struct Learned {
    rows_in_flight: f64,
    calls: usize,
    rows_max: usize,
}

// === impl Learned ===

impl From<Learned> for Hint {
    fn from(Learned { rows_in_flight, calls, rows_max }: Learned) -> Self {
        Self { rows_in_flight, calls, rows_max }
    }
}

// === impl Models ===

impl Models {
    /// True if the journal refuses work, and has to be opened again.
    pub fn journal_failed(&self) -> bool {
        self.journal.as_ref().is_some_and(Journal::has_failed)
    }
}

/// What the gates of `services` have learned, as a manifest keeps it.
pub fn learned(services: &BTreeMap<String, ServiceModel>) -> serde_json::Map<String, serde_json::Value> {
    let hints = services.iter().flat_map(|(name, model)| {
        let hints = model.gate.hints().into_iter().enumerate();
        hints.filter_map(move |(replica, hint)| Some((learned_key(name, replica), hint?)))
    });
    let learned: BTreeMap<String, Learned> = hints
        .map(|(key, Hint { rows_in_flight, calls, rows_max })| (key, Learned { rows_in_flight, calls, rows_max }))
        .collect();
    let value = serde_json::to_value(&learned).unwrap_or_default();
    if learned.is_empty() { serde_json::Map::new() } else { [(LIMITS.to_string(), value)].into_iter().collect() }
}

/// Under which name a manifest keeps what was learned of a replica: the model's, with its number from the second on.
fn learned_key(model: &str, replica: usize) -> String {
    if replica == 0 { model.to_string() } else { format!("{model}/{replica}") }
}

/// What `manifest` kept of the gates' learning, if it was written not long before `now_micros`.
fn hints(manifest: Option<&Manifest>, now_micros: i64) -> BTreeMap<String, Learned> {
    let young = |manifest: &&Manifest| {
        let age = now_micros.saturating_sub(manifest.created_wall_micros);
        (0..=HINT_AGE_MAX.as_micros() as i64).contains(&age)
    };
    let kept = manifest.filter(young).and_then(|manifest| manifest.extra.get(LIMITS));
    kept.and_then(|kept| serde_json::from_value(kept.clone()).ok()).unwrap_or_default()
}

// === impl Opening ===

impl Opening<'_> {
    fn graph(&self) -> &JobGraph {
        &self.prepared.plan.graph
    }

    fn env(&self) -> Arc<dyn Env> {
        self.outside.env()
    }

    /// Opens all models for the attempt of `started`, whose state is that of `restored`.
    ///
    /// # Errors
    /// Whatever the journal cannot be opened with.
    pub async fn open(&self, started: &Started, restored: Option<Epoch>) -> Result<Models> {
        let wanted = self.models().any(|(_, model)| model.spec.journal);
        let journal = if wanted { Some(self.open_journal(started.attempt, restored).await?) } else { None };
        let mut hints = hints(started.restored.as_deref(), self.env().wall_micros());
        let mut services = BTreeMap::new();
        for (name, model) in self.models() {
            let journal = journal.clone().filter(|_| model.spec.journal);
            let replicas = self.watch.scaled(name).unwrap_or_else(|| copies(&model.spec));
            let settings = ServiceSettings {
                replicas,
                idempotent: model.spec.idempotent.unwrap_or(true),
                attempts_max: 1,
                timeout: self.timeout_of(name),
                planted: self.outside.planted().service,
            };
            let host = self.prepared.hosts.get(name).cloned();
            let host = host.ok_or_else(|| Error::new(Kind::Internal, "find host of model").with("model", name))?;
            let steps = self.steps_of(name).collect();
            let making = Making { env: self.env(), spec: &model.spec, steps, host: &*host, replicas };
            let gate = making.gate(|replica| hints.remove(&learned_key(name, replica)).map(Hint::from));
            let site = site_of(&*host);
            let service = Service::new(self.env(), host, journal.clone(), settings);
            service.warm();
            self.watch.set_model(name, service.clone(), Arc::clone(&gate));
            let scraper = self.outside.scraper(&model.spec)?.map(Arc::new);
            if let Some(scraper) = &scraper {
                let gate = Arc::clone(&gate);
                scraper.run(move |scraped| gate.on_gauges(scraped.gauges));
            }
            services.insert(name.clone(), ServiceModel { service, journal, gate, scraper, site });
        }
        Ok(Models { journal, services })
    }

    /// The models that steps of the region ask; those that nobody asks are the first region's.
    fn models(&self) -> impl Iterator<Item = (&String, &ModelService)> {
        self.graph().models.iter().filter(|(name, _)| {
            let asks = |task: &Task| task.steps.iter().any(|step| asks(step, name).is_some());
            match self.graph().tasks.iter().find(|task| asks(task)) {
                Some(task) => tasks_of(self.graph(), self.region).any(|own| own.id == task.id),
                None => self.region == 0,
            }
        })
    }

    fn steps_of<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a InferSpec> {
        let steps = self.graph().tasks.iter().flat_map(|task| &task.steps);
        steps.filter_map(move |step| asks(step, model))
    }

    /// The longest timeout of the steps that ask `model`.
    fn timeout_of(&self, model: &str) -> Duration {
        self.steps_of(model).map(|infer| infer.timeout).max().unwrap_or(ServiceSettings::default().timeout)
    }

    async fn open_journal(&self, attempt: u64, restored: Option<Epoch>) -> Result<Journal> {
        let env = self.outside.journal_env(&self.options.journal)?;
        // A start from nothing needs every answer that an older run left, whatever that had closed.
        let restored = Some(restored.unwrap_or(Epoch(0)));
        let settings =
            JournalSettings { restored, planted: self.outside.planted().journal, ..JournalSettings::default() };
        let folder = journal_name(self.region);
        let (journal, report) = Journal::open(env, &folder, attempt, settings).await?;
        if let Some(Damage { file, place, bytes, .. }) = &report.torn {
            tracing::warn!("journal {file} ended mid-record; {bytes} bytes from byte {place} on were cut off");
        }
        for Damage { file, place, bytes, reason } in &report.corrupt {
            tracing::warn!(
                "journal {file}: {bytes} bytes at byte {place} cannot be read ({reason}); their rows run again"
            );
        }
        Ok(journal)
    }
}

/// Where the model of `host` is.
fn site_of(host: &dyn Host) -> Site {
    match host.calls_max() {
        _ if host.many_servers() => Site::ManyServers,
        1 => Site::Here,
        _ => Site::Server,
    }
}

/// Folder of the journal of the region at `place`, below the job's.
pub fn journal_name(place: usize) -> String {
    match place {
        0 => JOURNAL_FOLDER.to_string(),
        later => format!("{JOURNAL_FOLDER}-{}", region_name(later)),
    }
}

/// The inference of `step`, if it asks `model`.
fn asks<'a>(step: &'a Step, model: &str) -> Option<&'a InferSpec> {
    match &step.action {
        StepAction::Infer(infer) if infer.model == model || infer.ladder.models().any(|other| other == model) => {
            Some(infer)
        }
        _ => None,
    }
}
