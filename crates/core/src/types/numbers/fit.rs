//! Whether a number, as it is written, can be kept by a type without a change. The walk over JSON is in [`super`].

use arrow::datatypes::{DataType, TimeUnit};

/// Whole numbers below this one are exact as `f64`, which Arrow's readers take for those with a point or an exponent.
const EXACT_END: f64 = 9_007_199_254_740_992.0;
/// What is below rounds to the largest `f16`, 65504.
const FLOAT16_END: f32 = 65_520.0;

/// Whether numbers of `kind` are looked at; a nested type is what its values are.
pub(super) fn has_limits(kind: &DataType) -> bool {
    use DataType as D;
    kind.is_numeric()
        || matches!(kind, D::Timestamp(..) | D::Date32 | D::Date64 | D::Time32(_) | D::Time64(_) | D::Duration(_))
}

/// Why `text`, a number as JSON and CSV write them, is not kept as it is by `kind`; `None` if it is, or is none.
///
/// Whole numbers beyond the range of `kind` are left to Arrow's readers, which refuse them.
pub fn why_changed(text: &str, kind: &DataType) -> Option<String> {
    use DataType as D;
    match kind {
        D::Float16 | D::Float32 | D::Float64 => beyond_floats(text, kind),
        D::Decimal32(_, scale) | D::Decimal64(_, scale) | D::Decimal128(_, scale) | D::Decimal256(_, scale) => {
            let behind = digits_behind(text)?;
            let is_longer = behind > i64::from(*scale);
            is_longer.then(|| format!("{text} has {behind} digits behind the point, {kind} keeps {scale}"))
        }
        D::UInt64 if text.parse::<u64>().is_ok() => None,
        kind if has_limits(kind) => not_whole(text).or_else(|| beyond_a_day(text, kind)),
        _ => None,
    }
}

/// Whether `text` would be read as infinite. What rounds to the largest float is not: writers give that one shortened.
fn beyond_floats(text: &str, kind: &DataType) -> Option<String> {
    // Without an exponent only long numbers are beyond a type; most are looked at no further.
    let is_short = text.len() < 5 || (text.len() <= 38 && *kind != DataType::Float16);
    if is_short && !text.contains(['e', 'E']) {
        return None;
    }
    let is_beyond = match kind {
        DataType::Float16 => text.parse::<f32>().ok()?.abs() >= FLOAT16_END,
        DataType::Float32 => text.parse::<f32>().ok()?.is_infinite(),
        _ => text.parse::<f64>().ok()?.is_infinite(),
    };
    is_beyond.then(|| format!("{text} is beyond the largest {kind}"))
}

fn not_whole(text: &str) -> Option<String> {
    if text.parse::<i64>().is_ok() {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // Infinite ones, and those with more than one point, too.
    match digits_behind(text) {
        Some(behind) if behind > 0 => Some(format!("{text} has a fraction, where whole numbers belong")),
        _ if number.abs() >= EXACT_END => Some(format!("{text} is too large to be read exactly")),
        _ => None,
    }
}

/// Whether a time of day that `text` counts is none.
fn beyond_a_day(text: &str, kind: &DataType) -> Option<String> {
    let (DataType::Time32(unit) | DataType::Time64(unit)) = kind else { return None };
    let seconds = text.parse::<f64>().ok()? / per_second(*unit);
    (!(0.0..86_400.0).contains(&seconds)).then(|| format!("{text} is no time of day"))
}

fn per_second(unit: TimeUnit) -> f64 {
    match unit {
        TimeUnit::Second => 1.0,
        TimeUnit::Millisecond => 1e3,
        TimeUnit::Microsecond => 1e6,
        TimeUnit::Nanosecond => 1e9,
    }
}

/// How many digits the number has behind its point when it is written without an exponent and without zeros at its end; negative
/// for round numbers. `None` if `text` is no number.
fn digits_behind(text: &str) -> Option<i64> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let whole = whole.trim_start_matches(['-', '+']);
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + part.len() == 0 || !are_digits(whole) || !are_digits(part) {
        return None;
    }
    let zeros = part.len() - part.trim_end_matches('0').len();
    let zeros_before = whole.len() - whole.trim_end_matches('0').len();
    let behind = match part.len() - zeros {
        0 if zeros_before == whole.len() => return Some(0),
        0 => -i64::try_from(zeros_before).ok()?,
        digits => i64::try_from(digits).ok()?,
    };
    // An exponent of more digits than `i64` has is out of reach of every type, on one side or the other.
    let exponent = exponent.parse().unwrap_or(if exponent.starts_with('-') { i64::MIN } else { i64::MAX });
    Some(behind.saturating_sub(exponent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_would_change_is_refused() {
        use DataType as D;
        let micros = D::Timestamp(TimeUnit::Microsecond, None);
        let cases: [(&str, &D, Option<&str>); 28] = [
            ("2.0", &D::Int64, None),
            ("25e-1", &D::Int64, Some("fraction")),
            ("250e-1", &D::Int64, None),
            ("0.99999999999999999", &D::Int64, Some("fraction")),
            ("1e-400", &D::Int64, Some("fraction")),
            ("0e-400", &D::Int64, None),
            ("123456789012345678.9", &D::Int64, Some("fraction")),
            ("9007199254740993.0", &D::Int64, Some("too large")),
            ("9223372036854775807", &D::Int64, None),
            ("-9223372036854775809", &D::Int64, Some("too large")),
            ("18446744073709551615", &D::UInt64, None),
            ("18446744073709551616", &D::UInt64, Some("too large")),
            ("9223372036854775808", &micros, Some("too large")),
            ("1e30", &micros, Some("too large")),
            ("1.5", &micros, Some("fraction")),
            ("86399999999", &D::Time64(TimeUnit::Microsecond), None),
            ("86400000000", &D::Time64(TimeUnit::Microsecond), Some("time of day")),
            ("-1", &D::Time32(TimeUnit::Second), Some("time of day")),
            ("1.239", &D::Decimal128(5, 2), Some("3 digits")),
            ("1.230", &D::Decimal128(5, 2), None),
            ("1.0e-5", &D::Decimal128(5, 2), Some("5 digits")),
            ("1e99999999999999999999", &D::Decimal128(5, 2), None),
            ("1e300", &D::Float32, Some("largest")),
            ("3.4028235e38", &D::Float32, None),
            ("-1.7976931348623157e308", &D::Float64, None),
            ("1e400", &D::Float64, Some("largest")),
            ("70000", &D::Float16, Some("largest")),
            ("1.5e3", &D::Float16, None),
        ];
        for (text, kind, why) in cases {
            let found = why_changed(text, kind);
            assert_eq!(found.is_some(), why.is_some(), "{text} as {kind}: {found:?}");
            assert!(found.as_deref().unwrap_or_default().contains(why.unwrap_or_default()), "{text}: {found:?}");
        }
    }
}
