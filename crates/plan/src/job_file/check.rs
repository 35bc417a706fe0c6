//! From tables to checked settings: names, counts, which keys go together, every default filled in.
//!
//! Only what the file says on its own is checked here; columns, types and shapes need facts and are checked in
//! `logical`.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::tables::{DeadLettersTable, JobTable, SinkTable, SourceTable};
use super::units::DurationText;
use super::{JobFile, JobFileError, JobText, check_model, check_step, defaults};
use crate::spec::{SinkSpec, SourceSpec};

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
    let source = checker.source(table.source.into_inner())?;
    let models = check_model::models(&checker, table.model)?;
    let steps = check_step::steps(&checker, table.step, &models)?;
    check_model::all_used(&checker, &models, &steps)?;
    let (sink, sink_parallelism) = checker.sink(table.sink.into_inner())?;
    let dead_letters = checker.dead_letters(table.dead_letters, &sink)?;
    let models = models.into_iter().map(|(name, model)| (name, model.into_inner())).collect();
    Ok(JobFile {
        text,
        name,
        key_groups,
        checkpoint_interval,
        source: source.0,
        steps,
        models,
        sink,
        sink_parallelism,
        dead_letters,
    })
    .and_then(|job| checker.unique_uids(&job, &source.1).map(|()| job))
}

// === impl Checker ===

impl Checker {
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> JobFileError {
        self.text.error(span, message)
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

    fn source(&self, table: SourceTable) -> Result<(SourceSpec, Range<usize>)> {
        let batch_rows = table.batch_rows.map_or(defaults::source_batch_rows(table.format), |rows| rows.get() as usize);
        let spec = SourceSpec {
            uid: self.name("uid", &table.uid)?,
            format: table.format,
            path: self.filled("path", table.path)?,
            batch_rows,
            parallelism: self.parallelism(table.parallelism.as_ref())?,
        };
        Ok((spec, table.uid.span()))
    }

    fn sink(&self, table: SinkTable) -> Result<(SinkSpec, u16)> {
        let spec = SinkSpec {
            uid: self.name("uid", &table.uid)?,
            format: table.format,
            path: self.filled("path", table.path)?,
            file_bytes: table.file_bytes.0,
        };
        Ok((spec, self.parallelism(table.parallelism.as_ref())?))
    }

    fn dead_letters(&self, table: Option<Spanned<DeadLettersTable>>, sink: &SinkSpec) -> Result<SinkSpec> {
        let default = format!("{}/_dead_letters", sink.path.trim_end_matches('/'));
        let (path, format) = match table.map(Spanned::into_inner) {
            None => (default, defaults::jsonl()),
            Some(DeadLettersTable { path: None, format }) => (default, format),
            Some(DeadLettersTable { path: Some(path), format }) => {
                let span = path.span();
                let path = self.filled("path", path)?;
                if path.trim_end_matches('/') == sink.path.trim_end_matches('/') {
                    return Err(self
                        .error(span, "dead letters and rows cannot go to the same path")
                        .with_help(format!("for example {default}")));
                }
                (path, format)
            }
        };
        Ok(SinkSpec { uid: DEAD_LETTERS_UID.to_string(), format, path, file_bytes: sink.file_bytes })
    }

    /// State, row ids and the journal are found by uid, so two parts cannot share one.
    fn unique_uids(&self, job: &JobFile, source: &Range<usize>) -> Result<()> {
        let steps = job.steps.iter().map(|step| (step.uid.as_str(), step.span.clone()));
        let ends = [(DEAD_LETTERS_UID, 0..0), (job.sink.uid.as_str(), 0..0), (job.source.uid.as_str(), source.clone())];
        let mut seen = BTreeMap::new();
        for (uid, span) in ends.into_iter().chain(steps) {
            if seen.insert(uid, ()).is_some() {
                let message = format!("the uid \"{uid}\" is used twice");
                return Err(self.error(span, message).with_help("give one of the two another uid"));
            }
        }
        Ok(())
    }
}
