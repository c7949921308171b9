//! What it takes to ask a gateway: a runtime, and the answers taken apart.

use std::sync::LazyLock;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// Who the gateway believes to be, and what administers it: the corpus says the same.
pub(crate) const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 7070);
pub(crate) const HOST: &str = "localhost:7070";
pub(crate) const TOKEN: &str = "fuzz";

/// One for all targets; turns need the kind that has threads.
pub(crate) static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("there is a thread"));

/// One response.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// None for a body that is no JSON.
    pub(crate) json: Option<Value>,
}

/// The responses in what came back, each in the form that HTTP wants.
pub(crate) fn answers(received: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut rest = received;
    while !rest.is_empty() {
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a head has an end");
        let head = std::str::from_utf8(&rest[..end]).expect("a head is text");
        let body = &rest[end + 4..];
        let version = head.get(..8);
        assert!(matches!(version, Some("HTTP/1.1" | "HTTP/1.0")), "no HTTP: {head}");
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status has three digits");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        // The answer to HEAD tells the length of a body that is not there.
        let length = if body.is_empty() || body.starts_with(b"HTTP/1.") { 0 } else { length.unwrap_or(0) };
        let (body, behind) = body.split_at_checked(length).expect("a body is whole");
        answers.push(Answer { status, json: serde_json::from_slice(body).ok() });
        rest = behind;
    }
    answers
}

/// What holds for every answer to a request from outside, whatever it asks.
pub(crate) fn check(answer: &Answer) {
    let Answer { status, json } = answer;
    assert!(STATUSES.contains(status), "no request is answered {status}: {json:?}");
    let Some(error) = json.as_ref().and_then(|json| json.get("error")) else { return };
    for part in ["code", "message"] {
        let text = error[part].as_str().unwrap_or_default();
        assert!(!text.is_empty(), "a failure has a {part}: {error}");
        assert!(text.chars().count() <= TEXT_CHARS_MAX, "a short {part}: {error}");
    }
}

/// The longest text in a failure: a bad request target of 16 KiB is shown whole.
const TEXT_CHARS_MAX: usize = 20_000;
/// Those that the README lists, but for 500, which is a defect.
const STATUSES: &[u16] =
    &[100, 200, 202, 204, 400, 401, 403, 404, 405, 408, 409, 412, 413, 414, 415, 422, 429, 431, 502, 503, 504];
