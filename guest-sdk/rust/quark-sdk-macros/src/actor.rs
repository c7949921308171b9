//! `#[actor]`: looks at the methods only, the compiler checks them against the interface.

use heck::ToShoutySnakeCase as _;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Error, FnArg, Ident, ImplItem, ImplItemFn, ItemImpl, LitStr, Receiver, Result, Token, Type};

use crate::bindings::CONTRACT;
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
    let mut lifecycle = false;
    let mut exports = Vec::new();
    let mut exclusive = false;
    for entry in &item.items {
        let ImplItem::Fn(method) = entry else {
            continue;
        };
        let receiver = receiver(method)?;
        let name = method.sig.ident.to_string();
        let interface = match name.as_str() {
            "on_activate" => {
                hooks.push(hook(method, "hook_activate", "it", "Activation"));
                "lifecycle"
            }
            "on_deactivate" => {
                hooks.push(hook(method, "hook_deactivate", "why", "Deactivation"));
                "lifecycle"
            }
            name => {
                exclusive |= receiver.mutability.is_some();
                let Some(hook) = TurnHook::named(name) else {
                    methods.push(export(actor, method, receiver)?);
                    continue;
                };
                hooks.push(hook.expand(actor, method, receiver));
                hook.interface
            }
        };
        lifecycle |= interface == "lifecycle";
        exports.push(needs_export(&name, interface));
    }
    let state = arguments.state.as_ref().map(|name| quote!(const STATE: &'static str = #name;));
    Ok(quote! {
        #item

        impl ::quark_sdk::Actor for #actor {
            #state
            const EXCLUSIVE: bool = #exclusive;
            const HOOKS: bool = #lifecycle;
            const JOURNALED: bool = world::JOURNALED;
            #(#hooks)*
        }

        impl world::kinds::#actor for ::quark_sdk::rt::Handle<#actor> {
            fn new(key: ::std::string::String) -> Self {
                Self::open(&key)
            }
            #(#methods)*
        }

        #(#exports)*
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

/// Nobody calls a hook whose interface is not exported.
fn needs_export(hook: &str, interface: &str) -> TokenStream {
    let exported = format_ident!("{}", interface.to_shouty_snake_case());
    let text = format!("`{hook}` is called only if the world has `export {CONTRACT}/{interface}@0.1.0;`");
    quote!(
        const _: () = assert!(world::#exported, #text);
    )
}

/// A hook that has a turn of its own.
struct TurnHook {
    /// What the user calls it.
    name: &'static str,
    /// The method of `Actor`.
    method: &'static str,
    /// Of the contract.
    interface: &'static str,
    /// Names and types.
    arguments: &'static [(&'static str, &'static str)],
    result: &'static str,
}

const TURN_HOOKS: [TurnHook; 4] = [
    TurnHook {
        name: "on_timer",
        method: "hook_timer",
        interface: "timer-target",
        arguments: &[("name", "::std::string::String"), ("payload", "::std::vec::Vec<u8>")],
        result: "::core::result::Result<(), ::std::string::String>",
    },
    TurnHook {
        name: "on_reminder",
        method: "hook_reminder",
        interface: "reminder-target",
        arguments: &[("firing", "::quark_sdk::Firing")],
        result: "::core::result::Result<(), ::std::string::String>",
    },
    TurnHook {
        name: "on_child_failed",
        method: "hook_child_failed",
        interface: "supervisor",
        arguments: &[("failure", "::quark_sdk::Failure")],
        result: "::quark_sdk::Directive",
    },
    TurnHook {
        name: "on_terminated",
        method: "hook_terminated",
        interface: "watcher",
        arguments: &[("target", "::quark_sdk::ActorId"), ("reason", "::std::string::String")],
        result: "()",
    },
];

impl TurnHook {
    fn named(name: &str) -> Option<&'static Self> {
        TURN_HOOKS.iter().find(|hook| hook.name == name)
    }

    /// The user's method may leave out the last arguments.
    fn expand(&self, actor: &Ident, method: &ImplItemFn, receiver: &Receiver) -> TokenStream {
        let parse = |text: &str| text.parse::<TokenStream>().unwrap_or_default();
        let names: Vec<_> = self.arguments.iter().map(|(name, _)| format_ident!("{name}")).collect();
        let types = self.arguments.iter().map(|(_, ty)| parse(ty));
        let given = &names[..method.sig.inputs.len().saturating_sub(1).min(names.len())];
        let (own, hook, result) = (&method.sig.ident, format_ident!("{}", self.method), parse(self.result));
        let run = if receiver.mutability.is_some() { "hook_exclusive" } else { "hook_shared" };
        let run = format_ident!("{run}");
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let (ends, waits) = (awaits(ASYNC), awaits(method.sig.asyncness.is_some()));
        quote! {
            #[allow(unused_variables)]
            #asyncness fn #hook(key: &str, #(#names: #types),*) -> #result {
                ::quark_sdk::rt::#run::<Self, _>(key, #asyncness |actor| #actor::#own(actor, #(#given),*)#waits)#ends
            }
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
