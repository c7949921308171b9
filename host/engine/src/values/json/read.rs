//! Reads JSON by the type.

use wasmtime::component::Val;
use wasmtime::component::types::{Map, Record, Type, Variant};

use crate::values::errors::{Step, show};
use crate::values::text::{Read, Text};
use crate::values::types::describe;

impl<'t> Text<'t> {
    /// The white space of JSON.
    pub(super) fn skip_white(&mut self) {
        let rest = self.rest();
        self.skip(rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
    }

    pub(super) fn json(&mut self, ty: &Type) -> Read<Val> {
        self.charge_vals(1, ty)?;
        self.skip_white();
        let at = self.at();
        match ty {
            Type::Bool if self.keyword("true") => Ok(Val::Bool(true)),
            Type::Bool if self.keyword("false") => Ok(Val::Bool(false)),
            Type::Bool => Err(self.misfit(ty)),
            Type::S64 | Type::U64 if self.next_byte() == Some(b'"') => {
                let digits = self.string(ty)?;
                self.integer(at, &digits, ty)
            }
            Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::S64 | Type::U64 => {
                let token = self.number_token(ty)?;
                self.integer(at, token, ty)
            }
            Type::Float32 | Type::Float64 if self.next_byte() == Some(b'"') => {
                let name = self.string(ty)?;
                special(&name, ty).ok_or_else(|| {
                    let message = format!("{} is not a number", show(&name));
                    self.fail(at, &message, "a number, \"NaN\", \"Infinity\" or \"-Infinity\"")
                })
            }
            Type::Float32 | Type::Float64 => {
                let token = self.number_token(ty)?;
                self.float(at, token, ty)
            }
            Type::Char => self.char(ty),
            Type::String => self.string(ty).map(Val::String),
            Type::List(list) => self.sequence_of(&list.ty(), ty).map(Val::List),
            Type::FixedLengthList(list) => {
                let vals = self.sequence_of(&list.ty(), ty)?;
                if vals.len() != list.len() as usize {
                    let message = format!("the list has {} elements, here are {}", list.len(), vals.len());
                    return Err(self.fail(at, &message, &describe(ty)));
                }
                Ok(Val::FixedLengthList(vals))
            }
            Type::Map(map) => self.map(map, ty),
            Type::Record(record) => self.object_of(record, ty),
            Type::Tuple(tuple) => self.array_of(&tuple.types().collect::<Vec<_>>(), ty).map(Val::Tuple),
            Type::Variant(variant) => self.variant(variant, ty),
            Type::Enum(cases) => {
                let name = self.string(ty)?;
                self.known(at, "case", &name, || cases.names(), ty)?;
                Ok(Val::Enum(name))
            }
            Type::Option(option) => self.optional(&option.ty(), ty),
            Type::Result(result) => {
                let (name, payload) = self.single(ty, |text, at, name| match name {
                    "ok" => text.content(name, result.ok()),
                    "err" => text.content(name, result.err()),
                    _ => Err(text.fail(at, &format!("{} is neither `ok` nor `err`", show(name)), &describe(ty))),
                })?;
                Ok(Val::Result(if name == "ok" { Ok(payload) } else { Err(payload) }))
            }
            Type::Flags(flags) => self.set_of(&flags.names().collect::<Vec<_>>(), ty),
            Type::Own(_) => {
                let base64 = self.string(ty)?;
                self.blob(at, &base64, ty)
            }
            Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
                Err(self.fail(at, "values of this type cannot be written down", &describe(ty)))
            }
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        self.word() == keyword && self.eat(keyword)
    }

    fn number_token(&mut self, ty: &Type) -> Read<&'t str> {
        let token = self.word();
        if token.is_empty() {
            return Err(self.misfit(ty));
        }
        self.skip(token.len());
        Ok(token)
    }

    fn string(&mut self, ty: &Type) -> Read<String> {
        let at = self.at();
        if self.next_byte() != Some(b'"') {
            return Err(self.misfit(ty));
        }
        let literal = self.quoted('"', ty)?;
        self.charge(literal.len(), ty)?;
        serde_json::from_str(literal).map_err(|_| {
            let message = "the string is not well-formed: check its escapes and control characters";
            self.fail(at, message, &describe(ty))
        })
    }

    fn char(&mut self, ty: &Type) -> Read<Val> {
        let at = self.at();
        let text = self.string(ty)?;
        let mut chars = text.chars();
        let (Some(char), None) = (chars.next(), chars.next()) else {
            return Err(self.fail(at, &format!("{} is not one character", show(&text)), &describe(ty)));
        };
        Ok(Val::Char(char))
    }

    /// What stands between brackets, separated by commas.
    fn between(
        &mut self,
        (open, close): (&str, &str),
        expected: impl Fn() -> String,
        mut each: impl FnMut(&mut Self) -> Read<()>,
    ) -> Read<()> {
        self.skip_white();
        if !self.eat(open) {
            return Err(self.fail(self.at(), &format!("found {}", self.found()), &expected()));
        }
        self.skip_white();
        if self.eat(close) {
            return Ok(());
        }
        loop {
            self.skip_white();
            each(self)?;
            self.skip_white();
            if self.eat(close) {
                return Ok(());
            }
            if !self.eat(",") {
                let message = format!("found {} where `,` or `{close}` stands", self.found());
                return Err(self.fail(self.at(), &message, &expected()));
            }
        }
    }

    pub(super) fn array(&mut self, expected: impl Fn() -> String, each: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.between(("[", "]"), expected, each)
    }

    /// An object; `each` gets a key with its place, and reads the value.
    fn object(&mut self, ty: &Type, mut each: impl FnMut(&mut Self, usize, String) -> Read<()>) -> Read<()> {
        self.between(
            ("{", "}"),
            || describe(ty),
            |text| {
                let at = text.at();
                let key = text.string(ty)?;
                text.skip_white();
                if !text.eat(":") {
                    let message = format!("found {} after the key {}", text.found(), show(&key));
                    return Err(text.fail(text.at(), &message, "a colon and a value"));
                }
                each(text, at, key)
            },
        )
    }

    fn sequence_of(&mut self, element: &Type, ty: &Type) -> Read<Vec<Val>> {
        let mut vals = Vec::new();
        self.array(
            || describe(ty),
            |text| {
                let at = vals.len();
                vals.push(text.json(element).map_err(|error| error.within(Step::Index(at)))?);
                Ok(())
            },
        )?;
        Ok(vals)
    }

    fn array_of(&mut self, types: &[Type], ty: &Type) -> Read<Vec<Val>> {
        let at = self.at();
        let mut vals = Vec::new();
        self.array(
            || describe(ty),
            |text| {
                let at = vals.len();
                let Some(element) = types.get(at) else {
                    let message = format!("the array has {} elements, and here is one more", types.len());
                    return Err(text.fail(text.at(), &message, &describe(ty)));
                };
                vals.push(text.json(element).map_err(|error| error.within(Step::Index(at)))?);
                Ok(())
            },
        )?;
        if vals.len() < types.len() {
            let message = format!("the array has {} elements, here are {}", types.len(), vals.len());
            return Err(self.fail(at, &message, &describe(ty)));
        }
        Ok(vals)
    }

    fn map(&mut self, map: &Map, ty: &Type) -> Read<Val> {
        let (key_ty, value_ty) = (map.key(), map.value());
        let mut entries = Vec::new();
        if key_ty == Type::String {
            self.object(ty, |text, _, key| {
                text.charge_vals(1, ty)?;
                let val = text.json(&value_ty).map_err(|error| error.within(Step::Key(key.clone())))?;
                entries.push((Val::String(key), val));
                Ok(())
            })?;
        } else {
            self.array(
                || describe(ty),
                |text| {
                    let at = entries.len();
                    let pair = text.array_of(&[key_ty.clone(), value_ty.clone()], ty);
                    let pair = pair.map_err(|error| error.within(Step::Index(at)))?;
                    entries.extend(<[Val; 2]>::try_from(pair).map(|[key, value]| (key, value)));
                    Ok(())
                },
            )?;
        }
        Ok(Val::Map(entries))
    }

    fn object_of(&mut self, record: &Record, ty: &Type) -> Read<Val> {
        let at = self.at();
        for field in record.fields() {
            self.charge_vals(1, ty)?;
            self.charge_name(field.name, ty)?;
        }
        let mut vals: Vec<Option<Val>> = vec![None; record.fields().len()];
        self.object(ty, |text, at, key| {
            let place = text.known(at, "field", &key, || record.fields().map(|field| field.name), ty)?;
            let field = record.fields().nth(place);
            let (Some(field), None) = (field, &vals[place]) else {
                return Err(text.fail(at, &format!("field {} is there twice", show(&key)), &describe(ty)));
            };
            let val = text.json(&field.ty).map_err(|error| error.within(Step::Name(field.name.to_owned())))?;
            vals[place] = Some(val);
            Ok(())
        })?;
        let fields = record.fields().zip(vals).map(|(field, val)| match val {
            Some(val) => Ok((field.name.to_owned(), val)),
            None if matches!(field.ty, Type::Option(_)) => Ok((field.name.to_owned(), Val::Option(None))),
            None => Err(self.fail(at, &format!("field `{}` is missing", field.name), &describe(ty))),
        });
        fields.collect::<Read<_>>().map(Val::Record)
    }

    fn variant(&mut self, variant: &Variant, ty: &Type) -> Read<Val> {
        let at = self.at();
        let names = || variant.cases().map(|case| case.name);
        if self.next_byte() == Some(b'"') {
            let name = self.string(ty)?;
            let place = self.known(at, "case", &name, names, ty)?;
            if let Some(payload) = variant.cases().nth(place).and_then(|case| case.ty) {
                let message = format!("`{name}` has a payload: write {{\"{name}\": ...}}");
                return Err(self.fail(at, &message, &describe(&payload)));
            }
            return Ok(Val::Variant(name, None));
        }
        let (name, payload) = self.single(ty, |text, at, name| {
            let place = text.known(at, "case", name, names, ty)?;
            text.content(name, variant.cases().nth(place).and_then(|case| case.ty))
        })?;
        Ok(Val::Variant(name, payload))
    }

    fn optional(&mut self, inner: &Type, ty: &Type) -> Read<Val> {
        if self.keyword("null") {
            return Ok(Val::Option(None));
        }
        if !matches!(inner, Type::Option(_)) {
            return Ok(Val::Option(Some(Box::new(self.json(inner)?))));
        }
        let (_, val) = self.single(ty, |text, at, name| match name {
            "some" => text.content(name, Some(inner.clone())),
            _ => Err(text.fail(at, &format!("found {}", show(name)), "null or {\"some\": ...}")),
        })?;
        Ok(Val::Option(val))
    }

    /// An object with exactly one entry.
    fn single<T>(&mut self, ty: &Type, mut read: impl FnMut(&mut Self, usize, &str) -> Read<T>) -> Read<(String, T)> {
        let at = self.at();
        let mut entry = None;
        self.object(ty, |text, at, key| {
            if entry.is_some() {
                return Err(text.fail(at, &format!("{} is a second entry", show(&key)), &describe(ty)));
            }
            let content = read(text, at, &key)?;
            entry = Some((key, content));
            Ok(())
        })?;
        entry.ok_or_else(|| self.fail(at, "the object is empty", &describe(ty)))
    }

    /// The payload of that case; `null` where the type has none.
    fn content(&mut self, case: &str, ty: Option<Type>) -> Read<Option<Box<Val>>> {
        if let Some(ty) = ty {
            let val = self.json(&ty).map_err(|error| error.within(Step::Name(case.to_owned())))?;
            return Ok(Some(Box::new(val)));
        }
        self.skip_white();
        if self.keyword("null") {
            return Ok(None);
        }
        Err(self.fail(self.at(), &format!("found {} where there is no payload", self.found()), "null"))
    }

    fn set_of(&mut self, names: &[&str], ty: &Type) -> Read<Val> {
        let mut set = vec![false; names.len()];
        self.array(
            || describe(ty),
            |text| {
                let at = text.at();
                let name = text.string(ty)?;
                let place = text.known(at, "flag", &name, || names.iter().copied(), ty)?;
                if std::mem::replace(&mut set[place], true) {
                    return Err(text.fail(at, &format!("flag `{name}` is there twice"), &describe(ty)));
                }
                Ok(())
            },
        )?;
        let set = names.iter().zip(set).filter(|(_, set)| *set);
        Ok(Val::Flags(set.map(|(name, _)| (*name).to_owned()).collect()))
    }

    /// The place of a name among those of the type.
    fn known<'n, N: Iterator<Item = &'n str>>(
        &mut self,
        at: usize,
        what: &str,
        name: &str,
        names: impl Fn() -> N,
        ty: &Type,
    ) -> Read<usize> {
        self.charge_name(name, ty)?;
        let place = names().position(|known| known == name);
        place.ok_or_else(|| self.unknown(at, what, name, &names().map(str::to_owned).collect::<Vec<_>>(), ty))
    }
}

/// The floats that JSON has no number for.
fn special(name: &str, ty: &Type) -> Option<Val> {
    let (small, large) = match name {
        "NaN" => (f32::NAN, f64::NAN),
        "Infinity" => (f32::INFINITY, f64::INFINITY),
        "-Infinity" => (f32::NEG_INFINITY, f64::NEG_INFINITY),
        _ => return None,
    };
    Some(if matches!(ty, Type::Float32) { Val::Float32(small) } else { Val::Float64(large) })
}
