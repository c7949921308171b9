//! The data folder: whose it is, what is in it, and whether there is room.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use quark_e2e::{Silo, eventually, run};
use redb::{Database, TableDefinition};
use serde_json::{Value, json};

#[test]
fn a_folder_in_use_is_refused_by_its_owner() {
    let silo = Silo::with(&["counter"]);
    let ran = run(silo.command(&[])).exits(3);
    assert!(ran.stderr.contains(&format!("process {}", silo.pid())), "{ran:?}");
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 1);
}

#[test]
fn data_of_a_newer_version_is_left_alone() {
    let mut silo = Silo::with(&["counter"]);
    assert!(silo.stop().success());
    let file = silo.data().join("quark.redb");
    let database = Database::open(&file).unwrap();
    let tx = database.begin_write().unwrap();
    tx.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 1_000_000).unwrap();
    tx.commit().unwrap();
    drop(database);
    let ran = run(silo.command(&[])).exits(3);
    assert!(ran.stderr.contains("1000000") && ran.stderr.contains("newer"), "{ran:?}");
}

#[test]
fn damaged_data_is_told_as_such() {
    let mut silo = Silo::with(&["counter"]);
    assert!(silo.stop().success());
    fs::write(silo.data().join("quark.redb"), b"no database at all").unwrap();
    let ran = run(silo.command(&[])).exits(3);
    assert!(ran.stderr.contains("damaged"), "{ran:?}");
    assert_eq!(fs::read(silo.data().join("quark.redb")).unwrap(), b"no database at all");
}

/// Somebody whom modes bind, unlike root.
const NOBODY: u32 = 65_534;

#[test]
fn a_read_only_folder_is_told_as_such() {
    let mut silo = Silo::with(&["counter"]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 1);
    assert!(silo.stop().success());
    let root = fs::metadata(silo.folder()).unwrap().uid() == 0;
    let data = silo.data();
    let inside = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path());
    let all: Vec<_> = inside.chain([data.clone(), silo.folder().to_owned()]).collect();
    let change = |owner: u32, file: u32, folder: u32| {
        for path in &all {
            if root {
                chown(path, Some(owner), Some(owner)).unwrap();
            }
            let mode = if path.is_dir() { folder } else { file };
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    let mut command = silo.command(&[]);
    if root {
        command.uid(NOBODY).gid(NOBODY);
        let reach = Command::new("test").arg("-x").arg(command.get_program()).uid(NOBODY).gid(NOBODY).status();
        if !reach.unwrap().success() {
            #[expect(clippy::print_stderr, reason = "whoever reads the results should know")]
            {
                eprintln!("not tested: only root reaches {}", command.get_program().display());
            }
            return;
        }
    }
    change(NOBODY, 0o400, 0o500);
    let ran = run(command);
    change(0, 0o600, 0o700);
    let ran = ran.exits(3);
    assert!(ran.stderr.contains("cannot be written"), "{ran:?}");
    silo.restart(&[]);
    assert_eq!(silo.client().call("counter/a", "value", &json!([])).number(), 1);
}

#[test]
fn without_room_writes_are_unavailable_and_reads_go_on() {
    let mut silo = Silo::with(&["counter", "hello"]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([5])).number(), 5);
    assert!(silo.stop().success());
    silo.spawn(&["--free-space-floor", "8000000TiB"]);
    let client = silo.client();
    let value = || client.call("counter/a", "value", &json!([])).number();
    assert_eq!(value(), 5);
    let failure = client.call("counter/a", "increment", &json!([1])).failure(503, "unavailable");
    assert!(failure["retry_after_ms"].as_u64().is_some_and(|ms| ms > 0), "{failure}");
    assert_eq!(failure["may_be_done"], false, "{failure}");
    assert_eq!(value(), 5);
    let _ = client.call("counter/a", "reset", &json!([])).failure(503, "unavailable");
    let _ = client.deploy_bytes(&quark_e2e::component("bank"), "").failure(503, "unavailable");
    assert_eq!(value(), 5);
    let _ = client.call("greeter/x", "greet", &json!(["Bob"])).expect(200);
    let unready = client.get("/readyz").expect(503).json();
    let problems = unready["problems"].to_string();
    assert!(unready["ready"] == false && problems.contains("writes"), "{unready}");
    // Restarting would not help, so it counts as alive.
    let _ = client.get("/healthz").expect(200);
    assert!(silo.stop().success(), "{}", silo.log());
    silo.restart(&[]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 6);
}

#[test]
fn a_deployment_is_served_again_without_compiling() {
    let mut silo = Silo::with(&["counter"]);
    let kinds = |silo: &Silo| {
        let mut kinds = silo.client().get("/v1/kinds").expect(200).json()["kinds"].take();
        // How many the machine holds may follow the memory that it has left.
        kinds.as_array_mut().unwrap().iter_mut().for_each(|kind| kind["holds"] = Value::Null);
        kinds
    };
    let first = kinds(&silo);
    silo.crash();
    assert_eq!(first, kinds(&silo));
    // The cache is a help, and no more: without it, or with garbage in it, all goes on.
    let compiled = silo.data().join("compiled");
    let files: Vec<_> = fs::read_dir(&compiled).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!files.is_empty());
    silo.kill();
    for file in files {
        fs::write(file, b"garbage").unwrap();
    }
    silo.restart(&[]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 1);
    silo.kill();
    fs::remove_dir_all(&compiled).unwrap();
    silo.restart(&[]);
    assert_eq!(silo.client().call("counter/a", "increment", &json!([1])).number(), 2);
}

#[test]
fn a_silo_in_memory_needs_no_folder() {
    let silo = Silo::new();
    let mut command = quark_e2e::quark(silo.folder());
    let mut child = command
        .args(["silo", "--memory", "--http", "127.0.0.1:0"])
        .current_dir(silo.folder())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
    let mut ps = quark_e2e::quark(silo.folder());
    ps.args(["ps", "--url", &url]);
    let ran = run(ps);
    child.kill().unwrap();
    eventually("it ends", || child.try_wait().unwrap());
    assert!(ran.exits(0).stdout.contains("nothing is deployed"));
    assert!(fs::read_dir(silo.data()).unwrap().next().is_none());
}
