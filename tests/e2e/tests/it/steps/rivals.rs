//! Actors that adopt one another, and rows in which each is the other's child.

use std::sync::Arc;

use futures_util::FutureExt as _;
use quark_core::commit::{Commit, Write};
use quark_core::standing::Standing;
use quark_core::state::{Change, STANDING};
use quark_core::supervision::Lifetime;
use quark_silo::gateway::Service as _;
use quark_silo::store::Store as _;
use quark_silo::store::memory::MemoryStore;
use serde_json::{Value, json};

use super::run::{Deployed, Flavour, Name, Run, id};
use super::storm::{HANDS, PATIENT, Rng, check, seeds, start};
use super::{Shown, on_a_large_stack};

/// Those that adopt one another.
const RIVALS: [Name; 3] = ["crew/c", "crew/d", "crew/e"];
/// How often more rows are read that seem to make a ring.
const LOOKS: u32 = 8;
/// How often everybody does something then.
const RIVALRIES: u64 = 80;

impl Run {
    async fn rivalry(&self, rng: &mut Rng) {
        let parent = rng.one_of(&RIVALS);
        let child = rng.one_of(&RIVALS);
        let (kind, key) = child.split_once('/').unwrap();
        let done = match rng.below(8) {
            0 => self.silo.set_stopped(kind, key, true).await.map(Value::from),
            1 | 2 => self.silo.set_stopped(kind, key, false).await.map(Value::from),
            3 | 4 => self.silo.deactivate(kind, key).await.map(Value::from),
            _ => {
                let child = json!({"kind": id(child).kind.as_str(), "key": key});
                self.call(parent, "adopt", &json!([child, "permanent"])).await
            }
        };
        check(&format!("{parent} and {child}"), done, "");
    }

    /// Whom those rows have above one another. Rows change while they are read one after the other: a ring stays.
    fn ring(&self) -> Option<Vec<String>> {
        let seen = self.looks_like_a_ring()?;
        (0..LOOKS).all(|_| self.looks_like_a_ring().as_ref() == Some(&seen)).then_some(seen)
    }

    fn looks_like_a_ring(&self) -> Option<Vec<String>> {
        RIVALS.iter().find_map(|rival| {
            let mut line = vec![(*rival).to_owned()];
            while let Some(parent) = line.last().and_then(|last| self.parent_by_rows(last)) {
                line.push(parent);
                if line[1..].contains(&line[0]) || line.len() > RIVALS.len() {
                    return Some(line);
                }
            }
            None
        })
    }

    fn parent_by_rows(&self, child: &str) -> Option<String> {
        RIVALS.iter().map(|of| (*of).to_owned()).find(|of| self.children_by_rows(of).contains(&child.to_owned()))
    }
}

#[test]
fn a_storm_of_those_that_adopt_one_another_makes_no_ring() {
    on_a_large_stack(|| {
        let deployed = Deployed::new(Flavour { sample: "crew", manifest: PATIENT });
        for seed in seeds() {
            let shown = Shown(format!("rivals, seed {seed}"));
            let run = start(&deployed, &Arc::new(MemoryStore::new()), 1 + usize::from(seed % 2 == 0));
            run.runtime.block_on(async {
                let hands = (0..HANDS).map(|hand| {
                    let mut rng = Rng::of(seed, hand);
                    let run = &run;
                    async move {
                        for _ in 0..RIVALRIES {
                            run.rivalry(&mut rng).await;
                            assert_eq!(run.ring(), None);
                        }
                    }
                });
                futures_util::future::join_all(hands).await;
                assert_eq!(run.ring(), None);
                // Nobody waits for anybody for ever.
                for rival in RIVALS {
                    let (kind, key) = rival.split_once('/').unwrap();
                    run.silo.set_stopped(kind, key, false).await.unwrap();
                    run.call(rival, "roster", &json!([])).await.unwrap();
                }
            });
            run.kill();
            drop(shown);
        }
    });
}

/// Rows as no silo writes them.
fn write(rows: &MemoryStore, actor: Name, standing: &Standing) {
    let actor = id(actor);
    let claim = rows.claim(&actor).now_or_never().unwrap().unwrap();
    let changes = vec![Change { name: STANDING.into(), value: standing.encode() }];
    let write = Write { changes, ..Write::default() };
    let commit = Commit { actor: actor.clone(), generation: claim.generation, etag: claim.etag + 1, write };
    rows.commit(commit, Box::new(|outcome| _ = outcome.unwrap()));
    rows.release(&actor, claim.generation);
}

#[test]
fn rows_that_make_a_ring_mean_nothing() {
    on_a_large_stack(|| {
        let deployed = Deployed::new(Flavour { sample: "crew", manifest: PATIENT });
        let rows = Arc::new(MemoryStore::new());
        let [c, d, _] = RIVALS;
        for (actor, other) in [(c, d), (d, c)] {
            let mut standing = Standing { parent: Some(id(other)), ..Standing::default() };
            standing.list(&id(other), Lifetime::Permanent);
            write(&rows, actor, &standing);
        }
        let run = start(&deployed, &rows, 1);
        assert!(run.ring().is_some());
        run.runtime.block_on(async {
            assert!(run.silo.tree(Some(("crew", "c")), 1000).await.unwrap().truncated, "it ends somewhere");
            assert_eq!(run.call(c, "roster", &json!([])).await.unwrap(), json!({"ok": []}));
            assert_eq!(run.call(d, "roster", &json!([])).await.unwrap(), json!({"ok": ["c"]}));
            for _ in 0..3 {
                let _ = run.call(c, "crash", &json!([])).await.unwrap_err();
            }
            assert!(run.silo.set_stopped("crew", "d", true).await.unwrap());
        });
        assert_eq!(run.ring(), None);
        assert!(run.standing(c).stopped && run.standing(d).stopped);
        run.kill();
    });
}
