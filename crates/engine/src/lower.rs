//! Turns a job graph into what an attempt runs: operators, readers, writers, and the committers of its sinks.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use forebay_connectors::files::{FilesEnumerator, ReaderSettings, read_table, reader};
use forebay_connectors::sinks::files::FileSink;
use forebay_core::keys::KeyColumns;
use forebay_core::operator::Operator;
use forebay_core::sink::Committer;
use forebay_core::source::{Enumerator, Reader, Split};
use forebay_core::{Error, Kind, Result, dead_letter};
use forebay_gate::batcher::BatcherSettings;
use forebay_operators::call::Call;
use forebay_operators::filter::Filter;
use forebay_operators::inference::answer::AnswerColumns;
use forebay_operators::inference::table::Order;
use forebay_operators::inference::{Inference, InferenceSettings};
use forebay_operators::kinds::Kinds;
use forebay_operators::lookup_join::{JoinKind, LookupJoin};
use forebay_operators::project::Project;
use forebay_operators::stateless::Stateless;
use forebay_operators::union::Union;
use forebay_operators::window::Window;
use forebay_plan::graph::{Edge, EdgeKind, Head, JobGraph, Step, StepAction, Task};
use forebay_plan::infer::RungSpec;
use forebay_plan::spec::{self, FileTimes, InferSpec, JoinHow, LookupJoinSpec, SinkSpec, SourceSpec, WatermarkSpec};
use forebay_runtime::build::{EdgeSpec, EdgeWay, MakeOperator, MakeReader, SourceSpec as ReadSpec, TaskSpec};
use forebay_runtime::time::{Alignment, Splits, TimeSettings, TimedReader};
use forebay_state::checkpoint::Committers;

use crate::infer::{self, MakeRung};
use crate::model::ServiceModel;
use crate::nexmark;
use crate::outside::{Outside, Planted};
use crate::prepare::{files, source_format, table_format};
use crate::sink::{Sink, files_sink};
use crate::stream_join::stream_join;

/// Most rows of a lookup table: it is held whole in memory by every subtask.
const TABLE_ROWS_MAX: usize = 5_000_000;

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
}

/// The sinks of a job, opened and checked.
pub struct Sinks {
    by_uid: BTreeMap<String, Sink>,
    dead_letters: FileSink,
    dead_letters_uid: String,
}

// === impl Sinks ===

impl Sinks {
    /// Opens every sink of `graph`.
    ///
    /// # Errors
    /// `Invalid` for a column that a format cannot hold or a location that cannot be opened.
    pub fn open(graph: &JobGraph, outside: &dyn Outside) -> Result<Self> {
        let mut by_uid = BTreeMap::new();
        for step in graph.tasks.iter().flat_map(|task| &task.steps) {
            if let StepAction::Sink(spec) = &step.action {
                by_uid.insert(spec.uid.clone(), Sink::open(spec, &step.output, outside)?);
            }
        }
        let letters = &graph.dead_letters;
        let dead_letters = files_sink(letters, &dead_letter::schema(), outside)?;
        Ok(Self { by_uid, dead_letters, dead_letters_uid: letters.uid.clone() })
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

/// The splits of `source` in a job of `key_groups`, listed now.
///
/// # Errors
/// `Invalid` if nothing matches; those of the store.
pub async fn list_splits(source: &SourceSpec, key_groups: u16, outside: &dyn Outside) -> Result<Vec<Split>> {
    if let Some(made) = &source.nexmark {
        return nexmark::enumerator(source, made, key_groups).splits().await;
    }
    let (store, pattern) = files(outside, &source.path)?;
    FilesEnumerator::new(source.uid.clone(), store, pattern).splits().await
}

/// The lookup tables of the job, read whole.
///
/// # Errors
/// `Invalid` for a table that is too long, `Data` for rows that cannot be read.
pub async fn read_tables(graph: &JobGraph, outside: &dyn Outside) -> Result<BTreeMap<String, RecordBatch>> {
    let mut tables = BTreeMap::new();
    for step in graph.tasks.iter().flat_map(|task| &task.steps) {
        if let StepAction::LookupJoin(join) = &step.action {
            let (store, pattern) = files(outside, &join.table.path)?;
            let table = read_table(store, table_format(join.table.format), pattern, TABLE_ROWS_MAX).await;
            let table = table.map_err(|error| {
                Error::new(error.kind(), "read lookup table").with("path", &join.table.path).source(error)
            })?;
            tables.insert(step.uid.clone(), table);
        }
    }
    Ok(tables)
}

/// The sources of the job.
pub fn sources(graph: &JobGraph) -> impl Iterator<Item = &SourceSpec> {
    graph.tasks.iter().filter_map(|task| match &task.head {
        Head::Source(source, _) => Some(source),
        Head::Edges(_) => None,
    })
}

/// The pipelined edges between tasks, by place.
///
/// # Errors
/// `Invalid` for a column that cannot be a key.
pub fn edges(graph: &JobGraph) -> Result<Vec<EdgeSpec>> {
    let place = |id: &str| {
        let place = graph.tasks.iter().position(|task| task.id == id);
        place.ok_or_else(|| missing("task", id))
    };
    let way = |edge: &Edge| -> Result<EdgeWay> {
        Ok(match &edge.kind {
            EdgeKind::Keyed(columns) => EdgeWay::ByKey(KeyColumns::new(columns.clone(), input(graph, edge)?)?),
            EdgeKind::Exchange => EdgeWay::ByRow,
            EdgeKind::Forward | EdgeKind::Call | EdgeKind::Durable => EdgeWay::Forward,
        })
    };
    let spec = |edge: &Edge| {
        let (from, to) = (place(&edge.from)?, place(&edge.to)?);
        Ok(EdgeSpec { from, from_port: edge.from_port, to, to_port: edge.to_port, way: way(edge)? })
    };
    graph.edges.iter().filter(|edge| edge.kind.is_pipelined()).map(spec).collect()
}

/// The rows that cross `edge`.
fn input<'a>(graph: &'a JobGraph, edge: &Edge) -> Result<&'a SchemaRef> {
    let schema = graph.task(&edge.to).and_then(|task| task.inputs().get(usize::from(edge.to_port)));
    schema.ok_or_else(|| missing("input of task", &edge.to))
}

/// The tasks as an attempt runs them.
///
/// # Errors
/// `Invalid` for what only shows now: a reader's schema, a lookup key twice in its table.
pub fn tasks(graph: &JobGraph, parts: &Parts, sinks: &Sinks, outside: &dyn Outside) -> Result<Vec<TaskSpec>> {
    let planted = outside.planted();
    let maker = Maker { graph, parts, sinks, outside, planted, alignment: Alignment::default() };
    graph.tasks.iter().map(|task| maker.task(task)).collect()
}

struct Maker<'a> {
    graph: &'a JobGraph,
    parts: &'a Parts,
    sinks: &'a Sinks,
    outside: &'a dyn Outside,
    planted: Planted,
    alignment: Alignment,
}

// === impl Maker ===

impl Maker<'_> {
    fn task(&self, task: &Task) -> Result<TaskSpec> {
        let source = match &task.head {
            Head::Source(source, schema) => Some(self.reader(source, schema)?),
            Head::Edges(_) => None,
        };
        let mut operators = Vec::new();
        for step in &task.steps {
            if let StepAction::Sink(SinkSpec { kinds: Some(_), .. }) = &step.action {
                operators.push((format!("{}.kinds", step.uid), kinds(&step.output)));
            }
            operators.push((step.uid.clone(), self.operator(step)?));
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
        })
    }

    fn reader(&self, source: &SourceSpec, schema: &SchemaRef) -> Result<ReadSpec> {
        let mut make = match &source.nexmark {
            Some(made) => nexmark::readers(source, made, schema),
            None => self.file_reader(source, schema)?,
        };
        if let Some(watermark) = &source.watermark {
            let splits = match (&source.nexmark, watermark.files) {
                (Some(_), _) => Splits::Merged,
                (None, FileTimes::AnyOrder) => Splits::AnyOrder,
                (None, FileTimes::InOrder) => Splits::InOrder,
            };
            make = with_watermarks(make, watermark, splits, schema, &self.alignment)?;
        }
        let splits = self.parts.splits.get(&source.uid).cloned().ok_or_else(|| missing("splits", &source.uid))?;
        Ok(ReadSpec { uid: source.uid.clone(), reader: make, splits })
    }

    fn file_reader(&self, source: &SourceSpec, schema: &SchemaRef) -> Result<MakeReader> {
        let (store, _) = files(self.outside, &source.path)?;
        let settings = ReaderSettings { batch_rows: Some(source.batch_rows), ..ReaderSettings::default() };
        let (format, rows) = (source_format(source.format)?, Arc::clone(schema));
        Ok(Box::new(move |_| {
            let reader = reader(format, Arc::clone(&store), Arc::clone(&rows), settings.clone())?;
            Ok(Box::new(reader) as Box<dyn Reader>)
        }))
    }

    fn operator(&self, step: &Step) -> Result<MakeOperator> {
        let output = Arc::clone(&step.output);
        match &step.action {
            StepAction::Filter { predicate, .. } => {
                let predicate = Arc::clone(predicate);
                Ok(Box::new(move |_| Ok(Box::new(Stateless::new(Filter::new(Arc::clone(&predicate)))))))
            }
            StepAction::Project { columns } => {
                let expressions: Vec<_> = columns.iter().map(|column| Arc::clone(&column.expr)).collect();
                Ok(Box::new(move |_| {
                    Ok(Box::new(Stateless::new(Project::new(expressions.clone(), Arc::clone(&output)))))
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
            StepAction::StreamJoin(join) => stream_join(join, step),
            StepAction::Union { streams } => {
                let streams = streams.clone();
                Ok(Box::new(move |_| Ok(Box::new(Union::new(&streams, Arc::clone(&output))))))
            }
            StepAction::Window(step_of) => {
                let settings = crate::window::settings(step_of, step)?;
                Ok(Box::new(move |_| Ok(Box::new(Window::new(settings.clone())))))
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
            remote: model.remote,
            patience: infer.ladder.after,
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
) -> Result<MakeReader> {
    let column = schema.index_of(&watermark.time).map_err(|_| missing("event time column", &watermark.time))?;
    let settings = TimeSettings { column, out_of_order: watermark.out_of_order, idle: watermark.idle, splits };
    let (drift, alignment) = (watermark.max_drift, alignment.clone());
    Ok(Box::new(move |subtask| {
        let member = drift.map(|drift| alignment.join(drift));
        Ok(Box::new(TimedReader::new(make(subtask)?, settings.clone(), member)))
    }))
}

pub(crate) fn missing(what: &str, name: &str) -> Error {
    Error::new(Kind::Internal, format!("find {what}")).with("name", name)
}
