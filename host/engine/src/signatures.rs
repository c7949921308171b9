//! Method signatures as their author wrote them, for people.

use std::collections::HashMap;

use wit_component::DecodedWasm;
use wit_parser::{Function, Resolve, Type, TypeDefKind, WorldItem};

use crate::kind::Signature;
use crate::values::describe;

/// The longest signature that is shown.
const TEXT_BYTES_MAX: usize = 400;

/// Signatures by interface and function, as far as the component's WIT can be read back.
#[derive(Default)]
pub(crate) struct Signatures(HashMap<(String, String), String>);

impl Signatures {
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut texts = HashMap::new();
        if let Ok(DecodedWasm::Component(resolve, world)) = wit_component::decode(bytes) {
            for item in resolve.worlds[world].exports.values() {
                let WorldItem::Interface { id, .. } = item else { continue };
                let Some(name) = resolve.id_of(*id) else { continue };
                for (function, definition) in &resolve.interfaces[*id].functions {
                    texts.insert((name.clone(), function.clone()), text(&resolve, definition));
                }
            }
        }
        Self(texts)
    }

    /// The method's signature with the names of its types; structural where those are not known.
    pub(crate) fn method(&self, interface: &str, resource: &str, method: &str, signature: &Signature) -> String {
        let name = (interface.to_owned(), format!("[method]{resource}.{method}"));
        self.0.get(&name).cloned().unwrap_or_else(|| structural(signature))
    }
}

fn structural(signature: &Signature) -> String {
    let params: Vec<String> = signature.params.iter().map(|(name, ty)| format!("{name}: {}", describe(ty))).collect();
    let result = signature.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", describe(ty)));
    shorten(format!("func({}){result}", params.join(", ")))
}

fn text(resolve: &Resolve, function: &Function) -> String {
    let params = function.params.iter().skip(1).map(|param| format!("{}: {}", param.name, name(resolve, &param.ty)));
    let params = params.collect::<Vec<_>>().join(", ");
    let result = function.result.as_ref().map_or_else(String::new, |ty| format!(" -> {}", name(resolve, ty)));
    shorten(format!("func({params}){result}"))
}

fn shorten(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        crate::host::log::cut(&mut text, TEXT_BYTES_MAX);
        text.push_str("...");
    }
    text
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the remaining types have names of their own")]
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
    if let Some(name) = &definition.name {
        return name.clone();
    }
    let of = |ty: &Option<Type>| ty.as_ref().map_or_else(|| "_".to_owned(), |ty| name(resolve, ty));
    match &definition.kind {
        TypeDefKind::List(ty) => format!("list<{}>", name(resolve, ty)),
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
