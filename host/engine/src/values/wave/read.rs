//! Reads WAVE by the type.

use wasmtime::component::Val;
use wasmtime::component::types::{Record, Type};

use crate::values::errors::{Step, show};
use crate::values::text::{Read, Text};
use crate::values::types::describe;

impl<'t> Text<'t> {
    /// Spaces and comments.
    pub(super) fn skip_space(&mut self) {
        loop {
            let rest = self.rest();
            let mut end = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
            if rest[end..].starts_with("//") {
                end += rest[end..].find('\n').unwrap_or(rest.len() - end);
            }
            if end == 0 {
                return;
            }
            self.skip(end);
        }
    }

    pub(super) fn wave(&mut self, ty: &Type) -> Read<Val> {
        self.skip_space();
        let at = self.at();
        match ty {
            Type::Bool => self.token(ty, |text, word| match word {
                "true" => Ok(Val::Bool(true)),
                "false" => Ok(Val::Bool(false)),
                _ => Err(text.misfit(ty)),
            }),
            Type::S8 | Type::U8 | Type::S16 | Type::U16 | Type::S32 | Type::U32 | Type::S64 | Type::U64 => {
                self.token(ty, |text, word| text.integer(at, word, ty))
            }
            Type::Float32 | Type::Float64 => self.token(ty, |text, word| match special(word, ty) {
                Some(val) => Ok(val),
                None => text.float(at, word, ty),
            }),
            Type::Char => self.literal('\'', ty),
            Type::String => self.literal('"', ty),
            Type::List(list) => self.sequence(('[', ']'), &list.ty(), ty).map(Val::List),
            Type::FixedLengthList(list) => {
                let vals = self.sequence(('[', ']'), &list.ty(), ty)?;
                if vals.len() != list.len() as usize {
                    let message = format!("the list has {} elements, here are {}", list.len(), vals.len());
                    return Err(self.fail(at, &message, &describe(ty)));
                }
                Ok(Val::FixedLengthList(vals))
            }
            Type::Map(map) => {
                let mut entries = Vec::new();
                self.entries(('[', ']'), ty, |text| {
                    let at = entries.len();
                    let entry = text.tuple(&[map.key(), map.value()], ty);
                    let entry = entry.map_err(|error| error.within(Step::Index(at)))?;
                    entries.extend(<[Val; 2]>::try_from(entry).map(|[key, val]| (key, val)));
                    Ok(())
                })?;
                Ok(Val::Map(entries))
            }
            Type::Record(record) => self.record(record, ty),
            Type::Tuple(tuple) => self.tuple(&tuple.types().collect::<Vec<_>>(), ty).map(Val::Tuple),
            Type::Variant(variant) => {
                let place = self.label("case", || variant.cases().map(|case| case.name), ty)?;
                let Some(case) = variant.cases().nth(place) else { return Err(self.misfit(ty)) };
                let payload = self.payload(case.name, case.ty, ty)?;
                Ok(Val::Variant(case.name.to_owned(), payload))
            }
            Type::Enum(cases) => {
                let place = self.label("case", || cases.names(), ty)?;
                Ok(Val::Enum(cases.names().nth(place).unwrap_or_default().to_owned()))
            }
            Type::Option(option) => self.option(&option.ty(), ty),
            Type::Result(result) => self.result(result.ok(), result.err(), ty),
            Type::Flags(flags) => self.flags(flags.names().map(str::to_owned).collect(), ty),
            Type::Own(_) => {
                self.expect_string(ty)?;
                let literal = self.quoted('"', ty)?;
                self.blob(at, &literal[1..literal.len() - 1], ty)
            }
            Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => {
                Err(self.fail(at, "values of this type cannot be written down", &describe(ty)))
            }
        }
        .and_then(|val| self.charge_vals(1, ty).map(|()| val))
    }

    fn token(&mut self, ty: &Type, read: impl FnOnce(&Self, &str) -> Read<Val>) -> Read<Val> {
        let word = self.word();
        if word.is_empty() {
            return Err(self.misfit(ty));
        }
        let val = read(self, word)?;
        self.skip(word.len());
        Ok(val)
    }

    fn expect_string(&self, ty: &Type) -> Read<()> {
        if self.next_byte() == Some(b'"') {
            return Ok(());
        }
        let message = format!("found {}; text stands in double quotes", self.found());
        Err(self.fail(self.at(), &message, &describe(ty)))
    }

    /// A character or a string; what stands between the quotes is wasmtime's to read.
    fn literal(&mut self, quote: char, ty: &Type) -> Read<Val> {
        let at = self.at();
        if quote == '"' {
            self.expect_string(ty)?;
        } else if self.next_byte() != Some(b'\'') {
            let message = format!("found {}; a character stands in single quotes", self.found());
            return Err(self.fail(at, &message, &describe(ty)));
        }
        let literal = match self.multiline() {
            Some(literal) => literal,
            None => self.quoted(quote, ty)?,
        };
        self.charge(literal.len(), ty)?;
        Val::from_wave(ty, literal).map_err(|_| {
            let message = format!("{} is not well-formed: check its escapes", show(literal));
            self.fail(at, &message, &describe(ty))
        })
    }

    /// A literal between three double quotes.
    fn multiline(&mut self) -> Option<&'t str> {
        const QUOTES: &str = "\"\"\"";
        let rest = self.rest();
        let inner = rest.strip_prefix(QUOTES)?;
        let literal = &rest[..inner.find(QUOTES)? + 2 * QUOTES.len()];
        self.skip(literal.len());
        Some(literal)
    }

    /// What stands between brackets, separated by commas; one may also stand at the end.
    fn entries(
        &mut self,
        (open, close): (char, char),
        ty: &Type,
        mut each: impl FnMut(&mut Self) -> Read<()>,
    ) -> Read<()> {
        if !self.eat(open.encode_utf8(&mut [0; 4])) {
            return Err(self.misfit(ty));
        }
        loop {
            self.skip_space();
            if self.eat(close.encode_utf8(&mut [0; 4])) {
                return Ok(());
            }
            each(self)?;
            self.skip_space();
            if !self.eat(",") && !self.rest().starts_with(close) {
                let message = format!("found {} where `,` or `{close}` stands", self.found());
                return Err(self.fail(self.at(), &message, &describe(ty)));
            }
        }
    }

    fn sequence(&mut self, brackets: (char, char), element: &Type, ty: &Type) -> Read<Vec<Val>> {
        let mut vals = Vec::new();
        self.entries(brackets, ty, |text| {
            let at = vals.len();
            vals.push(text.wave(element).map_err(|error| error.within(Step::Index(at)))?);
            Ok(())
        })?;
        Ok(vals)
    }

    fn tuple(&mut self, types: &[Type], ty: &Type) -> Read<Vec<Val>> {
        let at = self.at();
        let mut vals = Vec::new();
        self.entries(('(', ')'), ty, |text| {
            let at = vals.len();
            let Some(element) = types.get(at) else {
                let message = format!("the tuple has {} elements, and here is one more", types.len());
                return Err(text.fail(text.at(), &message, &describe(ty)));
            };
            vals.push(text.wave(element).map_err(|error| error.within(Step::Index(at)))?);
            Ok(())
        })?;
        if vals.len() < types.len() {
            let message = format!("the tuple has {} elements, here are {}", types.len(), vals.len());
            return Err(self.fail(at, &message, &describe(ty)));
        }
        Ok(vals)
    }

    /// A name out of a type; `%` before it tells it from a keyword.
    fn label<'n, N: Iterator<Item = &'n str>>(&mut self, what: &str, names: impl Fn() -> N, ty: &Type) -> Read<usize> {
        self.skip_space();
        let (at, word) = (self.at(), self.word());
        if word.is_empty() {
            return Err(self.misfit(ty));
        }
        let name = word.strip_prefix('%').unwrap_or(word);
        let Some(place) = names().position(|known| known == name) else {
            return Err(self.unknown(at, what, name, &names().map(str::to_owned).collect::<Vec<_>>(), ty));
        };
        self.skip(word.len());
        self.charge_name(name, ty)?;
        Ok(place)
    }

    fn record(&mut self, record: &Record, ty: &Type) -> Read<Val> {
        let at = self.at();
        let names: Vec<String> = record.fields().map(|field| field.name.to_owned()).collect();
        let types: Vec<Type> = record.fields().map(|field| field.ty).collect();
        for name in &names {
            self.charge_vals(1, ty)?;
            self.charge_name(name, ty)?;
        }
        let mut vals: Vec<Option<Val>> = vec![None; names.len()];
        // `{:}` is the record whose fields are all left out.
        if !self.eat("{:}") {
            self.entries(('{', '}'), ty, |text| {
                let at = text.at();
                let place = text.label("field", || names.iter().map(String::as_str), ty)?;
                text.skip_space();
                if !text.eat(":") {
                    let message = format!("found {} after field `{}`", text.found(), names[place]);
                    return Err(text.fail(text.at(), &message, "a colon and the field's value"));
                }
                if vals[place].is_some() {
                    return Err(text.fail(at, &format!("field `{}` is there twice", names[place]), &describe(ty)));
                }
                let val = text.wave(&types[place]).map_err(|error| error.within(Step::Name(names[place].clone())))?;
                vals[place] = Some(val);
                Ok(())
            })?;
        }
        let mut fields = Vec::with_capacity(names.len());
        for ((name, field), val) in names.into_iter().zip(&types).zip(vals) {
            let val = match val {
                Some(val) => val,
                None if matches!(field, Type::Option(_)) => Val::Option(None),
                None => return Err(self.fail(at, &format!("field `{name}` is missing"), &describe(ty))),
            };
            fields.push((name, val));
        }
        Ok(Val::Record(fields))
    }

    /// What stands in parentheses behind a case, if the case has a payload.
    fn payload(&mut self, case: &str, payload: Option<Type>, ty: &Type) -> Read<Option<Box<Val>>> {
        let Some(payload) = payload else {
            if self.rest().starts_with('(') {
                return Err(self.fail(self.at(), &format!("`{case}` has no payload"), &describe(ty)));
            }
            return Ok(None);
        };
        if !self.eat("(") {
            let message = format!("`{case}` has a payload: write `{case}(...)`");
            return Err(self.fail(self.at(), &message, &describe(&payload)));
        }
        let val = self.wave(&payload).map_err(|error| error.within(Step::Name(case.to_owned())))?;
        self.skip_space();
        if !self.eat(")") {
            let message = format!("found {} where `)` stands", self.found());
            return Err(self.fail(self.at(), &message, &describe(ty)));
        }
        Ok(Some(Box::new(val)))
    }

    /// `some(...)`, `none`, or the value itself where that cannot be mistaken.
    fn option(&mut self, inner: &Type, ty: &Type) -> Read<Val> {
        let word = self.word();
        let val = match word {
            "none" => {
                self.skip(word.len());
                None
            }
            "some" => {
                self.skip(word.len());
                self.payload("some", Some(inner.clone()), ty)?
            }
            _ if matches!(inner, Type::Option(_) | Type::Result(_)) => return Err(self.misfit(ty)),
            _ => Some(Box::new(self.wave(inner)?)),
        };
        Ok(Val::Option(val))
    }

    /// `ok(...)`, `err(...)`, or the ok value itself where that cannot be mistaken.
    fn result(&mut self, ok: Option<Type>, err: Option<Type>, ty: &Type) -> Read<Val> {
        let word = self.word();
        let val = match (word, ok) {
            ("ok", ok) => {
                self.skip(word.len());
                Ok(self.payload("ok", ok, ty)?)
            }
            ("err", _) => {
                self.skip(word.len());
                Err(self.payload("err", err, ty)?)
            }
            (_, None | Some(Type::Option(_) | Type::Result(_))) => return Err(self.misfit(ty)),
            (_, Some(ok)) => Ok(Some(Box::new(self.wave(&ok)?))),
        };
        Ok(Val::Result(val))
    }

    fn flags(&mut self, names: Vec<String>, ty: &Type) -> Read<Val> {
        let mut set = vec![false; names.len()];
        self.entries(('{', '}'), ty, |text| {
            let at = text.at();
            let place = text.label("flag", || names.iter().map(String::as_str), ty)?;
            if std::mem::replace(&mut set[place], true) {
                return Err(text.fail(at, &format!("flag `{}` is there twice", names[place]), &describe(ty)));
            }
            Ok(())
        })?;
        let set = names.into_iter().zip(set).filter_map(|(name, set)| set.then_some(name));
        Ok(Val::Flags(set.collect()))
    }
}

/// The floats that are words.
fn special(word: &str, ty: &Type) -> Option<Val> {
    let (small, large) = match word {
        "nan" => (f32::NAN, f64::NAN),
        "inf" => (f32::INFINITY, f64::INFINITY),
        "-inf" => (f32::NEG_INFINITY, f64::NEG_INFINITY),
        _ => return None,
    };
    Some(if matches!(ty, Type::Float32) { Val::Float32(small) } else { Val::Float64(large) })
}
