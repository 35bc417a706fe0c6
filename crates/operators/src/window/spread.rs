//! Variances and lines through points, of rows any of which may be taken back.
//!
//! Kept are sums of the values, of their squares and of their products, all exact: what is computed of them is that of the
//! rows that are left, in whatever order these came and whatever was among them before. DataFusion's own accumulators undo a
//! row by arithmetic that rounds, which leaves all or nothing of a small variance behind a large value.
//!
//! Where a value is an infinity or a NaN, so is its mean, and whatever else it is in is NaN. What is null is what DataFusion
//! makes null.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::scalar::ScalarValue;
use forebay_core::{Error, Kind, Result};

use super::exact::{Exact, ratio};
use super::floats::Floats;
use super::scalars::corrupt;

/// What is computed of a spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Statistic {
    /// By one less than the rows of a `sample`.
    Variance {
        sample: bool,
    },
    /// Its root.
    Deviation {
        sample: bool,
    },
    Slope,
    Intercept,
    /// How much of one the other explains.
    Determination,
    Count,
    MeanX,
    MeanY,
    SquaresX,
    SquaresY,
    Products,
}

/// See the module. Of variances `y` is always 0.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Spread {
    x: Floats,
    y: Floats,
    /// Sums of x², y² and xy where these are finite.
    products: [Exact; 3],
}

// === impl Statistic ===

impl Statistic {
    /// That of DataFusion's function of this name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "var" => Self::Variance { sample: true },
            "var_pop" => Self::Variance { sample: false },
            "stddev" => Self::Deviation { sample: true },
            "stddev_pop" => Self::Deviation { sample: false },
            "regr_slope" => Self::Slope,
            "regr_intercept" => Self::Intercept,
            "regr_r2" => Self::Determination,
            "regr_count" => Self::Count,
            "regr_avgx" => Self::MeanX,
            "regr_avgy" => Self::MeanY,
            "regr_sxx" => Self::SquaresX,
            "regr_syy" => Self::SquaresY,
            "regr_sxy" => Self::Products,
            _ => return None,
        })
    }
}

// === impl Spread ===

impl Spread {
    /// Adds the rows of `columns`, none of which is null, or with `sign` -1 takes them back: x, or y and x.
    ///
    /// # Errors
    /// `Internal` for columns that are not these.
    pub fn add(&mut self, columns: &[ArrayRef], sign: i64) -> Result<()> {
        let floats = |column: &ArrayRef| column.as_primitive_opt::<Float64Type>().cloned();
        let columns: Option<Vec<_>> = columns.iter().map(floats).collect();
        match columns.as_deref() {
            Some([x]) => x.values().iter().for_each(|x| self.add_row(*x, 0.0, sign)),
            Some([y, x]) => x.values().iter().zip(y.values()).for_each(|(x, y)| self.add_row(*x, *y, sign)),
            _ => return Err(Error::new(Kind::Internal, "find arguments of variance")),
        }
        Ok(())
    }

    fn add_row(&mut self, x: f64, y: f64, sign: i64) {
        self.x.add(x, sign);
        self.y.add(y, sign);
        if self.x.count() == 0 {
            *self = Self::default();
            return;
        }
        for ((one, other), products) in [(x, x), (y, y), (x, y)].into_iter().zip(&mut self.products) {
            if one.is_finite() && other.is_finite() {
                products.add_product(one, other, sign);
            }
        }
    }

    /// What `statistic` is of the rows in it.
    pub fn result(&self, statistic: Statistic) -> ScalarValue {
        match statistic {
            Statistic::Count => ScalarValue::UInt64(Some(self.x.count().max(0) as u64)),
            _ => ScalarValue::Float64(self.float(statistic)),
        }
    }

    fn float(&self, statistic: Statistic) -> Option<f64> {
        use Statistic as S;
        let rows = self.x.count();
        match statistic {
            _ if rows < 1 => None,
            S::Count => Some(rows as f64),
            S::Variance { sample } => self.variance(rows, sample),
            S::Deviation { sample } => self.variance(rows, sample).map(f64::sqrt),
            S::MeanX => mean(&self.x, rows),
            S::MeanY => mean(&self.y, rows),
            S::SquaresX => Some(over(self.squares_x(), Exact::of_int(rows))),
            S::SquaresY => Some(over(self.squares_y(), Exact::of_int(rows))),
            S::Products => Some(over(self.crossed(), Exact::of_int(rows))),
            S::Slope | S::Intercept | S::Determination if rows == 1 || is_zero(&self.squares_x()) => None,
            S::Determination if is_zero(&self.squares_y()) => None,
            S::Slope => Some(self.line(|crossed, squares, _| ratio(crossed, squares))),
            S::Determination => {
                Some(self.line(|crossed, squares, squares_y| ratio(&crossed.times(crossed), &squares.times(squares_y))))
            }
            S::Intercept => Some(self.intercept(rows)),
        }
    }

    fn variance(&self, rows: i64, sample: bool) -> Option<f64> {
        match (rows, sample) {
            (1, true) => None,
            (1, false) => Some(0.0),
            _ => {
                let less = rows - i64::from(sample);
                Some(over(self.squares_x(), Exact::of_int(rows).times(&Exact::of_int(less))))
            }
        }
    }

    /// What `of` makes of xy and x² and y², or NaN where a value is not finite.
    fn line(&self, of: impl Fn(&Exact, &Exact, &Exact) -> f64) -> f64 {
        match (self.crossed(), self.squares_x(), self.squares_y()) {
            (Some(crossed), Some(squares_x), Some(squares_y)) => of(&crossed, &squares_x, &squares_y),
            _ => f64::NAN,
        }
    }

    /// The mean of y less the slope times the mean of x, in one fraction.
    fn intercept(&self, rows: i64) -> f64 {
        let (Some(x), Some(y)) = (self.x.exact(), self.y.exact()) else { return f64::NAN };
        self.line(|crossed, squares, _| {
            let over = y.times(squares).minus(&crossed.times(x));
            ratio(&over, &squares.times(&Exact::of_int(rows)))
        })
    }

    fn squares_x(&self) -> Option<Exact> {
        self.apart(&self.x, &self.x, &self.products[0])
    }

    fn squares_y(&self) -> Option<Exact> {
        self.apart(&self.y, &self.y, &self.products[1])
    }

    fn crossed(&self) -> Option<Exact> {
        self.apart(&self.x, &self.y, &self.products[2])
    }

    /// So many times as there are rows the sum of the products of what two values are apart from their means; `None` where one
    /// is not finite.
    fn apart(&self, one: &Floats, other: &Floats, products: &Exact) -> Option<Exact> {
        Some(Exact::of_int(one.count()).times(products).minus(&one.exact()?.times(other.exact()?)))
    }

    /// As values of state, of the types [`Spread::kinds`].
    pub fn state(&self) -> Vec<ScalarValue> {
        let products = self.products.iter().map(|products| ScalarValue::Binary(Some(products.encode())));
        self.x.state().into_iter().chain(self.y.state()).chain(products).collect()
    }

    /// Types of its state.
    pub fn kinds() -> Vec<DataType> {
        Self::default().state().iter().map(ScalarValue::data_type).collect()
    }

    /// That which had this state.
    ///
    /// # Errors
    /// `Corrupt` if it is none.
    pub fn of_state(state: &[ScalarValue]) -> Result<Self> {
        let cut = || corrupt("sums are missing");
        let (sums, products) = state.split_last_chunk::<3>().ok_or_else(cut)?;
        let (x, y) = sums.split_at(sums.len() / 2);
        let mut spread = Self { x: Floats::of_state(x)?, y: Floats::of_state(y)?, products: Default::default() };
        for (sum, stored) in spread.products.iter_mut().zip(products) {
            let ScalarValue::Binary(Some(stored)) = stored else { return Err(cut()) };
            *sum = Exact::decode(stored)?;
        }
        Ok(spread)
    }

    /// Roughly the bytes it takes.
    pub fn size_bytes(&self) -> usize {
        let products: usize = self.products.iter().map(Exact::size_bytes).sum();
        size_of::<Self>() + self.x.size_bytes() + self.y.size_bytes() + products
    }
}

fn is_zero(value: &Option<Exact>) -> bool {
    value.as_ref().is_some_and(Exact::is_zero)
}

fn over(value: Option<Exact>, under: Exact) -> f64 {
    value.map_or(f64::NAN, |value| ratio(&value, &under))
}

fn mean(of: &Floats, rows: i64) -> Option<f64> {
    of.exact().map(|sum| ratio(sum, &Exact::of_int(rows))).or_else(|| of.mean())
}
