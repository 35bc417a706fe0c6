//! Checks of the steps: one action each, its keys, the model it names.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::Range;

use forebay_core::on_error::OnError;
use toml::Spanned;

use super::check::Checker;
use super::tables::{InferTable, StepTable};
use super::{
    Action, InferDecl, InferSettings, JobFileError, StepDecl, check_infer, defaults, durable, feedback, keyed, process,
    rows, stream_join, window,
};
use crate::nearest::{listed, nearest};
use crate::spec::{Host, Limit, ModelSpec};

type Result<T> = std::result::Result<T, JobFileError>;
pub(super) type Models = BTreeMap<String, Spanned<ModelSpec>>;

const ACTIONS: [&str; 17] = [
    "filter",
    "select",
    "with",
    "infer",
    "join",
    "union",
    "window",
    "durable",
    "deduplicate",
    "top",
    "feedback",
    "metrics",
    "explode",
    "limit",
    "sample",
    "group",
    "process",
];

/// Checks all steps in order; what they read is still open. Beside each step what its `from` says.
pub(super) fn steps(
    checker: &Checker,
    tables: Vec<Spanned<StepTable>>,
    models: &Models,
) -> Result<Vec<(StepDecl, Option<Spanned<String>>)>> {
    tables.into_iter().enumerate().map(|(place, table)| step(checker, place + 1, table, models)).collect()
}

fn step(
    checker: &Checker,
    number: usize,
    table: Spanned<StepTable>,
    models: &Models,
) -> Result<(StepDecl, Option<Spanned<String>>)> {
    let span = table.span();
    let table = table.into_inner();
    one_action(checker, number, &span, &table)?;
    let on_error = row_errors(checker, &table)?;
    let (given, from) = (given_uid(checker, &table)?, table.from);
    let mut uid = format!("step-{number}");
    let action = if let Some(sql) = table.filter {
        Action::Filter(sql, on_error)
    } else if let Some(columns) = table.select {
        Action::Select(some(checker, "select", &span, columns)?, on_error)
    } else if let Some(columns) = table.with {
        Action::With(some(checker, "with", &span, columns)?, on_error)
    } else if let Some(table) = table.infer {
        let (name, decl) = infer(checker, table.into_inner(), models)?;
        uid = name;
        Action::Infer(Box::new(decl))
    } else if let Some(table) = table.join {
        stream_join::join(checker, number, table)?
    } else if let Some(streams) = table.union {
        Action::Union(union(checker, streams, from.as_ref())?)
    } else if let Some(table) = table.window {
        Action::Window(window::check(checker, number, table)?)
    } else if let Some(table) = table.durable {
        Action::Durable(durable::check(checker, table.into_inner())?)
    } else if let Some(table) = table.deduplicate {
        Action::Deduplicate(keyed::deduplicate(checker, number, table.into_inner())?)
    } else if let Some(table) = table.top {
        Action::Top(keyed::top(checker, number, table.into_inner())?)
    } else if let Some(table) = table.feedback {
        Action::Feedback(feedback::feedback(checker, number, table.into_inner())?)
    } else if let Some(table) = table.metrics {
        Action::Metrics(feedback::metrics(checker, number, table.into_inner())?)
    } else if let Some(table) = table.explode {
        Action::Explode(rows::explode(checker, number, table.into_inner())?)
    } else if let Some(rows) = table.limit {
        Action::Limit(rows.into_inner())
    } else if let Some(table) = table.sample {
        Action::Sample(rows::sample(checker, number, table.get_ref())?)
    } else if let Some(table) = table.group {
        Action::Window(rows::group(checker, number, table.into_inner())?)
    } else if let Some(table) = table.process {
        Action::Process(process::process(checker, number, table.into_inner())?)
    } else {
        return Err(checker.error(span, format!("step {number} does nothing")));
    };
    let uid = named(checker, number, &span, given, uid, &action)?;
    Ok((StepDecl { number, uid, span, inputs: Vec::new(), action }, from))
}

/// The uid of a step, which a step that keeps state has to give: the state of one found by its place in the file would be
/// another's after a step is put before it.
fn named(
    checker: &Checker,
    number: usize,
    span: &Range<usize>,
    given: Option<String>,
    default: String,
    action: &Action,
) -> Result<String> {
    match given {
        None if action.keeps_state() => Err(checker
            .error(span.clone(), format!("step {number} keeps state and needs a uid"))
            .with_help("uid = \"NAME\": its state is found by this name when the job goes on from a checkpoint")),
        given => Ok(given.unwrap_or(default)),
    }
}

/// The uid beside the action; inside `infer` may stand another, so both is refused.
fn given_uid(checker: &Checker, table: &StepTable) -> Result<Option<String>> {
    let Some(uid) = &table.uid else { return Ok(None) };
    if table.infer.as_ref().is_some_and(|infer| infer.get_ref().uid.is_some()) {
        return Err(checker.error(uid.span(), "the step has a uid twice").with_help("remove the one beside infer"));
    }
    checker.name("uid", uid).map(Some)
}

fn union(
    checker: &Checker,
    streams: Spanned<Vec<Spanned<String>>>,
    from: Option<&Spanned<String>>,
) -> Result<Vec<Spanned<String>>> {
    if let Some(from) = from {
        let error = checker.error(from.span(), "from beside union says nothing");
        return Err(error.with_help(format!("union = [\"{}\", ...]", from.get_ref())));
    }
    let (span, streams) = (streams.span(), streams.into_inner());
    if streams.len() < 2 {
        let error = checker.error(span, "a union needs at least two streams");
        return Err(error.with_help("union = [\"UID\", \"UID\"], uids of sources or earlier steps"));
    }
    let twice = |(place, name): &(usize, &Spanned<String>)| {
        streams[..*place].iter().any(|other| other.get_ref() == name.get_ref())
    };
    match streams.iter().enumerate().find(twice) {
        Some((_, name)) => Err(checker.error(name.span(), format!("\"{}\" is in the union twice", name.get_ref()))),
        None => Ok(streams),
    }
}

fn one_action(checker: &Checker, number: usize, span: &Range<usize>, table: &StepTable) -> Result<()> {
    let named = named_actions(table);
    if named.len() == 1 {
        return Ok(());
    }
    let has = if named.is_empty() { "nothing to do".to_string() } else { named.join(" and ") };
    let error = checker.error(span.clone(), format!("step {number} has {has}"));
    Err(error.with_help(format!("a step has exactly one of {}", listed(ACTIONS))))
}

/// The actions that the table of a step has.
fn named_actions(table: &StepTable) -> Vec<&'static str> {
    let given = [
        table.filter.is_some(),
        table.select.is_some(),
        table.with.is_some(),
        table.infer.is_some(),
        table.join.is_some(),
        table.union.is_some(),
        table.window.is_some(),
        table.durable.is_some(),
        table.deduplicate.is_some(),
        table.top.is_some(),
        table.feedback.is_some(),
        table.metrics.is_some(),
        table.explode.is_some(),
        table.limit.is_some(),
        table.sample.is_some(),
        table.group.is_some(),
        table.process.is_some(),
    ];
    ACTIONS.into_iter().zip(given).filter(|(_, given)| *given).map(|(name, _)| name).collect()
}

fn row_errors(checker: &Checker, table: &StepTable) -> Result<OnError> {
    match &table.on_error {
        Some(given) if table.infer.is_some() => Err(checker
            .error(given.span(), "on_error beside infer says nothing")
            .with_help("write it inside: infer = { ..., on_error = \"...\" }")),
        Some(given) if table.join.is_some() => Err(checker
            .error(given.span(), "on_error beside join says nothing")
            .with_help("how says what happens to rows without a match")),
        Some(given) if table.filter.is_some() || table.select.is_some() || table.with.is_some() => Ok(*given.get_ref()),
        Some(given) => {
            let step = named_actions(table).concat();
            Err(checker.error(given.span(), format!("on_error beside {step} says nothing")).with_help("remove it"))
        }
        None => Ok(OnError::default()),
    }
}

fn some(
    checker: &Checker,
    key: &str,
    span: &Range<usize>,
    columns: Vec<Spanned<String>>,
) -> Result<Vec<Spanned<String>>> {
    if columns.is_empty() {
        return Err(checker.error(span.clone(), format!("{key} names no column")));
    }
    Ok(columns)
}

/// The model of that name.
pub(super) fn declared<'a>(checker: &Checker, model: &Spanned<String>, models: &'a Models) -> Result<&'a ModelSpec> {
    if let Some(found) = models.get(model.get_ref()) {
        return Ok(found.get_ref());
    }
    let message = format!("there is no model \"{}\"", model.get_ref());
    let names = models.keys().map(String::as_str);
    let help = match nearest(model.get_ref(), names.clone()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None if models.is_empty() => format!("declare it as [model.{}]", model.get_ref()),
        None => format!("declared: {}", listed(names)),
    };
    Err(checker.error(model.span(), message).with_help(help))
}

fn infer(checker: &Checker, table: InferTable, models: &Models) -> Result<(String, InferDecl)> {
    let model = &table.model;
    let asked = declared(checker, model, models)?;
    let (latency, parallelism) = (asked.latency, checker.parallelism(table.parallelism.as_ref())?);
    check_infer::together(checker, &table)?;
    if table.outputs.is_empty() {
        return Err(checker
            .error(model.span(), "infer takes no output of its model")
            .with_help("outputs = { OUTPUT = \"COLUMN\" }"));
    }
    let buckets = check_infer::buckets(checker, &table)?;
    let settings = InferSettings {
        batch_rows: table.batch_rows.get() as usize,
        batch_bytes: table.batch_bytes.0,
        linger: table.linger.0,
        limit: limit(table.in_flight, asked, parallelism),
        order: table.order,
        attempts: table.attempts.get(),
        timeout: match table.timeout {
            Some(timeout) => checker.positive("timeout", timeout)?,
            None => latency.map_or(defaults::TIMEOUT, |latency| latency.saturating_mul(defaults::TIMEOUT_LATENCIES)),
        },
        on_error: table.on_error,
        parallelism,
        weight: table.weight.get(),
        deadline: table.deadline.clone().map(|time| checker.positive("deadline", time)).transpose()?,
        batch_cost: table.batch_cost.as_ref().map(|cost| cost.get_ref().get()),
        buckets,
        close_on_watermark: table.close_on_watermark,
        fallback_after: table
            .fallback_after
            .clone()
            .map(|time| checker.positive("fallback_after", time))
            .transpose()?,
        ttl: table.ttl.clone().map(|time| checker.positive("ttl", time)).transpose()?,
    };
    let uid = checker.name("uid", table.uid.as_ref().unwrap_or(&table.model))?;
    let fallback = check_infer::ladder(checker, table.fallback, (table.model.get_ref(), parallelism), models)?;
    let decl = InferDecl {
        model: table.model,
        inputs: table.inputs,
        outputs: table.outputs,
        key: table.key.map(Spanned::into_inner).unwrap_or_default(),
        deadline_column: table.deadline_column,
        cost: table.cost,
        length: table.length,
        fallback,
        fallback_column: table.fallback_column,
        settings,
    };
    Ok((uid, decl))
}

/// How much each of `subtasks` asks of `model` at a time.
pub(super) fn limit(in_flight: Option<NonZeroU32>, model: &ModelSpec, subtasks: u16) -> Limit {
    let given = in_flight.map(|calls| calls.get() as usize);
    match (model.latency, given) {
        (Some(_), calls_max) => Limit::Follows { calls_max },
        (None, Some(calls)) => Limit::Fixed(calls),
        (None, None) if matches!(model.host, Host::Remote(_)) => Limit::Fixed(Limit::IN_FLIGHT),
        (None, None) => Limit::Pool { subtasks },
    }
}
