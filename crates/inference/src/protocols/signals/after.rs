//! When to come back, and what is left of a rate limit: headers only.

use std::time::Duration;

use http::HeaderMap;

use crate::protocols::refusal::RateLimits;

/// The longest pause that is believed. A server that asks for more is asked again after a day.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Earliest next try: `retry-after-ms`, else `Retry-After` in seconds or as a date. A date is measured against the
/// answer's own `Date`, so that no two clocks have to agree; without one it is ignored.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let milliseconds = number(headers, "retry-after-ms").and_then(|value| seconds(value / 1_000.0));
    milliseconds.or_else(|| {
        let told = text(headers, "retry-after")?;
        told.parse().ok().and_then(seconds).or_else(|| until(headers, told))
    })
}

/// Rate limits in the form of OpenAI's headers, which most providers copied.
pub fn rate_limits(headers: &HeaderMap) -> RateLimits {
    let count = |name| text(headers, name).and_then(|value| value.parse().ok());
    let pause = |name| text(headers, name).and_then(pause);
    RateLimits {
        requests: count("x-ratelimit-limit-requests"),
        tokens: count("x-ratelimit-limit-tokens"),
        requests_left: count("x-ratelimit-remaining-requests"),
        tokens_left: count("x-ratelimit-remaining-tokens"),
        requests_reset: pause("x-ratelimit-reset-requests"),
        tokens_reset: pause("x-ratelimit-reset-tokens"),
    }
}

/// A number of seconds as a pause; nothing for what is no pause.
pub(super) fn seconds(value: f64) -> Option<Duration> {
    let sound = value.is_finite() && value >= 0.0;
    sound.then(|| Duration::try_from_secs_f64(value).map_or(PAUSE_MAX, |pause| pause.min(PAUSE_MAX)))
}

fn until(headers: &HeaderMap, date: &str) -> Option<Duration> {
    let then = httpdate::parse_http_date(date).ok()?;
    let now = httpdate::parse_http_date(text(headers, "date")?).ok()?;
    Some(then.duration_since(now).unwrap_or_default().min(PAUSE_MAX))
}

/// `1s`, `6m0s`, `1h2m3.5s`, `20ms`, or a bare number of seconds.
fn pause(told: &str) -> Option<Duration> {
    if let Ok(value) = told.parse() {
        return seconds(value);
    }
    let mut rest = told;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (value, after) = rest.split_at(digits);
        let letters = after.find(|letter: char| letter.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        total += value.parse::<f64>().ok()? * scale;
        rest = after;
    }
    seconds(total)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    text(headers, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_of_providers_are_read_in_all_their_spellings() {
        let case = |told: &str, expected: Option<f64>| {
            assert_eq!(pause(told), expected.map(Duration::from_secs_f64), "{told}");
        };
        case("1s", Some(1.0));
        case("6m0s", Some(360.0));
        case("1h2m3.5s", Some(3_723.5));
        case("20ms", Some(0.02));
        case("59.70", Some(59.7));
        case("-1s", None);
        case("NaN", None);
        case("5 minutes", None);
        case("99999999999999999999d", Some(86_400.0));
    }
}
