//! The seam to what is durable. Every implementation passes the same suite (`conformance`).
//!
//! A store is asked in two ways: questions are futures; writes are handed over with a `done` that
//! the store calls exactly once, from any thread, in the order in which writes of one actor were
//! handed over. Writes of many actors share one durable step (group commit).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use quark_core::commit::{Commit, CommitError};
use quark_core::envelope::{Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::journal::{self, Entry};
use quark_core::reminders::{Fired, Place, Reminder};
use quark_core::state::Value;
use serde::{Deserialize, Serialize};

mod reminders;
pub mod memory;
pub mod redb;

#[cfg(test)]
mod conformance;

/// What a claim gives: the actor is this activation's until somebody claims it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Grows over all claims of this actor, also over restarts.
    pub generation: u64,
    /// Of the last commit; 0 for an actor that never wrote.
    pub etag: u64,
    /// The actor's values.
    pub values: BTreeMap<Arc<str>, Value>,
    /// The names of its reminders.
    pub reminders: Vec<Arc<str>>,
}

/// An actor's values as last committed, read without a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Of the last commit; at least 1.
    pub etag: u64,
    /// The actor's values.
    pub values: BTreeMap<Arc<str>, Value>,
}

/// A component as deployed under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// The deployment's name.
    pub name: String,
    /// Grows with each deploy under this name; 1 is the first.
    pub version: u64,
    /// SHA-256 of the component's bytes, hexadecimal.
    pub hash: String,
    /// The manifest's text as given; empty when none was.
    pub manifest: String,
    /// When it was deployed: milliseconds since 1970.
    pub at_ms: u64,
    /// The kinds that it exports.
    pub kinds: Vec<KindName>,
}

/// Why a store gave no answer. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or has no room now; a repeat is safe.
    #[error("the store is unavailable: {reason}; nothing was written, try again in {retry_ms} ms")]
    Unavailable {
        /// For people.
        reason: String,
        /// Milliseconds until a repeat can help.
        retry_ms: u64,
    },
    /// What it holds cannot be read: damaged, or written by a newer version.
    #[error("the store holds a row that cannot be read ({0}); nothing was changed")]
    Damaged(String),
}

/// Whether the store takes writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Writable,
    /// It refuses them for this reason; reads go on.
    ReadOnly(String),
}

/// Called once with the outcome of a write, from any thread; it must not block.
pub type Done<T> = Box<dyn FnOnce(Result<T, CommitError>) + Send>;

/// The most rows that one question answers.
pub const PAGE_MAX: usize = 1024;
/// An answer of outbox rows ends after the row that brings it to this many bytes.
pub const PAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most versions of a deployment that are kept, the current one included; with an older one its
/// component goes too.
pub const VERSIONS_MAX: usize = 10;

/// Where state, outbox and deployments live.
pub trait Store: Send + Sync + 'static {
    /// Makes the caller the actor's only writer and loads its values, in one step: from now on a
    /// commit of any older generation is `Fenced`.
    fn claim<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Claim, StoreError>>;

    /// Gives a claim back; a no-op when that generation is not the newest. Call it only when no
    /// commit of the generation is under way.
    fn release(&self, actor: &ActorId, generation: u64);

    /// Applies a commit whole or not at all: the claim's generation and the e-tag
    /// (`commit.etag - 1` is the stored one) are checked in the same step; a tell that it handles
    /// leaves the outbox, the tells that it sends enter it under `commit.tell_id(place)`, and the journal
    /// gets the events that it appends and its snapshot. When the
    /// handled tell is not in the outbox any more the commit is refused as `Conflict`: it was
    /// handled before. The reminder that it fired moves on, unless its row is another one by now or at another
    /// time, and then those that it registers and unregisters are as it says. Answers whether one moved on.
    fn commit(&self, commit: Commit, done: Done<bool>);

    /// Puts a tell from outside into the outbox, under an id that no other tell ever has.
    fn accept(&self, tell: Tell, done: Done<TellId>);

    /// Removes a tell that will never be handled; done also when it is not there.
    fn discard(&self, id: TellId, done: Done<()>);

    /// Outbox rows after that id (all, with `None`), in the order of their ids: for one sender the
    /// order in which it sent. At most `limit`, itself at most [`PAGE_MAX`], and about
    /// [`PAGE_BYTES_MAX`]: only an empty answer is the end.
    fn outbox<'a>(
        &'a self,
        after: Option<&'a TellId>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(TellId, Tell)>, StoreError>>;

    /// Moves a reminder's row on without a turn of its actor's, if it stands yet as it was: whether it did.
    fn move_reminder(&self, fired: Fired, done: Done<bool>);

    /// Reminders behind that place (all, with `None`), in the order in which they fire. At most `limit`, itself
    /// at most [`PAGE_MAX`]: only an empty answer is the end.
    fn due<'a>(&'a self, after: Option<&'a Place>, limit: usize) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>>;

    /// An actor's reminders, by name.
    fn reminders<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Vec<Reminder>, StoreError>>;

    /// The actor's values without claiming it; none for an actor that never wrote.
    fn read<'a>(&'a self, actor: &'a ActorId) -> BoxFuture<'a, Result<Option<Snapshot>, StoreError>>;

    /// Events of the actor's journal from that number on, in order; those that were dropped are left
    /// out. At most `limit`, itself at most [`PAGE_MAX`], and about [`PAGE_BYTES_MAX`]: only an empty
    /// answer is the end.
    fn journal<'a>(
        &'a self,
        actor: &'a ActorId,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Entry>, StoreError>>;

    /// The newest snapshot of the actor's journal, if one was ever taken.
    fn journal_snapshot<'a>(
        &'a self,
        actor: &'a ActorId,
    ) -> BoxFuture<'a, Result<Option<journal::Snapshot>, StoreError>>;

    /// Keys of a kind's actors that have ever written, after that key, in order; at most `limit`.
    fn keys<'a>(
        &'a self,
        kind: &'a KindName,
        after: Option<&'a Key>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Key>, StoreError>>;

    /// Stores a deployment and its component's bytes in one step, in place of one of that name,
    /// which is kept as an earlier version: the newest [`VERSIONS_MAX`] of each name. Components
    /// that none of them names are dropped.
    fn deploy(&self, deployment: Deployment, component: Arc<[u8]>, done: Done<()>);

    /// All deployments, by name.
    fn deployments(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>>;

    /// The versions that others replaced, by name and version.
    fn earlier_versions(&self) -> BoxFuture<'_, Result<Vec<Deployment>, StoreError>>;

    /// A component's bytes by its hash.
    fn component<'a>(&'a self, hash: &'a str) -> BoxFuture<'a, Result<Option<Arc<[u8]>>, StoreError>>;

    /// Whether it takes writes now.
    fn health(&self) -> StoreHealth;

    /// Finishes all writes handed over, then lets go of files and connections. Later writes are
    /// `Unavailable`.
    fn close(&self) -> BoxFuture<'_, ()>;
}
