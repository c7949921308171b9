//! `world!`: wit-bindgen's bindings with what an actor needs around them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use heck::ToUpperCamelCase as _;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote};
use syn::{Error, Ident, ImplItem, Item, LitStr, Result, Type as RustType};
use wit_bindgen_core::name_package_module;
use wit_bindgen_core::wit_parser::{
    Function, FunctionKind, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldId, WorldItem, WorldKey,
};
use wit_bindgen_rust::{Opts, WithOption, to_rust_ident};

use crate::bindings::{CONTRACT, bindings, push_contract};
use crate::hooks::HOOKS;

pub(crate) fn expand(name: Option<&LitStr>) -> Result<TokenStream> {
    let span = name.map_or_else(Span::call_site, LitStr::span);
    let root = std::env::var("CARGO_MANIFEST_DIR").map_err(|error| Error::new(span, error))?;
    let source = Source::read(&Path::new(&root).join("wit"), name.map(LitStr::value).as_deref())
        .map_err(|error| Error::new(span, format!("{error:#}")))?;
    World::new(&source).and_then(|world| world.expand()).map_err(|text| Error::new(span, text))
}

/// The user's WIT.
struct Source {
    resolve: Resolve,
    world: WorldId,
    files: Vec<PathBuf>,
}

impl Source {
    fn read(folder: &Path, world: Option<&str>) -> anyhow::Result<Self> {
        let mut resolve = Resolve::default();
        let deps = folder.join("deps");
        let has_contract =
            ["quark-actor", "quark-actor.wit", "quark-actor.wasm"].iter().any(|at| deps.join(at).exists());
        if !has_contract {
            push_contract(&mut resolve)?;
        }
        let (package, sources) = resolve.push_path(folder)?;
        let files = sources.paths().map(Path::to_owned).collect();
        let world = resolve.select_world(&[package], world)?;
        Ok(Self { resolve, world, files })
    }
}

/// One interface that the world imports or exports.
struct Interface {
    id: InterfaceId,
    exported: bool,
    /// Its module within the bindings.
    path: Vec<Ident>,
}

pub(crate) struct World<'a> {
    source: &'a Source,
    /// Those for which bindings are made here; the contract's own are the SDK's.
    interfaces: Vec<Interface>,
    /// The contract's imports, mapped to the SDK's modules.
    contract: Vec<(String, String)>,
    /// The contract's interfaces that it exports.
    pub(crate) hooks: Vec<&'static str>,
}

impl<'a> World<'a> {
    fn new(source: &'a Source) -> std::result::Result<Self, String> {
        let resolve = &source.resolve;
        let world = &resolve.worlds[source.world];
        let mut it = Self { source, interfaces: Vec::new(), contract: Vec::new(), hooks: Vec::new() };
        for (items, exported) in [(&world.imports, false), (&world.exports, true)] {
            for (key, item) in items {
                let WorldItem::Interface { id, .. } = item else {
                    match item {
                        WorldItem::Function(function) if exported => {
                            return Err(format!(
                                "`{}`: an actor exports interfaces with resources, not functions",
                                function.name
                            ));
                        }
                        _ => continue,
                    }
                };
                it.add(key, *id, exported)?;
            }
        }
        if it.kinds().next().is_none() {
            return Err(format!("the world `{}` exports no resource: no actor", world.name));
        }
        Ok(it)
    }

    fn add(&mut self, key: &WorldKey, id: InterfaceId, exported: bool) -> std::result::Result<(), String> {
        let resolve = &self.source.resolve;
        let interface = &resolve.interfaces[id];
        if !self.of_contract(id) {
            if let Some(function) =
                interface.functions.values().find(|it| exported && it.kind == FunctionKind::Freestanding)
            {
                let name = resolve.name_world_key(key);
                return Err(format!(
                    "`{name}`: an exported interface has resources only, not the function `{}`",
                    function.name
                ));
            }
            self.interfaces.push(Interface { id, exported, path: module(resolve, key, exported) });
            return Ok(());
        }
        let name = interface.name.as_deref().unwrap_or_default();
        if !exported {
            let module = format!("::quark_sdk::wit::{}", to_rust_ident(name));
            self.contract.push((resolve.name_world_key(key), module));
            return Ok(());
        }
        let hook = HOOKS.into_iter().find(|hook| *hook == name);
        self.hooks.push(hook.ok_or_else(|| format!("this SDK cannot export `{CONTRACT}/{name}` yet"))?);
        Ok(())
    }

    fn of_contract(&self, id: InterfaceId) -> bool {
        let resolve = &self.source.resolve;
        let package = resolve.interfaces[id].package.map(|package| &resolve.packages[package].name);
        package.is_some_and(|name| format!("{}:{}", name.namespace, name.name) == CONTRACT)
    }

    /// Exported resources, with the interface that each is in.
    fn kinds(&self) -> impl Iterator<Item = (&Interface, &'a str)> {
        let resolve = &self.source.resolve;
        self.interfaces.iter().filter(|it| it.exported).flat_map(move |interface| {
            let types = &resolve.interfaces[interface.id].types;
            let resources = types.iter().filter(|(_, id)| resolve.types[**id].kind == TypeDefKind::Resource);
            resources.map(move |(name, _)| (interface, name.as_str()))
        })
    }

    /// The user's struct for each kind, and the kind's name.
    pub(crate) fn named_kinds(&self) -> Vec<(TokenStream, String)> {
        let named = |(interface, resource): (&Interface, &str)| {
            let (name, _) = kind_idents(resource);
            (quote!(super::#name), kind_name(&self.source.resolve, interface.id, resource))
        };
        self.kinds().map(named).collect()
    }

    /// The proxies of imported kinds: resources that are made of a key alone.
    fn named_proxies(&self) -> Vec<(TokenStream, String)> {
        let resolve = &self.source.resolve;
        let mut proxies = Vec::new();
        for interface in self.interfaces.iter().filter(|it| !it.exported) {
            for function in resolve.interfaces[interface.id].functions.values() {
                let FunctionKind::Constructor(id) = function.kind else { continue };
                let of_key = function.params.len() == 1 && function.params.iter().all(|it| it.ty == Type::String);
                if let Some(resource) = resolve.types[id].name.as_deref().filter(|_| of_key) {
                    let (path, (name, _)) = (&interface.path, kind_idents(resource));
                    proxies.push((quote!(#(#path)::*::#name), kind_name(resolve, interface.id, resource)));
                }
            }
        }
        proxies
    }

    /// An interface that is on both sides: its types must be the same ones.
    fn on_both_sides(&self) -> bool {
        self.interfaces
            .iter()
            .any(|it| !it.exported && self.interfaces.iter().any(|other| other.exported && other.id == it.id))
    }

    fn expand(&self) -> std::result::Result<TokenStream, String> {
        let mut bindings = self.generate()?;
        for interface in &self.interfaces {
            let items = find_module(&mut bindings.items, &interface.path)?;
            self.make_storable(interface, items);
            if !interface.exported {
                self.save_before_calls(interface, items);
            }
        }
        let conversions = self.conversions();
        let kinds = self.kind_traits();
        let component = self.component();
        let named = self.kind_names();
        let hooks = self.hook_exports();
        let sections = self.manifest_sections();
        let wit = self.wit_section()?;
        let names = self.names_in_scope();
        let files = self.source.files.iter().map(|file| file.display().to_string());
        Ok(quote! {
            #[allow(unsafe_code, dead_code, missing_docs, unreachable_pub, unused_imports, unused_qualifications)]
            #[allow(unknown_lints, elided_lifetimes_in_paths, private_interfaces, clippy::all, clippy::pedantic)]
            #[allow(clippy::use_self, clippy::or_fun_call, clippy::unwrap_used, clippy::wildcard_enum_match_arm)]
            mod world {
                #bindings
                #conversions
                #kinds
                #named
                #component
                #hooks
                #sections
                #wit
                export!(Component);
                #(const _: &[u8] = include_bytes!(#files);)*
            }
            #names
        })
    }

    fn generate(&self) -> std::result::Result<syn::File, String> {
        let opts = || Opts {
            runtime_path: Some("::quark_sdk::wit_bindgen::rt".into()),
            generate_all: true,
            with: self.contract.iter().map(|(key, path)| (key.clone(), WithOption::Path(path.clone()))).collect(),
            merge_structurally_equal_types: self.on_both_sides().then_some(Some(true)),
            ..Opts::default()
        };
        bindings(&self.source.resolve, self.source.world, &opts)
    }

    /// Gives the types of an interface serde's traits, so that they can be part of a state.
    fn make_storable(&self, interface: &Interface, items: &mut [Item]) {
        let resolve = &self.source.resolve;
        let names: Vec<String> = resolve.interfaces[interface.id]
            .types
            .iter()
            .filter(|(_, id)| self.is_storable(**id))
            .map(|(name, _)| name.to_upper_camel_case())
            .collect();
        for item in items {
            let (name, attributes) = match item {
                Item::Struct(item) => (&item.ident, &mut item.attrs),
                Item::Enum(item) => (&item.ident, &mut item.attrs),
                _ => continue,
            };
            if !names.iter().any(|it| name == it) {
                continue;
            }
            let derives = attributes.iter().filter(|it| it.path().is_ident("derive"));
            if !derives.map(|it| quote!(#it).to_string()).any(|it| it.contains("PartialEq")) {
                attributes.push(syn::parse_quote!(#[derive(PartialEq)]));
            }
            attributes
                .push(syn::parse_quote!(#[derive(::quark_sdk::serde::Serialize, ::quark_sdk::serde::Deserialize)]));
            attributes.push(syn::parse_quote!(#[serde(crate = "::quark_sdk::serde")]));
        }
    }

    /// Plain data all the way down. Flags are not: their generated type is closed.
    fn is_storable(&self, id: TypeId) -> bool {
        let plain = |ty: &Type| match ty {
            Type::Id(id) => self.is_storable(*id),
            Type::ErrorContext => false,
            _ => true,
        };
        match &self.source.resolve.types[id].kind {
            TypeDefKind::Record(it) => it.fields.iter().all(|field| plain(&field.ty)),
            TypeDefKind::Variant(it) => it.cases.iter().filter_map(|case| case.ty.as_ref()).all(plain),
            TypeDefKind::Enum(_) => true,
            TypeDefKind::Tuple(it) => it.types.iter().all(plain),
            TypeDefKind::Option(it) | TypeDefKind::List(it) | TypeDefKind::Type(it) => plain(it),
            TypeDefKind::Result(it) => it.ok.iter().chain(&it.err).all(plain),
            _ => false,
        }
    }

    /// State must be saved before a call leaves, so each method of an imported resource starts with
    /// that. Tells need it not: they leave with the turn's commit.
    fn save_before_calls(&self, interface: &Interface, items: &mut [Item]) {
        let resolve = &self.source.resolve;
        let mut starts: HashMap<(String, String), syn::Stmt> = HashMap::new();
        for function in resolve.interfaces[interface.id].functions.values() {
            let FunctionKind::Method(resource) = function.kind else {
                continue;
            };
            if let (Some(resource), Some(start)) = (&resolve.types[resource].name, self.start_of_call(function)) {
                let method = to_rust_ident(function.item_name());
                starts.insert((resource.to_upper_camel_case(), method), start);
            }
        }
        for item in items {
            let Item::Impl(item) = item else {
                continue;
            };
            let RustType::Path(resource) = &*item.self_ty else {
                continue;
            };
            let Some(resource) = resource.path.get_ident().filter(|_| item.trait_.is_none()).map(ToString::to_string)
            else {
                continue;
            };
            for entry in &mut item.items {
                if let ImplItem::Fn(method) = entry {
                    if let Some(start) = starts.remove(&(resource.clone(), method.sig.ident.to_string())) {
                        method.block.stmts.insert(0, start);
                    }
                }
            }
        }
    }

    fn start_of_call(&self, function: &Function) -> Option<syn::Stmt> {
        let resolve = &self.source.resolve;
        let error = match function.result? {
            Type::Id(id) => match &resolve.types[dealias(resolve, id)].kind {
                TypeDefKind::Result(result) => result.err,
                _ => None,
            },
            _ => None,
        };
        let refusal = match error {
            Some(Type::Id(id)) if self.is_call_error(id) => quote!(error),
            Some(Type::Id(id)) if self.has_call_case(id) => {
                let name = format_ident!("{}", resolve.types[id].name.as_ref()?.to_upper_camel_case());
                quote!(#name::Call(error))
            }
            _ => return Some(syn::parse_quote!(::quark_sdk::rt::before_call_or_trap();)),
        };
        Some(syn::parse_quote! {
            if let ::core::result::Result::Err(error) = ::quark_sdk::rt::before_call() {
                return ::core::result::Result::Err(#refusal);
            }
        })
    }

    fn is_call_error(&self, id: TypeId) -> bool {
        let resolve = &self.source.resolve;
        let definition = &resolve.types[dealias(resolve, id)];
        let TypeOwner::Interface(owner) = definition.owner else {
            return false;
        };
        definition.name.as_deref() == Some("call-error")
            && self.of_contract(owner)
            && resolve.interfaces[owner].name.as_deref() == Some("types")
    }

    fn has_call_case(&self, id: TypeId) -> bool {
        let resolve = &self.source.resolve;
        let TypeDefKind::Variant(variant) = &resolve.types[dealias(resolve, id)].kind else {
            return false;
        };
        variant
            .cases
            .iter()
            .any(|case| case.name == "call" && matches!(case.ty, Some(Type::Id(id)) if self.is_call_error(id)))
    }

    /// `From` for each variant's cases that hold a type with a name, so that `?` finds them.
    fn conversions(&self) -> TokenStream {
        let resolve = &self.source.resolve;
        let mut types = wit_bindgen_core::Types::default();
        types.analyze(resolve);
        let merged = self.on_both_sides();
        types.collect_equal_types(resolve, self.source.world, &|_| merged);
        let mut done = Vec::new();
        let mut out = TokenStream::new();
        for interface in &self.interfaces {
            let path = &interface.path;
            for (name, id) in &resolve.interfaces[interface.id].types {
                let TypeDefKind::Variant(variant) = &resolve.types[*id].kind else {
                    continue;
                };
                let id = types.get_representative_type(*id);
                // Import and export of one interface are two types, unless they were merged.
                let once = (id, interface.exported && !merged);
                if done.contains(&once) {
                    continue;
                }
                done.push(once);
                let named = |ty: &Option<Type>| match ty {
                    Some(Type::Id(id)) => Some((dealias(resolve, *id), resolve.types[*id].name.clone()?)),
                    _ => None,
                };
                let mut payloads = Vec::new();
                for case in &variant.cases {
                    if let Some((id, payload)) = named(&case.ty) {
                        payloads.push((types.get_representative_type(id), &case.name, payload));
                    }
                }
                let target = format_ident!("{}", name.to_upper_camel_case());
                for (id, case, payload) in &payloads {
                    let kind = &resolve.types[*id].kind;
                    let has_own_type =
                        matches!(kind, TypeDefKind::Variant(_) | TypeDefKind::Record(_) | TypeDefKind::Enum(_));
                    if !has_own_type || payloads.iter().filter(|(other, ..)| other == id).count() > 1 {
                        continue;
                    }
                    let case = format_ident!("{}", case.to_upper_camel_case());
                    let payload = format_ident!("{}", payload.to_upper_camel_case());
                    out.extend(quote! {
                        impl ::core::convert::From<#(#path)::*::#payload> for #(#path)::*::#target {
                            fn from(it: #(#path)::*::#payload) -> Self {
                                Self::#case(it)
                            }
                        }
                    });
                }
            }
        }
        out
    }

    /// So that `ActorId::of` finds the names of kinds.
    fn kind_names(&self) -> TokenStream {
        let kinds = self
            .named_kinds()
            .into_iter()
            .chain(self.named_proxies())
            .map(|(path, kind)| quote!(impl ::quark_sdk::Kind for #path { const KIND: &'static str = #kind; }));
        quote!(#(#kinds)*)
    }

    /// The traits that `#[actor]` implements, by the names of their resources.
    fn kind_traits(&self) -> TokenStream {
        let uses = self.kinds().map(|(interface, resource)| {
            let path = &interface.path;
            let (name, guest) = kind_idents(resource);
            quote!(pub use super::#(#path)::*::#guest as #name;)
        });
        quote!(pub mod kinds { #(#uses)* })
    }

    /// The one type behind all exports.
    fn component(&self) -> TokenStream {
        let guests = self.interfaces.iter().filter(|it| it.exported).map(|interface| {
            let path = &interface.path;
            let types = self.kinds().filter(|(of, _)| std::ptr::eq(*of, interface)).map(|(_, resource)| {
                let (name, _) = kind_idents(resource);
                quote!(type #name = ::quark_sdk::rt::Handle<super::#name>;)
            });
            let types: Vec<_> = types.collect();
            // An interface of types only has nothing to implement.
            (!types.is_empty()).then(|| quote!(impl #(#path)::*::Guest for Component { #(#types)* }))
        });
        quote! {
            struct Component;
            #(#guests)*
        }
    }

    /// What the manifest's defaults are, in a custom section; the linker joins those of several kinds.
    fn manifest_sections(&self) -> TokenStream {
        let table = if self.kinds().count() == 1 { "[actor]" } else { "[[actor]]" };
        let sections = self.kinds().map(|(_, resource)| {
            let (name, _) = kind_idents(resource);
            let text = format!("{table}\nname = \"{resource}\"\nreentrancy = \"none\"\n");
            let (text, len) = (proc_macro2::Literal::byte_string(text.as_bytes()), text.len());
            quote! {
                const _: () = {
                    const LEN: usize = if <super::#name as ::quark_sdk::Actor>::EXCLUSIVE { #len } else { 0 };
                    #[used]
                    #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "quark:manifest"))]
                    static SECTION: [u8; LEN] = {
                        let text: &[u8; #len] = #text;
                        let mut section = [0; LEN];
                        let mut at = 0;
                        while at < LEN {
                            section[at] = text[at];
                            at += 1;
                        }
                        section
                    };
                };
            }
        });
        quote!(#(#sections)*)
    }

    /// The interfaces with their comments, in a custom section: a component's own types have none.
    fn wit_section(&self) -> std::result::Result<TokenStream, String> {
        let mut resolve = self.source.resolve.clone();
        let Some(package) = resolve.worlds[self.source.world].package else { return Ok(quote!()) };
        // What callers see is in the interfaces.
        resolve.packages[package].worlds.clear();
        let encoded = wit_component::encode(&resolve, package).map_err(|error| format!("{error:#}"))?;
        let (bytes, len) = (proc_macro2::Literal::byte_string(&encoded), encoded.len());
        Ok(quote! {
            const _: () = {
                #[used]
                #[cfg_attr(target_arch = "wasm32", unsafe(link_section = "quark:wit"))]
                static SECTION: [u8; #len] = *#bytes;
            };
        })
    }

    /// Exported types by their own names; imported interfaces as modules.
    fn names_in_scope(&self) -> TokenStream {
        let resolve = &self.source.resolve;
        let mut uses: HashMap<String, Vec<TokenStream>> = HashMap::new();
        for interface in &self.interfaces {
            let path = &interface.path;
            if !interface.exported {
                let name = path.last().map(ToString::to_string).unwrap_or_default();
                uses.entry(name).or_default().push(quote!(world::#(#path)::*));
                continue;
            }
            for (name, id) in &resolve.interfaces[interface.id].types {
                let kind = &resolve.types[*id].kind;
                let of_sdk = matches!(kind, TypeDefKind::Type(_)) && self.comes_from_contract(*id);
                if *kind == TypeDefKind::Resource || of_sdk {
                    continue;
                }
                let name = format_ident!("{}", name.to_upper_camel_case());
                uses.entry(name.to_string()).or_default().push(quote!(world::#(#path)::*::#name));
            }
        }
        // A name that two of them want is left to the user: `world::...`.
        let mut paths: Vec<_> = uses.into_values().filter(|paths| paths.len() == 1).flatten().collect();
        paths.sort_by_key(ToString::to_string);
        quote!(#(#[allow(unused_imports)] use #paths;)*)
    }

    fn comes_from_contract(&self, id: TypeId) -> bool {
        let resolve = &self.source.resolve;
        matches!(resolve.types[dealias(resolve, id)].owner, TypeOwner::Interface(owner) if self.of_contract(owner))
    }
}

/// `sample:counter/counters#counter`: without the interface's version.
fn kind_name(resolve: &Resolve, interface: InterfaceId, resource: &str) -> String {
    let interface = &resolve.interfaces[interface];
    let name = interface.name.as_deref().unwrap_or_default();
    match interface.package.map(|package| &resolve.packages[package].name) {
        Some(package) => format!("{}:{}/{name}#{resource}", package.namespace, package.name),
        None => format!("{name}#{resource}"),
    }
}

/// The names of the user's struct and of wit-bindgen's trait.
fn kind_idents(resource: &str) -> (Ident, Ident) {
    let name = resource.to_upper_camel_case();
    (format_ident!("{name}"), format_ident!("Guest{name}"))
}

fn dealias(resolve: &Resolve, mut id: TypeId) -> TypeId {
    while let TypeDefKind::Type(Type::Id(next)) = resolve.types[id].kind {
        id = next;
    }
    id
}

/// Where wit-bindgen puts an interface.
fn module(resolve: &Resolve, key: &WorldKey, exported: bool) -> Vec<Ident> {
    let mut path = Vec::new();
    if exported {
        path.push("exports".to_owned());
    }
    match key {
        WorldKey::Name(name) => path.push(to_rust_ident(name)),
        WorldKey::Interface(id) => {
            let interface = &resolve.interfaces[*id];
            if let Some(package) = interface.package {
                path.push(to_rust_ident(&resolve.packages[package].name.namespace));
                path.push(name_package_module(resolve, package));
            }
            path.push(to_rust_ident(interface.name.as_deref().unwrap_or_default()));
        }
    }
    path.iter().map(|name| format_ident!("{name}")).collect()
}

fn find_module<'a>(items: &'a mut [Item], path: &[Ident]) -> std::result::Result<&'a mut [Item], String> {
    let Some((first, rest)) = path.split_first() else {
        return Ok(items);
    };
    for item in items {
        if let Item::Mod(module) = item {
            if module.ident == *first {
                if let Some((_, items)) = &mut module.content {
                    return find_module(items, rest);
                }
            }
        }
    }
    Err(format!("wit-bindgen wrote no module `{first}`"))
}
