//! Admission: an input is a component, in its binary form or in its text.

use std::sync::LazyLock;

use quark_core::manifest::Manifest;
use quark_engine::{Cache, Component, Engine, EngineConfig, embedded_manifest};

/// The longest text of an error: it may show a whole name.
const ERROR_BYTES_MAX: usize = 20_000;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig { roomy: [1; 2], dense: 1, ..EngineConfig::default() };
    Engine::new(config).expect("this machine runs wasmtime")
});

/// What somebody deploys.
pub fn component(data: &[u8]) {
    // Text that is no component's is as good as bytes that are none.
    let bytes = wat::parse_bytes(data).unwrap_or_else(|_| data.into());
    let manifest = match embedded_manifest(&bytes) {
        Ok(text) => text.and_then(|text| Manifest::parse(&text).ok()).unwrap_or_default(),
        Err(error) => {
            short(&error.to_string());
            Manifest::default()
        }
    };
    let admit = || Component::admit(&ENGINE, &Cache::none(), &bytes, &manifest, 1);
    let component = match admit() {
        Ok(component) => component,
        Err(error) => {
            short(&error.to_string());
            assert_eq!(admit().err(), Some(error), "refused for one reason");
            return;
        }
    };
    assert!(!component.kinds.is_empty(), "what is admitted has a kind");
    assert_eq!(component.bytes, bytes.len());
    for (at, kind) in component.kinds.iter().enumerate() {
        assert_eq!(component.kind_at(&kind.name), Some(at), "{} is there once", kind.name);
        for (at, method) in kind.methods.iter().enumerate() {
            let name = &method.signature.name;
            let found = kind.method(name).map(|(at, _)| at);
            assert_eq!(found, Some(at), "{}.{name} is there once", kind.name);
            short(&method.text);
        }
    }
}

fn short(text: &str) {
    assert!(text.len() <= ERROR_BYTES_MAX, "a short text: {text}");
}
