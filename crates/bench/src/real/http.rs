//! A call as JSON over HTTP/1.1, and outcomes as the statuses that real services send.
//!
//! 429 and 503 carry `retry-after-ms` and, rounded up, `Retry-After`. 413 stands for too much for the backend's memory, 502 for
//! a backend that is not there.

use bytes::Bytes;
use forebay_gate::limiter::Class;
use hyper::header::{HeaderMap, HeaderName, RETRY_AFTER};
use hyper::{Response, StatusCode};

use super::message::{Answer, Outcome};

/// Where calls are posted.
pub const CALL_PATH: &str = "/rows";
/// Posted once, at second 0.
pub const START_PATH: &str = "/start";
/// Where the backend says how it is.
pub const REPORT_PATH: &str = "/report";

const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The status that says how a call ended.
fn status_of(class: Class) -> StatusCode {
    match class {
        Class::Answered => StatusCode::OK,
        Class::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Class::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        Class::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Class::Down => StatusCode::BAD_GATEWAY,
        Class::Timeout | Class::Cancelled => StatusCode::GATEWAY_TIMEOUT,
    }
}

fn class_of(status: StatusCode) -> Class {
    match status {
        StatusCode::TOO_MANY_REQUESTS => Class::Throttled,
        StatusCode::SERVICE_UNAVAILABLE => Class::Overloaded,
        StatusCode::PAYLOAD_TOO_LARGE => Class::TooLarge,
        StatusCode::BAD_GATEWAY => Class::Down,
        StatusCode::GATEWAY_TIMEOUT => Class::Timeout,
        // Every other answer is an answer: it says nothing about load.
        _ => Class::Answered,
    }
}

/// The response that carries `outcome`.
pub fn response(outcome: Outcome) -> Response<Bytes> {
    let body = match outcome.class {
        Class::Answered => serde_json::to_vec(&Answer { rows: outcome.rows }).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status_of(outcome.class);
    if outcome.retry_after > 0.0 {
        let headers = response.headers_mut();
        headers.insert(RETRY_AFTER, (outcome.retry_after.ceil() as u64).into());
        headers.insert(RETRY_AFTER_MS, ((outcome.retry_after * 1e3).ceil() as u64).into());
    }
    response
}

/// What a response says. An answer that cannot be read counts as no answer at all.
pub fn outcome(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Outcome {
    match class_of(status) {
        Class::Answered => match serde_json::from_slice::<Answer>(body) {
            Ok(answer) => Outcome::answered(answer.rows),
            Err(_) => Outcome::failed(Class::Down, 0.0),
        },
        class => Outcome::failed(class, retry_after(headers)),
    }
}

fn retry_after(headers: &HeaderMap) -> f64 {
    let number = |name: &HeaderName| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number(&RETRY_AFTER_MS).map(|milliseconds| milliseconds / 1e3).or_else(|| number(&RETRY_AFTER));
    seconds.filter(|seconds| seconds.is_finite()).unwrap_or(0.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_survive_the_way_through_http() {
        let table = [
            Outcome::answered(16),
            Outcome::failed(Class::Throttled, 1.5),
            Outcome::failed(Class::Throttled, 0.0),
            Outcome::failed(Class::Overloaded, 0.0),
            Outcome::failed(Class::TooLarge, 0.0),
            Outcome::failed(Class::Down, 0.0),
            Outcome::failed(Class::Timeout, 0.0),
        ];
        for expected in table {
            let response = response(expected);
            assert_eq!(outcome(response.status(), response.headers(), response.body()), expected);
        }
    }

    #[test]
    fn broken_answers_are_not_taken_for_good_ones() {
        let headers = HeaderMap::new();
        for body in ["", "{", "{\"rows\":-1}", "<html>"] {
            assert_eq!(outcome(StatusCode::OK, &headers, body.as_bytes()).class, Class::Down, "{body}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, "soon".parse().unwrap());
        assert_eq!(outcome(StatusCode::TOO_MANY_REQUESTS, &headers, b"").retry_after, 0.0);
    }
}
