//! What is kept of a call with an idempotency key: rows of the store, and keys as clients write them.

use quark_core::answers::{ANSWER_BYTES_MAX, Row};
use quark_core::idempotency::{IDEMPOTENCY_KEY_BYTES_MAX, IdempotencyKey};

/// Any bytes as a row, and as a key.
pub fn answers(data: &[u8]) {
    if let Some(row) = Row::decode(data) {
        assert_eq!(&*row.encode(), data, "there is one form of each row");
        assert!(row.answer.is_none_or(|answer| answer.len() <= ANSWER_BYTES_MAX), "an answer is bounded");
    }
    let text = String::from_utf8_lossy(data);
    if let Ok(key) = IdempotencyKey::parse(&text) {
        assert_eq!(key.as_str(), text);
        assert!(key.as_str().bytes().all(|byte| byte.is_ascii_graphic()), "a key goes into headers as it is");
        assert!((1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&text.len()) && !text.starts_with('~'));
    }
}
