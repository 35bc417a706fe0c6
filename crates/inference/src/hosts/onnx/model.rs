//! The child's side: one onnxruntime session over one file.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, FieldRef, Schema};
use forebay_core::{Error, Kind, Result};
use ort::session::{Session, SessionInputValue};
use ort::value::{Outlet, TensorElementType, ValueType};

use super::columns::{column_of, tensor_of};
use super::{Open, revision_of};
use crate::hosts::{Answers, Signature, Slot};
use crate::request::RequestBatch;
use crate::worker::Model;

/// A loaded session.
pub(crate) struct OnnxModel {
    session: Session,
    signature: Signature,
}

// === impl OnnxModel ===

impl OnnxModel {
    pub(crate) fn open(settings: &str) -> Result<Self> {
        let invalid = |attempted: &str| Error::new(Kind::Invalid, attempted);
        let open: Open = serde_json::from_str(settings).map_err(|source| invalid("read settings").source(source))?;
        let path = open.path.display().to_string();
        let environment = ort::init_from(&open.library)
            .map_err(|source| source.to_string())
            .and_then(|builder| builder.with_telemetry(false).build().map_err(|source| source.to_string()))
            .map_err(|source| invalid("load onnxruntime").with("library", open.library.display()).source(source))?;
        if revision_of(&open.path)? != open.revision {
            return Err(invalid("load model").with("model", path).source("the file changed since the job was planned"));
        }
        let session = Session::builder(&environment)
            .map_err(|source| source.to_string())
            .and_then(|builder| builder.with_intra_threads(open.threads).map_err(|source| source.to_string()))
            .and_then(|mut builder| builder.commit_from_file(&open.path).map_err(|source| source.to_string()))
            .map_err(|source| invalid("load model").with("model", &path).source(source))?;
        let slots = |outlets: &[Outlet]| outlets.iter().map(slot_of).collect::<Result<Vec<Slot>>>();
        let signature = Signature { inputs: slots(session.inputs())?, outputs: slots(session.outputs())? };
        Ok(Self { session, signature })
    }
}

impl Model for OnnxModel {
    fn signature(&self) -> Signature {
        self.signature.clone()
    }

    fn call(&mut self, batch: &RequestBatch) -> Result<Answers> {
        let mut inputs: Vec<(String, SessionInputValue)> = Vec::new();
        for slot in &self.signature.inputs {
            let place = batch.rows.schema().index_of(&slot.name).map_err(|_| {
                Error::new(Kind::Invalid, "match column to model input")
                    .with("input", &slot.name)
                    .with("given", "nothing")
            })?;
            let field = batch.rows.schema().field(place).clone();
            inputs.push((slot.name.clone(), tensor_of(slot, &field, batch.rows.column(place))?));
        }
        let outputs = self.session.run(inputs).map_err(|source| {
            let kind = kind_of(&source);
            Error::new(kind, "run model").with("rows", batch.len()).source(source.to_string())
        })?;
        let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::new();
        for slot in &self.signature.outputs {
            let missing = || Error::new(Kind::Internal, "read model output").with("output", &slot.name);
            columns.push(column_of(slot, outputs.get(&slot.name).ok_or_else(missing)?)?);
        }
        let (fields, columns): (Vec<FieldRef>, Vec<ArrayRef>) = columns.into_iter().unzip();
        let rows = RecordBatch::try_new(Schema::new(fields).into(), columns);
        rows.map(Answers::from).map_err(|source| Error::new(Kind::Invalid, "join model outputs").source(source))
    }
}

/// An input or output of the session, which has to be one tensor with the rows along its first axis.
fn slot_of(outlet: &Outlet) -> Result<Slot> {
    let error = || Error::new(Kind::Invalid, "read model signature").with("name", outlet.name());
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(error().source(format!(
            "it is no tensor but {:?}; export the model without it (scikit-learn: options={{'zipmap': False}})",
            outlet.dtype()
        )));
    };
    let value = value_of(*ty).ok_or_else(|| error().source(format!("values of type {ty:?} are not supported")))?;
    match shape.split_first() {
        None => Err(error().source("it has no row axis; export the model with a first axis for rows")),
        Some((rows, _)) if *rows >= 0 => Err(error().with("rows", rows).source(
            "its first axis has a fixed length; export the model with a dynamic first axis, so that it takes request batches",
        )),
        Some((_, axes)) => {
            let shape = axes.iter().map(|axis| usize::try_from(*axis).ok()).collect();
            Ok(Slot { name: outlet.name().to_string(), value, shape })
        }
    }
}

fn value_of(kind: TensorElementType) -> Option<DataType> {
    Some(match kind {
        TensorElementType::Float32 => DataType::Float32,
        TensorElementType::Float64 => DataType::Float64,
        TensorElementType::Float16 => DataType::Float16,
        TensorElementType::Int8 => DataType::Int8,
        TensorElementType::Int16 => DataType::Int16,
        TensorElementType::Int32 => DataType::Int32,
        TensorElementType::Int64 => DataType::Int64,
        TensorElementType::Uint8 => DataType::UInt8,
        TensorElementType::Uint16 => DataType::UInt16,
        TensorElementType::Uint32 => DataType::UInt32,
        TensorElementType::Uint64 => DataType::UInt64,
        TensorElementType::Bool => DataType::Boolean,
        TensorElementType::String => DataType::Utf8,
        _ => return None,
    })
}

/// onnxruntime tells out of memory from bad rows only in its text.
fn kind_of(error: &ort::Error) -> Kind {
    let text = error.message().to_lowercase();
    if text.contains("bad_alloc") || text.contains("failed to allocate") || text.contains("out of memory") {
        Kind::Exhausted
    } else {
        Kind::Data
    }
}
