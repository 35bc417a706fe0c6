//! Whole numbers of any length times a power of two: sums and products of floats without rounding.
//!
//! Every finite float is such a number, and so is each sum and product of floats. What is added and taken back again
//! leaves nothing, whatever was added beside it; only [`Exact::float`] and [`ratio`] round.

use forebay_core::Result;

use super::scalars::{bytes, corrupt};

const BITS: i32 = 32;
const MASK: i64 = (1 << BITS) - 1;

/// See the module. Takes eight bytes for each 32 bits from its least to its greatest, for any sum of floats at most 600.
#[derive(Debug, Clone, Default)]
pub(super) struct Exact {
    /// The first digit counts `2^(32 * low)`.
    low: i32,
    /// From 0 to below `2^32`, the least first; only the last, which is not 0, has the sign of the whole.
    digits: Vec<i64>,
}

// === impl Exact ===

impl Exact {
    pub fn of_int(value: i64) -> Self {
        let mut whole = Self::default();
        whole.put(u128::from(value.unsigned_abs()), 0, value < 0);
        whole
    }

    /// Adds `value`, which is finite, or with `sign` -1 takes it back.
    pub fn add(&mut self, value: f64, sign: i64) {
        let (magnitude, exponent) = parts(value);
        self.put(magnitude, exponent, value.is_sign_negative() != (sign < 0));
    }

    /// Adds the product of two finite values, or with `sign` -1 takes it back.
    pub fn add_product(&mut self, one: f64, other: f64, sign: i64) {
        let ((one_magnitude, one_exponent), (magnitude, exponent)) = (parts(one), parts(other));
        let is_negative = (one.is_sign_negative() != other.is_sign_negative()) != (sign < 0);
        self.put(one_magnitude * magnitude, one_exponent + exponent, is_negative);
    }

    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    pub fn times(&self, other: &Self) -> Self {
        let mut wide = vec![0i128; self.digits.len() + other.digits.len()];
        for (place, one) in self.digits.iter().enumerate() {
            for (more, other) in other.digits.iter().enumerate() {
                wide[place + more] += i128::from(*one) * i128::from(*other);
            }
        }
        Self::of_wide(self.low + other.low, wide)
    }

    pub fn minus(&self, other: &Self) -> Self {
        let low = self.low.min(other.low);
        let (skip, other_skip) = ((self.low - low) as usize, (other.low - low) as usize);
        let mut wide = vec![0i128; (skip + self.digits.len()).max(other_skip + other.digits.len())];
        wide[skip..].iter_mut().zip(&self.digits).for_each(|(sum, digit)| *sum += i128::from(*digit));
        wide[other_skip..].iter_mut().zip(&other.digits).for_each(|(sum, digit)| *sum -= i128::from(*digit));
        Self::of_wide(low, wide)
    }

    /// The nearest float, an infinity beyond their range.
    pub fn float(&self) -> f64 {
        let (value, exponent) = self.scaled();
        times_power(value, exponent)
    }

    /// As bytes of state.
    pub fn encode(&self) -> Vec<u8> {
        let trimmed = Self::of_wide(self.low, self.wide());
        let magnitude = trimmed.magnitude();
        let mut out = vec![u8::from(trimmed.is_negative())];
        out.extend_from_slice(&(magnitude.low as i16).to_le_bytes());
        magnitude.digits.iter().for_each(|digit| out.extend_from_slice(&(*digit as u32).to_le_bytes()));
        out
    }

    /// That which had this state.
    ///
    /// # Errors
    /// `Corrupt` if the bytes are none.
    pub fn decode(mut stored: &[u8]) -> Result<Self> {
        let rest = &mut stored;
        let is_negative = bytes(rest, 1)? == [1];
        let low = bytes(rest, 2)?.try_into().map(i16::from_le_bytes).map_err(|_| corrupt("a sum is cut"))?;
        let (digits, []) = rest.as_chunks::<4>() else { return Err(corrupt("a sum is cut")) };
        let sign = if is_negative { -1 } else { 1 };
        let digits = digits.iter().map(|digit| sign * i128::from(u32::from_le_bytes(*digit)));
        Ok(Self::of_wide(i32::from(low), digits.collect()))
    }

    /// Roughly the bytes it takes beside itself.
    pub fn size_bytes(&self) -> usize {
        size_of::<i64>() * self.digits.capacity()
    }

    /// Adds `magnitude * 2^exponent`, or takes it back.
    fn put(&mut self, magnitude: u128, exponent: i32, is_negative: bool) {
        if magnitude == 0 {
            return;
        }
        // So that whole numbers have no digits behind the point.
        let zeros = magnitude.trailing_zeros();
        let (mut rest, exponent) = (magnitude >> zeros, exponent + zeros as i32);
        let (place, shift) = (exponent.div_euclid(BITS), exponent.rem_euclid(BITS));
        let length = (u128::BITS - rest.leading_zeros()).div_ceil(BITS as u32) as usize + 1;
        let (mut at, first) = self.cover(place, length);
        let sign = if is_negative { -1 } else { 1 };
        while rest > 0 {
            let shifted = (rest as u64 & MASK as u64) << shift;
            self.digits[at] += sign * (shifted as i64 & MASK);
            self.digits[at + 1] += sign * (shifted >> BITS) as i64;
            (rest, at) = (rest >> BITS, at + 1);
        }
        self.carry(first);
    }

    /// Makes room for `length` digits from `place` on. Answers where these begin, and the first digit that may have to be carried:
    /// what was the last one has a sign.
    fn cover(&mut self, place: i32, length: usize) -> (usize, usize) {
        if self.digits.is_empty() {
            self.low = place;
        }
        let before = (self.low - place).max(0);
        self.digits.splice(0..0, std::iter::repeat_n(0, before as usize));
        self.low -= before;
        let (at, last) = ((place - self.low) as usize, self.digits.len().saturating_sub(1));
        if self.digits.len() < at + length {
            self.digits.resize(at + length, 0);
        }
        (at, at.min(last))
    }

    fn carry(&mut self, first: usize) {
        let (mut carry, last) = (0, self.digits.len() - 1);
        for digit in &mut self.digits[first..last] {
            let sum = *digit + carry;
            (*digit, carry) = (sum & MASK, sum >> BITS);
        }
        let sum = self.digits[last] + carry;
        self.digits[last] = sum;
        if sum.abs() > MASK {
            self.digits[last] = sum & MASK;
            self.digits.push(sum >> BITS);
        }
        settle(&mut self.digits);
    }

    /// Of digits of any size, without zeros at either end.
    fn of_wide(low: i32, wide: Vec<i128>) -> Self {
        let (mut carry, mut digits) = (0, Vec::with_capacity(wide.len() + 1));
        for digit in wide {
            let sum = digit + carry;
            digits.push((sum & i128::from(MASK)) as i64);
            carry = sum >> BITS;
        }
        while !(-1..=0).contains(&carry) {
            digits.push((carry & i128::from(MASK)) as i64);
            carry >>= BITS;
        }
        digits.push(carry as i64);
        settle(&mut digits);
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        let low = if digits.is_empty() { 0 } else { low + zeros as i32 };
        Self { low, digits }
    }

    fn wide(&self) -> Vec<i128> {
        self.digits.iter().map(|digit| i128::from(*digit)).collect()
    }

    fn is_negative(&self) -> bool {
        self.digits.last().is_some_and(|digit| *digit < 0)
    }

    fn magnitude(&self) -> Self {
        if self.is_negative() { Self::default().minus(self) } else { self.clone() }
    }

    /// As a float below `2^128` times two to the power of the second, rounded once.
    fn scaled(&self) -> (f64, i32) {
        let magnitude = self.magnitude();
        let (rest, first) = magnitude.digits.split_at(magnitude.digits.len().saturating_sub(4));
        let mut value = first.iter().rev().fold(0u128, |value, digit| (value << BITS) | *digit as u128);
        // More than 64 bits stand before what is cut off, so that it counts only for being there.
        value |= u128::from(rest.iter().any(|digit| *digit != 0));
        let sign = if self.is_negative() { -1.0 } else { 1.0 };
        (sign * value as f64, BITS * (magnitude.low + rest.len() as i32))
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.minus(other).is_zero()
    }
}

/// Takes away what the last digits need not be.
fn settle(digits: &mut Vec<i64>) {
    while let Some(last) = digits.last() {
        match (last, digits.len().checked_sub(2).map(|place| digits[place])) {
            (0, _) => drop(digits.pop()),
            // A last digit that is only a sign.
            (-1, Some(before)) if before != 0 => {
                digits.pop();
                digits.iter_mut().next_back().into_iter().for_each(|last| *last -= MASK + 1);
            }
            _ => return,
        }
    }
}

/// `over / under` as a float; `under` is not zero.
pub(super) fn ratio(over: &Exact, under: &Exact) -> f64 {
    let near = rough_ratio(over, under);
    if !near.is_finite() {
        return near;
    }
    let mut exact = Exact::default();
    exact.add(near, 1);
    near + rough_ratio(&over.minus(&under.times(&exact)), under)
}

/// Up to a few roundings.
fn rough_ratio(over: &Exact, under: &Exact) -> f64 {
    let ((over, exponent), (under, less)) = (over.scaled(), under.scaled());
    if over == 0.0 { 0.0 } else { times_power(over / under, exponent - less) }
}

/// A finite float as a whole number and the power of two that it is multiplied with, without its sign.
fn parts(value: f64) -> (u128, i32) {
    const FRACTION: u32 = f64::MANTISSA_DIGITS - 1;
    let bits = value.abs().to_bits();
    let (exponent, fraction) = ((bits >> FRACTION) as i32, bits & ((1 << FRACTION) - 1));
    let least = f64::MIN_EXP - f64::MANTISSA_DIGITS as i32;
    match exponent {
        0 => (u128::from(fraction), least),
        _ => (u128::from(fraction | 1 << FRACTION), least + exponent - 1),
    }
}

/// `value * 2^exponent`, rounded at most once.
fn times_power(mut value: f64, mut exponent: i32) -> f64 {
    const STEP: i32 = 1000;
    let power = |exponent: i32| 2f64.powi(exponent);
    while exponent.abs() > STEP && value != 0.0 && value.is_finite() {
        let step = STEP * exponent.signum();
        (value, exponent) = (value * power(step), exponent - step);
    }
    value * power(exponent.clamp(-STEP, STEP))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Exact {
        let mut sum = Exact::default();
        values.iter().for_each(|value| sum.add(*value, 1));
        sum
    }

    #[test]
    fn floats_of_any_size_are_themselves() {
        let least = f64::from_bits(1);
        let sizes = [0.0, 1.0, 0.1, 1e308, 1e-308, least, 3.0 * least, f64::MAX, f64::MIN_POSITIVE, 4294967296.0];
        for value in sizes.into_iter().flat_map(|value| [value, -value]) {
            assert_eq!(of(&[value]).float(), value);
            assert_eq!(of(&[1e300, value, -1e300]).float(), value);
            assert_eq!(Exact::decode(&of(&[value, 0.5]).encode()).unwrap(), of(&[value, 0.5]));
        }
        assert_eq!(of(&[1e308, 1e308]).float(), f64::INFINITY);
        assert_eq!(of(&[-1e308, -1e308]).float(), f64::NEG_INFINITY);
        assert!(Exact::decode(&of(&[0.1]).encode()[..5]).is_err());
    }

    #[test]
    fn half_ways_go_to_the_even_side_unless_something_tips_them() {
        let (half, tiny) = (f64::EPSILON / 2.0, 1e-300);
        assert_eq!(of(&[1.0, half]).float(), 1.0);
        assert_eq!(of(&[1.0, half, tiny]).float(), 1.0 + f64::EPSILON);
        assert_eq!(of(&[1.0 + f64::EPSILON, half]).float(), 1.0 + 2.0 * f64::EPSILON);
        assert_eq!(of(&[1.0 + f64::EPSILON, half, -tiny]).float(), 1.0 + f64::EPSILON);
    }

    fn finite() -> impl Strategy<Value = f64> {
        prop_oneof![any::<f64>().prop_filter("finite", |value| value.is_finite()), -1e6..1e6f64, Just(0.0), Just(1.0)]
    }

    proptest! {
        #[test]
        fn what_is_taken_back_leaves_nothing(kept in prop::collection::vec(finite(), 0..9), gone in prop::collection::vec(finite(), 0..9)) {
            let mut sum = of(&gone);
            kept.iter().for_each(|value| sum.add(*value, 1));
            gone.iter().rev().for_each(|value| sum.add(*value, -1));
            let straight = of(&kept);
            prop_assert_eq!(&sum, &straight);
            prop_assert_eq!(sum.encode(), straight.encode());
            prop_assert_eq!(Exact::decode(&sum.encode()).unwrap().float(), straight.float());
        }

        #[test]
        fn whole_numbers_are_computed_as_such(values in prop::collection::vec(any::<i32>(), 0..20), one: i64, other: i64) {
            let floats: Vec<f64> = values.iter().map(|value| f64::from(*value)).collect();
            let sum: i64 = values.iter().map(|value| i64::from(*value)).sum();
            prop_assert_eq!(of(&floats), Exact::of_int(sum));
            let mut products = Exact::default();
            floats.iter().for_each(|value| products.add_product(*value, -*value, 1));
            let expected: i128 = values.iter().map(|value| -i128::from(*value).pow(2)).sum();
            prop_assert_eq!(products.float(), expected as f64);
            let product = Exact::of_int(one).times(&Exact::of_int(other));
            prop_assert_eq!(product.float(), (i128::from(one) * i128::from(other)) as f64);
            prop_assert_eq!(Exact::of_int(one).float(), one as f64);
        }

        #[test]
        fn ratios_are_those_of_floats(one in finite(), other in finite()) {
            prop_assume!(other != 0.0);
            let (found, expected) = (ratio(&of(&[one]), &of(&[other])), one / other);
            // Below the least normal float the two round at other places.
            prop_assert!(found == expected || expected.abs() < 1e-307, "{found}, not {expected}");
        }
    }
}
