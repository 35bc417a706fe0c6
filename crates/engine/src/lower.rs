//! Turns a region of a job graph into what an attempt runs: operators, readers, writers, and the committers of its sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use forebay_connectors::files::{Feed, ReaderSettings, reader};
use forebay_connectors::sinks::files::FileSink;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::Operator;
use forebay_core::sink::Committer;
use forebay_core::source::{Reader, Split};
use forebay_core::{Error, Kind, Result, dead_letter};
use forebay_gate::batcher::BatcherSettings;
use forebay_operators::call::Call;
use forebay_operators::explode::Explode;
use forebay_operators::filter::Filter;
use forebay_operators::inference::answer::AnswerColumns;
use forebay_operators::inference::table::Order;
use forebay_operators::inference::{Inference, InferenceSettings};
use forebay_operators::kinds::Kinds;
use forebay_operators::limit::Limit;
use forebay_operators::lookup_join::{JoinKind, LookupJoin};
use forebay_operators::project::Project;
use forebay_operators::sample::Sample;
use forebay_operators::stateless::Stateless;
use forebay_operators::union::Union;
use forebay_operators::window::Window;
use forebay_plan::graph::{Edge, EdgeKind, Head, JobGraph, Step, StepAction, Task};
use forebay_plan::infer::RungSpec;
use forebay_plan::spec::{
    self, DurableSpec, FileTimes, InferSpec, JoinHow, LookupJoinSpec, SampleSpec, SinkSpec, SourceSpec, WatermarkSpec,
};
use forebay_runtime::build::{EdgeSpec, EdgeWay, MakeOperator, MakeReader, SourceSpec as ReadSpec, TaskSpec};
use forebay_runtime::planted::RuntimeBug;
use forebay_runtime::time::{Alignment, Splits, TimeSettings, TimedReader};
use forebay_state::checkpoint::Committers;
use forebay_state::edge::{EdgeLog, EdgeReader, EdgeWriter, by_row};
use forebay_state::keyed::StateSettings;

use crate::components::Components;
use crate::edges::{reader_uid, writer_uid};
use crate::feedback::{feedback, metrics};
use crate::infer::{self, MakeRung};
use crate::keyed::{deduplicate, top};
use crate::limits::Limits;
use crate::model::ServiceModel;
use crate::nexmark;
use crate::outside::{Outside, Planted};
use crate::prepare::{files, source_format};
use crate::process::process;
use crate::sink::{Sink, files_sink};
use crate::stream_join::stream_join;

/// What the parts of a job share while they are made.
pub struct Parts {
    /// Model services by model name.
    pub models: BTreeMap<String, ServiceModel>,
    /// Revisions by model name.
    pub revisions: BTreeMap<String, String>,
    /// Lookup tables by step uid.
    pub tables: BTreeMap<String, RecordBatch>,
    /// Splits of each source, by its uid.
    pub splits: BTreeMap<String, Vec<Split>>,
    /// Where more splits come from, by uid of the monitored sources.
    pub feeds: BTreeMap<String, Feed>,
    /// Logs of the durable edges that the region reads and writes, by uid.
    pub logs: BTreeMap<String, EdgeLog>,
    /// Bounds of each step's keyed state.
    pub state: StateSettings,
    /// What the program that runs the job adds.
    pub components: Components,
}

/// The sinks of a region, opened and checked.
pub struct Sinks {
    by_uid: BTreeMap<String, Sink>,
    dead_letters: FileSink,
    dead_letters_uid: String,
}

// === impl Sinks ===

impl Sinks {
    /// Opens every sink of the region of `graph` at `region`. Dead letters of regions after the first have folders of their
    /// own, because their checkpoints are numbered apart.
    ///
    /// # Errors
    /// `Invalid` for a column that a format cannot hold or a location that cannot be opened.
    pub fn open(graph: &JobGraph, region: usize, outside: &dyn Outside) -> Result<Self> {
        let mut by_uid = BTreeMap::new();
        for step in tasks_of(graph, region).flat_map(|task| &task.steps) {
            if let StepAction::Sink(spec) = &step.action {
                by_uid.insert(spec.uid.clone(), Sink::open(spec, &step.output, outside)?);
            }
        }
        let mut letters = graph.dead_letters.clone();
        if region > 0 {
            letters.path = format!("{}/r{}", letters.path.trim_end_matches('/'), region + 1);
        }
        let dead_letters = files_sink(&letters, &dead_letter::schema(), outside)?;
        Ok(Self { by_uid, dead_letters, dead_letters_uid: letters.uid })
    }

    /// The committers by sink uid.
    pub fn committers(&self) -> Committers {
        let main = self.by_uid.iter().map(|(uid, sink)| (uid.clone(), sink.committer()));
        let letters: Arc<dyn Committer> = Arc::new(self.dead_letters.committer());
        main.chain([(self.dead_letters_uid.clone(), letters)]).collect()
    }

    /// Committer of each writer: every task has its own writer of dead letters, and they share one committer.
    pub fn committer_of(&self, graph: &JobGraph) -> BTreeMap<String, String> {
        graph.tasks.iter().map(|task| (self.letters_uid(task), self.dead_letters_uid.clone())).collect()
    }

    /// Refuses output folders that hold another job's output, before a job starts from nothing.
    ///
    /// # Errors
    /// `Invalid`, naming the folder.
    pub async fn check_fresh(&self) -> Result<()> {
        for sink in self.by_uid.values().filter_map(Sink::files).chain([&self.dead_letters]) {
            sink.committer().check_fresh().await?;
        }
        Ok(())
    }

    fn letters_uid(&self, task: &Task) -> String {
        format!("{}/{}", self.dead_letters_uid, task.id)
    }
}

/// The tasks of the region of `graph` at `region`, in order.
pub fn tasks_of(graph: &JobGraph, region: usize) -> impl Iterator<Item = &Task> {
    let parts = graph.task_regions().nth(region).map(|region| region.parts.as_slice()).unwrap_or_default();
    graph.tasks.iter().filter(move |task| parts.contains(&task.id))
}

/// The sources of a region.
pub fn sources(graph: &JobGraph, region: usize) -> impl Iterator<Item = &SourceSpec> {
    tasks_of(graph, region).filter_map(|task| match &task.head {
        Head::Source(source, _) => Some(source.as_ref()),
        Head::Edges(_) => None,
    })
}

/// A region and what its parts are made of.
pub(crate) struct Lowering<'a> {
    /// The job.
    pub graph: &'a JobGraph,
    /// Which region of it.
    pub region: usize,
    /// What the parts share.
    pub parts: &'a Parts,
    /// Its sinks.
    pub sinks: &'a Sinks,
    /// What the job touches.
    pub outside: &'a dyn Outside,
}

// === impl Lowering ===

impl Lowering<'_> {
    /// The edges between its tasks, by place, and those to the writers of durable edges, which stand behind them.
    ///
    /// # Errors
    /// `Invalid` for a column that cannot be a key.
    pub fn edges(&self) -> Result<Vec<EdgeSpec>> {
        let tasks: Vec<&str> = tasks_of(self.graph, self.region).map(|task| task.id.as_str()).collect();
        let place = |id: &str| tasks.iter().position(|task| *task == id);
        let inside = |edge: &&Edge| edge.kind.is_pipelined();
        let mut edges = Vec::new();
        for edge in self.graph.edges.iter().filter(inside) {
            let (Some(from), Some(to)) = (place(&edge.from), place(&edge.to)) else { continue };
            let way = match &edge.kind {
                EdgeKind::Keyed(columns) => EdgeWay::ByKey(KeyColumns::new(columns.clone(), input(self.graph, edge)?)?),
                EdgeKind::Exchange => EdgeWay::ByRow,
                EdgeKind::Forward | EdgeKind::Logged | EdgeKind::Call | EdgeKind::Durable => EdgeWay::Forward,
            };
            edges.push(EdgeSpec { from, from_port: edge.from_port, to, to_port: edge.to_port, way });
        }
        for (number, (edge, _)) in self.written().enumerate() {
            let from = place(&edge.from).ok_or_else(|| missing("task", &edge.from))?;
            // Each key group of the log has one writer.
            let (to, way) = (tasks.len() + number, EdgeWay::ByRow);
            edges.push(EdgeSpec { from, from_port: edge.from_port, to, to_port: 0, way });
        }
        Ok(edges)
    }

    /// Its tasks as an attempt runs them, and one more for each durable edge that it writes. `alignment` keeps sources
    /// together.
    ///
    /// # Errors
    /// `Invalid` for what only shows now: a reader's schema, a lookup key twice in its table.
    pub fn tasks(&self, alignment: &Alignment) -> Result<Vec<TaskSpec>> {
        let Self { graph, parts, sinks, outside, .. } = *self;
        let (planted, limits) = (outside.planted(), Limits::of(graph));
        let maker = Maker { graph, parts, sinks, outside, planted, alignment: alignment.clone(), limits };
        let tasks = tasks_of(graph, self.region).map(|task| maker.task(task));
        tasks.chain(self.written().map(|(edge, durable)| maker.edge_writer(edge, durable))).collect()
    }

    /// The durable edges that leave it.
    fn written(&self) -> impl Iterator<Item = (&Edge, &DurableSpec)> {
        let leaves = |edge: &&Edge| tasks_of(self.graph, self.region).any(|task| task.id == edge.from);
        let logged = self.graph.edges.iter().filter(|edge| edge.kind == EdgeKind::Logged).filter(leaves);
        logged.filter_map(|edge| Some((edge, self.graph.task(&edge.to)?.durable()?)))
    }
}

/// The rows that cross `edge`.
fn input<'a>(graph: &'a JobGraph, edge: &Edge) -> Result<&'a SchemaRef> {
    let schema = graph.task(&edge.to).and_then(|task| task.inputs().get(usize::from(edge.to_port)));
    schema.ok_or_else(|| missing("input of task", &edge.to))
}

struct Maker<'a> {
    graph: &'a JobGraph,
    parts: &'a Parts,
    sinks: &'a Sinks,
    outside: &'a dyn Outside,
    planted: Planted,
    alignment: Alignment,
    limits: Limits,
}

// === impl Maker ===

impl Maker<'_> {
    fn task(&self, task: &Task) -> Result<TaskSpec> {
        let source = match &task.head {
            Head::Source(source, schema) => Some(self.reader(task, source, schema)?),
            Head::Edges(_) => task.durable().map(|durable| self.edge_reader(durable)).transpose()?,
        };
        let mut operators = Vec::new();
        for step in task.steps.iter().filter(|step| !matches!(step.action, StepAction::Durable(_))) {
            if let StepAction::Sink(SinkSpec { kinds: Some(_), .. }) = &step.action {
                operators.push((format!("{}.kinds", step.uid), kinds(&step.output)));
            }
            let operator = self.operator(step)?;
            let is_first = operators.is_empty();
            let operator = if is_first { self.limits.dropping(self.graph, task, operator) } else { operator };
            operators.push((step.uid.clone(), operator));
        }
        let letters = self.sinks.dead_letters.clone().with_label(&task.id);
        Ok(TaskSpec {
            name: task.id.clone(),
            parallelism: task.parallelism,
            source,
            operators,
            dead_letters: Some((
                self.sinks.letters_uid(task),
                Box::new(move |_| Ok(Box::new(letters.writer()) as Box<dyn Operator>)),
            )),
            ends_in_sink: matches!(task.steps.last().map(|step| &step.action), Some(StepAction::Sink(_))),
            is_aligned: self.graph.needs_order(task),
        })
    }

    fn edge_writer(&self, edge: &Edge, durable: &DurableSpec) -> Result<TaskSpec> {
        let from = self.graph.task(&edge.from).ok_or_else(|| missing("task", &edge.from))?;
        let log = self.log(durable)?;
        let make: MakeOperator = Box::new(move |_| Ok(Box::new(EdgeWriter::new(&log, by_row())) as Box<dyn Operator>));
        Ok(TaskSpec {
            name: writer_uid(&durable.uid),
            parallelism: from.parallelism,
            source: None,
            operators: vec![(writer_uid(&durable.uid), make)],
            dead_letters: None,
            ends_in_sink: false,
            is_aligned: false,
        })
    }

    fn edge_reader(&self, durable: &DurableSpec) -> Result<ReadSpec> {
        let log = self.log(durable)?;
        let make: MakeReader = Box::new(move |_| Ok(Box::new(EdgeReader::new(&log)) as Box<dyn Reader>));
        Ok(ReadSpec { uid: reader_uid(&durable.uid), reader: make, splits: Vec::new(), is_input: false })
    }

    fn log(&self, durable: &DurableSpec) -> Result<EdgeLog> {
        self.parts.logs.get(&durable.uid).cloned().ok_or_else(|| missing("durable edge", &durable.uid))
    }

    fn reader(&self, task: &Task, source: &SourceSpec, schema: &SchemaRef) -> Result<ReadSpec> {
        let mut make = match &source.nexmark {
            Some(made) => nexmark::readers(source, made, schema),
            None => self.file_reader(source, schema)?,
        };
        // Within the watermarks, which let go of other sources at the end.
        make = self.limits.ending(self.graph, task, make);
        if let Some(watermark) = &source.watermark {
            let splits = match (&source.nexmark, watermark.files) {
                (Some(_), _) => Splits::Merged,
                (None, FileTimes::AnyOrder) => Splits::AnyOrder,
                (None, FileTimes::InOrder) => Splits::InOrder,
            };
            make = with_watermarks(make, watermark, splits, schema, &self.alignment, self.planted.runtime)?;
        }
        let splits = self.parts.splits.get(&source.uid).cloned().ok_or_else(|| missing("splits", &source.uid))?;
        Ok(ReadSpec { uid: source.uid.clone(), reader: make, splits, is_input: true })
    }

    fn file_reader(&self, source: &SourceSpec, schema: &SchemaRef) -> Result<MakeReader> {
        let (store, _) = files(self.outside, &source.path)?;
        let settings = ReaderSettings { batch_rows: Some(source.batch_rows), ..ReaderSettings::default() };
        let (format, rows) = (source_format(source.format)?, Arc::clone(schema));
        let feed = self.parts.feeds.get(&source.uid).cloned();
        Ok(Box::new(move |_| {
            let reader = reader(format, Arc::clone(&store), Arc::clone(&rows), settings.clone())?;
            Ok(Box::new(match &feed {
                Some(feed) => reader.following(feed.clone()),
                None => reader,
            }) as Box<dyn Reader>)
        }))
    }

    fn operator(&self, step: &Step) -> Result<MakeOperator> {
        let output = Arc::clone(&step.output);
        match &step.action {
            StepAction::Filter { predicate, on_error, .. } => {
                let (predicate, on_error) = (Arc::clone(predicate), *on_error);
                Ok(Box::new(move |_| Ok(Box::new(Stateless::new(Filter::new(Arc::clone(&predicate), on_error))))))
            }
            StepAction::Project { columns, on_error } => {
                let on_error = *on_error;
                let expressions: Vec<_> = columns.iter().map(|column| Arc::clone(&column.expr)).collect();
                Ok(Box::new(move |_| {
                    Ok(Box::new(Stateless::new(Project::new(expressions.clone(), Arc::clone(&output), on_error))))
                }))
            }
            StepAction::Call(call) => {
                let (function, arguments) = (Arc::clone(&call.function), call.arguments.clone());
                let on_error = call.on_error;
                Ok(Box::new(move |_| {
                    let call = Call::new(Arc::clone(&function), arguments.clone(), Arc::clone(&output), on_error);
                    Ok(Box::new(Stateless::new(call)))
                }))
            }
            StepAction::Infer(infer) => self.inference(infer, step),
            StepAction::LookupJoin(join) => self.lookup_join(join, step),
            StepAction::StreamJoin(join) => stream_join(join, step, &self.parts.state, &self.planted),
            StepAction::Union { streams } => {
                let streams = streams.clone();
                Ok(Box::new(move |_| Ok(Box::new(Union::new(&streams, Arc::clone(&output))))))
            }
            StepAction::Window(step_of) => {
                let settings = crate::window::settings(step_of, step, &self.parts.state, self.planted.window)?;
                Ok(Box::new(move |_| Ok(Box::new(Window::new(settings.clone())))))
            }
            StepAction::Durable(durable) => Err(missing("operator of durable edge", &durable.uid)),
            StepAction::Deduplicate(spec) => deduplicate(spec, step, &self.parts.state, self.planted.deduplicate),
            StepAction::Top(spec) => top(spec, step, &self.parts.state, self.planted.top),
            StepAction::Feedback(spec) => feedback(spec, step, &self.parts.state, self.planted.feedback),
            StepAction::Metrics(spec) => metrics(spec, step, &self.parts.state, self.planted.metrics),
            StepAction::Explode(spec) => {
                let spec = spec.clone();
                Ok(Box::new(move |_| {
                    let explode = Explode::new(spec.columns.clone(), spec.ignore_empty_and_null, Arc::clone(&output));
                    Ok(Box::new(explode))
                }))
            }
            StepAction::Limit(spec) => {
                let (rows, full, bug) = (spec.rows, self.limits.full(&step.uid), self.planted.limit);
                Ok(Box::new(move |_| Ok(Box::new(Limit::new(rows, full.clone()).with_bug(bug)))))
            }
            StepAction::Sample(spec) => {
                let SampleSpec { hash_max, seed } = *spec;
                let bug = self.planted.sample;
                Ok(Box::new(move |_| Ok(Box::new(Stateless::new(Sample::new(hash_max, seed).with_bug(bug))))))
            }
            StepAction::Process(spec) => {
                process(spec, step, &self.parts.state, &self.parts.components, self.planted.process)
            }
            StepAction::Sink(sink) => {
                let sink = self.sinks.by_uid.get(&sink.uid).cloned().ok_or_else(|| missing("sink", &sink.uid))?;
                Ok(Box::new(move |_| Ok(sink.writer())))
            }
        }
    }

    fn lookup_join(&self, join: &LookupJoinSpec, step: &Step) -> Result<MakeOperator> {
        let table = self.parts.tables.get(&step.uid).cloned().ok_or_else(|| missing("lookup table", &step.uid))?;
        let (join, output) = (join.clone(), Arc::clone(&step.output));
        let make = move || {
            let (stream, keys) = join.on.iter().copied().unzip();
            let kind = match join.how {
                JoinHow::Left => JoinKind::Left,
                JoinHow::Inner => JoinKind::Inner,
            };
            LookupJoin::new(table.clone(), stream, keys, join.take.clone(), kind, Arc::clone(&output))
        };
        make()?;
        Ok(Box::new(move |_| Ok(Box::new(Stateless::new(make()?)))))
    }

    fn inference(&self, infer: &InferSpec, step: &Step) -> Result<MakeOperator> {
        let (model, revision) = self.model(&infer.model)?;
        let mut batcher = BatcherSettings::new(
            infer.batch_rows,
            usize::try_from(infer.batch_bytes).unwrap_or(usize::MAX),
            infer.linger,
        );
        batcher.cost_max = infer.rows.batch_cost.unwrap_or(u64::MAX);
        batcher.watermark_sends = infer.rows.close_on_watermark;
        batcher.planted = self.planted.batcher;
        let settings = InferenceSettings {
            job: self.graph.job.clone(),
            model_revision: revision,
            inputs: infer.inputs.clone(),
            answers: AnswerColumns {
                outputs: infer.outputs.iter().map(|(output, _)| output.clone()).collect(),
                schema: Arc::clone(&step.output),
                kept: (0..step.input().fields().len()).collect(),
                answered_by: infer::answered_by(infer),
                on_error: infer.on_error,
            },
            batcher,
            rows: infer::facts(&infer.rows, step.input())?,
            order: match infer.order {
                spec::Order::Unordered => Order::Unordered,
                spec::Order::Ordered => Order::Ordered,
                spec::Order::PerKey => Order::PerKey,
            },
            attempts_max: infer.attempts,
            site: model.site,
            patience: infer.ladder.after,
            updates: infer::updates(infer, step, &self.parts.state)?,
            planted: self.planted.inference,
        };
        let (limit, weight) = (infer.limit, infer.weight);
        let rungs = self.rungs(infer, step)?;
        Ok(Box::new(move |_| {
            let caller = infer::caller(&model, limit, weight);
            let operator = Inference::new(settings.clone(), Arc::new(model.clone()), caller);
            Ok(Box::new(operator.with_ladder(rungs.iter().map(|rung| rung.make(weight)).collect())))
        }))
    }

    fn model(&self, name: &str) -> Result<(ServiceModel, String)> {
        let model = self.parts.models.get(name).cloned().ok_or_else(|| missing("model", name))?;
        Ok((model, self.parts.revisions.get(name).cloned().unwrap_or_default()))
    }

    fn rungs(&self, infer: &InferSpec, step: &Step) -> Result<Vec<MakeRung>> {
        let rung = |rung: &RungSpec| match rung {
            RungSpec::Computed { name, outputs } => Ok(infer::computed(name, outputs, infer, step)),
            RungSpec::Model { model: name, inputs, limit } => {
                let (model, revision) = self.model(name)?;
                Ok(MakeRung::Model { name: name.clone(), model, revision, inputs: inputs.clone(), limit: *limit })
            }
        };
        infer.ladder.rungs.iter().map(rung).collect()
    }
}

/// Puts what each row does before its columns.
fn kinds(output: &SchemaRef) -> MakeOperator {
    let output = Arc::clone(output);
    Box::new(move |_| Ok(Box::new(Stateless::new(Kinds::new(Arc::clone(&output))))))
}

/// Readers of `source` that also give watermarks: the reader that `make` makes gives rows of `schema`, in which the column
/// `watermark.time` is a timestamp in microseconds. Readers with a drift are kept together over all sources of the job.
fn with_watermarks(
    make: MakeReader,
    watermark: &WatermarkSpec,
    splits: Splits,
    schema: &SchemaRef,
    alignment: &Alignment,
    bug: Option<RuntimeBug>,
) -> Result<MakeReader> {
    let column = schema.index_of(&watermark.time).map_err(|_| missing("event time column", &watermark.time))?;
    let WatermarkSpec { out_of_order, idle, .. } = *watermark;
    let settings = TimeSettings { column, out_of_order, idle, splits, bug };
    let (drift, alignment) = (watermark.max_drift, alignment.clone());
    Ok(Box::new(move |subtask| {
        let member = drift.map(|drift| alignment.join(drift));
        Ok(Box::new(TimedReader::new(make(subtask)?, settings.clone(), member)))
    }))
}

pub(crate) fn missing(what: &str, name: &str) -> Error {
    Error::new(Kind::Internal, format!("find {what}")).with("name", name)
}
