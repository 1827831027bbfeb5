//! Takes the peers' tests from the sources that cargo has fetched, and puts our facades where they
//! name the peer. It must never change what a test says: a test runs as it stands, or is listed
//! as ignored with the reason.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A test by its path, and why it does not fit.
type Unfit = (&'static str, &'static str);

const JOIN_SET: &[Unfit] = &[
    ("test_with_sleep", "`detach_all`: no child is detached from a nursery (R3)"),
    ("spawn_local::panic_outside_any_runtime", "a nursery is where local children run: no panic"),
    ("spawn_local::panic_in_multi_thread_runtime", "as above"),
    (
        "replace_parent_waker_drops_outside_lock",
        "the old waker's drop runs the child: the facade then has its value, and does not say `Pending`",
    ),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rustc-check-cfg=cfg(tokio_unstable)");
    let peers = Peers::find();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let write = |name: &str, text: &str| fs::write(out.join(name), text).expect("a file");

    let text = peers.read("tokio", "tests/task_join_set.rs");
    let text = text.replace(
        "use tokio::task::{JoinSet, LocalSet};",
        "use peers::tokio::JoinSet;\nuse tokio::task::LocalSet;",
    );
    write("task_join_set.rs", &without(&text, JOIN_SET));

    let text = peers.read("tokio-util", "tests/sync_cancellation_token.rs");
    write(
        "sync_cancellation_token.rs",
        &without(&text.replace("tokio_util::sync::", "peers::tokio_util::"), &[]),
    );

    let common = peers.read("async_nursery", "tests/common/mod.rs");
    let common = common.replace("async_nursery ", "peers::async_nursery ");
    for name in ["mixed", "nursery", "resource_cleanup", "return", "subtask"] {
        let text = peers.read("async_nursery", &format!("tests/{name}.rs"));
        let text = text.replace("mod common;", &format!("mod common {{ {common} }}"));
        write(&format!("async_nursery_{name}.rs"), &without(&text, &[]));
    }

    let mut docs = String::new();
    for name in ["lib", "scope"] {
        docs += &doc_comments(&peers.read("moro", &format!("src/{name}.rs")));
    }
    write("moro.md", &docs.replace("moro::", "peers::moro::"));
    for name in ["hello_world", "monitor", "replicas"] {
        let text = peers.read("moro", &format!("examples/{name}.rs"));
        let text = text.replace("use moro;", "").replace("moro::", "peers::moro::");
        let text = text.replace("\nasync fn main", "\npub async fn main");
        write(&format!("moro_{name}.rs"), &without(&text, &[]));
    }
}

/// Where cargo keeps the packages of this manifest.
struct Peers(serde_json::Value);

impl Peers {
    fn find() -> Self {
        let cargo = env::var_os("CARGO").expect("cargo sets it");
        let asked = Command::new(cargo)
            .args(["metadata", "--offline", "--format-version=1", "--features=sources"])
            .output()
            .expect("cargo runs");
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        Self(serde_json::from_slice(&asked.stdout).expect("cargo writes JSON"))
    }

    fn read(&self, package: &str, path: &str) -> String {
        let packages = self.0["packages"].as_array().expect("packages");
        let found = packages.iter().find(|found| found["name"] == package).expect(package);
        let manifest = Path::new(found["manifest_path"].as_str().expect("a path"));
        let path = manifest.with_file_name(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }
}

/// The text as something that `include!` takes, with the tests that do not fit put out and listed.
fn without(text: &str, unfit: &[Unfit]) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find("#![") {
        let mut depth = 0;
        let end = text[start..].find(|c| {
            depth += i32::from(c == '[') - i32::from(c == ']');
            c == ']' && depth == 0
        });
        text.replace_range(start..=start + end.expect("a bracket closes"), "");
    }
    for (path, reason) in unfit {
        let mut from = 0;
        let (modules, name) = path.rsplit_once("::").unwrap_or(("", path));
        for module in modules.split("::").filter(|module| !module.is_empty()) {
            from += text[from..].find(&format!("mod {module} {{")).expect(path);
        }
        let function = from + text[from..].find(&format!("fn {name}()")).expect(path);
        // The attributes begin behind the empty line or the brace before them.
        let start = text[..function].rfind("\n\n").expect(path) + 2;
        let listed = format!("#[test]\n#[ignore = {reason:?}]\nfn {name}() {{}}\n#[cfg(any())]\n");
        text.insert_str(start, &listed);
    }
    text
}

/// What stands in the doc comments, each run of them as a piece of its own.
fn doc_comments(text: &str) -> String {
    let mut docs = String::new();
    for line in text.lines().map(str::trim_start) {
        match line.strip_prefix("///") {
            Some(doc) => docs += doc.strip_prefix(' ').unwrap_or(doc),
            None if docs.ends_with("\n\n") => continue,
            None => {}
        }
        docs.push('\n');
    }
    docs
}
