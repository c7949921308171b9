//! Host functions: one file for each interface of `wit/`, of the same name.

pub(crate) mod blobs;
pub(crate) mod calls;
pub(crate) mod context;
pub(crate) mod log;
pub(crate) mod state;
