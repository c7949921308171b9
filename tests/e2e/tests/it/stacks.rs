//! Guests that use up their stacks, one inside another: a call that runs on its caller's stack must
//! find as much room there as on any other.

use quark_e2e::{Client, Silo};
use serde_json::json;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// It imports nothing, so its turns run on their callers' stacks.
const DEEP_WIT: &str = "
package test:deep;
interface deeps {
  resource deep {
    constructor(key: string);
    go: func(depth: u32) -> u32;
  }
}
world deep-actor { export deeps; }
";

const DEEP: &str = r#"(module
  (import "[export]test:deep/deeps" "[resource-new]deep" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (func $go (param i32) (result i32)
    local.get 0 i32.eqz
    if (result i32) i32.const 0
    else local.get 0 i32.const 1 i32.sub call $go i32.const 1 i32.add end)
  (func (export "test:deep/deeps#[constructor]deep") (param i32 i32) (result i32) i32.const 1 call $new)
  (func (export "test:deep/deeps#[method]deep.go") (param i32 i32) (result i32) local.get 1 call $go)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#;

/// Goes down, and from there calls a `deep`.
const DIGGER_WIT: &str = "
package test:digger;
interface diggers {
  resource digger {
    constructor(key: string);
    dig: func(depth: u32, next: u32) -> u32;
  }
}
world digger-actor {
  import test:deep/deeps;
  export diggers;
}
";

const DIGGER: &str = r#"(module
  (import "[export]test:digger/diggers" "[resource-new]digger" (func $new (param i32) (result i32)))
  (import "test:deep/deeps" "[constructor]deep" (func $deep (param i32 i32) (result i32)))
  (import "test:deep/deeps" "[method]deep.go" (func $go (param i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $proxy (mut i32) (i32.const 0))
  (func $dig (param i32 i32) (result i32)
    local.get 0 i32.eqz
    if (result i32) global.get $proxy local.get 1 call $go
    else local.get 0 i32.const 1 i32.sub local.get 1 call $dig i32.const 1 i32.add end)
  (func (export "test:digger/diggers#[constructor]digger") (param i32 i32) (result i32)
    local.get 0 local.get 1 call $deep global.set $proxy i32.const 1 call $new)
  (func (export "test:digger/diggers#[method]digger.dig") (param i32 i32 i32) (result i32)
    local.get 1 local.get 2 call $dig)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))"#;

/// Far more than any stack holds.
const BOTTOMLESS: u32 = 10_000_000;
/// They fail on purpose, again and again, and are not to wait or to cool down for that.
const FAILS_OFTEN: &str = "[actor.supervision]\nrestarts = { within = \"1ms\" }\nbackoff = { max = \"1ms\" }\n";
/// Turns after which a component's turns are known to be short.
const SHORT_TURNS: usize = 100;

fn component(wit: &[&str], world: &str, module: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let packages: Vec<_> = wit.iter().map(|text| resolve.push_str("test.wit", text).unwrap()).collect();
    let world = resolve.select_world(&packages[packages.len() - 1..], Some(world)).unwrap();
    let mut module = wat::parse_str(module).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
    ComponentEncoder::default().module(&module).unwrap().encode().unwrap()
}

fn deployed(silo: &Silo) -> Client {
    let client = silo.client();
    let _ = client.deploy_bytes(&component(&[DEEP_WIT], "deep-actor", DEEP), FAILS_OFTEN).expect(200);
    let digger = component(&[DEEP_WIT, DIGGER_WIT], "digger-actor", DIGGER);
    let _ = client.deploy_bytes(&digger, FAILS_OFTEN).expect(200);
    for _ in 0..SHORT_TURNS {
        assert_eq!(client.call("deep/a", "go", &json!([1])).expect(200).json(), 1);
    }
    client
}

/// The deepest that still answers, of a method whose first argument is the depth.
fn deepest(client: &Client, actor: &str, method: &str, then: &[u32]) -> u32 {
    let (mut good, mut bad) = (1_u32, 1_000_000_u32);
    while bad - good > 16 {
        let depth = good.midpoint(bad);
        let arguments: Vec<u32> = [depth].iter().chain(then).copied().collect();
        let answer = client.call(actor, method, &json!(arguments));
        *(if answer.status == 200 { &mut good } else { &mut bad }) = depth;
    }
    good
}

#[test]
fn a_stack_used_up_inside_another_ends_only_its_actors() {
    let silo = Silo::start(&[]);
    let client = deployed(&silo);
    let own = deepest(&client, "digger/a", "dig", &[1]);
    let alone = deepest(&client, "deep/a", "go", &[]);
    assert!(own > 1000 && alone > 1000, "{own} and {alone}");
    for share in [4, 3, 2, 1] {
        // Warm again: after a failure its turns are watched anew.
        assert_eq!(client.call("deep/a", "go", &json!([1])).expect(200).json(), 1);
        let _ = client.call("digger/a", "dig", &json!([own * share / 4, BOTTOMLESS])).failure(502, "failed");
        assert_eq!(client.call("digger/a", "dig", &json!([1, 1])).expect(200).json(), 2);
    }
}

#[test]
fn a_call_on_its_callers_stack_has_as_much_room_as_alone() {
    let silo = Silo::start(&[]);
    let client = deployed(&silo);
    let alone = deepest(&client, "deep/a", "go", &[]);
    let own = deepest(&client, "digger/a", "dig", &[1]);
    assert_eq!(client.call("deep/a", "go", &json!([1])).expect(200).json(), 1);
    let both = client.call("digger/a", "dig", &json!([own / 100 * 99, alone / 100 * 99])).expect(200).json();
    assert_eq!(both, own / 100 * 99 + alone / 100 * 99);
}
