//! DataFusion's SQL parser and function registry, with the row functions known to it by name.
//!
//! No query ever runs in the session: it parses expressions, coerces types and turns expressions into physical ones.
//! Column names are taken as written (no lower-casing), because they come from files and not from a catalogue. A row
//! function is registered so that SQL finds it; every call is then taken out of its expression (`hoist`), so its own
//! `invoke` is never reached.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue, internal_err};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::registry::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionConfig;
use forebay_core::function::{Argument, RowFunction};
use forebay_core::{Error, Kind};

/// A session that knows `functions` beside DataFusion's own.
pub(crate) fn open(functions: &[Arc<dyn RowFunction>]) -> Result<SessionState> {
    let mut config = SessionConfig::new();
    config.options_mut().sql_parser.enable_ident_normalization = false;
    config.options_mut().sql_parser.map_string_types_to_utf8view = false;
    let mut state = SessionStateBuilder::new().with_config(config).with_default_features().build();
    for function in functions {
        state.register_udf(Arc::new(ScalarUDF::from(RowUdf::new(Arc::clone(function)))))?;
    }
    Ok(state)
}

/// A row function as DataFusion's SQL planner sees it.
#[derive(Debug)]
pub(super) struct RowUdf {
    pub function: Arc<dyn RowFunction>,
    signature: Signature,
}

// === impl RowUdf ===

impl RowUdf {
    fn new(function: Arc<dyn RowFunction>) -> Self {
        Self { function, signature: Signature::variadic_any(Volatility::Immutable) }
    }

    /// The row function behind `udf`, if it is one.
    pub fn of(udf: &ScalarUDF) -> Option<&Arc<dyn RowFunction>> {
        let inner: &dyn Any = udf.inner().as_ref();
        inner.downcast_ref::<Self>().map(|row| &row.function)
    }
}

impl PartialEq for RowUdf {
    fn eq(&self, other: &Self) -> bool {
        self.function.name() == other.function.name()
    }
}

impl Eq for RowUdf {}

impl Hash for RowUdf {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.name().hash(state);
    }
}

impl ScalarUDFImpl for RowUdf {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on its literal arguments", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let given = args.arg_fields.iter().zip(args.scalar_arguments);
        let arguments: Vec<Argument> = given
            .map(|(field, literal)| argument(field, *literal))
            .collect::<forebay_core::Result<_>>()
            .map_err(|error| DataFusionError::External(Box::new(error)))?;
        let bound = self.function.bind(&arguments).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(bound.output())
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{} runs as a step of its own and is never evaluated inside an expression", self.name())
    }
}

/// An argument as the function's `bind` takes it: a literal where one is written, otherwise a column.
///
/// # Errors
/// `Invalid` for literals that no function takes: null, true and false, dates.
pub(super) fn argument(field: &FieldRef, literal: Option<&ScalarValue>) -> forebay_core::Result<Argument> {
    let Some(literal) = literal else { return Ok(Argument::Column(Arc::clone(field))) };
    let refused = || Error::new(Kind::Invalid, format!("the argument {literal} is not a column, a number or a text"));
    match literal {
        ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
            Ok(Argument::Text(text.clone()))
        }
        ScalarValue::Float64(Some(number)) => Ok(Argument::Float(*number)),
        ScalarValue::Float32(Some(number)) => Ok(Argument::Float(f64::from(*number))),
        other if other.data_type().is_integer() && !other.is_null() => match other.cast_to(&DataType::Int64) {
            Ok(ScalarValue::Int64(Some(number))) => Ok(Argument::Int(number)),
            _ => Err(refused()),
        },
        _ => Err(refused()),
    }
}
