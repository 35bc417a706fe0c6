//! What one aggregate has seen of one window of one key.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Accumulator;
use datafusion::scalar::ScalarValue;
use forebay_core::{Error, Kind, Result};

use super::aggregate::{Aggregate, Form, wrong};
use super::balance::Balance;
use super::decimals::DecimalSum;
use super::taken::Taken;

/// See the module. Plain forms are those of [`Form`].
#[derive(Debug)]
pub(super) enum Cell {
    Count(i64),
    SumOfInts(Option<i64>),
    SumOfFloats(Option<f64>),
    Least(Option<i64>),
    Most(Option<i64>),
    Mean {
        count: u64,
        sum: f64,
    },
    Any(Box<dyn Accumulator>),
    /// The state of an accumulator, taken out of it: asking for its state may empty it.
    Frozen(Vec<ScalarValue>),
    /// Of rows that may be taken back; apart, because it is several times as large as the others.
    Balance(Box<Balance>),
}

// === impl Cell ===

impl Cell {
    /// That of no rows.
    pub fn new(aggregate: &Aggregate) -> Result<Self> {
        if aggregate.taken_back.is_some() {
            return Ok(Self::Balance(Box::new(Balance::new(aggregate)?)));
        }
        Ok(match aggregate.form {
            Form::Count => Self::Count(0),
            Form::SumOfInts => Self::SumOfInts(None),
            Form::SumOfFloats => Self::SumOfFloats(None),
            Form::Least => Self::Least(None),
            Form::Most => Self::Most(None),
            Form::Mean => Self::Mean { count: 0, sum: 0.0 },
            Form::Any | Form::Different | Form::Spread(_) => Self::Any(accumulator(aggregate)?),
        })
    }

    /// Takes `rows` of a batch, then takes back the rows `gone`; of these there are none over rows that only add.
    pub fn update(&mut self, aggregate: &Aggregate, taken: &Taken, rows: &[u32], gone: &[u32]) -> Result<()> {
        self.thaw(aggregate)?;
        match self {
            Self::Count(count) => *count += taken.count(rows),
            Self::SumOfInts(sum) => {
                taken.ints(rows).for_each(|value| *sum = Some(sum.unwrap_or_default().wrapping_add(value)));
            }
            Self::SumOfFloats(sum) => taken.floats(rows).for_each(|value| *sum = Some(sum.unwrap_or_default() + value)),
            Self::Least(least) => *least = taken.ints(rows).chain(*least).min(),
            Self::Most(most) => *most = taken.ints(rows).chain(*most).max(),
            Self::Mean { count, sum } => taken.floats(rows).for_each(|value| {
                *count += 1;
                *sum += value;
            }),
            Self::Any(accumulator) => {
                let arguments = taken.arguments(rows)?;
                accumulator.update_batch(&arguments).map_err(|source| {
                    Error::new(Kind::Data, "aggregate rows").with("aggregate", aggregate.function.name()).source(source)
                })?;
            }
            Self::Frozen(_) => {}
            Self::Balance(balance) => balance.update(aggregate, taken, rows, gone)?,
        }
        Ok(())
    }

    /// Takes what `other` has seen, which keeps it. Never called where rows may be taken back: sessions that join and windows
    /// made of slices take none back.
    pub fn merge(&mut self, aggregate: &Aggregate, other: &mut Self) -> Result<()> {
        match (&mut *self, other) {
            (Self::Count(count), Self::Count(more)) => *count += *more,
            (Self::SumOfInts(sum), Self::SumOfInts(Some(more))) => {
                *sum = Some(sum.unwrap_or_default().wrapping_add(*more));
            }
            (Self::SumOfFloats(sum), Self::SumOfFloats(Some(more))) => *sum = Some(sum.unwrap_or_default() + *more),
            (Self::Least(least), Self::Least(more)) => *least = least.iter().chain(more.iter()).copied().min(),
            (Self::Most(most), Self::Most(more)) => *most = most.iter().chain(more.iter()).copied().max(),
            (_, other) => {
                let state = other.state()?;
                self.merge_state(aggregate, &state)?;
            }
        }
        Ok(())
    }

    /// The result. With `keep` it may go on taking rows; without, it is spent.
    pub fn evaluate(&mut self, aggregate: &Aggregate, keep: bool) -> Result<ScalarValue> {
        let least = |value: Option<i64>| match aggregate.function.field().data_type() {
            DataType::Timestamp(_, zone) => ScalarValue::TimestampMicrosecond(value, zone.clone()),
            _ => ScalarValue::Int64(value),
        };
        Ok(match self {
            Self::Count(count) => ScalarValue::Int64(Some(*count)),
            Self::SumOfInts(sum) => ScalarValue::Int64(*sum),
            Self::SumOfFloats(sum) => ScalarValue::Float64(*sum),
            Self::Least(value) | Self::Most(value) => least(*value),
            Self::Mean { count, sum } => ScalarValue::Float64((*count > 0).then(|| *sum / *count as f64)),
            Self::Any(_) | Self::Frozen(_) => {
                if keep {
                    self.state()?;
                    return Self::Frozen(self.state()?).evaluate(aggregate, false);
                }
                self.thaw(aggregate)?;
                let Self::Any(accumulator) = self else { return Err(Error::new(Kind::Internal, "find accumulator")) };
                aggregate.finished(accumulator.evaluate())?
            }
            Self::Balance(balance) => balance.evaluate(aggregate)?,
        })
    }

    /// Its state, as DataFusion's accumulator of the function has it.
    pub fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(match self {
            Self::Count(count) => vec![ScalarValue::Int64(Some(*count))],
            Self::SumOfInts(value) | Self::Least(value) | Self::Most(value) => vec![ScalarValue::Int64(*value)],
            Self::SumOfFloats(sum) => vec![ScalarValue::Float64(*sum)],
            Self::Mean { count, sum } => {
                vec![ScalarValue::UInt64(Some(*count)), ScalarValue::Float64((*count > 0).then_some(*sum))]
            }
            Self::Any(accumulator) => {
                let state = accumulator.state().map_err(|source| wrong("take state of aggregate", source))?;
                *self = Self::Frozen(state.clone());
                state
            }
            Self::Frozen(state) => state.clone(),
            Self::Balance(balance) => balance.state()?,
        })
    }

    /// The cell that had this state.
    pub fn of_state(aggregate: &Aggregate, state: Vec<ScalarValue>) -> Result<Self> {
        if aggregate.taken_back.is_some() {
            return Ok(Self::Balance(Box::new(Balance::of_state(aggregate, &state)?)));
        }
        if aggregate.form == Form::Any {
            return Ok(Self::Frozen(state));
        }
        let mut cell = Self::new(aggregate)?;
        cell.merge_state(aggregate, &state)?;
        Ok(cell)
    }

    /// Roughly the bytes it takes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Any(accumulator) => accumulator.size(),
                Self::Frozen(state) => state.iter().map(ScalarValue::size).sum(),
                Self::Balance(balance) => size_of::<Balance>() + balance.size_bytes(),
                _ => 0,
            }
    }

    fn merge_state(&mut self, aggregate: &Aggregate, state: &[ScalarValue]) -> Result<()> {
        self.thaw(aggregate)?;
        let int = || state.first().and_then(int_of);
        match self {
            Self::Count(count) => *count += int().unwrap_or_default(),
            Self::SumOfInts(sum) => *sum = sum.map_or(int(), |sum| Some(sum.wrapping_add(int().unwrap_or_default()))),
            Self::Least(least) => *least = least.iter().copied().chain(int()).min(),
            Self::Most(most) => *most = most.iter().copied().chain(int()).max(),
            Self::SumOfFloats(sum) => {
                if let Some(ScalarValue::Float64(Some(more))) = state.first() {
                    *sum = Some(sum.unwrap_or_default() + more);
                }
            }
            Self::Mean { count, sum } => {
                if let [ScalarValue::UInt64(Some(rows)), ScalarValue::Float64(Some(more))] = state {
                    (*count, *sum) = (*count + rows, *sum + more);
                }
            }
            Self::Any(accumulator) => merge_into(accumulator.as_mut(), state)?,
            Self::Frozen(_) | Self::Balance(_) => {}
        }
        Ok(())
    }

    fn thaw(&mut self, aggregate: &Aggregate) -> Result<()> {
        if let Self::Frozen(state) = self {
            let mut accumulator = accumulator(aggregate)?;
            merge_into(accumulator.as_mut(), state)?;
            *self = Self::Any(accumulator);
        }
        Ok(())
    }
}

/// The number of a whole number or a time.
pub(super) fn int_of(value: &ScalarValue) -> Option<i64> {
    match value {
        ScalarValue::Int64(value) | ScalarValue::TimestampMicrosecond(value, _) => *value,
        _ => None,
    }
}

fn accumulator(aggregate: &Aggregate) -> Result<Box<dyn Accumulator>> {
    if let Some(sum) = DecimalSum::of(&aggregate.function, false) {
        return Ok(Box::new(sum));
    }
    aggregate.function.create_accumulator().map_err(|source| wrong("start aggregate", source))
}

/// Adds a state to `accumulator`.
pub(super) fn merge_into(accumulator: &mut dyn Accumulator, state: &[ScalarValue]) -> Result<()> {
    let columns: Result<Vec<ArrayRef>, _> = state.iter().map(ScalarValue::to_array).collect();
    let merged = columns.and_then(|columns| accumulator.merge_batch(&columns));
    merged.map_err(|source| match source {
        DataFusionError::Execution(reason) => Error::new(Kind::Data, "merge state of aggregate").source(reason),
        source => wrong("merge state of aggregate", source),
    })
}

/// What every pane of a window step is read and written by, shared by all.
#[derive(Debug)]
pub(super) struct Layout {
    pub aggregates: Vec<Aggregate>,
    /// Whether a pane knows how many rows are in it; only where rows may be taken back.
    pub counted: bool,
}

/// See [`Layout`].
pub(super) type Shared = Arc<Layout>;
