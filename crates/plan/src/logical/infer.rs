//! Checks an inference step against its model's signature and makes the columns of the answers.
//!
//! Every input of the model is fed by a column of the same value type and shape; nothing is cast or reshaped silently.

use arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::common::DFSchema;
use datafusion::execution::session_state::SessionState;
use forebay_core::model::{ANY, ModelField, ModelSignature};
use forebay_core::types::tensor::TensorType;
use toml::Spanned;

use super::answers::answers;
use super::expression::columns_help;
use super::fallback::{Rows, answered_by, joined};
use super::{Result, internal};
use crate::facts::Facts;
use crate::job_file::{InferDecl, JobFile, JobFileError, StepDecl};
use crate::nearest::{listed, nearest};
use crate::spec::{Changes, InferSpec};

/// Most values of one answer that becomes one cell: 64 MiB of `Float32`. A null one takes as much.
const ANSWER_VALUES_MAX: usize = 1 << 24;

/// The settings of the step with columns resolved, and the schema of its output. Its input are rows of a schema and what they do.
pub(super) fn check(
    job: &JobFile,
    facts: &Facts,
    step: &StepDecl,
    decl: &InferDecl,
    (input, changes): (&SchemaRef, Changes),
    state: &SessionState,
) -> Result<(InferSpec, SchemaRef)> {
    let model = decl.model.get_ref();
    let signature = facts.signatures.get(model).ok_or_else(|| internal(job, &format!("no signature of {model}")))?;
    let wiring = Wiring { job, step, decl, signature, input };
    let inputs = wiring.inputs()?;
    let (outputs, mut added) = wiring.outputs()?;
    let checked = Rows::new(&wiring, facts, state)?;
    let (rows, ladder) = (checked.rows()?, checked.ladder(&outputs, &added)?);
    added.extend(ladder.column.as_deref().map(answered_by));
    let answers = answers(&wiring, &rows, &added, changes)?;
    let settings = decl.settings.clone();
    let spec = InferSpec {
        uid: step.uid.clone(),
        model: model.clone(),
        inputs,
        outputs,
        batch_rows: settings.batch_rows,
        batch_bytes: settings.batch_bytes,
        linger: settings.linger,
        limit: settings.limit,
        order: settings.order,
        attempts: settings.attempts,
        timeout: settings.timeout,
        on_error: settings.on_error,
        parallelism: settings.parallelism,
        weight: settings.weight,
        rows,
        ladder,
        answers,
    };
    Ok((spec, joined(input, added)))
}

/// Outputs of the model, each with the name of its column.
type Named = Vec<(String, String)>;

pub(super) struct Wiring<'a> {
    pub job: &'a JobFile,
    pub step: &'a StepDecl,
    pub decl: &'a InferDecl,
    pub signature: &'a ModelSignature,
    pub input: &'a SchemaRef,
}

// === impl Wiring ===

impl Wiring<'_> {
    /// The model's inputs in its order, each with the place of its column.
    fn inputs(&self) -> Result<Vec<(String, usize)>> {
        for (name, column) in &self.decl.inputs {
            if self.signature.input(name).is_none() {
                return Err(self.unknown(column, "input", name, &self.signature.inputs));
            }
        }
        self.signature.inputs.iter().map(|field| Ok((field.name.clone(), self.column_for(field)?))).collect()
    }

    fn column_for(&self, field: &ModelField) -> Result<usize> {
        let Some(column) = self.decl.inputs.get(&field.name) else {
            let error = self.error(&self.decl.model, format!("nothing feeds the input \"{}\"", field.name));
            return Err(error.with_help(format!("inputs = {{ {} = \"COLUMN\" }}, it takes {field}", field.name)));
        };
        let name = column.get_ref();
        let Ok(place) = self.input.index_of(name) else {
            let schema = DFSchema::try_from(self.input.as_ref().clone()).map_err(|error| internal(self.job, &error))?;
            let message = format!("there is no column \"{name}\" for the input \"{}\"", field.name);
            return Err(self.error(column, message).with_help(columns_help(name, &schema)));
        };
        if !takes(field, self.input.field(place)) {
            let given = shown(self.input.field(place));
            let message = format!("the input \"{}\" takes {field}, the column \"{name}\" is {given}", field.name);
            return Err(self.error(column, message).with_help("make the column fit in an earlier select or with step"));
        }
        Ok(place)
    }

    /// The kept outputs in the order of the model, and their columns.
    fn outputs(&self) -> Result<(Named, Vec<Field>)> {
        for (name, column) in &self.decl.outputs {
            if self.signature.output(name).is_none() {
                return Err(self.unknown(column, "output", name, &self.signature.outputs));
            }
        }
        let mut kept = Named::new();
        let mut fields = Vec::new();
        for field in &self.signature.outputs {
            let Some(column) = self.decl.outputs.get(&field.name) else { continue };
            let name = column.get_ref();
            let taken = kept.iter().any(|(_, other)| other == name) || self.input.index_of(name).is_ok();
            if taken || name.is_empty() {
                let message = format!("the output \"{}\" cannot be called \"{name}\"", field.name);
                let help = "choose a name that no other column has";
                return Err(self.error(column, message).with_help(help));
            }
            fields.push(self.answer_field(column, field)?);
            kept.push((field.name.clone(), name.clone()));
        }
        Ok((kept, fields))
    }

    /// The column of an output: always nullable, a row whose answer is missing may go on as null.
    fn answer_field(&self, column: &Spanned<String>, field: &ModelField) -> Result<Field> {
        let refused = |why: String| self.error(column, format!("the output \"{}\" is {field}: {why}", field.name));
        if !field.has_row_axis() {
            return Err(refused("its first axis is not the rows".to_string()));
        }
        let shape: Option<Vec<usize>> = field.row_shape().iter().copied().collect();
        let Some(shape) = shape else {
            return Err(refused("an axis other than the rows has no fixed length".to_string()));
        };
        if field.value == ANY {
            return Err(refused("a column has one type".to_string()));
        }
        if shape.is_empty() {
            return Ok(Field::new(column.get_ref(), field.value.clone(), true));
        }
        if !field.value.is_primitive() && field.value != DataType::Boolean {
            return Err(refused("only numbers and truth values can be in a tensor column".to_string()));
        }
        match TensorType::new(field.value.clone(), shape).checked(ANSWER_VALUES_MAX) {
            Ok(tensor) => Ok(tensor.field(column.get_ref(), true)),
            Err(_) => Err(refused(format!("a tensor column has at most {ANSWER_VALUES_MAX} values a row"))),
        }
    }

    fn unknown(&self, at: &Spanned<String>, what: &str, name: &str, fields: &[ModelField]) -> JobFileError {
        let known = fields.iter().map(|field| field.name.as_str());
        let near = nearest(name, known.clone()).map(|near| format!("did you mean \"{near}\"? "));
        let help = format!("{}it has {}", near.unwrap_or_default(), listed(known));
        self.error(at, format!("there is no {what} \"{name}\"")).with_help(help)
    }

    pub fn error<T>(&self, at: &Spanned<T>, message: String) -> JobFileError {
        let place = format!("step {}, model \"{}\"", self.step.number, self.decl.model.get_ref());
        self.job.text.error(at.span(), format!("{place}: {message}"))
    }
}

/// Whether `column` can feed `field` as it is. One value a row fits an axis of one value as well, as hosts lay it out.
pub(super) fn takes(field: &ModelField, column: &Field) -> bool {
    if field.value == ANY {
        return true;
    }
    let (value, shape) = match TensorType::of(column) {
        Some(tensor) => (tensor.value, tensor.shape),
        None => (column.data_type().clone(), Vec::new()),
    };
    let wanted = field.row_shape();
    if shape.is_empty() && matches!(wanted, [None | Some(1)]) {
        return same_value(&field.value, &value) && field.has_row_axis();
    }
    let axes = wanted.iter().zip(&shape).all(|(wanted, given)| wanted.is_none_or(|wanted| wanted == *given));
    same_value(&field.value, &value) && wanted.len() == shape.len() && axes && field.has_row_axis()
}

/// Text is text, and bytes are bytes, in each of Arrow's layouts.
fn same_value(wanted: &DataType, given: &DataType) -> bool {
    let text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    let bytes = |kind: &DataType| matches!(kind, DataType::Binary | DataType::LargeBinary | DataType::BinaryView);
    wanted == given || (text(wanted) && text(given)) || (bytes(wanted) && bytes(given))
}

/// A column's type as a model would say it: `Float32 [rows, 8, 8, 1]`.
fn shown(column: &Field) -> String {
    let (value, shape) = match TensorType::of(column) {
        Some(tensor) => (tensor.value, tensor.shape),
        None => (column.data_type().clone(), Vec::new()),
    };
    let row_shape: Vec<Option<usize>> = shape.into_iter().map(Some).collect();
    ModelField::new(column.name(), value, &row_shape).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_fit_by_value_type_and_shape() {
        let tensor = |shape: &[usize]| TensorType::new(DataType::Float32, shape).field("x", true);
        let case = |row_shape: &[Option<usize>], column: &Field, fits: bool| {
            let field = ModelField::new("x", DataType::Float32, row_shape);
            assert_eq!(takes(&field, column), fits, "{field} from {column}");
        };
        case(&[], &Field::new("x", DataType::Float32, true), true);
        case(&[Some(1)], &Field::new("x", DataType::Float32, true), true);
        case(&[None], &Field::new("x", DataType::Float32, true), true);
        case(&[Some(2)], &Field::new("x", DataType::Float32, true), false);
        case(&[], &Field::new("x", DataType::Float64, true), false);
        case(&[Some(2), None], &tensor(&[2, 7]), true);
        case(&[Some(2), None], &tensor(&[3, 7]), false);
        case(&[Some(14)], &tensor(&[2, 7]), false);
        case(&[], &tensor(&[1]), false);
        let any = ModelField::new("x", ANY, &[]);
        assert!(takes(&any, &tensor(&[3, 7])) && takes(&any, &Field::new("x", DataType::Date32, true)));
        let bytes = ModelField::new("x", DataType::Binary, &[]);
        assert!(takes(&bytes, &Field::new("x", DataType::BinaryView, true)));
        assert!(!takes(&bytes, &Field::new("x", DataType::Utf8, true)));
    }
}
