//! What one actor's turns stage.

use super::*;

fn register(own: &mut Own, name: &str) -> Result<(), ReminderRefusal> {
    own.register(&actor("a"), name, (Schedule::Every(SECOND), Missed::FireOnce), Arc::from(*b"p"), NEW_YEAR)
}

#[test]
fn bounds_refuse_and_keep_what_was() {
    let mut own = Own::default();
    assert_eq!(register(&mut own, ""), Err(ReminderRefusal::Name(0)));
    assert_eq!(register(&mut own, &"n".repeat(257)), Err(ReminderRefusal::Name(257)));
    let payload: Arc<[u8]> = vec![0; 4097].into();
    let large = own.register(&actor("a"), "n", (Schedule::Once(1), Missed::Skip), payload, 0);
    assert_eq!(large, Err(ReminderRefusal::Payload(4097)));
    for n in 0..REMINDERS_PER_ACTOR_MAX {
        register(&mut own, &n.to_string()).unwrap();
    }
    assert_eq!(register(&mut own, "more"), Err(ReminderRefusal::TooMany));
    register(&mut own, "7").unwrap();
    own.unregister("7");
    register(&mut own, "more").unwrap();
    assert_eq!(register(&mut own, "7"), Err(ReminderRefusal::TooMany));
    assert_eq!(own.take(&actor("a"), None).len(), REMINDERS_PER_ACTOR_MAX);
    own.unregister("8");
    register(&mut own, "7").unwrap();
    own.undo();
    assert_eq!(register(&mut own, "7"), Err(ReminderRefusal::TooMany), "what was unregistered is there again");
}

#[test]
fn changes_are_taken_once_and_what_nobody_knows_is_none() {
    let mut own = Own::new(["old".into()]);
    own.unregister("old");
    own.unregister("never");
    register(&mut own, "new").unwrap();
    let changes = own.take(&actor("a"), None);
    let [ReminderChange::Set(new), ReminderChange::Remove(old)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!((&new.id, &old), (&id("a", "new"), &&id("a", "old")));
    assert_eq!((new.due, new.at, new.tries), (NEW_YEAR + SECOND, NEW_YEAR + SECOND, 0));
    assert!(!own.is_staged() && own.take(&actor("a"), None).is_empty());
}

#[test]
fn a_turn_sees_the_rows_as_its_commit_will_leave_them() {
    let row = |name: &str| Reminder {
        id: id("a", name),
        ..reminder("a", Schedule::Every(SECOND), Missed::FireOnce, NEW_YEAR)
    };
    let rows = || vec![row("fired"), row("gone"), row("stays")];
    let mut own = Own::new(["fired", "gone", "stays"].map(Into::into));
    own.unregister("gone");
    register(&mut own, "new").unwrap();
    let to = Some(Stand::at(NEW_YEAR + 2 * SECOND));
    let fired = Fired::new(Arc::new(row("fired")), to);
    let seen = own.seen(rows(), Some(&fired));
    assert_eq!(seen.iter().map(|row| &*row.id.name).collect::<Vec<_>>(), ["fired", "new", "stays"]);
    assert_eq!(seen[0].due, NEW_YEAR + 2 * SECOND);
    let last = Fired { to: None, ..fired };
    assert_eq!(own.seen(rows(), Some(&last)).len(), 2);
    let older = Fired::new(Arc::new(Reminder { revision: 0, ..row("fired") }), None);
    assert_eq!(own.seen(rows(), Some(&older)).len(), 3, "it was registered anew since");
    own.take(&actor("a"), Some(&last));
    (0..REMINDERS_PER_ACTOR_MAX - 2).for_each(|n| register(&mut own, &n.to_string()).unwrap());
    assert_eq!(register(&mut own, "more"), Err(ReminderRefusal::TooMany), "the last time of one makes room");
}
