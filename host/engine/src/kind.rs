//! An actor kind as a component exports it: a resource with a constructor and methods.

use std::collections::HashMap;
use std::sync::Arc;

use quark_core::id::KindName;
use quark_core::manifest::{Policy, Reentrancy};
use wasmtime::component::ComponentExportIndex;
use wasmtime::component::types::Type;

/// The cheapest way to run a component's turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It imports nothing that suspends: a turn is one plain call.
    Direct,
    /// Its turns may wait: each runs on a stack of its own.
    Fiber,
    /// Its functions are `async func`: turns wait without holding up the instance.
    Concurrent,
}

impl Lane {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fiber => "fiber",
            Self::Concurrent => "concurrent",
        }
    }
}

/// One method's types, as exported or as imported.
#[derive(Debug)]
pub struct Signature {
    /// The method.
    pub name: Arc<str>,
    /// Parameters after `self`, in order.
    pub params: Vec<(String, Type)>,
    /// The result; none for a tell.
    pub result: Option<Type>,
    /// Equal hashes mean equal types, whichever component they come from.
    pub hash: u64,
    /// Whether it is an `async func` there. No part of the contract: the host bridges.
    pub(crate) is_async: bool,
    /// Whether arguments hold blobs.
    pub(crate) blobs_in: bool,
    /// Whether the result holds blobs.
    pub(crate) blobs_out: bool,
}

impl Signature {
    /// Whether nobody waits for it.
    #[must_use]
    pub const fn is_tell(&self) -> bool {
        self.result.is_none()
    }

    /// Whether callers that know `older` can call this one instead.
    pub(crate) fn fits(&self, older: &Self) -> bool {
        let names = |(one, other): (&(String, Type), &(String, Type))| one.0 == other.0;
        // Equal hashes have as many parameters.
        self.hash == older.hash && self.params.iter().zip(&older.params).all(names)
    }

    /// The parameter types alone.
    #[must_use]
    pub fn param_types(&self) -> Vec<Type> {
        self.params.iter().map(|(_, ty)| ty.clone()).collect()
    }
}

/// A method that a kind exports.
#[derive(Debug)]
pub struct Method {
    /// Its types.
    pub signature: Signature,
    /// Its signature in WIT, with the names of its types.
    pub text: String,
    /// Whether state writes are refused in it.
    pub read_only: bool,
    /// The manifest's time for it, if it names one.
    pub timeout: Option<std::time::Duration>,
    /// Whether its answers are remembered by the keys of its calls.
    pub idempotent: bool,
    pub(crate) export: ComponentExportIndex,
    /// Whether it is the contract's and not the resource's: it takes no `self`, and its `err` is a failure.
    pub(crate) is_hook: bool,
}

/// What the host calls beside methods, each in a turn of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `timer-target.on-timer`.
    Timer,
    /// `supervisor.on-child-failed`.
    ChildFailed,
    /// `watcher.on-terminated`.
    Terminated,
    /// `reminder-target.on-reminder`.
    Reminder,
    /// `journaled.snapshot`.
    Snapshot,
}

/// By [`Hook`]; none where the component does not export it.
pub(crate) type Hooks = [Option<Arc<Method>>; 5];

/// A kind that a component exports.
#[derive(Debug)]
pub struct Kind {
    /// Its full name.
    pub name: KindName,
    /// The interface that exports it, with its version.
    pub interface: String,
    /// That interface as WIT text.
    pub wit: Arc<str>,
    /// What the manifest says of it.
    pub policy: Policy,
    /// Who may enter while one of its turns waits, as its manifest or its toolchain has it.
    pub reentrancy: Reentrancy,
    /// Why so.
    pub reentrancy_reason: String,
    /// Its methods.
    pub methods: Vec<Arc<Method>>,
    /// Those of its component.
    pub(crate) hooks: Hooks,
    pub(crate) by_name: HashMap<Arc<str>, usize>,
    pub(crate) constructor: ComponentExportIndex,
    /// Whether the constructor may answer with an error.
    pub(crate) constructor_fails: bool,
}

impl Kind {
    /// The method of that name, with its place.
    #[must_use]
    pub fn method(&self, name: &str) -> Option<(usize, &Arc<Method>)> {
        let at = *self.by_name.get(name)?;
        self.methods.get(at).map(|method| (at, method))
    }

    /// The place of that hook, if its component has it: behind its methods.
    #[must_use]
    pub fn hook(&self, hook: Hook) -> Option<usize> {
        self.hooks[hook as usize].as_ref().map(|_| self.methods.len() + hook as usize)
    }

    /// The hook at that place; none for a method's.
    #[must_use]
    pub fn hook_at(&self, at: usize) -> Option<Hook> {
        let at = at.checked_sub(self.methods.len())?;
        let all = [Hook::Timer, Hook::ChildFailed, Hook::Terminated, Hook::Reminder, Hook::Snapshot];
        all.into_iter().find(|hook| *hook as usize == at)
    }

    /// What a turn calls: the method of that place, or the hook.
    #[must_use]
    pub fn called(&self, at: usize) -> &Arc<Method> {
        let hook = || self.hooks.get(at - self.methods.len())?.as_ref();
        self.methods.get(at).or_else(hook).unwrap_or_else(|| &self.methods[at])
    }
}
