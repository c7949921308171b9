//! Types as text, and whether two are the same.

use wasmtime::component::types::Type;

/// The longest text of a type, in bytes.
const TEXT_BYTES_MAX: usize = 400;
/// How deep types are followed; admission refuses deeper ones.
const DEPTH_MAX: usize = 100;

/// The type as WIT writes it, cut where it becomes too long. Names of records, variants, enums and
/// flags are not known here, so they stand with all they hold.
#[must_use]
pub fn describe(ty: &Type) -> String {
    let mut text = String::new();
    write_type(ty, &mut text);
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str("...");
    }
    text
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the remaining types have names of their own")]
fn write_type(ty: &Type, out: &mut String) {
    // What is cut away need not be written; it also bounds the recursion.
    if out.len() > TEXT_BYTES_MAX {
        return;
    }
    match ty {
        Type::List(list) => wrap("list", &mut [Some(list.ty())].into_iter(), out),
        Type::FixedLengthList(list) => {
            out.push_str("list<");
            write_type(&list.ty(), out);
            out.push_str(&format!(", {}>", list.len()));
        }
        Type::Map(map) => wrap("map", &mut [Some(map.key()), Some(map.value())].into_iter(), out),
        Type::Option(option) => wrap("option", &mut [Some(option.ty())].into_iter(), out),
        Type::Tuple(tuple) => wrap("tuple", &mut tuple.types().map(Some), out),
        Type::Result(result) => match (result.ok(), result.err()) {
            (None, None) => out.push_str("result"),
            (ok, None) => wrap("result", &mut [ok].into_iter(), out),
            (ok, err) => wrap("result", &mut [ok, err].into_iter(), out),
        },
        Type::Record(record) => {
            block("record", &mut record.fields().map(|f| (f.name.to_owned(), Some(f.ty), ": ", "")), out)
        }
        Type::Variant(variant) => {
            block("variant", &mut variant.cases().map(|c| (c.name.to_owned(), c.ty, "(", ")")), out)
        }
        Type::Enum(cases) => block("enum", &mut cases.names().map(|name| (name.to_owned(), None, "", "")), out),
        Type::Flags(flags) => block("flags", &mut flags.names().map(|name| (name.to_owned(), None, "", "")), out),
        other => out.push_str(name(other)),
    }
}

fn wrap(name: &str, types: &mut dyn Iterator<Item = Option<Type>>, out: &mut String) {
    out.push_str(name);
    for (at, ty) in types.enumerate() {
        out.push_str(if at == 0 { "<" } else { ", " });
        match ty {
            Some(ty) => write_type(&ty, out),
            None => out.push('_'),
        }
    }
    out.push('>');
}

/// A name, what it holds, and what stands before and after that.
type Entry = (String, Option<Type>, &'static str, &'static str);

fn block(name: &str, entries: &mut dyn Iterator<Item = Entry>, out: &mut String) {
    out.push_str(name);
    for (at, (name, ty, before, after)) in entries.enumerate() {
        if out.len() > TEXT_BYTES_MAX {
            return;
        }
        out.push_str(if at == 0 { " { " } else { ", " });
        out.push_str(&name);
        if let Some(ty) = ty {
            out.push_str(before);
            write_type(&ty, out);
            out.push_str(after);
        }
    }
    out.push_str(" }");
}

const fn name(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::S8 => "s8",
        Type::U8 => "u8",
        Type::S16 => "s16",
        Type::U16 => "u16",
        Type::S32 => "s32",
        Type::U32 => "u32",
        Type::S64 => "s64",
        Type::U64 => "u64",
        Type::Float32 => "f32",
        Type::Float64 => "f64",
        Type::Char => "char",
        Type::String => "string",
        Type::List(_) => "list",
        Type::Map(_) => "map",
        Type::Record(_) => "record",
        Type::Tuple(_) => "tuple",
        Type::Variant(_) => "variant",
        Type::Enum(_) => "enum",
        Type::Option(_) => "option",
        Type::Result(_) => "result",
        Type::Flags(_) => "flags",
        Type::Own(_) => "blob",
        Type::Borrow(_) => "borrow",
        Type::Future(_) => "future",
        Type::Stream(_) => "stream",
        Type::ErrorContext => "error-context",
        Type::FixedLengthList(_) => "fixed-length list",
    }
}

/// Equal for equal types, whichever component they come from and on whichever machine.
#[must_use]
pub fn type_hash(params: &[Type], result: Option<&Type>) -> u64 {
    let mut hash = Fnv(0xcbf2_9ce4_8422_2325);
    hash.count(params.len());
    for ty in params {
        hash.ty(ty, 0);
    }
    hash.optional(result, 0);
    hash.0
}

/// Whether values of one type are values of the other: the same structure with the same names.
/// Unlike the hash, nobody can make two that only seem so.
#[must_use]
pub fn same_shape(a: &Type, b: &Type) -> bool {
    same(a, b, 0)
}

fn same(a: &Type, b: &Type, depth: usize) -> bool {
    let depth = depth + 1;
    if depth > DEPTH_MAX {
        return false;
    }
    let optional = |a: Option<Type>, b: Option<Type>| match (a, b) {
        (Some(a), Some(b)) => same(&a, &b, depth),
        (a, b) => a.is_none() && b.is_none(),
    };
    match (a, b) {
        (Type::List(a), Type::List(b)) => same(&a.ty(), &b.ty(), depth),
        (Type::FixedLengthList(a), Type::FixedLengthList(b)) => a.len() == b.len() && same(&a.ty(), &b.ty(), depth),
        (Type::Map(a), Type::Map(b)) => same(&a.key(), &b.key(), depth) && same(&a.value(), &b.value(), depth),
        (Type::Option(a), Type::Option(b)) => same(&a.ty(), &b.ty(), depth),
        (Type::Result(a), Type::Result(b)) => optional(a.ok(), b.ok()) && optional(a.err(), b.err()),
        (Type::Tuple(a), Type::Tuple(b)) => {
            a.types().len() == b.types().len() && a.types().zip(b.types()).all(|(a, b)| same(&a, &b, depth))
        }
        (Type::Record(a), Type::Record(b)) => {
            let mut fields = a.fields().zip(b.fields());
            a.fields().len() == b.fields().len() && fields.all(|(a, b)| a.name == b.name && same(&a.ty, &b.ty, depth))
        }
        (Type::Variant(a), Type::Variant(b)) => {
            let mut cases = a.cases().zip(b.cases());
            a.cases().len() == b.cases().len() && cases.all(|(a, b)| a.name == b.name && optional(a.ty, b.ty))
        }
        (Type::Enum(a), Type::Enum(b)) => a.names().eq(b.names()),
        (Type::Flags(a), Type::Flags(b)) => a.names().eq(b.names()),
        // What has parts is of another form than its counterpart here, so the names differ.
        (a, b) => name(a) == name(b),
    }
}

/// FNV-1a with 64 bits, written out because a hash that travels may never change.
struct Fnv(u64);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn count(&mut self, count: usize) {
        self.bytes(&(count as u64).to_le_bytes());
    }

    fn name(&mut self, name: &str) {
        self.count(name.len());
        self.bytes(name.as_bytes());
    }

    fn optional(&mut self, ty: Option<&Type>, depth: usize) {
        self.bytes(&[u8::from(ty.is_some())]);
        if let Some(ty) = ty {
            self.ty(ty, depth);
        }
    }

    /// The name of the type's form tells all types apart that have no parts.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the remaining types have no parts that count")]
    fn ty(&mut self, ty: &Type, depth: usize) {
        self.name(name(ty));
        if depth > DEPTH_MAX {
            return;
        }
        let depth = depth + 1;
        match ty {
            Type::List(list) => self.ty(&list.ty(), depth),
            Type::FixedLengthList(list) => {
                self.count(list.len() as usize);
                self.ty(&list.ty(), depth);
            }
            Type::Map(map) => {
                self.ty(&map.key(), depth);
                self.ty(&map.value(), depth);
            }
            Type::Option(option) => self.ty(&option.ty(), depth),
            Type::Tuple(tuple) => {
                self.count(tuple.types().len());
                tuple.types().for_each(|ty| self.ty(&ty, depth));
            }
            Type::Result(result) => {
                self.optional(result.ok().as_ref(), depth);
                self.optional(result.err().as_ref(), depth);
            }
            Type::Record(record) => {
                self.count(record.fields().len());
                for field in record.fields() {
                    self.name(field.name);
                    self.ty(&field.ty, depth);
                }
            }
            Type::Variant(variant) => {
                self.count(variant.cases().len());
                for case in variant.cases() {
                    self.name(case.name);
                    self.optional(case.ty.as_ref(), depth);
                }
            }
            Type::Enum(cases) => {
                self.count(cases.names().len());
                cases.names().for_each(|name| self.name(name));
            }
            Type::Flags(flags) => {
                self.count(flags.names().len());
                flags.names().for_each(|name| self.name(name));
            }
            _ => {}
        }
    }
}
