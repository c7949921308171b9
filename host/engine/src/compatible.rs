//! Whether a new version of a component can take the place of the running one: for every caller that
//! knows the old one, whatever it calls must still be there with the types that it knows.

use std::fmt;
use std::sync::Arc;

use quark_core::id::KindName;
use wit_component::semver_check;
use wit_parser::{
    FunctionKind, InterfaceId, LiveTypes, PackageId, Resolve, Stability, TypeOwner, World, WorldId, WorldItem, WorldKey,
};

use crate::component::Component;
use crate::kind::Kind;
use crate::wit::Wit;

/// The most differences of one type that a change shows.
const TYPES_SHOWN_MAX: usize = 3;

/// Something that callers of the running version cannot rely on in the new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub kind: KindName,
    /// The method; none when it is not about one.
    pub method: Option<Arc<str>>,
    /// What it was and what it is, for people.
    pub text: String,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.short();
        match &self.method {
            Some(method) => write!(f, "{kind}.{method} {}", self.text),
            None => write!(f, "{kind} {}", self.text),
        }
    }
}

/// What callers of `old` miss in `new`; nothing when `new` can take its place.
#[must_use]
pub fn breaking(old: &Component, new: &Component) -> Vec<Change> {
    let (mut changes, mut alike) = (Vec::new(), Vec::new());
    for kind in &old.kinds {
        let Some(now) = new.kind_at(&kind.name).and_then(|at| new.kinds.get(at)) else {
            let text = format!("is gone: the new version does not export `{}`", kind.name);
            changes.push(Change { kind: kind.name.clone(), method: None, text });
            continue;
        };
        let before = changes.len();
        methods(old, kind, new, now, &mut changes);
        if changes.len() == before {
            alike.push((kind, now));
        }
    }
    changes.extend(hidden(&old.wit, &alike, &new.wit));
    changes
}

/// What no method shows: a type that is gone, say. All interfaces are looked at together first, since
/// mostly nothing is wrong with any.
fn hidden(old: &Wit, alike: &[(&Kind, &Kind)], new: &Wit) -> Vec<Change> {
    let mut interfaces: Vec<(&Kind, Names<'_>)> = Vec::new();
    for (kind, now) in alike {
        let names = (kind.interface.as_str(), now.interface.as_str());
        if interfaces.iter().all(|(_, known)| *known != names) {
            interfaces.push((kind, names));
        }
    }
    let all: Vec<Names<'_>> = interfaces.iter().map(|(_, names)| *names).collect();
    if all.is_empty() || check(old, &all, new).is_ok() {
        return Vec::new();
    }
    let changed = interfaces.into_iter().filter_map(|(kind, names)| {
        let reason = check(old, &[names], new).err()?;
        Some(Change { kind: kind.name.clone(), method: None, text: format!("has another interface: {reason}") })
    });
    changed.collect()
}

/// An interface's name in the old version and in the new one.
type Names<'a> = (&'a str, &'a str);

fn methods(old: &Component, kind: &Kind, new: &Component, now: &Kind, changes: &mut Vec<Change>) {
    for method in &kind.methods {
        let name = &method.signature.name;
        let text = match now.method(name) {
            None => format!("is gone: it was {}", method.text),
            Some((_, is)) => {
                if is.signature.fits(&method.signature) {
                    continue;
                }
                if is.text == method.text {
                    format!("has other types: {}", definitions(old, kind, new, now, name))
                } else {
                    format!("was {}, is {}", method.text, is.text)
                }
            }
        };
        changes.push(Change { kind: kind.name.clone(), method: Some(name.clone()), text });
    }
}

/// The named types of a method that are defined otherwise now.
fn definitions(old: &Component, kind: &Kind, new: &Component, now: &Kind, method: &str) -> String {
    let of = |component: &Component, kind: &Kind| {
        let function = component.wit.method(&kind.interface, kind.name.short(), method);
        function.map(|function| component.wit.definitions(function)).unwrap_or_default()
    };
    let is = of(new, now);
    let mut shown = Vec::new();
    for (name, was) in of(old, kind) {
        match is.iter().find(|(known, _)| *known == name) {
            Some((_, is)) if *is != was => shown.push(format!("was `{was}`, is `{is}`")),
            Some(_) => {}
            None => shown.push(format!("was `{was}`")),
        }
    }
    let more = shown.len().saturating_sub(TYPES_SHOWN_MAX);
    shown.truncate(TYPES_SHOWN_MAX);
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    if shown.is_empty() { "beyond what is shown here".into() } else { shown.join("; ") }
}

/// Whether new interfaces can stand for old ones, whatever the versions of both are called and
/// whether their functions are `async`.
fn check(old: &Wit, names: &[Names<'_>], new: &Wit) -> Result<(), String> {
    let isolated = |wit: &Wit, names: &mut dyn Iterator<Item = &str>| -> Result<(Resolve, WorldId), String> {
        let ids = names.map(|name| wit.export(name).ok_or_else(|| format!("`{name}` is not exported")));
        alone(wit, &ids.collect::<Result<Vec<_>, _>>()?).ok_or_else(|| "it has no package".to_owned())
    };
    let (mut resolve, new_world) = isolated(new, &mut names.iter().map(|(_, new)| *new))?;
    let (mut old_resolve, old_world) = isolated(old, &mut names.iter().map(|(old, _)| *old))?;
    // Of one name and different content, they would be taken for one package.
    rename_versions(&mut old_resolve, "was");
    let remap = resolve.merge(old_resolve).map_err(|error| reason(&format!("{error:#}")))?;
    let span = resolve.worlds[new_world].span;
    let old_world = remap.map_world(old_world, span).map_err(|error| reason(&error.to_string()))?;
    // A provider may have more than what its callers know, so it takes the place of `prev`, which
    // must have all that `new` has.
    semver_check(resolve, new_world, old_world).map_err(|error| reason(&format!("{error:#}")))
}

/// The last line of a validator's error, which is what the lines before it lead to.
fn reason(error: &str) -> String {
    let last = error.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    last.split(" (at offset").next().unwrap_or_default().trim().to_owned()
}

/// A world that exports the interfaces and what they use, and imports nothing: callers see no more
/// of a component.
fn alone(wit: &Wit, interfaces: &[InterfaceId]) -> Option<(Resolve, WorldId)> {
    let mut resolve = wit.resolve.clone();
    let package: PackageId = resolve.interfaces[*interfaces.first()?].package?;
    let mut exports = wit_parser::IndexMap::default();
    let needed = wit.needed(interfaces);
    needed.iter().for_each(|id| only_methods(&mut resolve, *id));
    let mut reached = LiveTypes::default();
    interfaces.iter().for_each(|id| reached.add_interface(&resolve, *id));
    let functions = needed.iter().flat_map(|id| resolve.interfaces[*id].functions.values());
    functions.for_each(|function| reached.add_func(&resolve, function));
    // Toolchains leave out more or less of what an interface that is only used has beside.
    let only_used: Vec<_> = resolve.interfaces.iter().map(|(id, _)| id).filter(|id| !interfaces.contains(id)).collect();
    for id in only_used {
        if !needed.contains(&id) {
            resolve.interfaces[id].functions.clear();
        }
        leave_out(&mut resolve, id, &reached);
    }
    for id in needed {
        let stability = Stability::default();
        let item = WorldItem::Interface {
            id,
            stability,
            docs: Default::default(),
            span: Default::default(),
            external_id: None,
        };
        exports.insert(WorldKey::Interface(id), item);
    }
    let world = resolve.worlds.alloc(World {
        name: "alone".into(),
        imports: Default::default(),
        exports,
        package: Some(package),
        docs: Default::default(),
        stability: Stability::default(),
        includes: Vec::new(),
        span: Default::default(),
    });
    resolve.packages[package].worlds.insert("alone".into(), world);
    Some((resolve, world))
}

/// Takes types out of an interface that are not reached.
fn leave_out(resolve: &mut Resolve, interface: InterfaceId, reached: &LiveTypes) {
    let types = &mut resolve.interfaces[interface].types;
    let left_out: Vec<_> = types.values().copied().filter(|ty| !reached.contains(*ty)).collect();
    types.retain(|_, ty| reached.contains(*ty));
    left_out.into_iter().for_each(|ty| resolve.types[ty].owner = TypeOwner::None);
}

/// Leaves what others can call: constructors are the platform's own.
fn only_methods(resolve: &mut Resolve, interface: InterfaceId) {
    let functions = &mut resolve.interfaces[interface].functions;
    functions.retain(|_, function| matches!(function.kind, FunctionKind::Method(_) | FunctionKind::AsyncMethod(_)));
    for function in functions.values_mut() {
        if let FunctionKind::AsyncMethod(resource) = function.kind {
            function.kind = FunctionKind::Method(resource);
        }
    }
}

/// Gives every package a version that no other has. The check itself looks at no versions.
fn rename_versions(resolve: &mut Resolve, tag: &str) {
    resolve.package_names.clear();
    for (at, (id, package)) in resolve.packages.iter_mut().enumerate() {
        package.name.version = format!("0.0.0-{tag}.{at}").parse().ok();
        resolve.package_names.insert(package.name.clone(), id);
    }
}

/// What the component calls that `new` would not answer any more, of all that changes.
#[must_use]
pub fn broken_calls(caller: &Component, changes: &[Change], new: &Component) -> Vec<String> {
    let mut broken = Vec::new();
    for (kind, methods) in &caller.calls {
        let now = new.kind_at(kind).and_then(|at| new.kinds.get(at));
        for call in methods {
            let changed = |change: &Change| {
                change.kind == *kind && change.method.as_ref().is_none_or(|method| *method == call.name)
            };
            // It may have been built for the new version already.
            let fits =
                now.and_then(|kind| kind.method(&call.name)).is_some_and(|(_, is)| is.signature.hash == call.hash);
            if !fits && changes.iter().any(changed) {
                broken.push(format!("{}.{}", kind.short(), call.name));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests;
