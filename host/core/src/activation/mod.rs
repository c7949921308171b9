//! One actor awake: who may enter, one turn at a time, what leaves when.

mod gate;
mod mailbox;
mod turns;

pub use mailbox::{CONTROL_MAX, Mailbox, MailboxBounds, Message};
pub use turns::{
    Admitted, Landed, PENDING_BYTES_MAX, PENDING_COMMITS_MAX, Phase, Point, Refusal, Refused, Step, Turn, Turns, Why,
};
