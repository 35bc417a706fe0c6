//! A job graph as text for people: tasks, edges, regions, where things run, what is promised, what a failure costs.
//!
//! Deterministic for a graph, so that it can be compared between two runs. It states only what the graph says; it
//! measures and estimates nothing.

mod keyed;
mod rows;

use std::fmt::{Result, Write};

use arrow::datatypes::{Field, Schema};
use forebay_core::on_error::OnError;
use forebay_core::time::EVENT_TIME;
use forebay_core::types::tensor::{FIXED_SHAPE_TENSOR, TensorType};
use forebay_core::types::{IMAGE, OBJECT_REF, extension_name};
use humantime::format_duration;

use crate::graph::{Edge, EdgeKind, Head, JobGraph, Step, StepAction, Task, WindowStep};
use crate::infer::{AnswersSpec, LadderSpec, RowSpec, RungSpec};
use crate::job_file::units::size_text;
use crate::remote::{FetchSpec, ProtocolSpec, RemoteSpec};
use crate::spec::{
    Changes, DurableSpec, FileTimes, Host, InferSpec, Limit, LookupJoinSpec, ModelSpec, PythonSpec, SinkFormat,
    SinkSpec, SourceSpec, StreamJoinSpec, WatermarkSpec, remembered,
};
use crate::window::{Emit, WindowShape};

/// The plan as `forebay plan` prints it.
pub fn explain(graph: &JobGraph) -> String {
    let mut out = String::new();
    write_graph(&mut out, graph).expect("writing to a string cannot fail");
    out
}

fn write_graph(out: &mut String, graph: &JobGraph) -> Result {
    let interval = format_duration(graph.checkpoint_interval);
    writeln!(out, "job {}: {} key groups, checkpoint every {interval}", graph.job, graph.key_groups)?;
    writeln!(out, "plan {}", graph.plan_hash)?;
    writeln!(out, "\ntasks")?;
    graph.tasks.iter().try_for_each(|task| write_task(out, task))?;
    writeln!(out, "\nedges")?;
    graph.edges.iter().try_for_each(|edge| write_edge(out, graph, edge))?;
    writeln!(out, "\nregions")?;
    for region in &graph.regions {
        writeln!(out, "  {}: {}", region.id, region.parts.join(", "))?;
    }
    write_models(out, graph)?;
    writeln!(out, "\nguarantees")?;
    for committer in &graph.committers {
        writeln!(out, "  {}: {}", committer.sink.uid, committer.guarantee)?;
        if committer.sink.format == SinkFormat::Blackhole {
            writeln!(out, "    every row is dropped, and counted again when it is read again")?;
            continue;
        }
        writeln!(
            out,
            "    {} files in {}, visible once their checkpoint is published",
            committer.sink.format, committer.sink.path
        )?;
    }
    write_failures(out, graph)
}

// === tasks ===

fn write_task(out: &mut String, task: &Task) -> Result {
    writeln!(out, "  {} x{}", task.id, task.parallelism)?;
    if let Head::Source(source, schema) = &task.head {
        write_source(out, source, schema)?;
    }
    task.steps.iter().try_for_each(|step| write_step(out, step))
}

fn write_source(out: &mut String, source: &SourceSpec, schema: &Schema) -> Result {
    let SourceSpec { uid, format, batch_rows, monitor_interval, watermark, .. } = source;
    let place = source.place();
    writeln!(out, "    {uid}: read {format} from {place}, batches of at most {batch_rows} rows")?;
    if let Some(interval) = monitor_interval {
        writeln!(out, "      looks for new files every {}, and never ends by itself", format_duration(*interval))?;
    }
    if let Some(watermark) = watermark {
        write_watermark(out, watermark, source.nexmark.is_none())?;
    }
    writeln!(out, "      -> {}", columns(schema))
}

fn write_watermark(out: &mut String, watermark: &WatermarkSpec, of_files: bool) -> Result {
    let WatermarkSpec { time, out_of_order, files, idle, max_drift } = watermark;
    write!(out, "      event time {time}, rows at most {} out of order", format_duration(*out_of_order))?;
    match files {
        FileTimes::AnyOrder if of_files => write!(out, ", no watermark before every file is begun")?,
        FileTimes::InOrder if of_files => write!(out, ", files in order of time")?,
        FileTimes::AnyOrder | FileTimes::InOrder => {}
    }
    if let Some(idle) = idle {
        write!(out, ", a reader is idle after {}", format_duration(*idle))?;
    }
    if let Some(drift) = max_drift {
        write!(out, ", no reader more than {} ahead", format_duration(*drift))?;
    }
    writeln!(out)
}

fn write_step(out: &mut String, step: &Step) -> Result {
    let uid = &step.uid;
    match &step.action {
        StepAction::Filter { text, .. } => return writeln!(out, "    {uid}: keep rows where {text}"),
        StepAction::Project { columns, .. } => {
            let shown: Vec<&str> = columns.iter().map(|column| column.text.as_str()).collect();
            writeln!(out, "    {uid}: columns {}", shown.join(", "))?;
        }
        StepAction::Call(call) => {
            writeln!(out, "    {uid}: call {}", call.text)?;
            writeln!(out, "      runs in the engine; a bad row {}", bad_row(call.on_error))?;
        }
        StepAction::Infer(infer) => write_infer(out, uid, infer, step.input())?,
        StepAction::LookupJoin(join) => write_join(out, uid, join, step.input())?,
        StepAction::StreamJoin(join) => write_stream_join(out, uid, join)?,
        StepAction::Union { streams } => writeln!(out, "    {uid}: the rows of {}", streams.join(" and "))?,
        StepAction::Window(window) => write_window(out, uid, window, step.input())?,
        StepAction::Durable(durable) => {
            let DurableSpec { mode, quota, .. } = durable;
            writeln!(
                out,
                "    {uid}: read what the region in front wrote, {mode}, at most {} waiting",
                size_text(*quota)
            )?;
        }
        StepAction::Deduplicate(spec) => keyed::write_deduplicate(out, uid, spec, step.input())?,
        StepAction::Top(spec) => keyed::write_top(out, uid, spec, step.input())?,
        StepAction::Feedback(spec) => keyed::write_feedback(out, uid, spec)?,
        StepAction::Metrics(spec) => keyed::write_metrics(out, uid, spec)?,
        StepAction::Explode(spec) => rows::write_explode(out, uid, spec, step.input())?,
        StepAction::Limit(spec) => rows::write_limit(out, uid, spec)?,
        StepAction::Sample(spec) => {
            writeln!(
                out,
                "    {uid}: keep {} of the rows, by the hash of their ids, seed {}",
                spec.ratio(),
                spec.seed
            )?;
        }
        StepAction::Process(spec) => keyed::write_process(out, uid, spec, step.input())?,
        StepAction::Sink(sink) => return write_sink(out, uid, sink),
    }
    let updates = if step.changes == Changes::Updates { "updates of " } else { "" };
    writeln!(out, "      -> {updates}{}", columns(&step.output))?;
    for side in &step.sides {
        writeln!(out, "      {uid}.{} -> {}", side.name, columns(&side.schema))?;
    }
    Ok(())
}

fn write_infer(out: &mut String, uid: &str, infer: &InferSpec, input: &Schema) -> Result {
    let wired = |(name, place): &(String, usize)| format!("{name} = {}", input.field(*place).name());
    let inputs: Vec<String> = infer.inputs.iter().map(wired).collect();
    let outputs: Vec<String> = infer.outputs.iter().map(|(name, column)| format!("{name} AS {column}")).collect();
    writeln!(out, "    {uid}: ask {}({}) for {}", infer.model, inputs.join(", "), outputs.join(", "))?;
    writeln!(
        out,
        "      request batches of at most {} rows or {}, linger {}, {}, {}",
        infer.batch_rows,
        size_text(infer.batch_bytes),
        format_duration(infer.linger),
        limit(infer.limit),
        infer.order,
    )?;
    write_rows(out, &infer.rows, input)?;
    if let Some(AnswersSpec { ttl, .. }) = &infer.answers {
        let kept = ttl.map_or("for good".to_string(), |ttl| format!("for {}", format_duration(ttl)));
        writeln!(out, "      answers are kept {kept}, by content, for the rows that take them back")?;
    }
    let (attempts, timeout) = (infer.attempts, format_duration(infer.timeout));
    write!(out, "      at most {attempts} tries of {timeout} for each row; then ")?;
    let LadderSpec { rungs, after, .. } = &infer.ladder;
    for rung in rungs {
        match rung {
            RungSpec::Model { model, .. } => write!(out, "{model} is asked; then ")?,
            RungSpec::Computed { name, .. } => write!(out, "{name}; then ")?,
        }
    }
    writeln!(out, "the row {}", bad_row(infer.on_error))?;
    match after {
        Some(after) => {
            writeln!(out, "      also after {} in which the model refuses everything", format_duration(*after))
        }
        None => Ok(()),
    }
}

fn write_rows(out: &mut String, rows: &RowSpec, input: &Schema) -> Result {
    let column = |place: &usize| input.field(*place).name().as_str();
    if !rows.key.is_empty() {
        let key: Vec<&str> = rows.key.iter().map(column).collect();
        writeln!(out, "      key {}", key.join(", "))?;
    }
    if let Some(cost) = &rows.cost {
        let most = rows.batch_cost.map(|most| format!(", at most {most} a request batch")).unwrap_or_default();
        writeln!(out, "      cost {cost}{most}")?;
    }
    if let Some(length) = &rows.length {
        let up_to: Vec<String> = rows.buckets.iter().map(u64::to_string).collect();
        let buckets = if up_to.is_empty() { "powers of two".to_string() } else { up_to.join(", ") };
        writeln!(out, "      length {length} in buckets up to {buckets}")?;
    }
    let after = rows.deadline.map(|deadline| format!("{} after arrival", format_duration(deadline)));
    let by: Vec<String> =
        after.into_iter().chain(rows.deadline_column.iter().map(|place| column(place).into())).collect();
    if !by.is_empty() {
        writeln!(out, "      deadline {}", by.join(" or "))?;
    }
    if rows.close_on_watermark {
        writeln!(out, "      a watermark closes the request batches that it waits for")?;
    }
    Ok(())
}

fn write_join(out: &mut String, uid: &str, join: &LookupJoinSpec, input: &Schema) -> Result {
    let key = |(left, right): &(usize, usize)| {
        format!("{} = {}", input.field(*left).name(), join.table_schema.field(*right).name())
    };
    let keys: Vec<String> = join.on.iter().map(key).collect();
    let table = &join.table;
    writeln!(out, "    {uid}: {} join with {} {} on {}", join.how, table.format, table.path, keys.join(" and "))
}

fn write_window(out: &mut String, uid: &str, window: &WindowStep, input: &Schema) -> Result {
    let spec = &window.spec;
    let keys: Vec<&str> = spec.keys.iter().map(|place| input.field(*place).name().as_str()).collect();
    let by =
        if keys.is_empty() { "of all rows, in one subtask".to_string() } else { format!("by {}", keys.join(", ")) };
    let aggregates: Vec<&str> = window.aggregates.iter().map(|aggregate| aggregate.text.as_str()).collect();
    writeln!(out, "    {uid}: {} {by}: {}", spec.shape, aggregates.join(", "))?;
    match spec.emit {
        Emit::End if spec.shape == WindowShape::Whole => {
            return writeln!(out, "      results come when the input has ended");
        }
        Emit::Changes => {
            let forgotten = remembered(spec.ttl.map(|(_, ttl)| ttl));
            return writeln!(out, "      results come as they change{forgotten}");
        }
        Emit::End => {}
    }
    match spec.allowed_lateness {
        lateness if lateness.is_zero() => {
            writeln!(out, "      rows behind the watermark of all their windows are late")
        }
        lateness => {
            let lateness = format_duration(lateness);
            writeln!(out, "      rows up to {lateness} behind the watermark change results, later ones are late")
        }
    }
}

fn write_stream_join(out: &mut String, uid: &str, join: &StreamJoinSpec) -> Result {
    let [left, right] = &join.inputs;
    let key = |(own, other): &(usize, usize)| format!("{} = {}", left.field(*own).name(), right.field(*other).name());
    let keys: Vec<String> = join.on.iter().map(key).collect();
    writeln!(out, "    {uid}: {} join with {} on {}, {}", join.how, join.stream, keys.join(" and "), join.kind)
}

fn write_sink(out: &mut String, uid: &str, sink: &SinkSpec) -> Result {
    if sink.format == SinkFormat::Blackhole {
        return writeln!(out, "    {uid}: drop every row");
    }
    write!(out, "    {uid}: write {} to {}, files of about {}", sink.format, sink.path, size_text(sink.file_bytes))?;
    match &sink.kinds {
        Some(kinds) => writeln!(out, ", what each row does in {kinds}"),
        None => writeln!(out),
    }
}

// === edges ===

fn write_edge(out: &mut String, graph: &JobGraph, edge: &Edge) -> Result {
    let side = graph.task(&edge.from).and_then(|task| task.side(edge.from_port));
    let side = side.map(|side| format!(".{}", side.name)).unwrap_or_default();
    let port = if edge.to_port > 0 { format!(" input {}", edge.to_port) } else { String::new() };
    write!(out, "  {}{side} -> {}{port}: ", edge.from, edge.to)?;
    match &edge.kind {
        EdgeKind::Forward => writeln!(out, "forward"),
        EdgeKind::Exchange => writeln!(out, "exchange by key group"),
        EdgeKind::Keyed(columns) => {
            let schema = graph.task(&edge.to).and_then(|task| task.inputs().get(usize::from(edge.to_port)));
            let name = |place: &usize| schema.map_or("", |schema| schema.field(*place).name().as_str());
            match columns.as_slice() {
                [] => writeln!(out, "all rows to one subtask"),
                columns => {
                    writeln!(out, "exchange by {}", columns.iter().map(name).collect::<Vec<_>>().join(", "))
                }
            }
        }
        EdgeKind::Logged => writeln!(out, "durable, through a log by key group"),
        EdgeKind::Call => writeln!(out, "call"),
        EdgeKind::Durable => writeln!(out, "durable, through the checkpoint"),
    }
}

// === models, failures ===

fn write_models(out: &mut String, graph: &JobGraph) -> Result {
    if graph.models.is_empty() {
        return Ok(());
    }
    writeln!(out, "\nmodels")?;
    for model in graph.models.values() {
        let ModelSpec { host, replicas, .. } = &model.spec;
        let copies = if *replicas == 1 { "1 child process".to_string() } else { format!("{replicas} child processes") };
        match host {
            Host::Onnx { path } => writeln!(out, "  {}: onnx {path}, in {copies}", model.id)?,
            Host::Python(python) => {
                let threads = if *replicas == 1 { "1 thread".to_string() } else { format!("{replicas} threads") };
                let here = format!("{threads} of the interpreter that runs the job, or else {copies}");
                let copies = if python.use_process { copies } else { here };
                writeln!(out, "  {}: python {}, in {copies}", model.id, python.code)?;
                write_gpus(out, python)?;
            }
            Host::Fake(fake) => {
                writeln!(
                    out,
                    "  {}: fake, {} a request batch, in {copies}",
                    model.id,
                    format_duration(fake.service_time)
                )?;
            }
            Host::Remote(_) => {}
        }
        if let Host::Remote(remote) = host {
            write_remote(out, &model.id, remote)?;
        }
        if let Some(latency) = model.spec.latency {
            writeln!(
                out,
                "    as many requests in flight as it answers within {}, 99 in 100",
                format_duration(latency)
            )?;
        }
        write_limits(out, &model.spec)?;
        writeln!(out, "    journal {}", journal(&model.spec))?;
    }
    Ok(())
}

/// Whether a failure of the model ends its job, where that runs in an interpreter.
fn in_threads(model: &ModelSpec) -> bool {
    matches!(&model.host, Host::Python(python) if !python.use_process)
}

fn write_gpus(out: &mut String, python: &PythonSpec) -> Result {
    let part = python.gpu_thousandths.map(|part| format!("{} GPU", f64::from(part) / 1000.0));
    let memory = python.gpu_memory_bytes.map(|bytes| format!("{} of GPU memory", size_text(bytes)));
    let needed: Vec<String> = part.into_iter().chain(memory).collect();
    if needed.is_empty() { Ok(()) } else { writeln!(out, "    each process needs {}", needed.join(" and ")) }
}

fn write_remote(out: &mut String, id: &str, remote: &RemoteSpec) -> Result {
    let protocol = match &remote.protocol {
        ProtocolSpec::OpenInference(_) => "an Open Inference server",
        ProtocolSpec::OpenAi(_) => "an OpenAI-compatible server",
        ProtocolSpec::HttpJson(_) => "a JSON service",
        ProtocolSpec::Fetch(FetchSpec { private_hosts }) => {
            writeln!(out, "  {id}: fetches what the url of each row names, at public addresses only")?;
            if !private_hosts.is_empty() {
                writeln!(out, "    and at {}, public or not", private_hosts.join(", "))?;
            }
            return Ok(());
        }
    };
    writeln!(out, "  {id}: {} of {protocol} at {}", remote.model, remote.urls.join(", "))
}

fn write_limits(out: &mut String, model: &ModelSpec) -> Result {
    let limits = &model.limits;
    let said = [
        limits.requests_per_second.map(|rate| format!("{} requests a second", rate.value())),
        limits.rows_per_second.map(|rate| format!("{} rows a second", rate.value())),
        limits.tokens_per_minute.map(|tokens| format!("{tokens} tokens a minute")),
        limits.in_flight_bytes.map(|bytes| format!("{} in flight", size_text(bytes))),
        limits.in_flight_tokens.map(|tokens| format!("{tokens} tokens in flight")),
    ];
    let said: Vec<String> = said.into_iter().flatten().collect();
    if !said.is_empty() {
        writeln!(out, "    at most {}, whoever asks", said.join(", "))?;
    }
    if let Some(hedge) = model.hedge {
        let after = hedge.after.map_or("the 95th percentile".to_string(), |after| format_duration(after).to_string());
        let share = hedge.budget.value() * 100.0;
        writeln!(out, "    a second copy on another replica after {after}, of at most {share} in 100 requests")?;
    }
    Ok(())
}

fn limit(limit: Limit) -> String {
    match limit {
        Limit::Fixed(calls) => format!("at most {calls} in flight for each subtask"),
        Limit::Pool { .. } => {
            let (calls, each) = (Limit::IN_FLIGHT, Limit::IN_FLIGHT_OF_REPLICA);
            format!("at most {calls} in flight for each subtask or {each} for each replica")
        }
        Limit::Follows { calls_max: None } => "in flight as the model allows".to_string(),
        Limit::Follows { calls_max: Some(calls) } => format!("in flight as the model allows, at most {calls}"),
    }
}

fn journal(model: &ModelSpec) -> &'static str {
    if model.journal {
        "on: an answer is stored before it is used and never asked for twice"
    } else {
        "off: after a restart, answers since the latest checkpoint are asked for again"
    }
}

fn write_failures(out: &mut String, graph: &JobGraph) -> Result {
    let interval = format_duration(graph.checkpoint_interval);
    writeln!(out, "\nwhat a failure costs")?;
    for region in &graph.regions {
        if graph.task(&region.parts[0]).is_some() {
            writeln!(
                out,
                "  {} or the engine: back to its latest checkpoint; about {interval} of reading and computing is repeated",
                region.id
            )?;
        } else {
            writeln!(out, "  {}: the commit is repeated, to no further effect", region.id)?;
        }
    }
    for model in graph.models.values() {
        if in_threads(&model.spec) {
            writeln!(
                out,
                "  the process that {} runs in: the job, which goes on from its latest checkpoint",
                model.id
            )?;
            continue;
        }
        writeln!(
            out,
            "  a child process of {}: its request batches in flight are sent again; no task restarts",
            model.id
        )?;
    }
    let fails = graph.tasks.iter().flat_map(|task| &task.steps).any(|step| match &step.action {
        StepAction::Call(call) => call.on_error == OnError::Fail,
        StepAction::Infer(infer) => infer.on_error == OnError::Fail,
        _ => false,
    });
    let rest = if fails { ", or stops the job where a step says so" } else { "" };
    writeln!(out, "  a bad row: itself{rest}; rows of dead letters are in {}", graph.dead_letters.path)
}

// === words ===

fn bad_row(on_error: OnError) -> &'static str {
    match on_error {
        OnError::DeadLetter => "goes to the dead letters",
        OnError::Fail => "fails the job",
        OnError::Null => "becomes null",
    }
}

fn columns(schema: &Schema) -> String {
    let shown: Vec<String> = schema.fields().iter().map(|field| column(field)).collect();
    shown.join(", ")
}

/// A column with its type: extension types by name, `?` where null can be.
fn column(field: &Field) -> String {
    let kind = match (extension_name(field), TensorType::of(field)) {
        (Some(FIXED_SHAPE_TENSOR), Some(tensor)) => format!("Tensor({} {:?})", tensor.value, tensor.shape),
        (Some(IMAGE), _) => "Image".to_string(),
        (Some(OBJECT_REF), _) => "ObjectRef".to_string(),
        _ => field.data_type().to_string(),
    };
    let null = if field.is_nullable() { "?" } else { "" };
    let time = if field.metadata().contains_key(EVENT_TIME) { " (event time)" } else { "" };
    format!("{} {kind}{null}{time}", field.name())
}
