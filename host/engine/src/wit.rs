//! What a component says of its interfaces in WIT, read back once when it is admitted.

use std::collections::HashMap;

use wit_component::{DecodedWasm, Output as _, WitPrinter};
use wit_parser::{Function, InterfaceId, PackageId, Resolve, Type, TypeDef, TypeDefKind, TypeId, WorldItem};

use crate::error::AdmissionError;

/// The longest signature or definition that is shown.
const TEXT_BYTES_MAX: usize = 400;

/// A component's WIT: what it exports, with the names that its author gave.
pub(crate) struct Wit {
    pub(crate) resolve: Resolve,
    /// By name, version included.
    exports: HashMap<String, InterfaceId>,
}

impl Wit {
    /// Reads it from a component that has passed validation.
    pub(crate) fn decode(component: &[u8]) -> Result<Self, AdmissionError> {
        let (resolve, world) = match wit_component::decode(component) {
            Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
            Ok(DecodedWasm::WitPackage(..)) => {
                return Err(AdmissionError::NoKind("it is WIT alone, without code".into()));
            }
            Err(error) => return Err(AdmissionError::NoWit(format!("{error:#}"))),
        };
        let mut exports = HashMap::new();
        for item in resolve.worlds[world].exports.values() {
            let WorldItem::Interface { id, .. } = item else { continue };
            if let Some(name) = resolve.id_of(*id) {
                exports.insert(name, *id);
            }
        }
        Ok(Self { resolve, exports })
    }

    /// Takes the comments of the same interfaces elsewhere: the types of a component have none.
    pub(crate) fn adopt_docs(&mut self, from: &Resolve) {
        for id in self.needed(&self.exports.values().copied().collect::<Vec<_>>()) {
            let Some(name) = self.resolve.id_of(id) else { continue };
            let Some((other, _)) = from.interfaces.iter().find(|(other, _)| from.id_of(*other).as_ref() == Some(&name))
            else {
                continue;
            };
            let other = &from.interfaces[other];
            let interface = &mut self.resolve.interfaces[id];
            interface.docs = other.docs.clone();
            for (name, function) in &mut interface.functions {
                if let Some(other) = other.functions.get(name) {
                    function.docs = other.docs.clone();
                }
            }
            for (name, id) in &interface.types {
                if let Some(other) = other.types.get(name) {
                    adopt_type_docs(&mut self.resolve.types[*id], &from.types[*other]);
                }
            }
        }
    }

    /// One that was not read from a component.
    #[cfg(test)]
    pub(crate) fn of(resolve: Resolve, exports: impl IntoIterator<Item = (String, InterfaceId)>) -> Self {
        Self { resolve, exports: exports.into_iter().collect() }
    }

    /// An exported interface by its name, version included.
    pub(crate) fn export(&self, interface: &str) -> Option<InterfaceId> {
        self.exports.get(interface).copied()
    }

    /// The version of the package of an exported interface.
    pub(crate) fn version(&self, interface: &str) -> Option<&impl Ord> {
        let package = self.resolve.interfaces[self.export(interface)?].package?;
        self.resolve.packages[package].name.version.as_ref()
    }

    /// A method of an exported interface's resource.
    pub(crate) fn method(&self, interface: &str, resource: &str, method: &str) -> Option<&Function> {
        let interface = &self.resolve.interfaces[self.export(interface)?];
        interface.functions.get(&format!("[method]{resource}.{method}"))
    }

    /// The exported interface as WIT text that stands on its own: with the interfaces that it uses.
    pub(crate) fn text(&self, interface: &str) -> Result<String, AdmissionError> {
        let unreadable = |reason: String| AdmissionError::NoWit(format!("`{interface}`: {reason}"));
        let id = self.export(interface).ok_or_else(|| unreadable("it is not exported".into()))?;
        let main = self.resolve.interfaces[id].package.ok_or_else(|| unreadable("it has no package".into()))?;
        let mut packages: Vec<(PackageId, Vec<InterfaceId>)> = vec![(main, Vec::new())];
        for needed in self.needed(&[id]) {
            let Some(package) = self.resolve.interfaces[needed].package else { continue };
            match packages.iter_mut().find(|(known, _)| *known == package) {
                Some((_, interfaces)) => interfaces.push(needed),
                None => packages.push((package, vec![needed])),
            }
        }
        let mut printer = WitPrinter::default();
        for (package, interfaces) in &packages {
            let printed = self.print(&mut printer, *package, interfaces, *package == main);
            printed.map_err(|error| unreadable(error.to_string()))?;
        }
        Ok(printer.output.to_string())
    }

    /// Some of a package's interfaces: the package of the text itself, or one nested in it.
    fn print(
        &self,
        printer: &mut WitPrinter,
        package: PackageId,
        interfaces: &[InterfaceId],
        is_main: bool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        printer.print_package_outer(&self.resolve.packages[package])?;
        if is_main {
            printer.output.semicolon();
        } else {
            printer.output.indent_start();
        }
        for (at, id) in interfaces.iter().enumerate() {
            if is_main || at > 0 {
                printer.output.newline();
            }
            let name = self.resolve.interfaces[*id].name.as_deref().unwrap_or_default();
            printer.print_interface_outer(&self.resolve, *id, name)?;
            printer.output.indent_start();
            printer.print_interface(&self.resolve, *id)?;
            printer.output.indent_end();
        }
        if is_main {
            printer.output.newline();
        } else {
            printer.output.indent_end();
        }
        Ok(())
    }

    /// The interfaces and all that they use, those that are used before their users.
    pub(crate) fn needed(&self, interfaces: &[InterfaceId]) -> Vec<InterfaceId> {
        let mut found = Vec::new();
        interfaces.iter().for_each(|interface| needed(&self.resolve, *interface, &mut found));
        found
    }

    /// The definitions that a method's types are made of, by name.
    pub(crate) fn definitions(&self, function: &Function) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for ty in function.params.iter().skip(1).map(|param| &param.ty).chain(&function.result) {
            self.collect(ty, &mut found);
        }
        found
    }

    fn collect(&self, ty: &Type, found: &mut Vec<(String, String)>) {
        let Type::Id(id) = ty else { return };
        let definition = &self.resolve.types[*id];
        // Another name for a type, as `use` makes them, says nothing.
        if let TypeDefKind::Type(of @ Type::Id(_)) = &definition.kind {
            return self.collect(of, found);
        }
        if let Some(name) = &definition.name {
            if found.iter().any(|(known, _)| known == name) {
                return;
            }
            found.push((name.clone(), defined(&self.resolve, *id)));
        }
        each_part(&definition.kind, &mut |ty| self.collect(ty, found));
    }
}

fn adopt_type_docs(ty: &mut TypeDef, from: &TypeDef) {
    ty.docs = from.docs.clone();
    match (&mut ty.kind, &from.kind) {
        (TypeDefKind::Record(ty), TypeDefKind::Record(from)) => {
            ty.fields.iter_mut().zip(&from.fields).for_each(|(ty, from)| ty.docs = from.docs.clone());
        }
        (TypeDefKind::Variant(ty), TypeDefKind::Variant(from)) => {
            ty.cases.iter_mut().zip(&from.cases).for_each(|(ty, from)| ty.docs = from.docs.clone());
        }
        (TypeDefKind::Enum(ty), TypeDefKind::Enum(from)) => {
            ty.cases.iter_mut().zip(&from.cases).for_each(|(ty, from)| ty.docs = from.docs.clone());
        }
        (TypeDefKind::Flags(ty), TypeDefKind::Flags(from)) => {
            ty.flags.iter_mut().zip(&from.flags).for_each(|(ty, from)| ty.docs = from.docs.clone());
        }
        // The others have no parts with comments.
        _ => {}
    }
}

fn needed(resolve: &Resolve, interface: InterfaceId, found: &mut Vec<InterfaceId>) {
    for used in resolve.interface_direct_deps(interface) {
        if used != interface && !found.contains(&used) {
            needed(resolve, used, found);
        }
    }
    if !found.contains(&interface) {
        found.push(interface);
    }
}

/// Calls `each` for the types that a definition is made of.
fn each_part(kind: &TypeDefKind, each: &mut dyn FnMut(&Type)) {
    match kind {
        TypeDefKind::Record(record) => record.fields.iter().for_each(|field| each(&field.ty)),
        TypeDefKind::Tuple(tuple) => tuple.types.iter().for_each(each),
        TypeDefKind::Variant(variant) => variant.cases.iter().filter_map(|case| case.ty.as_ref()).for_each(each),
        TypeDefKind::Result(result) => result.ok.iter().chain(&result.err).for_each(each),
        TypeDefKind::Map(key, value) => [key, value].into_iter().for_each(each),
        TypeDefKind::Option(ty)
        | TypeDefKind::List(ty)
        | TypeDefKind::FixedLengthList(ty, _)
        | TypeDefKind::Future(Some(ty))
        | TypeDefKind::Stream(Some(ty))
        | TypeDefKind::Type(ty) => each(ty),
        TypeDefKind::Resource
        | TypeDefKind::Handle(_)
        | TypeDefKind::Flags(_)
        | TypeDefKind::Enum(_)
        | TypeDefKind::Future(None)
        | TypeDefKind::Stream(None)
        | TypeDefKind::Unknown => {}
    }
}

/// A method's signature with the names of its types, without `self`.
pub(crate) fn signature(resolve: &Resolve, function: &Function) -> String {
    let params = function.params.iter().skip(1).map(|param| format!("{}: {}", param.name, name(resolve, &param.ty)));
    let params = params.collect::<Vec<_>>().join(", ");
    let result = function.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", name(resolve, ty)));
    shorten(format!("func({params}){result}"))
}

pub(crate) fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        crate::host::log::cut(&mut text, TEXT_BYTES_MAX);
        text.push_str("...");
    }
    text
}

/// A named type's definition on one line: `record point { x: s32, y: s32 }`.
fn defined(resolve: &Resolve, id: TypeId) -> String {
    let definition = &resolve.types[id];
    let own_name = definition.name.as_deref().unwrap_or_default();
    let block = |what: &str, entries: Vec<String>| format!("{what} {own_name} {{ {} }}", entries.join(", "));
    let text = match &definition.kind {
        TypeDefKind::Record(record) => {
            block("record", record.fields.iter().map(|it| format!("{}: {}", it.name, name(resolve, &it.ty))).collect())
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| match &case.ty {
                Some(ty) => format!("{}({})", case.name, name(resolve, ty)),
                None => case.name.clone(),
            };
            block("variant", variant.cases.iter().map(case).collect())
        }
        TypeDefKind::Enum(cases) => block("enum", cases.cases.iter().map(|case| case.name.clone()).collect()),
        TypeDefKind::Flags(flags) => block("flags", flags.flags.iter().map(|flag| flag.name.clone()).collect()),
        TypeDefKind::Resource => format!("resource {own_name}"),
        other @ (TypeDefKind::Handle(_)
        | TypeDefKind::Tuple(_)
        | TypeDefKind::Option(_)
        | TypeDefKind::Result(_)
        | TypeDefKind::List(_)
        | TypeDefKind::Map(..)
        | TypeDefKind::FixedLengthList(..)
        | TypeDefKind::Future(_)
        | TypeDefKind::Stream(_)
        | TypeDefKind::Type(_)
        | TypeDefKind::Unknown) => format!("type {own_name} = {}", unnamed(resolve, other)),
    };
    shorten(text)
}

/// A type as a signature names it.
fn name(resolve: &Resolve, ty: &Type) -> String {
    let id = match ty {
        Type::Bool => return "bool".into(),
        Type::U8 => return "u8".into(),
        Type::U16 => return "u16".into(),
        Type::U32 => return "u32".into(),
        Type::U64 => return "u64".into(),
        Type::S8 => return "s8".into(),
        Type::S16 => return "s16".into(),
        Type::S32 => return "s32".into(),
        Type::S64 => return "s64".into(),
        Type::F32 => return "f32".into(),
        Type::F64 => return "f64".into(),
        Type::Char => return "char".into(),
        Type::String => return "string".into(),
        Type::ErrorContext => return "error-context".into(),
        Type::Id(id) => *id,
    };
    let definition = &resolve.types[id];
    definition.name.clone().unwrap_or_else(|| unnamed(resolve, &definition.kind))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the remaining types have names of their own")]
fn unnamed(resolve: &Resolve, kind: &TypeDefKind) -> String {
    let of = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| name(resolve, ty));
    match kind {
        TypeDefKind::Type(ty) => name(resolve, ty),
        TypeDefKind::List(ty) => format!("list<{}>", name(resolve, ty)),
        TypeDefKind::FixedLengthList(ty, length) => format!("list<{}, {length}>", name(resolve, ty)),
        TypeDefKind::Map(key, value) => format!("map<{}, {}>", name(resolve, key), name(resolve, value)),
        TypeDefKind::Option(ty) => format!("option<{}>", name(resolve, ty)),
        TypeDefKind::Tuple(tuple) => {
            let types: Vec<String> = tuple.types.iter().map(|ty| name(resolve, ty)).collect();
            format!("tuple<{}>", types.join(", "))
        }
        TypeDefKind::Result(result) => match (&result.ok, &result.err) {
            (None, None) => "result".into(),
            (ok, None) => format!("result<{}>", of(ok)),
            (ok, err) => format!("result<{}, {}>", of(ok), of(err)),
        },
        TypeDefKind::Handle(wit_parser::Handle::Own(id) | wit_parser::Handle::Borrow(id)) => {
            resolve.types[*id].name.clone().unwrap_or_else(|| "resource".into())
        }
        other => other.as_str().into(),
    }
}
