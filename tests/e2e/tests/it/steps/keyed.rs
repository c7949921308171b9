//! Calls with an idempotency key over a store that dies at every write: each has its effect once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quark_core::idempotency::IdempotencyKey;
use quark_core::state::ANSWERS;
use quark_e2e::DEADLINE;
use quark_silo::SiloConfig;
use quark_silo::api::{Failure, Format, Reply, Request};
use quark_silo::gateway::Service as _;
use quark_silo::store::Store as _;
use quark_silo::store::memory::MemoryStore;
use serde_json::{Value, json};

use super::dying::Fault;
use super::run::{Deployed, Flavour, Run, config};
use super::{Shown, WRITES_MAX, on_a_large_stack};

const MARKED: &str = "[actor.methods]\npay.idempotent = true\ndeposit.idempotent = true\n";
const PACKED_MARKED: &str =
    "[actor]\nisolation = { packed = 8 }\n[actor.methods]\npay.idempotent = true\ndeposit.idempotent = true\n";
/// How often a call is repeated after a write that nobody knows of.
const REPEATS_MAX: usize = 5;

impl Run {
    async fn keyed(&self, actor: &str, method: &str, arguments: &Value, key: Option<&str>) -> Result<Value, Failure> {
        let (kind, name) = actor.split_once('/').unwrap();
        let request = Request {
            kind: kind.into(),
            key: name.into(),
            method: method.into(),
            arguments: arguments.to_string(),
            format: Format::Json,
            timeout_ms: None,
            request_id: None,
            headers: Vec::new(),
            tell: false,
            idempotency_key: key.map(|key| IdempotencyKey::parse(key).unwrap()),
        };
        match self.silo.call(request).await? {
            Reply::Ok(text) | Reply::Err(text) => Ok(serde_json::from_str(&text).unwrap()),
            Reply::Accepted(_) => panic!("{method} is no tell"),
        }
    }

    async fn balance(&self, account: &str) -> u64 {
        let answer = self.keyed(account, "balance", &json!([]), None).await;
        answer.unwrap()["ok"].as_u64().unwrap()
    }

    /// How many answers the store has of an account.
    async fn rows(&self, account: &str) -> usize {
        let snapshot = self.store.read(&super::run::id_of("sample:bank/accounts#account", account)).await.unwrap();
        snapshot.map_or(0, |snapshot| snapshot.values.keys().filter(|name| name.starts_with(ANSWERS)).count())
    }
}

/// `account/a` pays `account/b`, the fault comes after so many writes, and whoever asked repeats it until there is
/// an answer. False when it was through before the fault.
fn pays_once(deployed: &Deployed, after: usize, fault: Fault, flavour: Flavour) -> bool {
    let shown = Shown(format!("{flavour:?}, {fault:?} after {after} writes"));
    let rows = Arc::new(MemoryStore::new());
    let mut run = deployed.start(&rows);
    run.runtime.block_on(async { run.keyed("account/a", "deposit", &json!([100]), None).await.unwrap() });
    run.store.arm(after, fault);
    let mut broken = false;
    let mut repeats = 0;
    let answer = loop {
        let answer = run.runtime.block_on(async {
            let payment = json!(["b", 5]);
            tokio::select! {
                biased;
                () = run.store.died() => None,
                answer = run.keyed("account/a", "pay", &payment, Some("k")) => Some(answer),
            }
        });
        broken |= run.store.is_over();
        repeats += 1;
        assert!(repeats <= REPEATS_MAX, "{answer:?}");
        match answer {
            Some(Ok(answer)) => break answer,
            Some(Err(error)) => assert!(broken && error.may_be_done, "{error:?}"),
            None => run = run.restart(deployed),
        }
    };
    run.store.disarm();
    assert_eq!(answer, json!({ "ok": 95 }));
    for after in ["its answer", "a restart"] {
        run.runtime.block_on(async {
            assert_eq!((run.balance("account/a").await, run.balance("account/b").await), (95, 5), "after {after}");
            let again = run.keyed("account/a", "pay", &json!(["b", 5]), Some("k")).await.unwrap();
            assert_eq!(again, json!({ "ok": 95 }), "after {after}");
            let other = run.keyed("account/a", "pay", &json!(["b", 6]), Some("k")).await.unwrap_err();
            assert_eq!(other.code, "key-reused");
            assert_eq!((run.balance("account/a").await, run.balance("account/b").await), (95, 5), "after {after}");
            assert_eq!((run.rows("a").await, run.rows("b").await), (1, 1), "one answer each");
        });
        run = run.restart(deployed);
    }
    run.kill();
    drop(shown);
    broken
}

#[test]
fn a_payment_is_made_once_whatever_write_it_dies_at() {
    on_a_large_stack(|| {
        for (sample, manifest) in [("bank", MARKED), ("async/bank", MARKED), ("async/bank", PACKED_MARKED)] {
            let flavour = Flavour { sample, manifest };
            let deployed = Deployed::new(flavour);
            for fault in Fault::ALL {
                let mut writes = 0;
                while pays_once(&deployed, writes, fault, flavour) {
                    writes += 1;
                    assert!(writes < WRITES_MAX, "it never ends");
                }
                assert_eq!(writes, 2, "the deposit there, and all the rest here");
            }
        }
    });
}

#[test]
fn an_answer_whose_time_is_over_is_forgotten_and_its_row_goes() {
    const KEYS: u64 = 70;
    on_a_large_stack(|| {
        let deployed = Deployed::new(Flavour { sample: "bank", manifest: MARKED });
        let rows = Arc::new(MemoryStore::new());
        let kept = Duration::from_millis(300);
        let run = deployed.start_as(&rows, SiloConfig { answers_kept: kept, ..config() });
        run.runtime.block_on(async {
            for n in 0..KEYS {
                run.keyed("account/a", "deposit", &json!([1]), Some(&format!("k{n}"))).await.unwrap();
            }
            let last = Instant::now();
            let end = last + DEADLINE;
            let key = format!("k{}", KEYS - 1);
            let mut balance = run.balance("account/a").await;
            assert_eq!(balance, KEYS);
            while balance == KEYS {
                assert!(Instant::now() < end, "it is remembered for ever");
                run.keyed("account/a", "deposit", &json!([1]), Some(&key)).await.unwrap();
                balance = run.balance("account/a").await;
            }
            assert!(last.elapsed() >= kept - Duration::from_millis(1), "never earlier: {:?}", last.elapsed());
            while run.rows("a").await > 0 {
                assert!(Instant::now() < end, "its rows stay for ever");
                run.keyed("account/a", "deposit", &json!([1]), None).await.unwrap();
            }
        });
        run.kill();
    });
}
