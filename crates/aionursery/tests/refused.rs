//! R25, R29: what must not compile, with the compiler's words for it. Another compiler's words may be
//! others: it must refuse, in whatever words.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Whose words are beside the programs.
const COMPILER: &str = "rustc 1.95.";

fn compiler() -> String {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("rustc runs");
    String::from_utf8(version.stdout).expect("rustc says its version")
}

#[test]
fn r25_r29_what_would_be_unsound_does_not_compile() {
    let programs = Path::new("tests/refused");
    if compiler().starts_with(COMPILER) {
        return trybuild::TestCases::new().compile_fail(programs.join("*.rs"));
    }
    let copies = Path::new(env!("CARGO_TARGET_TMPDIR")).join("refused");
    fs::create_dir_all(&copies).unwrap();
    for program in fs::read_dir(programs).unwrap() {
        let program = program.unwrap().path();
        if program.extension().is_some_and(|it| it == "rs") {
            fs::copy(&program, copies.join(program.file_name().unwrap())).unwrap();
        }
    }
    // SAFETY: this is the only test in its process, and its other thread waits for it.
    unsafe { env::set_var("TRYBUILD", "overwrite") };
    trybuild::TestCases::new().compile_fail(copies.join("*.rs"));
}
