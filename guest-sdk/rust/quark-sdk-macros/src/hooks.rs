//! The contract's interfaces that an actor exports beside its own: the hooks.

use heck::ToShoutySnakeCase as _;
use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Ident;

use crate::flavour::{ASYNC, awaits};
use crate::world::World;

/// Those that this SDK can export.
pub(crate) const HOOKS: [&str; 6] =
    ["lifecycle", "timer-target", "reminder-target", "supervisor", "watcher", "journaled"];

impl World<'_> {
    /// The exports, and for each hook a constant that says whether it is one.
    pub(crate) fn hook_exports(&self) -> TokenStream {
        let exports = HOOKS.map(|hook| {
            let (name, exported) = (format_ident!("{}", hook.to_shouty_snake_case()), self.hooks.contains(&hook));
            let export = exported.then(|| match hook {
                "lifecycle" => self.lifecycle_export(),
                "timer-target" => self.timer_export(),
                "reminder-target" => self.reminder_export(),
                "supervisor" => self.supervisor_export(),
                "journaled" => self.journaled_export(),
                _ => self.watcher_export(),
            });
            quote! {
                pub const #name: bool = #exported;
                #export
            }
        });
        quote!(#(#exports)*)
    }

    fn lifecycle_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let (kinds, ends) = (self.named_kinds(), awaits(ASYNC));
        let activates = kinds.iter().map(|(name, kind)| quote!(#kind => ::quark_sdk::rt::activate::<#name>(it)#ends));
        let deactivates =
            kinds.iter().map(|(name, kind)| quote!(#kind => ::quark_sdk::rt::deactivate::<#name>(&me.key, why)#ends));
        let causes = idents(["Message", "Reminder", "Event", "Spawn", "Restart", "Upgrade"]);
        let reasons = idents(["Idle", "Requested", "MemoryPressure", "Moved", "Upgraded", "Shutdown", "Fenced"]);
        quote! {
            const _: () = {
                use exports::quark::actor::lifecycle;

                impl lifecycle::Guest for Component {
                    #asyncness fn activate(it: lifecycle::Activation) -> ::core::result::Result<(), ::std::string::String> {
                        let cause = match it.cause {
                            #(lifecycle::Cause::#causes => ::quark_sdk::Cause::#causes,)*
                        };
                        let it = ::quark_sdk::Activation {
                            me: it.me, generation: it.generation, version: it.version, cause,
                        };
                        match it.me.kind.as_str() {
                            #(#activates,)*
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }

                    #asyncness fn deactivate(
                        me: lifecycle::ActorId,
                        why: lifecycle::Deactivation,
                    ) -> ::core::result::Result<(), ::std::string::String> {
                        let why = match why {
                            #(lifecycle::Deactivation::#reasons => ::quark_sdk::Deactivation::#reasons,)*
                        };
                        match me.kind.as_str() {
                            #(#deactivates,)*
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }
                }
            };
        }
    }

    fn timer_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let kinds = self.calls_of("hook_timer", &quote!(name, payload));
        quote! {
            const _: () = {
                use exports::quark::actor::timer_target;

                impl timer_target::Guest for Component {
                    #asyncness fn on_timer(
                        me: timer_target::ActorId,
                        name: ::std::string::String,
                        payload: ::std::vec::Vec<u8>,
                    ) -> ::core::result::Result<(), ::std::string::String> {
                        match me.kind.as_str() {
                            #kinds
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }
                }
            };
        }
    }

    fn reminder_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let kinds = self.calls_of("hook_reminder", &quote!(firing));
        quote! {
            const _: () = {
                use exports::quark::actor::reminder_target;

                impl reminder_target::Guest for Component {
                    #asyncness fn on_reminder(
                        me: reminder_target::ActorId,
                        firing: reminder_target::Firing,
                    ) -> ::core::result::Result<(), ::std::string::String> {
                        let firing = ::quark_sdk::Firing {
                            name: firing.name, due: firing.due, payload: firing.payload,
                        };
                        match me.kind.as_str() {
                            #kinds
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }
                }
            };
        }
    }

    fn supervisor_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let kinds = self.calls_of("hook_child_failed", &quote!(failure));
        let directives = idents(["Resume", "Restart", "Stop", "Escalate"]);
        quote! {
            const _: () = {
                use exports::quark::actor::supervisor;

                impl supervisor::Guest for Component {
                    #asyncness fn on_child_failed(
                        me: supervisor::ActorId,
                        failure: supervisor::Failure,
                    ) -> supervisor::Directive {
                        let failure = ::quark_sdk::Failure {
                            child: failure.child, reason: failure.reason, count: failure.count,
                        };
                        let directive = match me.kind.as_str() {
                            #kinds
                            kind => ::core::panic!("{}", ::quark_sdk::rt::no_kind(kind)),
                        };
                        match directive {
                            #(::quark_sdk::Directive::#directives => supervisor::Directive::#directives,)*
                        }
                    }
                }
            };
        }
    }

    fn watcher_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let kinds = self.calls_of("hook_terminated", &quote!(target, reason));
        quote! {
            const _: () = {
                use exports::quark::actor::watcher;

                impl watcher::Guest for Component {
                    #asyncness fn on_terminated(
                        me: watcher::ActorId,
                        target: watcher::ActorId,
                        reason: ::std::string::String,
                    ) {
                        match me.kind.as_str() {
                            #kinds
                            kind => ::core::panic!("{}", ::quark_sdk::rt::no_kind(kind)),
                        }
                    }
                }
            };
        }
    }

    fn journaled_export(&self) -> TokenStream {
        let asyncness = ASYNC.then(|| format_ident!("async"));
        let kinds = self.named_kinds();
        let restores =
            kinds.iter().map(|(name, kind)| quote!(#kind => ::quark_sdk::rt::restore::<#name>(&me.key, &snapshot),));
        let applies =
            kinds.iter().map(|(name, kind)| quote!(#kind => ::quark_sdk::rt::apply::<#name>(&me.key, &entry),));
        let snapshots = kinds.iter().map(|(name, kind)| quote!(#kind => ::quark_sdk::rt::snapshot::<#name>(&me.key),));
        quote! {
            const _: () = {
                use exports::quark::actor::journaled;

                impl journaled::Guest for Component {
                    #asyncness fn restore(
                        me: journaled::ActorId,
                        snapshot: ::std::vec::Vec<u8>,
                    ) -> ::core::result::Result<(), ::std::string::String> {
                        match me.kind.as_str() {
                            #(#restores)*
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }

                    #asyncness fn apply(
                        me: journaled::ActorId,
                        entry: journaled::Entry,
                    ) -> ::core::result::Result<(), ::std::string::String> {
                        match me.kind.as_str() {
                            #(#applies)*
                            kind => ::core::result::Result::Err(::quark_sdk::rt::no_kind(kind)),
                        }
                    }

                    #asyncness fn snapshot(me: journaled::ActorId) -> ::std::vec::Vec<u8> {
                        match me.kind.as_str() {
                            #(#snapshots)*
                            kind => ::core::panic!("{}", ::quark_sdk::rt::no_kind(kind)),
                        }
                    }
                }
            };
        }
    }

    /// For each kind the arm that calls its hook.
    fn calls_of(&self, hook: &str, arguments: &TokenStream) -> TokenStream {
        let (hook, ends) = (format_ident!("{hook}"), awaits(ASYNC));
        let arms = self
            .named_kinds()
            .into_iter()
            .map(|(name, kind)| quote!(#kind => <#name as ::quark_sdk::Actor>::#hook(&me.key, #arguments)#ends,));
        quote!(#(#arms)*)
    }
}

fn idents<const N: usize>(names: [&str; N]) -> [Ident; N] {
    names.map(|name| format_ident!("{name}"))
}
