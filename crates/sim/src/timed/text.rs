//! Rows of the timed part as lines of files, and back.

use serde_json::Value;

use super::Click;

/// The column of the event time.
pub(super) const FILE_TIME: &str = "at";

/// Rows begin at noon, so that no window reaches into another day.
pub(super) const NOON: i64 = 12 * 3_600_000_000;

const DAY: &str = "2026-01-31";

/// The row as a line of a file.
pub(super) fn line(click: &Click) -> String {
    let Click { id, key, n, at } = click;
    let (seconds, micro) = (at / 1_000_000, at % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "{{\"id\": {id}, \"k\": {key}, \"n\": {n}, \"{FILE_TIME}\": \"{DAY}T{hour:02}:{minute:02}:{second:02}.{micro:06}Z\"}}\n"
    )
}

/// The microseconds since the day began of the time in `column`.
pub(super) fn micros(row: &Value, column: &str) -> Result<i64, String> {
    let text = row[column].as_str().unwrap_or_default();
    let clock = text.strip_prefix(DAY).map(|rest| rest.trim_start_matches(['T', ' ']).trim_end_matches('Z'));
    let parts: Option<Vec<f64>> =
        clock.and_then(|clock| clock.split('+').next()?.split(':').map(|part| part.parse().ok()).collect());
    match parts.as_deref() {
        Some([hour, minute, second]) => Ok((((hour * 60.0 + minute) * 60.0 + second) * 1e6).round() as i64),
        _ => Err(format!("{column} is no time of {DAY}: {row}")),
    }
}

/// The number in `column`, if it has one.
pub(super) fn number(row: &Value, column: &str) -> Option<u64> {
    row[column].as_u64()
}
