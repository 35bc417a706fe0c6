//! From a declared remote model to its host: one connection pool for the process, credentials from its surroundings.

use std::sync::Arc;
use std::time::Duration;

use forebay_core::Result;
use forebay_core::env::Env;
use forebay_inference::hosts::{Host, Slot};
use forebay_inference::protocols::gauges::Scraper;
use forebay_inference::protocols::{Connections, EndpointSettings, Secrets, http_json, open_inference, openai};
use forebay_plan::remote::{
    HttpJsonSpec, ManyRows, OpenAiSpec, OpenInferenceSpec, ProtocolSpec, RemoteSpec, TaskSpec, Transport, TypeSpec,
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
            ProtocolSpec::OpenInference(spec) => {
                Arc::new(open_inference::host(&open_inference_settings(remote, spec), connections, secrets)?)
            }
            ProtocolSpec::OpenAi(spec) => Arc::new(openai::host(&openai_settings(remote, spec), connections, secrets)?),
            ProtocolSpec::HttpJson(spec) => {
                Arc::new(http_json::host(&http_json_settings(remote, spec), connections, secrets)?)
            }
        })
    }

    /// Reads the metrics of `remote` where they are declared; not yet running.
    ///
    /// # Errors
    /// `Invalid` if the address or a credential cannot be used.
    pub fn scraper(&self, env: Arc<dyn Env>, remote: &RemoteSpec) -> Result<Option<Scraper>> {
        let Some(url) = &remote.metrics else { return Ok(None) };
        let settings = EndpointSettings { url: url.clone(), ..endpoint(remote) };
        Scraper::new(env, &settings, None, &self.connections, &self.secrets).map(Some)
    }
}

impl Default for Remotes {
    fn default() -> Self {
        Self::new()
    }
}

fn endpoint(remote: &RemoteSpec) -> EndpointSettings {
    EndpointSettings {
        credential: remote.credential.clone(),
        headers: remote.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
        timeout: TIMEOUT,
        ..EndpointSettings::new(&remote.url)
    }
}

fn open_inference_settings(remote: &RemoteSpec, spec: &OpenInferenceSpec) -> open_inference::OpenInferenceSettings {
    open_inference::OpenInferenceSettings {
        endpoint: endpoint(remote),
        version: spec.version.clone(),
        transport: match spec.transport {
            Transport::Grpc => open_inference::Transport::Grpc,
            Transport::HttpBinary => open_inference::Transport::HttpBinary,
            Transport::HttpJson => open_inference::Transport::HttpJson,
        },
        server_batches: spec.server_batches,
        ..open_inference::OpenInferenceSettings::new(&remote.url, &remote.model)
    }
}

fn openai_settings(remote: &RemoteSpec, spec: &OpenAiSpec) -> openai::OpenAiSettings {
    let task = match spec.task.clone() {
        TaskSpec::Chat { messages, schema } => openai::Task::Chat { messages, schema },
        TaskSpec::Completion { prompt } => openai::Task::Completion { prompt },
        TaskSpec::Embeddings { input, length } => openai::Task::Embeddings { input, length },
    };
    openai::OpenAiSettings {
        endpoint: endpoint(remote),
        parameters: spec.parameters.clone().into_iter().collect(),
        stream: spec.stream,
        ..openai::OpenAiSettings::new(&remote.url, &remote.model, task)
    }
}

fn http_json_settings(remote: &RemoteSpec, spec: &HttpJsonSpec) -> http_json::HttpJsonSettings {
    let output = |(name, value, pointer): &(String, TypeSpec, String)| http_json::Output {
        slot: slot(name, value),
        pointer: pointer.clone(),
    };
    http_json::HttpJsonSettings {
        endpoint: endpoint(remote),
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

fn slot(name: &str, value: &TypeSpec) -> Slot {
    let shape = value.shape.iter().map(|length| Some(*length)).collect();
    Slot { name: name.to_string(), value: value.value.clone(), shape }
}
