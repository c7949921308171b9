//! The journal's part of the suite.

use std::sync::Arc;

use quark_core::commit::CommitError;
use quark_core::id::ActorId;
use quark_core::journal::{Entry, Event, JournalWrite, Snapshot};

use super::{actor, actor_of, commit, write};
use crate::store::{Claim, PAGE_BYTES_MAX, Store};

pub(in crate::store) fn entry(sequence: u64, payload: &[u8]) -> Entry {
    let event = Event { name: "é.v1".into(), content_type: "".into(), payload: payload.into() };
    Entry { sequence, at_ms: 1000 + sequence, event }
}

async fn append(store: &dyn Store, of: &ActorId, claim: &mut Claim, journal: JournalWrite) {
    let mut appending = write(of, claim, &[]);
    appending.write.journal = Some(Box::new(journal));
    commit(store, appending).await.unwrap();
    claim.etag += 1;
}

fn entries(entries: impl IntoIterator<Item = Entry>) -> JournalWrite {
    JournalWrite { entries: entries.into_iter().collect(), ..JournalWrite::default() }
}

async fn all(store: &dyn Store, of: &ActorId, limit: usize) -> Vec<u64> {
    let mut found: Vec<u64> = Vec::new();
    loop {
        let page = store.journal(of, found.last().map_or(0, |last| last + 1), limit).await.unwrap();
        assert!(page.len() <= limit);
        if page.is_empty() {
            return found;
        }
        found.extend(page.iter().map(|entry| entry.sequence));
    }
}

pub(in crate::store) async fn journals_are_read_in_order_and_in_pages(store: &dyn Store) {
    let all_of = [actor("k"), actor("k\0"), actor_of("t:t/t#cartt", "k")];
    for of in &all_of {
        assert_eq!(store.journal(of, 1, 10).await.unwrap(), []);
        assert_eq!(store.journal_snapshot(of).await.unwrap(), None);
    }
    let mut claims = Vec::new();
    for of in &all_of {
        claims.push(store.claim(of).await.unwrap());
    }
    for round in 0..12 {
        for (of, claim) in all_of.iter().zip(&mut claims) {
            let (one, two) =
                (entry(2 * round + 1, of.key.as_str().as_bytes()), entry(2 * round + 2, &[round as u8; 99]));
            append(store, of, claim, entries([one, two])).await;
        }
    }
    for of in &all_of {
        for limit in [1, 5, 24, 1000] {
            assert_eq!(all(store, of, limit).await, (1..=24).collect::<Vec<_>>());
        }
        let expect = [entry(23, of.key.as_str().as_bytes()), entry(24, &[11; 99])];
        assert_eq!(store.journal(of, 23, 10).await.unwrap(), expect, "as it was appended");
        assert_eq!(store.journal(of, 25, 10).await.unwrap(), []);
        assert_eq!(store.journal(of, 0, 0).await.unwrap(), []);
    }
    let claim = store.claim(&all_of[0]).await.unwrap();
    assert_eq!(claim.values.len(), 0, "a claim does not read it");
}

pub(in crate::store) async fn a_snapshot_replaces_the_one_before_and_drops_what_it_may(store: &dyn Store) {
    let (a, b) = (actor("a"), actor("b"));
    let (mut of_a, mut of_b) = (store.claim(&a).await.unwrap(), store.claim(&b).await.unwrap());
    append(store, &b, &mut of_b, entries((1..=3).map(|sequence| entry(sequence, b"b")))).await;
    let snapshot = |sequence, bytes: &[u8]| Snapshot { sequence, at_ms: sequence, bytes: Arc::from(bytes) };
    for sequence in 1..=40 {
        let one = (sequence % 10 == 0).then(|| snapshot(sequence, &vec![sequence as u8; 3000]));
        let drop_through = if sequence == 20 || sequence == 40 { sequence - 5 } else { 0 };
        let write = JournalWrite { entries: vec![entry(sequence, b"a")], snapshot: one, drop_through };
        append(store, &a, &mut of_a, write).await;
        let newest = sequence / 10 * 10;
        let expect = (newest > 0).then(|| snapshot(newest, &vec![newest as u8; 3000]));
        assert_eq!(store.journal_snapshot(&a).await.unwrap(), expect);
        let dropped = if sequence < 20 { 0 } else { (sequence / 20) * 20 - 5 };
        assert_eq!(all(store, &a, 7).await, (dropped + 1..=sequence).collect::<Vec<_>>());
    }
    assert_eq!(all(store, &b, 7).await, [1, 2, 3]);
    assert_eq!(store.journal_snapshot(&b).await.unwrap(), None);
}

pub(in crate::store) async fn a_refused_commit_appends_nothing(store: &dyn Store) {
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    append(store, &a, &mut claim, entries([entry(1, b"x")])).await;
    let mut again = write(&a, &claim, &[]);
    again.etag = claim.etag;
    again.write.journal = Some(Box::new(entries([entry(2, b"y")])));
    assert_eq!(commit(store, again.clone()).await, Err(CommitError::Conflict));
    store.claim(&a).await.unwrap();
    again.etag = claim.etag + 1;
    assert_eq!(commit(store, again).await, Err(CommitError::Fenced));
    assert_eq!(all(store, &a, 10).await, [1]);
}

pub(in crate::store) async fn journal_pages_end_in_an_empty_one(store: &dyn Store) {
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    let large = vec![7; PAGE_BYTES_MAX / 3 + 1];
    for sequence in 1..=4 {
        append(store, &a, &mut claim, entries([entry(sequence, &large)])).await;
    }
    assert_eq!(store.journal(&a, 1, 1000).await.unwrap().len(), 3);
    assert_eq!(all(store, &a, 1000).await, [1, 2, 3, 4]);
}
