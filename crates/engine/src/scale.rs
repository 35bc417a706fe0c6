//! How many replicas local models have while their job runs.
//!
//! The number belongs to the run: a service that is made later, for a region that is restarted or the next part of the job,
//! begins with it. Places on GPUs are found before anything changes.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use forebay_core::{Error, Kind, Result};
use forebay_inference::call::ModelGate;
use forebay_inference::hosts::Host;
use forebay_inference::service::{Replicas, Service};
use forebay_plan::spec::{Host as HostSpec, ModelSpec};

use crate::prepare::Prepared;
use crate::watch::Watch;

/// A model of the plan.
pub(crate) struct Planned {
    spec: ModelSpec,
    host: Arc<dyn Host>,
}

/// How many replicas models shall have, once that is found to be possible.
#[derive(Debug)]
pub struct Wanted(BTreeMap<String, u16>);

// === impl Watch ===

impl Watch {
    /// The job is planned: its models are shown from now on.
    pub fn planned(&self, prepared: &Prepared) {
        let planned = prepared.plan.graph.models.iter().filter_map(|(name, model)| {
            let host = Arc::clone(prepared.hosts.get(name)?);
            Some((name.clone(), Planned { spec: model.spec.clone(), host }))
        });
        self.models.lock().unwrap_or_else(PoisonError::into_inner).extend(planned);
    }

    /// Whether each of these models of the plan can have so many replicas; finds room for them.
    ///
    /// # Errors
    /// `Invalid` for a name that no model has, a model that runs elsewhere, a number that is none, and where this machine
    /// has no room; then nothing has changed.
    pub async fn reserve(&self, replicas: &BTreeMap<String, i64>) -> Result<Wanted> {
        let wanted: BTreeMap<String, u16> = replicas
            .iter()
            .map(|(name, count)| Ok((name.clone(), self.checked(name, *count)?)))
            .collect::<Result<_>>()?;
        let mut done: Vec<(Arc<dyn Host>, u16)> = Vec::new();
        for (name, count) in &wanted {
            let Some((host, before)) = self.host_of(name) else { continue };
            if let Err(error) = host.reserve(*count).await {
                for (host, before) in done {
                    // What was there a moment ago still is.
                    let _: Result<()> = host.reserve(before).await;
                }
                return Err(failed(name, i64::from(*count)).source(error));
            }
            done.push((host, before));
        }
        Ok(Wanted(wanted))
    }

    /// Has models have so many replicas from now on, in this part of the job and later ones. Where `live`, those that run
    /// follow at once; else the next part does.
    pub fn scale(&self, Wanted(wanted): Wanted, live: bool) {
        let mut scaled = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, count) in wanted {
            scaled.insert(name.clone(), count);
            let (service, gate) = if live { self.running(&name) } else { (None, None) };
            follow(service.as_ref(), gate.as_deref(), count);
        }
    }

    /// How many replicas `model` has in place of those that were declared.
    pub(crate) fn scaled(&self, model: &str) -> Option<u16> {
        self.scaled.lock().unwrap_or_else(PoisonError::into_inner).get(model).copied()
    }

    /// The service and the gate of `model` have started.
    pub(crate) fn set_model(&self, model: &str, service: Service, gate: Arc<ModelGate>) {
        let scaled = self.scaled.lock().unwrap_or_else(PoisonError::into_inner);
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_string(), Arc::clone(&gate));
        self.services.lock().unwrap_or_else(PoisonError::into_inner).insert(model.to_string(), service.clone());
        // They may have been made before it was scaled.
        if let Some(count) = scaled.get(model) {
            follow(Some(&service), Some(&gate), *count);
        }
    }

    fn running(&self, model: &str) -> (Option<Service>, Option<Arc<ModelGate>>) {
        let service = self.services.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        (service, self.gates.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned())
    }

    /// The host of `model`, and how many replicas that has now.
    fn host_of(&self, model: &str) -> Option<(Arc<dyn Host>, u16)> {
        let scaled = self.scaled(model);
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        models.get(model).map(|planned| (Arc::clone(&planned.host), scaled.unwrap_or(planned.spec.replicas)))
    }

    fn checked(&self, name: &str, count: i64) -> Result<u16> {
        let models = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(model) = models.get(name) else {
            let names: Vec<&str> = models.keys().map(String::as_str).collect();
            let known =
                if names.is_empty() { "it has none".to_string() } else { format!("it has {}", names.join(", ")) };
            return Err(failed(name, count).source(format!("the job has no such model; {known}")));
        };
        if let HostSpec::Remote(remote) = &model.spec.host {
            let place =
                if remote.urls.is_empty() { "the servers of its rows".to_string() } else { remote.urls.join(", ") };
            let why = format!(
                "it runs elsewhere, at {place}, and has no replicas here; how much it is asked at a time is in_flight or \
                 latency of who asks, and its servers are its urls, both said when the job is started"
            );
            return Err(failed(name, count).source(why));
        }
        let wanted = u16::try_from(count).ok().filter(|count| *count > 0);
        wanted.ok_or_else(|| failed(name, count).source(format!("expected 1 to {}", u16::MAX)))
    }
}

// === impl Planned ===

impl Planned {
    /// How many replicas the model shall have and how many take calls; `None` for one that runs elsewhere.
    pub fn replicas(&self, scaled: Option<u16>, service: Option<&Service>) -> Option<Replicas> {
        let declared = Replicas { wanted: scaled.unwrap_or(self.spec.replicas), ready: 0 };
        let is_here = !matches!(self.spec.host, HostSpec::Remote(_));
        is_here.then(|| service.map_or(declared, Service::replicas))
    }
}

fn failed(model: &str, replicas: i64) -> Error {
    Error::new(Kind::Invalid, "scale model").with("model", model).with("replicas", replicas)
}

fn follow(service: Option<&Service>, gate: Option<&ModelGate>, replicas: u16) {
    if let Some(service) = service {
        service.scale(replicas);
    }
    if let Some(gate) = gate {
        gate.scale(replicas);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use forebay_core::testing::ManualEnv;
    use forebay_inference::hosts::{Replica, Signature};
    use forebay_inference::service::ServiceSettings;
    use futures::FutureExt;
    use futures::future::{BoxFuture, pending};

    use super::*;

    /// Has room for three replicas, none of which is ever loaded.
    #[derive(Default)]
    struct Small {
        reserved: Mutex<Vec<u16>>,
    }

    impl Host for Small {
        fn signature(&self) -> BoxFuture<'static, Result<Signature>> {
            Box::pin(async { Ok(Signature::default()) })
        }

        fn reserve(&self, replicas: u16) -> BoxFuture<'static, Result<()>> {
            self.reserved.lock().unwrap().push(replicas);
            let full = replicas > 3;
            Box::pin(async move { if full { Err(Error::new(Kind::Invalid, "find room")) } else { Ok(()) } })
        }

        fn start(&self, _replica: u16) -> BoxFuture<'static, Result<Arc<dyn Replica>>> {
            Box::pin(pending())
        }

        fn revision(&self) -> String {
            "small".into()
        }
    }

    const JOB: &str = r#"
        name = "t"
        [source]
        format = "jsonl"
        path = "in/*.jsonl"
        [[step]]
        infer = { model = "a", inputs = { text = "x" }, outputs = { echo = "y" } }
        [[step]]
        infer = { model = "b", inputs = { text = "x" }, outputs = { echo = "z" } }
        [model.a]
        host = "fake"
        [model.b]
        host = "fake"
        replicas = 2
        [sink]
        format = "jsonl"
        path = "out"
    "#;

    /// A watch of a job with the models `a` and `b`, and the host of both.
    fn watch() -> (Watch, Arc<Small>) {
        let (watch, host) = (Watch::default(), Arc::new(Small::default()));
        let models = forebay_plan::parse(JOB, "job.toml", |_| None).unwrap().models;
        let planned = models.into_iter().map(|(name, spec)| (name, Planned { spec, host: Arc::<Small>::clone(&host) }));
        watch.models.lock().unwrap().extend(planned);
        (watch, host)
    }

    fn reserve(watch: &Watch, replicas: &[(&str, i64)]) -> Result<Wanted> {
        let replicas = replicas.iter().map(|(name, count)| (name.to_string(), *count)).collect();
        watch.reserve(&replicas).now_or_never().unwrap()
    }

    #[test]
    fn where_one_has_no_room_all_have_what_they_had() {
        let (watch, host) = watch();
        let failed = reserve(&watch, &[("a", 2), ("b", 4)]).unwrap_err().chain();
        assert_eq!(failed, "scale model (model=b, replicas=4): find room");
        assert_eq!(*host.reserved.lock().unwrap(), [2, 4, 1], "b keeps what it has by itself");
        assert!(watch.scaled.lock().unwrap().is_empty());
    }

    #[test]
    fn a_service_that_is_made_later_has_the_number_too() {
        let (watch, host) = watch();
        let env = ManualEnv::new(1);
        let service = || Service::new(Arc::new(env.clone()), host.clone(), None, ServiceSettings::default());
        let gate = || ModelGate::fixed(Arc::new(env.clone()), 1, 1, Duration::ZERO);
        let (first, second) = (service(), service());
        watch.set_model("a", first.clone(), gate());
        watch.scale(reserve(&watch, &[("a", 3)]).unwrap(), true);
        assert_eq!(first.replicas(), Replicas { wanted: 3, ready: 0 });
        watch.set_model("a", second.clone(), gate());
        assert_eq!((second.replicas().wanted, watch.scaled("a"), watch.scaled("b")), (3, Some(3), None));
        watch.scale(reserve(&watch, &[("a", 1)]).unwrap(), false);
        assert_eq!((second.replicas().wanted, watch.scaled("a")), (3, Some(1)), "it is about to end");
        let shown = &watch.progress().models["b"];
        assert_eq!((shown.replicas, shown.replicas_ready), (Some(2), Some(0)), "it has not started");
    }
}
