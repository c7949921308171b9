//! What every store must do: one suite, run for each.
//!
//! `suite!(make)` expands to one test per case; `make` gives an empty store and whatever must live
//! as long as it.

mod journal;
mod reminders;
mod tells;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use quark_core::commit::{Commit, CommitError, Write};
use quark_core::envelope::{Chain, Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::reminders::{Missed, Reminder, ReminderId, Schedule};
use quark_core::state::Change;
use tokio::sync::oneshot;

use super::{Claim, Deployment, Snapshot, Store, StoreHealth, VERSIONS_MAX};

pub(super) use self::journal::{
    a_refused_commit_appends_nothing, a_snapshot_replaces_the_one_before_and_drops_what_it_may, entry,
    journal_pages_end_in_an_empty_one, journals_are_read_in_order_and_in_pages,
};
pub(super) use self::reminders::{
    a_reminder_moves_on_with_the_commit_it_fired, reminders_come_in_the_order_in_which_they_fire,
    reminders_move_on_without_a_turn, what_a_turn_registers_wins,
};
pub(super) use self::tells::{
    a_tell_is_handled_once, outbox_pages_end_in_an_empty_one, tells_from_outside_have_ids_of_their_own,
    tells_stay_in_order_until_handled,
};

pub(super) type Fresh = (Arc<dyn Store>, Box<dyn Any>);

macro_rules! suite {
    ($make:expr; $($case:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let (store, _kept) = $make();
            $crate::store::conformance::$case(store.as_ref()).await;
            store.close().await;
        })*
    };
    ($make:expr) => {
        $crate::store::conformance::suite! { $make;
            a_new_actor_has_nothing
            commits_change_what_they_name
            a_newer_claim_fences_the_older
            a_release_ends_a_claim
            another_etag_is_a_conflict
            tells_stay_in_order_until_handled
            a_tell_is_handled_once
            tells_from_outside_have_ids_of_their_own
            a_bad_commit_spoils_no_other
            outbox_pages_end_in_an_empty_one
            journals_are_read_in_order_and_in_pages
            a_snapshot_replaces_the_one_before_and_drops_what_it_may
            a_refused_commit_appends_nothing
            journal_pages_end_in_an_empty_one
            keys_are_paged_in_order
            odd_texts_do_not_run_into_each_other
            large_values_come_back
            reminders_come_in_the_order_in_which_they_fire
            a_reminder_moves_on_with_the_commit_it_fired
            what_a_turn_registers_wins
            reminders_move_on_without_a_turn
            a_deploy_keeps_earlier_versions
            outcomes_keep_the_order_of_their_actor
            a_closed_store_refuses
        }
    };
}
pub(super) use suite;

pub(super) fn actor(key: &str) -> ActorId {
    actor_of("t:t/t#cart", key)
}

fn actor_of(kind: &str, key: &str) -> ActorId {
    ActorId { kind: KindName::parse(kind).unwrap(), key: Key::parse(key).unwrap() }
}

pub(super) fn tell(to: &str, arguments: &[u8]) -> Tell {
    let mut chain = Chain { request_id: "r-1".into(), principal: Some("p".into()), ..Chain::default() };
    assert!(chain.set_header("a", "b"));
    Tell { to: actor(to), method: "deposit".into(), arguments: arguments.into(), chain }
}

pub(super) fn reminder(key: &str, name: &str, at: u64) -> Reminder {
    let id = ReminderId { actor: actor(key), name: name.into() };
    let (schedule, payload) = (Schedule::Cron("*/5 * * * *".into()), Arc::from(&[200; 40][..]));
    Reminder { id, schedule, missed: Missed::Skip, payload, revision: 1, due: at, at, tries: 0 }
}

/// The claim's next commit: sets values, deletes those without one.
pub(super) fn write(actor: &ActorId, claim: &Claim, values: &[(&str, Option<&[u8]>)]) -> Commit {
    let change = |(name, value): &(&str, Option<&[u8]>)| Change { name: (*name).into(), value: value.map(Into::into) };
    let write = Write { changes: values.iter().map(change).collect(), ..Write::default() };
    Commit { actor: actor.clone(), generation: claim.generation, etag: claim.etag + 1, write }
}

pub(super) async fn commit(store: &dyn Store, commit: Commit) -> Result<(), CommitError> {
    let (done, outcome) = oneshot::channel();
    store.commit(commit, Box::new(|ended| done.send(ended).unwrap()));
    outcome.await.unwrap().map(drop)
}

/// Commits and counts the claim on.
pub(super) async fn set(store: &dyn Store, actor: &ActorId, claim: &mut Claim, values: &[(&str, Option<&[u8]>)]) {
    commit(store, write(actor, claim, values)).await.unwrap();
    claim.etag += 1;
}

pub(super) async fn accept(store: &dyn Store, tell: Tell) -> Result<TellId, CommitError> {
    let (done, outcome) = oneshot::channel();
    store.accept(tell, Box::new(|ended| done.send(ended).unwrap()));
    outcome.await.unwrap()
}

async fn deploy(store: &dyn Store, deployment: Deployment, component: &[u8]) {
    let (done, outcome) = oneshot::channel();
    store.deploy(deployment, component.into(), Box::new(|ended| done.send(ended).unwrap()));
    outcome.await.unwrap().unwrap();
}

pub(super) fn values(snapshot: Option<Snapshot>) -> Vec<(String, Vec<u8>)> {
    let values = snapshot.map(|snapshot| snapshot.values).unwrap_or_default();
    values.iter().map(|(name, value)| (name.to_string(), value.to_vec())).collect()
}

pub(super) async fn outbox_ids(store: &dyn Store) -> Vec<TellId> {
    store.outbox(None, 100).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

pub(super) async fn a_new_actor_has_nothing(store: &dyn Store) {
    let claim = store.claim(&actor("a")).await.unwrap();
    assert_eq!((claim.etag, claim.values.len()), (0, 0));
    assert_eq!(store.read(&actor("a")).await.unwrap(), None);
    assert_eq!(store.keys(&actor("a").kind, None, 10).await.unwrap(), [], "a claim writes nothing");
    assert_eq!(store.outbox(None, 10).await.unwrap(), []);
    assert_eq!(store.deployments().await.unwrap(), []);
    assert_eq!(store.component("none").await.unwrap(), None);
    assert_eq!(store.health(), StoreHealth::Writable);
}

pub(super) async fn commits_change_what_they_name(store: &dyn Store) {
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    set(store, &a, &mut claim, &[("one", Some(b"1")), ("two", Some(b"2")), ("", Some(b""))]).await;
    set(store, &a, &mut claim, &[("one", None), ("two", Some(b"22")), ("missing", None)]).await;
    let expect = [(String::new(), b"".to_vec()), ("two".into(), b"22".to_vec())];
    assert_eq!(values(store.read(&a).await.unwrap()), expect);
    let again = store.claim(&a).await.unwrap();
    assert_eq!((again.etag, again.values.len()), (2, 2));
    assert!(again.generation > claim.generation);
}

pub(super) async fn a_newer_claim_fences_the_older(store: &dyn Store) {
    let a = actor("a");
    let mut old = store.claim(&a).await.unwrap();
    set(store, &a, &mut old, &[("v", Some(b"old"))]).await;
    let mut new = store.claim(&a).await.unwrap();
    assert_eq!(new.etag, 1, "a claim sees every commit that was done before");
    assert_eq!(commit(store, write(&a, &old, &[("v", Some(b"late"))])).await, Err(CommitError::Fenced));
    store.release(&a, old.generation);
    set(store, &a, &mut new, &[("v", Some(b"new"))]).await;
    assert_eq!(values(store.read(&a).await.unwrap()), [("v".into(), b"new".to_vec())]);
}

pub(super) async fn a_release_ends_a_claim(store: &dyn Store) {
    let a = actor("a");
    let claim = store.claim(&a).await.unwrap();
    store.release(&a, claim.generation);
    store.release(&a, claim.generation);
    assert_eq!(commit(store, write(&a, &claim, &[("v", Some(b"x"))])).await, Err(CommitError::Fenced));
    let unclaimed = Claim { generation: claim.generation + 1, ..claim };
    assert_eq!(commit(store, write(&a, &unclaimed, &[])).await, Err(CommitError::Fenced));
    assert_eq!(store.read(&a).await.unwrap(), None);
}

pub(super) async fn another_etag_is_a_conflict(store: &dyn Store) {
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    set(store, &a, &mut claim, &[("v", Some(b"1"))]).await;
    for etag in [0, 1, 3, u64::MAX] {
        let wrong = Commit { etag, ..write(&a, &claim, &[("v", Some(b"wrong"))]) };
        assert_eq!(commit(store, wrong).await, Err(CommitError::Conflict));
    }
    assert_eq!(values(store.read(&a).await.unwrap()), [("v".into(), b"1".to_vec())]);
}

pub(super) async fn a_bad_commit_spoils_no_other(store: &dyn Store) {
    let (a, b) = (actor("a"), actor("b"));
    let old = store.claim(&b).await.unwrap();
    let from_a = store.claim(&a).await.unwrap();
    let from_b = store.claim(&b).await.unwrap();
    let mut gone = write(&b, &from_b, &[("v", Some(b"gone"))]);
    gone.write.handled = Some(TellId { from: None, sequence: 1 });
    gone.write.tells = vec![tell("c", b"lost")];
    let next = |claim: &Claim, by| Claim { etag: claim.etag + by, ..claim.clone() };
    let all = [
        (write(&a, &from_a, &[("v", Some(b"1"))]), Ok(())),
        (write(&b, &old, &[("v", Some(b"old"))]), Err(CommitError::Fenced)),
        (write(&a, &next(&from_a, 1), &[("v", Some(b"2"))]), Ok(())),
        (gone, Err(CommitError::Conflict)),
        (write(&a, &next(&from_a, 1), &[("v", Some(b"twice"))]), Err(CommitError::Conflict)),
        (write(&b, &from_b, &[("v", Some(b"1"))]), Ok(())),
        (write(&a, &next(&from_a, 2), &[("v", Some(b"3"))]), Ok(())),
    ];
    let mut outcomes = Vec::new();
    for (one, _) in &all {
        let (done, outcome) = oneshot::channel();
        store.commit(one.clone(), Box::new(|ended| done.send(ended).unwrap()));
        outcomes.push(outcome);
    }
    for (outcome, (one, expect)) in outcomes.into_iter().zip(all) {
        assert_eq!(outcome.await.unwrap().map(drop), expect, "{one:?}");
    }
    assert_eq!(values(store.read(&a).await.unwrap()), [("v".into(), b"3".to_vec())]);
    assert_eq!(values(store.read(&b).await.unwrap()), [("v".into(), b"1".to_vec())]);
    assert_eq!(outbox_ids(store).await, []);
}

pub(super) async fn keys_are_paged_in_order(store: &dyn Store) {
    let mut expect: Vec<_> = (0..25).map(|n| format!("k{n}")).collect();
    for key in &expect {
        let mut claim = store.claim(&actor(key)).await.unwrap();
        set(store, &actor(key), &mut claim, &[("a", Some(b"1")), ("b", Some(b"2"))]).await;
    }
    for other in ["t:t/t#car", "t:t/t#cart2"] {
        let other = actor_of(other, "k1");
        let mut claim = store.claim(&other).await.unwrap();
        set(store, &other, &mut claim, &[("a", Some(b"1"))]).await;
    }
    expect.sort();
    let mut got: Vec<String> = Vec::new();
    loop {
        let after = got.last().map(|key| Key::parse(key).unwrap());
        let page = store.keys(&actor("k").kind, after.as_ref(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        got.extend(page.iter().map(|key| key.as_str().to_owned()));
    }
    assert_eq!(got, expect);
    assert_eq!(store.keys(&actor("k").kind, None, 0).await.unwrap(), []);
}

pub(super) async fn odd_texts_do_not_run_into_each_other(store: &dyn Store) {
    let kinds = ["a:b/c#d", "a:b/c#d\0", "a:b/c#de", "a"];
    let texts =
        ["k", "k\0", "k\0\0", "k\u{1}", "k/", "k#", "k%2F", "k l", "kk", "ключ", "k\u{10ffff}", "\0", "\u{7f}", "é"];
    let name = |n: usize| format!("{}!", texts[n]);
    for kind in kinds {
        for (n, key) in texts.iter().enumerate() {
            let one = actor_of(kind, key);
            let mut claim = store.claim(&one).await.unwrap();
            assert_eq!(claim.etag, 0, "{one:?}");
            let mark = format!("{kind}{key}");
            let more = name(n);
            set(store, &one, &mut claim, &[("", Some(mark.as_bytes())), (&more, Some(b"x")), (key, Some(b"y"))]).await;
            let mut sending = write(&one, &claim, &[]);
            sending.write.tells = vec![tell(key, mark.as_bytes())];
            commit(store, sending).await.unwrap();
        }
    }
    for kind in kinds {
        for (n, key) in texts.iter().enumerate() {
            let stored = store.read(&actor_of(kind, key)).await.unwrap();
            let mark = format!("{kind}{key}").into_bytes();
            let mut expect = vec![(String::new(), mark), (name(n), b"x".to_vec()), ((*key).to_owned(), b"y".to_vec())];
            expect.sort();
            assert_eq!(values(stored), expect);
        }
        let mut expect = texts.to_vec();
        expect.sort_unstable();
        let got = store.keys(&KindName::parse(kind).unwrap(), None, 100).await.unwrap();
        assert!(got.iter().map(Key::as_str).eq(expect.iter().copied()), "{got:?}");
        for (n, key) in expect.iter().enumerate() {
            let after = Key::parse(key).unwrap();
            let next = store.keys(&KindName::parse(kind).unwrap(), Some(&after), 1).await.unwrap();
            assert_eq!(next.first().map(Key::as_str), expect.get(n + 1).copied());
        }
    }
    let rows = store.outbox(None, 1000).await.unwrap();
    assert_eq!(rows.len(), kinds.len() * texts.len());
    assert!(rows.is_sorted_by(|(one, _), (two, _)| one < two), "rows sort as ids do");
    for (id, tell) in rows {
        let from = id.from.unwrap();
        assert_eq!(format!("{}{}", from.kind, from.key).into_bytes(), tell.arguments);
    }
}

pub(super) async fn large_values_come_back(store: &dyn Store) {
    let a = actor("a");
    let mut claim = store.claim(&a).await.unwrap();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n ^ (n >> 8)) as u8).collect();
    set(store, &a, &mut claim, &[("large", Some(&large)), ("small", Some(b"s"))]).await;
    set(store, &a, &mut claim, &[("small", Some(b"t"))]).await;
    let got = store.claim(&a).await.unwrap();
    assert!(got.values["large"][..] == large[..] && got.values["small"][..] == b"t"[..]);
    let id = accept(store, tell("b", &large)).await.unwrap();
    assert_eq!(store.outbox(None, 1).await.unwrap(), [(id, tell("b", &large))]);
}

pub(super) async fn a_deploy_keeps_earlier_versions(store: &dyn Store) {
    let deployment = |name: &str, version, hash: &str| Deployment {
        name: name.into(),
        version,
        hash: hash.into(),
        manifest: "[actor]\nname = \"é\"".into(),
        at_ms: 1_700_000_000_000,
        kinds: vec![actor("a").kind],
    };
    let (one, two, other) = (deployment("n", 1, "h1"), deployment("n", 2, "h2"), deployment("m", 1, "h1"));
    assert_eq!(store.earlier_versions().await.unwrap(), []);
    deploy(store, one.clone(), b"first").await;
    assert_eq!(store.deployments().await.unwrap(), std::slice::from_ref(&one));
    deploy(store, other.clone(), b"first").await;
    assert_eq!(store.earlier_versions().await.unwrap(), []);
    deploy(store, two.clone(), b"second").await;
    assert_eq!(store.deployments().await.unwrap(), [other.clone(), two.clone()]);
    assert_eq!(store.earlier_versions().await.unwrap(), std::slice::from_ref(&one));
    let component = async |hash: &str| store.component(hash).await.unwrap();
    assert_eq!(component("h1").await.as_deref(), Some(&b"first"[..]));
    assert_eq!(component("h2").await.as_deref(), Some(&b"second"[..]));
    // As many as are kept, one of them the current one; the oldest goes, but its component is used.
    let mut kept = vec![one, two];
    for version in 3..=VERSIONS_MAX as u64 + 1 {
        kept.push(deployment("n", version, &format!("h{version}")));
        deploy(store, kept[kept.len() - 1].clone(), b"next").await;
    }
    assert_eq!(store.earlier_versions().await.unwrap(), kept[1..VERSIONS_MAX]);
    assert!(component("h1").await.is_some(), "another deployment uses it");
    deploy(store, deployment("m", 2, "h2"), b"second").await;
    deploy(store, deployment("n", 90, "h90"), b"next").await;
    assert!(component("h2").await.is_some(), "another deployment uses it");
    deploy(store, deployment("n", 91, "h90"), b"next").await;
    assert_eq!(component("h3").await, None, "nobody uses it");
    assert!(component("h1").await.is_some() && component("h90").await.is_some(), "an earlier version uses it");
    let names: Vec<_> = store.earlier_versions().await.unwrap().into_iter().map(|it| (it.name, it.version)).collect();
    assert_eq!(
        (names.len(), names[0].clone(), &names[names.len() - 1]),
        (VERSIONS_MAX, ("m".into(), 1), &("n".into(), 90))
    );
}

/// Threads that hand over writes of their own actors without waiting, and a rival that claims
/// them now and then. What is told must be in order, and what is stored must be what was told.
pub(super) async fn outcomes_keep_the_order_of_their_actor(store: &dyn Store) {
    const THREADS: usize = 8;
    const ROUNDS: u64 = 12;
    const WRITES: u64 = 20;
    let block_on = tokio::runtime::Handle::current();
    let work = |thread: usize| {
        let one = actor(&format!("a{thread}"));
        let mut landed = 0;
        for round in 0..ROUNDS {
            let claim = block_on.block_on(store.claim(&one)).unwrap();
            assert!(claim.etag >= landed, "a claim sees what was told");
            let stored = claim.values.get("n").map_or(0, |n| u64::from_be_bytes(n[..].try_into().unwrap()));
            assert_eq!(stored, claim.etag, "a claim sees whole commits");
            let (told, outcomes) = std::sync::mpsc::channel();
            for n in 1..=WRITES {
                let etag = claim.etag + n;
                let at = Claim { etag: etag - 1, ..claim.clone() };
                let told = told.clone();
                let done = Box::new(move |ended| told.send((etag, ended)).unwrap());
                store.commit(write(&one, &at, &[("n", Some(&etag.to_be_bytes()))]), done);
            }
            // The next claim comes while some of these are still queued or being written.
            let first: Vec<_> = outcomes.iter().take(round as usize % 4).collect();
            std::thread::sleep(Duration::from_micros(round * 40));
            let next = block_on.block_on(store.claim(&one)).unwrap();
            drop(told);
            let all: Vec<_> = first.into_iter().chain(outcomes.iter()).collect();
            assert!(all.iter().map(|(etag, _)| *etag).eq(claim.etag + 1..=claim.etag + WRITES), "in order");
            let ended = all.iter().take_while(|(_, ended)| ended.is_ok()).count() as u64;
            assert_eq!(claim.etag + ended, next.etag, "no write of an older claim after a newer one loaded");
            assert!(all[ended as usize..].iter().all(|(_, ended)| *ended == Err(CommitError::Fenced)));
            landed = next.etag;
            store.release(&one, next.generation);
        }
    };
    tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                scope.spawn(move || work(thread));
            }
        });
    });
}

pub(super) async fn a_closed_store_refuses(store: &dyn Store) {
    let a = actor("a");
    let claim = store.claim(&a).await.unwrap();
    store.close().await;
    store.close().await;
    let ended = commit(store, write(&a, &claim, &[("v", Some(b"x"))])).await;
    assert!(matches!(ended, Err(CommitError::Unavailable { retry_ms: 1.. })));
    assert!(store.claim(&a).await.is_err() && store.read(&a).await.is_err());
    assert!(matches!(store.health(), StoreHealth::ReadOnly(_)));
}
