//! From tables to checked settings: names, counts, which keys go together, every default filled in.
//!
//! Only what the file says on its own is checked here; columns, types and shapes need facts and are checked in
//! `logical`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use toml::Spanned;

use super::columns;
use super::ends::{DeadLettersTable, SinkTable, SourceTable, WatermarkTable};
use super::tables::JobTable;
use super::units::{DurationText, SizeText};
use super::{
    JobFile, JobFileError, JobText, SinkDecl, SourceDecl, StepDecl, StreamRef, check_model, check_step, defaults, links,
};
use crate::spec::{FileTimes, SinkFormat, SinkSpec, SourceFormat, SourceSpec, WatermarkSpec};

/// Uid of the dead-letter output.
pub(super) const DEAD_LETTERS_UID: &str = "dead-letters";
/// Most key groups a job can have: Flink's limit, so that every job runs on both hosts.
const KEY_GROUPS_MAX: u16 = 1 << 15;

type Result<T> = std::result::Result<T, JobFileError>;

/// What the checks of every section need.
pub(super) struct Checker {
    pub text: Arc<JobText>,
    pub parallelism: u16,
    pub key_groups: u16,
}

/// Checks a whole job.
pub(super) fn job(text: Arc<JobText>, table: JobTable) -> Result<JobFile> {
    let key_groups = table.key_groups.get_ref().get();
    if key_groups > KEY_GROUPS_MAX {
        let message = format!("{key_groups} key groups are too many");
        return Err(text.error(table.key_groups.span(), message).with_help(format!("at most {KEY_GROUPS_MAX}")));
    }
    let mut checker = Checker { text: Arc::clone(&text), parallelism: 1, key_groups };
    checker.parallelism = checker.parallelism(Some(&table.parallelism))?;
    let name = checker.name("job name", &table.name)?;
    let checkpoint_interval = checker.positive("checkpoint_interval", table.checkpoint_interval)?;
    let state_memory = checker.bytes("state_memory", &table.state_memory)?;
    let sources = checker.all(&text, "source", table.source, Checker::source)?;
    let models = check_model::models(&checker, table.model)?;
    let (mut steps, from): (Vec<_>, Vec<_>) = check_step::steps(&checker, table.step, &models)?.into_iter().unzip();
    check_model::all_used(&checker, &models, &steps)?;
    let (mut sinks, sinks_from): (Vec<_>, Vec<_>) =
        checker.all(&text, "sink", table.sink, Checker::sink)?.into_iter().unzip();
    let dead_letters = checker.dead_letters(table.dead_letters, &sinks)?;
    checker.unique_uids(&sources, &steps, &sinks)?;
    links::connect(&checker, &sources, (&mut steps, from), (&mut sinks, sinks_from))?;
    let models = models.into_iter().map(|(name, model)| (name, model.into_inner())).collect();
    let parallelism = checker.parallelism;
    Ok(JobFile {
        text,
        name,
        key_groups,
        parallelism,
        checkpoint_interval,
        state_memory,
        sources,
        steps,
        models,
        sinks,
        dead_letters,
    })
}

// === impl Checker ===

impl Checker {
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> JobFileError {
        self.text.error(span, message)
    }

    /// A size above zero.
    pub fn bytes(&self, key: &str, size: &Spanned<SizeText>) -> Result<u64> {
        match size.get_ref().0 {
            0 => Err(self.error(size.span(), format!("{key} is at least one byte"))),
            bytes => Ok(bytes),
        }
    }

    /// A name that is safe in paths and ids.
    pub fn name(&self, what: &str, name: &Spanned<String>) -> Result<String> {
        let text = name.get_ref();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !text.is_empty() && text.len() <= 64 && text.chars().all(fits) {
            return Ok(text.clone());
        }
        let error = self.error(name.span(), format!("\"{text}\" cannot be a {what}"));
        Err(error.with_help("accepted: 1 to 64 letters, digits, - and _"))
    }

    /// A text that says something.
    pub fn filled(&self, what: &str, text: Spanned<String>) -> Result<String> {
        if text.get_ref().trim().is_empty() {
            return Err(self.error(text.span(), format!("{what} is empty")));
        }
        Ok(text.into_inner())
    }

    /// A duration that is not zero.
    pub fn positive(&self, what: &str, duration: Spanned<DurationText>) -> Result<std::time::Duration> {
        if duration.get_ref().0.is_zero() {
            return Err(self.error(duration.span(), format!("{what} must be longer than zero")));
        }
        Ok(duration.into_inner().0)
    }

    /// A parallelism, the job's if none is given.
    pub fn parallelism(&self, given: Option<&Spanned<NonZeroU16>>) -> Result<u16> {
        let Some(given) = given else { return Ok(self.parallelism) };
        let parallelism = given.get_ref().get();
        if parallelism <= self.key_groups {
            return Ok(parallelism);
        }
        let message = format!("parallelism {parallelism} is more than the {} key groups", self.key_groups);
        Err(self.error(given.span(), message).with_help("a subtask without a key group would have nothing to do"))
    }

    /// Every section of a kind, in the order of their names; at least one.
    fn all<T, D>(
        &self,
        text: &Arc<JobText>,
        key: &str,
        tables: BTreeMap<String, Spanned<T>>,
        check: impl Fn(&Self, String, Spanned<T>) -> Result<D>,
    ) -> Result<Vec<D>> {
        if tables.is_empty() {
            return Err(text
                .error(0..0, format!("there is no {key}"))
                .with_help(format!("write [{key}] or [{key}.NAME]")));
        }
        tables.into_iter().map(|(name, table)| check(self, name, table)).collect()
    }

    fn source(&self, name: String, table: Spanned<SourceTable>) -> Result<SourceDecl> {
        let section = table.span();
        let table = table.into_inner();
        let uid = table.uid.unwrap_or_else(|| Spanned::new(section, name));
        let made = table.format == SourceFormat::Nexmark;
        let path = self.place(&table.format, made, &uid, table.path)?;
        let nexmark = match table.nexmark {
            Some(given) if !made => {
                return Err(self.error(given.span(), format!("a source of format {} has no nexmark", table.format)));
            }
            None if made => {
                let help = "for example nexmark = { stream = \"bid\", rows = 1000000 }";
                return Err(self.error(uid.span(), "the format nexmark needs its table").with_help(help));
            }
            given => given.map(|given| given.get_ref().spec()),
        };
        let batch_rows = table.batch_rows.map_or(defaults::source_batch_rows(table.format), |rows| rows.get() as usize);
        let watermark = table.watermark.map(|watermark| self.watermark(watermark.into_inner(), made)).transpose()?;
        let (watermark, time_span) = watermark.unzip();
        let schema = table.schema.map(|columns| columns::schema(self, table.format, &uid, &columns)).transpose()?;
        let files = watermark.as_ref().map(|watermark| watermark.files);
        let monitor_interval = table
            .monitor_interval
            .map(|interval| self.monitor_interval(interval, made, files, table.parallelism.as_ref()))
            .transpose()?;
        // Files follow each other in time: several readers would read some of them side by side.
        let parallelism = match (monitor_interval, files) {
            (Some(_), Some(_)) => 1,
            _ => self.parallelism(table.parallelism.as_ref())?,
        };
        let spec = SourceSpec {
            uid: self.name("uid", &uid)?,
            format: table.format,
            path,
            nexmark,
            batch_rows,
            schema,
            monitor_interval,
            parallelism,
            watermark,
        };
        Ok(SourceDecl { spec, span: uid.span(), time_span: time_span.unwrap_or_default() })
    }

    /// How often a source looks for new files; `files` says how its files lie in event time, if it has that.
    fn monitor_interval(
        &self,
        interval: Spanned<DurationText>,
        made: bool,
        files: Option<FileTimes>,
        readers: Option<&Spanned<NonZeroU16>>,
    ) -> Result<Duration> {
        if made {
            return Err(self.error(interval.span(), "a source of format nexmark has no files to look for"));
        }
        if files == Some(FileTimes::AnyOrder) {
            let error = self.error(interval.span(), "a new file may hold any time, so the watermark would never move");
            return Err(error.with_help(
                "say files = \"in_order\" in watermark, if no row is more than out_of_order earlier than those of files before",
            ));
        }
        if let Some(readers) = readers.filter(|readers| files.is_some() && readers.get_ref().get() > 1) {
            let error = self.error(readers.span(), "files that follow each other in time are read by one reader");
            return Err(error.with_help("remove it: a source with monitor_interval and watermark has one"));
        }
        self.positive("monitor_interval", interval)
    }

    /// The path of the source or sink `uid` of `format`, empty of one that has none.
    fn place(
        &self,
        format: &dyn fmt::Display,
        placeless: bool,
        uid: &Spanned<String>,
        path: Option<Spanned<String>>,
    ) -> Result<String> {
        match path {
            Some(path) if placeless => Err(self.error(path.span(), format!("the format {format} has no path"))),
            Some(path) => self.filled("path", path),
            None if placeless => Ok(String::new()),
            None => Err(self.error(uid.span(), format!("the format {format} needs a path"))),
        }
    }

    /// The watermarks of a source, whose rows may be `made` on the spot, and where its column is named.
    fn watermark(&self, table: WatermarkTable, made: bool) -> Result<(WatermarkSpec, Range<usize>)> {
        if let Some(files) = table.files.as_ref().filter(|_| made) {
            return Err(self.error(files.span(), "a source of format nexmark has no files"));
        }
        let longer =
            |what, given: Option<Spanned<DurationText>>| given.map(|given| self.positive(what, given)).transpose();
        let span = table.time.span();
        let spec = WatermarkSpec {
            time: self.filled("time", table.time)?,
            out_of_order: table.out_of_order.0,
            files: table.files.map(Spanned::into_inner).unwrap_or_default(),
            idle: longer("idle", table.idle)?,
            max_drift: longer("max_drift", table.max_drift)?,
        };
        Ok((spec, span))
    }

    /// The sink, what it reads still open, and the name of what it reads.
    fn sink(&self, name: String, table: Spanned<SinkTable>) -> Result<(SinkDecl, Option<Spanned<String>>)> {
        let section = table.span();
        let table = table.into_inner();
        let uid = table.uid.unwrap_or_else(|| Spanned::new(section, name));
        let spec = SinkSpec {
            uid: self.name("uid", &uid)?,
            format: table.format,
            path: self.place(&table.format, table.format == SinkFormat::Blackhole, &uid, table.path)?,
            file_bytes: table.file_bytes.0,
            kinds: table.kinds.map(|kinds| self.filled("kinds", kinds)).transpose()?,
        };
        let parallelism = self.parallelism(table.parallelism.as_ref())?;
        let input = StreamRef { uid: String::new(), port: 0, span: uid.span() };
        Ok((SinkDecl { spec, span: uid.span(), parallelism, input }, table.from))
    }

    fn dead_letters(&self, table: Option<Spanned<DeadLettersTable>>, sinks: &[SinkDecl]) -> Result<SinkSpec> {
        let span = table.as_ref().map_or(0..0, Spanned::span);
        let (given, format) = table.map(Spanned::into_inner).map_or((None, defaults::jsonl()), |t| (t.path, t.format));
        if format == SinkFormat::Blackhole {
            return Err(self.error(span, "dead letters cannot be dropped").with_help("accepted: jsonl, parquet"));
        }
        let default = format!("{}/_dead_letters", sinks.first().map_or("", |sink| folder(&sink.spec.path)));
        let (path, span) = match (given, sinks) {
            (Some(path), _) => {
                let span = path.span();
                (self.filled("path", path)?, span)
            }
            (None, [sink]) if !sink.spec.path.is_empty() => (default.clone(), span),
            (None, [_]) => {
                let error = self.error(span, "a job whose rows are dropped has to say where its dead letters go");
                return Err(error.with_help("[dead_letters] with path, for example \"dead_letters\""));
            }
            (None, _) => {
                let error = self.error(span, "a job with several sinks has to say where its dead letters go");
                return Err(error.with_help(format!("[dead_letters] with path, for example \"{default}\"")));
            }
        };
        if sinks.iter().any(|sink| folder(&sink.spec.path) == folder(&path)) {
            let error = self.error(span, "dead letters and rows cannot go to the same path");
            return Err(error.with_help(format!("for example {default}")));
        }
        let file_bytes = sinks.iter().map(|sink| sink.spec.file_bytes).min().unwrap_or_default();
        Ok(SinkSpec { uid: DEAD_LETTERS_UID.to_string(), format, path, file_bytes, kinds: None })
    }

    /// State, row ids and the journal are found by uid, so two parts cannot share one; nor can two sinks share a folder.
    fn unique_uids(&self, sources: &[SourceDecl], steps: &[StepDecl], sinks: &[SinkDecl]) -> Result<()> {
        let sources = sources.iter().map(|source| (source.spec.uid.as_str(), source.span.clone()));
        let steps = steps.iter().map(|step| (step.uid.as_str(), step.span.clone()));
        let ends = sinks.iter().map(|sink| (sink.spec.uid.as_str(), sink.span.clone()));
        let mut seen = BTreeSet::new();
        for (uid, span) in [(DEAD_LETTERS_UID, 0..0)].into_iter().chain(ends).chain(sources).chain(steps) {
            if !seen.insert(uid) {
                let message = format!("the uid \"{uid}\" is used twice");
                return Err(self.error(span, message).with_help("give one of the two another uid"));
            }
        }
        let mut folders = BTreeSet::new();
        let mut written = sinks.iter().filter(|sink| !sink.spec.path.is_empty());
        match written.find(|sink| !folders.insert(folder(&sink.spec.path))) {
            Some(sink) => Err(self
                .error(sink.span.clone(), format!("another sink writes to {} too", sink.spec.path))
                .with_help("give each sink a folder of its own")),
            None => Ok(()),
        }
    }
}

fn folder(path: &str) -> &str {
    path.trim_end_matches('/')
}
