//! Reading WIT out of what was uploaded, by a library that was made for what its own tools write. It
//! takes all else for impossible and panics; and where packages use one another in a circle it goes
//! round until the stack ends, which would end the silo.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::panic::{self, AssertUnwindSafe};

use wasmparser::component_types::{ComponentAnyTypeId, ComponentEntityType};
use wasmparser::types::TypesRef;
use wasmparser::{Parser, Payload, Validator, WasmFeatures};

/// The most packages whose interfaces one component names; as deep the library's recursion can go.
const PACKAGES_MAX: usize = 500;

/// Whether the library can follow the WIT of a component, or of a module's metadata, to its end.
///
/// # Errors
/// When the component is damaged, or its packages are too many or in a circle.
pub(super) fn check(component: &[u8]) -> Result<(), String> {
    Packages::of(component)?.check()
}

/// Runs what reads checked WIT.
///
/// # Errors
/// What the library panicked about.
pub(super) fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    panic::catch_unwind(AssertUnwindSafe(read)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
        format!("its WIT has a form that cannot be read: {}", text.unwrap_or("the reader did not say why"))
    })
}

/// Which packages use types of which others.
#[derive(Default)]
struct Packages {
    uses: BTreeMap<String, BTreeSet<String>>,
    /// The package that gave a type its name.
    owners: HashMap<ComponentAnyTypeId, String>,
}

impl Packages {
    #[expect(clippy::wildcard_enum_match_arm, reason = "only what names interfaces matters")]
    fn of(component: &[u8]) -> Result<Self, String> {
        let damaged = |error: wasmparser::BinaryReaderError| error.to_string();
        let types = Validator::new_with_features(WasmFeatures::all()).validate_all(component).map_err(damaged)?;
        let types = types.as_ref();
        let mut packages = Self::default();
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(damaged)? {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentImportSection(section) if depth == 1 => {
                    for import in section {
                        let name = import.map_err(damaged)?.name.name;
                        packages.item(types, name, types.component_item_for_import(name).map(|item| item.ty));
                    }
                }
                Payload::ComponentExportSection(section) if depth == 1 => {
                    for export in section {
                        let name = export.map_err(damaged)?.name.name;
                        packages.item(types, name, types.component_item_for_export(name).map(|item| item.ty));
                    }
                }
                _ => {}
            }
        }
        Ok(packages)
    }

    /// An import or export: an interface, or a component's type with interfaces in it.
    fn item(&mut self, types: TypesRef<'_>, name: &str, ty: Option<ComponentEntityType>) {
        match ty {
            Some(ComponentEntityType::Instance(id)) => {
                let Some(package) = package(name) else { return };
                self.uses.entry(package.clone()).or_default();
                for export in types[id].exports.values() {
                    if let ComponentEntityType::Type { referenced, created } = export.ty {
                        self.names(types, &package, referenced, created);
                    }
                }
            }
            Some(
                ComponentEntityType::Component(id)
                | ComponentEntityType::Type { created: ComponentAnyTypeId::Component(id), .. },
            ) => {
                for (name, item) in types[id].imports.iter().chain(&types[id].exports) {
                    self.item(types, name, Some(item.ty));
                }
            }
            _ => {}
        }
    }

    /// A package names a type; the nearest that named it before is the one that it uses.
    fn names(
        &mut self,
        types: TypesRef<'_>,
        package: &str,
        referenced: ComponentAnyTypeId,
        created: ComponentAnyTypeId,
    ) {
        let mut known = Some(referenced);
        while let Some(id) = known {
            if let Some(owner) = self.owners.get(&id) {
                if owner != package {
                    self.uses.entry(package.to_owned()).or_default().insert(owner.clone());
                }
                break;
            }
            known = types.peel_alias(id);
        }
        self.owners.insert(created, package.to_owned());
    }

    fn check(mut self) -> Result<(), String> {
        if self.uses.len() > PACKAGES_MAX {
            return Err(format!("its WIT names {} packages, at most {PACKAGES_MAX} are read", self.uses.len()));
        }
        // Those that use none are taken away, until none is left or each uses another.
        while let Some(free) = self.uses.iter().find(|(_, uses)| uses.is_empty()).map(|(package, _)| package.clone()) {
            self.uses.remove(&free);
            for uses in self.uses.values_mut() {
                uses.remove(&free);
            }
        }
        match self.uses.keys().next() {
            Some(package) => {
                Err(format!("the packages of its WIT use one another in a circle, `{package}` among them"))
            }
            None => Ok(()),
        }
    }
}

/// `quark:actor@0.1.0` of `quark:actor/state@0.1.0`; none for a plain name.
fn package(interface: &str) -> Option<String> {
    let (package, name) = interface.split_once('/')?;
    let version = name.split_once('@').map(|(_, version)| format!("@{version}"));
    Some(format!("{package}{}", version.unwrap_or_default()))
}
