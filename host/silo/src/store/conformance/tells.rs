//! The outbox's part of the suite.

use quark_core::commit::CommitError;
use quark_core::envelope::{Tell, TellId};
use quark_core::id::ActorId;
use tokio::sync::oneshot;

use super::{accept, actor, commit, outbox_ids, set, tell, values, write};
use crate::store::{Claim, PAGE_BYTES_MAX, Store};

pub(in crate::store) async fn tells_stay_in_order_until_handled(store: &dyn Store) {
    let (a, b) = (actor("a"), actor("b"));
    let mut from_a = store.claim(&a).await.unwrap();
    let mut from_b = store.claim(&b).await.unwrap();
    send(store, &b, &mut from_b, vec![tell("c", b"b0")]).await;
    let many: Vec<_> = (0..20u8).map(|place| tell("c", &[place, 0, 255])).collect();
    send(store, &a, &mut from_a, many.clone()).await;
    send(store, &a, &mut from_a, vec![tell("c", b"a1")]).await;
    let rows = store.outbox(None, 100).await.unwrap();
    let sent: Vec<_> = rows.iter().filter(|(id, _)| id.from.as_ref() == Some(&a)).map(|(_, tell)| tell).collect();
    assert!(many.iter().chain([&tell("c", b"a1")]).eq(sent), "in the order in which it sent, as it was sent");
    assert_eq!(rows.len(), 22);
    assert!(rows.is_sorted_by(|(one, _), (two, _)| one < two));
    assert_eq!(store.outbox(Some(&rows[4].0), 3).await.unwrap(), rows[5..8]);

    let mut c = store.claim(&actor("c")).await.unwrap();
    let mut handling = write(&actor("c"), &c, &[("v", Some(b"got"))]);
    handling.write.handled = Some(rows[3].0.clone());
    commit(store, handling).await.unwrap();
    c.etag += 1;
    discard(store, rows[0].0.clone()).await;
    discard(store, rows[0].0.clone()).await;
    let left = outbox_ids(store).await;
    assert!(left.len() == 20 && !left.contains(&rows[3].0) && !left.contains(&rows[0].0));
}

pub(in crate::store) async fn a_tell_is_handled_once(store: &dyn Store) {
    let b = actor("b");
    let id = accept(store, tell("b", b"x")).await.unwrap();
    let mut claim = store.claim(&b).await.unwrap();
    let mut handling = write(&b, &claim, &[("sum", Some(b"1"))]);
    handling.write.handled = Some(id.clone());
    commit(store, handling).await.unwrap();
    claim.etag += 1;
    let mut again = write(&b, &claim, &[("sum", Some(b"2"))]);
    again.write.handled = Some(id);
    again.write.tells = vec![tell("c", b"y")];
    assert_eq!(commit(store, again).await, Err(CommitError::Conflict));
    assert_eq!(values(store.read(&b).await.unwrap()), [("sum".into(), b"1".to_vec())]);
    assert_eq!(outbox_ids(store).await, []);
    set(store, &b, &mut claim, &[]).await;
}

pub(in crate::store) async fn tells_from_outside_have_ids_of_their_own(store: &dyn Store) {
    let mut ids = Vec::new();
    for n in 0..10 {
        ids.push(accept(store, tell("b", &[n])).await.unwrap());
    }
    assert!(ids.is_sorted_by(|one, two| one < two) && ids.iter().all(|id| id.from.is_none()));
    assert_eq!(outbox_ids(store).await, ids);
}

pub(in crate::store) async fn outbox_pages_end_in_an_empty_one(store: &dyn Store) {
    let large = vec![7; PAGE_BYTES_MAX / 3 + 1];
    for _ in 0..4 {
        accept(store, tell("b", &large)).await.unwrap();
    }
    let mut pages = Vec::new();
    let mut after = None;
    loop {
        let page = store.outbox(after.as_ref(), 1000).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        pages.push(page.len());
    }
    assert_eq!(pages, [3, 1]);
}

async fn send(store: &dyn Store, from: &ActorId, claim: &mut Claim, tells: Vec<Tell>) {
    let mut sending = write(from, claim, &[]);
    sending.write.tells = tells;
    commit(store, sending).await.unwrap();
    claim.etag += 1;
}

async fn discard(store: &dyn Store, id: TellId) {
    let (done, outcome) = oneshot::channel();
    store.discard(id, Box::new(|ended| done.send(ended).unwrap()));
    outcome.await.unwrap().unwrap();
}
