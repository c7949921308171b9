//! The deployed kinds as an OpenAPI document: every method as the path that the gateway serves, with
//! what it takes and how it answers.

use bytes::Bytes;
use parking_lot::Mutex;
use quark_core::idempotency::IDEMPOTENCY_KEY_BYTES_MAX;
use quark_engine::Described;
use serde_json::{Map, Value, json};

use super::failure::of_calls;
use super::service::Service;
use crate::api::{CALL_TIMEOUT_MS_MAX, Contract};

/// The formats of a call.
pub(super) const JSON: &str = "application/json";
pub(super) const WAVE: &str = "application/vnd.quark.wave";
/// Says that a 422 is the actor's own answer.
pub(super) const OUTCOME: &str = "quark-outcome";
pub(super) const ACTOR_ERROR: &str = "actor-error";
/// The header that bounds a call's wait.
pub(super) const TIMEOUT: &str = "quark-timeout-ms";
/// The header that names a call, so that a repeat of it has its effect once.
pub(super) const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The document as it was when last asked for, with the version of what it describes.
#[derive(Default)]
pub(super) struct Document(Mutex<Option<(u64, Bytes)>>);

impl Document {
    /// The document of what is deployed now.
    pub(super) fn of(&self, service: &dyn Service) -> Bytes {
        // Before what is described is looked at: it may grow meanwhile.
        let version = service.deployed();
        let mut last = self.0.lock();
        if let Some((_, bytes)) = last.as_ref().filter(|(known, _)| *known == version) {
            return bytes.clone();
        }
        let bytes = Bytes::from(document(service.contract()).to_string());
        *last = Some((version, bytes.clone()));
        bytes
    }
}

fn document(contract: Contract) -> Value {
    let Contract { kinds, mut schemas } = contract;
    let mut paths = Map::new();
    let mut tags = Vec::new();
    for kind in &kinds {
        let mut tag = json!({ "name": kind.name });
        if let Some(docs) = &kind.docs {
            tag["description"] = docs.as_str().into();
        }
        tags.push(tag);
        for (name, method) in &kind.methods {
            let path = format!("/v1/actors/{}/{{key}}/{name}", encoded(&kind.name));
            paths.insert(path, json!({ "post": operation(&kind.name, name, method) }));
        }
    }
    schemas.insert(FAILURE.into(), failure());
    let (mut responses, mut parameters) = (Map::new(), Map::new());
    for (status, codes) in of_calls() {
        responses.insert(failed(status), response_of_failure(&codes));
    }
    parameters.insert("key".into(), key_parameter());
    parameters.insert("timeout".into(), timeout_parameter());
    parameters.insert(IDEMPOTENCY_KEY.into(), idempotency_key_parameter());
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Actors of this silo", "version": env!("CARGO_PKG_VERSION"), "description": ABOUT },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "parameters": parameters,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer", "description": TOKEN } },
        },
    })
}

/// No type of WIT has a name like it.
const FAILURE: &str = "quark-failure";
const ABOUT: &str = "What is deployed now: the document changes with every deploy. An actor needs no creation; its key \
    names it. A failure of the platform has a stable `code`.";
const TOKEN: &str = "Only a silo that listens beyond loopback asks for it.";
const TOLD: &str = "It is durable and will be handled once.";

fn operation(kind: &str, name: &str, method: &Described) -> Value {
    let mut responses = Map::new();
    match &method.answer {
        Some(answer) => responses.insert("200".into(), answered("The result", answer)),
        None => {
            let accepted = json!({ "type": "object", "properties": { "accepted": { "type": "string" } },
                "required": ["accepted"], "additionalProperties": false });
            responses.insert("202".into(), json!({ "description": TOLD, "content": { JSON: { "schema": accepted } } }))
        }
    };
    if let Some(error) = &method.error {
        let mut own = answered("The actor's own error", error);
        own["headers"] = json!({ OUTCOME: { "required": true, "schema": { "const": ACTOR_ERROR } } });
        responses.insert("422".into(), own);
    }
    for status in of_calls().into_keys() {
        let reference = format!("#/components/responses/{}", failed(status));
        responses.insert(status.to_string(), json!({ "$ref": reference }));
    }
    let mut operation = json!({
        "operationId": format!("{kind}.{name}"),
        "tags": [kind],
        "parameters": [{ "$ref": "#/components/parameters/key" }, { "$ref": "#/components/parameters/timeout" }],
        "requestBody": {
            "description": "The arguments, in order",
            "required": true,
            "content": { JSON: { "schema": method.arguments }, WAVE: { "schema": { "type": "string" } } },
        },
        "responses": responses,
    });
    if method.idempotent
        && let Some(parameters) = operation["parameters"].as_array_mut()
    {
        parameters.push(json!({ "$ref": format!("#/components/parameters/{IDEMPOTENCY_KEY}") }));
    }
    if let Some(docs) = &method.docs {
        operation["description"] = docs.as_str().into();
    }
    operation
}

/// In the format that the request had.
fn answered(what: &str, schema: &Value) -> Value {
    json!({ "description": what, "content": { JSON: { "schema": schema }, WAVE: { "schema": { "type": "string" } } } })
}

fn failed(status: u16) -> String {
    format!("failed-{status}")
}

fn response_of_failure(codes: &[&str]) -> Value {
    let with_code = json!({ "properties": { "error": { "properties": { "code": { "enum": codes } } } } });
    let schema = json!({ "allOf": [{ "$ref": format!("#/components/schemas/{FAILURE}") }, with_code] });
    json!({ "description": codes.join(", "), "content": { JSON: { "schema": schema } } })
}

fn failure() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": { "error": {
            "type": "object",
            "required": ["code", "message", "may_be_done"],
            "properties": {
                "code": { "type": "string", "description": "stable, for machines" },
                "message": { "type": "string", "description": "what is wrong, for people" },
                "next": { "type": "string", "description": "what to do next" },
                "retry_after_ms": { "type": "integer", "minimum": 0, "description": "when a repeat can help" },
                "may_be_done": {
                    "type": "boolean",
                    "description": "whether the work may have been done, so that a repeat may do it twice",
                },
            },
        } },
    })
}

fn key_parameter() -> Value {
    json!({
        "name": "key", "in": "path", "required": true, "description": "which actor: 1 to 512 bytes of UTF-8",
        "schema": { "type": "string", "minLength": 1 },
    })
}

fn timeout_parameter() -> Value {
    json!({
        "name": TIMEOUT, "in": "header", "description": "how long to wait, in milliseconds",
        "schema": { "type": "integer", "minimum": 1, "maximum": CALL_TIMEOUT_MS_MAX },
    })
}

fn idempotency_key_parameter() -> Value {
    json!({
        "name": IDEMPOTENCY_KEY, "in": "header",
        "description": "names this call of this actor: a repeat with the same key within ten minutes gets the same \
            answer, and does nothing",
        "schema": { "type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_BYTES_MAX },
    })
}

/// A kind as one part of a path. Only its full name has characters that need it.
fn encoded(kind: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let each = |byte: u8| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    kind.bytes().map(each).collect()
}
