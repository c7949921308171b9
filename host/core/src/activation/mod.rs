//! One actor awake: who may enter, which turns run, what leaves when.

mod gate;
mod mailbox;
mod overlap;
mod turns;

pub use mailbox::{CONTROL_MAX, Mailbox, MailboxBounds, Message, Returns};
pub use overlap::{OVERLAP_MAX, Overlap, RETURNS_MAX};
pub use turns::{
    Admitted, Landed, PENDING_BYTES_MAX, PENDING_COMMITS_MAX, Phase, Point, Refusal, Refused, Step, Turn, Turns, Why,
};
