//! `quark call` and `quark tell`.

use std::time::Duration;

use quark_core::idempotency::IdempotencyKey;
use quark_silo::api::{CALL_TIMEOUT_MS_MAX, CLI_REQUESTS, Failure, codes};
use serde::Deserialize;
use ureq::http::Method;

use crate::address::{Address, name};
use crate::client::{Client, Remote};
use crate::exit::{Done, Exit};
use crate::output::Output;
use crate::units;

const CALL_EXAMPLES: &str = "\
Arguments are WAVE values, one for each parameter. A string has its quotes, and the shell takes
quotes of its own. Write -- before values that begin with a dash and are no numbers.

Examples:
  quark call counter/alice increment 5
  quark call greeter/bob greet '\"Bob\"'
  quark call account/a transfer '\"b\"' 5 --timeout 5s
  quark call counter/alice increment --json '[5]'
  quark call account/a pay '\"b\"' 5 --idempotency-key order-17";

const TELL_EXAMPLES: &str = "\
Examples:
  quark tell counter/alice reset
  quark tell counter/alice reset --json";

/// Call an actor's method and print its result.
#[derive(clap::Args)]
#[command(after_help = CALL_EXAMPLES)]
pub(crate) struct Call {
    #[command(flatten)]
    message: Message,
    /// Names this call of this actor: a repeat with the same key within ten minutes gets the same answer and does
    /// nothing. The method must be marked `idempotent`.
    #[arg(long, value_name = "KEY", value_parser = key)]
    idempotency_key: Option<String>,
}

/// Send a message that nobody answers; done once it is accepted.
#[derive(clap::Args)]
#[command(after_help = TELL_EXAMPLES)]
pub(crate) struct Tell {
    #[command(flatten)]
    message: Message,
}

#[derive(clap::Args)]
struct Message {
    /// The actor, for example counter/alice.
    #[arg(value_name = "KIND/KEY", value_parser = Address::parse)]
    actor: Address,
    /// The method.
    #[arg(value_parser = name)]
    method: String,
    /// The arguments, each a WAVE value.
    #[arg(value_name = "ARGS", allow_negative_numbers = true, conflicts_with = "json")]
    arguments: Vec<String>,
    /// The arguments as a JSON array, none if it is left out; the answer is JSON too.
    #[arg(long, value_name = "ARRAY", num_args = 0..=1, default_missing_value = "[]", value_parser = array)]
    json: Option<String>,
    /// How long to wait for the answer: 500ms, 5s, 2m; a day at most.
    #[arg(long, value_name = "TIME", value_parser = timeout)]
    timeout: Option<Duration>,
    /// A header that travels with the call chain; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    #[command(flatten)]
    remote: Remote,
}

impl Call {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        self.message.send("", self.idempotency_key, out)
    }
}

impl Tell {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        self.message.send("?tell=true", None, out)
    }
}

impl Message {
    fn send(&self, query: &str, key: Option<String>, out: &mut Output<'_>) -> Done {
        #[derive(Deserialize)]
        struct Accepted {
            accepted: String,
        }
        let client = Client::new(&self.remote, self.timeout)?;
        let path = format!("{}{query}", self.actor.path(&[&self.method]));
        let (mime, body) = match &self.json {
            Some(array) => ("application/json", array.clone()),
            None => ("application/vnd.quark.wave", joined(&self.arguments)),
        };
        let named: Vec<(String, String)> = (self.headers.iter())
            .map(|(name, value)| (format!("quark-header-{name}"), value.clone()))
            .chain(self.timeout.map(|time| ("quark-timeout-ms".to_owned(), time.as_millis().to_string())))
            .chain([("content-type".to_owned(), mime.to_owned()), ("x-request-id".to_owned(), request_id())])
            .chain(key.iter().map(|key| ("idempotency-key".to_owned(), key.clone())))
            .collect();
        let headers: Vec<(&str, String)> = named.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let answer = client
            .send(Method::POST, &path, &headers, Some(body.as_bytes()))
            .map_err(|failure| with_key(with_quoting(failure, &self.arguments), key.as_deref()))?;
        if answer.status == 202 && self.json.is_none() {
            let Accepted { accepted } = client.parse(&answer.body)?;
            out.line(format_args!("accepted {accepted}"));
        } else {
            out.bytes(&answer.body);
            out.line("");
        }
        Ok(if answer.actor_error { Exit::ActorError } else { Exit::Done })
    }
}

/// By which a record of its turn shows that it came from here.
fn request_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = || RandomState::new().hash_one(0_u8);
    format!("{CLI_REQUESTS}{:016x}{:016x}", random(), random())
}

/// The arguments as between the parentheses of a call.
fn joined(arguments: &[String]) -> String {
    arguments.join(", ")
}

/// Shells eat quotes: when a string was expected and a bare word came, say how to quote it.
fn with_quoting(failure: Failure, arguments: &[String]) -> Failure {
    let about_strings = failure.code == codes::BAD_ARGUMENTS
        && (failure.message.contains("string") || failure.message.contains("char"));
    let bare = arguments.iter().find(|argument| is_bare(argument));
    match bare {
        Some(bare) if about_strings => {
            let quoted = format!("{bare:?}").replace('\'', r"'\''");
            failure.next(format!("a string has its own quotes inside the shell's: '{quoted}'"))
        }
        Some(_) | None => failure,
    }
}

/// What may have been done is done once by a repeat with the same key.
fn with_key(failure: Failure, key: Option<&str>) -> Failure {
    match key {
        Some(key) if failure.may_be_done => {
            failure.next(format!("repeat it with the same --idempotency-key {key}: what was done is not done again"))
        }
        Some(_) | None => failure,
    }
}

/// Whether a value is text without quotes: a word, and none that WAVE knows.
fn is_bare(argument: &str) -> bool {
    let begins = argument.chars().next().is_some_and(|c| c.is_alphabetic() || c == '/' || c == '@');
    let known = matches!(argument, "true" | "false" | "none" | "inf" | "nan" | "ok" | "err");
    begins && !known && !argument.contains(['(', '"'])
}

/// A JSON array, as far as the first look tells; the silo reads it by the method's types.
fn array(text: &str) -> Result<String, String> {
    if text.trim_start().starts_with('[') {
        return Ok(text.to_owned());
    }
    Err("write the arguments as a JSON array, for example '[5]'".to_owned())
}

fn timeout(text: &str) -> Result<Duration, String> {
    let most = Duration::from_millis(CALL_TIMEOUT_MS_MAX);
    units::duration(text)
        .and_then(|time| if time <= most { Ok(time) } else { Err("a day (24h) is the most".to_owned()) })
}

fn key(text: &str) -> Result<String, String> {
    IdempotencyKey::parse(text).map(|key| key.to_string()).map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(String, String), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && name.chars().all(allowed) => {
            Ok((name.to_ascii_lowercase(), value.to_owned()))
        }
        Some(_) | None => Err("write NAME=VALUE, for example tenant=acme".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_joined_as_in_a_call() {
        let join = |arguments: &[&str]| joined(&arguments.iter().map(|&a| a.to_owned()).collect::<Vec<_>>());
        assert_eq!(join(&[]), "");
        assert_eq!(join(&["5"]), "5");
        assert_eq!(join(&["\"a, b\"", "{x: 1}", "-3"]), "\"a, b\", {x: 1}, -3");
    }

    #[test]
    fn bare_words_are_told_how_to_be_strings() {
        let next = |code: &str, message: &str, arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
            with_quoting(Failure::new(code, message), &arguments).next
        };
        let hint = next("bad-arguments", "expected string", &["5", "Bob"]);
        assert_eq!(hint.as_deref(), Some("a string has its own quotes inside the shell's: '\"Bob\"'"));
        let hint = next("bad-arguments", "expected string", &["it's"]);
        assert!(hint.is_some_and(|hint| hint.ends_with(r#"'"it'\''s"'"#)));
        assert_eq!(next("bad-arguments", "expected u64", &["Bob"]), None);
        assert_eq!(next("bad-arguments", "expected string", &["\"Bob\"", "5", "true", "some(1)"]), None);
        assert_eq!(next("failed", "string", &["Bob"]), None);
    }

    #[test]
    fn headers_and_arrays_are_read() {
        assert_eq!(header("Tenant=a=b"), Ok(("tenant".into(), "a=b".into())));
        for bad in ["", "x", "=v", "a b=c"] {
            assert!(header(bad).is_err(), "{bad}");
        }
        assert_eq!(timeout("24h"), Ok(Duration::from_hours(24)));
        assert_eq!(timeout("25h"), Err("a day (24h) is the most".into()));
        assert!(array(" [1]").is_ok());
        assert!(array("{}").is_err());
    }
}
