//! `#[actor]`: looks at the methods only, the compiler checks them against the interface.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Receiver, Result, Token, Type};

use crate::flavour::{ASYNC, awaits};

pub(crate) struct Arguments {
    state: Option<LitStr>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self { state: None });
        }
        let name: Ident = input.parse()?;
        if name != "state" {
            return Err(Error::new(name.span(), "the only argument is `state = \"name\"`"));
        }
        input.parse::<Token![=]>()?;
        Ok(Self { state: Some(input.parse()?) })
    }
}

pub(crate) fn expand(arguments: &Arguments, item: &ItemImpl) -> Result<TokenStream> {
    let actor = struct_name(item)?;
    let mut methods = Vec::new();
    let mut hooks = Vec::new();
    let mut timer = None;
    let mut exclusive = false;
    for entry in &item.items {
        let ImplItem::Fn(method) = entry else {
            continue;
        };
        let receiver = receiver(method)?;
        match method.sig.ident.to_string().as_str() {
            "on_activate" => hooks.push(hook(method, "hook_activate", "it", "Activation")),
            "on_deactivate" => hooks.push(hook(method, "hook_deactivate", "why", "Deactivation")),
            "on_timer" => {
                exclusive |= receiver.mutability.is_some();
                timer = Some(timer_hook(actor, method, receiver));
            }
            _ => {
                exclusive |= receiver.mutability.is_some();
                methods.push(export(actor, method, receiver)?);
            }
        }
    }
    let has_hooks = !hooks.is_empty();
    let needs_lifecycle = has_hooks.then(|| {
        quote! {
            const _: () = assert!(
                world::LIFECYCLE,
                "a hook is called only if the world has `export quark:actor/lifecycle@0.1.0;`"
            );
        }
    });
    let needs_timer_target = timer.as_ref().map(|_| {
        quote! {
            const _: () = assert!(
                world::TIMER_TARGET,
                "on_timer is called only if the world has `export quark:actor/timer-target@0.1.0;`"
            );
        }
    });
    let state = arguments.state.as_ref().map(|name| quote!(const STATE: &'static str = #name;));
    Ok(quote! {
        #item

        impl ::quark_sdk::Actor for #actor {
            #state
            const EXCLUSIVE: bool = #exclusive;
            const HOOKS: bool = #has_hooks;
            #(#hooks)*
            #timer
        }

        impl world::kinds::#actor for ::quark_sdk::rt::Handle<#actor> {
            fn new(key: ::std::string::String) -> Self {
                Self::open(&key)
            }
            #(#methods)*
        }

        #needs_lifecycle
        #needs_timer_target
    })
}

fn struct_name(item: &ItemImpl) -> Result<&Ident> {
    let simple = match &*item.self_ty {
        Type::Path(path) if item.trait_.is_none() && item.generics.params.is_empty() => path.path.get_ident(),
        _ => None,
    };
    simple.ok_or_else(|| Error::new_spanned(&item.self_ty, "an actor is `impl Name`, without a trait and generics"))
}

fn receiver(method: &ImplItemFn) -> Result<&Receiver> {
    let receiver = method.sig.receiver().filter(|it| it.reference.is_some() && it.colon_token.is_none());
    receiver.ok_or_else(|| {
        let text =
            "a method of an actor takes `&self` or `&mut self`; other functions belong in an `impl` of their own";
        Error::new_spanned(&method.sig, text)
    })
}

/// A hook may leave out its argument.
fn hook(method: &ImplItemFn, name: &str, argument: &str, argument_type: &str) -> TokenStream {
    let (own, name) = (&method.sig.ident, format_ident!("{name}"));
    let (argument, argument_type) = (format_ident!("{argument}"), format_ident!("{argument_type}"));
    let given = (method.sig.inputs.len() > 1).then_some(&argument);
    let asyncness = ASYNC.then(|| format_ident!("async"));
    let waits = awaits(method.sig.asyncness.is_some());
    quote! {
        #[allow(unused_variables)]
        #asyncness fn #name(
            &mut self,
            #argument: ::quark_sdk::#argument_type,
        ) -> ::core::result::Result<(), ::std::string::String> {
            self.#own(#given)#waits
        }
    }
}

/// What a timer calls. It may leave out the payload, or both arguments.
fn timer_hook(actor: &Ident, method: &ImplItemFn, receiver: &Receiver) -> TokenStream {
    let given = [format_ident!("name"), format_ident!("payload")];
    let given = &given[..method.sig.inputs.len().saturating_sub(1).min(given.len())];
    let run = if receiver.mutability.is_some() { "timer_exclusive" } else { "timer_shared" };
    let run = format_ident!("{run}");
    let asyncness = ASYNC.then(|| format_ident!("async"));
    let (ends, waits) = (awaits(ASYNC), awaits(method.sig.asyncness.is_some()));
    quote! {
        #[allow(unused_variables)]
        #asyncness fn hook_timer(
            key: &str,
            name: ::std::string::String,
            payload: ::std::vec::Vec<u8>,
        ) -> ::core::result::Result<(), ::std::string::String> {
            ::quark_sdk::rt::#run::<Self>(key, #asyncness |actor| #actor::on_timer(actor, #(#given),*)#waits)#ends
        }
    }
}

/// The resource's method: the same signature with `&self`, whatever the actor's own takes.
fn export(actor: &Ident, method: &ImplItemFn, receiver: &Receiver) -> Result<TokenStream> {
    let name = &method.sig.ident;
    let output = &method.sig.output;
    let mut names = Vec::new();
    let mut types = Vec::new();
    for (index, input) in method.sig.inputs.iter().enumerate() {
        let FnArg::Typed(input) = input else {
            continue;
        };
        names.push(format_ident!("argument_{index}"));
        types.push(&input.ty);
    }
    let run = if receiver.mutability.is_some() { format_ident!("exclusive") } else { format_ident!("shared") };
    let result = match output {
        syn::ReturnType::Default => quote!(()),
        syn::ReturnType::Type(_, result) => quote!(#result),
    };
    let asyncness = ASYNC.then(|| format_ident!("async"));
    let (ends, waits) = (awaits(ASYNC), awaits(method.sig.asyncness.is_some()));
    Ok(quote! {
        #asyncness fn #name(&self, #(#names: #types),*) #output {
            #[allow(unused_imports)]
            use ::quark_sdk::rt::{ByError as _, ByTrap as _};
            #[allow(clippy::needless_borrow)]
            let refusal = (&::quark_sdk::rt::Answer::<#result>::NEW).refusal();
            self.#run(#asyncness |actor| #actor::#name(actor, #(#names),*)#waits, refusal)#ends
        }
    })
}
