//! What was uploaded: whether it is whole, and what it says of itself.

use std::panic::{self, AssertUnwindSafe};

use sha2::{Digest, Sha256};

use crate::error::AdmissionError;

/// The custom section in which a component carries its own manifest.
const MANIFEST_SECTION: &str = "quark:manifest";

/// SHA-256 of a component's bytes, hexadecimal: what deployments are known by.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_magic(bytes: &[u8]) -> Result<(), AdmissionError> {
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let start: String = bytes.iter().take(8).map(|byte| format!(" {byte:02x}")).collect();
    Err(AdmissionError::NotWasm(if bytes.is_empty() { "nothing, it is empty".into() } else { format!("bytes{start}") }))
}

fn damaged(error: wasmparser::BinaryReaderError) -> AdmissionError {
    let (message, at) = (error.message(), error.offset());
    AdmissionError::Damaged(format!("{} (at byte {at})", message.lines().next().unwrap_or_default()))
}

/// Makes a component of what was uploaded: a component stays as it is, a core module with WIT
/// metadata is wrapped.
pub(super) fn componentize(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, AdmissionError> {
    check_magic(bytes)?;
    if wasmparser::Parser::is_component(bytes) {
        return Ok(bytes.into());
    }
    let mut has_metadata = false;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)? {
            has_metadata |= section.name().starts_with("component-type");
        }
    }
    if !has_metadata {
        return Err(AdmissionError::NoMetadata);
    }
    let encode = || {
        let encoder = wit_component::ComponentEncoder::default().validate(true);
        encoder.module(bytes).and_then(|mut encoder| encoder.encode())
    };
    let encoded = guarded(|| encode().map_err(|error| format!("{error:#}"))).unwrap_or_else(Err);
    encoded.map(Into::into).map_err(AdmissionError::Encode)
}

/// Runs what reads WIT out of a component. That library takes what its own tools never write for
/// impossible, and panics; from outside it is an input like any other.
///
/// # Errors
/// What the panic said.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        format!("its WIT is of a form that cannot be read: {}", text.unwrap_or("the reader did not say why"))
    })
}

/// Whether it is whole, and without `async`, which the engine is set up without.
pub(super) fn validate(component: &[u8]) -> Result<(), AdmissionError> {
    use wasmparser::{Validator, WasmFeatures};
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).map_err(damaged)?;
    let features = WasmFeatures::all() - WasmFeatures::CM_ASYNC;
    match Validator::new_with_features(features).validate_all(component) {
        Ok(_) => Ok(()),
        Err(_) => Err(AdmissionError::Async),
    }
}

/// The manifest that a component carries, if it carries one.
///
/// # Errors
/// When the bytes are damaged.
pub fn embedded_manifest(bytes: &[u8]) -> Result<Option<String>, AdmissionError> {
    check_magic(bytes)?;
    let mut found = None;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)?
            && section.name() == MANIFEST_SECTION
        {
            found = Some(String::from_utf8_lossy(section.data()).into_owned());
        }
    }
    Ok(found)
}
