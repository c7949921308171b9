//! What built a component, by the producers sections in it and in its modules.

use std::collections::BTreeSet;

use wasmparser::{KnownCustom, Parser, Payload};

use crate::error::AdmissionError;

/// What is known of a component's toolchain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// Its guests can be called again from inside of a host function.
    Nests(&'static str),
    /// They cannot, for this reason.
    CannotNest(&'static str),
    /// It has not been tried.
    Unknown,
}

/// Languages whose compilers leave nothing at run time that a nested call could disturb.
const LANGUAGES: [&str; 7] = ["Rust", "C", "C99", "C11", "C17", "C23", "C_plus_plus_14"];
/// The most names that are looked at.
const NAMES_MAX: usize = 1000;

impl Toolchain {
    /// That of a component.
    ///
    /// # Errors
    /// When the bytes are damaged.
    pub(super) fn of(component: &[u8]) -> Result<Self, AdmissionError> {
        let (mut tools, mut languages) = (BTreeSet::new(), BTreeSet::new());
        for payload in Parser::new(0).parse_all(component) {
            let Payload::CustomSection(section) = payload.map_err(super::bytes::damaged)? else { continue };
            let KnownCustom::Producers(fields) = section.as_known() else { continue };
            // A section that cannot be read says nothing.
            for field in fields.into_iter().flatten() {
                let names = match field.name {
                    "processed-by" | "sdk" => &mut tools,
                    "language" => &mut languages,
                    _ => continue,
                };
                names.extend(field.values.into_iter().flatten().map(|value| value.name).take(NAMES_MAX));
            }
        }
        Ok(Self::from(&tools, &languages))
    }

    fn from(tools: &BTreeSet<&str>, languages: &BTreeSet<&str>) -> Self {
        let built_by = |tool: &str| tools.iter().any(|name| name.eq_ignore_ascii_case(tool));
        if built_by("ComponentizeJS") {
            return Self::CannotNest(
                "ComponentizeJS built it, and StarlingMonkey ends when it is called while it waits",
            );
        }
        if built_by("componentize-qjs") {
            return Self::Nests("componentize-qjs built it");
        }
        // What componentize-py leaves of itself.
        if built_by("componentize-py") || built_by("component-init-transform") && languages.len() == 1 {
            return Self::Nests("componentize-py built it");
        }
        let known = languages.iter().all(|language| LANGUAGES.contains(language));
        match () {
            () if known && languages.contains("Rust") => Self::Nests("it is Rust"),
            () if known && (!languages.is_empty() || built_by("clang") || built_by("wit-bindgen-c")) => {
                Self::Nests("it is C")
            }
            () => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_by_what_it_leaves() {
        for (tools, languages, nests) in [
            (&["rustc", "wit-component"][..], &["Rust"][..], Some(true)),
            (&["rustc", "clang", "wit-bindgen-c"], &["Rust", "C11"], Some(true)),
            (&["wit-bindgen-c", "wit-component"], &[], Some(true)),
            (&["component-init-transform", "rustc"], &["Rust"], Some(true)),
            (&["componentize-qjs", "rustc"], &["Rust", "JavaScript"], Some(true)),
            (&["ComponentizeJS", "clang", "rustc"], &["C11", "Rust", "JavaScript"], Some(false)),
            (&["wit-component"], &[], None),
            (&["Go", "wit-component"], &["Go"], None),
            (&["clang", "TinyGo"], &["C11", "Go"], None),
        ] {
            let found = Toolchain::from(&tools.iter().copied().collect(), &languages.iter().copied().collect());
            let is = match found {
                Toolchain::Nests(_) => Some(true),
                Toolchain::CannotNest(_) => Some(false),
                Toolchain::Unknown => None,
            };
            assert_eq!(is, nests, "{tools:?} {languages:?}");
        }
    }
}
