//! Checks steps that keep rows by key, `deduplicate` and `top`, and makes their output columns.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use forebay_core::keys::can_be_key;
use forebay_core::time::event_time_place;
use toml::Spanned;

use super::stream_join::can_be_stored;
use super::{Result, internal};
use crate::job_file::{DeduplicateDecl, JobFile, JobFileError, StepDecl, TopDecl};
use crate::spec::{Changes, DeduplicateOrder, DeduplicateSpec, TopSpec};

/// What such a step is checked against.
pub(super) struct KeyedSite<'a> {
    pub job: &'a JobFile,
    pub step: &'a StepDecl,
    pub input: &'a DFSchema,
}

// === impl KeyedSite ===

impl KeyedSite<'_> {
    /// The settings of a deduplicate step whose key columns have these names; its rows keep their columns.
    pub fn deduplicate(&self, decl: &DeduplicateDecl, keys: &[String]) -> Result<(DeduplicateSpec, SchemaRef)> {
        if decl.order == DeduplicateOrder::EventTime || decl.ttl.is_some() {
            self.event_time()?;
        }
        self.check_storable()?;
        let schema = Arc::clone(self.input.inner());
        let spec = DeduplicateSpec {
            uid: self.step.uid.clone(),
            input: Arc::clone(&schema),
            keys: self.keys(keys, &decl.by)?,
            keep: decl.keep,
            order: decl.order,
            ttl: decl.ttl,
        };
        Ok((spec, schema))
    }

    /// The settings of a top step whose key columns and order have these names, and its columns.
    pub fn top(
        &self,
        decl: &TopDecl,
        (keys, order): (&[String], &[String]),
        changes: Changes,
    ) -> Result<(TopSpec, SchemaRef)> {
        if decl.ttl.is_some() {
            self.event_time()?;
        }
        self.check_storable()?;
        let places = order.iter().zip(&decl.order).map(|(name, sql)| self.ordered(name, sql));
        let spec = TopSpec {
            uid: self.step.uid.clone(),
            rows: decl.rows,
            keys: self.keys(keys, &decl.by)?,
            order: places
                .zip(&decl.descending)
                .map(|(place, descending)| Ok((place?, *descending)))
                .collect::<Result<_>>()?,
            ranks: decl.rank.is_some(),
            updates: changes == Changes::Updates,
            ttl: decl.ttl,
        };
        let mut fields: Vec<FieldRef> = self.input.fields().to_vec();
        if let Some(rank) = &decl.rank {
            self.check_free(rank.get_ref(), rank)?;
            fields.push(Arc::new(Field::new(rank.get_ref(), DataType::Int64, false)));
        }
        Ok((spec, Arc::new(Schema::new(fields))))
    }

    /// The place of the event time.
    pub fn event_time(&self) -> Result<usize> {
        event_time_place(self.input.as_arrow()).ok_or_else(|| {
            let message = format!("step {}: its rows have no event time", self.step.number);
            let error = self.job.text.error(self.step.span.clone(), message);
            error.with_help(
                "the source says watermark = { time = \"COLUMN\" }, and the steps between hand the column on as it is",
            )
        })
    }

    /// The places of key columns.
    pub fn keys(&self, names: &[String], by: &[Spanned<String>]) -> Result<Vec<usize>> {
        let mut places = Vec::new();
        for (name, sql) in names.iter().zip(by) {
            let place = self.place(name)?;
            let kind = self.input.field(place).data_type();
            if !can_be_key(kind) {
                let help = "a key is a number, text, binary, true/false, a date or a time";
                return Err(self.error(sql, format!("\"{name}\" is {kind}, which cannot be a key")).with_help(help));
            }
            if places.contains(&place) {
                return Err(self.error(sql, format!("\"{name}\" is in the key twice")));
            }
            places.push(place);
        }
        Ok(places)
    }

    /// Refuses a new column whose name another one has.
    pub fn check_free(&self, name: &str, at: &Spanned<String>) -> Result<()> {
        if self.input.as_arrow().index_of(name).is_err() {
            return Ok(());
        }
        let error = self.error(at, format!("the rows already have a column \"{name}\""));
        Err(error.with_help("choose a name that no other column has"))
    }

    /// An error at a text of the step.
    pub fn error(&self, at: &Spanned<String>, message: String) -> JobFileError {
        self.job.text.error(at.span(), format!("step {}: {message}", self.step.number))
    }

    fn ordered(&self, name: &str, sql: &Spanned<String>) -> Result<usize> {
        let place = self.place(name)?;
        let kind = self.input.field(place).data_type();
        if can_be_ordered(kind) {
            return Ok(place);
        }
        let help = "order by a number, text, binary, true/false, a date or a timestamp";
        Err(self.error(sql, format!("\"{name}\" is {kind}, which has no order")).with_help(help))
    }

    /// Refuses a column that cannot be kept.
    pub fn check_storable(&self) -> Result<()> {
        match self.input.fields().iter().find(|field| !can_be_stored(field.data_type())) {
            None => Ok(()),
            Some(field) => {
                let (name, kind) = (field.name(), field.data_type());
                let message = format!("step {}: the column \"{name}\" is {kind} and cannot be kept", self.step.number);
                let error = self.job.text.error(self.step.span.clone(), message);
                Err(error.with_help("leave it out in a select step before"))
            }
        }
    }

    fn place(&self, name: &str) -> Result<usize> {
        self.input.as_arrow().index_of(name).map_err(|error| internal(self.job, &error))
    }
}

/// Types that the operators can put in order.
pub(super) fn can_be_ordered(kind: &DataType) -> bool {
    use DataType as D;
    match kind {
        D::Dictionary(_, value) => can_be_ordered(value),
        D::Boolean | D::Date32 | D::Date64 | D::Timestamp(..) | D::Decimal128(..) => true,
        D::Utf8 | D::LargeUtf8 | D::Utf8View | D::Binary | D::LargeBinary | D::BinaryView => true,
        other => other.is_integer() || other.is_floating(),
    }
}
