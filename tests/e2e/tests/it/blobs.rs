//! Bulk bytes: base64 at the edge, handles inside.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use quark_e2e::Silo;
use serde_json::json;

/// The default of `limits.arguments` and `limits.result`.
const LIMIT: usize = 16 << 20;

fn text(bytes: usize) -> String {
    // No byte is what stands beside it, so nothing can be shifted unseen.
    let bytes: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
    BASE64_STANDARD.encode(bytes)
}

#[test]
fn blobs_of_every_size_go_there_and_back_and_from_actor_to_actor() {
    let silo = Silo::with(&["zoo"]);
    let client = silo.client();
    for size in [0, 1, 2, 3, 1 << 20] {
        let blob = text(size);
        // Not with `assert_eq!`: nobody wants to read two of them.
        let answer = client.call("zoo/z", "echo-blob", &json!([blob]));
        assert!(answer.ok() == blob.as_str(), "{size} bytes came back as others");
        let answer = client.wave("zoo/z", "echo-blob", &format!("\"{blob}\"")).expect(200);
        assert!(answer.text() == format!("ok(\"{blob}\")"), "{size} bytes came back as others in WAVE");
        let answer = client.call("zoo/z", "blob-via", &json!(["other", blob]));
        assert!(answer.ok() == blob.as_str(), "{size} bytes came back as others from another actor");
    }
    let blob = text(LIMIT - 1024);
    let answer = client.call("zoo/z", "blob-via", &json!(["other", blob]));
    assert!(answer.ok() == blob.as_str(), "just within the limit they came back as others");
}

#[test]
fn a_blob_beyond_the_limit_is_too_large_and_harms_nobody() {
    let silo = Silo::with(&["zoo"]);
    let client = silo.client();
    let large = text(LIMIT + 1);
    let failure = client.call("zoo/z", "echo-blob", &json!([large])).failure(413, "too-large");
    assert!(failure["message"].as_str().unwrap().contains(&LIMIT.to_string()), "{failure}");
    // More than the door lets in at all.
    let body = format!("[\"{}\"]", "A".repeat(65 << 20));
    let _ = client.call_text("zoo/z", "echo-blob", &body).failure(413, "body-too-large");
    assert_eq!(client.call("zoo/z", "echo-blob", &json!(["AAEC"])).ok(), "AAEC");
}

#[test]
fn what_is_no_base64_is_refused_with_the_type() {
    let silo = Silo::with(&["zoo"]);
    let client = silo.client();
    for bad in [json!("A"), json!("A A="), json!("\u{e9}"), json!("AB=="), json!(5), json!(null), json!([0])] {
        let failure = client.call("zoo/z", "echo-blob", &json!([bad])).failure(400, "bad-arguments");
        assert!(failure["next"].as_str().is_some_and(|next| next.contains("blob")), "{bad}: {failure}");
    }
    let _ = client.wave("zoo/z", "echo-blob", "\"A\"").failure(400, "bad-arguments");
}

#[test]
fn blobs_go_through_the_command_line() {
    let silo = Silo::with(&["zoo"]);
    // One argument of a command has 128 KiB at most.
    for size in [0, 1, 90_000] {
        let blob = text(size);
        let ran = silo.cli(&["call", "zoo/z", "echo-blob", &format!("\"{blob}\"")]).exits(0);
        assert!(ran.stdout == format!("ok(\"{blob}\")\n"), "{size} bytes came back as others");
        let ran = silo.cli(&["call", "zoo/z", "blob-via", "--json", &json!(["other", blob]).to_string()]).exits(0);
        assert!(ran.json() == json!({ "ok": blob }), "{size} bytes came back as others in JSON");
    }
    let ran = silo.cli(&["call", "zoo/z", "echo-blob", "\"A\""]).exits(2);
    assert!(ran.stderr.contains("blob"), "{ran:?}");
}
