//! A sum of floats from which any value can be taken back.
//!
//! The sum is exact and rounded once when it is asked for, so what is taken back leaves that of the others, in whatever
//! order they came and however large it was. Values that are no numbers are counted instead of added: an infinity or a NaN that
//! is taken back leaves the sum of the others.

use arrow::datatypes::DataType;
use datafusion::scalar::ScalarValue;
use forebay_core::Result;

use super::cell::int_of;
use super::exact::Exact;
use super::scalars::corrupt;

/// Types of the state that was written before sums were exact: a sum, what it had rounded off, the counts.
pub(super) const OLDER_KINDS: [DataType; 6] =
    [DataType::Float64, DataType::Float64, DataType::Int64, DataType::Int64, DataType::Int64, DataType::Int64];

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Floats {
    /// Of those that are finite.
    sum: Exact,
    /// Values that are finite, infinite, negatively infinite, and no numbers.
    counts: [i64; 4],
}

// === impl Floats ===

impl Floats {
    /// Adds `value` where `sign` is 1, and takes it back where it is -1.
    pub fn add(&mut self, value: f64, sign: i64) {
        let place = match value {
            value if value.is_nan() => 3,
            f64::INFINITY => 1,
            f64::NEG_INFINITY => 2,
            _ => 0,
        };
        self.counts[place] += sign;
        if self.counts[0] == 0 {
            self.sum = Exact::default();
        } else if place == 0 {
            self.sum.add(value, sign);
        }
    }

    /// The sum; `None` of no values.
    pub fn sum(&self) -> Option<f64> {
        let [_, up, down, none] = self.counts;
        match (self.count() > 0, up > 0, down > 0) {
            (false, ..) => None,
            _ if none > 0 => Some(f64::NAN),
            (_, true, true) => Some(f64::NAN),
            (_, true, false) => Some(f64::INFINITY),
            (_, false, true) => Some(f64::NEG_INFINITY),
            (_, false, false) => Some(self.sum.float()),
        }
    }

    /// The mean; `None` of no values.
    pub fn mean(&self) -> Option<f64> {
        self.sum().map(|sum| sum / self.count() as f64)
    }

    /// How many values are in it.
    pub fn count(&self) -> i64 {
        self.counts.iter().sum()
    }

    /// The sum without rounding; `None` where a value is not finite.
    pub fn exact(&self) -> Option<&Exact> {
        (self.counts[1..] == [0; 3]).then_some(&self.sum)
    }

    /// As values of state.
    pub fn state(&self) -> Vec<ScalarValue> {
        let sum = ScalarValue::Binary(Some(self.sum.encode()));
        std::iter::once(sum).chain(self.counts.map(|count| ScalarValue::Int64(Some(count)))).collect()
    }

    /// That which had this state, also one of [`OLDER_KINDS`].
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn of_state(state: &[ScalarValue]) -> Result<Self> {
        let (sum, counts) = match state {
            [ScalarValue::Binary(Some(sum)), counts @ ..] => (Ok(Exact::decode(sum)?), counts),
            [ScalarValue::Float64(Some(sum)), ScalarValue::Float64(Some(rest)), counts @ ..] => {
                (older(*sum, *rest), counts)
            }
            _ => return Err(corrupt("a sum is missing")),
        };
        let counts: Option<Vec<i64>> = counts.iter().map(int_of).collect();
        let counts = counts.and_then(|counts| counts.try_into().ok()).ok_or_else(|| corrupt("a count is missing"))?;
        let mut floats = Self { sum: Exact::default(), counts };
        match sum {
            Ok(sum) => floats.sum = sum,
            // The sum had left the range of floats, and what was in it cannot be known any more.
            Err(lost) => floats.add(lost, 1),
        }
        Ok(floats)
    }

    /// Roughly the bytes it takes beside itself.
    pub fn size_bytes(&self) -> usize {
        self.sum.size_bytes()
    }
}

/// A sum of an older state, or what it had become where that is no number.
fn older(sum: f64, rest: f64) -> Result<Exact, f64> {
    if !sum.is_finite() || !rest.is_finite() {
        return Err(sum + rest);
    }
    let mut exact = Exact::default();
    [sum, rest].into_iter().for_each(|value| exact.add(value, 1));
    Ok(exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Floats {
        let mut floats = Floats::default();
        values.iter().for_each(|value| floats.add(*value, 1));
        floats
    }

    #[test]
    fn what_is_taken_back_leaves_the_sum_of_the_others() {
        let mut floats = of(&[1e300, 0.1, f64::INFINITY, f64::NAN, 0.2]);
        assert!(floats.sum().is_some_and(f64::is_nan));
        floats.add(f64::NAN, -1);
        assert_eq!(floats.sum(), Some(f64::INFINITY));
        floats.add(f64::INFINITY, -1);
        floats.add(1e300, -1);
        assert_eq!(floats.sum(), Some(0.1 + 0.2));
        assert_eq!(floats.mean(), Some((0.1 + 0.2) / 2.0));
        floats.add(0.1, -1);
        floats.add(0.2, -1);
        assert_eq!((floats.sum(), floats), (None, Floats::default()));
    }

    #[test]
    fn a_sum_that_left_the_range_of_floats_comes_back() {
        let mut floats = of(&[1e308, 1e308, 3.0]);
        assert_eq!(floats.sum(), Some(f64::INFINITY));
        for (gone, new) in [(1e308, 1.0), (1e308, 2.0)] {
            floats.add(gone, -1);
            floats.add(new, 1);
        }
        assert_eq!((floats.sum(), floats.mean()), (Some(6.0), Some(2.0)));
    }

    #[test]
    fn state_is_read_back() {
        let floats = of(&[1.5, -2.5, f64::NEG_INFINITY]);
        assert_eq!(Floats::of_state(&floats.state()).unwrap(), floats);
        assert!(Floats::of_state(&floats.state()[..4]).is_err());
    }

    #[test]
    fn state_of_rounded_sums_is_read() {
        let older = |sum: f64, rest: f64| {
            let floats = [sum, rest].map(|value| ScalarValue::Float64(Some(value)));
            let state: Vec<_> =
                floats.into_iter().chain([2, 0, 0, 0].map(|count| ScalarValue::Int64(Some(count)))).collect();
            assert!(state.iter().map(ScalarValue::data_type).eq(OLDER_KINDS));
            Floats::of_state(&state).unwrap()
        };
        assert_eq!(older(0.5, 0.25), of(&[0.5, 0.25]));
        assert!(older(f64::INFINITY, f64::NAN).sum().is_some_and(|sum| !sum.is_finite()));
    }
}
