//! What the gateway asks of the silo behind it.

use futures_util::future::BoxFuture;

use crate::api::{
    ActivationReport, ActorReport, Contract, DeadLetter, DeployReport, DeployRequest, Failure, Health, JournalPage,
    JournalState, KindReport, LettersWanted, Moment, ReminderOperation, ReminderReports, Reply, Request,
    StateOperation, StateValue, TraceReport, TreeReport, TurnsWanted, VersionReport,
};

/// A silo, as the gateway sees it.
///
/// A `kind` is as the client wrote it, short or full; a `key` has 1 to 512 bytes. The future of a
/// [`call`](Self::call) is dropped when its client goes away; what changes something for longer
/// (`deploy`, `state`, `deactivate`, `set_stopped`, `reminder`) is always run to its end.
pub trait Service: Send + Sync + 'static {
    /// Sends a message and waits for what comes of it.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>>;

    /// Checks, compiles and admits a component.
    fn deploy(&self, request: DeployRequest) -> BoxFuture<'_, Result<DeployReport, Failure>>;

    /// What is deployed, by full name.
    fn kinds(&self) -> Vec<KindReport>;

    /// Grows whenever something else is deployed.
    fn deployed(&self) -> u64;

    /// What is deployed, as callers see it.
    fn contract(&self) -> Contract;

    /// The versions that are kept: of all deployments, or of the one that a kind belongs to.
    fn versions<'a>(&'a self, kind: Option<&'a str>) -> BoxFuture<'a, Result<Vec<VersionReport>, Failure>>;

    /// At most that many live activations, of one kind or of all.
    ///
    /// # Errors
    /// When there is no such kind, or several.
    fn activations(&self, kind: Option<&str>, limit: usize) -> Result<Vec<ActivationReport>, Failure>;

    /// Everything about one actor, live or not.
    fn inspect<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<ActorReport, Failure>>;

    /// Reads or changes one value of an actor's state; as one of its turns if it is live. With
    /// `if_match`, a change is made only while that is the e-tag, else the failure is `conflict`.
    /// Reading a name that is not there gives no bytes.
    fn state<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        name: &'a str,
        operation: StateOperation,
        if_match: Option<String>,
    ) -> BoxFuture<'a, Result<StateValue, Failure>>;

    /// Events of an actor's journal from that one on, in order; at most that many, and none at its end.
    fn journal<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<JournalPage, Failure>>;

    /// What an actor's journal came to at some moment. The actor is not woken.
    fn journal_at<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        moment: Moment,
    ) -> BoxFuture<'a, Result<JournalState, Failure>>;

    /// Has an actor leave memory, after the turns that wait; false when it was not there.
    fn deactivate<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<bool, Failure>>;

    /// Stops an actor for good, or lets it be woken again; false when it was so already. What stops it
    /// is durable, and runs behind the turns that wait.
    fn set_stopped<'a>(&'a self, kind: &'a str, key: &'a str, stop: bool) -> BoxFuture<'a, Result<bool, Failure>>;

    /// The supervision trees with at most that many actors: all of them, or the one below an actor, which is
    /// named by kind and key.
    fn tree<'a>(&'a self, root: Option<(&'a str, &'a str)>, limit: usize)
    -> BoxFuture<'a, Result<TreeReport, Failure>>;

    /// At most that many reminders: of one actor, which is named by kind and key, or of all.
    fn reminders<'a>(
        &'a self,
        of: Option<(&'a str, &'a str)>,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReminderReports, Failure>>;

    /// Fires a reminder of an actor, or takes it away.
    fn reminder<'a>(
        &'a self,
        of: (&'a str, &'a str),
        name: &'a str,
        operation: ReminderOperation,
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// The newest dead letters first.
    ///
    /// # Errors
    /// When there is no such reason.
    fn dead_letters(&self, wanted: &LettersWanted) -> Result<Vec<DeadLetter>, Failure>;

    /// Records of turns, of the kinds whose turns are recorded.
    ///
    /// # Errors
    /// When there is no such kind, or several, or the key is none.
    fn trace(&self, wanted: &TurnsWanted) -> Result<TraceReport, Failure>;

    /// Says whether turns of a kind are recorded, until the silo ends. Gives the kind's full name.
    ///
    /// # Errors
    /// When there is no such kind, or several.
    fn set_traced(&self, kind: &str, yes: bool) -> Result<String, Failure>;

    /// How the silo is; cheap, asked often.
    fn health(&self) -> Health;

    /// Metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}
