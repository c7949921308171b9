//! What was uploaded: whether it is whole, and what it says of itself.

use sha2::{Digest, Sha256};

use super::wit;
use crate::engine::Flavour;
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
    let mut metadata = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)? {
            metadata.extend(section.name().starts_with("component-type").then(|| section.data()));
        }
    }
    if metadata.is_empty() {
        return Err(AdmissionError::NoMetadata);
    }
    let encode = || {
        let encoder = wit_component::ComponentEncoder::default().validate(true);
        encoder.module(bytes).and_then(|mut encoder| encoder.encode())
    };
    metadata.into_iter().try_for_each(wit::check).map_err(AdmissionError::Encode)?;
    let encoded = wit::guarded(|| encode().map_err(|error| format!("{error:#}"))).and_then(|encoded| encoded);
    encoded.map(Into::into).map_err(AdmissionError::Encode)
}

/// Checks that it is whole; what its functions are written as. Whatever needs the component model's
/// `async` counts as `async func`.
pub(super) fn validate(component: &[u8]) -> Result<Flavour, AdmissionError> {
    use wasmparser::{Validator, WasmFeatures};
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).map_err(damaged)?;
    let features = WasmFeatures::all() - WasmFeatures::CM_ASYNC;
    match Validator::new_with_features(features).validate_all(component) {
        Ok(_) => Ok(Flavour::Plain),
        Err(_) => Ok(Flavour::Async),
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
