//! How a command ends: its exit code, and what it says about a failure.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use quark_silo::api::{Failure, codes};
use serde_json::json;

use crate::output::{may_colour, plain};

/// What a command came to.
pub(crate) type Done = Result<Exit, Failure>;

/// The exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: the actor answered with its own error.
    ActorError,
    /// 2: wrong usage, or something that does not fit its type.
    Usage,
    /// 3: the platform could not.
    Platform,
}

/// The failures that the caller mends by asking for something else.
const USAGE: &[&str] = &[
    codes::BAD_REQUEST,
    codes::BAD_ARGUMENTS,
    codes::BAD_KEY,
    codes::NO_SUCH_KIND,
    codes::AMBIGUOUS_KIND,
    codes::NO_SUCH_METHOD,
    codes::NOT_IDEMPOTENT,
    codes::NOT_FOUND,
    codes::NO_SUCH_EVENT,
    codes::NOT_JOURNALED,
    codes::BAD_COMPONENT,
    codes::BAD_MANIFEST,
    codes::BREAKING_CHANGE,
    codes::CONFLICT,
    codes::BODY_TOO_LARGE,
    codes::UNAUTHORIZED,
    "incompatible",
    "key-reused",
];

impl Exit {
    /// The exit code of a failure.
    pub(crate) fn of(failure: &Failure) -> Self {
        if USAGE.contains(&failure.code.as_str()) { Self::Usage } else { Self::Platform }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Wrong usage.
pub(crate) fn usage(message: impl Into<String>) -> Failure {
    Failure::new(codes::BAD_REQUEST, message)
}

/// Says on standard error what went wrong and what to do next; in `json` as the body of an HTTP answer has it.
pub(crate) fn report(failure: &Failure, json: bool) {
    let mut stderr = io::stderr();
    let text = if json { format!("{}\n", json!({ "error": failure })) } else { told(failure, may_colour(&stderr)) };
    // There is nobody left to tell.
    let _ = stderr.write_all(text.as_bytes());
}

/// Says on standard error what is no failure, and no part of the output either; in `json` in the shape of one.
pub(crate) fn note(code: &str, message: &str, json: bool) {
    let shown = if json {
        json!({ "note": { "code": code, "message": message } }).to_string()
    } else {
        format!("note: {}", lines(message))
    };
    // There is nobody left to tell.
    let _ = writeln!(io::stderr(), "{shown}");
}

fn told(failure: &Failure, colour: bool) -> String {
    let (red, cyan, off) = if colour { ("\x1b[1;31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
    let mut text = format!("{red}error:{off} {}\n", lines(&failure.message));
    if let Some(next) = &failure.next {
        let _ = writeln!(text, "  {cyan}next:{off} {}", lines(next));
    } else if let Some(ms) = failure.retry_after_ms
        && !failure.message.contains("try again in")
    {
        let _ = writeln!(text, "  {cyan}next:{off} try again in {ms} ms");
    }
    text
}

/// A message may have several lines, for the place of a mistake; each stays plain.
fn lines(text: &str) -> String {
    text.lines().map(plain).collect::<Vec<_>>().join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_become_exit_codes() {
        for code in [
            "bad-arguments",
            "bad-key",
            "no-such-method",
            "no-such-kind",
            "bad-component",
            "bad-manifest",
            "breaking-change",
            "conflict",
            "body-too-large",
            "not-found",
            "unauthorized",
        ] {
            assert_eq!(Exit::of(&Failure::new(code, "")), Exit::Usage, "{code}");
        }
        for code in ["failed", "unreachable", "deadline-exceeded", "new"] {
            assert_eq!(Exit::of(&Failure::new(code, "")), Exit::Platform, "{code}");
        }
        assert_eq!(Exit::Done as u8, 0);
        assert_eq!(Exit::ActorError as u8, 1);
        assert_eq!(Exit::Usage as u8, 2);
        assert_eq!(Exit::Platform as u8, 3);
    }

    #[test]
    fn a_failure_says_what_to_do_next() {
        let failure = Failure::new("x", "it broke\nhere: \x1b^").next("mend it");
        assert_eq!(told(&failure, false), "error: it broke\n  here: \\u{1b}^\n  next: mend it\n");
        let failure = Failure { retry_after_ms: Some(40), ..Failure::new("overloaded", "full") };
        assert_eq!(told(&failure, false), "error: full\n  next: try again in 40 ms\n");
        assert!(told(&failure, true).starts_with("\x1b[1;31merror:\x1b[0m full"));
    }
}
