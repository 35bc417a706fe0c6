//! What one aggregate has seen of one window whose rows may be taken back.
//!
//! A row is taken back by its values, in any order, and leaves nothing: sums know how many values are in them, so that of none
//! they are null, and those of floats are exact until a result is asked for, as are those that variances are made of. Least,
//! greatest and different values are kept each with how often it is there.
//! Accumulators of DataFusion get no row with a null argument and are thrown away with their last row, because several of
//! them cannot come back from nothing.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::logical_expr::Accumulator;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::scalar::ScalarValue;
use forebay_core::{Error, Kind, Result};

use super::aggregate::{Aggregate, Form, wrong};
use super::cell::{int_of, merge_into};
use super::decimals::DecimalSum;
use super::floats::Floats;
use super::scalars::corrupt;
use super::spread::Spread;
use super::taken::Taken;
use super::values::Values;

/// See the module.
#[derive(Debug)]
pub(super) enum Balance {
    Count(i64),
    /// A sum and how many values are in it.
    Ints(i64, i64),
    /// Of a sum or a mean.
    Floats(Floats),
    /// Of the least, the greatest, or the number of different values.
    Values(Values),
    /// Of a variance or a line; apart, because it is several times as large as the others.
    Spread(Box<Spread>),
    /// An accumulator and how many rows are in it.
    Any(Box<dyn Accumulator>, u64),
    /// The state of such: asking for its state may empty it.
    Frozen(Vec<ScalarValue>, u64),
}

// === impl Balance ===

impl Balance {
    /// That of no rows.
    pub fn new(aggregate: &Aggregate) -> Result<Self> {
        Ok(match aggregate.form {
            Form::Count => Self::Count(0),
            Form::SumOfInts => Self::Ints(0, 0),
            Form::SumOfFloats | Form::Mean => Self::Floats(Floats::default()),
            Form::Least | Form::Most | Form::Different => Self::Values(Values::default()),
            Form::Spread(_) => Self::Spread(Box::default()),
            Form::Any => Self::Any(accumulator(&aggregate.function)?, 0),
        })
    }

    /// Takes the rows `added` of a batch, then takes back the rows `gone`.
    pub fn update(&mut self, aggregate: &Aggregate, taken: &Taken, added: &[u32], gone: &[u32]) -> Result<()> {
        self.thaw(aggregate)?;
        match self {
            Self::Count(count) => *count += taken.count(added) - taken.count(gone),
            Self::Ints(sum, count) => {
                for (rows, sign) in [(added, 1), (gone, -1)] {
                    taken.ints(rows).for_each(|value| {
                        (*sum, *count) = (sum.wrapping_add(value.wrapping_mul(sign)), *count + sign);
                    });
                }
            }
            Self::Floats(floats) => {
                taken.floats(added).for_each(|value| floats.add(value, 1));
                taken.floats(gone).for_each(|value| floats.add(value, -1));
            }
            Self::Values(values) => {
                taken.ordered(added).try_for_each(|(column, row, order)| values.add(column, row, order))?;
                taken.ordered(gone).for_each(|(_, _, order)| values.take_back(order));
            }
            Self::Spread(spread) => {
                spread.add(&taken.filled(added)?, 1)?;
                spread.add(&taken.filled(gone)?, -1)?;
            }
            Self::Any(accumulator, rows) => {
                let (added, gone) = (taken.filled(added)?, taken.filled(gone)?);
                let count = |columns: &[ArrayRef]| columns.first().map_or(0, |column| column.len() as u64);
                let failed = |source| {
                    Error::new(Kind::Data, "aggregate rows").with("aggregate", aggregate.function.name()).source(source)
                };
                if count(&added) > 0 {
                    accumulator.update_batch(&added).map_err(failed)?;
                }
                *rows = (*rows + count(&added)).saturating_sub(count(&gone));
                if *rows == 0 {
                    *self = Self::new(aggregate)?;
                } else if count(&gone) > 0 {
                    accumulator.retract_batch(&gone).map_err(failed)?;
                }
            }
            Self::Frozen(..) => {}
        }
        Ok(())
    }

    /// The result; it may go on taking rows.
    pub fn evaluate(&mut self, aggregate: &Aggregate) -> Result<ScalarValue> {
        self.thaw(aggregate)?;
        let (form, kind) = (aggregate.form, aggregate.function.field().data_type().clone());
        Ok(match self {
            Self::Count(count) => ScalarValue::Int64(Some(*count)),
            Self::Ints(sum, count) => ScalarValue::Int64((*count > 0).then_some(*sum)),
            Self::Floats(floats) if form == Form::Mean => ScalarValue::Float64(floats.mean()),
            Self::Floats(floats) => ScalarValue::Float64(floats.sum()),
            Self::Values(values) if form == Form::Different => ScalarValue::Int64(Some(values.len() as i64)),
            Self::Values(values) => {
                let found = if form == Form::Least { values.first() } else { values.last() };
                let value = found.map_or_else(|| ScalarValue::try_from(&kind), |value| value.cast_to(&kind));
                value.map_err(|source| wrong("finish aggregate", source))?
            }
            Self::Spread(spread) => match form {
                Form::Spread(statistic) => spread.result(statistic),
                _ => return Err(Error::new(Kind::Internal, "find statistic")),
            },
            Self::Any(accumulator, _) => aggregate.finished(accumulator.evaluate())?,
            Self::Frozen(..) => return Err(Error::new(Kind::Internal, "find accumulator")),
        })
    }

    /// Its state, of the types of [`state_kinds`].
    pub fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let int = |value: i64| ScalarValue::Int64(Some(value));
        Ok(match self {
            Self::Count(count) => vec![int(*count)],
            Self::Ints(sum, count) => vec![int(*sum), int(*count)],
            Self::Floats(floats) => floats.state(),
            Self::Values(values) => vec![ScalarValue::Binary(Some(values.encode()?))],
            Self::Spread(spread) => spread.state(),
            Self::Any(accumulator, rows) => {
                let state = accumulator.state().map_err(|source| wrong("take state of aggregate", source))?;
                *self = Self::Frozen(state, *rows);
                return self.state();
            }
            Self::Frozen(state, rows) => {
                let rows = ScalarValue::UInt64(Some(*rows));
                std::iter::once(rows).chain(state.iter().cloned()).collect()
            }
        })
    }

    /// That which had this state.
    pub fn of_state(aggregate: &Aggregate, state: &[ScalarValue]) -> Result<Self> {
        let int = |place: usize| state.get(place).and_then(int_of).ok_or_else(|| corrupt("a number is missing"));
        Ok(match aggregate.form {
            Form::Count => Self::Count(int(0)?),
            Form::SumOfInts => Self::Ints(int(0)?, int(1)?),
            Form::SumOfFloats | Form::Mean => Self::Floats(Floats::of_state(state)?),
            Form::Least | Form::Most | Form::Different => {
                let [ScalarValue::Binary(Some(bytes))] = state else { return Err(corrupt("values are missing")) };
                let kind = aggregate.taken_back.as_ref().unwrap_or(&DataType::Null);
                Self::Values(Values::decode(bytes, kind)?)
            }
            Form::Spread(_) => Self::Spread(Box::new(Spread::of_state(state)?)),
            Form::Any => match state.split_first() {
                Some((ScalarValue::UInt64(Some(rows)), state)) => Self::Frozen(state.to_vec(), *rows),
                _ => return Err(corrupt("the number of rows is missing")),
            },
        })
    }

    /// Roughly the bytes it takes beside itself.
    pub fn size_bytes(&self) -> usize {
        match self {
            Self::Floats(floats) => floats.size_bytes(),
            Self::Values(values) => values.size_bytes(),
            Self::Spread(spread) => spread.size_bytes(),
            Self::Any(accumulator, _) => accumulator.size(),
            Self::Frozen(state, _) => state.iter().map(ScalarValue::size).sum(),
            _ => 0,
        }
    }

    fn thaw(&mut self, aggregate: &Aggregate) -> Result<()> {
        if let Self::Frozen(state, rows) = self {
            let mut thawed = accumulator(&aggregate.function)?;
            if *rows > 0 {
                merge_into(thawed.as_mut(), state)?;
            }
            *self = Self::Any(thawed, *rows);
        }
        Ok(())
    }
}

/// Types of the values that the state of `function` in this form consists of.
///
/// # Errors
/// `Invalid` for a function that cannot take back a row.
pub(super) fn state_kinds(function: &AggregateFunctionExpr, form: Form) -> Result<Vec<DataType>> {
    Ok(match form {
        Form::Count => vec![DataType::Int64],
        Form::SumOfInts => vec![DataType::Int64; 2],
        Form::SumOfFloats | Form::Mean => Floats::default().state().iter().map(ScalarValue::data_type).collect(),
        Form::Least | Form::Most | Form::Different => vec![DataType::Binary],
        Form::Spread(_) => Spread::kinds(),
        Form::Any => {
            let mut empty = accumulator(function)?;
            let state = empty.state().map_err(|source| wrong("take state of aggregate", source))?;
            std::iter::once(DataType::UInt64).chain(state.iter().map(ScalarValue::data_type)).collect()
        }
    })
}

/// One that takes rows back.
fn accumulator(function: &AggregateFunctionExpr) -> Result<Box<dyn Accumulator>> {
    if let Some(sum) = DecimalSum::of(function, true) {
        return Ok(Box::new(sum));
    }
    let refused = || Error::new(Kind::Invalid, "start aggregate of updates").with("aggregate", function.name());
    let plain = function.create_accumulator().map_err(|source| wrong("start aggregate", source))?;
    if plain.supports_retract_batch() {
        return Ok(plain);
    }
    let sliding = function.create_sliding_accumulator().map_err(|source| refused().source(source))?;
    if sliding.supports_retract_batch() { Ok(sliding) } else { Err(refused()) }
}
