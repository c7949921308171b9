//! The reminders' part of the suite.

use std::sync::Arc;

use quark_core::commit::{Commit, CommitError};
use quark_core::reminders::{Fired, Missed, Place, Reminder, ReminderChange, Schedule, Stand};
use tokio::sync::oneshot;

use super::{actor, actor_of, commit, reminder, values, write};
use crate::store::{Claim, Store};

fn set(reminder: &Reminder) -> ReminderChange {
    ReminderChange::Set(Box::new(reminder.clone()))
}

/// Commits changes of an actor's reminders.
async fn change(store: &dyn Store, key: &str, claim: &mut Claim, changes: Vec<ReminderChange>) {
    let mut one = write(&actor(key), claim, &[]);
    one.write.reminders = changes;
    commit(store, one).await.unwrap();
    claim.etag += 1;
}

async fn due(store: &dyn Store) -> Vec<(u64, String)> {
    let (mut all, mut after) = (Vec::new(), None::<Place>);
    loop {
        let page = store.due(after.as_ref(), 2).await.unwrap();
        let Some(last) = page.last() else { return all };
        after = Some(last.place());
        all.extend(page.into_iter().map(|row| (row.at, format!("{}.{}", row.id.actor.key, row.id.name))));
    }
}

fn at(expect: &[(u64, &str)]) -> Vec<(u64, String)> {
    expect.iter().map(|(at, name)| (*at, (*name).to_owned())).collect()
}

pub(in crate::store) async fn reminders_come_in_the_order_in_which_they_fire(store: &dyn Store) {
    let mut a = store.claim(&actor("a")).await.unwrap();
    let mut b = store.claim(&actor("b")).await.unwrap();
    assert_eq!((due(store).await, a.reminders.clone()), (at(&[]), Vec::new()));
    let rows = [reminder("a", "late", u64::MAX), reminder("a", "é\0", 7), reminder("a", "mid", 9)];
    change(store, "a", &mut a, rows.iter().map(set).collect()).await;
    let every = Reminder {
        schedule: Schedule::Every(500),
        missed: Missed::FireAll,
        payload: Arc::from(&[][..]),
        tries: 3,
        due: 5,
        ..reminder("b", "x", 8)
    };
    change(store, "b", &mut b, vec![set(&every)]).await;
    let all = at(&[(7, "a.é\0"), (8, "b.x"), (9, "a.mid"), (u64::MAX, "a.late")]);
    assert_eq!(due(store).await, all);
    assert_eq!(store.due(Some(&rows[1].place()), 1).await.unwrap(), std::slice::from_ref(&every));
    assert_eq!(store.reminders(&actor("b")).await.unwrap(), [every]);
    let names = |rows: &[Reminder]| rows.iter().map(|row| row.id.name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&store.reminders(&actor("a")).await.unwrap()), ["late", "mid", "é\0"]);
    assert_eq!(store.claim(&actor("b")).await.unwrap().reminders, ["x".into()]);
    // Names that are close to one another's belong to whom they belong to.
    for near in [actor_of("t:t/t#cart", "a\0"), actor_of("t:t/t#car", "ta"), actor_of("t:t/t#cart\0", "a")] {
        assert_eq!(store.reminders(&near).await.unwrap(), []);
        assert_eq!(store.claim(&near).await.unwrap().reminders.len(), 0);
    }
    let removed = vec![ReminderChange::Remove(rows[1].id.clone()), set(&Reminder { at: 1, due: 1, ..rows[0].clone() })];
    let mut a = store.claim(&actor("a")).await.unwrap();
    change(store, "a", &mut a, removed).await;
    assert_eq!(due(store).await, at(&[(1, "a.late"), (8, "b.x"), (9, "a.mid")]));
    assert_eq!(store.claim(&actor("a")).await.unwrap().reminders, ["late".into(), "mid".into()]);
}

/// A commit of the turn that this row fired.
fn fires(claim: &Claim, row: &Reminder, to: Option<u64>) -> Commit {
    let mut one = write(&actor("a"), claim, &[("turn", Some(b"done"))]);
    one.write.fired = Some(Box::new(Fired::new(Arc::new(row.clone()), to.map(Stand::at))));
    one
}

pub(in crate::store) async fn a_reminder_moves_on_with_the_commit_it_fired(store: &dyn Store) {
    let mut a = store.claim(&actor("a")).await.unwrap();
    let row = reminder("a", "r", 5);
    change(store, "a", &mut a, vec![set(&row)]).await;
    let refused = Claim { etag: 7, ..a.clone() };
    assert_eq!(commit(store, fires(&refused, &row, Some(10))).await, Err(CommitError::Conflict));
    assert_eq!(due(store).await, at(&[(5, "a.r")]), "with its commit or not at all");
    commit(store, fires(&a, &row, Some(10))).await.unwrap();
    a.etag += 1;
    assert_eq!(due(store).await, at(&[(10, "a.r")]));
    // The same time once more: its turn counts, and the row stays where it is.
    commit(store, fires(&a, &row, Some(20))).await.unwrap();
    a.etag += 1;
    assert_eq!(due(store).await, at(&[(10, "a.r")]));
    assert_eq!(values(store.read(&actor("a")).await.unwrap()), [("turn".into(), b"done".to_vec())]);
    let now = row.moved(Stand::at(10));
    commit(store, fires(&a, &now, None)).await.unwrap();
    assert_eq!((due(store).await, store.reminders(&actor("a")).await.unwrap()), (at(&[]), Vec::new()));
}

pub(in crate::store) async fn what_a_turn_registers_wins(store: &dyn Store) {
    let mut a = store.claim(&actor("a")).await.unwrap();
    let row = reminder("a", "r", 5);
    change(store, "a", &mut a, vec![set(&row)]).await;
    let mut one = fires(&a, &row, Some(10));
    let anew = Reminder { revision: 2, ..reminder("a", "r", 30) };
    one.write.reminders = vec![set(&anew)];
    commit(store, one).await.unwrap();
    a.etag += 1;
    assert_eq!(store.reminders(&actor("a")).await.unwrap(), std::slice::from_ref(&anew));
    // Another registration at the very same time is another reminder.
    let old = Reminder { revision: 1, ..anew.clone() };
    commit(store, fires(&a, &old, Some(40))).await.unwrap();
    a.etag += 1;
    assert_eq!(due(store).await, at(&[(30, "a.r")]));
    let mut last = fires(&a, &anew, Some(50));
    last.write.reminders = vec![ReminderChange::Remove(anew.id.clone())];
    commit(store, last).await.unwrap();
    assert_eq!(due(store).await, at(&[]));
}

pub(in crate::store) async fn reminders_move_on_without_a_turn(store: &dyn Store) {
    let mut a = store.claim(&actor("a")).await.unwrap();
    let row = reminder("a", "r", 5);
    change(store, "a", &mut a, vec![set(&row), set(&reminder("a", "s", 6))]).await;
    let later = Stand { due: 5, at: 40, tries: 1 };
    let fired = |row: &Reminder, to| Fired::new(Arc::new(row.clone()), to);
    assert!(moves(store, fired(&row, Some(later))).await);
    assert_eq!(due(store).await, at(&[(6, "a.s"), (40, "a.r")]));
    let tried = row.moved(later);
    assert_eq!(store.reminders(&actor("a")).await.unwrap()[0], tried);
    assert!(!moves(store, fired(&Reminder { revision: 9, ..tried.clone() }, None)).await, "another registration");
    assert!(!moves(store, fired(&Reminder { due: 9, ..tried.clone() }, None)).await, "another time");
    assert!(moves(store, fired(&row, Some(Stand::at(7)))).await, "whatever was tried, it is the same time");
    assert!(moves(store, fired(&tried.moved(Stand::at(7)), None)).await);
    assert!(!moves(store, fired(&tried.moved(Stand::at(7)), None)).await, "it is gone");
    assert_eq!(due(store).await, at(&[(6, "a.s")]));
    assert_eq!(store.claim(&actor("a")).await.unwrap().etag, a.etag, "it is no commit of its actor's");
}

async fn moves(store: &dyn Store, fired: Fired) -> bool {
    let (done, outcome) = oneshot::channel();
    store.move_reminder(fired, Box::new(|ended| done.send(ended).unwrap()));
    outcome.await.unwrap().unwrap()
}
