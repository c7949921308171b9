//! One source for both flavours: plain `func`, where a call blocks the turn, and `async func`, where
//! turns interleave. The feature `async` chooses.

use std::collections::HashMap;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{format_ident, quote};
use syn::{Block, FnArg, Ident, ImplItem, Item, Pat, Signature, Type};
use wit_bindgen_core::wit_parser::{FunctionKind, Resolve};

use crate::bindings::CONTRACT;

/// Whether this is the flavour for turns that interleave.
pub(crate) const ASYNC: bool = cfg!(feature = "async");

/// The contract's interfaces that actors export: the host calls all their functions.
const EXPORTED: [&str; 7] =
    ["lifecycle", "journaled", "timer-target", "reminder-target", "stream-target", "supervisor", "watcher"];

/// Writes `async func` where a function may wait, as `quark wit --async` does: methods of actors,
/// hooks, and what the contract marks with `[suspends]`.
pub(crate) fn make_async(resolve: &mut Resolve) {
    let interfaces: Vec<_> = resolve.interfaces.iter().map(|(id, _)| id).collect();
    for id in interfaces {
        let interface = &resolve.interfaces[id];
        let package = interface.package.map(|package| &resolve.packages[package].name);
        // WASI 0.2 is plain in either flavour.
        if package.is_some_and(|name| name.namespace == "wasi") {
            continue;
        }
        let of_contract = package.is_some_and(|name| format!("{}:{}", name.namespace, name.name) == CONTRACT);
        let exported = interface.name.as_deref().is_some_and(|name| EXPORTED.contains(&name));
        for function in resolve.interfaces[id].functions.values_mut() {
            let suspends = function.docs.contents.as_deref().is_some_and(|docs| docs.contains("[suspends]"));
            if !of_contract || exported || suspends {
                function.kind = match function.kind.clone() {
                    FunctionKind::Freestanding => FunctionKind::AsyncFreestanding,
                    FunctionKind::Method(resource) => FunctionKind::AsyncMethod(resource),
                    kind => kind,
                };
            }
        }
    }
}

/// The same code without `async` and `.await`.
pub(crate) fn strip(tokens: TokenStream) -> TokenStream {
    let mut out = Vec::new();
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Group(group) => {
                let mut inner = Group::new(group.delimiter(), strip(group.stream()));
                inner.set_span(group.span());
                out.push(inner.into());
            }
            TokenTree::Ident(word) if word == "async" => {
                // What is left of an `async move { .. }` is its block; a closure keeps its `move`.
                let is_move = matches!(tokens.peek(), Some(TokenTree::Ident(next)) if next == "move");
                if is_move {
                    let moves = tokens.next();
                    let block =
                        matches!(tokens.peek(), Some(TokenTree::Group(it)) if it.delimiter() == Delimiter::Brace);
                    out.extend(moves.filter(|_| !block));
                }
            }
            TokenTree::Ident(word) if word == "AsyncFnOnce" => out.push(Ident::new("FnOnce", word.span()).into()),
            TokenTree::Punct(dot) if dot.as_char() == '.' => {
                let awaits = matches!(tokens.peek(), Some(TokenTree::Ident(next)) if next == "await");
                if awaits {
                    tokens.next();
                } else {
                    out.push(dot.into());
                }
            }
            other => out.push(other),
        }
    }
    out.into_iter().collect()
}

type Parameters = HashMap<String, Vec<Type>>;

/// Gives the `async` functions of an import the parameters that its plain ones have, so that a call
/// is written the same: by reference, copied here.
pub(crate) fn borrow_parameters(items: &mut [Item], plain: &mut [Item]) {
    let mut parameters = Parameters::new();
    each_function(plain, "", &mut |name, signature, _| {
        parameters.insert(name, typed(signature).map(|(_, ty)| ty.clone()).collect());
    });
    each_function(items, "", &mut |name, signature, block| {
        let Some(types) = parameters.get(&name).filter(|_| signature.asyncness.is_some()) else { return };
        let mut copies = Vec::new();
        for ((ident, ty), plain) in typed(signature).zip(types) {
            if matches!(plain, Type::Reference(_)) && !matches!(ty, Type::Reference(_)) {
                *ty = plain.clone();
                copies.push(syn::parse_quote!(let #ident = ::std::borrow::ToOwned::to_owned(#ident);));
            }
        }
        block.stmts.splice(0..0, copies);
    });
}

fn typed(signature: &mut Signature) -> impl Iterator<Item = (Ident, &mut Type)> {
    signature.inputs.iter_mut().filter_map(|input| match input {
        FnArg::Typed(input) => match &*input.pat {
            Pat::Ident(name) => Some((name.ident.clone(), &mut *input.ty)),
            _ => None,
        },
        FnArg::Receiver(_) => None,
    })
}

/// All public functions and methods, by path.
fn each_function(items: &mut [Item], path: &str, each: &mut dyn FnMut(String, &mut Signature, &mut Block)) {
    for item in items {
        match item {
            Item::Mod(module) => {
                if let Some((_, items)) = &mut module.content {
                    each_function(items, &format!("{path}::{}", module.ident), each);
                }
            }
            Item::Fn(function) => {
                each(format!("{path}::{}", function.sig.ident), &mut function.sig, &mut function.block);
            }
            Item::Impl(item) if item.trait_.is_none() => {
                let ty = &item.self_ty;
                let ty = quote!(#ty);
                for entry in &mut item.items {
                    if let ImplItem::Fn(method) = entry {
                        each(format!("{path}::{ty}::{}", method.sig.ident), &mut method.sig, &mut method.block);
                    }
                }
            }
            _ => {}
        }
    }
}

/// `.await`, in the flavour that has it.
pub(crate) fn awaits(is_async: bool) -> Option<TokenStream> {
    is_async.then(|| {
        let word = format_ident!("await");
        quote!(.#word)
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test ends at what it cannot do")]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, plain: &str) {
        let source: TokenStream = source.parse().unwrap();
        let plain: TokenStream = plain.parse().unwrap();
        assert_eq!(strip(source).to_string(), plain.to_string());
    }

    #[test]
    fn the_plain_flavour_is_the_source_without_async() {
        check("pub async fn a(&self) -> u64 { b(1).await?.c().await }", "pub fn a(&self) -> u64 { b(1)?.c() }");
        check("self.call(async || x.y(z).await).await?", "self.call(|| x.y(z))?");
        check("let f = async move { a.await }; g(async move |x| x.await)", "let f = { a }; g(move |x| x)");
        check(
            "fn f(g: impl AsyncFnOnce(&A) -> R, h: impl FnOnce())",
            "fn f(g: impl FnOnce(&A) -> R, h: impl FnOnce())",
        );
        check("info!(\"{}\", x.len()); 1.0", "info!(\"{}\", x.len()); 1.0");
    }
}
