//! A sum of floats from which any value can be taken back.
//!
//! What addition rounds off is summed beside the sum (Neumaier), so values of very different size leave each other alone
//! better than in a plain sum; taking back is still exact only up to rounding. Values that are no numbers are counted instead of added:
//! an infinity or a NaN that is taken back leaves the sum of the others.

use datafusion::scalar::ScalarValue;
use forebay_core::Result;

use super::cell::int_of;
use super::scalars::corrupt;

/// See the module.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Floats {
    sum: f64,
    rest: f64,
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
            (self.sum, self.rest) = (0.0, 0.0);
        } else if place == 0 {
            let value = value * sign as f64;
            let sum = self.sum + value;
            self.rest +=
                if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
            self.sum = sum;
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
            // Where the sum itself has left the range of floats, what was rounded off is no number.
            (_, false, false) if !self.sum.is_finite() => Some(self.sum),
            (_, false, false) => Some(self.sum + self.rest),
        }
    }

    /// The mean; `None` of no values.
    pub fn mean(&self) -> Option<f64> {
        self.sum().map(|sum| sum / self.count() as f64)
    }

    /// As values of state.
    pub fn state(&self) -> Vec<ScalarValue> {
        let floats = [self.sum, self.rest].map(|value| ScalarValue::Float64(Some(value)));
        floats.into_iter().chain(self.counts.map(|count| ScalarValue::Int64(Some(count)))).collect()
    }

    /// That which had this state.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn of_state(state: &[ScalarValue]) -> Result<Self> {
        let [ScalarValue::Float64(Some(sum)), ScalarValue::Float64(Some(rest)), counts @ ..] = state else {
            return Err(corrupt("a sum is missing"));
        };
        let counts: Option<Vec<i64>> = counts.iter().map(int_of).collect();
        let counts = counts.and_then(|counts| counts.try_into().ok()).ok_or_else(|| corrupt("a count is missing"))?;
        Ok(Self { sum: *sum, rest: *rest, counts })
    }

    fn count(&self) -> i64 {
        self.counts.iter().sum()
    }
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
    fn state_is_read_back() {
        let floats = of(&[1.5, -2.5, f64::NEG_INFINITY]);
        assert_eq!(Floats::of_state(&floats.state()).unwrap(), floats);
        assert!(Floats::of_state(&floats.state()[..5]).is_err());
    }
}
