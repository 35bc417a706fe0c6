//! Checks of the models: which keys belong to which host, and that each is used.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;

use super::asking::{hedge, limits};
use super::check::Checker;
use super::fetch::fetch;
use super::python::{PathText, python, refuse_python_keys};
use super::remote::remote;
use super::tables::{HostName, ModelTable};
use super::{Action, FallbackDecl, InferDecl, JobFileError, StepDecl};
use crate::spec::{FakeSpec, Host, ModelSpec};

type Result<T> = std::result::Result<T, JobFileError>;
type Models = BTreeMap<String, Spanned<ModelSpec>>;

/// Checks all declared models.
pub(super) fn models(checker: &Checker, tables: BTreeMap<String, Spanned<ModelTable>>) -> Result<Models> {
    let checked = tables.into_iter().map(|(name, table)| {
        let span = table.span();
        let name = checker.name("model name", &Spanned::new(span.clone(), name))?;
        let model = model(checker, &name, table)?;
        Ok((name, Spanned::new(span, model)))
    });
    checked.collect()
}

/// Refuses models that no step asks: a slip in a name is more likely than a spare.
pub(super) fn all_used(checker: &Checker, models: &Models, steps: &[StepDecl]) -> Result<()> {
    let asks = |infer: &InferDecl, name: &str| {
        let falls_back =
            |rung: &FallbackDecl| matches!(rung, FallbackDecl::Model { model, .. } if model.get_ref() == name);
        infer.model.get_ref() == name || infer.fallback.iter().any(falls_back)
    };
    let used = |name: &str| steps.iter().any(|step| matches!(&step.action, Action::Infer(infer) if asks(infer, name)));
    match models.iter().find(|(name, _)| !used(name)) {
        Some((name, model)) => Err(checker
            .error(model.span(), format!("no step asks the model \"{name}\""))
            .with_help(format!("remove it or add a step: infer = {{ model = \"{name}\", ... }}"))),
        None => Ok(()),
    }
}

// === impl HostName ===

impl HostName {
    fn is_local(self) -> bool {
        matches!(self, Self::Onnx | Self::Python | Self::Fake)
    }
}

fn model(checker: &Checker, name: &str, table: Spanned<ModelTable>) -> Result<ModelSpec> {
    let span = table.span();
    let table = table.into_inner();
    let (replicas, journal) = (table.replicas.get(), table.journal);
    let latency = table.latency.clone().map(|latency| checker.positive("latency", latency)).transpose()?;
    let log = table.log.clone().map(|log| checker.filled("log", log)).transpose()?;
    if table.host.is_local() {
        refuse_remote_keys(checker, &table)?;
    }
    refuse_python_keys(checker, &table)?;
    let (limits, hedge) = (limits(checker, &table)?, hedge(checker, &table)?);
    let idempotent = table.idempotent.as_ref().map(|given| *given.get_ref());
    let host = match table.host {
        HostName::Onnx => {
            refuse_fake_keys(checker, &table, "onnx")?;
            Host::Onnx { path: model_file(checker, name, span, table.path)? }
        }
        HostName::Python => {
            refuse_fake_keys(checker, &table, "python")?;
            Host::Python(python(checker, name, span, table)?)
        }
        HostName::Fake => Host::Fake(fake(checker, table)?),
        HostName::OpenInference | HostName::OpenAi | HostName::HttpJson => {
            if replicas != 1 {
                return Err(checker
                    .error(span, format!("replicas says nothing to model \"{name}\", which runs elsewhere"))
                    .with_help("remove it; replicas that run elsewhere are named by urls = [...]"));
            }
            Host::Remote(Box::new(remote(checker, name, table)?))
        }
        HostName::Fetch => Host::Remote(Box::new(fetch(checker, name, span, table)?)),
    };
    Ok(ModelSpec { name: name.to_string(), host, latency, limits, idempotent, hedge, replicas, journal, log })
}

fn model_file(checker: &Checker, name: &str, span: Range<usize>, path: Option<Spanned<PathText>>) -> Result<String> {
    let Some(path) = path else {
        let error = checker.error(span, format!("model \"{name}\" has no path"));
        return Err(error.with_help("path = \"MODEL.onnx\""));
    };
    let span = path.span();
    match path.into_inner() {
        PathText::One(path) => checker.filled("path", Spanned::new(span, path)),
        PathText::Many(_) => Err(checker.error(span, "a model of the onnx host is one file")),
    }
}

fn fake(checker: &Checker, table: ModelTable) -> Result<FakeSpec> {
    if let Some(path) = &table.path {
        return Err(checker.error(path.span(), "path says nothing to the fake host").with_help("remove it"));
    }
    let text = |what: &str, text: Option<Spanned<String>>| text.map(|text| checker.filled(what, text)).transpose();
    Ok(FakeSpec {
        service_time: table.service_time.map(|time| time.into_inner().0).unwrap_or_default(),
        crash_on: text("crash_on", table.crash_on)?,
        fail_on: text("fail_on", table.fail_on)?,
    })
}

fn refuse_remote_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        ("url", table.url.as_ref().map(Spanned::span)),
        ("urls", table.urls.as_ref().map(Spanned::span)),
        ("ca", table.ca.as_ref().map(Spanned::span)),
        ("request_bytes", table.request_bytes.as_ref().map(Spanned::span)),
        ("answer_bytes", table.answer_bytes.as_ref().map(Spanned::span)),
        ("refusals", table.refusals.as_ref().map(Spanned::span)),
        ("hedge", table.hedge.as_ref().map(Spanned::span)),
        ("idempotent", table.idempotent.as_ref().map(Spanned::span)),
        ("name", table.name.as_ref().map(Spanned::span)),
        ("credential", table.credential.as_ref().map(Spanned::span)),
        ("metrics", table.metrics.as_ref().map(Spanned::span)),
        ("open_inference", table.open_inference.as_ref().map(Spanned::span)),
        ("openai", table.openai.as_ref().map(Spanned::span)),
        ("http_json", table.http_json.as_ref().map(Spanned::span)),
        ("fetch", table.fetch.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("{key} says nothing to a model in a child process"))
            .with_help("only hosts elsewhere have it: \"open_inference\", \"openai\", \"http_json\" and \"fetch\"")),
        None => Ok(()),
    }
}

fn refuse_fake_keys(checker: &Checker, table: &ModelTable, host: &str) -> Result<()> {
    let given = [
        ("service_time", table.service_time.as_ref().map(Spanned::span)),
        ("crash_on", table.crash_on.as_ref().map(Spanned::span)),
        ("fail_on", table.fail_on.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("{key} says nothing to the {host} host"))
            .with_help("only host = \"fake\" has it")),
        None => Ok(()),
    }
}
