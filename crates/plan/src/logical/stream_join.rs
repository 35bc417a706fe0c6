//! Checks a join of two streams and makes its output columns.
//!
//! Key types must be equal, as in a lookup join, so that equal values are the same key on both sides. The columns of the joined
//! stream follow those of the step's own; its keys are left out, because they are the same.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::DFSchema;
use forebay_core::keys::can_be_key;
use forebay_core::time::event_time_place;
use toml::Spanned;

use super::event_time::without_mark;
use super::expression::columns_help;
use super::{Result, internal};
use crate::job_file::{JobFile, JobFileError, StepDecl, StreamJoinDecl};
use crate::spec::{StreamJoinHow as How, StreamJoinKind, StreamJoinSpec};

/// The join with columns resolved, and the schema of its output.
pub(super) fn check(
    job: &JobFile,
    step: &StepDecl,
    decl: &StreamJoinDecl,
    [left, right]: [&SchemaRef; 2],
) -> Result<(StreamJoinSpec, SchemaRef)> {
    let sides = Sides { job, step, decl, left, right };
    let on: Vec<(usize, usize)> = decl.on.iter().map(|(own, other)| sides.pair(own, other)).collect::<Result<_>>()?;
    sides.check_times()?;
    sides.check_storable()?;
    let take: Vec<usize> = (0..right.fields().len()).filter(|place| on.iter().all(|(_, key)| key != place)).collect();
    let schema = sides.output(&on, &take)?;
    let spec = StreamJoinSpec {
        uid: step.uid.clone(),
        stream: decl.stream.get_ref().clone(),
        inputs: [Arc::clone(left), Arc::clone(right)],
        on,
        take,
        how: decl.how,
        kind: decl.kind,
    };
    Ok((spec, schema))
}

struct Sides<'a> {
    job: &'a JobFile,
    step: &'a StepDecl,
    decl: &'a StreamJoinDecl,
    left: &'a SchemaRef,
    right: &'a SchemaRef,
}

// === impl Sides ===

impl Sides<'_> {
    fn pair(&self, own: &str, other: &Spanned<String>) -> Result<(usize, usize)> {
        let (uid, name) = (self.decl.stream.get_ref(), other.get_ref());
        let left = self.place(self.left, own, other, "the rows that come in have")?;
        let right = self.place(self.right, name, other, &format!("the rows of \"{uid}\" have"))?;
        let (left_type, right_type) = (self.left.field(left).data_type(), self.right.field(right).data_type());
        if left_type != right_type {
            let message = format!("\"{own}\" is {left_type}, \"{name}\" of \"{uid}\" is {right_type}");
            let help = format!("cast one first, for example with = [\"arrow_cast({own}, '{right_type}') AS {own}\"]");
            return Err(self.error(other, message).with_help(help));
        }
        if !can_be_key(left_type) {
            let help = "accepted: text, binary, numbers, true/false, dates and times";
            return Err(self.error(other, format!("{left_type} cannot be a key")).with_help(help));
        }
        Ok((left, right))
    }

    fn place(&self, schema: &SchemaRef, name: &str, at: &Spanned<String>, whose: &str) -> Result<usize> {
        schema.index_of(name).or_else(|_| {
            let columns = DFSchema::try_from(schema.as_ref().clone()).map_err(|error| internal(self.job, &error))?;
            let error = self.error(at, format!("{whose} no column \"{name}\""));
            Err(error.with_help(columns_help(name, &columns)))
        })
    }

    fn check_times(&self) -> Result<()> {
        if !self.decl.kind.needs_time() {
            return Ok(());
        }
        let streams = [(self.left, self.step.inputs[0].name()), (self.right, self.decl.stream.get_ref().clone())];
        match streams.into_iter().find(|(schema, _)| event_time_place(schema).is_none()) {
            None => Ok(()),
            Some((_, name)) => {
                let error = self.error(&self.decl.stream, format!("the rows of \"{name}\" have no event time"));
                Err(error.with_help("write watermark on its source, and keep that column in every select on the way"))
            }
        }
    }

    fn check_storable(&self) -> Result<()> {
        let fields = self.left.fields().iter().chain(self.right.fields());
        match fields.into_iter().find(|field| !can_be_stored(field.data_type())) {
            None => Ok(()),
            Some(field) => {
                let message = format!("the column \"{}\" is {} and cannot be kept", field.name(), field.data_type());
                Err(self.error(&self.decl.stream, message).with_help("leave it out in a select step before"))
            }
        }
    }

    fn output(&self, on: &[(usize, usize)], take: &[usize]) -> Result<SchemaRef> {
        let (how, kind) = (self.decl.how, self.decl.kind);
        let timed = !matches!(kind, StreamJoinKind::Regular { .. });
        let marked =
            |keeps: bool, field: Field| if keeps { field } else { Field::clone(&without_mark(&Arc::new(field))) };
        let mut fields: Vec<FieldRef> = Vec::new();
        for (place, field) in self.left.fields().iter().enumerate() {
            let key = on.iter().find(|(left, _)| *left == place).map(|(_, right)| self.right.field(*right));
            let nullable = match (how, key) {
                (How::Inner | How::Left, _) => field.is_nullable(),
                (How::Right | How::Full, None) => true,
                (How::Right | How::Full, Some(key)) => field.is_nullable() || key.is_nullable(),
            };
            let keeps = timed && matches!(how, How::Inner | How::Left);
            fields.push(Arc::new(marked(keeps, Field::clone(field).with_nullable(nullable))));
        }
        for place in take {
            let field = self.right.field(*place);
            let name = format!("{}{}", self.decl.prefix, field.name());
            self.check_free(&name)?;
            let nullable = field.is_nullable() || matches!(how, How::Left | How::Full);
            let keeps = timed && how == How::Right;
            fields.push(Arc::new(marked(keeps, field.clone().with_name(name).with_nullable(nullable))));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    fn check_free(&self, name: &str) -> Result<()> {
        if self.left.index_of(name).is_err() {
            return Ok(());
        }
        let uid = self.decl.stream.get_ref();
        let error = self.error(&self.decl.stream, format!("both streams have a column \"{name}\""));
        Err(error.with_help(format!(
            "prefix = \"{uid}_\" puts that before the names of the columns of \"{uid}\"; or give one another name in a select step"
        )))
    }

    fn error(&self, at: &Spanned<String>, message: String) -> JobFileError {
        self.job.text.error(at.span(), format!("step {}: {message}", self.step.number))
    }
}

/// Types that keyed state can hold as rows.
pub(super) fn can_be_stored(kind: &DataType) -> bool {
    use DataType as D;
    match kind {
        D::Dictionary(_, value) => can_be_stored(value),
        D::List(field) | D::LargeList(field) | D::FixedSizeList(field, _) => can_be_stored(field.data_type()),
        D::Struct(fields) => fields.iter().all(|field| can_be_stored(field.data_type())),
        D::Map(..) | D::Union(..) | D::RunEndEncoded(..) | D::ListView(_) | D::LargeListView(_) => false,
        _ => true,
    }
}
