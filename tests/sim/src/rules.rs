//! The rules that hold whatever happens.

/// What was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Nothing is visible before it is durable.
    VisibleBeforeDurable,
    /// What was acknowledged survives.
    Durable,
    /// A commit is there whole or not at all.
    Torn,
    /// The commits of one actor follow each other, of one generation at a time.
    Linear,
    /// Messages and tells between two actors keep their order.
    Order,
    /// A tell is handled at most once.
    Once,
    /// A tell that was accepted is handled, or a dead letter with its reason.
    Lost,
    /// Every message ends, and in one way.
    Ends,
    /// A caller is answered by its deadline.
    Deadline,
    /// An error that says that nothing was done is right.
    Honest,
    /// One turn of an actor at a time, or those that may overlap.
    OneTurn,
    /// What overlapping turns wrote is committed when none of them is in the middle of its writes.
    Group,
    /// One holder of the token at a time.
    Token,
    /// An actor that failed is not loaded before its wait is over.
    Restart,
    /// Mailboxes and pipelines are bounded.
    Bounds,
    /// When faults have stopped, everything drains.
    Liveness,
    /// A call that would wait for itself is refused, and no other.
    Deadlock,
    /// Money is neither made nor lost.
    Sum,
    /// The machine itself panicked.
    Panic,
}

/// A rule broken, and how.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// What was seen.
    pub text: String,
}
