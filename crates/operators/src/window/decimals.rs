//! Sums of decimals that fail where they leave the range of their bits; DataFusion's go round. State is that of DataFusion's.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, UInt64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::scalar::ScalarValue;

/// See the module.
#[derive(Debug)]
pub(super) struct DecimalSum {
    sum: i128,
    /// How many values are in it; of a sum that takes none back, whether there are any.
    count: u64,
    precision: u8,
    scale: i8,
    takes_back: bool,
}

// === impl DecimalSum ===

impl DecimalSum {
    /// That of no values, if `function` is such a sum.
    pub fn of(function: &AggregateFunctionExpr, takes_back: bool) -> Option<Self> {
        match function.field().data_type() {
            DataType::Decimal128(precision, scale) if function.fun().name() == "sum" && !function.is_distinct() => {
                Some(Self { sum: 0, count: 0, precision: *precision, scale: *scale, takes_back })
            }
            _ => None,
        }
    }

    fn change(&mut self, values: &[ArrayRef], by: impl Fn(i128, i128) -> Option<i128>) -> Result<u64> {
        let [values, ..] = values else { return Ok(0) };
        for value in values.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = by(self.sum, value).ok_or_else(too_large)?;
        }
        Ok((values.len() - values.null_count()) as u64)
    }
}

impl Accumulator for DecimalSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count += self.change(values, i128::checked_add)?;
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let gone = self.change(values, i128::checked_sub)?;
        self.count = self.count.saturating_sub(gone);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        self.takes_back
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128((self.count > 0).then_some(self.sum), self.precision, self.scale))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let count = self.takes_back.then_some(ScalarValue::UInt64(Some(self.count)));
        Ok(std::iter::once(self.evaluate()?).chain(count).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = self.change(states, i128::checked_add)?;
        self.count += match states {
            [_, counts] => counts.as_primitive::<UInt64Type>().iter().flatten().sum(),
            _ => sums,
        };
        Ok(())
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }
}

fn too_large() -> DataFusionError {
    let reason = "the sum of decimals is too large: cast the argument to a decimal of fewer digits, or to a double";
    DataFusionError::Execution(reason.to_string())
}
