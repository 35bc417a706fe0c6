//! Checks of the models: which keys belong to which host, and that each is used.

use std::collections::BTreeMap;

use toml::Spanned;

use super::check::Checker;
use super::tables::{HostName, ModelTable};
use super::{Action, JobFileError, StepDecl};
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
    let used = |name: &str| {
        steps.iter().any(|step| matches!(&step.action, Action::Infer(infer) if infer.model.get_ref() == name))
    };
    match models.iter().find(|(name, _)| !used(name)) {
        Some((name, model)) => Err(checker
            .error(model.span(), format!("no step asks the model \"{name}\""))
            .with_help(format!("remove it or add a step: infer = {{ model = \"{name}\", ... }}"))),
        None => Ok(()),
    }
}

fn model(checker: &Checker, name: &str, table: Spanned<ModelTable>) -> Result<ModelSpec> {
    let span = table.span();
    let table = table.into_inner();
    let (replicas, journal) = (table.replicas.get(), table.journal);
    let latency = table.latency.clone().map(|latency| checker.positive("latency", latency)).transpose()?;
    let log = table.log.clone().map(|log| checker.filled("log", log)).transpose()?;
    let host = match table.host {
        HostName::Onnx => {
            refuse_fake_keys(checker, &table)?;
            let path = table.path.ok_or_else(|| {
                checker.error(span, format!("model \"{name}\" has no path")).with_help("path = \"MODEL.onnx\"")
            })?;
            Host::Onnx { path: checker.filled("path", path)? }
        }
        HostName::Fake => Host::Fake(fake(checker, table)?),
    };
    Ok(ModelSpec { name: name.to_string(), host, latency, replicas, journal, log })
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

fn refuse_fake_keys(checker: &Checker, table: &ModelTable) -> Result<()> {
    let given = [
        ("service_time", table.service_time.as_ref().map(Spanned::span)),
        ("crash_on", table.crash_on.as_ref().map(Spanned::span)),
        ("fail_on", table.fail_on.as_ref().map(Spanned::span)),
    ];
    match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
        Some((key, span)) => Err(checker
            .error(span, format!("{key} says nothing to the onnx host"))
            .with_help("only host = \"fake\" has it")),
        None => Ok(()),
    }
}
