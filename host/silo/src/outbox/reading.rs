//! How far the store's rows have been read, when not all of them fit in memory.
//!
//! A pass goes through the rows in the order of their ids, a page at a time, and stops where memory
//! is full. So a backlog is read once, however long it is. A row that is sent during a pass lies
//! either behind the cursor, and is held at once, or before it, and will be read.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use quark_core::envelope::{Tell, TellId};

use crate::store::PAGE_MAX;

/// The most rows that may be sent, and be over, while one page is read; with more it is read again.
const MEANWHILE_MAX: (usize, usize) = (PAGE_MAX, 65_536);

/// What must be read.
#[derive(Debug)]
pub(super) enum Reading {
    /// Nothing: all rows of the store are held.
    Done,
    Pass(Pass),
}

/// One way through the store.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// The row that was read last.
    cursor: Option<TellId>,
    /// A row behind the cursor was let go of: another pass must follow.
    again: bool,
    page: Option<Page>,
}

/// What happens while a page is read, which may or may not show it.
#[derive(Debug, Default)]
struct Page {
    sent: BTreeMap<TellId, Arc<Tell>>,
    ended: HashSet<TellId>,
    spoiled: bool,
}

/// What becomes of a row that was sent just now.
pub(super) enum Place {
    /// It is to be held; [`Reading::miss`] when it cannot be.
    Here,
    /// It will be read.
    Later,
}

impl Reading {
    /// Reads all from the beginning.
    pub(super) fn pass() -> Self {
        Self::Pass(Pass::default())
    }

    /// Whether a page can be asked for.
    pub(super) const fn wants_page(&self) -> bool {
        matches!(self, Self::Pass(pass) if pass.page.is_none())
    }

    /// A row is durable now.
    pub(super) fn sent(&mut self, id: &TellId, tell: &Arc<Tell>) -> Place {
        let Self::Pass(pass) = self else { return Place::Here };
        if Some(id) <= pass.cursor.as_ref() {
            // What follows a row that was let go of must not overtake it.
            return if pass.again { Place::Later } else { Place::Here };
        }
        if let Some(page) = &mut pass.page {
            page.sent.insert(id.clone(), tell.clone());
            page.spoiled |= page.sent.len() > MEANWHILE_MAX.0;
        }
        Place::Later
    }

    /// A row that was to be held was let go of.
    pub(super) fn miss(&mut self) {
        match self {
            Self::Done => *self = Self::pass(),
            Self::Pass(pass) => pass.again = true,
        }
    }

    /// Rows may be in the store of which nobody told. What is told of after them must not overtake
    /// them, so a page that may lack them does not count.
    pub(super) fn doubt(&mut self) {
        self.miss();
        if let Self::Pass(Pass { page: Some(page), .. }) = self {
            page.spoiled = true;
        }
    }

    /// A row is gone from the store.
    pub(super) fn ended(&mut self, id: &TellId) {
        if let Self::Pass(Pass { page: Some(page), .. }) = self {
            page.ended.insert(id.clone());
            page.spoiled |= page.ended.len() > MEANWHILE_MAX.1;
        }
    }

    /// A page is being asked for: the rows after this one.
    pub(super) fn begin_page(&mut self) -> Option<TellId> {
        let Self::Pass(pass) = self else { return None };
        pass.page = Some(Page::default());
        pass.cursor.clone()
    }

    /// The row that is next is left out.
    pub(super) fn skip(&mut self, id: TellId) {
        if let Self::Pass(pass) = self {
            pass.cursor = pass.cursor.take().max(Some(id));
        }
    }

    /// The page could not be read.
    pub(super) fn drop_page(&mut self) {
        if let Self::Pass(pass) = self {
            pass.page = None;
        }
    }

    /// A page has been read. Gives its rows to `hold`, in order, until that says no; those that
    /// are over meanwhile are left out, and those that were sent meanwhile are put in.
    pub(super) fn end_page(
        &mut self,
        rows: Vec<(TellId, Arc<Tell>)>,
        mut hold: impl FnMut(&TellId, Arc<Tell>) -> bool,
    ) {
        let Self::Pass(pass) = self else { return };
        let Some(page) = pass.page.take().filter(|page| !page.spoiled) else { return };
        let last = rows.last().map(|(id, _)| id.clone());
        let mut all = page.sent;
        if let Some(last) = &last {
            // The next page shows them.
            all.retain(|id, _| id <= last);
        }
        all.extend(rows);
        for (id, tell) in all {
            if !page.ended.contains(&id) && !hold(&id, tell) {
                return;
            }
            pass.cursor = Some(id);
        }
        if last.is_none() {
            *self = if pass.again { Self::pass() } else { Self::Done };
        }
    }
}
