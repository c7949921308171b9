//! JSON Schemas of what methods take and answer: what [`crate::values::json`] reads and writes, for
//! those who do not have the WIT.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};
use wit_parser::{Case, Docs, Field, Function, Handle, Resolve, Result_, Type, TypeDefKind, TypeId, TypeOwner};

use crate::component::Component;
use crate::kind::Kind;
use crate::wit::Wit;

/// Where the schemas of named types stand in the document.
const PLACE: &str = "#/components/schemas/";

/// The schemas of the named types of many components; each name means one type.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<String, Value>);

/// A method as its callers see it.
#[derive(Clone, Debug)]
pub struct Described {
    /// What its author says of it.
    pub docs: Option<String>,
    /// The array of its arguments.
    pub arguments: Value,
    /// Its answer when it is no error; none for a tell.
    pub answer: Option<Value>,
    /// Its own error as an answer, for a method that can have one.
    pub error: Option<Value>,
    /// Whether a call of it may have an idempotency key.
    pub idempotent: bool,
}

impl Schemas {
    /// All of them, by name.
    #[must_use]
    pub fn named(self) -> BTreeMap<String, Value> {
        self.0
    }

    /// The methods of a component's kind, by name, and what the kind's author says of it.
    pub fn kind(&mut self, component: &Component, kind: &Kind) -> (Option<String>, BTreeMap<String, Described>) {
        let wit: &Wit = &component.wit;
        let mut writer = Writer { resolve: &wit.resolve, schemas: &mut self.0, names: HashMap::new() };
        let interface = wit.export(&kind.interface).map(|id| &wit.resolve.interfaces[id]);
        let resource = interface.and_then(|interface| interface.types.get(kind.name.short()));
        let docs = resource.and_then(|id| said(&wit.resolve.types[*id].docs));
        let methods = kind.methods.iter().filter_map(|method| {
            let name = &method.signature.name;
            let function = wit.method(&kind.interface, kind.name.short(), name)?;
            Some((name.to_string(), Described { idempotent: method.idempotent, ..writer.method(function) }))
        });
        (docs, methods.collect())
    }
}

/// What a comment says, when there is one.
fn said(docs: &Docs) -> Option<String> {
    docs.contents.as_deref().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

struct Writer<'a> {
    resolve: &'a Resolve,
    schemas: &'a mut BTreeMap<String, Value>,
    /// Types that have their name already.
    names: HashMap<TypeId, String>,
}

impl Writer<'_> {
    fn method(&mut self, function: &Function) -> Described {
        let arguments = function.params.iter().skip(1);
        let arguments = arguments.map(|param| {
            let mut schema = self.ty(&param.ty);
            // Beside a reference a title would not be its own.
            if let Some(object) = schema.as_object_mut().filter(|object| !object.contains_key("$ref")) {
                object.entry("title").or_insert_with(|| param.name.clone().into());
            }
            schema
        });
        let arguments = sequence(arguments.collect());
        let (mut answer, mut error) = (None, None);
        if let Some(ty) = &function.result {
            match self.result(ty) {
                Some(Result_ { ok, err }) => {
                    answer = Some(self.one_entry("ok", ok.as_ref()));
                    error = Some(self.one_entry("err", err.as_ref()));
                }
                None => answer = Some(self.ty(ty)),
            }
        }
        Described { docs: said(&function.docs), arguments, answer, error, idempotent: false }
    }

    /// What a type is beneath its other names.
    fn beneath(&self, ty: &Type) -> Type {
        let mut ty = *ty;
        while let Type::Id(id) = ty
            && let TypeDefKind::Type(of) = &self.resolve.types[id].kind
        {
            ty = *of;
        }
        ty
    }

    fn result(&self, ty: &Type) -> Option<Result_> {
        let Type::Id(id) = self.beneath(ty) else { return None };
        if let TypeDefKind::Result(result) = &self.resolve.types[id].kind { Some(result.clone()) } else { None }
    }

    fn is_option(&self, ty: &Type) -> bool {
        matches!(self.beneath(ty), Type::Id(id) if matches!(self.resolve.types[id].kind, TypeDefKind::Option(_)))
    }

    fn ty(&mut self, ty: &Type) -> Value {
        match self.beneath(ty) {
            Type::Bool => json!({ "type": "boolean" }),
            Type::U8 => integer(0, u8::MAX.into()),
            Type::U16 => integer(0, u16::MAX.into()),
            Type::U32 => integer(0, u32::MAX.into()),
            Type::S8 => integer(i8::MIN.into(), i8::MAX.into()),
            Type::S16 => integer(i16::MIN.into(), i16::MAX.into()),
            Type::S32 => integer(i32::MIN.into(), i32::MAX.into()),
            Type::U64 => large(json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }), "^(0|[1-9][0-9]*)$"),
            Type::S64 => {
                large(json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }), "^-?(0|[1-9][0-9]*)$")
            }
            Type::F32 | Type::F64 => {
                json!({ "anyOf": [{ "type": "number" }, { "enum": ["NaN", "Infinity", "-Infinity"] }] })
            }
            Type::Char => json!({ "type": "string", "minLength": 1, "maxLength": 1 }),
            Type::String => json!({ "type": "string" }),
            // No method that is admitted has one.
            Type::ErrorContext => json!(false),
            Type::Id(id) => self.defined(id),
        }
    }

    /// A type with a name is written once, under it.
    fn defined(&mut self, id: TypeId) -> Value {
        if let Some(name) = self.names.get(&id) {
            return json!({ "$ref": format!("{PLACE}{name}") });
        }
        let definition = &self.resolve.types[id];
        let mut schema = self.kind(&definition.kind);
        let Some(full) = full_name(self.resolve, id) else { return schema };
        if let (Some(docs), Some(object)) = (said(&definition.docs), schema.as_object_mut()) {
            object.insert("description".into(), docs.into());
        }
        // Components may come with types of one name that differ.
        let mut name = full.clone();
        let mut count = 1;
        while self.schemas.get(&name).is_some_and(|known| bare(known) != bare(&schema)) {
            count += 1;
            name = format!("{full}_{count}");
        }
        self.schemas.entry(name.clone()).or_insert(schema);
        let reference = json!({ "$ref": format!("{PLACE}{name}") });
        self.names.insert(id, name);
        reference
    }

    fn kind(&mut self, kind: &TypeDefKind) -> Value {
        match kind {
            TypeDefKind::Record(record) => self.record(&record.fields),
            TypeDefKind::Variant(variant) => self.variant(&variant.cases),
            TypeDefKind::Enum(cases) => {
                json!({ "type": "string", "enum": cases.cases.iter().map(|it| &it.name).collect::<Vec<_>>() })
            }
            TypeDefKind::Flags(flags) => {
                let names: Vec<&String> = flags.flags.iter().map(|it| &it.name).collect();
                json!({ "type": "array", "items": { "type": "string", "enum": names }, "uniqueItems": true })
            }
            TypeDefKind::Tuple(tuple) => sequence(tuple.types.iter().map(|ty| self.ty(ty)).collect()),
            TypeDefKind::Option(ty) if self.is_option(ty) => {
                json!({ "anyOf": [{ "type": "null" }, self.one_entry("some", Some(ty))] })
            }
            TypeDefKind::Option(ty) => json!({ "anyOf": [self.ty(ty), { "type": "null" }] }),
            TypeDefKind::Result(result) => {
                let (ok, err) = (result.ok.as_ref(), result.err.as_ref());
                json!({ "oneOf": [self.one_entry("ok", ok), self.one_entry("err", err)] })
            }
            TypeDefKind::List(ty) => json!({ "type": "array", "items": self.ty(ty) }),
            TypeDefKind::FixedLengthList(ty, length) => {
                json!({ "type": "array", "items": self.ty(ty), "minItems": length, "maxItems": length })
            }
            TypeDefKind::Map(key, value) if self.beneath(key) == Type::String => {
                json!({ "type": "object", "additionalProperties": self.ty(value) })
            }
            TypeDefKind::Map(key, value) => {
                json!({ "type": "array", "items": sequence(vec![self.ty(key), self.ty(value)]) })
            }
            TypeDefKind::Type(ty) => self.ty(ty),
            TypeDefKind::Handle(Handle::Own(_)) => json!({ "type": "string", "contentEncoding": "base64" }),
            // No method that is admitted has one.
            TypeDefKind::Handle(Handle::Borrow(_))
            | TypeDefKind::Resource
            | TypeDefKind::Future(_)
            | TypeDefKind::Stream(_)
            | TypeDefKind::Unknown => json!(false),
        }
    }

    fn record(&mut self, fields: &[Field]) -> Value {
        let mut properties = Map::new();
        for field in fields {
            let schema = with_docs(self.ty(&field.ty), &field.docs);
            properties.insert(field.name.clone(), schema);
        }
        let required: Vec<&String> =
            fields.iter().filter(|field| !self.is_option(&field.ty)).map(|field| &field.name).collect();
        json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
    }

    fn variant(&mut self, cases: &[Case]) -> Value {
        let alone: Vec<&String> = cases.iter().filter(|case| case.ty.is_none()).map(|case| &case.name).collect();
        let mut choices = Vec::new();
        if !alone.is_empty() {
            choices.push(json!({ "type": "string", "enum": alone }));
        }
        for case in cases.iter().filter(|case| case.ty.is_some()) {
            choices.push(with_docs(self.one_entry(&case.name, case.ty.as_ref()), &case.docs));
        }
        json!({ "oneOf": choices })
    }

    /// An object with one entry; `null` where there is no value.
    fn one_entry(&mut self, name: &str, ty: Option<&Type>) -> Value {
        let value = ty.map_or_else(|| json!({ "type": "null" }), |ty| self.ty(ty));
        json!({ "type": "object", "properties": { name: value }, "required": [name], "additionalProperties": false })
    }
}

fn integer(min: i64, max: i64) -> Value {
    json!({ "type": "integer", "minimum": min, "maximum": max })
}

/// Numbers that many readers of JSON cannot hold are read from strings too.
fn large(number: Value, digits: &str) -> Value {
    json!({
        "anyOf": [number, { "type": "string", "pattern": digits }],
        "description": "answered as a number; taken as a string of digits too",
    })
}

/// An array of exactly these.
fn sequence(items: Vec<Value>) -> Value {
    let length = items.len();
    let mut schema = json!({ "type": "array", "minItems": length, "maxItems": length });
    if length > 0 {
        schema["prefixItems"] = items.into();
    }
    schema
}

fn with_docs(mut schema: Value, docs: &Docs) -> Value {
    if let (Some(docs), Some(object)) = (said(docs), schema.as_object_mut()) {
        object.insert("description".into(), docs.into());
    }
    schema
}

/// `sample.zoo.zoos.animal`; none for a type without a name, or without a home.
fn full_name(resolve: &Resolve, id: TypeId) -> Option<String> {
    let definition = &resolve.types[id];
    let name = definition.name.as_ref()?;
    let TypeOwner::Interface(owner) = definition.owner else { return None };
    let interface = &resolve.interfaces[owner];
    let package = &resolve.packages[interface.package?].name;
    Some(format!("{}.{}.{}.{name}", package.namespace, package.name, interface.name.as_ref()?))
}

/// A schema without what is said about it: that does not make it another one. A property of that
/// name is no text.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(object) => {
            let counts = |(key, value): &(&String, &Value)| *key != "description" || !value.is_string();
            Value::Object(object.iter().filter(counts).map(|(key, value)| (key.clone(), bare(value))).collect())
        }
        Value::Array(all) => all.iter().map(bare).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => schema.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::component::tests::{admit, with_contract};

    fn component(package: &str, point: &str) -> Arc<Component> {
        let wit = format!(
            "package shared:types {{ interface points {{ record point {{ {point} }} }} }}
             package {package} {{ interface things {{
               use shared:types/points.{{point}};
               type where = option<point>;
               record all {{ it: where, description: string }}
               resource thing {{ constructor(key: string); go: func(at: all) -> point; look: func(); }}
             }} }}
             world made {{ export {package}/things; }}"
        );
        admit(&with_contract(&wit), "").unwrap()
    }

    #[test]
    fn a_name_means_one_type_whatever_component_it_comes_with() {
        let mut schemas = Schemas::default();
        let components = [component("a:a", "x: u8"), component("b:b", "x: u8"), component("c:c", "x: s8")];
        let described: Vec<_> = components.iter().map(|it| schemas.kind(it, &it.kinds[0]).1).collect();
        let of = |name: &str| json!({ "$ref": format!("{PLACE}{name}") });
        assert_eq!(described[0]["go"].answer, Some(of("shared.types.points.point")));
        assert_eq!(described[1]["go"].answer, Some(of("shared.types.points.point")), "the same type");
        assert_eq!(described[2]["go"].answer, Some(of("shared.types.points.point_2")), "another one");
        assert_eq!(described[2]["go"].arguments["prefixItems"], json!([of("c.c.things.all")]));
        assert_eq!((&described[0]["look"].answer, &described[0]["look"].error), (&None, &None));
        let named = schemas.named();
        let all = &named["c.c.things.all"];
        assert_eq!(all["required"], json!(["description"]), "an option may be left out, also under another name");
        assert_eq!(all["properties"]["description"], json!({ "type": "string" }));
        assert_eq!(named["c.c.things.where"]["anyOf"], json!([of("shared.types.points.point_2"), { "type": "null" }]));
        assert_eq!(named["shared.types.points.point_2"]["properties"]["x"], integer(-128, 127));
    }

    #[test]
    fn what_is_said_makes_no_other_type() {
        let said = json!({ "description": "a", "properties": { "description": { "type": "string" } } });
        assert_eq!(bare(&said), json!({ "properties": { "description": { "type": "string" } } }));
    }
}
