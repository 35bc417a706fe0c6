//! From a declared remote model to its host: one connection pool for the process, credentials from its surroundings.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_core::env::Env;
use forebay_core::{Error, Kind, Result};
use forebay_inference::hosts::{Host, Slot};
use forebay_inference::protocols::gauges::Scraper;
use forebay_inference::protocols::signals::Rule;
use forebay_inference::protocols::{
    Connections, EndpointSettings, Meaning, Protocol, RemoteHost, Secrets, fetch, http_json, open_inference, openai,
};
use forebay_plan::asking::{Means, RefusalSpec};
use forebay_plan::remote::{
    FetchSpec, HttpJsonSpec, ManyRows, OpenAiSpec, OpenInferenceSpec, ProtocolSpec, RemoteSpec, TaskSpec, Transport,
    TypeSpec,
};

/// Longest wait for one answer at the socket: the service gives a call up before, by the step's timeout.
const TIMEOUT: Duration = Duration::from_secs(3600);

/// What all remote models of a process share; clones share it.
#[derive(Clone)]
pub struct Remotes {
    connections: Connections,
    secrets: Secrets,
}

// === impl Remotes ===

impl Remotes {
    /// Nothing connected yet; credentials are those of this process.
    pub fn new() -> Self {
        Self { connections: Connections::new(), secrets: Secrets::of_process() }
    }

    /// The host of `remote`. Connects nowhere.
    ///
    /// # Errors
    /// `Invalid` if the address, a credential, a template or a parameter cannot be used.
    pub fn host(&self, remote: &RemoteSpec) -> Result<Arc<dyn Host>> {
        let (connections, secrets) = (&self.connections, &self.secrets);
        Ok(match &remote.protocol {
            ProtocolSpec::OpenInference(spec) => replicated(remote, |url| {
                open_inference::host(&open_inference_settings(remote, url, spec), connections, secrets)
            })?,
            ProtocolSpec::OpenAi(spec) => {
                replicated(remote, |url| openai::host(&openai_settings(remote, url, spec), connections, secrets))?
            }
            ProtocolSpec::HttpJson(spec) => {
                replicated(remote, |url| http_json::host(&http_json_settings(remote, url, spec), connections, secrets))?
            }
            ProtocolSpec::Fetch(spec) => Arc::new(fetch::host(&fetch_settings(remote, spec))?),
        })
    }

    /// Reads the metrics of `remote` where they are declared; not yet running.
    ///
    /// # Errors
    /// `Invalid` if the address or a credential cannot be used.
    pub fn scraper(&self, env: Arc<dyn Env>, remote: &RemoteSpec) -> Result<Option<Scraper>> {
        let Some(url) = &remote.metrics else { return Ok(None) };
        let settings = endpoint(remote, url);
        Scraper::new(env, &settings, None, &self.connections, &self.secrets).map(Some)
    }
}

impl Default for Remotes {
    fn default() -> Self {
        Self::new()
    }
}

/// One host of all addresses of `remote`.
fn replicated<P: Protocol>(remote: &RemoteSpec, host: impl Fn(&str) -> Result<RemoteHost<P>>) -> Result<Arc<dyn Host>> {
    let mut hosts = remote.urls.iter().map(|url| host(url));
    let none = || Err(Error::new(Kind::Internal, "find address of model").with("model", &remote.model));
    let first = hosts.next().unwrap_or_else(none)?;
    Ok(Arc::new(hosts.try_fold(first, |all, next| Ok::<_, Error>(all.and(next?)))?))
}

fn endpoint(remote: &RemoteSpec, url: &str) -> EndpointSettings {
    let plain = EndpointSettings::new(url);
    EndpointSettings {
        credential: remote.credential.clone(),
        headers: headers(remote),
        timeout: TIMEOUT,
        ca: remote.ca.clone().map(PathBuf::from),
        request_bytes_max: bytes(remote.request_bytes, plain.request_bytes_max),
        answer_bytes_max: bytes(remote.answer_bytes, plain.answer_bytes_max),
        rules: remote.refusals.iter().map(rule).collect(),
        ..plain
    }
}

fn rule(refusal: &RefusalSpec) -> Rule {
    let meaning = match refusal.means {
        Means::Throttled => Meaning::Throttled,
        Means::Overload => Meaning::Overloaded,
        Means::Unavailable => Meaning::Down,
        Means::Timeout => Meaning::Timeout,
        Means::Exhausted => Meaning::TooLarge,
        Means::Data => Meaning::BadRow,
        Means::Invalid => Meaning::Settings,
    };
    Rule { status: refusal.status, contains: refusal.contains.clone(), meaning }
}

fn open_inference_settings(
    remote: &RemoteSpec,
    url: &str,
    spec: &OpenInferenceSpec,
) -> open_inference::OpenInferenceSettings {
    let slots = |slots: &[(String, TypeSpec)]| slots.iter().map(|(name, value)| slot(name, value)).collect();
    open_inference::OpenInferenceSettings {
        endpoint: endpoint(remote, url),
        inputs: slots(&spec.inputs),
        outputs: slots(&spec.outputs),
        version: spec.version.clone(),
        transport: match spec.transport {
            Transport::Grpc => open_inference::Transport::Grpc,
            Transport::HttpBinary => open_inference::Transport::HttpBinary,
            Transport::HttpJson => open_inference::Transport::HttpJson,
        },
        server_batches: spec.server_batches,
        ..open_inference::OpenInferenceSettings::new(url, &remote.model)
    }
}

fn openai_settings(remote: &RemoteSpec, url: &str, spec: &OpenAiSpec) -> openai::OpenAiSettings {
    let task = match spec.task.clone() {
        TaskSpec::Chat { messages, schema } => openai::Task::Chat { messages, schema },
        TaskSpec::Completion { prompt } => openai::Task::Completion { prompt },
        TaskSpec::Embeddings { input, length } => openai::Task::Embeddings { input, length },
    };
    openai::OpenAiSettings {
        endpoint: endpoint(remote, url),
        parameters: spec.parameters.clone().into_iter().collect(),
        stream: spec.stream,
        ..openai::OpenAiSettings::new(url, &remote.model, task)
    }
}

fn http_json_settings(remote: &RemoteSpec, url: &str, spec: &HttpJsonSpec) -> http_json::HttpJsonSettings {
    let output = |(name, value, pointer): &(String, TypeSpec, String)| http_json::Output {
        slot: slot(name, value),
        pointer: pointer.clone(),
    };
    http_json::HttpJsonSettings {
        endpoint: endpoint(remote, url),
        request: spec.request.clone(),
        inputs: spec.inputs.iter().map(|(name, value)| slot(name, value)).collect(),
        outputs: spec.outputs.iter().map(output).collect(),
        rows: match spec.rows.clone() {
            None => http_json::Rows::One,
            Some(ManyRows { request, answer }) => http_json::Rows::Many { request, answer },
        },
        revision: remote.model.clone(),
    }
}

fn fetch_settings(remote: &RemoteSpec, spec: &FetchSpec) -> fetch::FetchSettings {
    let plain = fetch::FetchSettings::default();
    fetch::FetchSettings {
        private_hosts: spec.private_hosts.clone(),
        headers: headers(remote),
        ca: remote.ca.clone().map(PathBuf::from),
        answer_bytes_max: bytes(remote.answer_bytes, plain.answer_bytes_max),
    }
}

fn headers(remote: &RemoteSpec) -> Vec<(String, String)> {
    remote.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn bytes(declared: Option<u64>, usual: usize) -> usize {
    declared.map_or(usual, |size| usize::try_from(size).unwrap_or(usize::MAX))
}

fn slot(name: &str, value: &TypeSpec) -> Slot {
    let shape = value.shape.iter().map(|length| Some(*length)).collect();
    Slot { name: name.to_string(), value: value.value.clone(), shape }
}
