//! A text that values are read out of, and the words for where it does not fit.

use bytes::Bytes;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::budget::{Budget, MEMORY_MAX, TooMuch};
use super::errors::{ArgumentError, Place, nearest, show};
use super::types::describe;

/// How much of a parameter list an error shows.
const PARAMS_BYTES_MAX: usize = 400;

pub(super) type Read<T> = Result<T, ArgumentError>;

/// The text, how far it is read, and what came of it beside values.
pub(super) struct Text<'t> {
    text: &'t str,
    at: usize,
    budget: Budget,
    pub(super) blobs: Vec<Bytes>,
}

impl<'t> Text<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { text, at: 0, budget: Budget::new(), blobs: Vec::new() }
    }

    /// How far it is read, in bytes.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn next_byte(&self) -> Option<u8> {
        self.rest().bytes().next()
    }

    /// Goes on; `bytes` must end between two characters.
    pub(super) fn skip(&mut self, bytes: usize) {
        debug_assert!(self.rest().is_char_boundary(bytes), "a step ends between two characters");
        self.at += bytes;
    }

    /// Goes on behind the token if it is next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        let next = self.rest().starts_with(token);
        if next {
            self.skip(token.len());
        }
        next
    }

    /// The letters, digits and signs that are next: a number, a name, or something that is neither.
    pub(super) fn word(&self) -> &'t str {
        let part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '+' | '.' | '_' | '%');
        let rest = self.rest();
        &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())]
    }

    /// A literal in those quotes, with them: up to the first quote without a backslash.
    pub(super) fn quoted(&mut self, quote: char, ty: &Type) -> Read<&'t str> {
        let start = self.at;
        let mut escaped = true;
        let end = self.rest().find(|c: char| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(end) = end else {
            return Err(self.fail(start, "the closing quote is missing", &describe(ty)));
        };
        let literal = &self.rest()[..=end];
        self.skip(literal.len());
        Ok(literal)
    }

    /// A whole number of that type.
    pub(super) fn integer(&self, at: usize, token: &str, ty: &Type) -> Read<Val> {
        if !is_number(token) || token.contains(['.', 'e', 'E']) {
            return Err(self.fail(at, &format!("{} is not a whole number", show(token)), &describe(ty)));
        }
        let number = token.parse::<i128>().ok();
        let val = number.and_then(|number| integer(number, ty));
        val.ok_or_else(|| {
            let name = describe(ty);
            let range = match range(ty) {
                Some((min, max)) => format!("; {name} goes from {min} to {max}"),
                None => String::new(),
            };
            self.fail(at, &format!("{} is out of range{range}", show(token)), &name)
        })
    }

    /// A finite number of that type.
    pub(super) fn float(&self, at: usize, token: &str, ty: &Type) -> Read<Val> {
        if !is_number(token) {
            return Err(self.fail(at, &format!("{} is not a number", show(token)), &describe(ty)));
        }
        let val = if matches!(ty, Type::Float32) {
            token.parse().ok().filter(|float: &f32| float.is_finite()).map(Val::Float32)
        } else {
            token.parse().ok().filter(|float: &f64| float.is_finite()).map(Val::Float64)
        };
        val.ok_or_else(|| self.fail(at, &format!("{} is out of range", show(token)), &describe(ty)))
    }

    /// What is next does not fit the type.
    pub(super) fn misfit(&self, ty: &Type) -> ArgumentError {
        self.fail(self.at, &format!("found {}", self.found()), &describe(ty))
    }

    pub(super) fn fail(&self, at: usize, message: &str, expected: &str) -> ArgumentError {
        let at = Some(Box::new(Place::of(self.text, at)));
        ArgumentError { message: message.into(), expected: Some(expected.into()), at }
    }

    /// A name that the type does not have.
    pub(super) fn unknown(&self, at: usize, what: &str, name: &str, names: &[String], ty: &Type) -> ArgumentError {
        let hint = nearest(name, names).map(|name| format!("; did you mean `{name}`?"));
        let message = format!("there is no {what} {}{}", show(name), hint.unwrap_or_default());
        self.fail(at, &message, &describe(ty))
    }

    /// What is next, for people.
    pub(super) fn found(&self) -> String {
        let word = self.word();
        match self.rest().chars().next() {
            None => "the end of the text".into(),
            Some('"') => "a string".into(),
            Some(_) if !word.is_empty() => show(word),
            Some(other) => show(&other.to_string()),
        }
    }

    pub(super) fn charge(&mut self, bytes: usize, ty: &Type) -> Read<()> {
        let charged = self.budget.charge(bytes);
        self.charged(charged, ty)
    }

    pub(super) fn charge_vals(&mut self, count: usize, ty: &Type) -> Read<()> {
        let charged = self.budget.charge_vals(count);
        self.charged(charged, ty)
    }

    pub(super) fn charge_name(&mut self, name: &str, ty: &Type) -> Read<()> {
        let charged = self.budget.charge_name(name);
        self.charged(charged, ty)
    }

    fn charged(&self, charged: Result<(), TooMuch>, ty: &Type) -> Read<()> {
        charged.map_err(|TooMuch| {
            let message = format!("the values take more than {MEMORY_MAX} bytes of memory; send bulk bytes as a blob");
            self.fail(self.at, &message, &describe(ty))
        })
    }

    /// Keeps a blob; its place is its value.
    pub(super) fn blob(&mut self, at: usize, base64: &str, ty: &Type) -> Read<Val> {
        self.charge(base64.len(), ty)?;
        let Some(bytes) = super::base64::decode(base64) else {
            return Err(self.fail(at, "the string is not base64", "base64 of the blob's bytes"));
        };
        self.charge_vals(1, ty)?;
        let place = u32::try_from(self.blobs.len());
        let place = place.map_err(|_| self.fail(at, "too many blobs", &describe(ty)))?;
        self.blobs.push(bytes.into());
        Ok(Val::U32(place))
    }
}

/// A method's parameters, for people.
pub(super) fn describe_params(params: &[(String, Type)]) -> String {
    let mut all = String::from("(");
    for (at, (name, ty)) in params.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let one = format!("{comma}{name}: {}", describe(ty));
        if all.len() + one.len() > PARAMS_BYTES_MAX {
            all.push_str(", ...");
            break;
        }
        all.push_str(&one);
    }
    all.push(')');
    all
}

/// Whether this is a decimal number as JSON and WAVE both write it.
fn is_number(token: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let token = token.strip_prefix('-').unwrap_or(token);
    let (number, exponent) = match token.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (token, "0"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let leading_zero = whole.len() > 1 && whole.starts_with('0');
    digits(whole) && !leading_zero && digits(fraction) && digits(exponent)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only the types of whole numbers are asked for")]
fn integer(number: i128, ty: &Type) -> Option<Val> {
    match ty {
        Type::U8 => number.try_into().ok().map(Val::U8),
        Type::S8 => number.try_into().ok().map(Val::S8),
        Type::U16 => number.try_into().ok().map(Val::U16),
        Type::S16 => number.try_into().ok().map(Val::S16),
        Type::U32 => number.try_into().ok().map(Val::U32),
        Type::S32 => number.try_into().ok().map(Val::S32),
        Type::U64 => number.try_into().ok().map(Val::U64),
        Type::S64 => number.try_into().ok().map(Val::S64),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "only the types of whole numbers are asked for")]
fn range(ty: &Type) -> Option<(i128, i128)> {
    match ty {
        Type::U8 => Some((0, u8::MAX.into())),
        Type::S8 => Some((i8::MIN.into(), i8::MAX.into())),
        Type::U16 => Some((0, u16::MAX.into())),
        Type::S16 => Some((i16::MIN.into(), i16::MAX.into())),
        Type::U32 => Some((0, u32::MAX.into())),
        Type::S32 => Some((i32::MIN.into(), i32::MAX.into())),
        Type::U64 => Some((0, u64::MAX.into())),
        Type::S64 => Some((i64::MIN.into(), i64::MAX.into())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_json() {
        for good in ["0", "-0", "7", "10", "1.5", "-0.25e-7", "1E+9"] {
            assert!(is_number(good), "{good}");
        }
        for bad in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "--1", "1x", "٣", "0x10", "1.5.5", "1e5e5"] {
            assert!(!is_number(bad), "{bad}");
        }
    }

    #[test]
    fn a_literal_ends_at_the_first_bare_quote() {
        let mut text = Text::new(r#""a\"b\\" rest"#);
        assert_eq!(text.quoted('"', &Type::String).unwrap(), r#""a\"b\\""#);
        assert_eq!(text.rest(), " rest");
        assert!(Text::new(r#""a\""#).quoted('"', &Type::String).is_err());
        assert!(Text::new("\"").quoted('"', &Type::String).is_err());
    }
}
