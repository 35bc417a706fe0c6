//! Sums over the values of one or two embeddings, in double precision.
//!
//! Single-precision values never overflow here. Double-precision ones whose squares would leave the range of the type are
//! scaled by their largest first, so that direction and length come out for every finite vector.

/// A value that becomes a double without loss.
pub(super) trait Number: Copy + Into<f64> {}

impl Number for f32 {}
impl Number for f64 {}

/// Sums kept side by side, so that the compiler uses vector instructions without reordering a sum.
const LANES: usize = 8;

/// Sums of squares for which neither the sum nor the product of two of them leaves the range of a double.
const SAFE_SQUARES: std::ops::RangeInclusive<f64> = 1e-150..=1e150;

/// Sum of the products of `left` and `right`, which are of one length.
pub(super) fn dot<L: Number, R: Number>(left: &[L], right: &[R]) -> f64 {
    sum(left, right, |left, right| left * right)
}

/// Sum of the squared differences of `left` and `right`, which are of one length.
pub(super) fn squared_distance<L: Number, R: Number>(left: &[L], right: &[R]) -> f64 {
    sum(left, right, |left, right| (left - right) * (left - right))
}

/// Cosine of the angle between `left` and `right`, in -1..=1; `None` where all values of one of them are zero.
pub(super) fn cosine<L: Number, R: Number>(left: &[L], right: &[R]) -> Option<f64> {
    let (squares_left, squares_right) = (dot(left, left), dot(right, right));
    if SAFE_SQUARES.contains(&squares_left) && SAFE_SQUARES.contains(&squares_right) {
        return Some(quotient(dot(left, right), squares_left, squares_right));
    }
    let (left, right) = (scaled(left)?, scaled(right)?);
    Some(quotient(dot(&left, &right), dot(&left, &left), dot(&right, &right)))
}

/// A product by the lengths of what was multiplied. One root, because that of a square is exact: a vector beside itself
/// gives 1.
fn quotient(product: f64, squares_left: f64, squares_right: f64) -> f64 {
    (product / (squares_left * squares_right).sqrt()).clamp(-1.0, 1.0)
}

/// The length of the difference of `left` and `right`, which are of one length.
pub(super) fn distance<L: Number, R: Number>(left: &[L], right: &[R]) -> f64 {
    let squares = squared_distance(left, right);
    if SAFE_SQUARES.contains(&squares) {
        return squares.sqrt();
    }
    let differences: Vec<f64> = left.iter().zip(right).map(|(left, right)| (*left).into() - (*right).into()).collect();
    let largest = largest(&differences);
    match scaled(&differences) {
        Some(scaled) if largest.is_finite() => dot(&scaled, &scaled).sqrt() * largest,
        _ => largest,
    }
}

/// What `values` are divided by to have length 1, one divisor after the other; `None` where all are zero.
pub(super) fn divisors<T: Number>(values: &[T]) -> Option<(f64, f64)> {
    let squares = dot(values, values);
    if SAFE_SQUARES.contains(&squares) {
        return Some((1.0, squares.sqrt()));
    }
    let scaled = scaled(values)?;
    Some((largest(values), dot(&scaled, &scaled).sqrt()))
}

/// The values divided by the largest of them, so that it becomes 1 or -1; `None` where all are zero.
fn scaled<T: Number>(values: &[T]) -> Option<Vec<f64>> {
    let largest = largest(values);
    (largest != 0.0).then(|| values.iter().map(|value| (*value).into() / largest).collect())
}

/// The largest absolute value, 0 without any, and NaN if there is one.
fn largest<T: Number>(values: &[T]) -> f64 {
    let absolute = values.iter().map(|value| (*value).into().abs());
    absolute.fold(0.0, |largest, value| if value > largest || value.is_nan() { value } else { largest })
}

fn sum<L: Number, R: Number>(left: &[L], right: &[R], term: impl Fn(f64, f64) -> f64) -> f64 {
    let (mut lefts, mut rights) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let mut sums = [0.0; LANES];
    for (left, right) in lefts.by_ref().zip(rights.by_ref()) {
        for ((sum, left), right) in sums.iter_mut().zip(left).zip(right) {
            *sum += term((*left).into(), (*right).into());
        }
    }
    let rest = lefts.remainder().iter().zip(rights.remainder());
    sums.iter().sum::<f64>() + rest.map(|(left, right)| term((*left).into(), (*right).into())).sum::<f64>()
}
